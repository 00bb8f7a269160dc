"""Pretrained parts by their name on the Hugging Face hub: from its cache on disk, as on a machine without a net."""

import os
import shutil
import subprocess
import sys

import pytest
from helpers.tiny_runs import make_data
from helpers.training_runs import ROOT, arguments, run

from xray.models.unet import UNetShape, make_unet

NAME = "studio/tiny-video"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
UNET = UNetShape([32, 32], [2, 2], 1, 1, 16, 32, layers=4)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """HF_HOME after a download of the tiny encoders, with a U-Net beside them."""
    home = tmp_path_factory.mktemp("home")
    repository = home / "hub" / f"models--{NAME.replace('/', '--')}"
    snapshot = shutil.copytree(ROOT / "example" / "encoders", repository / "snapshots" / COMMIT)
    make_unet(UNET).save_pretrained(snapshot / "unet")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    return home


def train(home, data, output, *overrides: str) -> subprocess.CompletedProcess:
    """A step in a process of its own, since the libraries read their environment when they are imported."""
    command = [sys.executable, "train_diffusion.py", *arguments("diffusion", data, output, "train.max_steps=1")]
    env = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    env |= {"HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    return subprocess.run([*command, *overrides], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def test_a_training_starts_from_parts_named_as_on_the_hub(home, tmp_path):
    data = make_data(tmp_path / "data")
    options = ("model.init=pretrained", "train.validate_every=1", "sample.steps=1")  # validation loads the scheduler
    by_name = train(home, data, tmp_path / "name", f"model.pretrained={NAME}", *options)
    assert by_name.returncode == 0, by_name.stderr[-2000:]
    count = len(make_unet(UNET).state_dict())
    assert f"{NAME}/unet: {count} of {count} tensors taken" in by_name.stderr
    folder = home / "hub" / f"models--{NAME.replace('/', '--')}" / "snapshots" / COMMIT
    assert run("diffusion", data, tmp_path / "folder", "train.max_steps=1", f"model.pretrained={folder}", *options) == 0
    weights = [(tmp_path / name / "checkpoint-1" / "model.safetensors").read_bytes() for name in ("name", "folder")]
    assert weights[0] == weights[1]


def test_a_name_that_is_not_in_the_cache_is_one_line(home, tmp_path):
    done = train(home, make_data(tmp_path / "data"), tmp_path / "out", "model.pretrained=studio/absent")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line]
    assert len(errors) == 1
    assert errors[0].startswith("error: studio/absent/image_encoder: cannot be loaded, expected a folder or a hub rep")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
