"""Trainings in processes of their own: killed and resumed, two on one card, sharded."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from . import FAILED, OK, ROOT, Result, Settings, last_error

STEPS = 6
SMALL = (
    *("data.image_size=64", "codec.layers=4", "codec.resolution=8", "model.block_out_channels=[32, 32]"),
    *("model.num_attention_heads=[2, 2]", "train.trackers=[]", "data.eval_fraction=0", "train.schedule=constant"),
    *("train.epsilon=1", "train.learning_rate=0.1", "train.warmup_steps=0"),
)
"""So large an epsilon makes AdamW's steps follow the size of the gradient, not only its sign."""


def _arguments(output: Path, *overrides: str) -> list[str]:
    shutil.rmtree(output, ignore_errors=True)
    config = str(ROOT / "configs/example_diffusion.yaml")
    own = [f"data.root={ROOT / 'example/dataset'}", f"output_dir={output}", f"train.max_steps={STEPS}"]
    return ["--config", config, *SMALL, *own, "train.checkpoint_every=2", "train.keep_checkpoints=9", *overrides]


def _run(command: list[str], what: str) -> None:
    """Run a command, its output into the step's log; RuntimeError with its own last error where it fails."""
    lines = []
    pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    with subprocess.Popen(command, cwd=ROOT, **pipe) as process:
        for line in process.stdout:
            lines.append(line)
            sys.stdout.write(line)
            sys.stdout.flush()
    if process.returncode:
        raise RuntimeError(f"{what}: status {process.returncode}: {last_error(''.join(lines))}")


def _difference(one: Path, two: Path, name: str = "model.safetensors") -> float:
    """Largest of all weights of the last checkpoints; 0 where they are equal to the bit."""
    first, second = (load_file(folder / f"checkpoint-{STEPS}" / name) for folder in (one, two))
    return max(float((first[key].float() - second[key].float()).abs().max()) for key in first)


def kill_and_resume(settings: Settings) -> Result:
    """A training killed with SIGKILL and started again, against one that ran through, and that against its own like."""
    folders = {name: settings.out / "resume" / name for name in ("whole", "again", "killed")}
    train = [sys.executable, "train_diffusion.py"]
    for name in ("whole", "again"):
        _run([*train, *_arguments(folders[name])], name)
    arguments = _arguments(folders["killed"])
    process = subprocess.Popen([*train, *arguments], cwd=ROOT, start_new_session=True)  # its data workers too
    first = folders["killed"] / "checkpoint-2"
    while not first.exists() and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    last = max((int(path.name.split("-")[1]) for path in folders["killed"].glob("checkpoint-*")), default=0)
    _run([*train, *arguments], "resumed")
    resumed, own = (_difference(folders["whole"], folders[name]) for name in ("killed", "again"))
    values = {"resumed": resumed, "two_runs": own, "killed_after": last}
    if last in (0, STEPS):
        return Result(FAILED, f"it ended with checkpoint-{last}, before it could be killed", values=values)
    if resumed == 0:
        return Result(OK, f"killed after checkpoint-{last}, resumed to the same weights to the bit", values=values)
    reason = f"after kill and resume weights differ by {resumed:.1e}; two runs without a kill by {own:.1e}"
    return Result(OK if resumed <= 3 * own else FAILED, reason, values=values)


def two_processes(settings: Settings) -> Result:
    """DDP with two processes against one of twice the batch; on one card by gloo, as NCCL wants a card for each."""
    one, two = settings.out / "processes/one", settings.out / "processes/two"
    _run([sys.executable, "train_diffusion.py", *_arguments(one, "train.batch_size=2")], "one process")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    _run([*launcher, "-m", "gpu_steps.on_one_card", *_arguments(two, "train.batch_size=1")], "two processes")
    off, limit = _difference(one, two), 1e-5 if settings.device == "cpu" else 1e-3
    cards = torch.cuda.device_count()
    joined = {0: "on the CPU by gloo", 1: "on one card by gloo (NCCL refuses two on a card)"}
    how = joined.get(cards, f"on 2 of {cards} cards by NCCL")
    reason = f"2 processes {how}: weights differ by {off:.1e} from one process of batch 2 (limit {limit:.0e})"
    return Result(OK if off <= limit else FAILED, reason, values={"difference": off, "cards": cards})


def launch(settings: Settings, name: str) -> Result:
    """The launch file of a way to shard, with a process a card (two on the CPU), saved and taken up again."""
    processes = 2 if settings.device == "cpu" else torch.cuda.device_count()
    output = settings.out / "processes" / name
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", str(processes)]
    launcher += ["--config_file", f"configs/accelerate/{name}.yaml", "train_diffusion.py"]
    arguments = _arguments(output, "train.batch_size=1")
    for steps in (1, 2):
        _run([*launcher, *arguments, f"train.max_steps={steps}"], f"{name}, to step {steps}")
    whole = (output / "checkpoint-2" / "model.safetensors").exists()
    return Result(OK if whole else FAILED, f"{processes} processes, saved at step 1 and went on to 2")
