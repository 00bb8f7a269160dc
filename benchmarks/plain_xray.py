"""X-Rays the plain way, as a yardstick: the mesh moved for every view, Embree through trimesh, a Python loop over hits.

Needs embreex (`pip install embreex`), which the rest of the project does not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from scipy.sparse import csr_matrix
from trimesh.ray.ray_pyembree import RayMeshIntersector

from xray.core.camera import Camera, Views
from xray.mesh.mesh import Mesh


def with_vertex_colors(mesh: Mesh) -> trimesh.Trimesh:
    """The mesh with its texture looked up at the vertices, made once an object."""
    face, corner = np.divmod(np.arange(3 * len(mesh.faces)), 3)
    colors = np.zeros((len(mesh.vertices), 3), np.float32)
    colors[mesh.faces.reshape(-1)] = mesh.colors(face, np.eye(3)[corner])
    return trimesh.Trimesh(
        mesh.vertices, mesh.faces, vertex_colors=np.rint(colors * 255).astype(np.uint8), process=False
    )


def cast(mesh: trimesh.Trimesh, camera: Camera, layers: int):
    """The moved mesh, and face, ray and place of every hit."""
    moved = mesh.copy()
    moved.apply_transform(np.linalg.inv(camera.world_from_camera))
    directions = camera.rays().reshape(-1, 3)
    face, ray, place = RayMeshIntersector(moved).intersects_id(
        np.zeros_like(directions), directions, multiple_hits=True, max_hits=layers, return_locations=True
    )
    return moved, face, ray, place


def capture(mesh: trimesh.Trimesh, camera: Camera, layers: int) -> np.ndarray:
    """(layers, 7, H, W) float32."""
    moved, faces, rays, places = cast(mesh, camera, layers)
    array = np.zeros((layers, 7, camera.height, camera.width), np.float32)
    normals, corners = moved.face_normals, moved.faces
    colors = moved.visual.vertex_colors[:, :3] / 255.0
    hits: dict[int, list] = {}
    for face, ray, place in zip(faces, rays, places, strict=True):
        hits.setdefault(int(ray), []).append((float(np.linalg.norm(place)), int(face)))
    for ray, found in hits.items():
        row, column = divmod(ray, camera.width)
        for layer, (depth, face) in enumerate(sorted(found)[:layers]):
            array[layer, 0, row, column] = depth
            array[layer, 1:4, row, column] = normals[face]
            array[layer, 4:7, row, column] = colors[corners[face]].mean(0)
    return array


def save(path: Path, array: np.ndarray) -> None:
    """Compressed, through the dense array."""
    matrix = csr_matrix(array.reshape(len(array), -1))
    np.savez_compressed(path, data=matrix.data, indices=matrix.indices, indptr=matrix.indptr, shape=matrix.shape)


def load(path: Path) -> trimesh.Trimesh:
    """A mesh file by trimesh, in the unit box, its texture baked into the vertices."""
    mesh = trimesh.load(path, force="mesh", process=False)
    mesh.visual = mesh.visual.to_color()
    mesh.apply_translation(-mesh.bounds.mean(0))
    mesh.apply_scale(1 / mesh.extents.max())
    return mesh


def picture(mesh: trimesh.Trimesh, camera: Camera) -> np.ndarray:
    """(H, W, 4) uint8 with one ray a pixel, lit by its angle to the camera."""
    moved = mesh.copy()
    moved.apply_transform(np.linalg.inv(camera.world_from_camera))
    directions = camera.rays().reshape(-1, 3)
    face = RayMeshIntersector(moved).intersects_first(np.zeros_like(directions), directions)
    hit = face >= 0
    colors = moved.visual.vertex_colors[:, :3][moved.faces[face[hit]]].mean(1)
    light = 0.3 + 0.7 * np.abs((moved.face_normals[face[hit]] * directions[hit]).sum(1))
    rgba = np.zeros((len(directions), 4), np.uint8)
    rgba[hit, :3] = np.rint(colors * light[:, None])
    rgba[hit, 3] = 255
    return rgba.reshape(camera.height, camera.width, 4)


def picture_and_xray(path: Path, views: Views, index: int, folder: Path, pixels: int = 512, rays: int = 256) -> None:
    """One view of a mesh file, as a picture and as an X-Ray, to files."""
    mesh = load(path)
    Image.fromarray(picture(mesh, views.camera(index, pixels))).save(folder / "plain.png")
    save(folder / "plain.npz", capture(mesh, views.camera(index, rays), 16))
