"""The exact best one-to-one assignment, helped by approximate prices that leave its answer as it is."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

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
    """(N,) of the rows and (N,) of the columns; their sums are nowhere above the cost."""
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
