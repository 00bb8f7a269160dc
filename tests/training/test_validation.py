"""Pictures and numbers of a training under way: made with the averaged weights, and without a say in the training."""

import numpy as np
import pytest
import torch
from helpers.tiny_runs import make_data
from helpers.training_runs import contents, run
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xray.core.codec import Codec
from xray.data.dataset import XRayDataset
from xray.metrics.nearest import MISSING_DISTANCE
from xray.models.conditioner import load_conditioner
from xray.models.upsampler import Upsampler
from xray.training.objectives import Regression
from xray.training.validation import Validation


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def test_validation_scores_the_truth_as_perfect_and_nothing_as_the_worst(data):
    dataset = XRayDataset(data, Codec(layers=4, resolution=8), "all", image_size=64)
    task = Regression(load_conditioner("example/encoders", with_embedding=False), factor=2)
    model = Upsampler([32, 32], layers_per_block=1)
    answers = {
        "truth": lambda model, images, truth: truth,
        "nothing": lambda model, images, truth: -torch.ones_like(truth),
    }
    scores = {}
    for name, answer in answers.items():
        scores[name], _ = Validation(task, answer, dataset, dataset.codec, 2)(model, 0, torch.device("cpu"))
    assert scores["truth"]["chamfer"] == scores["truth"]["depth_error"] == 0
    assert scores["truth"]["hit_iou"] == 1
    assert scores["nothing"]["chamfer"] == pytest.approx(2 * MISSING_DISTANCE)


def test_validation_is_made_with_the_averaged_weights(data, tmp_path):
    options = ("train.max_steps=2", "train.validate_every=2", "train.validate_views=2", "sample.steps=2")
    assert run("diffusion", data, tmp_path / "out", *options, "train.trackers=[tensorboard]") == 0
    picture = np.array(Image.open(tmp_path / "out" / "validation" / "step-2.png"))
    assert picture.shape == (2 * 64, (1 + 4 + 4) * 64, 3)
    logged = EventAccumulator(str(next((tmp_path / "out" / "logs").rglob("events.out.tfevents.*")).parent)).Reload()
    names = {f"validation/{name}" for name in ("loss", "hit_iou", "depth_error", "chamfer")}
    assert names <= set(logged.Tags()["scalars"])
    assert 0 < logged.Scalars("validation/chamfer")[0].value <= 2 * MISSING_DISTANCE
    assert run("diffusion", data, tmp_path / "without", "train.max_steps=2") == 0
    one, two = (contents(tmp_path / name / "checkpoint-2") for name in ("out", "without"))
    assert all(torch.equal(one[name], two[name]) for name in one if isinstance(one[name], torch.Tensor))
