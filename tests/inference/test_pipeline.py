"""Pipelines: saved and loaded again they give the same; a sample does not depend on its batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.tiny_runs import FACTOR, LAYERS, RESOLUTION, train_both
from PIL import Image

from xray.common.errors import InputError
from xray.core.storage import load_xray
from xray.inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline, square
from xray.inference.stage import load_stage


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return train_both(tmp_path_factory.mktemp("pipelines"), objects=1)


def pictures(runs) -> list[Image.Image]:
    return [Image.open(path) for path in sorted((runs / "data" / "images" / "ball0").glob("*.png"))]


def test_image_to_xray_and_up(runs, tmp_path):
    first = XRayDiffusionPipeline.from_pretrained(runs / "A")
    second = XRayUpsamplerPipeline.from_pretrained(runs / "B" / "checkpoint-1")
    for pipeline in (first, second):
        pipeline.set_progress_bar_config(disable=True)
    ticks = []
    low = first(pictures(runs), 2, generator=_generators(), callback=lambda pipe, done: ticks.append((pipe, done)))
    assert ticks == [(first, 1), (first, 2)]
    assert [xray.validate().shape for xray in low.xrays] == [(LAYERS, RESOLUTION, RESOLUTION)] * 2
    high = second(pictures(runs), low.xrays)
    assert high.tensors.shape == (2, LAYERS, 8, RESOLUTION * FACTOR, RESOLUTION * FACTOR)

    first.save_pretrained(tmp_path / "first")
    second.save_pretrained(tmp_path / "second")
    loaded = XRayDiffusionPipeline.from_pretrained(tmp_path / "first")
    assert torch.equal(loaded(pictures(runs), 2, generator=_generators()).tensors, low.tensors)
    assert loaded.training == first.training
    assert str(runs) not in (tmp_path / "first" / "model_index.json").read_text()
    again = XRayUpsamplerPipeline.from_pretrained(tmp_path / "second")
    assert torch.equal(again(pictures(runs), low.xrays).tensors, high.tensors)


def test_a_pipeline_names_no_folder_of_its_training(runs):
    stage = load_stage(runs / "A")
    stage.config.train.init_from = stage.config.train.first_stage = stage.config.train.cache_dir = str(runs)
    assert str(runs) not in str(XRayDiffusionPipeline.from_stage(stage).training)


def _generators() -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in (5, 6)]


@pytest.mark.parametrize("solver", ["euler", "heun", "dpmpp_2m"])
def test_a_sample_does_not_depend_on_its_batch(runs, solver):
    pipeline = XRayDiffusionPipeline.from_pretrained(runs / "A")
    pipeline.set_progress_bar_config(disable=True)
    images = pictures(runs)
    # Batched convolutions round otherwise than single ones, and steps at high noise multiply that.
    together = pipeline(images, 3, generator=_generators(), solver=solver).tensors
    apart = [
        pipeline(image, 3, generator=one, solver=solver).tensors
        for image, one in zip(images, _generators(), strict=True)
    ]
    assert torch.allclose(together, torch.cat(apart), atol=3e-3)
    one = torch.Generator().manual_seed(9)
    in_turn = [pipeline(image, 3, generator=one, solver=solver).tensors for image in images]
    at_once = pipeline(images, 3, generator=torch.Generator().manual_seed(9), solver=solver).tensors
    assert torch.allclose(at_once, torch.cat(in_turn), atol=3e-3)
    assert not torch.allclose(at_once, together, atol=1e-2)


def test_guidance_changes_the_result_and_stored_xrays_are_input_too(runs):
    pipeline = XRayDiffusionPipeline.from_pretrained(runs / "A")
    pipeline.set_progress_bar_config(disable=True)
    plain, strong = (pipeline(pictures(runs)[0], 2, guidance=scale).tensors for scale in ((1, 1), (1, 9)))
    assert torch.allclose(plain[:, 0], strong[:, 0], atol=0.5)
    assert not torch.allclose(plain[:, -1], strong[:, -1], atol=1e-3)
    upsampler = XRayUpsamplerPipeline.from_pretrained(runs / "B")
    stored = load_xray(runs / "data" / "xrays" / "ball0" / "000.npz")
    assert upsampler(pictures(runs)[0], stored).xrays[0].shape[0] == LAYERS


def test_pictures_are_padded_over_the_background():
    tall = Image.new("RGBA", (2, 4), (0, 0, 0, 255))
    tall.putpixel((0, 0), (255, 0, 0, 0))
    pixels = np.asarray(square(tall, 1.0))
    assert pixels.shape == (4, 4, 3)
    assert pixels[:, [0, 3]].min() == 255
    assert pixels[0, 1].tolist() == [255, 255, 255]
    assert pixels[1:, 1:3].max() == 0


def test_bad_input(runs, tmp_path):
    with pytest.raises(InputError, match="expected upsampler"):
        XRayUpsamplerPipeline.from_pretrained(runs / "A")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        XRayDiffusionPipeline.from_pretrained(tmp_path / "empty")
    pipeline = XRayDiffusionPipeline.from_pretrained(runs / "A")
    for wrong in ([], "photo.png", [np.zeros((4, 4, 3))]):
        with pytest.raises(InputError, match="PIL"):
            pipeline(wrong)
    with pytest.raises(InputError, match="generators"):
        pipeline(pictures(runs), generator=_generators()[:1])
    with pytest.raises(InputError, match="solver"):
        pipeline(pictures(runs)[0], solver="rk")
