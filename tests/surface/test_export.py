"""What is exported comes back through our readers as it was: orientation, winding, colours, normals."""

import itertools
import json

import numpy as np
import pytest
import trimesh
from helpers.made_meshes import chiral, triangles
from scipy.spatial import cKDTree

from xray.common import srgb
from xray.common.axes import WORLD_FROM_UP
from xray.common.errors import InputError
from xray.core.camera import Camera, sample_views
from xray.mesh.load import load_mesh
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster
from xray.surface.surface import Surface, save_mesh, to_surface

SUFFIXES = (".glb", ".obj", ".ply")
RNG = np.random.default_rng(12)


def solid_surface() -> Surface:
    solid = chiral().subdivide()
    vertices = solid.vertices - solid.bounds.mean(0)
    vertices /= np.ptp(vertices, axis=0).max()
    colors = np.random.default_rng(12).random((len(vertices), 3))
    return Surface(vertices, np.array(solid.faces), np.array(solid.vertex_normals), colors)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_chiral_solid_comes_back_as_it_was(tmp_path, suffix):
    surface = solid_surface()
    save_mesh(tmp_path / f"a{suffix}", surface)
    mesh = load_mesh(tmp_path / f"a{suffix}")
    assert np.array_equal(triangles(mesh.vertices, mesh.faces), triangles(surface.vertices, surface.faces))
    place = cKDTree(surface.vertices).query(mesh.vertices)[1]
    corner, weights = mesh.faces[:, 0], np.tile([1.0, 0, 0], (len(mesh.faces), 1))
    faces = np.arange(len(mesh.faces))
    # Parts of the solid touch, so a place may have two vertices; each colour must be that of one of them.
    same = np.abs(surface.vertices[None, place[corner]] - surface.vertices[:, None]).max(-1) < 1e-6
    step = np.abs(mesh.colors(faces, weights)[None] - surface.colors[:, None]).max(-1)
    assert np.where(same, step, 1).min(0).max() < 0.5 / 255 + 1e-3
    turned = np.linalg.norm(mesh.vertex_normals[corner][None] - surface.normals[:, None], axis=-1)
    assert np.where(same, turned, 9).min(0).max() < 1e-3


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_from_file_to_xray_to_file_nothing_turns(tmp_path, suffix):
    """No rotation or mirror of the result fits the input better than the result itself."""
    chiral().export(tmp_path / "in.ply")
    mesh = load_mesh(tmp_path / "in.ply")
    camera = Camera(64, 64, world_from_camera=sample_views(1, np.random.default_rng(5))[0])
    xray, _ = capture(mesh, RayCaster(mesh.vertices, mesh.faces), camera)
    save_mesh(tmp_path / f"out{suffix}", to_surface(xray, camera, frame="world"))
    read = trimesh.load(tmp_path / f"out{suffix}", force="mesh", process=False)
    points = np.array(read.vertices)
    if suffix != ".ply":
        points = points @ WORLD_FROM_UP["y"].T
    tree = cKDTree(mesh.sample(4000, RNG)[0])
    distances = {}
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            distances[axes, signs] = tree.query(points[:, axes] * signs)[0].mean()
    best = distances.pop(((0, 1, 2), (1, 1, 1)))
    assert best < 0.02
    assert min(distances.values()) > 2 * best


def test_a_glb_is_matt_and_has_a_back(tmp_path):
    surface = solid_surface()
    save_mesh(tmp_path / "a.glb", surface)
    content = (tmp_path / "a.glb").read_bytes()
    tree = json.loads(content[20 : 20 + int.from_bytes(content[12:16], "little")])
    (material,), (primitive,) = tree["materials"], tree["meshes"][0]["primitives"]
    assert primitive["material"] == 0
    assert "COLOR_0" in primitive["attributes"]
    assert material["doubleSided"] is True
    assert material["pbrMetallicRoughness"] == {"metallicFactor": 0, "roughnessFactor": 1}
    (mesh,) = trimesh.load_scene(tmp_path / "a.glb", process=False).geometry.values()
    assert (mesh.visual.material.metallicFactor, mesh.visual.material.roughnessFactor) == (0, 1)
    assert mesh.visual.material.doubleSided
    assert len(mesh.faces) == len(surface.faces)
    # trimesh keeps colours beside a material as they are in the file, in linear light.
    assert np.abs(srgb.from_linear(mesh.visual.vertex_attributes["color"]) - surface.colors).max() < 1e-5
    plain = trimesh.load(tmp_path / "a.glb", force="mesh", process=False, skip_materials=True)
    assert np.abs(srgb.from_linear(plain.visual.vertex_colors[:, :3] / 255) - surface.colors).max() < 6 / 255


def test_dark_colours_stay_apart_in_a_glb(tmp_path):
    grey = np.repeat(np.arange(256)[:, None] / 255, 3, axis=1)
    vertices = np.column_stack([np.arange(256), np.arange(256) % 2, np.zeros(256)]) / 255
    faces = np.column_stack([np.arange(254), np.arange(1, 255), np.arange(2, 256)])
    save_mesh(tmp_path / "a.glb", Surface(vertices, faces, np.tile([0.0, 0, 1], (256, 1)), grey))
    mesh = load_mesh(tmp_path / "a.glb")
    first = np.tile([1.0, 0, 0], (254, 1))
    assert np.array_equal(np.rint(mesh.colors(np.arange(254), first) * 255), np.rint(grey[:254] * 255))
    assert len(trimesh.load(tmp_path / "a.glb", force="mesh").faces) == 254
    with pytest.raises(InputError, match="written as"):
        save_mesh(tmp_path / "a.fbx", solid_surface())


def test_the_normals_in_a_glb_have_length_one_and_the_side_of_their_faces(tmp_path):
    """Viewers light the side that the winding says is outside; normals of the other side would make it dark."""
    surface = solid_surface()
    save_mesh(tmp_path / "a.glb", surface)
    (mesh,) = trimesh.load_scene(tmp_path / "a.glb", process=False).geometry.values()
    normals = np.array(mesh.vertex_normals)
    assert np.abs(np.linalg.norm(normals, axis=1) - 1).max() < 1e-5
    assert np.allclose(normals @ WORLD_FROM_UP["y"].T, surface.normals, atol=1e-5)
    corners = normals[np.array(mesh.faces)].mean(1)
    assert ((corners * np.array(mesh.face_normals)).sum(1) > 0).all()
