"""The shipped model: it is small, and on held-out objects as good as its card says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from xray.data.dataset import XRayDataset, is_test
from xray.recipes.scores import HeldOutScorer, load_pipelines, predict

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "example/pretrained"
EVERY = 4
"""Every fourth held-out object is made and scored again."""


@pytest.fixture(scope="module")
def card():
    return json.loads((SHIPPED / "scores.json").read_text())


@pytest.fixture(scope="module")
def held_out(card, tmp_path_factory):
    """Root of a data set of some of the held-out objects, made as those of the card."""
    root, made = tmp_path_factory.mktemp("held_out"), card["objects"]
    sys.path.insert(0, str(ROOT / "example"))
    from shapes import make_object, to_scene

    (root / "meshes").mkdir()
    for view in sorted(card["views"]["scores"])[::EVERY]:
        name, parts = make_object(made["seed"], int(view.split("_")[1]))
        assert is_test(name, 0.1)
        (root / f"meshes/{name}.glb").write_bytes(to_scene(parts).export(file_type="glb"))
    shared = ("--mesh_root", root / "meshes", "--image_root", root / "images", "--workers", 0)
    look = ("--num_views", made["views"], "--image_size", made["image_size"], "--framing", made["framing"])
    for script, *flags in (
        ("get_image/render.py", *look),
        ("get_xray/get_xray.py", "--xray_root", root / "xrays", "--resolution", made["rays"], "--timeout", 0),
    ):
        subprocess.run([sys.executable, ROOT / "preprocess" / script, *map(str, (*shared, *flags))], check=True)
    return root


def test_it_is_as_good_as_its_card_says(card, held_out):
    first, second = load_pipelines(SHIPPED / "diffusion", SHIPPED / "upsampler")
    dataset = XRayDataset(held_out, second.codec, "test", second.training.data.image_size)
    scorer = HeldOutScorer(dataset, held_out / "meshes")
    scores = scorer.score(predict(scorer, first, second, card["views"]["seed"]))
    stated = card["views"]["scores"]
    assert len(scores) == -(-len(stated) // EVERY)
    for metric in ("chamfer", "depth_error", "color_error"):
        now, then = (np.mean([rows[name][metric] for name in scores]) for rows in (scores, stated))
        assert now < 1.1 * then, metric


def test_the_card_states_the_scores_and_the_model_is_small_and_needs_no_encoders(card):
    text = (SHIPPED / "README.md").read_text()
    for metric in ("chamfer", "fscore@0.05", "hidden_chamfer"):
        for values in (card["mean"], card["baselines"]["nearest"]):
            assert f"{values[metric]:.4f}" in text, metric
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 40 * 2**20
    assert not list(SHIPPED.rglob("*.bin"))
    parts = {path.name for stage in ("diffusion", "upsampler") for path in (SHIPPED / stage).iterdir()}
    assert parts == {"model_index.json", "scheduler", "unet"}
