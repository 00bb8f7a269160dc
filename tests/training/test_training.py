"""Both stages train; every key does what it says."""

import importlib.util
import math
import os
import shutil
from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import make_data
from helpers.training_runs import ROOT, arguments, contents, last_line, run
from safetensors.torch import load_file

from xray.config import load_config
from xray.core.storage import load_xray, save_xray
from xray.inference.stage import load_stage
from xray.models.conditioner import load_conditioner
from xray.models.example_encoders import make_pretrained
from xray.models.stage import sample_diffusion, upsample
from xray.training import checkpoint
from xray.training.checkpoint import Ema
from xray.training.loop import learning_rate

UNET_UPSAMPLER = ("model.kind=unet", "model.cross_attention_dim=16", "model.addition_time_embed_dim=32")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    ("stage", "options"), [("diffusion", ()), ("upsampler", ()), ("upsampler", UNET_UPSAMPLER)], ids=str
)
def test_a_stage_trains_saves_loads_and_samples(data, tmp_path, stage, options):
    assert run(stage, data, tmp_path / "out", "train.max_steps=2", *options) == 0
    trained = load_stage(tmp_path / "out")
    assert trained.step == 2
    assert (trained.codec.layers, trained.codec.far) == (4, 2.4)
    stored = load_file(tmp_path / "out" / "checkpoint-2" / checkpoint.EMA)
    assert all(torch.equal(value, stored[name]) for name, value in trained.model.state_dict().items())
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    if stage == "diffusion":
        out = sample_diffusion(trained, images, 2, (1.0, 2.0), [5, 6])
        again = sample_diffusion(trained, images[1:], 2, (1.0, 2.0), [6])
        assert torch.allclose(out[1], again[0], atol=1e-4)  # a sample depends on its own seed and image
        assert out.shape == (2, 4, 8, 8, 8)
    else:
        out = upsample(trained, torch.randn(2, 4, 8, 8, 8), images, [5, 6], 2)
        assert out.shape == (2, 4, 8, 16, 16)
    assert trained.codec.decode(out[0]).shape == out[0, :, 0].shape


def test_the_averaged_weights_are_used_by_default(data, tmp_path):
    assert run("diffusion", data, tmp_path / "out", "train.max_steps=3", "train.learning_rate=1e-2") == 0
    trained, raw, start = (
        load_stage(tmp_path / "out", **options) for options in ({}, {"ema": False}, {"trained": False})
    )
    assert start.step == 0
    images = torch.zeros(1, 3, 64, 64)
    outputs = [sample_diffusion(stage, images, 2) for stage in (trained, raw, start)]
    assert not torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


@pytest.mark.parametrize(
    "options",
    [
        ("train.precision=bf16",),
        ("loss.weighting=min_snr", "loss.miss_weight=0.1", "noise.mixture_fraction=0.5"),
        ("codec.miss=last",),
        ("codec.miss=far", "train.schedule=cosine", "train.warmup_steps=1"),
        ("train.max_grad_norm=0", "train.ema_decay=0"),
    ],
    ids=str,
)
def test_keys_that_change_the_training(data, tmp_path, options):
    steps = ("train.max_steps=2", "train.learning_rate=1e-3")
    assert run("diffusion", data, tmp_path / "plain", *steps) == 0
    assert run("diffusion", data, tmp_path / "other", *steps, *options) == 0
    one, two = (contents(tmp_path / name / "checkpoint-2") for name in ("plain", "other"))
    assert any(not torch.equal(one[name], two[name]) for name in one if name.startswith("model."))
    assert all(bool(two[name].isfinite().all()) for name in two if name.startswith(("model.", "ema.")))


@pytest.mark.parametrize("stage", ["diffusion", "upsampler"])
def test_gradient_checkpointing_gives_the_same_gradients(data, tmp_path, stage):
    for name, on in (("plain", "false"), ("less", "true")):
        assert run(stage, data, tmp_path / name, "train.max_steps=1", f"train.gradient_checkpointing={on}") == 0
    one, two = (contents(tmp_path / name / "checkpoint-1") for name in ("plain", "less"))
    assert all(torch.allclose(one[name], two[name], atol=1e-7) for name in one if name.endswith(".exp_avg"))


def test_a_run_starts_from_pretrained_weights_and_says_which(data, tmp_path, caplog):
    assert run("diffusion", data, tmp_path / "first", "train.max_steps=1") == 0
    folder = shutil.copytree(ROOT / "example" / "encoders", tmp_path / "pretrained")
    first = load_stage(tmp_path / "first")
    first.model.unet.save_pretrained(folder / "unet")
    options = ("train.max_steps=1", f"model.pretrained={folder}", "model.init=pretrained")
    caplog.set_level("INFO")
    assert run("upsampler", data, tmp_path / "second", *UNET_UPSAMPLER, *options) == 0
    total = len(first.model.unet.state_dict())
    assert f"{folder}/unet: {total} of {total} tensors taken" in caplog.text


@pytest.mark.parametrize("options", [(), UNET_UPSAMPLER], ids=["decoder", "unet"])
def test_the_upsampler_also_trains_on_the_first_stages_own_results(data, tmp_path, options, capsys):
    results = tmp_path / "results"
    for view in ("000", "001"):  # one object of the two has results
        xray = load_xray(data / "xrays" / "ball0" / f"{view}.npz", layers=4, stride=4)
        save_xray(results / f"ball0_{view}_xray.npz", xray)
    own = ("train.max_steps=2", f"train.first_stage={results}", "train.first_stage_fraction=1", "noise.low_max=0")
    assert run("upsampler", data, tmp_path / "own", *own, *options) == 0
    # These results are the truth itself, so the run equals one whose chance of taking them is 0.
    assert run("upsampler", data, tmp_path / "truth", *own, "train.first_stage_fraction=0", *options) == 0
    one, two = (contents(tmp_path / name / "checkpoint-2") for name in ("own", "truth"))
    assert all(torch.equal(one[name], two[name]) for name in one if name.startswith("model."))
    for view in ("000", "001"):
        save_xray(results / f"ball0_{view}_xray.npz", load_xray(data / "xrays" / "ball1" / f"{view}.npz", 4, 4))
    assert run("upsampler", data, tmp_path / "other", *own, *options) == 0
    three = contents(tmp_path / "other" / "checkpoint-2")
    assert any(not torch.equal(one[name], three[name]) for name in one if name.startswith("model."))
    assert run("upsampler", data, tmp_path / "none", f"train.first_stage={tmp_path}") == 2
    assert "no <object>_<view>_xray.npz" in last_line(capsys)
    assert run("diffusion", data, tmp_path / "wrong", f"train.first_stage={results}") == 2
    assert "for the upsampler stage" in last_line(capsys)


def test_trackers_that_are_not_there_are_refused(data, tmp_path, capsys):
    assert run("diffusion", data, tmp_path / "out", "train.trackers=[tensorbord]") == 2
    assert "train.trackers is ['tensorbord'], expected some of" in last_line(capsys)
    if importlib.util.find_spec("clearml") is None:
        assert run("diffusion", data, tmp_path / "out", "train.trackers=[clearml]") == 2
        assert "'clearml', which is not installed" in last_line(capsys)


def test_the_average_follows_its_formula_and_swaps_back():
    model = torch.nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(1.0)
    ema, expected = Ema(model, decay=0.5), 1.0
    for step, weight in enumerate([3.0, -2.0, 5.0, 7.0, 1.0, 4.0, 9.0, 2.0, 6.0], start=1):
        model.weight.data.fill_(weight)
        ema.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight
    with ema.applied():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 6.0
    assert ema.shadow["weight"].item() == pytest.approx(expected)


def test_the_learning_rate_is_a_function_of_the_step():
    constant = [learning_rate(step, 2.0, "constant", 4, 100) for step in range(6)]
    assert constant == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    cosine = [learning_rate(step, 2.0, "cosine", 0, 10) for step in range(11)]
    assert cosine == pytest.approx([1 + math.cos(math.pi * step / 10) for step in range(11)])


def test_pretrained_parts_are_made_the_same_again(tmp_path):
    made = make_pretrained(tmp_path / "parts")
    for path in sorted(made.rglob("*.json")):
        assert (ROOT / "example" / "encoders" / path.relative_to(made)).is_file()
    committed, again = load_conditioner("example/encoders"), load_conditioner(str(made))
    images = torch.rand(1, 3, 64, 64)
    assert torch.allclose(committed.embed(images), again.embed(images), atol=1e-4)
    assert torch.allclose(committed.encode(images), again.encode(images), atol=1e-4)
    assert not any(p.requires_grad for p in committed.parameters())


def test_pretrained_parts_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_conditioner("example/encoders").encode(torch.zeros(1, 3, 64, 64)).shape == (1, 4, 8, 8)


def test_launch_files_are_accelerates(data, tmp_path):
    from accelerate.commands.config.config_args import load_config_from_file

    kinds = {
        path.stem: load_config_from_file(str(path)).distributed_type
        for path in (ROOT / "configs" / "accelerate").iterdir()
    }
    assert kinds == {"ddp": "MULTI_GPU", "fsdp": "FSDP", "deepspeed_zero2": "DEEPSPEED"}


@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed")
def test_deepspeed_saves_and_goes_on(data, tmp_path):
    _launch_file("deepspeed_zero2", data, tmp_path, 1)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices; test_sharded.py has FSDP over CPUs")
@pytest.mark.parametrize("name", ["ddp", "fsdp", "deepspeed_zero2"])
def test_launch_files_train_save_and_go_on(data, tmp_path, name):
    if name.startswith("deepspeed"):
        pytest.importorskip("deepspeed")
    _launch_file(name, data, tmp_path, 2)


def _launch_file(name: str, data: Path, tmp_path: Path, processes: int) -> None:
    import subprocess
    import sys

    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes)]
    launcher += ["--config_file", f"configs/accelerate/{name}.yaml", "train_diffusion.py"]
    for steps in (2, 4):
        command = [*launcher, *arguments("diffusion", data, tmp_path / "out", f"train.max_steps={steps}")]
        subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, timeout=300)
    assert checkpoint.steps(tmp_path / "out") == [2, 4]
    assert load_stage(tmp_path / "out").step == 4


def test_published_configs_name_parts_that_from_pretrained_can_load():
    """Offline the hub cannot be asked; the names and the lengths that depend on them are held."""
    for name in ("diffusion", "upsampler", "upsampler_unet"):
        model = load_config(ROOT / "configs" / f"{name}.yaml").model
        assert model.pretrained == "stabilityai/stable-video-diffusion-img2vid"
        assert model.cross_attention_dim == 1024
