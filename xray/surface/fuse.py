"""One mesh of several views: of every piece of the surface the view that sees it best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from ..common.errors import InputError
from ..core.camera import Camera
from ..core.points import to_points
from ..core.xray import XRay
from .surface import Surface, join, to_surface, trim

CELL_PX = 2.0
"""Width of the cells in which views compete, in pixels of a surface that a camera looks at straight on."""

LEAST_COSINE = 0.05
"""A surface that is seen more aslant counts as this much."""


def fuse_views(xrays: Sequence[XRay], cameras: Sequence[Camera], method: str = "rays") -> Surface:
    """A mesh in the world frame of all views of one object.

    Every view's own mesh (`to_surface`) is laid over the others. A vertex gives way where another view has one in the
    same cell that faces the same way and whose rays lie closer together on the surface: the camera is nearer, or looks
    less aslant. A face goes when all of its corners give way, so that pieces overlap by a face and leave no gap.

    Args:
      xrays: of one number of rays; cameras: theirs, with poses in one world.
      method: of `surface.METHODS`.
    Raises:
      InputError: no views, or not one camera for each.
    """
    if not xrays or len(xrays) != len(cameras):
        raise InputError(f"{len(xrays)} X-Rays and {len(cameras)} cameras: expected one camera for each of some views")
    surfaces = [to_surface(xray, camera, method, "world") for xray, camera in zip(xrays, cameras, strict=True)]
    if len(surfaces) == 1:
        return surfaces[0]
    spacing = [_spacing(surface, camera) for surface, camera in zip(surfaces, cameras, strict=True)]
    width = CELL_PX * min(camera.distance / camera.focal_px for camera in cameras)
    beaten = _is_beaten(surfaces, np.concatenate(spacing), width)
    whole = surfaces[0]
    for surface in surfaces[1:]:
        whole = join(whole, surface)
    kept = ~beaten[whole.faces].all(1) & _is_met(whole.vertices, xrays, cameras, width)[whole.faces].all(1)
    return trim(Surface(whole.vertices, whole.faces[kept], whole.normals, whole.colors))


def _is_met(points: np.ndarray, xrays: Sequence[XRay], cameras: Sequence[Camera], width: float) -> np.ndarray:
    """(V,) bool, the points near which the rays of any view have a hit. A rim that one view alone cannot place well, as
    of a wall seen edge-on, may stand off the surface; the rays of other views pass there without a hit."""
    clouds = [to_points(xray, camera, "world").points for xray, camera in zip(xrays, cameras, strict=True)]
    return cKDTree(np.concatenate(clouds)).query(points, distance_upper_bound=width)[0] < width


def _spacing(surface: Surface, camera: Camera) -> np.ndarray:
    """(V,) distance on the surface between neighbouring rays of a view, at every vertex of its mesh."""
    offsets = surface.vertices - camera.origin
    length = np.linalg.norm(offsets, axis=1)
    cosine = np.abs((offsets * surface.normals).sum(1)) / np.maximum(length, 1e-12)
    return length / np.maximum(cosine, LEAST_COSINE) / camera.focal_px


def _is_beaten(surfaces: Sequence[Surface], spacing: np.ndarray, width: float) -> np.ndarray:
    """(V,) bool, the vertices of all views in a row in whose cell another view has one with a smaller spacing.

    A cell is a cube in space and an octant of normals.
    """
    points, normals = (np.concatenate([getattr(one, name) for one in surfaces]) for name in ("vertices", "normals"))
    view = np.repeat(np.arange(len(surfaces)), [len(surface.vertices) for surface in surfaces])
    places = np.concatenate([np.floor(points / width), normals >= 0], axis=1).astype(np.int64)
    _, cell = np.unique(places, axis=0, return_inverse=True)
    cell = cell.reshape(-1)
    order = np.lexsort((spacing, cell))
    first = np.r_[True, np.diff(cell[order]) > 0]
    winner = np.empty(int(cell.max(initial=-1)) + 1, np.int64)
    winner[cell[order][first]] = view[order][first]
    return winner[cell] != view
