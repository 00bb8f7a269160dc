"""FSDP over two CPU processes: it trains as DDP does, saves from every process, and goes on."""

import os

import torch
import torch.distributed.run
from accelerate.commands.launch import launch_command, launch_command_parser
from helpers.forked import python
from helpers.tiny_runs import make_data
from helpers.training_runs import ROOT, arguments, start
from safetensors.torch import load_file

from xray.inference.stage import load_stage
from xray.training import checkpoint

# So large an epsilon makes AdamW's steps follow the size of the gradient, which then must be right, not only its sign.
OPTIONS = (
    "model.kind=unet",
    "model.cross_attention_dim=16",
    "model.addition_time_embed_dim=32",
    "train.schedule=constant",
    "train.epsilon=1",
    "train.learning_rate=1e-1",
    "train.warmup_steps=0",
    "train.checkpoint_every=1",
)


FLAGS = ["--num_processes", "2", "--config_file", "configs/accelerate/fsdp.yaml", "train_upsampler.py"]


def launch_environment(monkeypatch) -> dict[str, str]:
    """What `accelerate launch` tells the processes by their environment; they are not started."""
    told = {}
    with monkeypatch.context() as launcher:
        launcher.chdir(ROOT)
        launcher.setattr(torch.distributed.run, "run", lambda _: told.update(os.environ))
        launch_command(launch_command_parser().parse_args(FLAGS))
    assert told["ACCELERATE_USE_FSDP"] == "true"
    return told


def test_sharded_training_equals_ddp_also_after_going_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = make_data(tmp_path / "data")
    with monkeypatch.context() as launched:
        for name, value in launch_environment(monkeypatch).items():
            launched.setenv(name, value)
        first = start("upsampler", data, tmp_path / "fsdp", "train.max_steps=1", *OPTIONS, processes=2)
        assert first.wait(900) == 0
    assert "2 processes x batch 1" in (tmp_path / "fsdp.log").read_text()
    assert list((tmp_path / "fsdp" / "checkpoint-1").rglob("*.distcp")), "sharded already"

    overrides = ("train.max_steps=2", *OPTIONS)
    command = ["-m", "accelerate.commands.launch", *FLAGS]
    command += arguments("upsampler", data, tmp_path / "fsdp", *overrides)
    log = tmp_path / "launched.log"
    assert python(command, ROOT, log).wait(900) == 0, log.read_text()[-2000:]
    assert "2 processes x batch 1" in log.read_text()
    assert "going on from step 1" in log.read_text()
    assert start("upsampler", data, tmp_path / "ddp", *overrides, processes=2).wait(900) == 0

    folder = tmp_path / "fsdp" / "checkpoint-2"
    parts = {path.name for path in folder.rglob("*.distcp")}
    assert {name.split("_")[2] for name in parts} == {"0", "1"}, "each process writes its part of the optimizer"
    for name in (checkpoint.MODEL, checkpoint.EMA):
        one, two = (load_file(tmp_path / run / "checkpoint-2" / name) for run in ("fsdp", "ddp"))
        assert one.keys() == two.keys()
        assert all(torch.allclose(one[key], two[key], atol=1e-5) for key in one), name
    untrained, ema = load_stage(tmp_path / "fsdp", trained=False), load_stage(tmp_path / "fsdp")
    assert ema.step == 2
    moved = [
        float((a - b).abs().max()) for a, b in zip(untrained.model.parameters(), ema.model.parameters(), strict=True)
    ]
    assert max(moved) > 1e-3, "a hundred times the tolerance above"
