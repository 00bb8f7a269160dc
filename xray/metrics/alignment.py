"""Moving a prediction onto the truth before it is scored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from ..common.errors import InputError
from .clouds import chamfer

ALIGNMENTS = ("none", "mean", "icp", "best")
"""As given; both clouds mean-centred; mean-centred, scaled and registered as published; the nearest of these."""

ICP_RADIUS = 0.01
ICP_ITERATIONS = 2000


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation x + shift, with rotation (3, 3) and shift (3,) float64."""

    scale: float
    rotation: np.ndarray
    shift: np.ndarray

    def points(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) moved points."""
        return self.scale * points @ self.rotation.T + self.shift

    def normals(self, normals: np.ndarray) -> np.ndarray:
        """(N, 3) turned normals."""
        return normals @ self.rotation.T


IDENTITY = Similarity(1.0, np.eye(3), np.zeros(3))


def align(prediction: np.ndarray, truth: np.ndarray, method: str = "none") -> Similarity:
    """The transform of the prediction that `method` asks for.

    "mean" moves the prediction's mean onto the truth's. "icp" is the published protocol for other methods'
    outputs: mean-centred, scaled by the ratio of mean |coordinate|, then point-to-point ICP (Besl and McKay 1992)
    with correspondences within 0.01, from the identity, at most 2,000 iterations. "best" is whichever of none,
    mean and icp has the least Chamfer distance. Points that are not finite take no part; where either cloud has
    none that is, nothing moves.

    Args:
      prediction, truth: (N, 3), (M, 3).
    Raises:
      InputError: unknown method.
    """
    if method not in ALIGNMENTS:
        raise InputError(f"alignment {method!r}: expected one of {', '.join(ALIGNMENTS)}")
    prediction, truth = (points[np.isfinite(points).all(1)] for points in (prediction, truth))
    if method == "none" or not len(prediction) or not len(truth):
        return IDENTITY
    if method == "best":
        candidates = [align(prediction, truth, name) for name in ("none", "mean", "icp")]
        return min(candidates, key=lambda moved: chamfer(moved.points(prediction), truth))
    centre, target = prediction.mean(0), truth.mean(0)
    if method == "mean":
        return Similarity(1.0, np.eye(3), target - centre)
    spread = np.abs(prediction - centre).mean()
    scale = np.abs(truth - target).mean() / spread if spread > 0 else 1.0
    turn = icp((prediction - centre) * scale, truth - target)
    return Similarity(scale, turn.rotation, turn.shift + target - scale * turn.rotation @ centre)


def icp(
    source: np.ndarray,
    target: np.ndarray,
    radius: float = ICP_RADIUS,
    iterations: int = ICP_ITERATIONS,
) -> Similarity:
    """Rigid point-to-point ICP from the identity.

    Ends when the share of matched points and their root mean square distance both change by less than 1e-6.
    """
    tree = cKDTree(target)
    rotation, shift = np.eye(3), np.zeros(3)
    before = (0.0, 0.0)
    for _ in range(iterations):
        moved = source @ rotation.T + shift
        distance, row = tree.query(moved, distance_upper_bound=radius)
        matched = np.isfinite(distance)
        if matched.sum() < 3:
            break
        now = (float(matched.mean()), float(np.sqrt((distance[matched] ** 2).mean())))
        if abs(now[0] - before[0]) < 1e-6 and abs(now[1] - before[1]) < 1e-6:
            break
        before = now
        rotation, shift = rigid_fit(source[matched], target[row[matched]])
    return Similarity(1.0, rotation, shift)


def rigid_fit(source: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (3, 3) and shift (3,) of least squares between paired points (Kabsch 1976)."""
    source_mean, target_mean = source.mean(0), target.mean(0)
    left, _, right = np.linalg.svd((source - source_mean).T @ (target - target_mean))
    mirror = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left @ mirror @ right).T
    return rotation, target_mean - rotation @ source_mean
