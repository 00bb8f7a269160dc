"""Screened Poisson reconstruction by pymeshlab, which is optional: pip install -r requirements-poisson.txt."""

from __future__ import annotations

import numpy as np

from ..common.errors import InputError

DEPTH = 8
"""Depth of the octree."""

MIN_POINTS = 16


def poisson(
    points: np.ndarray,
    normals: np.ndarray,
    colors: np.ndarray,
    depth: int = DEPTH,
    trim: float = 0.0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A closed mesh through oriented points (Kazhdan and Hoppe 2013, Screened Poisson Surface Reconstruction).

    It runs on one thread: the solver's threaded form gives another result from run to run.

    Args:
      points, normals, colors: (N, 3).
      trim: share of the vertices with the lowest point density to cut away, which opens the mesh; 0 cuts none.
    Returns:
      vertices (V, 3) float64, faces (F, 3) int64, unit normals (V, 3) float64, colors (V, 3) float32; all empty for
      fewer than 16 points.
    Raises:
      InputError: pymeshlab, or a system library that it loads, is not installed.
    """
    if not 0 <= trim < 1:
        raise InputError(f"trim {trim}: expected at least 0 and less than 1")
    pymeshlab = _pymeshlab()
    if len(points) < MIN_POINTS:
        empty = np.zeros((0, 3))
        return empty, empty.astype(np.int64), empty, empty.astype(np.float32)
    rgba = np.concatenate([colors, np.ones((len(colors), 1))], axis=1)
    meshes = pymeshlab.MeshSet(verbose=False)
    meshes.add_mesh(pymeshlab.Mesh(points, v_normals_matrix=normals, v_color_matrix=rgba))
    meshes.generate_surface_reconstruction_screened_poisson(depth=depth, threads=1)
    mesh = meshes.current_mesh()
    vertices, faces = mesh.vertex_matrix(), mesh.face_matrix().astype(np.int64)
    normals, rgba = mesh.vertex_normal_matrix(), mesh.vertex_color_matrix()
    if trim:
        density = mesh.vertex_scalar_array()
        kept = density >= np.quantile(density, trim)
        faces = faces[kept[faces].all(1)]
        used, faces = np.unique(faces, return_inverse=True)
        vertices, normals, rgba, faces = vertices[used], normals[used], rgba[used], faces.reshape(-1, 3)
    length = np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    return vertices, faces, normals / length, rgba[:, :3].astype(np.float32)


def _pymeshlab():
    try:
        import pymeshlab
    except ImportError as error:
        raise InputError(
            "--surface poisson needs pymeshlab: pip install -r requirements-poisson.txt, and on a server "
            f"apt-get install libgl1 libopengl0 ({' '.join(str(error).split())[:120]})"
        ) from None
    return pymeshlab
