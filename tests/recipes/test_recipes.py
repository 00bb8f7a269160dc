"""The comparison of recipes: its configuration, budgets, scores and baselines."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.forked import can_fork, python
from PIL import Image
from train_vae import load_batch, pictures

from xray.common.errors import InputError
from xray.inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
from xray.models.conditioner import load_conditioner
from xray.recipes import run as running
from xray.recipes.config import read_comparison
from xray.recipes.run import best_first_stage, command, ship, train_recipe
from xray.recipes.scores import mean, own_samples, score_baseline, score_recipe
from xray.recipes.table import write_table

ROOT = Path(__file__).parents[2]

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
    """Configuration of a comparison on the example's data set, whose one held-out object is the jar."""
    folder = tmp_path / "comparison"
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
    path = tmp_path / "comparison.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def change(path: Path, **changes: object) -> Path:
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))
    return path


def test_the_comparison_of_the_repository_is_valid_and_begins_with_the_published_recipe():
    comparison = read_comparison(ROOT / "configs/recipes/shapes.yaml")
    published = comparison.training("published")
    assert next(iter(comparison.first_stages)) == "published"
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
        ({"sampling_seeds": []}, r"sampling_seeds is \[\], expected numbers of 0 or more"),
        ({"sampling_seeds": [0, -1]}, "expected numbers of 0 or more"),
        ({"budget_s": 0}, "budget_s is 0.0, expected more than 0"),
        ({"budget_s": "nan"}, "budget_s is nan, expected a finite number"),
        ({"objects": {"views": 0}}, "objects.views is 0, expected at least 1"),
        ({"objects": {"image_size": 100, "rays": 64}}, "objects.image_size is 100, expected a multiple of rays"),
        ({"upsamplers": {"b": {"budget": -1}}}, "upsamplers.b.budget is -1.0, expected more than 0"),
        ({"first_stages": {"a": {"keys": {"codec.near": 3}}}}, "recipe a: codec.far is 2.4, expected more than"),
        ({"objects": [1]}, r"yaml: objects is \['1'\], expected a group of number, seed, views, image_size, rays"),
        ({"objects": 3}, "yaml: objects is '3', expected a group of number, seed, views, image_size, rays"),
        ({"objects": None}, "yaml: objects is None, expected a group of number"),
        ({"objects": {"views": "two"}}, "yaml: objects.views: Value 'two'"),
        ({"objects": {"vews": 2}}, "yaml: objects.vews: Key 'vews'"),
        ({"first_stages": [1]}, r"yaml: first_stages is \['1'\], expected a group of keys"),
        (
            {"first_stages": {"a": 3}},
            "yaml: first_stages.a is '3', expected a group of note, keys, budget, own_samples",
        ),
        ({"upsamplers": {"b": {"keys": [1]}}}, r"yaml: upsamplers.b.keys is \['1'\], expected a group of keys"),
        ({"sampling_seeds": 3}, "yaml: sampling_seeds is '3', expected a list"),
        ({"budget_s": [1]}, r"yaml: budget_s is \['1'\], expected a single value"),
    ],
)
def test_a_comparison_that_cannot_be_run_is_refused_in_one_line(small, changes, expected):
    with pytest.raises(InputError, match=expected):
        read_comparison(change(small, **changes))


def test_baselines(small):
    comparison = read_comparison(small)
    perfect, nearest, first = (score_baseline(comparison, name) for name in ("perfect", "nearest", "first_layer"))
    assert list(perfect["seeds"]["0"]) == ["jar_000"]
    assert mean(perfect, "hit_iou") == (1.0, 0.0)
    assert mean(perfect, "chamfer")[0] < min(mean(nearest, "chamfer")[0], mean(first, "chamfer")[0])
    assert mean(first, "hidden_hit_iou")[0] == mean(first, "hidden_fscore@0.05")[0] == 0


def in_a_copy(log: Path, script: Path, *arguments: object) -> float:
    """As `command` runs a script, in a copy of this process, which has imported torch already."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert python([str(script), *map(str, arguments)], ROOT, log).wait(600) == 0, log.read_text()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("compiled", [False, True])
def test_a_step_is_measured_without_what_starting_and_compiling_take(tmp_path, compiled):
    trained = []

    def train(folder: Path, steps: int) -> float:
        assert not folder.exists()  # else an interrupted one would go on, and seem fast
        folder.mkdir()
        compiling = 500.0 if compiled and not trained else 0.0
        trained.append(steps)
        return 20.0 + compiling + 0.5 * steps

    (tmp_path / "probe-4").mkdir()  # of one that was interrupted
    assert running.seconds_a_step(tmp_path, compiled, train) == pytest.approx(0.5)
    assert trained == [*([1] if compiled else []), *(running.COMPILED_PROBES if compiled else running.PROBES)]
    assert not list(tmp_path.iterdir())


def test_a_recipe_gets_the_steps_that_its_time_is_worth_and_keeps_them(small, monkeypatch, tmp_path):
    monkeypatch.setattr(running, "PROBES", (1, 5))
    if can_fork():
        monkeypatch.setattr(running, "command", in_a_copy)
    comparison = read_comparison(small)
    plans = {name: train_recipe(comparison, name) for name in ("plain", "decoder")}
    for name, plan in plans.items():
        assert plan["steps"] == -(-1.0 // plan["step_s"])
        assert (comparison.run_dir(name) / f"checkpoint-{plan['steps']}").is_dir()
        assert not list(comparison.run_dir(name).glob("probe-*"))
    assert train_recipe(comparison, "plain") == plans["plain"]
    with pytest.raises(InputError, match="another recipe or budget"):
        train_recipe(read_comparison(change(small, budget_s=2.0)), "plain")

    folder = own_samples(comparison, "plain")
    views = sorted(path.name for path in folder.iterdir())
    assert len(views) == 5
    assert views[0] == "bowl_000_xray.npz"

    scores = score_recipe(comparison, "plain", "decoder")
    assert list(scores["seeds"]) == ["0", "1"]
    assert best_first_stage(comparison) == "plain"
    text = write_table(comparison, [("plain", "decoder")], plans)
    rows = json.loads((comparison.folder / "table.json").read_text())
    assert f"{rows['plain + decoder']['chamfer'][0]:.4f}" in text
    assert rows["plain + decoder"]["views"] == rows["perfect"]["views"] == 1

    ship(comparison, "plain", "decoder", tmp_path / "shipped")
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
