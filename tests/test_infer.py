"""The command for a user's own picture: every file is there and can be read; bad pictures are named."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import trimesh
from PIL import Image
from tiny_runs import LAYERS, RESOLUTION, make_data, train_stage

import infer
from xray.cli import BAD_INPUT, FAILURES, OK
from xray.errors import InputError
from xray.imagined import Settings
from xray.inference import MODEL, UPSAMPLER, choose_stages, find_mask, frame
from xray.points import load_ply
from xray.storage import load_xray


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("infer")
    data = make_data(root / "data", objects=1)
    train_stage("diffusion", root / "A", data)
    train_stage("upsampler", root / "B", data)
    return root


def test_a_picture_becomes_everything(runs, tmp_path, capsys):
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(photo)
    out = tmp_path / "out"
    flags = ["--model", str(runs / "A"), "--output", str(out), "--steps", "2"]
    assert infer.main(["--image", str(photo), *flags]) == OK
    xray = load_xray(out / "photo_xray.npz").validate()
    assert xray.shape == (LAYERS, RESOLUTION, RESOLUTION)
    cloud = load_ply(out / "photo_points.ply")
    assert len(cloud) == xray.hit.sum() > 0
    assert np.allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-5)
    for suffix in ("glb", "obj"):
        mesh = trimesh.load(out / f"photo.{suffix}", force="mesh", skip_materials=True)
        assert len(mesh.faces)
        assert mesh.visual.kind == "vertex"
    assert Image.open(out / "photo_layers.png").width > 500
    assert Image.open(out / "photo_turntable.gif").n_frames == 36
    captured = capsys.readouterr()
    assert "1 of 1" in captured.out


def test_the_object_is_cut_out_by_transparency_background_or_mask(tmp_path):
    pixels = np.full((50, 90, 3), 240, np.uint8)
    pixels[20:30, 60:80] = (200, 30, 30)
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    noise = np.random.default_rng(0).integers(0, 255, (50, 90, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    masks = tmp_path / "masks"
    masks.mkdir()
    mask = np.zeros((50, 90), np.uint8)
    mask[20:30, 60:80] = 255
    Image.fromarray(mask).save(masks / "noise.png")
    cut = frame(tmp_path / "plain.png", None, 64)
    masked = frame(tmp_path / "noise.png", find_mask(masks, tmp_path / "noise.png"), 64)
    for picture, warning in (cut, masked):
        assert warning == ""
        assert picture.size == (64, 64)
        assert 0.2 < (np.asarray(picture)[..., 3] > 128).mean() < 0.5
    whole, warning = frame(tmp_path / "noise.png", None, 64)
    assert whole.size == (90, 50)
    assert "used whole" in warning
    with pytest.raises(InputError, match="no mask named plain"):
        find_mask(masks, tmp_path / "plain.png")


def test_a_folder_with_a_broken_picture_and_both_stages(runs, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(runs / "data" / "images" / "ball0" / "000.png", folder / "good.png")
    (folder / "broken.png").write_bytes(b"no picture")
    out = tmp_path / "out"
    flags = ["--model", str(runs / "A"), "--upsampler", str(runs / "B"), "--output", str(out), "--steps", "2"]
    assert infer.main(["--image", str(folder), *flags]) == FAILURES
    printed = capsys.readouterr().out
    assert "broken.png" in printed
    assert "1 of 2" in printed
    assert load_xray(out / "good_xray.npz").shape == (LAYERS, 2 * RESOLUTION, 2 * RESOLUTION)


def test_the_shipped_model_is_used_unless_another_is_given():
    assert choose_stages(None, None) == (MODEL, UPSAMPLER)
    assert choose_stages(None, "mine_upsampler") == (MODEL, "mine_upsampler")
    assert choose_stages("mine", None) == ("mine", None)
    assert choose_stages("mine", "mine_upsampler") == ("mine", "mine_upsampler")


@pytest.mark.parametrize(
    "wrong",
    [{"seed": 2**63}, {"steps": 0}, {"guidance": (1.0, float("nan"))}, {"solver": "rk"}, {"surface": "magic"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_that_cannot_be_used_are_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Settings(**wrong)


@pytest.mark.parametrize(
    ("image", "model", "reason"),
    [("absent.png", "A", "absent.png"), ("empty", "A", "no pictures"), ("good.png", "nothing/there", "nothing/there")],
)
def test_bad_input_is_one_line(runs, tmp_path, capsys, image, model, reason):
    (tmp_path / "empty").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "good.png")
    model = str(runs / model) if model == "A" else model
    assert infer.main(["--image", str(tmp_path / image), "--model", model, "--output", str(tmp_path)]) == BAD_INPUT
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert reason in errors[0]
