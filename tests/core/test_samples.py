"""The mean of several X-Rays, and how far they differ at each ray."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.analytic import sphere_points, sphere_xray
from helpers.made_xrays import random_xray

from xray.common.errors import InputError
from xray.core.points import PointCloud, to_points
from xray.core.samples import mean_xray, nondecreasing, sample_spread
from xray.core.xray import XRay
from xray.metrics.clouds import chamfer
from xray.metrics.protocols import score_samples


def shifted(xray: XRay, by: float) -> XRay:
    return XRay((xray.depth + by * xray.hit).astype(np.float32), xray.normal, xray.color)


def test_one_sample_is_its_own_mean_and_does_not_spread():
    xray = random_xray(3)
    mean, spread = mean_xray([xray]), sample_spread([xray])
    assert np.allclose(mean.to_array(), xray.to_array(), atol=1e-6)
    assert not spread.depth_std.any()
    assert np.array_equal(spread.hit_frequency, xray.hit)


def test_spread_is_the_standard_deviation_over_the_samples_that_hit():
    one = random_xray(0)
    less = one.depth.copy()
    last = one.hit & ~np.concatenate([one.hit[1:], np.zeros_like(one.hit[:1])])
    less[last] = 0
    kept = (less > 0)[..., None]
    samples = [one, shifted(one, 0.3), XRay(less, one.normal * kept, one.color * kept)]
    spread = sample_spread(samples)
    both, all_three = spread.depth_std[last], spread.depth_std[less > 0]
    assert np.allclose(both, 0.15, atol=1e-5)
    assert np.allclose(all_three, np.std([0, 0.3, 0]), atol=1e-5)
    assert np.allclose(spread.hit_frequency[last], 2 / 3)
    assert not spread.hit_frequency[~one.hit].any()


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_mean_is_valid_and_keeps_what_half_of_the_samples_hit(count):
    samples = [random_xray(seed, layers=5, height=9, width=7) for seed in range(count)]
    mean = mean_xray(samples)
    share = np.mean([sample.hit for sample in samples], axis=0)
    assert np.array_equal(mean.hit, share >= 0.5)
    low = np.min([np.where(sample.hit, sample.depth, np.inf) for sample in samples], axis=0)
    assert (mean.depth[mean.hit] > 0.99 * low.min(0)[np.nonzero(mean.hit)[1:]]).all()


def test_depths_in_order_stay_and_others_change_least():
    hit = np.ones((3, 1, 2), bool)
    depth = np.array([[[1.0, 1.0]], [[2.0, 3.0]], [[3.0, 2.0]]])
    assert np.array_equal(nondecreasing(depth, hit)[:, 0], [[1, 1], [2, 2.5], [3, 2.5]])
    hit[2] = False
    assert np.array_equal(nondecreasing(depth, hit)[:, 0], [[1, 1], [2, 3], [0, 0]])


def test_shapes_that_differ_and_no_sample_are_errors():
    for wrong in ([], [random_xray(0), random_xray(0, layers=3)]):
        with pytest.raises(InputError, match="one shape"):
            mean_xray(wrong)
        with pytest.raises(InputError, match="one shape"):
            sample_spread(wrong)


def test_scores_of_samples_are_those_of_each_and_of_their_mean():
    xray, camera = sphere_xray([0.5], 24)
    samples = [shifted(xray, by) for by in (-0.1, 0.04, 0.12)]
    points = sphere_points([0.5], 2000)
    truth = PointCloud(points, points * 2, np.zeros((2000, 3), np.float32))
    scores = score_samples(samples, camera, truth)
    own = [chamfer(to_points(sample, camera, "world").points, points) for sample in samples]
    assert scores["best"] == min(own) == own[1]
    assert scores["mean"] == pytest.approx(np.mean(own))
    centred = shifted(xray, 0.02)
    assert scores["mean_sample"] == pytest.approx(chamfer(to_points(centred, camera, "world").points, points), abs=1e-5)
