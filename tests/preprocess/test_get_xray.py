"""The get_xray command: what it writes, how it resumes, what it says about bad input."""

import importlib.util
import json
import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from xray.common.folder_lock import folder_lock
from xray.core.camera import Views, sample_views
from xray.core.storage import load_xray
from xray.data.folder import Folder
from xray.data.manifest import read_manifest
from xray.mesh.load import load_mesh
from xray.preprocess.render_run import RenderRow, merge_record
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster

ROOT = Path(__file__).parents[2]
ENTRY = ROOT / "preprocess/get_xray/get_xray.py"
SIZE = 32


def words(root, *flags):
    """Flags of the command for a data set's folder."""
    roots = ["--mesh_root", root / "meshes", "--image_root", root / "images", "--xray_root", root / "xrays"]
    return [str(word) for word in (*roots, "--resolution", SIZE, *flags)]


def start_get_xray(root, *flags, status=0):
    """Run the command as a program; returns its stderr."""
    command = [sys.executable, str(ENTRY), *words(root, *flags)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def get_xray(capsys, caplog):
    """Run the command in this process; returns what it says."""
    spec = importlib.util.spec_from_file_location("get_xray", ENTRY)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    caplog.set_level(logging.INFO)

    def run(root, *flags, status=0):
        caplog.clear()
        ended = module.main(words(root, "--workers", 0, *flags))
        said = capsys.readouterr().err + caplog.text
        assert ended == status, said
        return said

    return run


def add_pictures(root, uid, mesh_path, views=2, size=2 * SIZE):
    """`transforms.json` and pictures whose alpha is what the camera sees."""
    mesh = load_mesh(mesh_path)
    caster = RayCaster(mesh.vertices, mesh.faces)
    names = tuple(f"{index:03d}.png" for index in range(views))
    cameras = Views(0.8575560450553894, names, sample_views(views, np.random.default_rng(len(uid))))
    folder = root / "images" / uid
    folder.mkdir(parents=True)
    (folder / "transforms.json").write_text(cameras.to_json())
    for index, name in enumerate(names):
        xray, _ = capture(mesh, caster, cameras.camera(index, size), layers=1)
        picture = np.dstack([xray.color[0], xray.hit[0]])
        Image.fromarray(np.rint(picture * 255).astype(np.uint8)).save(folder / name)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Meshes in both layouts, with pictures; the command has run on them once."""
    root = tmp_path_factory.mktemp("made")
    (root / "meshes/deep/er").mkdir(parents=True)
    (root / "meshes/chair/models").mkdir(parents=True)
    trimesh.creation.torus(0.35, 0.15).export(root / "meshes/ring.ply")
    trimesh.creation.icosphere(subdivisions=2).export(root / "meshes/deep/er/ball.stl")
    trimesh.creation.annulus(0.2, 0.5, 0.3).export(root / "meshes/chair/models/model_normalized.obj")
    for uid, path in (
        ("ring", "ring.ply"),
        ("ball", "deep/er/ball.stl"),
        ("chair", "chair/models/model_normalized.obj"),
    ):
        add_pictures(root, uid, root / "meshes" / path)
    start_get_xray(root, "--workers", 2)
    return root


@pytest.fixture
def data(made, tmp_path):
    """A copy that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "data"))


def files(root):
    """Content of every X-Ray, by name."""
    paths = sorted((root / "xrays").rglob("[!.]*.npz"))
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def rows(root, name="manifest.csv"):
    """The manifest without what a clock says."""
    return [replace(row, seconds=None) for row in read_manifest(root / name)]


def test_files_and_manifest(made):
    manifest = read_manifest(made / "manifest.csv")
    assert [(row.object, row.view) for row in manifest] == [
        (uid, view) for uid in ("ball", "chair", "ring") for view in ("000", "001")
    ]
    assert not list(made.rglob("*partial*"))
    for row in manifest:
        xray = load_xray(made / "xrays" / row.object / f"{row.view}.npz")
        assert xray.shape == (16, SIZE, SIZE)
        assert row.hits == tuple(xray.hit.sum((1, 2)))
        assert row.status == "accepted"
        assert row.mask_iou == 1
        assert row.camera_distance == pytest.approx(1.5)
        assert row.faces > 100
        assert row.hits_beyond_layers == row.hits_before_near == row.hits_beyond_far == 0
        assert row.seconds > 0
    assert len({row.settings for row in manifest}) == 4  # a camera's own; ids of one length share theirs


def test_again_keeps_what_is_sound_and_makes_what_is_not(data, get_xray):
    expected = files(data)
    cut, wrong, gone = (data / "xrays" / name for name in ("ball/000.npz", "chair/001.npz", "ring/000.npz"))
    cut.write_bytes(cut.read_bytes()[:-40])
    shutil.copy(data / "xrays/ring/001.npz", wrong)
    gone.unlink()
    (data / "xrays/ball/.000.partial-77.npz").write_bytes(b"left by a killed run")
    kept = data / "xrays/ball/001.npz"
    before = kept.stat().st_mtime_ns
    said = get_xray(data)
    assert "(3 were there already)" in said
    assert files(data) == expected
    assert kept.stat().st_mtime_ns == before
    assert not list(data.rglob("*partial*"))
    said = get_xray(data)
    assert "(6 were there already)" in said


def test_other_settings_and_overwrite_make_everything_anew(data, get_xray):
    expected = files(data)
    said = get_xray(data, "--num_layers", 4)
    assert "(0 were there already)" in said
    assert load_xray(data / "xrays/ball/000.npz").shape == (4, SIZE, SIZE)
    assert len(rows(data)[0].hits) == 4
    said = get_xray(data)
    assert files(data) == expected
    views = json.loads((data / "images/ball/transforms.json").read_text())
    views["frames"][0]["transform_matrix"] = views["frames"][1]["transform_matrix"]
    (data / "images/ball/transforms.json").write_text(json.dumps(views))
    said = get_xray(data)
    assert "(5 were there already)" in said
    said = get_xray(data, "--overwrite")
    assert "(0 were there already)" in said


def test_views_unlike_their_picture_are_rejected_by_the_limit(data, get_xray):
    picture = data / "images/ball/000.png"
    pixels = np.array(Image.open(picture))
    pixels[: SIZE + 4] = 0
    Image.fromarray(pixels).save(picture)
    get_xray(data, "--overwrite")
    row = rows(data)[0]
    assert row.status == "rejected"
    assert row.reason.startswith("mask IoU 0.")
    assert (data / "xrays/ball/000.npz").is_file()
    said = get_xray(data, "--min_iou", 0.1)
    assert "(6 were there already)" in said
    assert rows(data)[0].status == "accepted"


def test_failures_are_listed_and_everything_else_is_done(data, get_xray):
    (data / "meshes/broken.obj").write_text("v 0 0\nf 1 2 3\n")
    (data / "meshes/points.ply").write_bytes((data / "meshes/ring.ply").read_bytes()[:200])
    (data / "meshes/lonely.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    for uid in ("broken", "points"):
        shutil.copytree(data / "images/ball", data / "images" / uid)
    (data / "images/ball/001.png").unlink()
    Image.new("RGB", (64, 64)).save(data / "images/chair/000.png")
    said = start_get_xray(data, "--workers", 2, "--overwrite", status=3)
    failed = {(row.object, row.view): row.reason for row in rows(data) if row.status == "failed"}
    assert set(failed) == {
        *((uid, view) for uid in ("broken", "points") for view in ("000", "001")),
        ("lonely", ""),
        ("chair", "000"),
    }
    assert "broken.obj" in failed["broken", "000"]
    assert "transforms.json" in failed["lonely", ""]
    assert "without alpha" in failed["chair", "000"]
    assert "4 views accepted, 0 rejected, 6 failed, 1 without a picture" in said
    assert "failed: lonely: " in said
    for uid in ("broken", "points", "lonely"):  # mended, the same command takes them up
        for path in (data / "meshes").glob(f"{uid}.*"):
            path.unlink()
        shutil.rmtree(data / "images" / uid, ignore_errors=True)
        shutil.rmtree(data / "xrays" / uid)
    shutil.copy(data / "images/ball/000.png", data / "images/ball/001.png")
    shutil.copy(data / "images/chair/001.png", data / "images/chair/000.png")
    said = get_xray(data, "--min_iou", 0)
    assert "(5 were there already)" in said  # the one without a picture was compared with it now


def test_a_mesh_that_takes_too_long_costs_one_object(data, get_xray):
    shutil.copy(data / "meshes/deep/er/ball.stl", data / "meshes/pipe.stl")
    shutil.copytree(data / "images/ball", data / "images/pipe")
    (data / "images/pipe/001.png").unlink()
    os.mkfifo(data / "images/pipe/001.png")  # reading it waits for a writer that never comes
    start_get_xray(data, "--workers", 1, "--timeout", 1, status=3)
    failed = [row for row in rows(data) if row.status == "failed"]
    assert {(row.object, row.view, row.reason) for row in failed} == {
        ("pipe", view, "took longer than 1 s") for view in ("000", "001")
    }
    assert len(rows(data)) == 8


def test_killed_at_any_moment_the_same_command_goes_on(data, get_xray):
    expected, manifest = files(data), rows(data)
    shutil.rmtree(data / "xrays")
    (data / "manifest.csv").unlink()
    command = [sys.executable, str(ENTRY), *words(data, "--workers", 2)]
    interrupted = 0
    for wanted in (1, 2, 4):  # killed when so many files are there
        run = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        while len(files(data)) < wanted and run.poll() is None:
            time.sleep(0.002)
        run.send_signal(signal.SIGKILL)
        run.wait()
        interrupted += len(files(data)) < 6
    assert interrupted
    _wait_until_quiet(data / "xrays")
    start_get_xray(data, "--workers", 2)
    assert files(data) == expected
    assert rows(data) == manifest
    assert not list(data.rglob("*partial*"))


def _wait_until_quiet(folder, patience_s=0.5):
    """Until no process writes there any more: workers end a moment after the run that was killed."""
    seen = None
    while seen != (seen := sorted((path, path.stat().st_mtime_ns) for path in folder.rglob("*"))):
        time.sleep(patience_s)


def test_other_objects_stay_in_the_manifest(data, get_xray):
    before = rows(data)
    (data / "meshes/ring.ply").unlink()
    said = get_xray(data)
    assert "2 objects" in said
    assert rows(data) == before


def test_bad_input_ends_with_one_line(tmp_path, data, get_xray):
    (tmp_path / "empty").mkdir()
    for flags, reason in (
        (["--mesh_root", tmp_path / "none"], "none: no such folder"),
        (["--mesh_root", tmp_path / "empty"], "empty: no mesh"),
        (["--image_root", tmp_path / "none"], "none: no such folder"),
        (["--xray_root", data / "manifest.csv"], "manifest.csv: cannot be made a folder of X-Rays"),
        (["--num_layers", 0], "0 layers"),
        (["--resolution", 99999], "resolution 99999: expected at most 2189 for 16 layers"),
        (["--num_layers", 10**6], "resolution 32: expected at most 8 for 1000000 layers"),
        (["--near", 2, "--far", 1], "near 2.0, far 1.0"),
        (["--min_iou", 2], "min_iou 2.0"),
        (["--device", "cuda:9"], "device 'cuda:9'"),
        (["--shard", "4/4"], "shard 4/4"),
        (["--shard", "one"], "shard 'one'"),
        (["--workers", -1], "-1 workers"),
        (["--timeout", -1], "timeout of -1"),
    ):
        said = get_xray(data, *flags, status=2)
        assert said.startswith("error: ") or "\nerror: " in said
        assert reason in said


def test_a_pose_without_a_picture_gets_its_xray(data, get_xray):
    """With the status of its own; a picture that comes later is compared without casting again."""
    expected = files(data)
    shutil.rmtree(data / "xrays")
    pictures = sorted((data / "images").rglob("*.png"))
    for path in pictures:
        path.rename(path.with_suffix(".away"))
    said = get_xray(data)
    assert "0 views accepted, 0 rejected, 0 failed, 6 without a picture" in said
    assert files(data) == expected
    assert {(row.status, row.accepted, row.mask_iou, row.picture) for row in rows(data)} == {
        ("no picture", False, None, "")
    }
    assert Folder(data).views() == ([], 6)
    for path in pictures:
        path.with_suffix(".away").rename(path)
    said = get_xray(data)
    assert "6 views accepted" in said
    assert "(6 were there already)" in said
    blank = Image.new("RGBA", (2 * SIZE, 2 * SIZE))
    blank.save(data / "images/ball/000.png")
    said = get_xray(data)
    assert "5 views accepted, 1 rejected" in said
    assert "(6 were there already)" in said


def test_without_cameras_the_reason_is_that_of_the_mesh_or_of_its_pictures(data, get_xray):
    (data / "meshes/flat.obj").write_text("v 0 0 0\nv 1 0 0\nf 1 2 2\n")
    merge_record(data / "images", [RenderRow("flat", "failed", "flat.obj: said by the renderer")])
    merge_record(data / "images", [RenderRow("slow", "failed", "took longer than 5 s")])
    shutil.copy(data / "meshes/ring.ply", data / "meshes/slow.ply")
    shutil.copy(data / "meshes/ring.ply", data / "meshes/never.ply")
    get_xray(data, status=3)
    failed = {row.object: row.reason for row in rows(data) if row.status == "failed"}
    assert set(failed) == {"flat", "slow", "never"}
    assert "flat.obj" in failed["flat"]
    assert "transforms.json" not in failed["flat"]
    assert failed["slow"] == "its pictures failed: took longer than 5 s"
    assert "render the images first" in failed["never"]


def test_rows_of_an_earlier_version_stay_in_the_manifest(data, get_xray):
    """Of objects whose meshes are not asked for any more."""
    (data / "meshes/ring.ply").unlink()
    path = data / "xrays/ring/rows.csv"
    path.write_text("".join(",".join(line.split(",")[:13]) + "\n" for line in path.read_text().splitlines()))
    get_xray(data)
    assert [row.status for row in rows(data) if row.object == "ring"] == ["accepted"] * 2


def test_a_second_run_in_one_folder_is_refused(data, get_xray):
    before = files(data)
    with folder_lock(data / "xrays", "a run of get_xray.py"):
        said = start_get_xray(data, "--workers", 0, "--overwrite", status=2)
    assert f"process {os.getpid()}" in said
    assert said.count("\n") == 1
    assert files(data) == before
    with folder_lock(data / "xrays", "a run of get_xray.py", "0-of-2"):
        start_get_xray(data, "--workers", 0, "--shard", "1/2")


def test_a_picture_of_another_shape_is_refused(data, get_xray):
    Image.new("RGBA", (64, 48)).save(data / "images/ball/000.png")
    get_xray(data, "--overwrite", status=3)
    assert "64 x 48 pixels, expected a square" in rows(data)[0].reason


def test_a_full_disk_ends_the_run_with_one_line(data):
    command = [sys.executable, str(ENTRY), *words(data, "--workers", 1, "--overwrite")]
    limits = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, **limits)
    assert done.returncode == 1
    assert "File too large; stopped, the same command goes on from here" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(rows(data)) == 6  # that of the run before


def test_parts_on_many_machines_make_the_same_as_one(data):
    expected, manifest = files(data), rows(data)
    shutil.rmtree(data / "xrays")
    (data / "manifest.csv").unlink()
    merge = [sys.executable, str(ROOT / "scripts/merge_manifests.py"), "--data_root", str(data)]
    for task in range(5, 8):  # as `sbatch --array=5-7` starts them
        variables = {"SLURM_ARRAY_TASK_ID": task, "SLURM_ARRAY_TASK_MIN": 5, "SLURM_ARRAY_TASK_COUNT": 3}
        if task == 7:  # again, alone
            variables = {"SLURM_ARRAY_TASK_ID": 2, "SHARDS": 3}
        variables |= {"SLURM_CPUS_PER_TASK": 1, "PYTHON": sys.executable}
        if task == 7:
            early = subprocess.run(merge, capture_output=True, text=True)
            assert early.returncode == 2
            assert "manifest.2-of-3.csv" in early.stderr
        subprocess.run(
            ["bash", "scripts/slurm/get_xray.sbatch", data / "meshes", data, "--resolution", str(SIZE)],
            env=os.environ | {name: str(value) for name, value in variables.items()},
            cwd=ROOT,
            check=True,
            stderr=subprocess.DEVNULL,
        )
    assert not (data / "manifest.csv").exists()
    subprocess.run(merge, check=True, stderr=subprocess.DEVNULL)
    assert files(data) == expected
    assert rows(data) == manifest
    assert sum(len(rows(data, f"manifest.{index}-of-3.csv")) for index in range(3)) == len(manifest)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install -r requirements-ray.txt")
def test_ray_makes_the_same(data):
    expected, manifest = files(data), rows(data)
    shutil.rmtree(data / "xrays")
    (data / "manifest.csv").unlink()
    start_get_xray(data, "--executor", "ray", "--workers", 2)
    assert files(data) == expected
    assert rows(data) == manifest


def obj(vertices, faces):
    lines = [f"v {' '.join(map(str, vertex))}" for vertex in vertices.tolist()]
    return "\n".join(lines + [f"f {' '.join(map(str, face))}" for face in (np.asarray(faces) + 1).tolist()]) + "\n"


def test_damaged_and_extreme_meshes_are_right_or_a_failure_with_a_reason(tmp_path, get_xray):
    ball = trimesh.creation.icosphere(subdivisions=2)
    vertices, faces = np.array(ball.vertices), np.array(ball.faces)
    broken = vertices.copy()
    broken[5, 1] = np.nan
    endless = vertices.copy()
    endless[5, 1] = np.inf
    flat = [[0, 0, 1], [2, 2, 2], [3, 4, 3]]
    right = {
        "plain": obj(vertices, faces),
        "huge": obj(vertices * 1e6, faces),
        "tiny": obj(vertices * 1e-6, faces),
        "degenerate": obj(vertices, np.concatenate([flat, faces, flat])),
        "unused": obj(np.concatenate([vertices, [[50.0, 50, 50]]]), faces),
    }
    wrong = {
        "nan": obj(broken, faces),
        "infinite": obj(endless, faces),
        "range": obj(vertices, np.concatenate([faces, [[0, 1, 5000]]])),
        "empty": "",
        "points": obj(vertices, np.zeros((0, 3), int)),
        "only_degenerate": obj(vertices, flat),
        "text": "this is not a mesh\n" * 30,
    }
    (tmp_path / "meshes").mkdir()
    for uid, text in (right | wrong).items():
        (tmp_path / "meshes" / f"{uid}.obj").write_text(text)
    add_pictures(tmp_path, "plain", tmp_path / "meshes/plain.obj")
    for uid in (right | wrong).keys() - {"plain"}:
        shutil.copytree(tmp_path / "images/plain", tmp_path / "images" / uid)
    get_xray(tmp_path, status=3)
    found = {(row.object, row.view): row for row in rows(tmp_path)}
    assert len(found) == 2 * len(right | wrong)
    for uid in right:
        for view in ("000", "001"):
            assert found[uid, view].status == "accepted", found[uid, view].reason
            assert found[uid, view].mask_iou > 0.99
            expected, xray = (load_xray(tmp_path / "xrays" / name / f"{view}.npz") for name in ("plain", uid))
            same = (xray.hit == expected.hit).all(0)
            assert same.mean() > 0.999  # the last bit of a scaled vertex may move a silhouette
            assert np.abs(xray.depth - expected.depth)[:, same].max() < 1e-5
    for uid in wrong:
        for view in ("000", "001"):
            assert found[uid, view].status == "failed"
            assert f"{uid}.obj" in found[uid, view].reason
            assert not (tmp_path / "xrays" / uid / f"{view}.npz").exists()
