"""Any method's files are scored as what they are: meshes on their surface, clouds point by point."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.analytic import sphere_points
from helpers.made_meshes import GltfWriter

import evaluate_points
from xray.common.axes import to_y_up
from xray.common.cli import BAD_INPUT, FAILURES, OK
from xray.common.errors import InputError
from xray.core.points import PointCloud
from xray.evaluate.files import Triangles, estimate_normals, find_shapes, load_shape, pair, score_pair, to_cloud
from xray.mesh.load import load_mesh
from xray.mesh.ply import save_ply
from xray.metrics.nearest import MISSING_DISTANCE

ROOT = Path(__file__).parents[2]
METRICS = {"chamfer", "fscore@0.01", "fscore@0.02", "emd", "normal_consistency"}


def run(tmp_path, *flags: str) -> tuple[int, dict]:
    output = tmp_path / "scores.json"
    arguments = ["--pred", str(tmp_path / "pred"), "--gt", str(tmp_path / "gt"), "--output", str(output)]
    status = evaluate_points.main([*arguments, "--points", "4000", *flags])
    return status, json.loads(output.read_text()) if output.is_file() else {}


@pytest.fixture
def folders(tmp_path):
    """A sphere, and a box whose vertices alone would say little, as truth; the same in other files as predictions."""
    for folder in ("pred", "gt"):
        (tmp_path / folder).mkdir()
    ball, box = trimesh.creation.icosphere(4, 0.5), trimesh.creation.box((1, 0.6, 0.4))
    ball.export(tmp_path / "gt" / "ball.obj")
    box.export(tmp_path / "gt" / "box.glb")
    box.export(tmp_path / "pred" / "box.obj")
    points = sphere_points([0.5], 4000)
    save_ply(tmp_path / "pred" / "ball.ply", PointCloud(points, points * 2, np.full_like(points, 0.5)))
    return tmp_path


def test_meshes_and_clouds_under_both_protocols(folders, capsys):
    status, result = run(folders)
    assert status == OK
    assert set(result["protocols"]) == {"author", "surface"}
    for protocol in result["protocols"].values():
        assert set(protocol["mean"]) >= METRICS
        assert [row["name"] for row in protocol["rows"]] == ["ball", "box"]
        rows = protocol["rows"]
        assert protocol["mean"]["chamfer"] == pytest.approx(sum(row["chamfer"] for row in rows) / 2)
    # 4,000 points on about 3 square units lie 0.013 apart, both ways together twice that.
    assert result["protocols"]["surface"]["mean"]["chamfer"] < 0.035
    assert result["protocols"]["surface"]["mean"]["normal_consistency"] > 0.97
    assert result["protocols"]["author"]["mean"]["chamfer"] < 0.05
    assert "surface chamfer" in capsys.readouterr().out


def test_missing_broken_and_extra_predictions_are_counted(folders, capsys):
    (folders / "pred" / "box.obj").write_text("nothing of a mesh")
    trimesh.creation.icosphere(1).export(folders / "pred" / "extra.stl")
    trimesh.creation.icosphere(1).export(folders / "gt" / "lost.stl")
    status, result = run(folders, "--workers", "0")
    assert status == FAILURES
    surface = result["protocols"]["surface"]
    assert (surface["samples"], surface["degenerate"]) == (3, 2)
    by_name = {row["name"]: row for row in surface["rows"]}
    assert by_name["box"]["chamfer"] == by_name["lost"]["chamfer"] == pytest.approx(2 * MISSING_DISTANCE)
    assert by_name["lost"]["fscore@0.02"] == 0
    assert result["unpaired"] == ["extra"]
    printed = capsys.readouterr().out
    for word in ("box.obj", "no prediction", "extra"):
        assert word in printed


def test_odd_names_are_scored_and_printed_and_the_output_is_tried_first(tmp_path):
    for folder in ("gt", "pred"):
        (tmp_path / folder).mkdir()
        for name in (b"a", b"caf\xe9", folder.encode() + b"\xe9"):
            trimesh.creation.box().export(tmp_path / "box.ply")
            shutil.copy(tmp_path / "box.ply", os.fsencode(tmp_path / folder) + b"/" + name + b".ply")
    command = [sys.executable, ROOT / "evaluate_points.py", "--pred", tmp_path / "pred", "--gt", tmp_path / "gt"]
    command += ["--points", "100", "--output"]
    done = subprocess.run([*command, tmp_path / "out/all.json"], capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "pred\\udce9: a prediction without a truth" in done.stdout
    assert len(json.loads((tmp_path / "out/all.json").read_text())["files"]) == 3
    done = subprocess.run([*command, tmp_path / "box.ply/all.json"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be written there" in done.stderr


def test_alignment_moves_the_prediction(folders):
    (folders / "gt" / "ball.obj").unlink()
    (folders / "pred" / "ball.ply").unlink()
    mesh = trimesh.load(folders / "pred" / "box.obj", force="mesh")
    mesh.apply_translation((0.3, 0, 0))
    mesh.export(folders / "pred" / "box.obj")
    chamfer = {
        name: run(folders, "--alignment", name)[1]["protocols"]["surface"]["rows"][0]["chamfer"]
        for name in ("none", "mean")
    }
    assert chamfer["mean"] < 0.04 < 0.1 < chamfer["none"]


def test_shapes_are_sampled_or_taken_as_they_are(tmp_path):
    box = trimesh.creation.box((1, 0.6, 0.4))
    box.export(tmp_path / "box.ply")
    cloud = to_cloud(load_shape(tmp_path / "box.ply"), 5000)
    assert len(cloud) == 5000
    assert np.abs(np.abs(cloud.points / (0.5, 0.3, 0.2)).max(1) - 1).max() < 1e-5
    points = np.array(sphere_points([0.5], 500))
    trimesh.PointCloud(points).export(tmp_path / "cloud.ply")
    taken = to_cloud(load_shape(tmp_path / "cloud.ply"), 5000)
    assert np.allclose(taken.points, points, atol=1e-6)
    assert (np.abs((taken.normals * points * 2).sum(1)) > 0.95).mean() > 0.95
    scene = trimesh.Scene()
    scene.add_geometry(box, transform=trimesh.transformations.translation_matrix((2, 0, 0)))
    scene.add_geometry(trimesh.creation.icosphere(1))
    scene.export(tmp_path / "scene.glb")
    assert to_cloud(load_shape(tmp_path / "scene.glb"), 3000).points[:, 0].max() == pytest.approx(2.5, abs=0.01)


def test_a_mesh_is_read_as_preprocessing_reads_it(tmp_path):
    """Instances of a GPU-instanced .glb, an instanced scene and a mesh whose pictures are missing."""
    writer = GltfWriter()
    square = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    shift = writer.array([[0, 0, 0], [0, 0, 2], [3, 0, 0]])
    strip = writer.mesh(square, [0, 1, 2, 3], mode=5)
    writer.node(mesh=strip, extensions={"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": shift}}})
    path = writer.save(tmp_path / "instanced.glb")
    shape, mesh = load_shape(path, up="z"), load_mesh(path, up="z")
    assert shape.faces.shape == mesh.faces.shape == (6, 3)
    corners = shape.vertices[shape.faces].reshape(-1, 3)
    assert np.array_equal(corners.max(0), (4, 1, 2))
    low, high = corners.min(0), corners.max(0)
    assert np.allclose((corners - (low + high) / 2) / 4, mesh.vertices[mesh.faces].reshape(-1, 3))
    (tmp_path / "bare.obj").write_text("mtllib lost.mtl\nusemtl gone\nv 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    assert load_shape(tmp_path / "bare.obj").faces.tolist() == [[0, 1, 2]]
    (tmp_path / "cloud.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    assert len(load_shape(tmp_path / "cloud.obj", up="z").points) == 3


def test_degenerate_shapes_have_points_or_a_reason(tmp_path):
    flat = Triangles(np.zeros((3, 3)), np.array([[0, 1, 2]]))
    assert to_cloud(flat, 100).points.shape == (3, 3)
    broken = trimesh.creation.icosphere(1)
    vertices = np.array(broken.vertices)
    vertices[0] = np.nan
    assert np.isfinite(to_cloud(Triangles(vertices, np.asarray(broken.faces)), 100).points).all()
    assert not estimate_normals(np.full((5, 3), np.nan)).any()
    (tmp_path / "empty.obj").write_text("# nothing\n")
    with pytest.raises(InputError, match=r"empty\.obj"):
        load_shape(tmp_path / "empty.obj")


def own_results(folder, names=("lamp_000",), truth: bool = True) -> None:
    """A long, tilted box as an evaluation leaves it: points z-up, the mesh of the same y-up, the truth."""
    folder.mkdir(exist_ok=True)
    box = trimesh.creation.box((1, 0.3, 0.6))
    box.apply_transform(trimesh.transformations.rotation_matrix(0.4, (1, 0.2, 0)))
    for name in names:
        points, faces = trimesh.sample.sample_surface(box, 4000, seed=0)
        cloud = PointCloud(np.asarray(points), np.asarray(box.face_normals[faces]), np.full((4000, 3), 0.5))
        (folder / f"{name}_xray.npz").write_bytes(b"")
        save_ply(folder / f"{name}_prd.ply" if truth else folder / f"{name}_points.ply", cloud)
        if truth:
            save_ply(folder / f"{name}_gt.ply", cloud)
        y_up = trimesh.Trimesh(to_y_up(np.asarray(box.vertices)), box.faces, process=False)
        y_up.export(folder / f"{name}.glb")
        y_up.export(folder / f"{name}.obj")


@pytest.mark.parametrize("form", ["points", "mesh"])
def test_an_evaluations_folder_is_scored_against_itself(tmp_path, capsys, form):
    names = ("lamp_000", "lamp_001")
    own_results(tmp_path / "results", names)
    (tmp_path / "pred").symlink_to("results")
    (tmp_path / "gt").symlink_to("results")
    status, result = run(tmp_path, "--form", form)
    assert status == OK
    assert [row["name"] for row in result["files"]] == list(names)
    assert {row["truth"][-7:] for row in result["files"]} == {"_gt.ply"}
    assert {row["up"][0] for row in result["files"]} == {"z" if form == "points" else "y"}
    # The points are the truth's own; those on the mesh are others, of the same surface: no nearer for two samples.
    assert result["protocols"]["author"]["mean"]["chamfer"] < (1e-9 if form == "points" else 0.04)
    assert not any(row["hint"] for row in result["files"])
    assert "left out" in capsys.readouterr().out
    assert not result["unpaired"]


def test_infers_own_folder_is_scored(tmp_path):
    own_results(tmp_path / "pred", ("mug", "bowl"), truth=False)
    (tmp_path / "gt").mkdir()
    own_results(tmp_path / "made", ("mug", "bowl"), truth=False)
    for name in ("mug", "bowl"):
        (tmp_path / "made" / f"{name}.obj").rename(tmp_path / "gt" / f"{name}.obj")
    for form in ("points", "mesh"):
        status, result = run(tmp_path, "--form", form)
        assert status == OK
        assert result["protocols"]["surface"]["mean"]["chamfer"] < 0.04


def test_our_mesh_stands_upright_beside_points(tmp_path, capsys):
    own_results(tmp_path / "results")
    for folder, file in (("pred", "lamp_000.glb"), ("gt", "lamp_000_gt.ply")):
        (tmp_path / folder).mkdir()
        (tmp_path / "results" / file).rename(tmp_path / folder / file)
    status, result = run(tmp_path)
    assert status == OK
    assert result["protocols"]["author"]["mean"]["chamfer"] < 0.04
    assert "other axes up, as lamp_000" in capsys.readouterr().out
    lying = run(tmp_path, "--pred_up", "z")[1]
    assert lying["protocols"]["author"]["mean"]["chamfer"] > 0.1
    assert "--pred_up y says so" in capsys.readouterr().out


def test_the_released_fault_is_scored_upright():
    fault = Path(__file__).parents[2] / "../shared/faults/eval_points_axes_names"
    if not fault.is_dir():
        pytest.skip("no ../shared/faults here")
    row = score_pair(fault / "pred/lamp_000.glb", fault / "gt/lamp_000.ply")
    assert row["scores"]["author"]["chamfer"] < 0.08  # lying on its side: 0.148
    assert not row["hint"]


@pytest.mark.parametrize(
    ("files", "truths", "both"),
    [
        (["a.ply", "a.obj"], False, True),
        (["a.ply", "a.obj"], True, True),
        (["a_prd.ply", "a.glb"], False, True),
        (["a_points.ply", "a_prd.ply"], False, True),
        (["a_gt.ply", "a.STL"], True, True),
        (["a_prd.ply", "a.glb"], True, False),
        (["a_gt.ply", "a.glb"], False, False),
        (["a_prd.ply", "a_gt.ply"], True, False),
        (["deep/a.ply", "a.ply"], True, False),
    ],
)
def test_two_files_of_one_name_are_named(tmp_path, files, truths, both):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(b"")
    if both:
        with pytest.raises(InputError) as refused:
            find_shapes(tmp_path, truths)
        assert all(file in str(refused.value) for file in files)
    else:
        names = {"deep/a", "a"} if "deep/a.ply" in files else {"a"}
        assert find_shapes(tmp_path, truths).paths.keys() == names


def test_two_small_files_need_no_heavy_library(tmp_path):
    own_results(tmp_path / "pred")
    code = """
import resource, sys, evaluate_points
evaluate_points.main(["--pred", sys.argv[1], "--gt", sys.argv[1]])
heavy = {"torch", "warp", "trimesh", "diffusers"} & sys.modules.keys()
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "pred")], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.parametrize("case", ["absent", "empty", "strangers", "predictions"])
def test_bad_input_is_one_line(folders, capsys, case):
    arguments = ["--pred", str(folders / "pred"), "--gt", str(folders / "gt")]
    if case == "absent":
        arguments[1] = str(folders / "nothing")
    if case == "empty":
        (folders / "empty").mkdir()
        arguments[3] = str(folders / "empty")
    if case == "predictions":  # a prediction is no truth
        (folders / "gt" / "ball.obj").rename(folders / "gt" / "ball_prd.obj")
        (folders / "gt" / "box.glb").rename(folders / "gt" / "box_prd.glb")
    if case == "strangers":
        (folders / "gt" / "ball.obj").rename(folders / "gt" / "a.obj")
        (folders / "gt" / "box.glb").rename(folders / "gt" / "b.glb")
    assert evaluate_points.main(arguments) == BAD_INPUT
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")


def test_accents_of_other_systems_do_not_part_a_prediction_from_its_truth(tmp_path):
    for folder, form in (("pred", "NFD"), ("gt", "NFC")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / unicodedata.normalize(form, "caf\u00e9.ply")).touch()
    pairs, unpaired, *_ = pair(tmp_path / "pred", tmp_path / "gt")
    assert [(name, *map(bool, files)) for name, files in pairs.items()] == [("caf\u00e9", True, True)]
    assert unpaired == []
    (tmp_path / "pred/caf\u00e9.ply").touch()
    with pytest.raises(InputError, match="two shapes of one name"):
        pair(tmp_path / "pred", tmp_path / "gt")


def cloud_file(path: Path, points: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_ply(path, PointCloud(points, np.zeros_like(points), np.full_like(points, 0.5)))


def test_the_output_may_not_be_a_folder_which_is_said_before_anything_is_scored(folders, capsys):
    (folders / "scores.json").mkdir()
    assert run_flags(folders, "--output", str(folders / "scores.json")) == BAD_INPUT
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "scores.json: a folder is in the place of a result" in printed.err


def run_flags(folder: Path, *flags: str) -> int:
    arguments = ["--pred", str(folder / "pred"), "--gt", str(folder / "gt"), "--points", "500"]
    return evaluate_points.main([*arguments, *flags])


def test_a_prediction_that_cannot_be_measured_takes_no_truth_with_it(tmp_path, capsys):
    points = sphere_points([0.5], 300)
    wild = {"empty": points[:0], "huge": points * 1e300, "broken": points.copy(), "good": points}
    wild["broken"][7] = np.nan
    for name, cloud in wild.items():
        cloud_file(tmp_path / f"gt/{name}.ply", points)
        (tmp_path / "pred").mkdir(exist_ok=True)
        lines = ["ply", "format ascii 1.0", f"element vertex {len(cloud)}"]
        lines += [*(f"property double {axis}" for axis in "xyz"), "end_header"]
        lines += [" ".join(f"{value:.17g}" for value in point) for point in cloud]
        (tmp_path / f"pred/{name}.ply").write_text("\n".join(lines) + "\n")
    status, result = run(tmp_path)
    assert status == FAILURES
    assert not result["failed"]
    scores = {row["name"]: row["chamfer"] for row in result["protocols"]["surface"]["rows"]}
    assert scores["empty"] == scores["huge"] == pytest.approx(2 * MISSING_DISTANCE)
    assert scores["good"] < scores["broken"] < 0.01
    printed = capsys.readouterr().out
    assert "empty.ply: neither faces nor points in it; scored as no points" in printed
    assert "huge.ply: coordinates up to" in printed
    assert "broken: prediction has 1 of 300 points that are not finite" in printed


@pytest.mark.parametrize(
    ("corners", "reason"),
    [
        ([[np.nan, 0, 0], [1, 0, 0], [0, 1, 0]], "a.obj: the truth has points that are not finite"),
        ([[1, 1, 1]] * 3, "a.obj: all corners of the true mesh are at one place"),
        ([[1e200, 0, 0], [0, 1e200, 0], [0, 0, 1e200]], r"a.obj: coordinates up to 1e\+200, expected less"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_a_true_mesh_that_cannot_be_cast_is_named(tmp_path, corners, reason):
    (tmp_path / "a.obj").write_text("".join(f"v {x} {y} {z}\n" for x, y, z in corners) + "f 1 2 3\n")
    with pytest.raises(InputError, match=reason):
        score_pair(None, tmp_path / "a.obj")


def test_linked_folders_are_followed_and_what_is_not_read_is_named(tmp_path, capsys):
    points = sphere_points([0.5], 300)
    for folder in ("elsewhere", "gt/sub"):
        cloud_file(tmp_path / folder / "a.ply", points)
    (tmp_path / "pred").mkdir()
    (tmp_path / "pred/sub").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pred/round").symlink_to(tmp_path / "pred")
    (tmp_path / "gt/b.fbx").touch()
    (tmp_path / "gt/c.xyz").touch()
    status, result = run(tmp_path)
    assert status == OK
    assert [row["name"] for row in result["files"]] == ["sub/a"]
    assert f"{tmp_path / 'gt'}: left out b.fbx, c.xyz, not read as shapes" in capsys.readouterr().out
    (tmp_path / "gt/sub/a.ply").unlink()
    with pytest.raises(InputError, match=r"no true shapes in it .*left out b.fbx, c.xyz"):
        find_shapes(tmp_path / "gt", truths=True)
