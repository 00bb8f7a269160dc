"""X-Rays whose truth is known in closed form."""

from __future__ import annotations

import numpy as np

from xray.core.camera import FOV_RAD, Camera, look_at
from xray.core.xray import XRay

EYE = (1.2, 0.3, 0.85)


def sphere_xray(radii, width: int = 64, height: int | None = None, eye=EYE) -> tuple[XRay, Camera]:
    """Concentric spheres around the origin, outward normals, colour from the normal."""
    camera = Camera(width, height or width, FOV_RAD, look_at(eye))
    rays = camera.rays()
    centre = -camera.origin @ camera.world_from_camera[:3, :3]
    along = rays @ centre
    depths, owners = [], []
    for radius in radii:
        root = along**2 - centre @ centre + radius**2
        reach = np.sqrt(np.maximum(root, 0))
        depths += [np.where(root > 0, along + side * reach, np.inf) for side in (-1, 1)]
        owners += [np.full(along.shape, radius)] * 2
    order = np.argsort(depths, axis=0, kind="stable")
    depth, radius = (np.take_along_axis(np.array(values), order, 0) for values in (depths, owners))
    hit = np.isfinite(depth)
    depth = np.where(hit, depth, 0)
    normal = (depth[..., None] * rays - centre) / radius[..., None] * hit[..., None]
    color = np.clip(normal * 0.5 + 0.5, 0, 1) * hit[..., None]
    return XRay(*(values.astype(np.float32) for values in (depth, normal, color))).validate(), camera


def sphere_points(radii, count: int, seed: int = 0) -> np.ndarray:
    """(count, 3) points uniform over the area of concentric spheres."""
    rng = np.random.default_rng(seed)
    area = np.array(radii, np.float64) ** 2
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return direction * rng.choice(radii, count, p=area / area.sum())[:, None]


def plane_xray(width: int = 40, height: int = 30, slope: float = 1.0, side: int = 1) -> tuple[XRay, Camera]:
    """One open slanted sheet with a border inside the picture."""
    camera = Camera(width, height)
    normal = np.array([slope, 0.3, side]) / np.linalg.norm([slope, 0.3, side])
    depth = (normal @ (0, 0, -1.5)) / (camera.rays() @ normal)
    hit = np.zeros((height, width), bool)
    hit[4:-6, 5:-3] = True
    depth = np.where(hit, depth, 0)[None].astype(np.float32)
    tile = hit[None, ..., None]
    return XRay(
        depth, (normal * tile).astype(np.float32), (np.full(3, 0.5) * tile).astype(np.float32)
    ).validate(), camera
