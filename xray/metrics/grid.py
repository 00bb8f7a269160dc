"""Exact nearest neighbours of large clouds by a uniform grid: Warp kernels on the CPU, float64 throughout."""

from __future__ import annotations

import numpy as np

from ..common.warp_setup import OPTIONS, wp

wp.set_module_options(OPTIONS)

MAX_RINGS = 2
"""Rings of cells around its own that a point searches; what it does not find there is left to the caller."""

MAX_CELLS = 1 << 23
POINTS_A_CELL = 16
"""Points that a cell on a surface is meant to hold, about."""

CROWD = 1000
"""A cell with more makes the search slow (outliers stretch the grid): then the grid answers nothing."""


@wp.kernel(enable_backward=False)
def _sort(
    points: wp.array(dtype=wp.vec3d),
    corner: wp.vec3d,
    per_length: wp.float64,
    size: wp.vec3i,
    starts: wp.array(dtype=wp.int32),  # (cells + 2,), zeros
    order: wp.array(dtype=wp.int32),
    sorted_points: wp.array(dtype=wp.vec3d),
):
    """Counting sort by cell, in one thread; afterwards cell c holds sorted points starts[c] to starts[c + 1]."""
    for i in range(points.shape[0]):
        starts[_cell(points[i], corner, per_length, size) + 2] += 1
    for c in range(2, starts.shape[0]):
        starts[c] += starts[c - 1]
    for i in range(points.shape[0]):
        c = _cell(points[i], corner, per_length, size) + 1
        place = starts[c]
        starts[c] = place + 1
        order[place] = i
        sorted_points[place] = points[i]


@wp.func
def _axis(value: wp.float64, corner: wp.float64, per_length: wp.float64, size: wp.int32) -> wp.int32:
    return wp.clamp(wp.int32(wp.floor((value - corner) * per_length)), 0, size - 1)


@wp.func
def _cell(point: wp.vec3d, corner: wp.vec3d, per_length: wp.float64, size: wp.vec3i) -> wp.int32:
    x = _axis(point[0], corner[0], per_length, size[0])
    y = _axis(point[1], corner[1], per_length, size[1])
    z = _axis(point[2], corner[2], per_length, size[2])
    return (x * size[1] + y) * size[2] + z


@wp.func
def _gap(value: wp.float64, index: wp.int32, corner: wp.float64, length: wp.float64) -> wp.float64:
    """Distance along one axis from a value to a slice of cells, 0 inside."""
    low = corner + wp.float64(index) * length
    return wp.max(wp.max(low - value, value - (low + length)), wp.float64(0.0))


@wp.func
def _reach(value: wp.float64, own: wp.int32, rings: wp.int32, corner: wp.float64, length: wp.float64, size: wp.int32):
    """Distance along one axis to the cells that `rings` rings do not cover; far where the grid ends before."""
    result = wp.float64(1.0e300)
    if own - rings > 0:
        result = value - (corner + wp.float64(own - rings) * length)
    if own + rings < size - 1:
        result = wp.min(result, corner + wp.float64(own + rings + 1) * length - value)
    return result


@wp.kernel(enable_backward=False)
def _search_cells(
    queries: wp.array(dtype=wp.vec3d),
    targets: wp.array(dtype=wp.vec3d),
    starts: wp.array(dtype=wp.int32),
    corner: wp.vec3d,
    length: wp.float64,
    size: wp.vec3i,
    distance: wp.array(dtype=wp.float64),
    index: wp.array(dtype=wp.int32),
):
    """Nearest target of each query; index -1 where a nearer one may lie outside of the rings."""
    i = wp.tid()
    q = queries[i]
    per_length = wp.float64(1.0) / length
    x = _axis(q[0], corner[0], per_length, size[0])
    y = _axis(q[1], corner[1], per_length, size[1])
    z = _axis(q[2], corner[2], per_length, size[2])
    best = wp.float64(1.0e300)
    chosen = wp.int32(-1)
    final = wp.bool(False)
    for ring in range(MAX_RINGS + 1):
        if not final:
            for a in range(wp.max(x - ring, 0), wp.min(x + ring, size[0] - 1) + 1):
                gap_x = _gap(q[0], a, corner[0], length)
                if gap_x * gap_x < best:
                    for b in range(wp.max(y - ring, 0), wp.min(y + ring, size[1] - 1) + 1):
                        gap_y = _gap(q[1], b, corner[1], length)
                        if gap_x * gap_x + gap_y * gap_y < best:
                            # Inside the ring only its two ends along z are new.
                            step = wp.int32(1)
                            if wp.abs(a - x) < ring and wp.abs(b - y) < ring:
                                step = 2 * ring
                            for c in range(z - ring, z + ring + 1, step):
                                if c >= 0 and c < size[2]:
                                    gap_z = _gap(q[2], c, corner[2], length)
                                    if gap_x * gap_x + gap_y * gap_y + gap_z * gap_z < best:
                                        cell = (a * size[1] + b) * size[2] + c
                                        for j in range(starts[cell], starts[cell + 1]):
                                            offset = targets[j] - q
                                            squared = wp.dot(offset, offset)
                                            if squared < best:
                                                best = squared
                                                chosen = j
            reach = _reach(q[0], x, ring, corner[0], length, size[0])
            reach = wp.min(reach, _reach(q[1], y, ring, corner[1], length, size[1]))
            reach = wp.min(reach, _reach(q[2], z, ring, corner[2], length, size[2]))
            final = best <= reach * reach
    distance[i] = wp.sqrt(best)
    index[i] = chosen
    if not final:
        index[i] = -1


class Grid:
    """Two clouds in one grid.

    Args:
      clouds: (N, 3) float64 each, finite and not empty.
    """

    def __init__(self, *clouds: np.ndarray) -> None:
        low = np.min([cloud.min(0) for cloud in clouds], axis=0)
        extent = np.max([cloud.max(0) for cloud in clouds], axis=0) - low
        side = max(float(extent.max()), 1e-30)
        # A surface fills about 2 n^2 of n^3 cells.
        cells = max(1, round((min(len(cloud) for cloud in clouds) / (2 * POINTS_A_CELL)) ** 0.5))
        length = side / cells
        while np.prod(np.floor(extent / length) + 1) > MAX_CELLS:
            length *= 1.1
        self._size = np.floor(extent / length).astype(np.int32) + 1
        self._corner, self._length = wp.vec3d(*low), wp.float64(length)
        self._parts = [self._sorted(cloud) for cloud in clouds]

    def _sorted(self, cloud: np.ndarray):
        count = len(cloud)
        starts = wp.zeros(int(np.prod(self._size, dtype=np.int64)) + 2, dtype=wp.int32, device="cpu")
        order = wp.empty(count, dtype=wp.int32, device="cpu")
        points = wp.empty(count, dtype=wp.vec3d, device="cpu")
        given = wp.array(np.ascontiguousarray(cloud), dtype=wp.vec3d, device="cpu", copy=False)
        per_length = wp.float64(1 / float(self._length))
        inputs = [given, self._corner, per_length, wp.vec3i(*self._size.tolist()), starts, order, points]
        wp.launch(_sort, dim=1, inputs=inputs, device="cpu")
        return starts, order.numpy(), points

    def nearest(self, source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
        """Nearest point of one cloud for every point of another, both named by their number.

        Returns:
          distance (N,) float64 and index (N,) int64, -1 where it is too far away for the grid to tell.
        """
        _, source_order, queries = self._parts[source]
        starts, target_order, targets = self._parts[target]
        if np.diff(starts.numpy()).max() > CROWD:
            return np.full(len(source_order), np.inf), np.full(len(source_order), -1, np.int64)
        found = wp.empty(len(source_order), dtype=wp.float64, device="cpu")
        place = wp.empty(len(source_order), dtype=wp.int32, device="cpu")
        size = wp.vec3i(*self._size.tolist())
        inputs = [queries, targets, starts, self._corner, self._length, size, found, place]
        wp.launch(_search_cells, dim=len(source_order), inputs=inputs, device="cpu")
        distance, index = np.empty(len(source_order)), np.empty(len(source_order), np.int64)
        distance[source_order] = found.numpy()
        place = place.numpy()
        index[source_order] = np.where(place >= 0, target_order[place], -1)
        return distance, index
