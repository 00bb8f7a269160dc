"""The X-Rays of the example's meshes, to the last bit: the caster may become faster, its hits never different."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from xray.core.xray import RESOLUTION, XRay
from xray.mesh.load import load_mesh
from xray.preprocess.render_object import RenderSettings
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster

MESHES = Path(__file__).parents[2] / "example" / "meshes"
HASHES = {
    "bowl.ply": ("10ec3ff7d922a2fa", "270cffe6c1da1b86", "565c73c4cb49329b"),
    "cabin.glb": ("5364f1c14d36c7ae", "5564c2294644be7f", "4000691639808fa1"),
    "chest.obj": ("f33aad83e16e96a3", "87bbc8f350a4f381", "15142d5cbbb30188"),
    "jar.glb": ("a423d7a7b9618a71", "5590d1d78687b825", "6485cca699b2f61c"),
    "lamp.glb": ("426006678484ac7d", "cdc7d418dccfe861", "b74f809da6fe7595"),
    "mug.obj": ("957ac492a19913eb", "e88818f49ec3c078", "5d61cd0cbcba9abd"),
}
"""Of each mesh, those of its first three default views."""


def digest(xray: XRay) -> str:
    """Half a SHA-256 over all hits; those of one depth on a ray in the order of their normal and colour.

    Which of two surfaces at one depth comes first is a rule of the caster with tests of its own.
    """
    array = np.moveaxis(xray.to_array(), 1, 0).copy()  # (7, layers, height, width)
    tied = (xray.hit[1:] & (xray.depth[1:] == xray.depth[:-1])).any(0)
    hits = array[:, :, tied]
    order = np.lexsort((*hits[::-1], hits[0] == 0), axis=0)
    array[:, :, tied] = np.take_along_axis(hits, order[None], axis=1)
    return hashlib.sha256(np.ascontiguousarray(array, "<f4").tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", HASHES)
def test_the_examples_xrays_are_as_they_have_always_been(name):
    mesh = load_mesh(MESHES / name)
    caster = RayCaster(mesh.vertices, mesh.faces)
    views = RenderSettings(num_views=3).views(Path(name).stem)
    cameras = [views.camera(index, RESOLUTION) for index in range(3)]
    assert tuple(digest(capture(mesh, caster, camera)[0]) for camera in cameras) == HASHES[name]


def test_every_mesh_of_the_example_is_held():
    assert set(HASHES) == {path.name for path in MESHES.iterdir() if path.suffix in (".glb", ".obj", ".ply")}
