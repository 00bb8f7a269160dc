"""How near two shapes are: metrics of point clouds, defined for every input.

Distances are Euclidean, in object units (the longest side of the object is 1). Every function takes (N, 3) arrays.
Points that cannot be compared have a defined distance, so that no sample drops out of a mean: a point that is not
finite, and every point whose other cloud has no finite point, counts with `MISSING_DISTANCE`. Two clouds without
any point are equal (distance 0, F-score 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from .nearest import MISSING_DISTANCE, Nearest, check_cloud, nearest_both

SMOOTHING = 0.03
"""Entropy of the approximate problem, as a share of the mean cost."""

ROUNDS = 60


def assign(cost: np.ndarray) -> np.ndarray:
    """(N,) columns, one a row, of least total cost.

    scipy's solver is exact, but slow where the clouds lie apart. Subtracting a price from each row and column changes
    every assignment's total by the same amount; prices near the optimum's, from Sinkhorn's iteration (Cuturi 2013,
    https://arxiv.org/abs/1306.0895), leave it little to do.

    Args:
      cost: (N, N) finite.
    """
    rows, columns = _prices(cost)
    return linear_sum_assignment(cost - rows[:, None] - columns)[1]


def _prices(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Prices (N,) of the rows and (N,) of the columns; no sum of two is above the cost of its row and column."""
    scale = SMOOTHING * float(cost.mean())
    rows = np.zeros(len(cost))
    if scale > 0:
        kernel = np.exp((cost.min() - cost) / scale)
        rows = np.ones(len(cost))
        for _ in range(ROUNDS):
            columns = 1 / np.maximum(kernel.T @ rows, 1e-300)
            rows = 1 / np.maximum(kernel @ columns, 1e-300)
        rows = scale * np.log(np.maximum(rows, 1e-300))
    columns = (cost - rows[:, None]).min(0)
    return (cost - columns).min(1), columns


THRESHOLDS = (0.01, 0.02, 0.05, 0.1)
"""Distances at which the F-score is taken."""

HIDDEN_THRESHOLD = 0.05
"""Distance at which the F-score of the hidden surfaces alone is taken."""

EMD_POINTS = 2048
"""Points of each cloud that the earth mover's distance matches."""

DEFINITIONS = {
    "chamfer": "mean distance from a predicted point to the nearest true one, plus the same the other way; unsquared",
    "chamfer_half": "half of chamfer: the mean of both ways instead of their sum",
    "chamfer_squared": "as chamfer, with squared distances",
    "fscore@T": "2 P R / (P + R); P: share of predicted points within T of a true one, R: the other way",
    "emd": f"mean distance in the best one-to-one assignment of {EMD_POINTS} points of each cloud (exact), drawn at "
    "random without replacement; smaller clouds are repeated",
    "normal_consistency": "mean |cosine| between a point's normal and its nearest point's, mean of both ways",
    "degenerate": f"why points count with distance {MISSING_DISTANCE:.4f} instead of their own: none, or not finite",
}
"""What each number means; written into every file of results."""


@dataclass(frozen=True)
class Pairing:
    """Nearest points both ways between a prediction and the truth; all the metrics below follow from it."""

    to_truth: Nearest
    to_prediction: Nearest

    @classmethod
    def of(cls, prediction: np.ndarray, truth: np.ndarray, workers: int = 1) -> Pairing:
        """Pair two (N, 3) and (M, 3) clouds."""
        return cls(*nearest_both(prediction, truth, workers))

    @property
    def empty(self) -> bool:
        """Whether neither cloud has a point."""
        return not (len(self.to_truth.distance) or len(self.to_prediction.distance))

    def chamfer(self, power: int = 1) -> float:
        """Mean of distance**power from the prediction to the truth plus the same from truth to prediction.

        power 1 is the unsquared sum of means used throughout; 2 the squared form of Fan et al. 2017
        (https://arxiv.org/abs/1612.00603), eq. 5, with means for sums.
        """
        return 0.0 if self.empty else sum(_mean(way.distance**power, MISSING_DISTANCE**power) for way in self._ways())

    def f_score(self, threshold: float) -> float:
        """Harmonic mean of precision and recall at a distance (Knapitsch et al. 2017, Tanks and Temples, eq. 5)."""
        if self.empty:
            return 1.0
        precision, recall = (_mean(way.distance < threshold, 0.0) for way in self._ways())
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0

    def normal_consistency(self, prediction: np.ndarray, truth: np.ndarray) -> float:
        """Mean |cosine| between normals of nearest points, mean of both ways (Mescheder et al. 2019, Occupancy
        Networks, section 4). Points without a partner count 0.

        Args:
          prediction, truth: (N, 3), (M, 3) unit normals of the paired clouds.
        """
        if self.empty:
            return 1.0
        ways = []
        for way, own, other in ((self.to_truth, prediction, truth), (self.to_prediction, truth, prediction)):
            paired = way.index >= 0
            cosine = np.zeros(len(own))
            cosine[paired] = np.abs((own[paired] * other[way.index[paired]]).sum(1))
            ways.append(_mean(np.nan_to_num(cosine), 0.0))
        return sum(ways) / 2

    def _ways(self) -> tuple[Nearest, Nearest]:
        return self.to_truth, self.to_prediction


def chamfer(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Sum of the mean nearest distances both ways, unsquared."""
    return Pairing.of(prediction, truth).chamfer()


def earth_movers(prediction: np.ndarray, truth: np.ndarray, count: int = EMD_POINTS, seed: int = 0) -> float:
    """Mean distance of the best one-to-one assignment of `count` points of each cloud (Fan et al. 2017, eq. 6).

    The assignment is exact. Points are drawn by a generator of `seed`, without replacement; a cloud with fewer is
    repeated until there are enough.
    """
    prediction, truth = check_cloud(prediction), check_cloud(truth)
    if not len(prediction) and not len(truth):
        return 0.0
    if not len(prediction) or not len(truth):
        return MISSING_DISTANCE
    left, right = (_draw(points, count, np.random.default_rng(seed)) for points in (prediction, truth))
    cost = cdist(left, right)
    cost[~np.isfinite(cost)] = MISSING_DISTANCE
    return float(cost[np.arange(count), assign(cost)].mean())


def score(
    prediction: np.ndarray,
    truth: np.ndarray,
    prediction_normals: np.ndarray | None = None,
    truth_normals: np.ndarray | None = None,
    emd: bool = True,
    workers: int = 1,
) -> dict[str, float | str]:
    """Every metric of `DEFINITIONS` for one pair of clouds.

    Returns:
      name -> value; normal_consistency only where both clouds have normals; "degenerate" is "" or the reason.
    """
    pairing = Pairing.of(prediction, truth, workers)
    values: dict[str, float | str] = {
        "chamfer": pairing.chamfer(),
        "chamfer_half": pairing.chamfer() / 2,
        "chamfer_squared": pairing.chamfer(power=2),
        **{f"fscore@{threshold:g}": pairing.f_score(threshold) for threshold in THRESHOLDS},
    }
    if emd:
        values["emd"] = earth_movers(prediction, truth)
    if prediction_normals is not None and truth_normals is not None:
        values["normal_consistency"] = pairing.normal_consistency(prediction_normals, truth_normals)
    values["degenerate"] = "; ".join(filter(None, (_defect("prediction", prediction), _defect("truth", truth))))
    return values


def score_hidden(prediction: np.ndarray, truth: np.ndarray, workers: int = 1) -> dict[str, float]:
    """The numbers of hidden surfaces alone, from their points (N, 3) and (M, 3)."""
    pairing = Pairing.of(prediction, truth, workers)
    return {
        "hidden_chamfer": pairing.chamfer(),
        f"hidden_fscore@{HIDDEN_THRESHOLD:g}": pairing.f_score(HIDDEN_THRESHOLD),
    }


def _defect(name: str, points: np.ndarray) -> str:
    points = check_cloud(points)
    broken = int((~np.isfinite(points).all(1)).sum())
    if not len(points):
        return f"{name} has no points"
    if broken:
        return f"{name} has {broken} of {len(points)} points that are not finite"
    return f"{name} has one point" if len(points) == 1 else ""


def _mean(values: np.ndarray, missing: float) -> float:
    return float(values.mean()) if len(values) else missing


def _draw(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    repeats = -(-count // len(points))
    rows = np.concatenate([rng.permutation(len(points)) for _ in range(repeats)])[:count]
    return points[rows]
