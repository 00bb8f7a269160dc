"""scripts/train_pretrained.sh from nothing to pipelines and scores, in seconds."""

from __future__ import annotations

import json

import pytest

from xray.inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
from xray.recipes import pretrained

drawn = []


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """Arguments of a run of seconds; of the first 40 objects three are held out."""
    monkeypatch.setattr(pretrained, "HELD_OUT", 40)
    monkeypatch.setattr(pretrained, "LARGE_OBJECTS", 2)
    monkeypatch.setattr(pretrained, "VIEWS", 1)
    monkeypatch.setattr(pretrained, "PROBES", (1, 2))
    monkeypatch.setattr(pretrained, "SEEDS", (0,))
    # Surfaces of a network that has learned nothing are of thousands of pieces, and take minutes.
    monkeypatch.setattr(pretrained, "draw_gallery", lambda work, target: drawn.append(target))
    drawn.clear()
    return ["--hours", "0.001", "--device", "cpu", "--output", str(tmp_path / "run"), "--workers", "1"]


@pytest.mark.slow
def test_a_run_ends_in_pipelines_and_scores_and_goes_on_where_it_was(tiny, tmp_path):
    assert pretrained.main(tiny) == 0
    made = tmp_path / "run/pipelines"
    scores = json.loads((made / "scores.json").read_text())
    assert set(scores["baselines"]) == {"best of 5", "nearest", "first_layer", "perfect"}
    assert scores["baselines"]["perfect"]["chamfer"] < 0.02 < scores["mean"]["chamfer"]
    assert scores["baselines"]["best of 5"]["chamfer"] <= scores["mean"]["chamfer"]
    assert drawn == [made]
    assert XRayDiffusionPipeline.from_pretrained(made / "diffusion").training.codec.resolution == 64
    assert XRayUpsamplerPipeline.from_pretrained(made / "upsampler").training.codec.resolution == 256
    trained = tmp_path / "run/diffusion"
    before = sorted((path.name, path.stat().st_mtime_ns) for path in trained.glob("checkpoint-*"))
    assert pretrained.main(tiny) == 0
    assert sorted((path.name, path.stat().st_mtime_ns) for path in trained.glob("checkpoint-*")) == before
