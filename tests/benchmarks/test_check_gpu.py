"""The GPU check: its table survives a cut, a step costs itself alone, and the steps run on the CPU at tiny size."""

import argparse
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import check_gpu
import psutil
import pytest
import torch
from check_gpu import Summary, install_wheels, run_step
from gpu_steps import ABSENT, CUT, FAILED, FULL, OK, TIMEOUT, Result, Settings, last_error, training
from gpu_steps.plan import STEPS, Step
from helpers.forked import Forked, python

ROOT = Path(__file__).parents[2]


@pytest.fixture
def options(tmp_path):
    for name in ("logs", "steps"):
        (tmp_path / name).mkdir()
    return argparse.Namespace(out=tmp_path, device="cpu")


def start(out: Path, *arguments: str) -> subprocess.Popen:
    command = ["bash", "scripts/check_gpu.sh", "--device", "cpu", "--out", str(out), *arguments]
    env = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def content(out: Path) -> dict:
    return json.loads((out / "summary.json").read_text())["steps"]


def test_a_step_costs_itself_alone(options):
    missing = run_step(Step("machine", 60, "machine", "describe", ("no_such_package",)), options, 60, sys.executable)
    assert (missing.status, missing.reason) == (ABSENT, "no_such_package not installed")
    late = run_step(Step("machine", 60, "machine", "describe"), options, 0.2, sys.executable)
    assert late.status == TIMEOUT
    assert late.reason.startswith("stopped after 0 s; machine.log: ")
    broken = run_step(Step("no such step", 60, "machine", "describe"), options, 60, sys.executable)
    assert broken.status == FAILED
    assert broken.reason.startswith("status 1; no-such-step.log: ValueError")


def test_half_the_batch_where_memory_is_too_small(options, monkeypatch):
    step = Step("train", 60, "training", "measure")
    asked = []

    def run(step, options, limit_s, python, batch):
        asked.append(batch)
        number = batch or 14
        if number > fits:
            return Result(FULL, f"batch {number}: CUDA out of memory", values={"full_at": number})
        return Result(OK, f"batch {number}")

    monkeypatch.setattr(check_gpu, "_run_process", run)
    fits = 4
    assert run_step(step, options, 60, "").reason == "batch 3; out of memory with batch 14, 7"
    assert asked == [0, 7, 3]
    fits = 0
    none = run_step(step, options, 60, "")
    assert (none.status, none.values) == (FULL, {"full_at": 1})


def test_a_step_that_runs_out_of_memory_says_with_what_batch(tmp_path, monkeypatch):
    def full(config, *_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate\n2 GiB")

    monkeypatch.setattr(training, "_train", full)
    found = training.measure(Settings("cpu", tmp_path, batch=5), "diffusion", "fp32", ())
    assert found.status == FULL
    assert (found.reason, found.values) == ("batch 5: CUDA out of memory. Tried to allocate 2 GiB", {"full_at": 5})


def test_the_last_error_of_a_log_is_its_reason():
    log = "step 1\nTraceback (most recent call last):\n[rank1]: torch.OutOfMemoryError: no room\nE1 x.py\nSet V=1 ...\n"
    assert last_error(log) == "torch.OutOfMemoryError: no room"
    assert last_error("error: train.tf32 needs a CUDA device\nthe end\n") == "error: train.tf32 needs a CUDA device"
    assert last_error("ChildFailedError:\n\nlast words\n") == "last words"
    assert last_error("\n") == "empty"


def test_every_arithmetic_is_measured_with_and_without_compiling():
    ways = {step.name: step.arguments["overrides"] for step in STEPS if step.function == "measure"}
    for stage in ("diffusion", "upsampler", "upsampler_unet"):
        for name in ("fp32", "tf32", "bf16", "fp16"):
            plain = ways[f"train {stage} {name}"]
            assert ways[f"train {stage} {name} compile"] == (*plain, "train.compile=true")
        assert {f"train {stage} cache", f"train {stage} adamw8bit"} <= ways.keys()


def test_what_a_step_started_in_sessions_of_its_own_ends_with_it(options, tmp_path, monkeypatch):
    """As torchrun starts its processes; and all ends with the runner."""
    sleeper = "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True); "
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{sleeper} import time; time.sleep(600)"\n')
    python.chmod(0o755)
    late = run_step(Step("machine", 60, "machine", "describe"), options, 2, str(python))
    assert late.status == TIMEOUT
    started = f"{check_gpu.MARK}={os.getpid()}-"
    assert not [process for process in psutil.process_iter() if started in environment_of(process)]


def environment_of(process: psutil.Process) -> str:
    try:
        return Path(f"/proc/{process.pid}/environ").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_the_steps_are_there_and_have_names_of_their_own():
    assert len({check_gpu._slug(step.name) for step in STEPS}) == len(STEPS)
    for step in STEPS:
        path = ROOT / "scripts/gpu_steps" / f"{step.module}.py"
        assert f"def {step.function}(settings: Settings" in path.read_text(), step.name


def test_the_table_survives_a_kill_and_the_same_command_goes_on(tmp_path):
    run = start(tmp_path, "--only", "machine", "casting")
    table = tmp_path / "summary.md"  # written after summary.json
    while not table.exists() or "casting" not in table.read_text():
        assert run.poll() is None, run.stderr.read()
        time.sleep(0.02)
    children = psutil.Process(run.pid).children(recursive=True)
    assert children
    run.kill()  # it has no time to write anything
    run.wait()
    assert not psutil.wait_procs(children, timeout=30)[1]  # a step does not outlive it, and keeps no GPU
    results = content(tmp_path)
    assert results["machine"]["status"] == OK
    assert results["casting"]["status"] == CUT
    assert "| casting | cut | 0 | was running when this run was cut off |" in table.read_text()

    again = start(tmp_path, "--minutes", "0.001")
    out, err = again.communicate(timeout=300)
    assert again.returncode == 0, err
    assert "machine: ok before, kept\n" in out
    assert content(tmp_path)["casting"]["status"] == "no time"
    assert content(tmp_path)["Blender"]["reason"] == "0.001 minutes were over"
    assert list(content(tmp_path))[:2] == ["machine", "casting"]


def test_results_of_another_device_are_not_mixed_in(tmp_path):
    Summary(tmp_path, "cuda", {}).put("machine", Result(OK, "a card"))
    with pytest.raises(SystemExit, match=r"results of --device cuda, this is cpu; another --out"):
        Summary.open(tmp_path, "cpu")


def copied(command: list[str], cwd: Path, stdout, env: dict[str, str], **_):
    """In place of `subprocess.Popen`, for a step: a copy of this process, which has imported torch."""
    return python(command[1:], cwd, Path(stdout.name), lambda: os.environ.update(env))


def test_training_is_measured_and_its_loss_compared(tmp_path, monkeypatch):
    """Three steps on the CPU; what needs a GPU is absent with the trainer's own words."""
    names = ["loss diffusion on the CPU", "train diffusion fp32", "train diffusion tf32"]
    monkeypatch.setattr(check_gpu.subprocess, "Popen", copied)
    arguments = ["--device", "cpu", "--out", str(tmp_path), "--only", *names]
    log = tmp_path / "check_gpu.log"
    assert Forked(lambda: check_gpu.main(arguments), log).wait(900) == 0, log.read_text()
    loss, fp32, tf32 = (content(tmp_path)[name] for name in names)
    assert fp32["values"]["loss_difference"] < 1e-6
    assert fp32["values"]["loss"] == pytest.approx(loss["values"]["loss"])
    assert fp32["values"]["samples_a_second"] > 0
    assert fp32["values"]["peak_gib"] > 0.1
    assert len(fp32["values"]["losses"]) == 2
    assert tf32["status"] == ABSENT
    assert tf32["reason"].startswith("refused on the CPU: train.tf32 needs a CUDA device")
    table = (tmp_path / "summary.md").read_text()
    assert "| training step | batch | samples/s | peak memory, GiB | loss, difference from the CPU's |" in table


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "nothing"], "--only nothing: expected some of: machine, "),
        (["--minutes", "0"], "--minutes 0: expected more than 0"),
        (["--wheels", "nowhere"], "--wheels nowhere: no such folder"),
    ],
)
def test_a_mistake_ends_at_once(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        check_gpu.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def write_wheel(folder: Path, name: str, version: str = "1.0", text: str = "") -> None:
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", text)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def test_wheels_are_installed_beside_what_is_there(tmp_path, options):
    folder = tmp_path / "wheels"
    folder.mkdir()
    write_wheel(folder, "made_up_package", text="value = 5\n")
    write_wheel(folder, "torch", "0.1")  # never: the machine's own belongs to its GPU
    (folder / "broken_package-1.0-py3-none-any.whl").write_bytes(b"no zip file")
    python, lines = install_wheels(folder, tmp_path)
    code = "import made_up_package, torch, numpy; print(made_up_package.value, torch.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["5", torch.__version__]
    text = "\n".join(lines)
    assert "torch-0.1-py3-none-any.whl: left out, this machine's own is used" in text
    assert "broken_package-1.0-py3-none-any.whl: not installed (" in text
    assert check_gpu._has(python, "made_up_package")
    assert not check_gpu._has(sys.executable, "made_up_package")
