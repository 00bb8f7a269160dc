"""Pictures against X-Rays of the same view, and the command that makes folders of them."""

import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.made_meshes import chiral
from PIL import Image

from xray.common.errors import InputError
from xray.common.images import foreground
from xray.core.camera import EXTENT, Camera, framed_pose, load_views, sample_views
from xray.inference.photo import prepare
from xray.mesh.load import load_mesh
from xray.mesh.mesh import Mesh
from xray.mesh.part import Material, Part
from xray.preprocess.render_object import SETTINGS_KEY, RenderSettings, RenderTask, render_object, select_meshes
from xray.preprocess.render_run import RenderRow, merge_record
from xray.raycast.appearance import AMBIENT, SKY, SUN
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster
from xray.raycast.shading import picture

ROOT = Path(__file__).parents[2]
MESHES = ROOT / "example/meshes"
COMMAND = ROOT / "preprocess/get_image/render.py"


def run(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("name", ["cabin.glb", "chest.obj", "bowl.ply"])
def test_picture_and_xray_of_a_view_agree_to_the_pixel(name):
    """At every second pixel the picture is the X-Ray of half its size: same cover, same colour."""
    mesh = load_mesh(MESHES / name)
    caster = RayCaster(mesh.vertices, mesh.faces)
    for pose in sample_views(2, np.random.default_rng(2)):
        camera = Camera(192, 128, world_from_camera=pose)
        xray, _ = capture(mesh, caster, camera.at(96), layers=1)
        bare = picture(mesh, caster, camera, "none")
        assert bare.shape == (128, 192, 4)
        assert np.array_equal(bare[::2, ::2, 3], np.where(xray.hit[0], 255, 0))
        assert np.abs(bare[::2, ::2, :3] / 255 - xray.color[0]).max() <= 0.5 / 255 + 1e-6
        lit = picture(mesh, caster, camera)
        cover, hit = lit[::2, ::2, 3] >= 128, xray.hit[0]
        assert (cover & hit).sum() / (cover | hit).sum() > 0.98
        edge = np.unique(lit[..., 3])
        assert set(edge) == {round(255 * k / 5) for k in range(6)}


def test_light_comes_from_above_and_shadows_fall():
    """A floor below a small plate: dark under it on the side away from the sun, bright elsewhere."""
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], float)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    grey = Material(np.full(3, 0.5, np.float32))
    plate = Part(square * 0.2 + (0, 0, 0.5), faces, grey)
    mesh = Mesh([Part(square, faces, grey), plate], np.eye(3), "made")
    caster = RayCaster(mesh.vertices, mesh.faces)
    camera = Camera(65, 65, world_from_camera=sample_views(1, np.random.default_rng(0), 2.0, (90, 90))[0])
    linear = (picture(mesh, caster, camera)[..., 0].astype(float) / 255) ** 2.2
    up = 0.5 * (AMBIENT + SKY + SUN * 0.8)
    assert np.median(linear[linear > 0]) == pytest.approx(up, rel=0.05)
    shaded = np.abs(linear - 0.5 * (AMBIENT + SKY)) < 0.02
    assert 0.003 < shaded.mean() < 0.1
    with pytest.raises(InputError, match="light 'dim'"):
        picture(mesh, caster, camera, "dim")


def test_views_depend_on_the_object_and_the_seed_alone():
    few, many = RenderSettings(num_views=2), RenderSettings(num_views=5)
    assert np.array_equal(few.views("a").world_from_camera, many.views("a").world_from_camera[:2])
    assert not np.array_equal(few.views("a").world_from_camera, few.views("b").world_from_camera)
    assert not np.array_equal(few.views("a").world_from_camera, RenderSettings(2, seed=1).views("a").world_from_camera)
    poses = RenderSettings(200, camera_distance=1.2, elevation_deg=(10, 20)).views("a").world_from_camera
    distance = np.linalg.norm(poses[:, :3, 3], axis=1)
    assert np.allclose(distance, 1.2)
    height = np.degrees(np.arcsin(poses[:, 2, 3] / distance))
    assert height.min() > 10
    assert height.max() < 20


def test_a_task_goes_on_where_it_ended_and_refuses_other_settings(tmp_path):
    task = RenderTask("a", MESHES / "lamp.glb", tmp_path / "a", RenderSettings(3, image_size=32))
    assert render_object(task).made == 3
    files = {path.name: path.read_bytes() for path in task.folder.iterdir()}
    assert sorted(files) == ["000.png", "001.png", "002.png", "source.json", "transforms.json"]
    views = load_views(task.folder / "transforms.json")
    assert np.array_equal(views.world_from_camera, task.settings.views("a").world_from_camera)
    for gone in ("001.png", "transforms.json"):
        (task.folder / gone).unlink()
        assert (render_object(task).kept) == (2 if gone == "001.png" else 3)
        assert {path.name: path.read_bytes() for path in task.folder.iterdir()} == files
    more = RenderTask("a", task.mesh, task.folder, RenderSettings(4, image_size=32))
    assert (render_object(more).made, len(load_views(task.folder / "transforms.json").names)) == (1, 4)
    other = RenderTask("a", task.mesh, task.folder, RenderSettings(3, 1.4, image_size=32))
    with pytest.raises(InputError, match=r"000\.png.*--overwrite"):
        render_object(other)
    assert render_object(RenderTask("a", task.mesh, task.folder, other.settings, overwrite=True)).made == 3
    with Image.open(task.folder / "000.png") as image:
        assert image.mode == "RGBA"
        assert json.loads(image.info[SETTINGS_KEY])["camera_distance"] == 1.4


def test_the_command_records_failures_and_goes_on(tmp_path):
    meshes, images = tmp_path / "meshes", tmp_path / "images"
    meshes.mkdir()
    chiral().export(meshes / "good.glb")
    (meshes / "bad.glb").write_bytes((meshes / "good.glb").read_bytes()[:300])
    flags = ["--mesh_root", meshes, "--image_root", images, "--num_views", 2, "--image_size", 24, "--workers", 1]
    result = run(*flags)
    assert (result.returncode, "Traceback" in result.stderr) == (3, False)
    assert "2 pictures made" in result.stderr
    rows = (images / "render.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["bad", "failed"], ["good", "rendered"]]
    assert "bad.glb: cut short" in rows[1]
    assert not (images / "bad").exists()
    shutil.copy(meshes / "good.glb", meshes / "bad.glb")
    result = run(*flags, "--workers", 0)
    assert (result.returncode, "2 pictures made, 2 were there, 0 objects failed" in result.stderr) == (0, True)
    before = (images / "good/transforms.json").read_bytes()
    chiral().export(meshes / "new.stl")
    assert run(*flags).returncode == 0
    assert (images / "good/transforms.json").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--mesh_root", "absent"], "absent: no such folder"),
        (["--num_views", "0"], "0 views"),
        (["--camera_distance", "-1"], "camera distance -1"),
        (["--elevation_deg", "50", "20"], "elevation range 50"),
        (["--image_size", "0"], "image size 0"),
        (["--seed", "-4"], "seed -4"),
        (["--mesh_list", "absent.json"], "absent.json: no such file"),
        (["--workers", "-1"], "-1 workers"),
        (["--image_root", str(COMMAND)], "render.py: cannot be made a folder of pictures"),
        (["--image_root", "/proc/none/images"], "/proc/none/images: cannot be made a folder of pictures"),
    ],
)
def test_bad_flags_are_one_line(tmp_path, flags, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(COMMAND), "--image_root", str(tmp_path), *flags])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(COMMAND), run_name="__main__")
    text = capsys.readouterr().err
    assert left.value.code == 2
    assert text.startswith("error: ")
    assert words in text
    assert text.count("\n") == 1


def test_a_list_selects_objects(tmp_path):
    path = tmp_path / "list.json"
    path.write_text('["mug", "bowl"]')
    assert list(select_meshes(MESHES, path).meshes) == ["bowl", "mug"]
    for text, words in (('["mug", "cup"]', "cup not among"), ("{}", "expected a list"), ("[", "not readable")):
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            select_meshes(MESHES, path)


def test_the_record_keeps_other_objects(tmp_path):
    merge_record(tmp_path, [RenderRow("b", "failed", "why, and where"), RenderRow("a", "rendered", made=2)])
    merge_record(tmp_path, [RenderRow("b", "rendered", made=1, seconds=0.5)])
    assert (tmp_path / "render.csv").read_text().splitlines()[1:] == ["a,rendered,,2,0,0.000", "b,rendered,,1,0,0.500"]
    text = (tmp_path / "render.csv").read_text()
    (tmp_path / "render.csv").write_text(text.replace(",1,0,0.500", ",1,0,0.500,,"))  # as spreadsheets do
    merge_record(tmp_path, [])
    assert (tmp_path / "render.csv").read_text() == text
    for row in ("c,rendered", "c,rendered,,1,0,0.5,more"):
        (tmp_path / "render.csv").write_text(f"{text}{row}\n")
        with pytest.raises(InputError, match=r"render\.csv: line 4: not a row of a rendering"):
            merge_record(tmp_path, [])
    (tmp_path / "render.csv").write_text("something else\n")
    with pytest.raises(InputError, match="not a record"):
        merge_record(tmp_path, [])


def test_the_script_of_the_example_works_without_flags(tmp_path):
    """In a copy of the tree, since it writes to Data/example."""
    for name in ("xray", "preprocess"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "example/meshes").mkdir(parents=True)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").symlink_to(sys.executable)
    shutil.copy(MESHES / "jar.glb", tmp_path / "example/meshes")
    folder = tmp_path / "preprocess/get_image"
    (folder / "custom/mesh_list.json").write_text('["jar"]')
    command = ["bash", "custom/render_mesh.sh"]
    packages = ":".join([str(tmp_path), *sys.path])
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "PYTHONPATH": packages}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "Data/example/images/jar").glob("*.png"))) == 8


def extent(picture: Image.Image) -> tuple[float, ...]:
    """Longest side of the object's box and its centre, in shares of the picture."""
    rows, columns = np.nonzero(foreground(picture))
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    side = max(box[2] - box[0], box[3] - box[1])
    return side / picture.width, (box[0] + box[2]) / 2 / picture.width, (box[1] + box[3]) / 2 / picture.width


@pytest.mark.parametrize("name", ["mug.obj", "lamp.glb", "chest.obj"])
def test_views_that_frame_the_object_are_what_a_picture_is_after_its_framing(tmp_path, name):
    """Training views and the pictures that infer.py makes of any picture come from one distribution: framing a framed
    view changes next to nothing, and framing a view of the published cameras gives the same place and size."""
    size = 128
    framed = RenderTask("a", MESHES / name, tmp_path / "a", RenderSettings(3, image_size=size, framing="object"))
    fixed = RenderTask("a", MESHES / name, tmp_path / "b", RenderSettings(3, image_size=size))
    assert (render_object(framed).made, render_object(fixed).made) == (3, 3)
    views = load_views(framed.folder / "transforms.json")
    seen = []
    for index in range(3):
        picture, other = (Image.open(task.folder / f"{index:03d}.png") for task in (framed, fixed))
        again = prepare(picture, size=size)
        cover, covered = foreground(picture), foreground(again)
        assert (cover & covered).sum() / (cover | covered).sum() > 0.97
        assert np.abs(np.asarray(picture.convert("RGBa"), float) - np.asarray(again.convert("RGBa"))).mean() < 4
        for one in (picture, again, prepare(other, size=size)):
            assert extent(one) == pytest.approx((EXTENT, 0.5, 0.5), abs=1.6 / size)
        seen.append(extent(other))
        # The rays move with the picture: the X-Ray's first layer is where the framed picture is opaque.
        mesh = load_mesh(framed.mesh)
        xray, _ = capture(mesh, RayCaster(mesh.vertices, mesh.faces), views.camera(index, size), layers=1)
        assert (xray.hit[0] & cover).sum() / (xray.hit[0] | cover).sum() > 0.98
    assert np.abs(np.array(seen) - (EXTENT, 0.5, 0.5)).max() > 3 / size  # the published cameras do not frame
    assert json.loads(Image.open(framed.folder / "000.png").info[SETTINGS_KEY])["framing"] == "object"
    assert "framing" not in json.loads(Image.open(fixed.folder / "000.png").info[SETTINGS_KEY])


def test_no_camera_frames_a_single_point():
    with pytest.raises(InputError, match="no extent"):
        framed_pose(sample_views(1, np.random.default_rng(0))[0], np.zeros((3, 3)), 64)
