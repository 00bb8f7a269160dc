"""Closing a mesh of connected hits where its surface turns away from the rays."""

from __future__ import annotations

import numpy as np

from .surface_hits import Hits

RIM_PX = 3.0
"""A fold is joined where the tangent planes of its two sides meet within this many pixels."""

SLIVER_EDGES = 64
"""Longest border loop that is looked at; outlines of open surfaces are mostly longer."""

SLIVER_PX = 2
"""A loop is filled where triangles do it that span at most this many rays: nothing wider than that is closed."""


def borders(faces: np.ndarray, count: int) -> np.ndarray:
    """(B, 2) directed edges that only one face has."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    key = edges.min(1) * count + edges.max(1)
    _, first, uses = np.unique(key, return_index=True, return_counts=True)
    return edges[first[uses == 1]]


def join_folds(hits: Hits, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces between the two borders of each fold, over a row of new vertices along its rim.

    A border edge (a, b) has a partner (a', b'): the hits that follow on the same two rays and face the other way.

    Returns:
      faces (F, 3): hits, and N + k for the k-th new vertex; sides (K, 2): the hits that a new vertex stands between;
      points (K, 3): new vertices, camera frame.
    """
    count = len(hits.layer)
    border = borders(faces, count)
    near, far = border, hits.behind[border]
    both = (far < count).all(1)
    near, far = near[both], far[both]
    key = border.min(1) * count + border.max(1)
    far_key = far.min(1) * count + far.max(1)
    is_border = np.isin(far_key, key)
    near, far = near[is_border], far[is_border]
    fold = _folds(hits, near[:, 0], far[:, 0]) & _folds(hits, near[:, 1], far[:, 1])
    near, far = near[fold], far[fold]
    ends, place = np.unique(near, return_inverse=True)
    sides = np.stack([ends, hits.behind[ends]], 1)
    rim = count + place.reshape(-1, 2)
    (a, b), (c, d), (e, f) = near.T, far.T, rim.T
    made = [(b, a, e), (b, e, f), (f, e, c), (f, c, d)]
    return np.concatenate([np.stack(face, 1) for face in made]), sides, _rim_points(hits, *sides.T)


def _rim_points(hits: Hits, near: np.ndarray, far: np.ndarray) -> np.ndarray:
    """(K, 3) where the surface between two hits of one ray turns around.

    Across the ray, the tangent planes meet at some distance; a curved surface, like a parabola, turns at half of
    it, and no farther than a pixel, since the next ray passes by.
    """
    ray = hits.point[near] / hits.depth[near, None]
    cosine = [(hits.normal[side] * ray).sum(1, keepdims=True) for side in (near, far)]
    lean = [hits.normal[side] - across * ray for side, across in zip((near, far), cosine, strict=True)]
    out = (lean[0] + lean[1]) * np.where(hits.away[near], -1, 1)[:, None]
    out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)
    change = [-(lean[side] * out).sum(1) / _away_from_zero(cosine[side][:, 0]) for side in (0, 1)]
    gap = hits.depth[far] - hits.depth[near]
    pixel = hits.pixel * hits.depth[near]
    reach = np.minimum(gap / np.maximum(change[0] - change[1], 1e-6) / 2, pixel)
    return (hits.point[near] + hits.point[far]) / 2 + reach[:, None] * out


def _away_from_zero(values: np.ndarray) -> np.ndarray:
    return np.where(values < 0, np.minimum(values, -1e-6), np.maximum(values, 1e-6))


def _folds(hits: Hits, near: np.ndarray, far: np.ndarray) -> np.ndarray:
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


def fill_slivers(points: np.ndarray, pixels: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Faces over the loops of border edges that are as thin as the distance between rays.

    They lie where a surface is too steep for its rays, at the ends of folds above all. A border of an open surface
    is a loop too, but one that no triangles of a few rays' size can fill.

    Args:
      points: (V, 3) vertices; pixels: (V, 2) row and column of their rays.
    """
    loops = [np.array(loop) for loop in _loops(borders(faces, len(points)))]
    filled = [_triangulate(loop, points[loop], pixels[loop]) for loop in loops]
    return np.concatenate([np.zeros((0, 3), np.int64), *filled])


def _loops(edges: np.ndarray) -> list[list[int]]:
    """Closed walks along border edges, against their direction, so that faces inside have the right winding."""
    onward: dict[int, list[int]] = {}
    for begin, end in edges.tolist():
        onward.setdefault(end, []).append(begin)
    loops = []
    while onward:
        walk = [next(iter(onward))]
        while walk[-1] in onward:
            following = onward[walk[-1]].pop()
            if not onward[walk[-1]]:
                del onward[walk[-1]]
            if following == walk[0]:
                loops.append(walk)
                break
            walk.append(following)
    return loops


def _triangulate(loop: np.ndarray, point: np.ndarray, pixel: np.ndarray) -> np.ndarray:
    """(n - 2, 3) faces of least area over a loop, (0, 3) where they would span more than `SLIVER_PX` rays.

    The exact optimum by dynamic programming over the polygon's diagonals (Klincsek 1980).
    """
    count = len(loop)
    nothing = np.zeros((0, 3), np.int64)
    if not 3 <= count <= SLIVER_EDGES:
        return nothing
    near = (np.abs(pixel[:, None] - pixel[None]).max(-1) <= SLIVER_PX) & (loop[:, None] != loop[None])
    following = np.roll(np.arange(count), -1)
    if not (near & near[following]).any(1).all():  # an edge that no triangle can take
        return nothing
    cost = np.full((count, count), np.inf)
    choice = np.zeros((count, count), np.int64)
    cost[np.arange(count - 1), np.arange(1, count)] = 0
    for span in range(2, count):
        first = np.arange(count - span)
        last, middle = first + span, first[:, None] + np.arange(1, span)
        sides = np.cross(point[middle] - point[first][:, None], (point[last] - point[first])[:, None])
        total = cost[first[:, None], middle] + cost[middle, last[:, None]] + np.sqrt((sides**2).sum(-1)) / 2
        allowed = near[first, last][:, None] & near[first[:, None], middle] & near[middle, last[:, None]]
        total = np.where(allowed, total, np.inf)
        best = total.argmin(1)
        cost[first, last], choice[first, last] = total[first, best], middle[first, best]
    if not np.isfinite(cost[0, -1]):
        return nothing
    faces, open_spans = [], [(0, count - 1)]
    while open_spans:
        first, last = open_spans.pop()
        if last - first > 1:
            middle = int(choice[first, last])
            faces.append((loop[first], loop[middle], loop[last]))
            open_spans += [(first, middle), (middle, last)]
    return np.array(faces)
