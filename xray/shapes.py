"""Shapes that any method wrote, as points: meshes sampled on their surface, point clouds as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from .errors import InputError
from .points import PointCloud, load_ply

SUFFIXES = (".ply", ".obj", ".glb", ".gltf", ".stl", ".off")

NEIGHBOURS = 16
"""Points around a point that tell the normal of a cloud that has none."""

UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, NotImplementedError, EOFError)
"""What trimesh raises for a damaged file."""


def find_shapes(folder: str | Path) -> dict[str, Path]:
    """Path below the folder without suffix -> file, sorted.

    Raises:
      InputError: no such folder, no shape in it, two files of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise InputError(f"{path} and {found[name]}: two shapes of one name; files are paired by name")
        found[name] = path
    if not found:
        raise InputError(f"{folder}: no shapes in it ({', '.join(SUFFIXES)})")
    return found


def load_shape(path: Path) -> trimesh.Trimesh | PointCloud:
    """A mesh, the parts of a scene in one, or a cloud; coordinates exactly as in the file.

    Raises:
      InputError: not readable, or neither faces nor points in it.
    """
    try:
        loaded = trimesh.load(path, process=False)
        if isinstance(loaded, trimesh.Scene):
            loaded = loaded.to_mesh() if loaded.geometry else None
    except UNREADABLE as error:
        raise InputError(
            f"{path}: not readable ({type(error).__name__}: {' '.join(str(error).split())[:80]})"
        ) from None
    if isinstance(loaded, trimesh.Trimesh) and len(loaded.faces):
        return loaded
    if path.suffix.lower() == ".ply":
        return load_ply(path)  # trimesh leaves the normals of a cloud out
    points = np.asarray(getattr(loaded, "vertices", np.zeros((0, 3))), np.float64).reshape(-1, 3)
    if not len(points):
        raise InputError(f"{path}: neither faces nor points in it")
    return _bare(points)


def to_cloud(shape: trimesh.Trimesh | PointCloud, count: int, seed: int = 0) -> PointCloud:
    """`count` points spread evenly over a mesh, or all of a cloud's; normals are estimated where there are none.

    Faces that are not finite or have no area are left out; a mesh of nothing else is the cloud of its vertices.
    """
    if isinstance(shape, PointCloud):
        return shape if shape.normals.any() else PointCloud(shape.points, estimate_normals(shape.points), shape.colors)
    triangles = np.asarray(shape.vertices, np.float64)[shape.faces]
    finite = triangles[np.isfinite(triangles).all((1, 2))]
    cross = np.cross(finite[:, 1] - finite[:, 0], finite[:, 2] - finite[:, 0])
    area = np.linalg.norm(cross, axis=1)
    if not area.sum() > 0:
        return to_cloud(_bare(np.asarray(shape.vertices, np.float64)), count, seed)
    rng = np.random.default_rng(seed)
    face = rng.choice(len(finite), count, p=area / area.sum())
    root, along = np.sqrt(rng.random(count))[:, None], rng.random(count)[:, None]
    a, b, c = finite[face].transpose(1, 0, 2)
    points = (1 - root) * a + root * (1 - along) * b + root * along * c
    return PointCloud(points, cross[face] / area[face, None], np.full((count, 3), 0.5, np.float32))


def estimate_normals(points: np.ndarray) -> np.ndarray:
    """(N, 3) unit normals up to their sign: where the points around each spread least. NaN rows stay 0."""
    normals = np.zeros_like(points)
    rows = np.flatnonzero(np.isfinite(points).all(1))
    if len(rows) < 3:
        return normals
    known = points[rows]
    _, near = cKDTree(known).query(known, k=min(NEIGHBOURS, len(rows)))
    offsets = known[near] - known[near].mean(1, keepdims=True)
    _, axes = np.linalg.eigh(offsets.transpose(0, 2, 1) @ offsets)
    normals[rows] = axes[:, :, 0]
    return normals


def _bare(points: np.ndarray) -> PointCloud:
    return PointCloud(points, np.zeros_like(points), np.full(points.shape, 0.5, np.float32))
