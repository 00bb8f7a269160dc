"""Meshes from the ray order: closed where the shape is, open where it is, wound outward."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import trimesh
from helpers.analytic import plane_xray, sphere_points, sphere_xray

from xray.common.errors import InputError
from xray.core.camera import Camera
from xray.core.points import to_points
from xray.core.xray import XRay
from xray.mesh.load import load_mesh
from xray.metrics.clouds import chamfer
from xray.surface.connect import connect
from xray.surface.surface import Surface, save_mesh, to_surface


@pytest.mark.parametrize("radii", [[0.5], [0.5, 0.47, 0.3]])
def test_nested_spheres_become_closed_meshes(radii):
    surface = to_surface(*sphere_xray(radii, 96), frame="world")
    mesh = surface.to_trimesh()
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    parts = mesh.split()
    assert sorted(round(np.linalg.norm(part.vertices, axis=1).mean(), 3) for part in parts) == sorted(radii)
    assert all(part.volume == pytest.approx(4 / 3 * np.pi * r**3, rel=0.03) for part, r in zip(
        sorted(parts, key=lambda part: part.area), sorted(radii), strict=True))  # fmt: skip
    outward = (mesh.face_normals * mesh.triangles_center).sum(1)
    assert (outward > 0).mean() > 0.99
    sampled = trimesh.sample.sample_surface(mesh, 20000, seed=0)[0]
    floor = chamfer(sphere_points(radii, 20000, 1), sphere_points(radii, 20000, 2))
    assert chamfer(sampled, sphere_points(radii, 20000, 2)) < 1.05 * floor


@pytest.mark.parametrize("radii", [[0.5], [0.5, 0.47, 0.3]])
def test_fields_are_closed_and_wound_outward(radii):
    xray, camera = sphere_xray(radii, 96)
    surface = to_surface(xray, camera, "field", "world")
    mesh = surface.to_trimesh()
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    # Between an odd hit and the next even one: the outer shell is solid, the gap empty, the core solid.
    volume = 4 / 3 * np.pi * sum((-1) ** number * radius**3 for number, radius in enumerate(radii))
    assert mesh.volume == pytest.approx(volume, rel=0.03)
    assert ((mesh.face_normals * surface.normals[mesh.faces[:, 0]]).sum(1) > 0).mean() > 0.98
    sampled = trimesh.sample.sample_surface(mesh, 20000, seed=0)[0]
    floor = chamfer(sphere_points(radii, 20000, 1), sphere_points(radii, 20000, 2))
    assert chamfer(sampled, sphere_points(radii, 20000, 2)) < 1.1 * floor
    camera_frame = to_surface(xray, camera, "field")
    assert np.allclose(camera.to_world(camera_frame.vertices), surface.vertices)


def test_a_field_makes_a_skin_of_an_open_sheet():
    for slope in (0.0, 1.0, -1.5):
        xray, camera = plane_xray(slope=slope)
        mesh = to_surface(xray, camera, "field").to_trimesh()
        assert mesh.is_watertight
        assert max(part.area for part in mesh.split()) > 0.98 * mesh.area
        point, normal = to_points(xray, camera).points[0], xray.normal[xray.hit][0]
        assert np.abs((mesh.vertices - point) @ normal).max() < 2 * 1.5 / camera.focal_px


@pytest.mark.parametrize("slope", [0.0, 1.0, -1.5])
def test_an_open_sheet_stays_open_and_whole(slope):
    xray, camera = plane_xray(slope=slope)
    mesh = to_surface(xray, camera).to_trimesh()
    assert len(mesh.split(only_watertight=False)) == 1
    assert len(mesh.faces) == 2 * (30 - 10 - 1) * (40 - 8 - 1)
    assert mesh.euler_number == 1
    assert np.allclose(mesh.face_normals, xray.normal[xray.hit][0], atol=1e-4)


def test_two_sheets_apart_are_not_joined():
    near, camera = plane_xray(slope=0.0)
    both = np.concatenate([near.depth, near.depth + 0.3 * near.hit])
    flipped = np.concatenate([near.normal, -near.normal])
    xray = XRay(both, flipped, np.concatenate([near.color] * 2))
    assert len(to_surface(xray, camera).to_trimesh().split(only_watertight=False)) == 2


def test_empty_and_single_hits():
    nothing = XRay(np.zeros((2, 8, 8), np.float32), *[np.zeros((2, 8, 8, 3), np.float32)] * 2)
    assert connect(nothing, Camera(8, 8)).faces.shape == (0, 3)
    for method in ("rays", "field"):
        assert len(to_surface(nothing, Camera(8, 8), method).faces) == 0
    one = np.zeros((1, 8, 8), np.float32)
    one[0, 4, 4] = 1.5
    normal = np.where(one[..., None] > 0, np.float32([0, 0, 1]), 0).astype(np.float32)
    patch = to_surface(XRay(one, normal, normal), Camera(8, 8))
    assert len(patch.faces) == 2
    skin = to_surface(XRay(one, normal, normal), Camera(8, 8), "field").to_trimesh()
    assert skin.is_watertight
    assert np.abs(skin.vertices.mean(0) - (0, 0, -1.5)).max() < 0.1


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_a_mesh_without_faces_is_a_file(tmp_path, suffix):
    none = np.zeros((0, 3))
    save_mesh(tmp_path / f"a.{suffix}", Surface(none, none.astype(np.int64), none, none.astype(np.float32)))
    with pytest.raises(InputError, match=r"no triangles|no faces"):
        load_mesh(tmp_path / f"a.{suffix}")


@pytest.mark.parametrize("suffix", ["glb", "obj", "ply"])
def test_saved_meshes_stand_upright(tmp_path, suffix):
    surface = to_surface(*sphere_xray([0.5], 32), frame="world")
    raised = type(surface)(surface.vertices + (0, 0, 2), surface.faces, surface.normals, surface.colors)
    save_mesh(tmp_path / f"a.{suffix}", raised)
    mesh = trimesh.load(tmp_path / f"a.{suffix}", force="mesh", process=False)
    assert len(mesh.faces) == len(surface.faces)
    up = 2 if suffix == "ply" else 1
    assert mesh.bounds.mean(0)[up] == pytest.approx(2, abs=0.02)
    if suffix == "glb":  # linear light, beside a material: test_export.py
        return
    colors = np.asarray(mesh.visual.vertex_colors)[:, :3] / 255
    assert np.abs(np.sort(colors, 0) - np.sort(surface.colors, 0)).max() < 0.01


def test_unknown_method_and_suffix(tmp_path):
    xray, camera = sphere_xray([0.5], 16)
    with pytest.raises(InputError, match="ball"):
        to_surface(xray, camera, "ball")
    with pytest.raises(InputError, match="stl"):
        save_mesh(tmp_path / "a.stl", to_surface(xray, camera))


def test_poisson_closes_a_sphere():
    pytest.importorskip(
        "pymeshlab", reason="pymeshlab is optional: pip install -r requirements-poisson.txt", exc_type=ImportError
    )
    surface = to_surface(*sphere_xray([0.5], 64), method="poisson", frame="world")
    mesh = surface.to_trimesh()
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.125, rel=0.02)
    nothing = XRay(np.zeros((2, 8, 8), np.float32), *[np.zeros((2, 8, 8, 3), np.float32)] * 2)
    assert len(to_surface(nothing, Camera(8, 8), "poisson").faces) == 0


def test_poisson_without_its_library_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymeshlab", None)  # what an import sees where it is not installed
    with pytest.raises(InputError, match=r"requirements-poisson\.txt") as caught:
        to_surface(*sphere_xray([0.5], 32), method="poisson")
    assert "\n" not in str(caught.value)
