"""The hits of an X-Ray as lists, and what each knows of its surroundings."""

from __future__ import annotations

import numpy as np

from .camera import Camera
from .representation import XRay

MAX_SLOPE = 30.0
"""Depth change a ray, in pixel widths, above which a tangent plane predicts nothing and counts with this slope."""


class Hits:
    """The hits of an X-Ray as lists, and where each stands.

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
