"""A mistake under the launcher is one line and its own status, from one process and from several."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from helpers.tiny_runs import make_data
from helpers.training_runs import ROOT, arguments

from xray.training import checkpoint, launch

ONE = ["--cpu", "--num_processes", "1", "--num_machines", "1"]
TWO = ["--num_processes", "2", "--config_file", "configs/accelerate/fsdp.yaml"]  # under torchrun's agent
PATIENCE_S = 900
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


TRAIN = "train_diffusion.py"
DDP = ["--num_processes", "2", "--config_file", "configs/accelerate/ddp.yaml"]


@pytest.fixture
def start_two():
    """Starts a launch of two processes, with its output in a file; none outlives the test."""
    started = []

    def start(log: Path, script: str, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "xray.training.launch", *DDP, script, *arguments]
        environment = os.environ | ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""}
        with log.open("w") as stream:
            started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                each.kill()
            process.wait()


def test_sigterm_to_all_saves_and_what_is_killed_then_is_named(start_two, tmp_path):
    """As at a preemption, whose signal reaches every process of the job; then one process is lost."""
    data, output, log = make_data(tmp_path / "data"), tmp_path / "out", tmp_path / "log"
    options = ("train.max_steps=5000", "train.checkpoint_every=5000", "data.num_workers=1")
    run = start_two(log, TRAIN, *arguments("diffusion", data, output, *options))
    wait_for_text(log, "from step 0 to 5000: 2 processes", run)
    for process in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
        process.send_signal(signal.SIGTERM)
    assert run.wait(PATIENCE_S) == 0, log.read_text()[-2000:]
    (step,) = checkpoint.steps(output)
    assert checkpoint.damage_of(output / f"checkpoint-{step}") is None
    said = f"stopped by a signal after step {step}, saved; the same command goes on from there"
    assert log.read_text().splitlines()[-1].endswith(said)

    run = start_two(log, TRAIN, *arguments("diffusion", data, output, *options))
    wait_for_text(log, f"from step {step} to 5000: 2 processes", run)
    psutil.Process(run.pid).children()[1].kill()
    assert run.wait(PATIENCE_S) == 1
    assert log.read_text().splitlines()[-1] == (
        "error: process 1 was ended by SIGKILL; the system may have run out of memory"
    )
    assert checkpoint.steps(output) == [step]
    assert checkpoint.damage_of(output / f"checkpoint-{step}") is None


def test_an_error_of_one_process_ends_all_with_its_status(start_two, tmp_path):
    """The other one waits for it and would wait for ever; both have a line to say, and the first one's counts."""
    script, log = tmp_path / "fails.py", tmp_path / "log"
    script.write_text(
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1':\n"
        "    sys.exit('error: xrays/a/000.npz: cut short')\n"
        "time.sleep(600)\n"
    )
    assert start_two(log, str(script)).wait(PATIENCE_S) == 1
    lines = log.read_text().splitlines()
    assert lines[-1] == "error: xrays/a/000.npz: cut short"
    assert "Traceback" not in log.read_text()


def wait_for_text(log: Path, text: str, process: subprocess.Popen) -> None:
    while text not in log.read_text():
        assert process.poll() is None, log.read_text()[-2000:]
        time.sleep(0.05)
