"""The small data set of the repository is what its own commands make of its own meshes."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np

from xray.common.images import foreground, load_rgba
from xray.core.codec import Codec
from xray.core.storage import load_xray
from xray.data.dataset import XRayDataset

ROOT = Path(__file__).parents[2]
DATASET = ROOT / "example/dataset"


def test_the_commands_make_the_data_set_again(tmp_path):
    meshes = ["--mesh_root", str(ROOT / "example/meshes"), "--image_root", str(tmp_path / "images"), "--workers", "1"]
    xrays = ["--xray_root", str(tmp_path / "xrays")]
    for script, flags in (
        ("preprocess/get_image/render.py", ["--num_views", "1"]),
        ("preprocess/get_xray/get_xray.py", xrays),
    ):
        subprocess.run([sys.executable, ROOT / script, *meshes, *flags], check=True, capture_output=True)
    files = sorted(path.relative_to(DATASET) for path in DATASET.rglob("*.npz"))
    assert files == sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.npz"))
    assert len(files) == 6
    for file in files:
        kept, made = load_xray(DATASET / file), load_xray(tmp_path / file)
        # Another processor may round a ray at an edge to the other side.
        assert (kept.hit != made.hit).mean() < 1e-5
        both = kept.hit & made.hit
        np.testing.assert_allclose(made.depth[both], kept.depth[both], atol=1e-4)
    for picture in sorted(DATASET.rglob("*.png")):
        kept, made = (foreground(load_rgba(root / picture.relative_to(DATASET))) for root in (DATASET, tmp_path))
        assert kept.shape == (512, 512)
        assert (kept != made).mean() < 1e-5


def test_it_has_a_manifest_and_a_held_out_object():
    with (DATASET / "manifest.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["status"] for row in rows} == {"accepted"}
    assert min(float(row["mask_iou"]) for row in rows) > 0.99
    split = {
        name: {item["object"] for item in XRayDataset(DATASET, Codec(), split=name)}
        for name in ("train", "test", "all")
    }
    assert split["test"] == {"jar"}
    assert split["train"] | split["test"] == split["all"] == {row["object"] for row in rows}
    assert not split["train"] & split["test"]
