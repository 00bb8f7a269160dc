"""What goes wrong in weeks of training, done to real runs: each ends in one line, and what was saved stays."""

import json
import resource
import shutil
import signal
import time

import pytest
import torch
from helpers.tiny_runs import make_data
from helpers.training_runs import children, contents, last_line, launch, run, start

from xray.common.errors import InputError
from xray.inference.stage import load_stage
from xray.training import checkpoint


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """An output folder with the checkpoints 1 and 2."""
    output = tmp_path_factory.mktemp("trained") / "out"
    assert run("diffusion", data, output, "train.max_steps=2", "train.checkpoint_every=1") == 0
    return output


@pytest.fixture
def output(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "out")


def test_a_loss_that_is_not_finite_stops_with_step_and_samples(data, tmp_path, capsys):
    options = ("train.max_steps=9", "train.checkpoint_every=1", "train.learning_rate=1e30", "train.warmup_steps=0")
    assert run("diffusion", data, tmp_path / "out", *options) == 1
    line = last_line(capsys)
    assert line.startswith("error: step 2: the loss is not finite for ball")
    assert checkpoint.steps(tmp_path / "out") == [1]
    assert checkpoint.damage_of(tmp_path / "out" / "checkpoint-1") is None
    failed = tmp_path / "out" / "failed-step-2"
    assert str(failed) in line
    assert json.loads((failed / "trainer.json").read_text())["step"] == 1
    assert all(torch.equal(a, b) for a, b in _tensors(failed, tmp_path / "out" / "checkpoint-1"))


def _tensors(*paths):
    one, two = (contents(path) for path in paths)
    return [(value, two[name]) for name, value in one.items() if isinstance(value, torch.Tensor)]


def test_a_full_disk_leaves_the_old_checkpoint(data, output):
    def limit():  # the system then refuses to let a file grow further, as a full disk does
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    assert start("diffusion", data, output, "train.max_steps=4", before=limit).wait(600) == 1
    last = output.with_suffix(".log").read_text().strip().splitlines()[-1]
    assert last.startswith(f"error: {output}/checkpoint-4: cannot be saved")
    assert last.endswith("checkpoint-2 is intact")
    assert checkpoint.steps(output) == [1, 2]
    assert checkpoint.damage_of(output / "checkpoint-2") is None
    assert run("diffusion", data, output, "train.max_steps=4") == 0  # the disk has room again
    assert checkpoint.steps(output)[-1] == 4
    assert not list(output.glob(".*"))


def test_a_half_written_checkpoint_is_never_taken(data, output, caplog):
    shutil.copytree(output / "checkpoint-2", output / ".checkpoint-7.partial")
    (output / ".checkpoint-7.partial" / checkpoint.SUMS).unlink()
    assert checkpoint.find(output).name == "checkpoint-2"
    assert run("diffusion", data, output, "train.max_steps=2") == 0
    assert not list(output.glob(".*"))


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def _flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["model.safetensors", "ema.safetensors", "optimizer.pt", "trainer.json"])
@pytest.mark.parametrize("damage", [_truncate, _flip, lambda path: path.unlink()], ids=["cut", "flipped", "missing"])
def test_damage_is_named_and_the_one_before_is_taken_on_request_only(data, output, capsys, name, damage):
    damage(output / "checkpoint-2" / name) if name != "trainer.json" else _flip(output / "checkpoint-2" / name)
    assert name in checkpoint.damage_of(output / "checkpoint-2")
    with pytest.raises(InputError, match=name):
        load_stage(output)
    if damage is _flip:
        assert run("diffusion", data, output, "train.max_steps=2") == 2
        line = last_line(capsys)
        assert f"{output}/checkpoint-2: damaged checkpoint: {name}" in line
        assert "train.on_damaged=previous" in line
        assert checkpoint.steps(output) == [1, 2]


def test_going_on_from_the_one_before_gives_the_same_result(data, trained, output):
    _flip(output / "checkpoint-2" / "model.safetensors")
    options = ("train.max_steps=2", "train.checkpoint_every=1", "train.on_damaged=previous")
    assert run("diffusion", data, output, *options) == 0
    assert checkpoint.damage_of(output / "checkpoint-2") is None
    assert all(torch.equal(a, b) for a, b in _tensors(output / "checkpoint-2", trained / "checkpoint-2"))


def test_an_empty_checkpoint_folder_and_an_empty_output(tmp_path):
    (tmp_path / "out" / "checkpoint-5").mkdir(parents=True)
    with pytest.raises(InputError, match="checkpoint-5: damaged checkpoint: the folder is empty"):
        load_stage(tmp_path / "out")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="none: no checkpoint"):
        load_stage(tmp_path / "none")
    with pytest.raises(InputError, match="nowhere: no such folder"):
        load_stage(tmp_path / "nowhere")


def test_another_stage_or_size_is_refused_with_the_key(data, output, capsys):
    assert run("upsampler", data, output) == 2
    assert "made with stage 'diffusion', this run has 'upsampler'" in last_line(capsys)
    assert run("diffusion", data, output, "model.block_out_channels=[32, 64]") == 2
    assert "made with model.block_out_channels [32, 32], this run has [32, 64]" in last_line(capsys)
    assert run("diffusion", data, output, "codec.far=1.8") == 2
    assert "made with codec.far 2.4, this run has 1.8" in last_line(capsys)
    # Whose numbers the other optimizer cannot read.
    assert run("diffusion", data, output, "train.optimizer=muon") == 2
    assert "made with train.optimizer 'adamw', this run has 'muon'" in last_line(capsys)


def test_a_truncated_sample_stops_or_is_left_out_but_is_always_named(data, tmp_path, capsys, caplog):
    root = shutil.copytree(data, tmp_path / "data")
    broken = root / "xrays" / "ball0" / "001.npz"
    broken.write_bytes(broken.read_bytes()[:200])
    options = ("train.max_steps=4", "train.batch_size=2")
    assert run("diffusion", root, tmp_path / "stop", *options, "data.num_workers=1") == 2
    assert str(broken) in last_line(capsys)
    assert run("diffusion", root, tmp_path / "skip", *options, "data.on_error=skip") == 0
    named = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert len(named) == 2  # 8 samples of 4 views: it comes up twice
    assert all(str(broken) in line for line in named)


def test_a_killed_data_worker_ends_the_run_in_one_line(data, tmp_path):
    process = launch("diffusion", data, tmp_path / "out", "train.max_steps=5000", "data.num_workers=1")
    log = tmp_path / "out.log"
    (tmp_path / "out").mkdir(exist_ok=True)
    while not children(process):
        assert process.poll() is None
        time.sleep(0.01)
    children(process)[0].kill()
    assert process.wait(600) == 1
    assert "error: a data worker was lost" in log.read_text().strip().splitlines()[-1]
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("data.root=nowhere", "nowhere"),
        ("model.pretrained=nowhere", "nowhere/image_encoder: cannot be loaded"),
        ("model.cross_attention_dim=24", "expected 16, the length of the image embedding"),
        ("codec.resolution=6", "not a whole multiple"),
        ("codec.layers=40", "layers"),
        ("codec.miss=nothing", "expected one of zero, far, last"),
    ],
)
def test_input_that_cannot_be_used_is_one_line(data, tmp_path, capsys, override, reason):
    assert run("diffusion", data, tmp_path / "out", override) == 2
    assert reason in last_line(capsys)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device, where these run")
@pytest.mark.parametrize(
    "override", ["train.precision=fp16", "train.tf32=true", "train.optimizer=adamw8bit", "train.attention=xformers"]
)
def test_what_needs_a_gpu_says_so(data, tmp_path, capsys, override):
    assert run("diffusion", data, tmp_path / "out", override) == 2
    assert f"{override.split('=')[0]}" in last_line(capsys)
