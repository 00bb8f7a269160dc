"""Fitting a predicted X-Ray's depths to its normals, so that neighbouring rays make one surface.

A network's depth has noise of a pixel or two from ray to ray, more than a tangent plane may miss. Its normals know
the slope better than differences of its depths do, and its depths know the place better than sums of slopes do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix, diags
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg

from ..core.camera import Camera
from ..core.samples import nondecreasing
from ..core.xray import XRay, pack_hits
from .connect import (
    DOWN,
    LEFT,
    RIGHT,
    UP,
    Connected,
    HitGrid,
    mutual_best,
    neighbouring_pairs,
    neighbours,
    triangles_over,
)

LINK_PX, LINK_LEAST = 5.0, 0.06
"""Two predicted hits on neighbouring rays are one surface where each lies within so many pixel widths, or within so
many object units, of the other's tangent plane, and within as much again as the planes slope from ray to ray."""

FEW_RAYS = 64
"""Rays on a side up to which the next two numbers hold; of more rays they are larger in proportion."""

MAX_REACH = 4.0
"""Rays over which the noise is averaged, at most; fewer where it has fewer pixel widths."""

BORDER_RAYS = 4
"""Width of the band along the borders of surfaces in which predicted depths may count less."""

BORDER_POWER, LEAST_TRUST = 6, 0.02
"""At a border a depth counts by this power of the misfit to the normals inside over that in the band, and no less than
the second number: along an outline a network's depth lies anywhere between the surfaces that meet there."""

STEEP_TRUST = 2.0
"""A predicted depth counts less where |cosine| between normal and ray is less than the inverse: there, an error of a
part of a pixel is a large error of depth."""

TIE = 0.2
"""Weight, whatever the slope, of a pair of neighbours, as a part of that of a pair that faces the camera."""

WALL = 0.2
"""Front and back are joined along a common border where they are no farther apart, in object units. A wall over a wider
gap mostly stands where there is none: on 18 predictions of other objects than are scored, the mesh's Chamfer distance
was 1.075 of the points' with limits of .15 and .25, 1.093 with none and 1.084 with .08."""

SPECK_HITS = 8
"""Patches of fewer hits are no surface."""

ROBUST_PX = 2.0
"""Misfit to the normals, in pixel widths, from which a pair of neighbours counts less than half."""

ANCHOR_PX = 4.0
"""Distance from the predicted depth, in pixel widths, from which that depth counts less than half."""

LEAST_COSINE = 0.08
"""Least |cosine| between normal and ray: of steeper surfaces, the depth of neighbours tells nothing."""

NORMAL_SCALE = 0.5
"""Difference of unit normals of neighbours at which they count little for each other's mean."""

NORMAL_MAD = 1.4826
"""Standard deviation of a normal distribution, over its median absolute deviation."""

NORMAL_ROUNDS, DEPTH_ROUNDS = 2, 3


@dataclass(frozen=True)
class _Links:
    """Pairs of hits of one surface, (M,) each."""

    one: np.ndarray
    other: np.ndarray
    count: int

    @classmethod
    def of(cls, neighbour: np.ndarray) -> _Links:
        right, down = (np.flatnonzero(neighbour[step] >= 0) for step in (RIGHT, DOWN))
        other = np.concatenate([neighbour[RIGHT, right], neighbour[DOWN, down]])
        return cls(np.concatenate([right, down]), other, neighbour.shape[1])

    def matrix(self, weight: np.ndarray) -> csr_matrix:
        """(N, N) symmetric, the weight of each pair."""
        row, column = np.concatenate([self.one, self.other]), np.concatenate([self.other, self.one])
        return csr_matrix((np.concatenate([weight, weight]), (row, column)), (self.count, self.count))


def fit(xray: XRay, camera: Camera) -> XRay:
    """A predicted X-Ray with the noise between neighbouring rays taken out.

    Depths are fitted to the normals, specks go, holes of a ray are filled, and colours at borders are those of the
    surface further inside. The result may have two layers more.

    Args:
      camera: at the X-Ray's number of rays.
    """
    if not xray.hit.any():
        return xray
    hits = HitGrid(xray, camera)
    links = _Links.of(neighbours(hits, match))
    normal = _smooth(hits.normal, links)
    depth = _depths(hits, links, normal)
    _, patch = connected_components(links.matrix(np.ones(len(links.one))), directed=False)
    keep = np.bincount(patch)[patch] >= SPECK_HITS * _fineness(hits)
    return _clean(_rebuild(hits, xray, depth, normal, keep), camera)


def _fineness(hits: HitGrid) -> float:
    return max(1.0, hits.number.shape[2] / FEW_RAYS)


def match(hits: HitGrid, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of hits that are each other's best continuation on the next ray, by the mean of both tangent planes."""
    pairs = neighbouring_pairs(hits, rows, columns)
    pixel = hits.pixel * np.minimum(hits.depth[pairs.one], hits.depth[pairs.other])
    slope = (pairs.ahead + pairs.behind) / 2
    miss = np.abs(pairs.step - slope)
    near = miss <= np.maximum(LINK_PX * pixel, LINK_LEAST) + np.abs(slope)
    pairs = mutual_best(pairs.take(near), miss[near], len(hits.layer))
    return pairs.one, pairs.other


def connect_fitted(xray: XRay, camera: Camera) -> Connected:
    """Triangles over a fitted X-Ray: front and back are joined along their common border, up to `WALL` apart."""
    hits = HitGrid(xray, camera)
    return triangles_over(hits, neighbours(hits, match), within=WALL)


def _smooth(values: np.ndarray, links: _Links) -> np.ndarray:
    """Unit normals averaged with their neighbours', those across an edge left out."""
    for _ in range(NORMAL_ROUNDS):
        apart = ((values[links.one] - values[links.other]) ** 2).sum(1)
        values = values + links.matrix(np.exp(-apart / (2 * NORMAL_SCALE**2))) @ values
        values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-9)
    return values


def _depths(hits: HitGrid, links: _Links, normal: np.ndarray) -> np.ndarray:
    """(N,) depths that fit the normals: least squares, reweighted (Holland and Welsch 1977) with Cauchy's weights.

    Neighbours i and j on a plane of normal n have d_i (n . r_i) = d_j (n . r_j). Every such pair is one equation,
    every predicted depth another.
    """
    one, other, count = links.one, links.other, links.count
    rays = hits.rays[hits.row, hits.column]
    mean = normal[one] + normal[other]
    mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
    side = np.where(hits.away[one], 1, -1)
    cosine = [side * np.maximum(side * (mean * rays[end]).sum(1), LEAST_COSINE) for end in (one, other)]
    ratio = cosine[0] / cosine[1]
    steepness = np.minimum(1, 2 * np.abs(cosine[0]))
    pixel = hits.pixel * float(np.mean(hits.depth))
    depth = hits.depth
    misfit = (depth[other] - ratio * depth[one]) / pixel * steepness
    if not len(misfit):
        return depth
    anchor = trust = _trust(hits, links, normal, misfit)
    reach = min(NORMAL_MAD * float(np.median(np.abs(misfit))), MAX_REACH * _fineness(hits))
    for _ in range(DEPTH_ROUNDS):
        weight = reach**2 * (steepness**2 / (1 + (misfit / ROBUST_PX) ** 2) + TIE)
        diagonal = np.bincount(one, weight * ratio**2, count) + np.bincount(other, weight, count) + anchor
        system = diags(diagonal) - links.matrix(weight * ratio)
        depth, _ = cg(system.tocsr(), anchor * hits.depth, depth, rtol=1e-4, maxiter=80, M=diags(1 / diagonal))
        anchor = trust / (1 + ((depth - hits.depth) / (ANCHOR_PX * pixel)) ** 2)
        misfit = (depth[other] - ratio * depth[one]) / pixel * steepness
    return depth


def _trust(hits: HitGrid, links: _Links, normal: np.ndarray, misfit: np.ndarray) -> np.ndarray:
    """(N,) weights of the predicted depths, in (0, 1]: small on steep surfaces, and at borders where depths fit the
    normals worse than they do inside.

    Args:
      misfit: (M,) of the pairs, before anything is fitted.
    """
    band = round(BORDER_RAYS * _fineness(hits))
    degree = np.bincount(links.one, minlength=links.count) + np.bincount(links.other, minlength=links.count)
    inside = np.where(degree < 4, 0, band)  # rays from the border
    for _ in range(band):
        np.minimum.at(inside, links.one, inside[links.other] + 1)
        np.minimum.at(inside, links.other, inside[links.one] + 1)
    outer = np.minimum(inside[links.one], inside[links.other]) < band / 2
    noise = [float(np.median(np.abs(misfit[chosen]))) if chosen.any() else 0.0 for chosen in (~outer, outer)]
    worst = np.clip((noise[0] / max(noise[1], 1e-9)) ** BORDER_POWER, LEAST_TRUST, 1)
    cosine = np.abs((normal * hits.rays[hits.row, hits.column]).sum(1))
    return (worst + (1 - worst) * inside / band) * np.clip(STEEP_TRUST * cosine, LEAST_TRUST, 1) ** 2


def _rebuild(hits: HitGrid, xray: XRay, depth: np.ndarray, normal: np.ndarray, keep: np.ndarray) -> XRay:
    """The X-Ray with other depths and normals, and only the hits that are kept."""
    place = hits.layer, hits.row, hits.column
    grids = [np.zeros(xray.shape), np.zeros((*xray.shape, 3))]
    for grid, values in zip(grids, (depth, normal), strict=True):
        grid[place] = values
    kept = np.zeros(xray.shape, bool)
    kept[place] = keep
    order, valid = pack_hits(grids[0], kept)
    ordered = nondecreasing(np.take_along_axis(grids[0], order, 0), valid)
    normals, colors = (
        np.take_along_axis(grid, order[..., None], 0) * valid[..., None] for grid in (grids[1], xray.color)
    )
    return XRay(ordered.astype(np.float32), normals.astype(np.float32), colors.astype(np.float32))


def _clean(xray: XRay, camera: Camera) -> XRay:
    """Holes of one ray filled, hits without the partner that their neighbours have taken away, colours at borders."""
    if not xray.hit.any():
        return xray
    hits = HitGrid(xray, camera)
    neighbour = neighbours(hits, match)
    color = _inner_colors(neighbour, xray.color[xray.hit].astype(np.float64))
    keep = ~_lacks_partner(hits, neighbour)
    row, column, depth, normal, tint = _holes(hits, neighbour, color)
    return _from_lists(
        xray.shape,
        np.concatenate([hits.row[keep], row]),
        np.concatenate([hits.column[keep], column]),
        np.concatenate([hits.depth[keep], depth]),
        np.concatenate([hits.normal[keep], normal]),
        np.concatenate([color[keep], tint]),
    )


def _inner_colors(neighbour: np.ndarray, color: np.ndarray) -> np.ndarray:
    """(N, 3) where a hit at a border has the mean colour of its neighbours that are not: a picture's pixels there are
    mixed with the background."""
    inner = np.append((neighbour >= 0).all(0), False)
    counts = inner[neighbour]
    total = (np.append(color, np.zeros((1, 3)), 0)[neighbour] * counts[..., None]).sum(0)
    number = counts.sum(0)
    mixed = ~inner[:-1] & (number > 0)
    return np.where(mixed[:, None], total / np.maximum(number, 1)[:, None], color)


def _lacks_partner(hits: HitGrid, neighbour: np.ndarray) -> np.ndarray:
    """(N,) bool, hits at a border that have no other side on their ray, while all of their neighbours have one."""
    count = len(hits.layer)
    paired = np.append((hits.behind < count) | (hits.before < count), True)
    number = (neighbour >= 0).sum(0)
    return ~paired[:-1] & (number > 0) & (number < 4) & paired[neighbour].all(0)


def _holes(hits: HitGrid, neighbour: np.ndarray, color: np.ndarray) -> tuple[np.ndarray, ...]:
    """Row, column, depth, normal and colour of the hits that are missing between two that lie two rays apart."""
    found: list[tuple[np.ndarray, ...]] = []
    for step, back, rows, columns in ((RIGHT, LEFT, 0, 1), (DOWN, UP, 1, 0)):
        one, other = match(hits, 2 * rows, 2 * columns)
        open_ = (neighbour[step, one] < 0) & (neighbour[back, other] < 0)
        one, other = one[open_], other[open_]
        row, column = hits.row[one] + rows, hits.column[one] + columns
        depth = (hits.predict(one, row, column) + hits.predict(other, row, column)) / 2
        depth = np.clip(depth, *np.sort([hits.depth[one], hits.depth[other]], axis=0))
        normal = hits.normal[one] + hits.normal[other]
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        found.append((row, column, depth, normal, (color[one] + color[other]) / 2))
    row, column, depth, normal, tint = (np.concatenate(parts) for parts in zip(*found, strict=True))
    free = _is_free(hits, row, column, depth, (normal * hits.rays[row, column]).sum(1) > 0)
    return row[free], column[free], depth[free], normal[free], tint[free]


def _is_free(hits: HitGrid, row: np.ndarray, column: np.ndarray, depth: np.ndarray, away: np.ndarray) -> np.ndarray:
    """(K,) bool, places on rays where no hit that faces the same way is near, and no earlier place is the same."""
    there = hits.number[:, row, column]
    reach = np.maximum(LINK_PX * hits.pixel * depth, LINK_LEAST)
    near = np.abs(np.append(hits.depth, np.inf)[there] - depth) < reach
    taken = ((there >= 0) & near & (np.append(hits.away, False)[there] == away)).any(0)
    width = hits.number.shape[2]
    cell = np.round(depth / LINK_LEAST)
    key = ((row * width + column) * 2 + away) * 100_000 + cell.astype(np.int64)
    first = np.zeros(len(key), bool)
    first[np.unique(key, return_index=True)[1]] = True
    return ~taken & first


def _from_lists(shape, row, column, depth, normal, color) -> XRay:
    """The X-Ray of hits in any order; as many layers as the fullest ray has, at least one."""
    ray = row * shape[2] + column
    order = np.lexsort((depth, ray))
    row, column, depth, normal, color, ray = (values[order] for values in (row, column, depth, normal, color, ray))
    layer = np.arange(len(ray)) - np.searchsorted(ray, ray)
    layers = int(layer.max(initial=0)) + 1
    grids = [np.zeros((layers, *shape[1:], *values.shape[1:]), np.float32) for values in (depth, normal, color)]
    for grid, values in zip(grids, (depth, normal, np.clip(color, 0, 1)), strict=True):
        grid[layer, row, column] = values
    return XRay(*grids)
