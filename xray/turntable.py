"""A mesh or a cloud that turns once around its vertical axis, as an animated picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

from .pictures import frame_of, splat
from .points import PointCloud
from .storage import atomic_path
from .surface import Surface


def sample_surface(surface: Surface, count: int = 60_000) -> PointCloud:
    """Points spread evenly over a mesh, with its normals and colours."""
    mesh = surface.to_trimesh()
    points, face, weights = trimesh.sample.sample_surface(mesh, count, return_barycentric=True, seed=0)
    corners, weights = surface.faces[face], weights[..., None]
    colors = (surface.colors[corners] * weights).sum(1).astype(np.float32)
    return PointCloud(points, mesh.face_normals[face], colors)


def save_turntable(path: Path, cloud: PointCloud, frames: int = 36, size: int = 256) -> None:
    """Write an animated .gif of a z-up cloud turning once around its vertical axis."""
    upright = PointCloud(
        cloud.points[:, [0, 2, 1]] * (1, 1, -1), cloud.normals[:, [0, 2, 1]] * (1, 1, -1), cloud.colors
    )
    centre, radius = frame_of(upright)
    views = [
        Image.fromarray(splat(upright, 360 * number / frames, 15.0, size, (centre, radius), 2))
        for number in range(frames)
    ]
    with atomic_path(path) as partial:
        views[0].save(partial, save_all=True, append_images=views[1:], duration=70, loop=0)
