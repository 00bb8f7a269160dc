"""Colours and normals in kernels against those of `Mesh`, on every kind of material."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from xray.common import srgb
from xray.common.warp_setup import wp
from xray.mesh.mesh import Mesh
from xray.mesh.part import Material, Part
from xray.mesh.texture import WRAPS, Texture
from xray.raycast.appearance import Surface, color_of, flat_normal, level_of, normal_of, surface_of
from xray.raycast.caster import RayCaster


@wp.kernel
def _look(
    surface: Surface,
    faces: wp.array(dtype=wp.vec3i),
    face: wp.array(dtype=wp.int32),
    weights: wp.array(dtype=wp.vec3d),
    color: wp.array(dtype=wp.vec3),
    normal: wp.array(dtype=wp.vec3d),
):
    item = wp.tid()
    corner = faces[face[item]]
    color[item] = color_of(surface, corner, face[item], weights[item])
    normal[item] = normal_of(surface, corner, flat_normal(surface, corner), weights[item])


@wp.kernel
def _levels(surface: Surface, light: wp.array(dtype=wp.float32), level: wp.array(dtype=wp.uint8)):
    level[wp.tid()] = level_of(surface, light[wp.tid()])


def triangles(rng, **fields) -> Part:
    return Part(rng.normal(size=(30, 3)), np.arange(30).reshape(-1, 3), **fields)


def parts(rng) -> dict[str, list[Part]]:
    pixels = rng.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    made = [Texture(pixels, wrap, nearest) for wrap, nearest in product(product(WRAPS, WRAPS), (False, True))]
    made.append(Texture(pixels[:, ::-1], transform=np.array([[0.3, -2, 0.1], [1.5, 0.2, -7]])))
    factors = np.ones(3, np.float32), np.array([0.2, 0.9, 1.7], np.float32)
    textured = [
        triangles(rng, uv=rng.uniform(-4, 4, (30, 2)), material=Material(factor, texture))
        for texture in made
        for factor in factors
    ]
    colored = {"vertex_colors": rng.random((30, 3), np.float32)}
    of_faces = {"face_colors": rng.random((10, 3), np.float32)}
    return {
        "textures": textured,
        "plain": [triangles(rng), triangles(rng, material=Material(factors[1] / 2))],
        "colours": [triangles(rng, **colored), triangles(rng, **of_faces), replace(textured[0], **colored, **of_faces)],
        "normals": [triangles(rng, normals=rng.normal(size=(30, 3))), triangles(rng, normals=np.zeros((30, 3)))],
    }


@pytest.mark.parametrize("kind", ["textures", "plain", "colours", "normals"])
def test_colours_and_normals_are_those_of_the_mesh(kind):
    rng = np.random.default_rng(4)
    mesh = Mesh(parts(rng)[kind], np.eye(3), "made")
    face = rng.integers(0, len(mesh.faces), 4000).astype(np.int32)
    weights = rng.dirichlet((1, 1, 1), len(face))
    color = wp.empty(len(face), dtype=wp.vec3, device="cpu")
    normal = wp.empty(len(face), dtype=wp.vec3d, device="cpu")
    faces = wp.array(mesh.faces.astype(np.int32), dtype=wp.vec3i, device="cpu")
    given = [wp.array(face, dtype=wp.int32, device="cpu"), wp.array(weights, dtype=wp.vec3d, device="cpu")]
    wp.launch(_look, dim=len(face), inputs=[surface_of(mesh), faces, *given, color, normal], device="cpu")
    expected = mesh.colors(face, weights)
    assert np.ptp(expected, axis=0).min() > (0.4 if kind in ("textures", "colours") else -1)
    # A pixel that is looked up by its nearest place may be the next one where rounding decides.
    off = np.abs(srgb.from_linear(color.numpy()) - expected).max(1) > 2e-6
    assert off.mean() <= 0.001
    assert np.abs(normal.numpy() - mesh.normals(face, weights, "vertex")).max() < 1e-12


def test_levels_are_those_of_the_curve():
    rng = np.random.default_rng(0)
    light = np.concatenate([srgb.to_linear(np.arange(256) / 255), rng.random(5000) ** 3, [0, 1, 1.3]]).astype(
        np.float32
    )
    level = wp.empty(len(light), dtype=wp.uint8, device="cpu")
    mesh = Mesh([triangles(rng)], np.eye(3), "made")
    inputs = [surface_of(mesh), wp.array(light, dtype=wp.float32, device="cpu"), level]
    wp.launch(_levels, dim=len(light), inputs=inputs, device="cpu")
    expected = srgb.from_linear(np.minimum(light, 1)) * 255
    assert np.abs(level.numpy() - expected).max() < 0.5 + 1e-4
    assert np.array_equal(level.numpy()[:256], np.arange(256))


@pytest.mark.parametrize("kind", ["textures", "plain", "colours", "normals"])
def test_the_colours_of_hits_are_those_of_the_mesh_to_the_bit(kind):
    rng = np.random.default_rng(5)
    every = parts(rng)[kind]
    for chosen in (every, every[:-2:2] or every[:1]):  # with tinted and moved textures, and without
        mesh = Mesh(chosen, np.eye(3), "made")
        caster = RayCaster(mesh.vertices, mesh.faces)
        directions = rng.normal(size=(20000, 3)) * 0.3 + (0, 1, 0)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        found = caster.crossings(np.array([0, -2.0, 0]), directions, 8)
        assert len(found.ray) > 100
        expected = mesh.colors(found.face, found.barycentric)
        assert np.array_equal(caster.colors(mesh, found), expected)
