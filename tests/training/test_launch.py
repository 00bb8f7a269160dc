"""A mistake under the launcher is one line and its own status, from one process and from several."""

import os
import subprocess
import sys

from helpers.tiny_runs import make_data
from helpers.training_runs import ROOT, arguments

from xray.training import launch

ONE = ["--cpu", "--num_processes", "1", "--num_machines", "1"]
TWO = ["--num_processes", "2", "--config_file", "configs/accelerate/fsdp.yaml"]  # under torchrun's agent
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def launch_one(monkeypatch, capfd, *command: str) -> tuple[int, str]:
    """Status and stderr of the launcher, here, and of the process that it starts."""
    monkeypatch.chdir(ROOT)
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    capfd.readouterr()
    status = launch.main([*ONE, *command])
    return status, capfd.readouterr().err


def assert_says_once(status: int, errors: str, line: str) -> None:
    assert status == 2, errors[-2000:]
    assert "Traceback" not in errors
    lines = errors.strip().splitlines()
    assert lines[-1] == line
    assert sum(line.startswith("error") for line in lines) == 1


def test_a_mistake_is_one_line_from_one_process(tmp_path, monkeypatch, capfd):
    overrides = arguments("diffusion", tmp_path / "nothing", tmp_path / "out")
    done = launch_one(monkeypatch, capfd, "train_diffusion.py", *overrides)
    assert_says_once(*done, f"error: {tmp_path}/nothing: no such folder")


def test_a_mistake_is_one_line_from_two_processes(tmp_path):
    overrides = arguments("diffusion", tmp_path / "nothing", tmp_path / "out")
    command = [sys.executable, "-m", "xray.training.launch", *TWO, "train_diffusion.py", *overrides]
    environment = os.environ | ENVIRONMENT
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400)
    assert_says_once(done.returncode, done.stderr, f"error: {tmp_path}/nothing: no such folder")


def test_what_ends_well_ends_well(tmp_path, monkeypatch, capfd):
    overrides = arguments("diffusion", make_data(tmp_path / "data"), tmp_path / "out", "train.max_steps=1")
    status, errors = launch_one(monkeypatch, capfd, "train_diffusion.py", *overrides)
    assert status == 0, errors[-2000:]
    assert (tmp_path / "out" / "checkpoint-1").is_dir()


def test_a_signal_is_named(tmp_path, monkeypatch, capfd):
    killed = tmp_path / "killed.py"
    killed.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    status, errors = launch_one(monkeypatch, capfd, str(killed))
    assert (status, errors.strip().splitlines()[-1]) == (
        1,
        "error: the process was ended by SIGKILL; the system may have run out of memory",
    )
    assert "Traceback" not in errors
