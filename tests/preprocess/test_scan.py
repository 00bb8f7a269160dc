"""The manifest that is made by reading a data set's files."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.made_xrays import make_dataset
from PIL import Image

from xray.core.codec import Codec
from xray.core.storage import load_xray
from xray.data.dataset import XRayDataset
from xray.data.manifest import read_manifest

ROOT = Path(__file__).parents[2]
RELEASED = ROOT.parent / "shared/reference/dataset"


def scan_dataset(*arguments) -> subprocess.CompletedProcess:
    command = [sys.executable, ROOT / "scripts/scan_dataset.py", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.fixture
def root(tmp_path):
    """A data set whose pictures show what the first layers hit, twice as large as the rays."""
    root = make_dataset(tmp_path / "data", objects=3, views=2)
    for path in root.glob("xrays/*/*.npz"):
        alpha = np.repeat(np.repeat(load_xray(path).hit[0] * np.uint8(255), 2, 0), 2, 1)
        picture = np.stack([alpha] * 4, -1)
        Image.fromarray(picture, "RGBA").save(root / "images" / path.parent.name / f"{path.stem}.png")
    return root


def test_views_are_measured_and_judged(root):
    damaged = root / "xrays/object01/000.npz"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    (root / "images/object02/001.png").unlink()
    other = Image.open(root / "images/object00/001.png").transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    other.save(root / "images/object00/001.png")
    done = scan_dataset("--data_root", root, "--workers", 2, "--near", 1.0, "--far", 1.5)
    assert done.returncode == 3, done.stderr
    assert f"failed: {damaged}: not readable" in done.stderr
    rows = read_manifest(root / "manifest.csv")
    assert [(row.object, row.view, row.status) for row in rows] == [
        ("object00", "000", "accepted"),
        ("object00", "001", "rejected"),
        ("object01", "000", "failed"),
        ("object01", "001", "accepted"),
        ("object02", "000", "accepted"),
        ("object02", "001", "no picture"),
    ]
    for row in rows:
        if row.accepted:
            xray = load_xray(root / "xrays" / row.object / f"{row.view}.npz")
            assert row.mask_iou == 1
            assert row.hits == tuple(xray.hit.sum((1, 2)))
            assert row.hits_before_near == ((xray.depth > 0) & (xray.depth <= 1)).sum()
            assert row.hits_beyond_far == (xray.depth >= 1.5).sum()
            assert row.camera_distance == (None if row.object == "object00" else 1.5)
    assert len(XRayDataset(root, Codec(layers=3, resolution=8), "all")) == 3


def test_parts_join_to_the_whole(root, tmp_path):
    parts = shutil.copytree(root, tmp_path / "parts")
    for index in range(2):
        assert scan_dataset("--data_root", parts, "--workers", 0, "--shard", f"{index}/2").returncode == 0
    join = [sys.executable, ROOT / "scripts/merge_manifests.py", "--data_root", parts]
    assert subprocess.run(join, capture_output=True, timeout=60).returncode == 0
    assert scan_dataset("--data_root", root, "--workers", 0).returncode == 0
    assert (parts / "manifest.csv").read_bytes() == (root / "manifest.csv").read_bytes()


def test_a_manifest_is_not_replaced_unasked(root):
    (root / "manifest.csv").write_text("precious")
    done = scan_dataset("--data_root", root)
    assert done.returncode == 2
    assert "is there already" in done.stderr
    assert (root / "manifest.csv").read_text() == "precious"
    assert scan_dataset("--data_root", root, "--overwrite").returncode == 0
    for options in (["--data_root", root / "none"], ["--data_root", root, "--overwrite", "--min_iou", 2]):
        done = scan_dataset(*options)
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.skipif(not RELEASED.is_dir(), reason=f"the released example data are not at {RELEASED}")
def test_released_data_are_all_accepted(tmp_path):
    root = shutil.copytree(RELEASED, tmp_path / "data", copy_function=shutil.copyfile)
    root.chmod(0o755)
    assert scan_dataset("--data_root", root).returncode == 0
    rows = read_manifest(root / "manifest.csv")
    assert len(rows) == 5
    assert all(row.accepted and row.mask_iou > 0.95 for row in rows)
    assert any(row.hits_beyond_far == 0 and sum(row.hits) > 10_000 for row in rows)
