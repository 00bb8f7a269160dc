"""The comparison at equal time: what each recipe is, and its table. The trainings are too long for a test."""

import pytest
from equal_time import RECIPES, published, table

from xray.config import load_config
from xray.recipes.scores import TITLES


@pytest.mark.parametrize("name", [name for name, keys in RECIPES.items() if keys is not None])
def test_each_recipe_is_one_that_a_training_takes(name):
    load_config("configs/pretrained_diffusion.yaml", ["data.root=.", *RECIPES[name]])


def test_the_published_recipe_sees_the_same_views_at_the_same_depths(tmp_path):
    (tmp_path / "out/published/vae").mkdir(parents=True)  # made already
    first, second = published(tmp_path / "work", tmp_path / "out")
    ours = load_config("configs/pretrained_diffusion.yaml", ["data.root=."])
    assert (first.stage, second.stage, second.model.kind) == ("diffusion", "upsampler", "decoder")
    assert (first.codec.resolution, second.codec.resolution) == (16, 64)
    for stage in (first, second):
        assert stage.data.root == str(tmp_path / "work/data")
        assert stage.data.camera_distance == ours.data.camera_distance
        assert (stage.codec.near, stage.codec.far) == (ours.codec.near, ours.codec.far)
        assert stage.codec.layers == ours.codec.layers
        assert stage.model.vae == str(tmp_path / "out/published/vae")
    assert (first.model.prediction, first.noise.p_mean, first.loss.weighting) == ("v", 0.7, "published")


def test_the_table_has_a_line_a_recipe():
    scores = {metric: [0.25, 0.0] for metric in TITLES}
    row = {"scores": scores, "steps": [10, 3], "step_s": [0.5, 0.25]}
    lines = table({"published": row}).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| published | 0.2500 |")
    assert lines[2].endswith("| 10 + 3 | 500 + 250 |")
