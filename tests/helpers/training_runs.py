"""Real trainings at tiny size, in this process or in others that can be launched, signalled and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import warnings
from pathlib import Path

import psutil
import torch
from accelerate.state import AcceleratorState, GradientState
from helpers.forked import Forked, can_fork, distributed, python
from safetensors.torch import load_file

from xray.commands.train import train
from xray.common.cli import entry

ROOT = Path(__file__).parents[2]
Process = subprocess.Popen | Forked
PARTS = ("model.safetensors", "ema.safetensors", "optimizer.pt", "trainer.json")


def arguments(stage: str, data: Path, output: Path, *overrides: str) -> list[str]:
    """Command line of a training that takes a fraction of a second a step; later overrides win."""
    size = 16 if stage == "upsampler" else 8
    return [
        "--config",
        str(ROOT / "configs" / f"example_{stage}.yaml"),
        f"data.root={data}",
        f"output_dir={output}",
        "data.image_size=64",
        "data.eval_fraction=0",
        "codec.miss=zero",
        "loss.miss_weight=1",
        "codec.layers=4",
        f"codec.resolution={size}",
        "model.factor=2",
        "model.layers_per_block=1",
        "model.block_out_channels=[32, 32]",
        "model.num_attention_heads=[2, 2]",
        "train.batch_size=1",
        "train.trackers=[]",
        *overrides,
    ]


def run(stage: str, data: Path, output: Path, *overrides: str) -> int:
    """Train in this process; the exit status."""
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    return entry(train)(stage, arguments(stage, data, output, *overrides))


def launch(stage: str, data: Path, output: Path, *overrides: str, processes: int = 1, before=lambda: None) -> Process:
    """Train by the command, in another process or in several under torchrun, with stderr in `output`.log."""
    module = []
    if processes > 1:
        module = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]

    def prepare() -> None:
        os.environ.update(OMP_NUM_THREADS="1", PYTHONWARNINGS="ignore")
        warnings.simplefilter("ignore")
        before()

    words = [*module, f"train_{stage}.py", *arguments(stage, data, output, *overrides)]
    return python(words, ROOT, output.with_suffix(".log"), prepare)


def start(stage: str, data: Path, output: Path, *overrides: str, processes: int = 1, before=lambda: None) -> Process:
    """As `launch`, in copies of this process: no command, no torchrun, and at once. `before` is called there first."""
    if not can_fork():
        return launch(stage, data, output, *overrides, processes=processes, before=before)

    def train_here() -> int:
        warnings.simplefilter("ignore")
        return run(stage, data, output, *overrides)

    def work() -> int:
        before()
        return train_here() if processes == 1 else distributed(train_here, processes)

    return Forked(work, output.with_suffix(".log"))


def wait_for(path: Path, process: Process, timeout_s: float = 600) -> None:
    """Until `path` exists; the process must still be running then."""
    end = time.monotonic() + timeout_s
    while not path.exists():
        assert process.poll() is None, f"ended with {process.returncode} before {path.name}"
        assert time.monotonic() < end, f"{path.name} did not come"
        time.sleep(0.01)


def children(process: Process) -> list[psutil.Process]:
    """Processes that it started itself."""
    return psutil.Process(process.pid).children()


def kill_all(process: Process) -> None:
    """SIGKILL to the whole group, as a lost node would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def contents(checkpoint: Path) -> dict[str, object]:
    """Everything in a checkpoint that a run depends on, as tensors and text."""
    model, ema = load_file(checkpoint / PARTS[0]), load_file(checkpoint / PARTS[1])
    optimizer = torch.load(checkpoint / PARTS[2], weights_only=True)
    states = {
        f"optimizer.{i}.{name}": value for i, state in optimizer["state"].items() for name, value in state.items()
    }
    tensors = {f"model.{k}": v for k, v in model.items()} | {f"ema.{k}": v for k, v in ema.items()} | states
    return tensors | {"groups": optimizer["param_groups"], "trainer": (checkpoint / PARTS[3]).read_text()}


def assert_equal(first: Path, second: Path) -> None:
    """Bit for bit: weights, average, optimizer, learning rate, progress."""
    one, two = contents(first), contents(second)
    assert one.keys() == two.keys()
    different = [
        name
        for name, value in one.items()
        if not (torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name])
    ]
    assert not different


def last_line(capsys) -> str:
    """Last line of stderr so far."""
    return capsys.readouterr().err.strip().splitlines()[-1]
