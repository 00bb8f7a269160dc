"""Pipelines by name: loaded from the hub's local cache without a network, and pushed to a server that speaks for it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.hub_server import serving
from helpers.tiny_runs import make_data, train_stage
from PIL import Image

from xray.inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"

PUSH = """
for kind, folder in ((XRayDiffusionPipeline, "diffusion"), (XRayUpsamplerPipeline, "upsampler")):
    kind.from_pretrained(f"{sys.argv[2]}/{folder}").push_to_hub(f"someone/{folder}", private=True)
"""

LOAD = """
import sys
from PIL import Image
from xray import XRayDiffusionPipeline, XRayUpsamplerPipeline
{first}
first = XRayDiffusionPipeline.from_pretrained("someone/diffusion")
second = XRayUpsamplerPipeline.from_pretrained("someone/upsampler")
picture = Image.open(sys.argv[1])
print(second(picture, first(picture, 2).xrays).tensors.double().sum().item())
"""


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory):
    """Folder of both pipelines of a moment's training, a picture, and the sum of what they make of it."""
    root = tmp_path_factory.mktemp("hub")
    data = make_data(root / "data", objects=1, views=1)
    made = []
    for stage, kind in (("diffusion", XRayDiffusionPipeline), ("upsampler", XRayUpsamplerPipeline)):
        made.append(kind.from_pretrained(train_stage(stage, root / f"run_{stage}", data)))
        made[-1].save_pretrained(root / stage)
    path = data / "images" / "ball0" / "000.png"
    picture = Image.open(path)
    return root, path, made[1](picture, made[0](picture, 2).xrays).tensors.double().sum().item()


def run(code: str, *arguments, **environment: str) -> str:
    """What a fresh Python prints: where the hub is is settled when its library is imported."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_names_load_from_the_cache_without_a_network(pipelines, tmp_path):
    root, picture, expected = pipelines
    for stage in ("diffusion", "upsampler"):
        cached = tmp_path / "hub" / f"models--someone--{stage}"
        shutil.copytree(root / stage, cached / "snapshots" / COMMIT)
        (cached / "refs").mkdir()
        (cached / "refs" / "main").write_text(COMMIT)
    printed = run(LOAD.format(first=""), picture, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert float(printed) == pytest.approx(expected, rel=1e-5)


def test_what_is_pushed_arrives_and_loads_by_name(pipelines, tmp_path):
    root, picture, expected = pipelines
    with serving() as hub:
        places = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": "hf_made_up", "NO_PROXY": "127.0.0.1"}
        places["HF_HUB_OFFLINE"] = "0"  # run_tests.sh says 1, for every hub but this one
        printed = run(LOAD.format(first=PUSH), picture, root, **places)
        for stage in ("diffusion", "upsampler"):
            pushed = hub.repositories[f"someone/{stage}"]
            saved = {path.relative_to(root / stage).as_posix() for path in (root / stage).rglob("*") if path.is_file()}
            assert saved == set(pushed) - {"README.md"}
            for name in saved:
                if name.endswith(".safetensors"):
                    assert pushed[name] == (root / stage / name).read_bytes()
            assert str(root).encode() not in b"".join(pushed.values())
        assert hub.visibility == {"someone/diffusion": "private", "someone/upsampler": "private"}
        assert set(hub.authors) == {"Bearer hf_made_up"}
    assert float(printed) == pytest.approx(expected, rel=1e-5)
