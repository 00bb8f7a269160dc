"""Networks that read the picture's pixels: trained by the commands, sampled, saved, loaded, and started from."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from helpers.tiny_runs import make_data
from PIL import Image
from safetensors.torch import load_file

from xray.commands.train import train
from xray.common.errors import InputError
from xray.config import flatten, load_config, to_yaml
from xray.inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
from xray.training import checkpoint
from xray.training.setup import load_network_weights, make_trainer

ROOT = Path(__file__).parents[2]
CONFIGS = str(ROOT / "configs/pretrained_{}.yaml")
SMALL = ["codec.layers=4", "train.max_steps=2", "train.checkpoint_every=1", "train.trackers=[]", "data.num_workers=0"]
FIRST = [
    "codec.resolution=16",
    "data.image_size=32",
    "data.eval_fraction=0.0",
    "model.block_out_channels=[32, 32]",
    "model.num_attention_heads=[2, 2]",
    "model.attention=[false, true]",
    "model.cross_attention_dim=16",
]
SECOND = ["codec.resolution=32", "data.image_size=64", "data.eval_fraction=0.0", "model.factor=2"]
SECOND += ["model.block_out_channels=[32]", "model.layers_per_block=1", "train.first_stage_fraction=0.5"]


def arguments(stage, root, output, *more):
    keys = [f"output_dir={output}", f"data.root={root}", *SMALL, *(FIRST if stage == "diffusion" else SECOND), *more]
    return ["--config", CONFIGS.format(stage), *keys]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("pixels")
    make_data(root / "data", objects=2)
    train("diffusion", arguments("diffusion", root / "data", root / "A"))
    train("upsampler", arguments("upsampler", root / "data", root / "B"))
    return root


def pictures(runs):
    return [Image.open(path) for path in sorted((runs / "data/images/ball0").glob("*.png"))]


def test_both_stages_make_xrays_without_any_encoder_and_half_precision_on_disk_changes_little(runs, tmp_path):
    first = XRayDiffusionPipeline.from_pretrained(runs / "A")
    second = XRayUpsamplerPipeline.from_pretrained(runs / "B")
    assert (first.image_encoder, first.vae, second.vae, second.scheduler) == (None,) * 4
    low = first(pictures(runs))
    high = second(pictures(runs), low.xrays)
    assert low.tensors.shape == (2, 4, 8, 16, 16)
    assert high.tensors.shape == (2, 4, 8, 32, 32)
    # Where the picture is opaque the first layer is hit, and nowhere else, whatever two steps of training have learned.
    for picture, tensor in zip(pictures(runs), high.tensors, strict=True):
        assert np.array_equal(tensor[0, 7] > 0, np.asarray(picture.getchannel("A"))[::2, ::2] >= 128)
    for pipeline, name in ((first, "first"), (second, "second")):
        pipeline.unet.half()
        pipeline.save_pretrained(tmp_path / name)
        assert {path.name for path in (tmp_path / name).iterdir()} <= {"model_index.json", "scheduler", "unet"}
        weights = load_file(tmp_path / name / "unet/diffusion_pytorch_model.safetensors")
        assert {value.dtype for value in weights.values()} == {torch.float16}
    loaded = XRayDiffusionPipeline.from_pretrained(tmp_path / "first")
    assert loaded.unet.dtype == torch.float32
    assert torch.allclose(loaded(pictures(runs)).tensors, low.tensors, atol=2e-2)
    again = XRayUpsamplerPipeline.from_pretrained(tmp_path / "second")(pictures(runs), low.xrays)
    assert torch.allclose(again.tensors, high.tensors, atol=2e-2)


@pytest.mark.parametrize(("stage", "source"), [("diffusion", "A"), ("upsampler", "B")])
@pytest.mark.parametrize("form", ["pipeline", "run", "checkpoint"])
def test_a_run_begins_with_the_weights_of_another(runs, tmp_path, caplog, stage, source, form):
    place = {"run": runs / source, "checkpoint": runs / source / "checkpoint-2"}.get(form, tmp_path / "saved")
    if form == "pipeline":
        kind = XRayDiffusionPipeline if stage == "diffusion" else XRayUpsamplerPipeline
        kind.from_pretrained(runs / source).save_pretrained(place)
    _, path, *keys = arguments(stage, runs / "data", tmp_path / "out", f"train.init_from={place}")
    with caplog.at_level(logging.INFO):
        trainer = make_trainer(load_config(path, keys))
    averaged = load_file(runs / source / "checkpoint-2" / checkpoint.EMA)
    own = trainer.model.state_dict()
    assert own.keys() == averaged.keys()
    assert all(torch.equal(own[name], value) for name, value in averaged.items())
    assert f"{len(own)} of {len(own)} tensors taken" in caplog.text
    assert "left at random: none" in caplog.text


def test_a_run_of_another_size_takes_what_fits_and_says_what_not(runs, tmp_path, caplog):
    keys = ["train.init_from=" + str(runs / "A"), "model.attention=[false, false]"]
    _, path, *all_keys = arguments("diffusion", runs / "data", tmp_path / "out", *keys)
    with caplog.at_level(logging.INFO):
        make_trainer(load_config(path, all_keys))
    assert "left at random: unet.mid_block" not in caplog.text  # every block that is there in both is taken
    assert "tensors taken" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "no such folder"),
        (lambda folder: folder.mkdir(), "no checkpoint"),
        (lambda folder: _damaged(folder), "not readable as safetensors"),
    ],
)
def test_a_start_that_cannot_be_used_is_refused(tmp_path, make, message):
    make(tmp_path / "A")
    with pytest.raises(InputError, match=message):
        load_network_weights(tmp_path / "A")


def _damaged(folder):
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    (folder / "unet/diffusion_pytorch_model.safetensors").write_bytes(b"nothing")


def test_nothing_fits_is_an_error(runs, tmp_path):
    _, path, *keys = arguments("upsampler", runs / "data", tmp_path / "out", f"train.init_from={runs / 'A'}")
    with pytest.raises(InputError, match="no tensor has the name and shape"):
        make_trainer(load_config(path, keys))


def test_a_checkpoint_from_before_a_key_existed_goes_on(tmp_path):
    """What its configuration does not name has its default."""
    settings = load_config(ROOT / "configs/example_diffusion.yaml")
    stored = yaml.safe_load(to_yaml(settings))
    for key in ("patch", "prediction", "image", "place"):
        del stored["model"][key]
    (tmp_path / checkpoint.CONFIG).write_text(yaml.safe_dump(stored))
    checkpoint.check_same_network(tmp_path, flatten(settings), warn=False)
    with pytest.raises(InputError, match=r"model\.prediction 'v'"):
        checkpoint.check_same_network(tmp_path, {**flatten(settings), "model.prediction": "x"}, warn=False)
