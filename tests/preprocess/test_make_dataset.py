"""One pass from meshes to a data set: the files of the two commands, changed meshes, whole objects, a stop."""

import csv
import functools
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from xray.common.errors import InputError
from xray.core.camera import load_views, whole_distance
from xray.data.folder import Folder
from xray.data.manifest import read_manifest
from xray.mesh.load import load_mesh
from xray.preprocess.render_object import RenderSettings

ROOT = Path(__file__).parents[2]
MESHES = ROOT / "example/meshes"
SMALL = ("--num_views", "2", "--image_size", "48")
RAYS = ("--resolution", "48")


def entry(name):
    spec = importlib.util.spec_from_file_location(Path(name).stem, ROOT / "preprocess" / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def run(capsys, caplog):
    """Run a command of preprocessing in this process; returns status and what it says."""
    caplog.set_level(logging.INFO)

    def run(name, *flags):
        caplog.clear()
        status = entry(name)([str(flag) for flag in ("--workers", 0, *flags)])
        return status, capsys.readouterr().err + caplog.text

    return run


@pytest.fixture
def make(tmp_path, run):
    """make_dataset.py on tmp_path/meshes into tmp_path/one."""
    return lambda *flags: run(
        "make_dataset.py", "--mesh_root", tmp_path / "meshes", "--root", tmp_path / "one", *SMALL, *RAYS, *flags
    )


def copy_meshes(folder, *names):
    folder.mkdir(exist_ok=True)
    for path in MESHES.iterdir():
        if path.name.startswith(names):
            shutil.copy(path, folder)


def content(root):
    """Bytes of every file, the clock's columns left out."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.suffix == ".csv":
            with path.open(newline="") as stream:
                found[name] = [{**row, "seconds": ""} for row in csv.DictReader(stream)]
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def test_one_pass_makes_the_files_of_the_two_commands(tmp_path, run, make):
    """Failures and odd names included."""
    copy_meshes(tmp_path / "meshes", "chest", "bowl")
    (tmp_path / "meshes/flat.obj").write_text("v 0 0 0\nv 1 0 0\nf 1 2 2\n")
    shutil.copy(MESHES / "bowl.ply", os.fsencode(tmp_path / "meshes") + b"/caf\xe9.ply")
    for name in ("two  spaces", "tail ", "x" * 250, "a,b;'\\"):
        shutil.copy(MESHES / "bowl.ply", tmp_path / "meshes" / f"{name}.ply")
    (tmp_path / "meshes/notes.doc").touch()
    two = tmp_path / "two"
    roots = ("--mesh_root", tmp_path / "meshes", "--image_root", two / "images")
    pictures = run("get_image/render.py", *roots, *SMALL)
    xrays = run("get_xray/get_xray.py", *roots, "--xray_root", two / "xrays", *RAYS)
    status, said = make()
    assert status == pictures[0] == xrays[0] == 3
    for text in (pictures[1], xrays[1], said):
        assert "left out: 1 file of other types (.doc 1)" in text
    assert content(tmp_path / "one") == content(two)
    manifest = read_manifest(two / "manifest.csv")
    assert {row.object for row in manifest if row.accepted} == {
        *("bowl", "chest", "two  spaces", "tail ", "x" * 250, "a,b;'\\"),
    }
    failed = {row.object: row.reason for row in manifest if row.status == "failed"}
    assert set(failed) == {"flat", "caf\\xe9"}
    assert "flat.obj" in failed["flat"]
    assert "not UTF-8" in failed["caf\\xe9"]
    status, said = make()
    assert "0 pictures made, 12 were there" in said
    assert "(12 were there already)" in said


def test_what_has_changed_is_made_again(tmp_path, make):
    """A mesh, a texture, a material, and one that moved; a mere touch is no change."""
    meshes, root = tmp_path / "meshes", tmp_path / "one"
    copy_meshes(meshes, "chest", "bowl", "lamp")
    assert make()[0] == 0
    first = content(root)
    for path in meshes.iterdir():
        os.utime(path)
    status, said = make()
    assert (status, "0 pictures made, 6 were there" in said, "(6 were there already)" in said) == (0, True, True)

    def changed(*objects):
        before, (status, said) = content(root), make()
        after = content(root)
        differing = {name.split("/")[1] for name in after if name.endswith(".png") and after[name] != before[name]}
        assert (status, differing) == (0, set(objects))
        kept = 6 - 2 * len(objects)
        assert f"{2 * len(objects)} pictures made, {kept} were there" in said
        assert f"({kept} were there already)" in said

    texture = next(path for path in meshes.iterdir() if path.suffix == ".png")
    with Image.open(texture) as image:
        inverted = image.convert("RGB").point(lambda value: 255 - value)
    inverted.save(texture)
    changed("chest")
    mesh = trimesh.load(meshes / "bowl.ply", process=False)
    mesh.vertices[:, 2] *= 3
    mesh.export(meshes / "bowl.ply")
    changed("bowl")
    (meshes / "deep").mkdir()
    for path in list(meshes.iterdir()):
        if path.name.startswith("chest"):
            path.rename(meshes / "deep" / path.name)
    changed()
    shutil.copy(MESHES / "lamp.glb", meshes / "bowl.glb")
    (meshes / "bowl.ply").unlink()
    changed("bowl")
    library = meshes / "deep/chest.mtl"
    renamed = texture.with_name("renamed.png").name
    (meshes / "deep" / texture.name).rename(meshes / "deep" / renamed)
    status, said = make()
    assert status == 3  # what a face shows is missing
    library.write_text(library.read_text().replace(texture.name, renamed))
    assert make()[0] == 0
    assert content(root)["xrays/lamp/000.npz"] == first["xrays/lamp/000.npz"]
    mesh = {row.object: row.mesh for row in read_manifest(root / "manifest.csv")}
    assert mesh["bowl"] == mesh["lamp"] != mesh["chest"]


def test_paths_are_ids_and_a_list_selects_them(tmp_path, make):
    for folder in ("a", "b/c"):
        (tmp_path / "meshes" / folder).mkdir(parents=True)
        shutil.copy(MESHES / "lamp.glb", tmp_path / "meshes" / folder / "model.glb")
    status, said = make()
    assert status == 2
    assert "'model' of a/model.glb, b/c/model.glb" in said
    assert make("--id", "path")[0] == 0
    rows = read_manifest(tmp_path / "one/manifest.csv")
    assert [(row.object, row.view) for row in rows] == [
        (uid, view) for uid in ("a/model", "b/c/model") for view in ("000", "001")
    ]
    assert (tmp_path / "one/xrays/b/c/model/001.npz").is_file()
    (tmp_path / "list.json").write_bytes(b'\xef\xbb\xbf["a/model"]')
    status, said = make("--id", "path", "--mesh_list", tmp_path / "list.json", "--num_views", 3)
    assert "1 pictures made, 2 were there" in said
    assert len(read_manifest(tmp_path / "one/manifest.csv")) == 5


def test_objects_that_reach_beyond_the_picture_are_counted_and_can_be_taken_back(tmp_path, make):
    (tmp_path / "meshes").mkdir()
    trimesh.creation.box().export(tmp_path / "meshes/box.ply")
    trimesh.creation.icosphere(radius=0.5).export(tmp_path / "meshes/ball.ply")
    said = make("--num_views", 4)[1]
    assert "4 views of 1 objects reach beyond the picture" in said
    cut = {(row.object, row.cut > 0) for row in read_manifest(tmp_path / "one/manifest.csv")}
    assert cut == {("box", True), ("ball", False)}
    said = make("--num_views", 4, "--fit", "--overwrite")[1]
    assert "reach beyond" not in said
    rows = read_manifest(tmp_path / "one/manifest.csv")
    assert {row.cut for row in rows} == {0}
    distance = {row.object: row.camera_distance for row in rows}
    assert distance["ball"] == 1.5  # whole where it was
    assert 1.8 < distance["box"] < 2.3
    views = load_views(tmp_path / "one/images/box/transforms.json")
    mesh = load_mesh(tmp_path / "meshes/box.ply")
    fewer = RenderSettings(2, framing="whole").views("box", mesh)
    assert np.array_equal(views.world_from_camera[:2], fewer.world_from_camera)


def test_the_distance_for_a_whole_object_is_the_least_for_all_views():
    """Against every view of a fine grid, for shapes that touch the border on any side."""
    rng = np.random.default_rng(0)
    for elevation in ((0.0, 45.0), (-60.0, 80.0), (30.0, 30.0)):
        for scale in ((1, 1, 1), (1, 0.1, 0.1), (0.2, 0.2, 1)):
            points = rng.uniform(-0.5, 0.5, (60, 3)) * scale
            distance = whole_distance(points, elevation)
            settings = RenderSettings(400, distance, elevation)
            worst = 0.0
            for pose in settings.views("any").world_from_camera:
                local = (points - pose[:3, 3]) @ pose[:3, :3]
                worst = max(worst, (np.abs(local[:, :2]) / -local[:, 2:]).max())
            share = worst / np.tan(0.8575560450553894 / 2)
            assert share < 1 - 1 / 16 + 2e-3
            assert share > 0.75 * (1 - 1 / 16)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_run_that_is_stopped_leaves_what_it_did_on_record(tmp_path, number):
    (tmp_path / "meshes").mkdir()
    for index in range(60):
        shutil.copy(MESHES / "lamp.glb", tmp_path / f"meshes/{index:02d}.glb")
    (tmp_path / "meshes/00.glb").write_bytes(b"nothing")
    command = [sys.executable, ROOT / "preprocess/make_dataset.py", "--mesh_root", tmp_path / "meshes"]
    command += ["--root", tmp_path / "one", *SMALL, *RAYS, "--workers", "1"]
    # What starts the tests may ignore these signals, as nohup and background jobs do, and children inherit that.
    heed = functools.partial(signal.signal, number, signal.SIG_DFL)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, preexec_fn=heed)
    end = time.monotonic() + 120
    while len(list(tmp_path.glob("one/xrays/*/rows.csv"))) < 3 and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 128 + number, said
    assert "Traceback" not in said
    rows = read_manifest(tmp_path / "one/manifest.csv")
    assert 3 <= len({row.object for row in rows}) < 60
    with (tmp_path / "one/images/render.csv").open(newline="") as stream:
        record = {row["object"]: row["status"] for row in csv.DictReader(stream)}
    assert record["00"] == "failed"
    # An object may have been made whose worker was ended before it could say so: the next run finds it.
    made = {row.object for row in rows}
    assert set(record) <= made
    assert len(made - set(record)) <= 1


def test_a_foreign_record_is_refused_before_the_first_picture(tmp_path, make):
    copy_meshes(tmp_path / "meshes", "lamp")
    (tmp_path / "one/images").mkdir(parents=True)
    (tmp_path / "one/images/render.csv").write_text("name,price\n")
    status, said = make()
    assert status == 2
    assert "render.csv: not a record of a rendering" in said
    assert not list(tmp_path.rglob("*.png"))


def merge(root, *flags):
    command = [sys.executable, ROOT / "scripts/merge_manifests.py", "--data_root", root, *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.returncode, done.stderr


def without_parts(files):
    return {name: rows for name, rows in files.items() if "-of-" not in name}


def test_parts_make_what_one_run_makes(tmp_path, make):
    copy_meshes(tmp_path / "meshes", "lamp", "bowl", "chest")
    for part in range(2):
        assert make("--shard", f"{part}/2")[0] == 0
    assert merge(tmp_path / "one")[0] == 0
    parts = content(tmp_path / "one")
    assert len(parts) - len(without_parts(parts)) == 4
    shutil.rmtree(tmp_path / "one")
    assert make()[0] == 0
    assert without_parts(parts) == content(tmp_path / "one")


@pytest.mark.parametrize("kind", ["manifest", "render"])
def test_parts_of_either_kind_are_joined_before_they_are_used(tmp_path, make, run, kind):
    """By the scan, by training, and by packing; parts that are missing are named."""
    copy_meshes(tmp_path / "meshes", "lamp", "bowl")
    root = tmp_path / "one"
    for part in range(2):
        make("--shard", f"{part}/2")
    lost, other = (root, root / "images") if kind == "manifest" else (root / "images", root)
    merge(root)
    (lost / f"{kind}.csv").unlink()
    for path in other.glob("*-of-*.csv"):
        path.unlink()
    for command in ("scan_dataset.py", "pack_shards.py"):
        flags = ["--shard_root", tmp_path / "shards"] if "pack" in command else ["--overwrite"]
        command = [sys.executable, ROOT / "scripts" / command, "--data_root", root, *flags]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert done.returncode == 2, done.stderr
        assert done.stderr.count("\n") == 1
        assert f"{kind}.0-of-2.csv" in done.stderr
        assert "merge_manifests.py" in done.stderr
    with pytest.raises(InputError, match=rf"{kind}\.0-of-2\.csv"):
        Folder(root).views()
    gone = (lost / f"{kind}.1-of-2.csv").rename(tmp_path / "gone")
    status, said = merge(root)
    assert status == 2
    assert f"{kind}.1-of-2.csv" in said
    gone.rename(lost / f"{kind}.1-of-2.csv")
    assert merge(root)[0] == 0
    assert len(Folder(root).views()[0]) == 4


def test_parts_of_another_number_are_refused(tmp_path, make, run):
    copy_meshes(tmp_path / "meshes", "lamp", "bowl")
    root = tmp_path / "one"
    make("--shard", "1/4")
    before = content(root)
    meshes, images = ("--mesh_root", tmp_path / "meshes"), ("--image_root", root / "images")
    scan = [sys.executable, ROOT / "scripts/scan_dataset.py", "--data_root", root, "--shard", "1/3"]
    (root / "images/render.csv").touch()  # the scan asks for joined records of the pictures first
    scanned = subprocess.run(scan, capture_output=True, text=True)
    (root / "images/render.csv").unlink()
    for status, said in (
        make("--shard", "1/3"),
        run("get_image/render.py", *meshes, *images, "--shard", "0/2"),
        run("get_xray/get_xray.py", *meshes, *images, "--xray_root", root / "xrays", "--shard", "0/2"),
        (scanned.returncode, scanned.stderr),
    ):
        assert status == 2, said
        assert "1-of-4.csv" in said
        assert "Traceback" not in said
    assert content(root) == before
    assert make("--shard", "0/4")[0] == 0


def test_a_later_record_replaces_a_failure(tmp_path, make):
    """A part whose mesh was mended, and one whose object moved on: the joined record has what is true."""
    copy_meshes(tmp_path / "meshes", "lamp")
    (tmp_path / "meshes/broken.obj").write_text("f 1 2 3\n")
    root = tmp_path / "one"
    for part in range(2):
        make("--shard", f"{part}/2")
    status, said = merge(root)
    assert status == 3
    assert "2 objects of 2 records, 1 of them failed" in said
    shutil.copy(MESHES / "bowl.ply", tmp_path / "meshes/broken.ply")
    (tmp_path / "meshes/broken.obj").unlink()
    for part in range(2):
        make("--shard", f"{part}/2")
    assert merge(root)[0] == 0
    with (root / "images/render.csv").open(newline="") as stream:
        assert {row["object"]: row["status"] for row in csv.DictReader(stream)} == dict.fromkeys(
            ("broken", "lamp"), "rendered"
        )


@pytest.mark.parametrize("parts", [1, 2])
def test_new_objects_beside_those_from_elsewhere_leave_their_rows(tmp_path, make, run, parts):
    """A released data set, scanned, to which own meshes are added: without its rows it would not be trained on."""
    copy_meshes(tmp_path / "meshes", "lamp")
    root = tmp_path / "one"
    make()
    (root / "manifest.csv").unlink()
    (root / "xrays/lamp").rename(root / "xrays/released")
    (root / "images/lamp").rename(root / "images/released")
    (root / "xrays/released/rows.csv").unlink()
    shutil.rmtree(tmp_path / "meshes")
    copy_meshes(tmp_path / "meshes", "bowl")
    status, said = make()
    assert status == 0
    assert "1 objects with X-Rays, as released, are in no manifest" in said
    command = [sys.executable, ROOT / "scripts/scan_dataset.py", "--data_root", root, "--overwrite", "--workers", "0"]
    subprocess.run(list(map(str, command)), check=True)
    scanned = {row.object: row for row in read_manifest(root / "manifest.csv") if row.view == "000"}
    assert scanned.keys() == {"released", "bowl"}
    copy_meshes(tmp_path / "meshes", "mug")
    for part in range(parts):
        status, said = make("--shard", f"{part}/{parts}")
        assert status == 0
        assert "in no manifest" not in said
    if parts > 1:
        assert merge(root)[0] == 0
    rows = read_manifest(root / "manifest.csv")
    assert [(row.object, row.view) for row in rows if row.object == "released"] == [
        ("released", f"00{k}") for k in (0, 1)
    ]
    assert {row.object for row in rows} == {"released", "bowl", "mug"}
    assert scanned["released"] in rows


def test_a_data_set_of_shards_keeps_its_manifest(tmp_path, make, run):
    copy_meshes(tmp_path / "meshes", "lamp")
    index = tmp_path / "one/shards/index.csv"
    index.parent.mkdir(parents=True)
    index.touch()
    for command in (
        ("make_dataset.py", "--root", tmp_path / "one"),
        ("get_xray/get_xray.py", "--image_root", tmp_path, "--xray_root", tmp_path / "one/xrays"),
    ):
        status, said = run(*command, "--mesh_root", tmp_path / "meshes")
        assert status == 2
        assert "a data set that is packed already (shards/index.csv); expected one of files" in said
    assert os.listdir(tmp_path / "one") == ["shards"]
