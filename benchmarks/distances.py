"""Nearest neighbours of two large clouds, both ways: the grid of `xray.metrics` against scipy's KD-trees, in one run.

python benchmarks/distances.py [--points 500000]

Evaluation scores one sample a core, so the CPU seconds count; the seconds of the clock are for a quiet machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import numpy as np
from scipy.spatial import cKDTree

from xray.common.cli import entry
from xray.metrics.nearest import nearest_both


def cloud(count: int, rng: np.random.Generator, noise: float) -> np.ndarray:
    """Points on a sphere of radius 0.5 with noise, in random order."""
    points = rng.normal(size=(count, 3))
    points *= 0.5 / np.linalg.norm(points, axis=1, keepdims=True)
    return points + rng.normal(size=points.shape) * noise


def plain(one: np.ndarray, other: np.ndarray, workers: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances both ways by scipy alone."""
    return cKDTree(other).query(one, workers=workers)[0], cKDTree(one).query(other, workers=workers)[0]


@entry
def main(arguments: list[str] | None = None) -> None:
    """Print the seconds of each way, and the largest difference of ours to scipy's distances."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=500_000)
    count = parser.parse_args(arguments).points
    rng = np.random.default_rng(0)
    one, other = cloud(count, rng, 0), cloud(count, rng, 0.003)
    nearest_both(one, other)  # kernels load once
    ways: dict[str, Callable] = {
        "scipy, one thread": lambda: plain(one, other, 1),
        "scipy, every core": lambda: plain(one, other, -1),
        "here": lambda: tuple(way.distance for way in nearest_both(one, other)),
    }
    found = {}
    for name, measure in ways.items():
        start, cpu = time.perf_counter(), time.process_time()
        found[name] = measure()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        sys.stdout.write(f"{name}: {cpu:.2f} CPU s, {seconds:.2f} s\n")
    difference = max(np.abs(a - b).max() for a, b in zip(*list(found.values())[1:], strict=True))
    sys.stdout.write(f"{count} points both ways; largest difference {difference:.1e}\n")


if __name__ == "__main__":
    sys.exit(main())
