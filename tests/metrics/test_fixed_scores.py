"""Every number of both protocols, under every alignment, of one fixed prediction: they never change unnoticed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.analytic import EYE, sphere_points, sphere_xray

from xray.core.points import PointCloud
from xray.core.xray import XRay
from xray.metrics.alignment import ALIGNMENTS
from xray.metrics.protocols import score_xray

TRUE_RADII, PREDICTED_RADII = (0.5, 0.3), (0.48, 0.31)


def scores(alignment: str) -> dict[str, float | None]:
    """{"protocol metric": value} of two nested spheres predicted a little too small and with a layer of noise."""
    stored, camera = sphere_xray(TRUE_RADII, 48)
    fitted = stored.subsample(2)
    spheres, _ = sphere_xray(PREDICTED_RADII, 24)
    wave = 0.01 * np.sin(np.arange(spheres.depth.size)).astype(np.float32).reshape(spheres.depth.shape)
    depth = np.sort(np.where(spheres.hit, spheres.depth + wave, np.inf), axis=0)
    depth = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    prediction = XRay(depth, spheres.normal, spheres.color).validate("the prediction")
    points = sphere_points(TRUE_RADII, 800, seed=3)
    length = np.linalg.norm(points, axis=1, keepdims=True)
    surface = PointCloud(points, points / length, np.zeros((len(points), 3), np.float32))
    hidden = (length[:, 0] < 0.4) | (points @ np.array(EYE) < 0)
    values = score_xray(prediction, fitted, stored, camera, surface, alignment, alignment == "none", hidden)
    flat = {}
    for protocol, numbers in values.items():
        for name, value in numbers.items():
            if isinstance(value, list):
                flat |= {f"{protocol} {name}@{layer + 1}": number for layer, number in enumerate(value)}
            elif not isinstance(value, str):
                flat[f"{protocol} {name}"] = value
    return flat


NUMBERS = json.loads((Path(__file__).parent / "fixed_scores.json").read_text())
"""Metric -> its value under each of `ALIGNMENTS`; one value where alignment plays no part, and of the earth mover's
distance, which takes seconds, without alignment alone."""


@pytest.fixture(scope="module")
def measured():
    return [scores(alignment) for alignment in ALIGNMENTS]


def test_no_number_is_missing(measured):
    assert set(NUMBERS) <= set(measured[0])
    assert all({name for name in NUMBERS if not name.endswith(" emd")} <= set(values) for values in measured[1:])


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_as_it_was_to_seven_digits(measured, name):
    values = [row[name] for row in measured if name in row]
    assert values == pytest.approx(NUMBERS[name] * (len(values) // len(NUMBERS[name])), rel=1e-7, abs=1e-12)
