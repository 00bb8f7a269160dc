"""A training step of each stage in every way that a configuration offers: speed, memory, and the loss beside the CPU's.

The trainer is the one of train_diffusion.py and train_upsampler.py, on the example's views, with encoders of the
published shapes and random weights (the tiny ones of the example where sizes are tiny).
"""

from __future__ import annotations

import functools
import json
import resource
import shutil
import statistics

import torch
from published_encoders import write_published
from torch import nn

from xray.common.errors import InputError
from xray.config import Config, load_config
from xray.models.build import make_conditioner, make_model, open_dataset
from xray.training.random_streams import RandomStreams
from xray.training.setup import make_task, make_trainer

from . import ABSENT, FAILED, FULL, OK, ROOT, Absent, Result, Settings

GIB = 2**30
WARM_UP = 4
TOLERANCES = {"fp32": 1e-4, "tf32": 2e-2, "bf16": 5e-2, "fp16": 2e-2}
"""Largest relative difference of a loss from the CPU's in float32, by arithmetic."""

SMALL = ("data.image_size=64", "codec.layers=4", "train.batch_size=1")
SIZES = {
    "diffusion": ("codec.resolution=8", "model.block_out_channels=[32, 32]", "model.num_attention_heads=[2, 2]"),
    "upsampler": ("codec.resolution=16", "model.factor=2", "model.block_out_channels=[32, 32]"),
    "upsampler_unet": ("codec.resolution=16", "model.block_out_channels=[32, 32]", "model.num_attention_heads=[2, 2]"),
}
"""Tiny sizes, over configs/example_*.yaml."""


def configuration(settings: Settings, stage: str, *overrides: str) -> Config:
    """The published configuration of a stage on the example's views; tiny sizes on the CPU."""
    common = [f"data.root={ROOT / 'example/dataset'}", "data.eval_fraction=0", "train.trackers=[]", "train.log_every=1"]
    common += ["train.checkpoint_every=1000000"]
    if settings.tiny:
        file, own = f"example_{stage}", [*SMALL, *SIZES[stage]]
    else:
        encoders = settings.out / "encoders"
        if not (encoders / "scheduler").is_dir():
            raise Absent("the encoders: the step before did not write them")
        file, own = stage, [f"model.pretrained={encoders}"]
        own += [f"model.vae={encoders / 'vae'}"] if stage == "upsampler" else []
    return load_config(ROOT / f"configs/{file}.yaml", [*common, *own, *overrides])


def write_encoders(settings: Settings) -> Result:
    """Encoders of the published shapes, for all steps that follow."""
    if settings.tiny:
        return Result(OK, "tiny sizes: those of the example")
    folder = settings.out / "encoders"
    shutil.rmtree(folder, ignore_errors=True)
    write_published(folder)
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    return Result(OK, f"{size / GIB:.1f} GiB, random weights")


def reference(settings: Settings, stage: str) -> Result:
    """The loss of the first view on the CPU in float32."""
    config = configuration(settings, stage)
    loss = loss_of(make_task(config, make_conditioner(config)), make_model(config), config, "cpu")
    (settings.out / f"loss-{stage}.json").write_text(json.dumps(loss), encoding="utf-8")
    return Result(OK, f"loss {loss:.6f}", values={"loss": loss})


def measure(settings: Settings, stage: str, way: str, overrides: tuple[str, ...]) -> Result:
    """Train some steps; the loss of the first view before them, with the very noise of `reference`."""
    steps = 2 if settings.tiny else WARM_UP + 12
    folder = settings.out / "train" / f"{stage}-{way.replace(' ', '-')}"
    shutil.rmtree(folder, ignore_errors=True)
    filled = [text.format(out=settings.out, stage=stage) for text in overrides]
    filled += [f"train.batch_size={settings.batch}"] if settings.batch else []
    config = configuration(settings, stage, *filled, f"output_dir={folder}", f"train.max_steps={steps}")
    try:
        values = _train(config, settings.device, steps)
    except InputError as error:
        if settings.device == "cpu":  # what needs a GPU refuses, as it should
            return Result(ABSENT, f"refused on the CPU: {error}")
        raise
    except torch.OutOfMemoryError as error:
        text = f"batch {config.train.batch_size}: {' '.join(str(error).split())[:150]}"
        return Result(FULL, text, values={"full_at": config.train.batch_size})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    reason = f"{values['samples_a_second']:.3g} samples/s, peak {values['peak_gib']:.2f} GiB, batch {values['batch']}"
    if config.train.cache_dir:  # it draws its own noise for the images
        return Result(OK, reason, values=values)
    return _judge(settings, stage, config, reason, values)


def _train(config: Config, device: str, steps: int) -> dict:
    """The numbers of a training: the loss of the first view before it, speed and memory."""
    if device == "cpu" and config.train.compile:
        # Traced and differentiated, but run as it is: the C++ code of a tiny network takes minutes to compile, and says
        # nothing about a GPU.
        nn.Module.compile = functools.partialmethod(nn.Module.compile, backend="aot_eager")
    trainer = make_trainer(config)
    # Of a training's very shapes and with gradients: what is compiled for it serves the training.
    loss = loss_of(trainer.task, trainer.model, config, device, config.train.batch_size, gradients=True)
    rates, losses = [], []

    def keep(values: dict, step: int | None = None) -> None:
        rates.append(values["samples_per_second"])
        losses.append(values["loss"])

    trainer.accelerator.log = keep  # in place of a tracker: nothing but numbers is wanted
    trainer.state.save = lambda path: None  # gigabytes for every step; "kill -9 and resume" has checkpoints
    trainer.run()
    return {
        "samples_a_second": statistics.median(rates[-max(1, steps - WARM_UP) :]),
        "peak_gib": peak_bytes(device) / GIB,
        "batch": config.train.batch_size,
        "loss": loss,
        "losses": losses,
    }


def _judge(settings: Settings, stage: str, config: Config, reason: str, values: dict) -> Result:
    """Whether the loss is that of the CPU, as near as the arithmetic allows."""
    file = settings.out / f"loss-{stage}.json"
    if not file.exists():
        return Result(OK, f"{reason}; no loss of the CPU to compare with", values=values)
    expected = json.loads(file.read_text(encoding="utf-8"))
    kind = "tf32" if config.train.precision == "fp32" and settings.device == "cuda" else config.train.precision
    limit = TOLERANCES[kind]  # PyTorch lets convolutions of float32 run in TF32 by itself
    values["loss_difference"] = abs(values["loss"] - expected) / abs(expected)
    off = f"loss {values['loss']:.5f}, {values['loss_difference']:.1e} from the CPU's (limit {limit:.0e})"
    near = values["loss_difference"] <= limit
    return Result(OK if near else FAILED, f"{reason}; {off}", values=values)


class DrawnOnCpu:
    """Random streams whose numbers do not depend on the device (generators of CPU and GPU differ), the same for every
    sample of a batch."""

    def __init__(self, device: str, batch: int):
        self.device, self._batch, self._streams = torch.device(device), batch, RandomStreams(0, [0])

    def normal(self, *shape: int) -> torch.Tensor:
        """(B, *shape) unit normal."""
        return self._repeated(self._streams.normal(*shape))

    def uniform(self, *shape: int) -> torch.Tensor:
        """(B, *shape) in [0, 1)."""
        return self._repeated(self._streams.uniform(*shape))

    def _repeated(self, values: torch.Tensor) -> torch.Tensor:
        return values.to(self.device).repeat(self._batch, *[1] * (values.ndim - 1))


def loss_of(task, model: nn.Module, config: Config, device: str, batch: int = 1, gradients: bool = False) -> float:
    """Of the first view of the data set, as a batch of so many times the same."""
    item = open_dataset(config)[0]
    xray, image = (item[name][None].to(device).repeat(batch, *[1] * item[name].ndim) for name in ("xray", "image"))
    with torch.set_grad_enabled(gradients):
        return float(task.loss(model, xray, image, DrawnOnCpu(device, batch)).detach().mean())


def peak_bytes(device: str) -> int:
    """Most bytes in tensors on the GPU; on the CPU the most that this process ever took."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def compare_plan(settings: Settings) -> Result:
    """The memory that benchmarks/plan_training.py calculates beside what was measured."""
    from training_cost import measure as count

    summary = json.loads((settings.out / "summary.json").read_text(encoding="utf-8"))["steps"]
    rows, worst = {}, 0.0
    for stage in SIZES:
        for precision in ("fp32", "bf16"):
            measured = summary.get(f"train {stage} {precision}", {}).get("values", {})
            if "peak_gib" not in measured:
                continue
            cost = count(configuration(settings, stage), 2, precision=precision)
            planned = cost.peak(measured["batch"]) / GIB
            rows[f"{stage} {precision}"] = {"planned_gib": planned, "measured_gib": measured["peak_gib"]}
            worst = max(worst, abs(planned / measured["peak_gib"] - 1))
    if not rows:
        raise Absent("a measured training step")
    text = ", ".join(f"{name} {row['planned_gib']:.2f} / {row['measured_gib']:.2f}" for name, row in rows.items())
    if settings.tiny:
        return Result(OK, f"planned / measured GiB: {text} (the process as a whole, so not comparable)", values=rows)
    return Result(OK if worst <= 0.25 else FAILED, f"planned / measured GiB: {text}; off by {worst:.0%}", values=rows)
