"""Several X-Rays of one picture: their mean, and how far they differ at each ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError
from .xray import XRay


@dataclass(frozen=True)
class Spread:
    """How far samples of one picture differ at each ray and layer.

    Attributes:
      depth_std: (L, H, W) float32, standard deviation in object units over the samples that hit; 0 where fewer than
        two do.
      hit_frequency: (L, H, W) float32, share of the samples that hit.
    """

    depth_std: np.ndarray
    hit_frequency: np.ndarray


def sample_spread(xrays: Sequence[XRay]) -> Spread:
    """The spread of one or more X-Rays of the same shape. Raises InputError for none, or for different shapes."""
    hit, count = _hits(xrays)
    mean = _mean([xray.depth for xray in xrays], hit, count)
    square = _mean([(xray.depth.astype(np.float64) - mean) ** 2 for xray in xrays], hit, count)
    std = np.where(count > 1, np.sqrt(square), 0)
    return Spread(std.astype(np.float32), (count / len(xrays)).astype(np.float32))


def mean_xray(xrays: Sequence[XRay]) -> XRay:
    """The mean of several X-Rays of the same shape: a hit where at least half of them hit, with the mean depth,
    normal and colour of those that do.

    Layers are averaged by their number. Where samples disagree on the number of surfaces, the mean depths of a ray
    can come out of order; `nondecreasing` mends them.

    Raises:
      InputError: no X-Ray, or different shapes.
    """
    hit, count = _hits(xrays)
    kept = 2 * count >= len(xrays)
    kept &= count > 0
    depth = nondecreasing(_mean([xray.depth for xray in xrays], hit, count), kept)
    normal = _mean([xray.normal for xray in xrays], hit[..., None], count[..., None])
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.where(length > 1e-6, normal / np.maximum(length, 1e-6), xrays[0].normal)
    normal = np.where(np.linalg.norm(normal, axis=-1, keepdims=True) > 0.5, normal, (0, 0, 1)) * kept[..., None]
    color = _mean([xray.color for xray in xrays], hit[..., None], count[..., None]) * kept[..., None]
    return XRay(depth.astype(np.float32), normal.astype(np.float32), color.astype(np.float32)).validate("mean X-Ray")


def nondecreasing(depth: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """(L, H, W) float64 depths in an order that does not decrease along rays; depths already in order stay.

    Each becomes the mean of the largest depth up to it and of the least depth from it on. Misses become 0.

    Args:
      depth: (L, H, W); hit: (L, H, W) bool, packed to the front.
    """
    depth = depth.astype(np.float64)
    largest = np.maximum.accumulate(np.where(hit, depth, -np.inf), axis=0)
    least = np.minimum.accumulate(np.where(hit, depth, np.inf)[::-1], axis=0)[::-1]
    middle = (np.where(hit, largest, 0) + np.where(hit, least, 0)) / 2
    return np.where(largest == least, depth, middle) * hit


def _hits(xrays: Sequence[XRay]) -> tuple[np.ndarray, np.ndarray]:
    """(N, L, H, W) bool and (L, H, W) number of samples that hit."""
    shapes = {xray.shape for xray in xrays}
    if len(shapes) != 1:
        raise InputError(f"X-Rays of shapes {sorted(shapes)}: expected one shape and at least one X-Ray")
    hit = np.stack([xray.hit for xray in xrays])
    return hit, hit.sum(0)


def _mean(values: list[np.ndarray], hit: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Mean over the samples that hit; 0 where none does."""
    total = np.zeros(np.broadcast_shapes(values[0].shape, count.shape))
    for value, own in zip(values, hit, strict=True):
        total += np.where(own, value, 0)
    return total / np.maximum(count, 1)
