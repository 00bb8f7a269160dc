"""Any method's files are scored as what they are: meshes on their surface, clouds point by point."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from analytic import sphere_points

import evaluate_points
from xray.cli import BAD_INPUT, FAILURES, OK
from xray.errors import InputError
from xray.neighbours import MISSING_DISTANCE
from xray.points import PointCloud, save_ply
from xray.shapes import estimate_normals, load_shape, to_cloud

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


def test_degenerate_shapes_have_points_or_a_reason(tmp_path):
    flat = trimesh.Trimesh(np.zeros((3, 3)), [[0, 1, 2]], process=False)
    assert to_cloud(flat, 100).points.shape == (3, 3)
    broken = trimesh.creation.icosphere(1)
    vertices = np.array(broken.vertices)
    vertices[0] = np.nan
    assert np.isfinite(to_cloud(trimesh.Trimesh(vertices, broken.faces, process=False), 100).points).all()
    assert not estimate_normals(np.full((5, 3), np.nan)).any()
    (tmp_path / "empty.obj").write_text("# nothing\n")
    with pytest.raises(InputError, match=r"empty\.obj"):
        load_shape(tmp_path / "empty.obj")


@pytest.mark.parametrize("case", ["absent", "empty", "strangers"])
def test_bad_input_is_one_line(folders, capsys, case):
    arguments = ["--pred", str(folders / "pred"), "--gt", str(folders / "gt")]
    if case == "absent":
        arguments[1] = str(folders / "nothing")
    if case == "empty":
        (folders / "empty").mkdir()
        arguments[3] = str(folders / "empty")
    if case == "strangers":
        (folders / "gt" / "ball.obj").rename(folders / "gt" / "a.obj")
        (folders / "gt" / "box.glb").rename(folders / "gt" / "b.glb")
    assert evaluate_points.main(arguments) == BAD_INPUT
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
