"""The contest of recipes: its rules, its budgets, its scores and baselines."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from xray.contest import running
from xray.contest.course import best_first_stage, ship
from xray.contest.judging import judge_baseline, judge_recipe, mean, own_samples
from xray.contest.rules import read_rules
from xray.contest.running import command, train
from xray.contest.table import write_table
from xray.errors import InputError
from xray.models.conditioner import load_conditioner
from xray.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "example"))

from train_vae import load_batch, pictures  # noqa: E402

COMMON = {
    "data": {"image_size": 64, "num_workers": 0, "eval_fraction": 0.1},
    "codec": {"layers": 4, "resolution": 8},
    "train": {"batch_size": 1, "checkpoint_every": 50},
    "sample": {"steps": 1},
}
UNET = {
    "pretrained": "example/encoders",
    "block_out_channels": [32, 32],
    "num_attention_heads": [2, 2],
    "cross_attention_dim": 16,
    "addition_time_embed_dim": 32,
}
DECODER = {
    "kind": "decoder",
    "pretrained": "example/encoders",
    "block_out_channels": [32, 32],
    "layers_per_block": 1,
    "factor": 2,
}


@pytest.fixture
def small(tmp_path):
    """Path of a contest on the example's data set, whose one held-out object is the jar."""
    folder = tmp_path / "contest"
    folder.mkdir()
    (folder / "data").symlink_to(ROOT / "example/dataset")
    (folder / "meshes").symlink_to(ROOT / "example/meshes")
    values = {
        "output_dir": str(folder),
        "budget_s": 1.0,
        "upsampler_budget_s": 1.0,
        "sampling_seeds": [0, 1],
        "diffusion": {**COMMON, "model": UNET},
        "upsampler": {**COMMON, "model": DECODER, "codec": {"layers": 4, "resolution": 16}},
        "first_stages": {"plain": {"note": "as it is", "keys": {"model.vae": ""}}},
        "upsamplers": {"decoder": {"keys": {"model.vae": ""}}},
    }
    path = tmp_path / "contest.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def change(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return path


def test_the_contest_of_the_repository_is_valid_and_begins_with_the_published_recipe():
    rules = read_rules(ROOT / "configs/contest/shapes.yaml")
    published = rules.training("published")
    assert next(iter(rules.first_stages)) == "published"
    assert (published.noise.p_mean, published.noise.p_std, published.noise.dropout) == (0.7, 1.6, 0.1)
    assert (published.loss.weighting, published.loss.miss_weight, published.codec.miss) == ("published", 1.0, "zero")
    assert (published.sample.steps, published.sample.guidance_min, published.sample.guidance_max) == (25, 1.0, 3.0)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"budget": 3}, "budget"),
        ({"first_stages": {"a": {"keys": {"noise.p_men": 1}}}}, "recipe a: unknown key noise.p_men"),
        ({"first_stages": {"decoder": {}}}, r"twice: \['decoder'\]"),
        ({"upsamplers": {"b": {"own_samples": True}}}, "cannot have own_samples"),
        ({"sampling_seeds": []}, "at least one of sampling_seeds"),
    ],
)
def test_rules_that_cannot_be_held_are_refused_in_one_line(small, changes, expected):
    with pytest.raises(InputError, match=expected):
        read_rules(change(small, **changes))


def test_baselines(small):
    rules = read_rules(small)
    perfect, nearest, first = (judge_baseline(rules, name) for name in ("perfect", "nearest", "first_layer"))
    assert list(perfect["seeds"]["0"]) == ["jar_000"]
    assert mean(perfect, "hit_iou") == (1.0, 0.0)
    assert mean(perfect, "chamfer")[0] < min(mean(nearest, "chamfer")[0], mean(first, "chamfer")[0])
    assert mean(first, "hidden_hit_iou")[0] == mean(first, "hidden_fscore@0.05")[0] == 0


def test_a_recipe_gets_the_steps_that_its_time_is_worth_and_keeps_them(small, monkeypatch, tmp_path):
    monkeypatch.setattr(running, "PROBES", (1, 5))
    rules = read_rules(small)
    plans = {name: train(rules, name) for name in ("plain", "decoder")}
    for name, plan in plans.items():
        assert plan["steps"] == -(-1.0 // plan["step_s"])
        assert (rules.run_dir(name) / f"checkpoint-{plan['steps']}").is_dir()
        assert not list(rules.run_dir(name).glob("probe-*"))
    assert train(rules, "plain") == plans["plain"]
    with pytest.raises(InputError, match="another recipe or budget"):
        train(read_rules(change(small, budget_s=2.0)), "plain")

    folder = own_samples(rules, "plain")
    views = sorted(path.name for path in folder.iterdir())
    assert len(views) == 5
    assert views[0] == "bowl_000_xray.npz"

    scores = judge_recipe(rules, "plain", "decoder")
    assert list(scores["seeds"]) == ["0", "1"]
    assert best_first_stage(rules) == "plain"
    text = write_table(rules, [("plain", "decoder")], plans)
    rows = json.loads((rules.folder / "table.json").read_text())
    assert f"{rows['plain + decoder']['chamfer'][0]:.4f}" in text
    assert rows["plain + decoder"]["views"] == rows["perfect"]["views"] == 1

    ship(rules, "plain", "decoder", tmp_path / "shipped")
    for kind, folder in ((XRayDiffusionPipeline, "diffusion"), (XRayUpsamplerPipeline, "upsampler")):
        assert (
            kind.from_pretrained(tmp_path / "shipped" / folder).config.step
            == plans["plain" if folder == "diffusion" else "decoder"]["steps"]
        )


def test_the_small_vae_is_whitened_and_can_be_named_in_a_configuration(tmp_path):
    images, folder = tmp_path / "images", tmp_path / "vae"
    for path in sorted((ROOT / "example/dataset/images").glob("*/000.png")):
        (images / path.parent.name).mkdir(parents=True)
        Image.open(path).resize((64, 64)).save(images / path.parent.name / path.name)
    command(tmp_path / "log", ROOT / "example/train_vae.py", "--image_root", images, "--output", folder, "--steps", 2)
    conditioner = load_conditioner("example/encoders", str(folder), with_embedding=False)
    paths = pictures(images, 0.1)
    assert not [path for path in paths if path.parent.name == "jar"]
    latent = conditioner.encode(load_batch(paths, np.linspace(0, len(paths) - 1, 64).astype(int)))
    assert torch.allclose(latent.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(latent.std((0, 2, 3)), torch.ones(4), atol=1e-4)
