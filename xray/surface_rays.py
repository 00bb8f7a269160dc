"""Triangles straight from an X-Ray: its pixel grid knows the neighbours, its order along the ray the rims.

Two hits on neighbouring rays belong to one surface where they face the ray the same way and each lies near the
tangent plane of the other. Connected hits make triangles between the rays. Where a surface turns away from the
rays it ends in two borders, of the hits before and after the fold on the same rays; those are joined.
"""

from __future__ import annotations

import numpy as np

from .camera import Camera
from .representation import XRay

TOLERANCE_PX = 2.0
"""Distance from the tangent plane that is always allowed, in pixel widths at the hit's depth."""

TOLERANCE_SLOPE = 1.0
"""Allowed besides: this share of the depth change that both tangent planes predict from ray to ray."""

MAX_SLOPE = 30.0
"""Depth change a ray, in pixel widths, above which a tangent plane predicts nothing and counts with this slope."""

RIM_PX = 3.0
"""A fold is joined where the tangent planes of its two sides meet within this many pixels."""

RIGHT, DOWN, LEFT, UP = range(4)


class _Hits:
    """The hits of an X-Ray as lists, and where each stands.

    Attributes:
      layer, row, column: (N,) int64; number: (L, H, W) int64 place in the lists, -1 = no hit.
      depth: (N,) float64; point: (N, 3) camera frame; normal: (N, 3); away: (N,) bool, normal along the ray.
    """

    def __init__(self, xray: XRay, camera: Camera) -> None:
        self.rays = camera.rays()
        self.layer, self.row, self.column = np.nonzero(xray.hit)
        self.number = np.full(xray.shape, -1, np.int64)
        self.number[xray.hit] = np.arange(len(self.layer))
        self.depth = xray.depth[xray.hit].astype(np.float64)
        own = self.rays[self.row, self.column]
        self.point = self.depth[:, None] * own
        self.normal = xray.normal[xray.hit].astype(np.float64)
        self.offset = (self.normal * self.point).sum(1)
        self.away = (self.normal * own).sum(1) > 0
        self.pixel = 1 / camera.focal_px  # width of a pixel at distance 1

    def predict(self, hits: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Depth at which the tangent plane of each hit meets the ray of a pixel, kept within `MAX_SLOPE`."""
        cosine = (self.normal[hits] * self.rays[row, column]).sum(-1)
        cosine = np.where(self.away[hits], np.maximum(cosine, 1e-6), np.minimum(cosine, -1e-6))
        depth, reach = self.depth[hits], MAX_SLOPE * self.pixel * self.depth[hits]
        return np.clip(self.offset[hits] / cosine, depth - reach, depth + reach)


def connect(xray: XRay, camera: Camera, rims: bool = True) -> np.ndarray:
    """Faces over the hits of an X-Ray.

    Args:
      camera: at the X-Ray's number of rays.
      rims: also join the two sides of a fold.
    Returns:
      (F, 3) int64 into the hits in the order of `to_points` (layer, row, column), wound so that the normal of a
      face looks where the hits' normals do.
    """
    hits = _Hits(xray, camera)
    if not len(hits.layer):
        return np.zeros((0, 3), np.int64)
    neighbour = np.full((4, len(hits.layer)), -1, np.int64)
    for step, back, rows, columns in ((RIGHT, LEFT, 0, 1), (DOWN, UP, 1, 0)):
        one, other = _match(hits, rows, columns)
        neighbour[step, one] = other
        neighbour[back, other] = one
    faces = _split(hits, *_cells(neighbour))
    facing = hits.away[faces[:, 0]]
    faces[~facing] = faces[~facing][:, ::-1]
    return np.concatenate([faces, _join_rims(hits, faces)]) if rims else faces


def _match(hits: _Hits, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of hits, each the other's best continuation on the next ray along (rows, columns)."""
    height, width = hits.number.shape[1:]
    inside = np.flatnonzero((hits.row + rows < height) & (hits.column + columns < width))
    row, column = hits.row[inside] + rows, hits.column[inside] + columns
    candidate = hits.number[:, row, column].T  # (M, L)
    place, layer = np.nonzero(candidate >= 0)
    one, other = inside[place], candidate[place, layer]
    same = hits.away[one] == hits.away[other]
    one, other = one[same], other[same]
    ahead = hits.predict(one, hits.row[other], hits.column[other])
    behind = hits.predict(other, hits.row[one], hits.column[one])
    miss = np.abs(ahead - hits.depth[other]) + np.abs(behind - hits.depth[one])
    slope = np.abs(ahead - hits.depth[one]) + np.abs(behind - hits.depth[other])
    limit = 2 * TOLERANCE_PX * hits.pixel * np.minimum(hits.depth[one], hits.depth[other]) + TOLERANCE_SLOPE * slope
    near = miss <= limit
    one, other, miss = one[near], other[near], miss[near]
    mutual = _best(one, miss, len(hits.layer)) & _best(other, miss, len(hits.layer))
    return one[mutual], other[mutual]


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


def _split(hits: _Hits, quads: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Triangles alone: each quad is cut along its shorter diagonal."""
    point = hits.point[quads]
    across = ((point[:, 0] - point[:, 2]) ** 2).sum(1) <= ((point[:, 1] - point[:, 3]) ** 2).sum(1)
    turned = np.where(across[:, None], quads, quads[:, [1, 2, 3, 0]])
    return np.concatenate([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]], triangles])


def _borders(faces: np.ndarray, count: int) -> np.ndarray:
    """(B, 2) directed edges that only one face has."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    key = edges.min(1) * count + edges.max(1)
    _, first, uses = np.unique(key, return_index=True, return_counts=True)
    return edges[first[uses == 1]]


def _join_rims(hits: _Hits, faces: np.ndarray) -> np.ndarray:
    """Faces between the two borders of each fold.

    A border edge (a, b) has a partner (a', b'): the hits that follow on the same two rays and face the other way.
    """
    count = len(hits.layer)
    border = _borders(faces, count)
    onward = np.full(count, -1, np.int64)
    has_next = hits.layer + 1 < len(hits.number)
    onward[has_next] = hits.number[hits.layer[has_next] + 1, hits.row[has_next], hits.column[has_next]]
    onward[onward >= 0] = np.where(hits.away[onward] != hits.away, onward, -1)[onward >= 0]
    near, far = border, onward[border]
    both = (far >= 0).all(1)
    near, far = near[both], far[both]
    key = border.min(1) * count + border.max(1)
    far_key = far.min(1) * count + far.max(1)
    is_border = np.isin(far_key, key)
    near, far = near[is_border], far[is_border]
    fold = _folds(hits, near[:, 0], far[:, 0]) & _folds(hits, near[:, 1], far[:, 1])
    near, far = near[fold], far[fold]
    a, b, c, d = near[:, 1], near[:, 0], far[:, 0], far[:, 1]
    return np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])


def _folds(hits: _Hits, near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """Whether the tangent planes of two hits of one ray meet within `RIM_PX` pixels, in some direction."""
    gap = hits.depth[far] - hits.depth[near]
    closing = np.zeros(len(near))
    height, width = hits.number.shape[1:]
    for rows, columns in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        row = np.clip(hits.row[near] + rows, 0, height - 1)
        column = np.clip(hits.column[near] + columns, 0, width - 1)
        ahead = hits.predict(far, row, column) - hits.predict(near, row, column)
        closing = np.maximum(closing, gap - ahead)
    return gap <= RIM_PX * closing
