"""Mesh and camera to X-Ray: valid, in the camera's frame, on the surface, and the same as the stored list."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from xray.core.camera import Camera, look_at
from xray.core.points import to_points
from xray.core.xray import SparseXRay
from xray.data.mesh_files import find_meshes
from xray.mesh.load import load_mesh
from xray.metrics.clouds import chamfer
from xray.preprocess.render_object import RenderSettings
from xray.raycast.capture import capture, capture_sparse
from xray.raycast.caster import RayCaster

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT.parent / "shared/reference/meshes"
OBLIQUE = look_at((0.9, -0.8, 0.9))


def seen(path, pose=OBLIQUE, width=48, height=32, **options):
    mesh = load_mesh(path)
    camera = Camera(width, height, world_from_camera=pose)
    sparse, stats = capture_sparse(mesh, RayCaster(mesh.vertices, mesh.faces), camera, **options)
    return mesh, camera, sparse.to_xray(), stats


@pytest.mark.parametrize("path", sorted((ROOT / "example/meshes").glob("*.[gop][lb]*")), ids=lambda path: path.name)
@pytest.mark.parametrize("color", ["texture", "face"])
def test_example_meshes_give_valid_xrays_on_their_surface(path, color):
    mesh, camera, xray, stats = seen(path, color=color)
    xray.validate(path.name)
    assert xray.shape == (16, 32, 48)
    assert stats.hits == tuple(xray.hit.sum((1, 2)))
    assert stats.hits[0] > 100
    points = to_points(xray, camera, "world")
    assert np.abs(points.points).max() <= 0.5 + 1e-6
    corners = mesh.vertices[mesh.faces]
    for point in points.points[:: max(1, len(points) // 20)]:
        nearest = trimesh.triangles.closest_point(corners, np.tile(point, (len(corners), 1)))
        assert np.linalg.norm(nearest - point, axis=1).min() < 1e-6


def test_the_stored_list_is_that_of_the_dense_array():
    mesh = load_mesh(ROOT / "example/meshes/chest.obj")
    camera = Camera(40, 24, world_from_camera=OBLIQUE)
    sparse, _ = capture_sparse(mesh, RayCaster(mesh.vertices, mesh.faces), camera)
    again = SparseXRay.from_xray(sparse.to_xray())
    for name in ("indptr", "column", "value"):
        assert np.array_equal(getattr(sparse, name), getattr(again, name))
        assert getattr(sparse, name).dtype == getattr(again, name).dtype


def test_normals_are_in_the_camera_frame_and_by_the_winding(tmp_path):
    trimesh.creation.icosphere(subdivisions=4).export(tmp_path / "ball.ply")
    _, camera, xray, _ = seen(tmp_path / "ball.ply", width=64, height=64)
    points = camera.unproject(xray.depth.astype(np.float64))
    centre = -camera.origin @ camera.world_from_camera[:3, :3]
    outward = (points - centre)[xray.hit]
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    assert ((outward * xray.normal[xray.hit]).sum(1) > 0.99).all()
    toward = (camera.rays() * xray.normal).sum(-1)
    assert (toward[0][xray.hit[0]] < 0).all()
    assert (toward[1][xray.hit[1]] > 0).all()


def test_what_does_not_fit_is_counted(tmp_path):
    shells = [trimesh.creation.icosphere(subdivisions=2, radius=radius) for radius in (0.5, 0.4, 0.3, 0.2)]
    trimesh.util.concatenate(shells).export(tmp_path / "shells.ply")
    _, _, whole, all_stats = seen(tmp_path / "shells.ply")
    _, _, cut, stats = seen(tmp_path / "shells.ply", layers=3, near=1.2, far=1.4)
    assert all_stats.hits_beyond_layers == all_stats.hits_before_near == all_stats.hits_beyond_far == 0
    assert sum(all_stats.hits[8:]) == 0
    assert stats.hits == all_stats.hits[:3]
    assert stats.hits_beyond_layers == sum(all_stats.hits[3:]) > 0
    assert stats.hits_before_near == (cut.depth[cut.hit] <= np.float32(1.2)).sum() > 0
    assert stats.hits_beyond_far == (cut.depth >= np.float32(1.4)).sum() > 0
    assert np.array_equal(cut.depth, whole.depth[:3])


def test_a_view_that_sees_nothing(tmp_path):
    trimesh.creation.box().export(tmp_path / "box.ply")
    away = look_at((1.5, 0, 0), target=(3, 0, 0))
    _, _, xray, stats = seen(tmp_path / "box.ply", pose=away)
    assert not xray.validate().hit.any()
    assert stats.hits == (0,) * 16


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"the reference mesh is not at {REFERENCE}")
def test_points_of_the_default_views_lie_on_the_reference_mesh():
    uid = "10716a366de708b8fac96522b26f7fd"
    mesh = load_mesh(find_meshes(REFERENCE)[uid])
    caster = RayCaster(mesh.vertices, mesh.faces)
    truth, _, _ = mesh.sample(100_000, np.random.default_rng(0))
    views = RenderSettings().views(uid)
    distances = []
    for index in range(8):
        camera = views.camera(index, 256)
        xray, _ = capture(mesh, caster, camera)
        distances.append(chamfer(to_points(xray, camera, "world").points, truth))
    assert np.mean(distances) < 0.007
