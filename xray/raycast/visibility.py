"""Which points of a mesh a camera does not see."""

from __future__ import annotations

import numpy as np

from ..core.camera import Camera
from ..mesh.mesh import Mesh

MARGIN = 1e-3
"""A point is hidden where its ray meets the mesh nearer than the point by more than this, in object units."""


def is_hidden(mesh: Mesh, camera: Camera, points: np.ndarray) -> np.ndarray:
    """(N,) bool: for which points (N, 3) on a mesh the camera sees another place of it, nearer by more than `MARGIN`.

    Only the camera's place counts: points outside its picture are tested like the others.
    """
    from ..common.warp_setup import KERNELS  # not before: Warp and its kernels take seconds to load
    from .caster import RayCaster

    offsets = points - camera.origin
    distance = np.linalg.norm(offsets, axis=1)
    rays = offsets / np.maximum(distance, 1e-12)[:, None]
    with KERNELS:
        first = RayCaster(mesh.vertices, mesh.faces).crossings(camera.origin, rays, max_hits=1)
    nearest = np.full(len(points), np.inf)
    nearest[first.ray] = first.depth
    return nearest < distance - MARGIN
