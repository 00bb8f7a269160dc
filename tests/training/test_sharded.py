"""FSDP over two CPU processes: it trains as DDP does, saves from every process, and goes on."""

import os
import subprocess
import sys

import torch
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


def test_sharded_training_equals_ddp_also_after_going_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    data = make_data(tmp_path / "data")
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "2"]
    launcher += ["--config_file", "configs/accelerate/fsdp.yaml", "train_upsampler.py"]
    for steps in (1, 2):
        overrides = (f"train.max_steps={steps}", *OPTIONS)
        command = [*launcher, *arguments("upsampler", data, tmp_path / "fsdp", *overrides)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "2 processes x batch 1" in done.stderr
    assert "going on from step 1" in done.stderr
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
