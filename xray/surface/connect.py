"""Triangles straight from an X-Ray: neighbouring rays connect its hits, the order along a ray closes its rims.

Two hits on neighbouring rays belong to one surface where they face the ray the same way and each lies near the
tangent plane of the other. Connected hits make triangles between the rays. Where a surface turns away from the
rays it ends in two borders, of the hits before and after the fold on the same rays; those are joined.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import numpy as np

from ..core.camera import Camera
from ..core.xray import XRay

MAX_SLOPE = 30.0
"""Largest depth change a ray, in pixel widths, that a tangent plane predicts; steeper planes count with this one."""


class HitGrid:
    """The hits of an X-Ray as lists, and the place of each.

    Attributes:
      layer, row, column: (N,) int64; number: (L, H, W) int64 place in the lists, -1 = no hit.
      depth: (N,) float64; point: (N, 3) camera frame; normal: (N, 3); away: (N,) bool, normal along the ray.
      before, behind: (N,) int64, the neighbour on the same ray if it faces the other way, else N.
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
        self.before, self.behind = (self._on_ray(step) for step in (-1, 1))

    def _on_ray(self, step: int) -> np.ndarray:
        """(N,) the hit before or behind on the same ray if it faces the other way; N where there is none."""
        count, layer = len(self.layer), self.layer + step
        inside = (layer >= 0) & (layer < len(self.number))
        found = np.full(count, count)
        found[inside] = self.number[layer[inside], self.row[inside], self.column[inside]]
        found[found < 0] = count
        opposite = np.append(self.away, False)[found] != self.away
        return np.where(opposite, found, count)

    def predict(self, hits: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        """Depth at which the tangent plane of each hit meets the ray of a pixel, kept within `MAX_SLOPE`."""
        cosine = (self.normal[hits] * self.rays[row, column]).sum(-1)
        cosine = np.where(self.away[hits], np.maximum(cosine, 1e-6), np.minimum(cosine, -1e-6))
        depth, reach = self.depth[hits], MAX_SLOPE * self.pixel * self.depth[hits]
        return np.clip(self.offset[hits] / cosine, depth - reach, depth + reach)


RIM_PX = 3.0
"""A fold is joined where the tangent planes of its two sides meet within this many pixels."""

SLIVER_EDGES = 64
"""Longest border loop that is considered; outlines of open surfaces are mostly longer."""

SLIVER_PX = 2
"""A loop is filled where triangles do it that span at most this many rays: nothing wider than that is closed."""


def borders(faces: np.ndarray, count: int) -> np.ndarray:
    """(B, 2) directed edges that only one face has."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    key = edges.min(1) * count + edges.max(1)
    _, first, uses = np.unique(key, return_index=True, return_counts=True)
    return edges[first[uses == 1]]


def join_folds(hits: HitGrid, faces: np.ndarray, within: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces between the two borders of each fold, over a row of new vertices along its rim.

    A border edge (a, b) has a partner (a', b'): the hits that follow on the same two rays and face the other way.

    Args:
      within: join such pairs of borders where the tangent planes of both sides meet, and all whose two sides are
        nearer to each other than this, in object units.
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
    fold |= (hits.depth[far] - hits.depth[near] < within).all(1)
    near, far = near[fold], far[fold]
    ends, place = np.unique(near, return_inverse=True)
    sides = np.stack([ends, hits.behind[ends]], 1)
    rim = count + place.reshape(-1, 2)
    (a, b), (c, d), (e, f) = near.T, far.T, rim.T
    made = [(b, a, e), (b, e, f), (f, e, c), (f, c, d)]
    return np.concatenate([np.stack(face, 1) for face in made]), sides, _rim_points(hits, *sides.T)


def _rim_points(hits: HitGrid, near: np.ndarray, far: np.ndarray) -> np.ndarray:
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


def _folds(hits: HitGrid, near: np.ndarray, far: np.ndarray) -> np.ndarray:
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
    hits = HitGrid(xray, camera)
    return triangles_over(hits, neighbours(hits, _match), rims)


Match = Callable[[HitGrid, int, int], tuple[np.ndarray, np.ndarray]]
"""(hits, rows, columns) -> the pairs of hits of one surface on rays that lie so many rows and columns apart."""


def neighbours(hits: HitGrid, match: Match) -> np.ndarray:
    """(4, N) int64: the hit of the same surface to the right, below, to the left and above; -1 where there is none."""
    neighbour = np.full((4, len(hits.layer)), -1, np.int64)
    for step, back, rows, columns in ((RIGHT, LEFT, 0, 1), (DOWN, UP, 1, 0)):
        one, other = match(hits, rows, columns)
        neighbour[step, one] = other
        neighbour[back, other] = one
    return neighbour


def triangles_over(hits: HitGrid, neighbour: np.ndarray, rims: bool = True, within: float = 0.0) -> Connected:
    """Triangles over hits whose neighbours are known.

    Args:
      neighbour: as `neighbours` gives it.
      rims: also join the two sides of folds, and close what is left open between neighbouring rays.
      within: as in `join_folds`.
    """
    nothing = Connected(np.zeros((0, 3), np.int64), np.zeros((0, 2), np.int64), np.zeros((0, 3)))
    if not len(hits.layer):
        return nothing
    faces = _split(hits, *_cells(neighbour))
    facing = hits.away[faces[:, 0]]
    faces[~facing] = faces[~facing][:, ::-1]
    if not rims:
        return replace(nothing, faces=faces)
    folds, sides, points = join_folds(hits, faces, within)
    faces = np.concatenate([faces, folds])
    pixels = np.stack([hits.row, hits.column], 1)
    vertices, pixels = np.concatenate([hits.point, points]), np.concatenate([pixels, pixels[sides[:, 0]]])
    return Connected(np.concatenate([faces, fill_slivers(vertices, pixels, faces)]), sides, points)


@dataclass(frozen=True)
class Pairs:
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

    def take(self, rows: np.ndarray) -> Pairs:
        return Pairs(*(getattr(self, item.name)[rows] for item in fields(self)))

    @property
    def miss(self) -> np.ndarray:
        return np.abs(self.step - self.ahead) + np.abs(self.step - self.behind)

    @property
    def slope(self) -> np.ndarray:
        return np.abs(self.ahead) + np.abs(self.behind)


def neighbouring_pairs(hits: HitGrid, rows: int, columns: int) -> Pairs:
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
    return Pairs(one, other, hits.depth[other] - hits.depth[one], ahead, behind)


def _match(hits: HitGrid, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of hits, each the other's best continuation on the next ray along (rows, columns)."""
    pairs = neighbouring_pairs(hits, rows, columns)
    count = len(hits.layer)
    pixel = hits.pixel * np.minimum(hits.depth[pairs.one], hits.depth[pairs.other])
    near = pairs.take(pairs.miss <= 2 * TOLERANCE_PX * pixel + TOLERANCE_SLOPE * pairs.slope)
    chosen = mutual_best(near, near.miss, count)
    left = _leftover(hits, pairs, chosen)
    steep = mutual_best(left, np.abs(left.step), count)
    return np.concatenate([chosen.one, steep.one]), np.concatenate([chosen.other, steep.other])


def _leftover(hits: HitGrid, pairs: Pairs, chosen: Pairs) -> Pairs:
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


def mutual_best(pairs: Pairs, cost: np.ndarray, count: int) -> Pairs:
    """The pairs of which each is the cheapest of both of its hits; `count` hits in all."""
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
        # The start of a walk that is not closed: no corner leads to it.
        begins = follow(first, (steps[3] + 2) % 4) < 0
        ends = walk[4] < 0
        quads.append(np.stack(walk[:4], 1)[begins & ends & (walk[3] >= 0)])
        triangles.append(np.stack(walk[:3], 1)[begins & ends & (walk[3] < 0) & (walk[2] >= 0)])
    return np.concatenate(quads), np.concatenate(triangles)


def _split(hits: HitGrid, quads: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Triangles alone: each quad is cut along its shorter diagonal."""
    point = hits.point[quads]
    across = ((point[:, 0] - point[:, 2]) ** 2).sum(1) <= ((point[:, 1] - point[:, 3]) ** 2).sum(1)
    turned = np.where(across[:, None], quads, quads[:, [1, 2, 3, 0]])
    return np.concatenate([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]], triangles])
