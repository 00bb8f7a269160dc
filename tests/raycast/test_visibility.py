"""Hidden surfaces: told by the camera on a mesh, and scored alone under both protocols."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from helpers.analytic import sphere_xray

from xray.core.camera import FOV_RAD, Camera, look_at
from xray.evaluate.results import NOTES, summarise
from xray.mesh.load import load_mesh
from xray.metrics.nearest import MISSING_DISTANCE
from xray.metrics.protocols import sample_mesh, score_xray
from xray.raycast.visibility import MARGIN, is_hidden


@pytest.fixture(scope="module")
def shells(tmp_path_factory):
    """A ball of radius 0.5 around one of 0.3, as a mesh."""
    path = tmp_path_factory.mktemp("shells") / "shells.ply"
    balls = [trimesh.creation.icosphere(4, radius) for radius in (0.5, 0.3)]
    trimesh.util.concatenate(balls).export(path)
    return load_mesh(path)


def test_the_back_and_the_inside_are_hidden(shells):
    camera = Camera(64, 64, FOV_RAD, look_at((1.2, 0.3, 0.85)))
    cloud = sample_mesh(shells, 20_000)
    hidden = is_hidden(shells, camera, cloud.points)
    radius = np.linalg.norm(cloud.points, axis=1)
    facing = (cloud.points * (camera.origin - cloud.points)).sum(1) / radius
    assert hidden[radius < 0.4].all()
    outer = radius > 0.4
    assert hidden[outer & (facing < -0.06)].all()
    assert not hidden[outer & (facing > 0.06)].any()
    assert not is_hidden(shells, camera, camera.origin[None]).any()
    in_front = cloud.points[outer & (facing > 0.06)]
    behind = in_front + (in_front - camera.origin) * 2 * MARGIN
    assert is_hidden(shells, camera, behind).all()


def test_hidden_surfaces_are_scored_alone(shells):
    truth, camera = sphere_xray([0.5, 0.3], 64)
    cloud = sample_mesh(shells)
    hidden = is_hidden(shells, camera, cloud.points)
    perfect = score_xray(truth, truth, truth, camera, cloud, emd=False, hidden=hidden)
    assert perfect["author"]["hidden_chamfer"] == perfect["layers"]["hidden_chamfer"] == 0
    assert perfect["author"]["hidden_fscore@0.05"] == 1
    assert perfect["surface"]["hidden_fscore@0.05"] > 0.97  # rays meet little of the surface at the rim
    assert 0 < perfect["surface"]["hidden_chamfer"] < 0.03
    front = truth.keep(1)
    front = type(truth)(*(np.concatenate([part, part[:1].repeat(3, 0) * 0]) for part in _parts(front)))
    values = score_xray(front, truth, truth, camera, cloud, emd=False, hidden=hidden)
    for protocol in ("author", "surface"):
        assert values[protocol]["hidden_chamfer"] == pytest.approx(2 * MISSING_DISTANCE)
        assert values[protocol]["hidden_fscore@0.05"] == 0
        assert values[protocol]["chamfer"] < 0.5
    moved = type(truth)(*_parts(truth))
    moved.depth[1:][moved.hit[1:]] += 0.06
    values = score_xray(moved, truth, truth, camera, cloud, emd=False, hidden=hidden)
    assert values["surface"]["hidden_chamfer"] > perfect["surface"]["hidden_chamfer"] + 0.02
    assert "hidden_chamfer" not in score_xray(truth, truth, truth, camera, cloud, emd=False)["surface"]


def test_means_name_every_layer():
    truth, camera = sphere_xray([0.5, 0.3], 32)
    rows = [{"scores": score_xray(truth, truth, truth, camera, emd=False)}] * 2
    layers = summarise(rows)["layers"]
    assert [layers["mean"][f"layer_hit_iou@{layer}"] for layer in range(1, 5)] == [1] * 4
    nothing = type(truth)(*(part * 0 for part in _parts(truth)))
    layers = summarise([*rows, {"scores": score_xray(nothing, truth, truth, camera, emd=False)}])["layers"]
    assert layers["missing"]["layer_depth_error@3"] == 1
    assert layers["mean"]["layer_hit_iou@3"] == pytest.approx(2 / 3)
    assert {"hidden_chamfer", "hidden_fscore@0.05", "layer_hit_iou@L", "layer_depth_error@L"} <= set(NOTES)


def _parts(xray) -> list[np.ndarray]:
    return [xray.depth.copy(), xray.normal.copy(), xray.color.copy()]
