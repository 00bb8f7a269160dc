"""The plan's counts against real steps on the CPU, at tiny size."""

import json
from pathlib import Path
from types import SimpleNamespace

import plan_training
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from training_cost import (
    CPU_SINGLE,
    PHASES,
    Autocast,
    Fused,
    adamw8bit_bytes,
    example_batch,
    measure,
    optimize,
    saved_storages,
)

from xray.config import Config, load_config
from xray.models.build import make_conditioner, make_model
from xray.training import acceleration
from xray.training.checkpoint import Ema
from xray.training.random_streams import RandomStreams
from xray.training.setup import make_task

ROOT = Path(__file__).parents[2]
KINDS = {
    "first stage": ("example_diffusion",),
    "decoder": ("example_upsampler",),
    "denoising upsampler": ("example_upsampler_unet",),
    "patches": (
        *("example_diffusion", "model.patch=2", "model.image=pixels", "model.silhouette_distance=true"),
        *("model.place=true", "data.flip=0.5"),
    ),
    "pixel shuffle": (
        *("example_upsampler", "model.kind=pixel_shuffle", "model.image=pixels", "model.block_out_channels=[32]"),
    ),
}
"""Configuration and changes of it, over tiny sizes."""
SMALL = ("model.block_out_channels=[32, 32]", "model.num_attention_heads=[2, 2]", "codec.layers=4")


def configuration(name: str, *overrides: str) -> Config:
    small = list(SMALL)
    if name == "example_upsampler":  # a factor of 4 needs three levels
        small = ["model.factor=2", "model.block_out_channels=[32, 32]", "codec.layers=4", "codec.resolution=32"]
    return load_config(ROOT / f"configs/{name}.yaml", [*small, *overrides])


class RealStep:
    """One training step on the CPU; the optimizer and the average as the trainer has them."""

    def __init__(self, config: Config, batch: int, checkpointing: bool = False):
        self.config, self.batch = config, batch
        self.model = make_model(config)
        acceleration.set_gradient_checkpointing(self.model, checkpointing)
        self.task = make_task(config, make_conditioner(config))
        self.average = Ema(self.model, config.train.ema_decay)
        self.optimizer = torch.optim.AdamW(self.model.parameters())

    def loss(self) -> torch.Tensor:
        xray, images = example_batch(self.config, self.batch, "cpu")
        xray.zero_(), images.zero_()
        return self.task.loss(self.model, xray, images, RandomStreams(0, range(self.batch))).mean()

    def peak(self, folder: Path) -> int:
        """Most bytes that PyTorch's CPU allocator gave out during loss and gradients, beside what stays."""
        kinds = [torch.profiler.ProfilerActivity.CPU]
        with torch.profiler.profile(activities=kinds, profile_memory=True) as profile:
            self.loss().backward()
        profile.export_chrome_trace(str(folder / "trace.json"))
        events = json.loads((folder / "trace.json").read_text())["traceEvents"]
        changes = [(event["ts"], event["args"]["Bytes"]) for event in events if event.get("name") == "[memory]"]
        live = peak = 0
        for _, change in sorted(changes):
            live += change
            peak = max(peak, live)
        return peak


@pytest.mark.parametrize(("name", "checkpointing"), [(name, False) for name in KINDS] + [("first stage", True)])
def test_memory_is_that_of_a_real_step(name, checkpointing, tmp_path):
    config = configuration(*KINDS[name])
    cost = measure(config, 2, checkpointing)
    step = RealStep(config, 3, checkpointing)
    with saved_storages(step.model) as saved:
        loss = step.loss()
    assert cost.saved / 2 == pytest.approx(sum(kept.nbytes() for kept in saved.values()) / 3, rel=0.1)
    del loss, saved
    # another batch than the counted one: activations grow with the batch
    assert cost.peak(3) - cost.resident == pytest.approx(step.peak(tmp_path), rel=0.1)

    step.optimizer.step()
    states = [value for values in step.optimizer.state.values() for value in values.values() if value.ndim]
    assert cost.optimizer == sum(value.nbytes for value in states)
    assert cost.weights == pytest.approx(sum(value.nbytes for value in step.model.state_dict().values()), rel=0.01)
    assert cost.gradients == sum(value.grad.nbytes for value in step.model.parameters() if value.grad is not None)
    assert cost.average == sum(value.nbytes for value in step.average.shadow.values())
    assert cost.encoder_parameters == sum(value.numel() for value in step.task.conditioner.parameters())


@pytest.mark.parametrize("name", KINDS)
def test_operations_are_those_of_a_real_step(name):
    config = configuration(*KINDS[name])
    work = measure(config, 2).work
    step = RealStep(config, 2)
    # On the CPU the counter knows attention only in its plain form, whose backward pass has no recomputation.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        loss = step.loss()
        forward = counter.get_total_flops()
        loss.backward()
    assert work["encoders"].total + work["forward"].total == forward
    assert work["backward"].total == pytest.approx(counter.get_total_flops() - forward, rel=0.1)
    if config.model.image == "pixels":
        assert work["encoders"].total == 0
        return
    encoders = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), encoders:
        step.task.encode(example_batch(config, 2, "cpu")[1].zero_(), RandomStreams(0, range(2)))
    assert work["encoders"].total == pytest.approx(encoders.get_total_flops(), rel=0.01)


def test_the_count_of_a_convolution_is_the_textbooks():
    """2 x output numbers x input channels x kernel, for the decoder's first convolution, counted alone."""
    config = configuration("example_upsampler")
    model = make_model(config)
    with FlopCounterMode(display=False) as counter:
        model.decoder.conv_in(torch.zeros(4, 12, 16, 16))
    assert counter.get_total_flops() == 2 * (4 * 32 * 16 * 16) * 12 * 3 * 3


def test_mixed_precision_casts_as_autocast_does():
    """The casts are put on by hand for meta tensors; with the CPU's list they save what the CPU's autocast saves."""
    config = configuration("example_diffusion")
    saved = {}
    for way in ("autocast", "by hand"):
        step = RealStep(config, 1)
        cpu = (
            torch.autocast("cpu", torch.bfloat16) if way == "autocast" else Fused(Autocast(torch.bfloat16, CPU_SINGLE))
        )
        step.model.forward = in_context(cpu, step.model.forward)
        with saved_storages(step.model) as storages:
            step.loss()
        saved[way] = sum(storage.nbytes() for storage in storages.values())
    assert saved["by hand"] == pytest.approx(saved["autocast"], rel=0.1)
    assert measure(config, 1, precision="bf16").saved < measure(config, 1).saved


def in_context(context, function):
    def run(*args):
        with context:
            return function(*args)

    return run


def test_eight_bit_adam_keeps_small_tensors_whole():
    assert adamw8bit_bytes(iter([4095])) == 8 * 4095
    assert adamw8bit_bytes(iter([4096])) == 2 * 4096 + 2 * 16 * 4


def plan(*overrides: str, count: int = 1, card: str = "4090", share: float = 0.5) -> plan_training.Plan:
    config = configuration("example_diffusion", *overrides)
    return plan_training.plan(config, plan_training.CARDS[card], count, share, 1.0, 1e6)


def test_the_arithmetic_of_a_plan():
    one, eight = plan(), plan(count=8)
    assert one.flops_a_sample.keys() == set(PHASES)
    assert one.seconds["waiting for other GPUs"] == 0
    assert one.samples_a_second == pytest.approx(one.batch / one.step_seconds)
    assert one.days == pytest.approx(one.step_seconds * 400 / 86400)
    assert one.read_a_second == pytest.approx(one.samples_a_second * 1e6)
    assert eight.gpu_hours == pytest.approx(eight.step_seconds * 400 / 3600 * 8)
    assert eight.resident["buckets of DDP"] == eight.resident["gradients"]
    assert eight.peak == one.peak + one.resident["gradients"]
    assert eight.largest_batch <= one.largest_batch < one.largest_batch_checkpointing

    cached = plan("train.cache_dir=somewhere", "train.precision=bf16")
    assert cached.cached
    assert cached.seconds["encoders"] == 0
    assert cached.activations_a_sample < one.activations_a_sample
    assert cached.precision == "bf16"


def test_the_largest_batch_is_the_largest(tmp_path, capsys):
    config = configuration("example_diffusion")
    cost = measure(config, 2)
    usable = 2**30
    largest = plan_training.largest_batch(cost, usable)
    assert cost.peak(largest) <= usable < cost.peak(largest + 1)
    assert plan_training.largest_batch(cost, cost.resident) == 0


@pytest.mark.parametrize(
    ("largest", "text"),
    [
        ((14, 20), "fits"),
        ((4, 6), "DOES NOT FIT: at most 4; with train.gradient_checkpointing=true 6"),
        ((0, 0), "DOES NOT FIT, nor does a single sample, with checkpointing or without"),
    ],
)
def test_what_fits_is_said(largest, text):
    plan = SimpleNamespace(batch=14, largest_batch=largest[0], largest_batch_checkpointing=largest[1])
    assert plan_training.fitting(plan, checkpointing=False) == text


def test_the_command_prints_a_plan_and_writes_its_numbers(tmp_path, capsys):
    config, file = str(ROOT / "configs/example_diffusion.yaml"), tmp_path / "plan.json"
    done = plan_training.main(["--config", config, "--gpu", "a100", "--count", "2", "--json", str(file), *SMALL])
    assert done == 0
    text, numbers = capsys.readouterr().out, json.loads(file.read_text())
    assert text.startswith("2 x A100 SXM 80 GB, batch 4 a GPU, fp32\n")
    assert f"{numbers['parameters']:,}" in text
    assert "assumed: 35% of the peak rate, 70% of the memory's bandwidth" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--share", "0"], "--share 0.0: expected a share above 0 and at most 1"),
        (["--count", "0"], "--count 0: expected at least 1"),
        (["model.pretrained=no/where"], "no/where: expected a local folder or one of stabilityai/"),
        (["--data_root", "nothing"], "nothing: no xrays/<object>/<view>.npz"),
        (["--json", "no/where.json"], "--json no/where.json: no folder no"),
    ],
)
def test_a_mistake_is_one_line(arguments, message, capsys):
    assert plan_training.main(["--config", str(ROOT / "configs/example_diffusion.yaml"), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


def test_muon_keeps_one_number_a_weight_of_a_matrix_where_adamw_keeps_two():
    def parameters():
        weights = [torch.nn.Parameter(torch.zeros(size)) for size in ((64, 32, 3, 3), (64,))]
        for weight in weights:
            weight.grad = torch.ones_like(weight)
        return weights

    state = {kind: optimize(parameters(), kind)[0] for kind in ("adamw", "muon")}
    assert state["adamw"] == 2 * 4 * (64 * 32 * 9 + 64)
    assert state["muon"] == 4 * (64 * 32 * 9 + 2 * 64)
