"""Closed meshes from an X-Ray: inside and outside along every ray, as a field on the rays' grid, by marching cubes.

Inside is between an odd hit and the next even one. Surfaces without an inside become skins, thin but closed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from warp.geometry import IsoSurfaceMarchingCubes

from ..common.warp_setup import KERNELS, wp
from ..core.camera import Camera
from ..core.xray import XRay
from .connect import HitGrid

SKIN_PX = 0.6
"""Half the thickness, in pixel widths, of what is given to surfaces without an inside, and the least of all parts
along a ray: below 0.5 it could fall between two places of the grid."""

STEEPEST = 0.1
"""Least |cosine| between normal and ray that counts: skins of steeper surfaces would reach far along the ray."""

PAD = 2 + int(np.ceil(SKIN_PX / STEEPEST))
"""Places of the grid before the nearest hit and behind the farthest one."""

EDGE = 1e-3
"""Least |value| of the field, so that no vertex falls on a place of the grid, where several would meet."""


@dataclass(frozen=True)
class _Spans:
    """Stretches of rays inside the object: (M,) hits `enter` and `leave`, the same hit twice for a skin."""

    enter: np.ndarray
    leave: np.ndarray


def closed_field(xray: XRay, camera: Camera) -> tuple[np.ndarray, np.ndarray]:
    """A closed mesh around what is inside; every edge has two faces.

    The grid has the rays' pixels, and along each ray places a pixel width apart. The field is the distance from the
    surface along the ray times the cosine between ray and normal, in pixel widths, positive inside: near the surface
    it is the distance to its tangent plane, which is what marching cubes (Lorensen and Cline 1987) interpolates.

    Args:
      camera: at the X-Ray's number of rays.
    Returns:
      vertices (V, 3) float64 in the camera frame, faces (F, 3) int64 wound so that they look out; empty without hits.
    """
    hits = HitGrid(xray, camera)
    if not len(hits.layer):
        return np.zeros((0, 3)), np.zeros((0, 3), np.int64)
    step = float(np.median(hits.depth)) * hits.pixel
    start = hits.depth.min() - PAD * step
    depths = start + step * np.arange(int(np.ceil((hits.depth.max() - start) / step)) + PAD)
    corner = np.array([hits.row.min() - 1, hits.column.min() - 1])
    size = np.array([hits.row.max(), hits.column.max()]) + 2 - corner
    field = np.full((*size, len(depths)), -1, np.float32)
    spans = _spans(hits)
    for rows in _apart(hits, spans.enter):
        part = _Spans(spans.enter[rows], spans.leave[rows])
        place = hits.row[part.enter] - corner[0], hits.column[part.enter] - corner[1]
        field[place] = np.maximum(field[place], _values(hits, part, depths.astype(np.float32), step))
    np.clip(field, -1, 1, out=field)
    field[np.abs(field) < EDGE] = -EDGE
    with KERNELS:
        array = wp.array(field, dtype=wp.float32, device="cpu")
        found, corners = IsoSurfaceMarchingCubes.extract(array, 0.0)
        found, faces = found.numpy().astype(np.float64), corners.numpy().reshape(-1, 3).astype(np.int64)
    rays = camera.rays_at(found[:, 1] + corner[1], found[:, 0] + corner[0])
    return rays * (start + step * found[:, 2])[:, None], faces


def _spans(hits: HitGrid) -> _Spans:
    """Where rays have an even number of hits, they are inside between an odd hit and the next one. On other rays
    some surface is open: there a hit that faces the ray and a next one that faces away make an inside, and the rest
    are skins."""
    total = (hits.number >= 0).sum(0)[hits.row, hits.column]
    behind = np.concatenate([hits.number[1:], np.full_like(hits.number[:1], -1)])[hits.layer, hits.row, hits.column]
    solid = ~hits.away & hits.away[behind] & (behind >= 0)
    enter = np.flatnonzero(np.where(total % 2 == 0, hits.layer % 2 == 0, solid))
    leave = behind[enter]
    skin = np.ones(len(total), bool)
    skin[enter] = skin[leave] = False
    alone = np.flatnonzero(skin)
    return _Spans(np.concatenate([enter, alone]), np.concatenate([leave, alone]))


def _apart(hits: HitGrid, enter: np.ndarray) -> list[np.ndarray]:
    """The spans in groups that have no ray twice."""
    ray = hits.row[enter] * hits.number.shape[2] + hits.column[enter]
    order = np.argsort(ray, kind="stable")
    rank = np.arange(len(ray)) - np.searchsorted(ray[order], ray[order])
    return [order[rank == number] for number in range(int(rank.max(initial=-1)) + 1)]


def _values(hits: HitGrid, spans: _Spans, depths: np.ndarray, step: float) -> np.ndarray:
    """(M, D) float32 of the field along the rays of some spans."""
    ray = hits.rays[hits.row, hits.column]
    slope = np.maximum(np.abs((hits.normal * ray).sum(1)), STEEPEST) / (hits.pixel * hits.depth)
    begin, end = (hits.depth[side].astype(np.float32)[:, None] for side in (spans.enter, spans.leave))
    first, last = (slope[side].astype(np.float32)[:, None] for side in (spans.enter, spans.leave))
    values = np.minimum((depths - begin) * first, (end - depths) * last)
    thin = np.flatnonzero(end - begin < step)
    if len(thin):
        middle = (begin[thin] + end[thin]) / 2
        # A part thinner than a step is made one along the ray; a skin must hold together from ray to ray, so along
        # the normal.
        skin = (spans.enter == spans.leave)[thin, None]
        fall = np.where(skin, first[thin], np.float32(1 / step))
        values[thin] = np.maximum(values[thin], SKIN_PX - np.abs(depths - middle) * fall)
    return values
