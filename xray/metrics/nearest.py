"""Exact nearest neighbours between two point clouds, with a defined answer where there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..common.errors import InputError

MISSING_DISTANCE = math.sqrt(3)
"""Diagonal of the unit box: no two points of normalised objects are farther apart. It stands for the distance of a
point that is not finite, and of every point where the other cloud has none that is."""

GRID_POINTS = 100_000
"""Clouds from this size on are searched by a grid first; a tree is quicker to begin with."""

CROWDED = 0.1
"""From this share of points on that share a cell with the one before, duplicates are removed."""


@dataclass(frozen=True)
class Nearest:
    """distance (N,) float64 to, and index (N,) int64 of, the nearest point of the other cloud; -1 = none."""

    distance: np.ndarray
    index: np.ndarray


def nearest(source: np.ndarray, target: np.ndarray, workers: int = 1) -> Nearest:
    """Nearest point of `target` (M, 3) for each of `source` (N, 3)."""
    return nearest_both(source, target, workers, both=False)[0]


def nearest_both(one: np.ndarray, other: np.ndarray, workers: int = 1, both: bool = True) -> tuple[Nearest, ...]:
    """Nearest points from one cloud to the other and back; to the other alone where not `both`."""
    clouds = [check_cloud(points) for points in (one, other)]
    rows = [np.flatnonzero(np.isfinite(points).all(1)) for points in clouds]
    found = [(np.full(len(points), MISSING_DISTANCE), np.full(len(points), -1, np.int64)) for points in clouds]
    ways = ((0, 1), (1, 0)) if both else ((0, 1),)
    if all(map(len, rows)):
        finite = [points[kept] for points, kept in zip(clouds, rows, strict=True)]
        for (source, target), (distance, index) in zip(ways, _search(finite, ways, workers), strict=True):
            found[source][0][rows[source]] = distance
            found[source][1][rows[source]] = rows[target][index]
    return tuple(Nearest(*found[source]) for source, _ in ways)


def _search(clouds: list[np.ndarray], ways, workers: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Distance and index for each (source, target) of `ways`; the clouds are finite and not empty."""
    if min(map(len, clouds)) < GRID_POINTS:
        sides = [_Tree(cloud) for cloud in clouds]
        return [sides[target].query(sides[source], workers) for source, target in ways]
    from ..common.warp_setup import KERNELS  # not before: Warp and its kernels take seconds to load
    from .grid import Grid

    with KERNELS:
        grid = Grid(*clouds)
        found = [grid.nearest(source, target) for source, target in ways]
    results = []
    for (source, target), (distance, index) in zip(ways, found, strict=True):
        far = np.flatnonzero(index < 0)
        if len(far):
            distance[far], index[far] = _Tree(clouds[target]).query(_Tree(clouds[source][far]), workers)
        results.append((distance, index))
    return results


class _Tree:
    """A cloud along a Morton curve, which keeps neighbours in cache and leaves every result as it is.

    Many points at one place, which a tree cannot separate and would search one by one, are in it once.
    """

    def __init__(self, points: np.ndarray) -> None:
        self.order, code = morton_order(points)
        self.points = points[self.order]
        self.chosen = np.arange(len(points))
        if np.count_nonzero(code[1:] == code[:-1]) > CROWDED * len(code):
            _, self.chosen = np.unique(self.points, axis=0, return_index=True)
            self.chosen.sort()

    def query(self, source: _Tree, workers: int) -> tuple[np.ndarray, np.ndarray]:
        """Nearest of these points for those of another cloud, in that one's own order."""
        found, row = cKDTree(self.points[self.chosen], balanced_tree=False).query(source.points, workers=workers)
        distance, index = np.empty(len(found)), np.empty(len(found), np.int64)
        distance[source.order], index[source.order] = found, self.order[self.chosen[row]]
        return distance, index


def morton_order(points: np.ndarray, bits: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """(N,) int64 order along a Morton (Z-order) curve, by which points near each other in space come near in memory,
    and (N,) uint32 codes in that order, equal where points share a cell."""
    low = points.min(0)
    size = max(float((points.max(0) - low).max()), 1e-30)
    cell = ((points - low) / size * (2**bits - 1)).astype(np.uint64)
    code = np.zeros(len(points), np.uint64)
    for axis in range(3):
        # Spreads 10 bits to every third place, by the usual four shift-and-mask steps.
        value = cell[:, axis]
        for shift, mask in ((16, 0x030000FF), (8, 0x0300F00F), (4, 0x030C30C3), (2, 0x09249249)):
            value = (value | (value << np.uint64(shift))) & np.uint64(mask)
        code |= value << np.uint64(axis)
    code = code.astype(np.uint32)
    order = np.argsort(code, kind="stable")
    return order, code[order]


def check_cloud(points: np.ndarray) -> np.ndarray:
    """(N, 3) float64, or InputError for another shape."""
    points = np.asarray(points, np.float64)
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"points of shape {points.shape}: expected (N, 3)")
    return points
