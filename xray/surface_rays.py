"""Triangles straight from an X-Ray: its pixel grid knows the neighbours, its order along the ray the rims.

Two hits on neighbouring rays belong to one surface where they face the ray the same way and each lies near the
tangent plane of the other. Connected hits make triangles between the rays. Where a surface turns away from the
rays it ends in two borders, of the hits before and after the fold on the same rays; those are joined.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from .camera import Camera
from .representation import XRay
from .surface_hits import Hits
from .surface_rims import fill_slivers, join_folds

TOLERANCE_PX = 2.0
"""Distance from the tangent plane that is always allowed, in pixel widths at the hit's depth."""

TOLERANCE_SLOPE = 1.0
"""Allowed besides: this share of the depth change that both tangent planes predict from ray to ray."""

STEEP = 4.0
"""Hits left over are joined across a step of up to this many times the change that both tangent planes predict."""

RIGHT, DOWN, LEFT, UP = range(4)


@dataclass(frozen=True)
class Connected:
    """Faces over the hits of an X-Ray.

    Attributes:
      faces: (F, 3) int64: hits in the order of `to_points` (layer, row, column), and N + k for the k-th vertex of
        `rims`; wound so that the normal of a face looks where the hits' normals do.
      sides: (K, 2) int64, the two hits that a rim's vertex stands between; rims: (K, 3) float64, camera frame.
    """

    faces: np.ndarray
    sides: np.ndarray
    rims: np.ndarray


def connect(xray: XRay, camera: Camera, rims: bool = True) -> Connected:
    """Connect the hits of an X-Ray.

    Args:
      camera: at the X-Ray's number of rays.
      rims: also join the two sides of a fold, and close what is left open between neighbouring rays.
    """
    hits = Hits(xray, camera)
    nothing = Connected(np.zeros((0, 3), np.int64), np.zeros((0, 2), np.int64), np.zeros((0, 3)))
    if not len(hits.layer):
        return nothing
    neighbour = np.full((4, len(hits.layer)), -1, np.int64)
    for step, back, rows, columns in ((RIGHT, LEFT, 0, 1), (DOWN, UP, 1, 0)):
        one, other = _match(hits, rows, columns)
        neighbour[step, one] = other
        neighbour[back, other] = one
    faces = _split(hits, *_cells(neighbour))
    facing = hits.away[faces[:, 0]]
    faces[~facing] = faces[~facing][:, ::-1]
    if not rims:
        return replace(nothing, faces=faces)
    folds, sides, points = join_folds(hits, faces)
    faces = np.concatenate([faces, folds])
    pixels = np.stack([hits.row, hits.column], 1)
    vertices, pixels = np.concatenate([hits.point, points]), np.concatenate([pixels, pixels[sides[:, 0]]])
    return Connected(np.concatenate([faces, fill_slivers(vertices, pixels, faces)]), sides, points)


@dataclass(frozen=True)
class _Pairs:
    """Hits of neighbouring rays that face the same way.

    Attributes:
      one, other: (M,) hits.
      step: (M,) depth of the other less that of the one.
      ahead, behind: (M,) the same as the tangent plane of the one and of the other predict it.
    """

    one: np.ndarray
    other: np.ndarray
    step: np.ndarray
    ahead: np.ndarray
    behind: np.ndarray

    def take(self, rows: np.ndarray) -> _Pairs:
        return _Pairs(*(getattr(self, item.name)[rows] for item in fields(self)))

    @property
    def miss(self) -> np.ndarray:
        return np.abs(self.step - self.ahead) + np.abs(self.step - self.behind)

    @property
    def slope(self) -> np.ndarray:
        return np.abs(self.ahead) + np.abs(self.behind)


def _pairs(hits: Hits, rows: int, columns: int) -> _Pairs:
    """Every pair along (rows, columns)."""
    height, width = hits.number.shape[1:]
    inside = np.flatnonzero((hits.row + rows < height) & (hits.column + columns < width))
    candidate = hits.number[:, hits.row[inside] + rows, hits.column[inside] + columns].T  # (M, L)
    place, layer = np.nonzero(candidate >= 0)
    one, other = inside[place], candidate[place, layer]
    same = hits.away[one] == hits.away[other]
    one, other = one[same], other[same]
    ahead = hits.predict(one, hits.row[other], hits.column[other]) - hits.depth[one]
    behind = hits.depth[other] - hits.predict(other, hits.row[one], hits.column[one])
    return _Pairs(one, other, hits.depth[other] - hits.depth[one], ahead, behind)


def _match(hits: Hits, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of hits, each the other's best continuation on the next ray along (rows, columns)."""
    pairs = _pairs(hits, rows, columns)
    count = len(hits.layer)
    pixel = hits.pixel * np.minimum(hits.depth[pairs.one], hits.depth[pairs.other])
    near = pairs.take(pairs.miss <= 2 * TOLERANCE_PX * pixel + TOLERANCE_SLOPE * pairs.slope)
    chosen = _mutual(near, near.miss, count)
    left = _leftover(hits, pairs, chosen)
    steep = _mutual(left, np.abs(left.step), count)
    return np.concatenate([chosen.one, steep.one]), np.concatenate([chosen.other, steep.other])


def _leftover(hits: Hits, pairs: _Pairs, chosen: _Pairs) -> _Pairs:
    """Pairs of hits without a match across which the surface must go on, all but along the rays.

    Both tangent planes lead from one to the other, and neither hit can be the side of a fold, since the hits before
    and behind it on its ray go on to the next ray.
    """
    count = len(hits.layer)
    ends = []
    for matched in (chosen.one, chosen.other):
        free = np.ones(count + 1, bool)
        free[matched] = False
        free[count] = False  # stands for the hit that is not there
        ends.append(free[:count] & ~free[hits.before] & ~free[hits.behind])
    leads = (pairs.step * pairs.ahead > 0) & (pairs.step * pairs.behind > 0)
    within = np.abs(pairs.step) <= STEEP * pairs.slope / 2
    return pairs.take(leads & within & ends[0][pairs.one] & ends[1][pairs.other])


def _mutual(pairs: _Pairs, cost: np.ndarray, count: int) -> _Pairs:
    return pairs.take(_best(pairs.one, cost, count) & _best(pairs.other, cost, count))


def _best(key: np.ndarray, cost: np.ndarray, count: int) -> np.ndarray:
    """Mask of the entries that are the cheapest of their key (the first one among equals)."""
    order = np.lexsort((np.arange(len(key)), cost))
    winner = np.full(count, -1, np.int64)
    winner[key[order[::-1]]] = order[::-1]  # the last writer wins, and the cheapest is written last
    mask = np.zeros(len(key), bool)
    mask[winner[winner >= 0]] = True
    return mask


def _cells(neighbour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quads (Q, 4) and triangles (T, 3) of hits connected around a square of four rays, in turn clockwise."""

    def follow(hits: np.ndarray, step: int) -> np.ndarray:
        return np.where(hits >= 0, neighbour[step, hits], -1)

    quads, triangles = [], []
    first = np.arange(neighbour.shape[1])
    for corner in range(4):  # where the walk around the square begins: top left goes right, down, left, up
        steps = [(corner + turn) % 4 for turn in range(4)]
        walk = [first]
        for step in steps:
            walk.append(follow(walk[-1], step))
        if corner == 0:
            closed = walk[4] == first
            quads.append(np.stack(walk[:4], 1)[closed])
        # The beginning of a walk that does not close: nothing leads to it from the corner before.
        begins = follow(first, (steps[3] + 2) % 4) < 0
        ends = walk[4] < 0
        quads.append(np.stack(walk[:4], 1)[begins & ends & (walk[3] >= 0)])
        triangles.append(np.stack(walk[:3], 1)[begins & ends & (walk[3] < 0) & (walk[2] >= 0)])
    return np.concatenate(quads), np.concatenate(triangles)


def _split(hits: Hits, quads: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Triangles alone: each quad is cut along its shorter diagonal."""
    point = hits.point[quads]
    across = ((point[:, 0] - point[:, 2]) ** 2).sum(1) <= ((point[:, 1] - point[:, 3]) ** 2).sum(1)
    turned = np.where(across[:, None], quads, quads[:, [1, 2, 3, 0]])
    return np.concatenate([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]], triangles])
