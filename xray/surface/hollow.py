"""The sides of hollow objects, which a network leaves open: there its second surface is neither of the two it may be.

A ray through a cup meets four surfaces; one through its side, between the hollow and the outline, meets the outer wall
alone, in front and behind. The second hit jumps there from the inner wall in front to the outer one behind. A network
that is not sure where gives a depth between them, and lets the third and the fourth surface end too early, so that the
front and the back of the cup are two pieces that do not meet.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..core.camera import Camera
from ..core.xray import XRay
from .connect import HitGrid

INNER, OUTER = 1, 3
"""Layers of the wall behind the first surface and of the last one, where a ray passes through a hollow."""

SIDE_RAYS, HOLLOW_RAYS = 5.0, 2.0
"""The widest side, and half of the narrowest hollow, in rays of an X-Ray with `FEW_RAYS` on a side."""

FEW_RAYS = 64

LEAST_MOVE = 0.15
"""A side is one where the second hit has moved by this part of the way from the inner wall to the outer one behind:
the edge of a board before something narrower stays where it is."""


def close_sides(xray: XRay, camera: Camera) -> XRay:
    """The X-Ray in which the outer wall behind goes on through the sides of hollows, as their second surface.

    Args:
      camera: at the X-Ray's number of rays.
    """
    if len(xray.depth) <= OUTER:
        return xray
    row, column, nearest, inward = _sides(xray.hit)
    if not len(row):
        return xray
    hits = HitGrid(xray, camera)
    inner, outer = (hits.number[layer, *nearest] for layer in (INNER, OUTER))
    first, second = (hits.number[layer, row, column] for layer in (0, INNER))
    # A round object is as thick, along the ray, as the root of the way from its outline; a tangent plane bounds it.
    thickness = (hits.depth[outer] - xray.depth[0][nearest]) * np.sqrt(inward)
    depth = np.minimum(hits.predict(outer, row, column), hits.depth[first] + thickness)
    moved = (hits.depth[second] - hits.depth[inner]) / np.maximum(hits.depth[outer] - hits.depth[inner], 1e-9)
    is_side = hits.away[outer] & hits.away[inner] & hits.away[second] & (depth > hits.depth[second])
    is_side &= _median_of_part(moved, row, column, xray.hit.shape[1:]) > LEAST_MOVE
    to = INNER, row[is_side], column[is_side]
    grids = [xray.depth.copy(), xray.normal.copy(), xray.color.copy()]
    grids[0][to] = depth[is_side]
    for grid in grids[1:]:
        grid[to] = grid[OUTER, *(place[is_side] for place in nearest)]
    return XRay(*grids)


def _sides(hit: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...], np.ndarray]:
    """Row and column of the rays with two hits between a hollow and the outline, where that is near; the place of the
    nearest ray through the hollow; how far inward it is, from 0 at the outline to 1 at that ray."""
    fineness = max(1.0, hit.shape[2] / FEW_RAYS)
    hollow = _wide(hit[OUTER], round(HOLLOW_RAYS * fineness))
    nowhere = np.zeros(0, np.int64)
    if not hollow.any():
        return nowhere, nowhere, (nowhere, nowhere), nowhere
    to_hollow, nearest = ndimage.distance_transform_edt(~hollow, return_indices=True)
    to_outline = ndimage.distance_transform_edt(np.pad(hit[0], 1))[1:-1, 1:-1]
    two = hit[INNER] & ~hit[INNER + 1]
    row, column = np.nonzero(two & (to_hollow + to_outline <= SIDE_RAYS * fineness + 1))
    outside, inside = to_outline[row, column], to_hollow[row, column]
    return row, column, tuple(nearest[:, row, column]), outside / (outside + inside)


def _wide(mask: np.ndarray, radius: int) -> np.ndarray:
    """The parts of a mask that hold a disc, with their own borders: a post behind a board is no hollow."""
    core = ndimage.binary_erosion(mask, iterations=radius)
    return ndimage.binary_dilation(core, iterations=2 * radius, mask=mask)


def _median_of_part(values: np.ndarray, row: np.ndarray, column: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N,) for each place the median over all that touch each other."""
    mask = np.zeros(shape, bool)
    mask[row, column] = True
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    part = parts[row, column]
    return np.asarray(ndimage.median(values, part, np.arange(count + 1)))[part]
