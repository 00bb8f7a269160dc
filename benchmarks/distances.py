"""Chamfer distance of two large clouds against plain scipy KD-trees with one worker, in one run.

python benchmarks/distances.py [--points 500000]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from xray.cli import entry
from xray.metrics import Pairing


def cloud(count: int, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Points on a sphere of radius 0.5 with noise, in random order."""
    points = rng.normal(size=(count, 3))
    points *= 0.5 / np.linalg.norm(points, axis=1, keepdims=True)
    return points + rng.normal(size=points.shape) * noise


@entry
def main(arguments: list[str] | None = None) -> None:
    """Print both times, their ratio and the largest difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=500_000)
    count = parser.parse_args(arguments).points
    rng = np.random.default_rng(0)
    one, other = cloud(count, rng, 0), cloud(count, rng, 0.003)
    Pairing.of(one, other)  # kernels load once
    start = time.perf_counter()
    plain = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
    middle = time.perf_counter()
    pairing = Pairing.of(one, other)
    end = time.perf_counter()
    found = pairing.to_truth.distance, pairing.to_prediction.distance
    difference = max(np.abs(a - b).max() for a, b in zip(plain, found, strict=True))
    sys.stdout.write(
        f"{count} points both ways: scipy {middle - start:.2f} s, here {end - middle:.2f} s, "
        f"{(middle - start) / (end - middle):.1f} times faster; largest difference {difference:.1e}\n"
    )


if __name__ == "__main__":
    sys.exit(main())
