"""The command for a user's own picture: every file is there and can be read; bad pictures are named."""

from __future__ import annotations

import errno
import re
import shutil

import numpy as np
import pytest
import trimesh
from helpers.tiny_runs import LAYERS, RESOLUTION, train_both
from PIL import Image

import infer
from xray.common.cli import BAD_INPUT, FAILURES, OK
from xray.common.errors import InputError
from xray.core.storage import load_xray
from xray.inference.image_to_mesh import MODEL, UPSAMPLER, GenerationSettings, choose_stages
from xray.inference.photo import frame
from xray.inference.picture_files import PictureFile, find_mask
from xray.mesh.ply import load_ply
from xray.visual.sheets import CELL_PX


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return train_both(tmp_path_factory.mktemp("infer"), objects=1)


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


@pytest.mark.parametrize("samples", [1, 2])
def test_results_that_a_full_disk_cut_short_are_made_again_by_the_same_command(
    runs, tmp_path, capfd, monkeypatch, samples
):
    """Without the X-Ray nothing is written: a later run would take the rest for files of the user's own."""
    photo, out = tmp_path / "photo.jpg", tmp_path / "out"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)).save(photo)
    command = ["--image", str(photo), "--model", str(runs / "A"), "--output", str(out), "--steps", "1"]
    command += ["--samples", str(samples)]

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("xray.inference.image_to_mesh.save_xray", full)
        assert infer.main(command) == FAILURES
    assert "results cannot be written there (No space left on device)" in capfd.readouterr().out
    assert list(out.iterdir()) == []
    assert infer.main(command) == OK


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
    masked = frame(tmp_path / "noise.png", find_mask(masks, PictureFile(tmp_path / "noise.png", "noise")), 64)
    for picture, warning in (cut, masked):
        assert warning == ""
        assert picture.size == (64, 64)
        assert 0.2 < (np.asarray(picture)[..., 3] > 128).mean() < 0.5
    whole, warning = frame(tmp_path / "noise.png", None, 64)
    assert whole.size == (90, 50)
    assert "used whole" in warning
    with pytest.raises(InputError, match="no mask named plain"):
        find_mask(masks, PictureFile(tmp_path / "plain.png", "plain"))


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


def test_samples_have_seeds_and_files_of_their_own(runs, tmp_path, capsys):
    picture = runs / "data" / "images" / "ball0" / "000.png"
    common = ["--image", str(picture), "--model", str(runs / "A"), "--upsampler", str(runs / "B"), "--steps", "2"]
    several, alone = tmp_path / "several", tmp_path / "alone"
    assert infer.main([*common, "--output", str(several), "--samples", "3", "--seed", "4"]) == OK
    assert infer.main([*common, "--output", str(alone), "--seed", "5"]) == OK
    xrays = [load_xray(several / f"000_sample{number}_xray.npz") for number in (1, 2, 3)]
    again = load_xray(alone / "000_xray.npz")
    for xray, alike in ((xrays[1], True), (xrays[0], False), (xrays[2], False)):
        both = xray.hit & again.hit
        # A batch of three and one of one round differently, which may move a value across the hit's threshold.
        same = np.abs(xray.depth - again.depth)[both] < 1e-3
        assert (same.mean() > 0.99 and (xray.hit == again.hit).mean() > 0.99) == alike
    for number in (1, 2, 3):
        stem = f"000_sample{number}"
        assert len(load_ply(several / f"{stem}_points.ply")) == xrays[number - 1].hit.sum()
        assert {path.name for path in several.glob(f"{stem}*")} >= {f"{stem}{end}" for end in (".glb", ".obj")}
        assert Image.open(several / f"{stem}_turntable.gif").n_frames == 36
    assert [path.name for path in several.glob("*_layers.png")] == ["000_layers.png"]
    wide, high = Image.open(several / "000_layers.png").size, Image.open(alone / "000_layers.png").size
    assert wide[1] == high[1] + 2 * CELL_PX  # two rows of spread
    assert wide[0] > high[0]  # and the points of every sample
    capsys.readouterr()


def test_samples_that_cannot_be_made_are_one_line(runs, tmp_path, capsys):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "a_sample2.png")
    common = ["--image", str(tmp_path), "--model", str(runs / "A"), "--output", str(tmp_path / "out")]
    for flags, reason in (
        (["--samples", "0"], "samples 0"),
        (["--samples", "2", "--seed", str(2**63 - 1)], "seeds"),
        (["--samples", "2"], "a_sample2.png"),
    ):
        assert infer.main([*common, *flags]) == BAD_INPUT
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert len(errors) == 1
        assert reason in errors[0]
    assert not list((tmp_path / "out").glob("*"))


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
        GenerationSettings(**wrong)


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


@pytest.mark.parametrize(
    ("model", "upsampler", "reason"),
    [
        ("example/pretrained/upsampler", "B", "of the upsampler stage, expected diffusion"),
        ("A", "example/pretrained/diffusion", "of the diffusion stage, expected upsampler"),
        (
            "A",
            "example/pretrained/upsampler",
            "upsampler: takes X-Rays of 8 layers and 64 rays on each side; .*A makes",
        ),
    ],
)
def test_stages_that_do_not_fit_are_told_before_any_picture(runs, tmp_path, capsys, model, upsampler, reason):
    square_on_white(tmp_path / "good.png")
    stages = [str(runs / name) if len(name) == 1 else name for name in (model, upsampler)]
    flags = ["--image", str(tmp_path / "good.png"), "--output", str(tmp_path / "out")]
    assert infer.main([*flags, "--model", stages[0], "--upsampler", stages[1]]) == BAD_INPUT
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    assert re.search(reason, line)


def square_on_white(path) -> None:
    picture = Image.new("RGB", (60, 40), "white")
    picture.paste("red", (20, 10, 40, 30))
    picture.save(path)


def test_what_cannot_be_written_is_one_line_before_any_sampling(runs, tmp_path, capsys, monkeypatch):
    square_on_white(tmp_path / "good.png")
    (tmp_path / "file").touch()
    flags = ["--image", str(tmp_path / "good.png"), "--model", str(runs / "A"), "--steps", "1"]
    monkeypatch.setattr("xray.inference.image_to_mesh.ShapeGenerator", None)  # nothing may be loaded
    for output, said in (("file", "File exists"), ("file/below", "Not a directory"), ("/proc/xray", "/proc/xray")):
        assert infer.main([*flags, "--output", str(tmp_path / output)]) == BAD_INPUT
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
        assert said in line
    for flag, value, said in (
        ("--mask", "absent.png", "no such mask"),
        ("--cutout", "mask", "needs --mask"),
        ("--cutout_model", "absent.onnx", "no such file"),
    ):
        assert infer.main([*flags, flag, value, "--output", str(tmp_path / "out")]) == BAD_INPUT
        assert said in capsys.readouterr().err


def test_a_result_that_cannot_be_written_costs_its_picture_alone(runs, tmp_path, capsys, caplog):
    """A name that is too long, a folder in a result's place, a broken picture, damaged notes: the others are made."""
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    longest, too_long = "n" * (255 - len("_turntable.gif")), "m" * (256 - len("_turntable.gif"))
    for name in (longest, too_long, "a", "blocked", "z[1]"):
        square_on_white(folder / f"{name}.png")
    picture = Image.open(folder / "a.png")
    picture.save(folder / "notes.webp", exif=b"Exif\0\0nothing", lossless=True)
    (folder / "broken.jpg").write_bytes((folder / "a.png").read_bytes()[:60])
    (out / "blocked.glb").mkdir(parents=True)
    flags = ["--image", str(folder), "--model", str(runs / "A"), "--output", str(out), "--steps", "1"]
    assert infer.main(flags) == FAILURES
    failed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("failed:")]
    assert len(failed) == 3
    for line, said in zip(
        failed, ("a folder is in the place of a result", "broken.jpg: not", "name too long"), strict=True
    ):
        assert said in line
    for name in (longest, "a", "notes", "z[1]"):
        assert (out / f"{name}_turntable.gif").is_file(), name
    assert "EXIF data is damaged" in caplog.text
    assert not list(out.glob(".*"))


@pytest.mark.parametrize(("most", "expected"), [(2_000, BAD_INPUT), (70_000, FAILURES)])
def test_a_full_disk_is_one_line_for_every_picture(runs, tmp_path, capsys, most, expected):
    """A limit on the size of files stands in for the disk: nothing fits, or all but the turntables."""
    resource = pytest.importorskip("resource")
    folder, out = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for name in ("a", "b"):
        square_on_white(folder / f"{name}.png")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        status = infer.main(["--image", str(folder), "--model", str(runs / "A"), "--output", str(out), "--steps", "1"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert status == expected
    captured = capsys.readouterr()
    lines = [line for line in (captured.out + captured.err).splitlines() if "cannot be written" in line]
    assert len(lines) == (1 if expected == BAD_INPUT else 2)
    assert "Traceback" not in captured.err
    assert (out / "b_points.ply").exists() == (expected == FAILURES)
