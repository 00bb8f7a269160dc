"""A mistake under the launcher is one line and its own status, from one process and from several."""

import os
import subprocess
import sys

import pytest
from helpers.tiny_runs import make_data
from helpers.training_runs import ROOT, arguments

FLAGS = {
    "one": ["--cpu", "--num_processes", "1", "--num_machines", "1"],
    "two": ["--num_processes", "2", "--config_file", "configs/accelerate/fsdp.yaml"],  # under torchrun's agent
}
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def launch(flags: list[str], *command: str) -> subprocess.CompletedProcess:
    launcher = [sys.executable, "-m", "xray.training.launch", *flags]
    return subprocess.run([*launcher, *command], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=400)


@pytest.mark.parametrize("flags", FLAGS)
def test_a_mistake_is_one_line(tmp_path, flags):
    overrides = arguments("diffusion", tmp_path / "nothing", tmp_path / "out")
    done = launch(FLAGS[flags], "train_diffusion.py", *overrides)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert lines[-1] == f"error: {tmp_path}/nothing: no such folder"
    assert sum(line.startswith("error") for line in lines) == 1


def test_what_ends_well_ends_well_and_a_signal_is_named(tmp_path):
    data = make_data(tmp_path / "data")
    done = launch(
        FLAGS["one"], "train_diffusion.py", *arguments("diffusion", data, tmp_path / "out", "train.max_steps=1")
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "out" / "checkpoint-1").is_dir()
    killed = tmp_path / "killed.py"
    killed.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    done = launch(FLAGS["one"], str(killed))
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (
        1,
        "error: the process was ended by SIGKILL; the system may have run out of memory",
    )
    assert "Traceback" not in done.stderr
