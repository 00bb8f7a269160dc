"""Triangles of polygons and of strips, and corners that are the same."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

import mapbox_earcut
import numpy as np

FLAT = 1e-6
"""A triangle of a fan counts as turned over where it is more than this share of its polygon: coordinates of six
digits make a straight edge hollow by less."""


MOST_UNUSED = 16
"""Vertices, for one corner, that are worth a table: of many small parts, each may use few of the file's."""


def fan(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of polygons whose corners stand one after another, all from the polygon's first corner.

    Args:
      sizes: (P,) int, corners of each polygon; below 3 there is no triangle.
    Returns:
      corner (F, 3) int64, places in the sequence of all corners; polygon (F,) int64.
    """
    counts = np.maximum(sizes - 2, 0)
    polygon = np.repeat(np.arange(len(sizes)), counts)
    first = (np.cumsum(sizes) - sizes)[polygon]
    step = np.arange(len(polygon)) - (np.cumsum(counts) - counts)[polygon]
    return np.stack([first, first + step + 1, first + step + 2], axis=1), polygon


def corner_columns(columns: np.ndarray, triangles: np.ndarray) -> list[list[np.ndarray]]:
    """The coordinates of the three corners of triangles: [corner][axis], each (F,) float64.

    One array for each axis: numpy works on such ones ten times faster than on rows of three numbers.

    Args:
      columns: (3, V) float64, one row for each axis.
      triangles: (F, 3) int.
    """
    return [[axis.take(corner) for axis in columns] for corner in np.ascontiguousarray(triangles.T)]


def cross_columns(first: list[np.ndarray], second: list[np.ndarray]) -> list[np.ndarray]:
    """The cross product of vectors that are given, and returned, as one array for each axis; `np.cross` to the bit."""
    return [first[i - 2] * second[i - 1] - first[i - 1] * second[i - 2] for i in range(3)]


def difference(first: list[np.ndarray], second: list[np.ndarray]) -> list[np.ndarray]:
    """first - second, axis by axis."""
    return [one - other for one, other in zip(first, second, strict=True)]


def triangulate(
    sizes: np.ndarray, vertex: np.ndarray, positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | tuple[None, None]:
    """Triangles of polygons, which may be concave: a fan where that covers the polygon, else its ears cut off.

    Concave polygons are cut in their mean plane. A polygon that crosses itself or has no area stays a fan.

    Args:
      sizes: (P,) int, corners of each polygon; below 3 there is no triangle.
      vertex: (C,) int, the vertex of every corner, the polygons one after another.
      positions: (V, 3) float64.
    Returns:
      corner (F, 3) int64, places in the sequence of all corners; polygon (F,) int64. Both are None where all polygons
      are triangles, which need no copying.
    """
    if (sizes == 3).all():
        return None, None
    corner, polygon = fan(sizes)
    if not len(corner) or sizes.max() <= 3:
        return corner, polygon
    large = np.flatnonzero(sizes[polygon] > 3)
    owner = polygon[large]
    with np.errstate(all="ignore"):  # vertices that are not finite are refused later, where the file is named
        a, b, c = corner_columns(np.ascontiguousarray(positions[vertex].T), corner[large])
        cross = cross_columns(difference(b, a), difference(c, a))
        normals = np.stack([np.bincount(owner, column, len(sizes)) for column in cross])
        along = sum(cross[axis] * normals[axis][owner] for axis in range(3))
        hollow = along < -FLAT * (normals**2).sum(0)[owner]
    replaced = np.unique(owner[hollow])
    if not len(replaced):
        return corner, polygon
    starts = np.cumsum(sizes) - sizes
    firsts = np.searchsorted(polygon, replaced)  # the triangles of a polygon stand together
    for number, first in zip(replaced.tolist(), firsts.tolist(), strict=True):
        start, size = int(starts[number]), int(sizes[number])
        cut = _without_ears(positions[vertex[start : start + size]], normals[:, number])
        if cut is not None:
            corner[first : first + size - 2] = cut + start
    return corner, polygon


def _without_ears(points: np.ndarray, normal: np.ndarray) -> np.ndarray | None:
    """(N - 2, 3) triangles of a polygon (N, 3) with its normal; None where they would not cover it."""
    if not (np.isfinite(points).all() and np.isfinite(normal).all()):
        return None
    axis = int(np.abs(normal).argmax())  # leaving one axis out keeps the other two exactly as they are
    flat = points[:, [(axis + 1) % 3, (axis + 2) % 3]]
    if normal[axis] < 0:
        flat = flat[:, ::-1]
    flat = np.ascontiguousarray(flat - flat[0])
    triangles = mapbox_earcut.triangulate_float64(flat, np.array([len(flat)], np.uint32)).reshape(-1, 3)
    triangles = triangles.astype(np.int64)
    areas = _areas(flat, triangles)
    triangles[areas < 0] = triangles[areas < 0][:, ::-1]
    whole = _areas(flat, fan(np.array([len(flat)]))[0]).sum()
    if not abs(np.abs(areas).sum() - whole) <= FLAT * abs(whole):
        return None
    return _with_all_corners(triangles, flat, FLAT * abs(whole))


def _areas(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """(F,) twice the signed areas of triangles in the plane."""
    a, b, c = (points[column] for column in triangles.T)
    first, second = b - a, c - a
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _with_all_corners(triangles: np.ndarray, points: np.ndarray, flat: float) -> np.ndarray:
    """The triangles (N - 2, 3) with the corners in them that were left out since they lie on an edge of the polygon.

    Without them, the neighbours across that edge would have a vertex where these triangles have none, and a ray
    could slip between. The tip of a spike, to which and from which the polygon runs along one line, lies on no edge and
    stays out. Where there are fewer triangles, as of a polygon that touches itself at a corner, the rest have no area.

    Args:
      points: (N, 2); flat: twice the area of a triangle that counts as a line.
    """
    used = np.zeros(len(points), bool)
    used[triangles] = True
    found = triangles.tolist()
    owner = {(triangle[k - 1], triangle[k]): number for number, triangle in enumerate(found) for k in range(3)}
    kept = np.flatnonzero(used).tolist()
    for left_out in np.flatnonzero(~used).tolist():
        place = bisect.bisect(kept, left_out)
        before, after = kept[place - 1], kept[place % len(kept)]
        number = owner.get((before, after))
        if number is None or not _lies_between(points[left_out], points[before], points[after], flat):
            continue
        del owner[before, after]
        turn = found[number].index(before)
        other = found[number][(turn + 2) % 3]
        owner[before, left_out] = number
        owner[left_out, after] = owner[after, other] = len(found)
        found[number] = [before, left_out, other]
        found.append([left_out, after, other])
        kept.insert(place, left_out)
    return np.array(found + [[0, 0, 0]] * (len(points) - 2 - len(found)), np.int64)


def _lies_between(point: np.ndarray, first: np.ndarray, second: np.ndarray, flat: float) -> bool:
    """Whether a point (2,) lies on the line from one to another, its ends included."""
    behind, ahead = point - first, second - point
    return abs(behind[0] * ahead[1] - behind[1] * ahead[0]) <= flat and behind @ ahead >= 0


def triangles_of(corner: np.ndarray | None, values: np.ndarray) -> np.ndarray:
    """(F, 3) values of the corners of the triangles of `triangulate`; values (C,), one for each corner."""
    return values.reshape(-1, 3) if corner is None else values[corner]


def strips(indices: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """(F, 3) triangles of strips that stand one after another; every second one is turned so that all face one way.

    Args:
      indices: (N,) int, vertices of all strips.
      starts: (S,) int, the place of each strip's first vertex, increasing.
    """
    count = len(indices)
    strip = np.zeros(count, np.int64)
    strip[starts[starts < count]] = starts[starts < count]
    strip = np.maximum.accumulate(strip)
    first = np.flatnonzero(strip[2:] == strip[:-2]) if count > 2 else np.zeros(0, np.int64)
    odd = (first - strip[first]) % 2
    return np.stack([indices[first], indices[first + 1 + odd], indices[first + 2 - odd]], axis=1)


def distinct_corners(columns: Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """One corner of each kind, ordered by the columns, and for each corner the place of its like among them."""
    vertex, others = columns[0], [column for column in columns[1:] if column is not None]
    low, span = int(vertex.min()), int(np.ptp(vertex)) + 1
    key = vertex - low
    if span <= MOST_UNUSED * len(vertex):
        corner_of = np.full(span, -1)
        corner_of[key] = np.arange(len(key))
        if all(np.array_equal(column[corner_of[key]], column) for column in others):
            # Every value of the first column goes with one of each other: no sorting.
            used = corner_of >= 0
            return corner_of[used], (np.cumsum(used) - 1)[key]
    for column in others:
        span = int(column.max()) + 2
        if (int(key.max()) + 1) * span >= 2**63:
            key = np.unique(key, return_inverse=True)[1]
        key = key * span + column + 1
    order = np.argsort(key)  # one number a corner: far faster than sorting rows
    key = key[order]
    first = np.concatenate([[True], key[1:] != key[:-1]])
    place = np.empty(len(key), np.int64)
    place[order] = np.cumsum(first) - 1
    return order[first], place
