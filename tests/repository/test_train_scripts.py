"""The training scripts, as users call them: they train, and bad input is one line and its own status."""

import os
import subprocess

import pytest
from helpers.tiny_runs import make_data
from helpers.training_runs import ROOT, arguments

from xray.training import checkpoint

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv" / "requirements.sha256").exists(), reason="no .venv made by scripts/setup.sh, which this calls"
)


def call(stage: str, config: str, *overrides: str) -> subprocess.CompletedProcess:
    env = os.environ | {"CONFIG": config, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = ["bash", f"scripts/train_{stage}.sh", *overrides]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("stage", ["diffusion", "upsampler"])
def test_a_script_trains_a_step(tmp_path, stage):
    output = tmp_path / "out"
    _, config, *overrides = arguments(stage, make_data(tmp_path / "data"), output, "train.max_steps=1")
    done = call(stage, config, *overrides)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "from step 0 to 1" in done.stderr
    assert checkpoint.steps(output) == [1]


@pytest.mark.parametrize("stage", ["diffusion", "upsampler"])
def test_bad_input_is_one_line(tmp_path, stage):
    config = f"configs/example_{stage}.yaml"
    done = call(stage, config, "train.max_step=1")
    assert (done.returncode, done.stderr) == (
        2,
        "error: train.max_step=1: unknown key train.max_step; the nearest known key is train.max_steps\n",
    )


def test_what_only_the_launched_process_sees_is_one_line_too(tmp_path):
    done = call("diffusion", "configs/example_diffusion.yaml", f"data.root={tmp_path}/none", f"output_dir={tmp_path}")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert f"{tmp_path}/none" in errors[0]
