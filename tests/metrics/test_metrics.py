"""Distances equal brute force, follow their definitions, and are defined for every input."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers.analytic import sphere_points, sphere_xray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from xray.common.errors import InputError
from xray.metrics.alignment import align
from xray.metrics.clouds import THRESHOLDS, Pairing, assign, chamfer, earth_movers, score
from xray.metrics.layer_scores import score_layers
from xray.metrics.nearest import GRID_POINTS, MISSING_DISTANCE, nearest, nearest_both

NONE = np.zeros((0, 3))


def test_nearest_equals_brute_force_and_scipy():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(400, 3)), rng.normal(size=(300, 3)) * (1, 1e-3, 0)
    brute = np.linalg.norm(source[:, None] - target[None], axis=2)
    found = nearest(source, target)
    assert np.abs(found.distance - brute.min(1)).max() < 1e-12
    assert np.array_equal(found.index, brute.argmin(1))
    one, other = sphere_points([0.5], 20000, 1), sphere_points([0.5, 0.4], 30000, 2)
    assert np.abs(nearest(one, other).distance - cKDTree(other).query(one)[0]).max() < 1e-9


def large_clouds(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds that are large enough for the grid."""
    rng = np.random.default_rng(7)
    count = GRID_POINTS
    if kind == "surfaces":
        return sphere_points([0.5], count, 1) + rng.normal(size=(count, 3)) * 0.002, sphere_points([0.5], count, 2)
    if kind == "apart":  # most points are beyond the rings of cells that the grid searches
        return rng.random((count, 3)) * (1, 1, 0.01), rng.random((count, 3)) * (1, 1, 0.01) + (0, 0, 0.3)
    if kind == "line":
        return rng.random((count, 3)) * (1, 0, 0), rng.random((count, 3)) * (1, 0, 0)
    stretched = rng.random((count, 3))
    stretched[0] = 1e6
    return stretched, rng.random((count, 3))


@pytest.mark.parametrize("kind", ["surfaces", "apart", "line", "outlier"])
def test_grid_of_large_clouds_equals_a_tree(kind):
    one, other = large_clouds(kind)
    ways = nearest_both(one, other)
    for found, source, target in zip(ways, (one, other), (other, one), strict=True):
        assert np.abs(found.distance - cKDTree(target).query(source)[0]).max() < 1e-9
        assert np.allclose(np.linalg.norm(source - target[found.index], axis=1), found.distance, atol=1e-12)


@pytest.mark.parametrize("count", [400, 4000])
def test_points_at_one_place_are_found_once_and_count_each(count):
    rng = np.random.default_rng(4)
    truth = sphere_points([0.5], 3000, 1)
    few = rng.random((5, 3))[rng.integers(0, 5, count)]
    half = np.concatenate([truth[:count], np.tile([[0.1, 0.2, 0.3]], (count, 1))])
    for crowd in (np.tile([[0.1, 0.2, 0.3]], (count, 1)), few, half, half * (1, 1, 0)):
        for found, source, target in zip(nearest_both(crowd, truth), (crowd, truth), (truth, crowd), strict=True):
            assert np.abs(found.distance - cdist(source, target).min(1)).max() < 1e-9
            assert np.abs(np.linalg.norm(source - target[found.index], axis=1) - found.distance).max() < 1e-9


def test_metrics_of_shifted_grid():
    grid = np.stack(np.meshgrid(*[np.arange(4) * 0.5] * 3), -1).reshape(-1, 3)
    values = score(grid + (0.03, 0, 0), grid, np.tile([0.0, 0, 1], (64, 1)), np.tile([0.0, 0, -1], (64, 1)))
    assert values["chamfer"] == pytest.approx(0.06)
    assert values["chamfer_half"] == pytest.approx(0.03)
    assert values["chamfer_squared"] == pytest.approx(2 * 0.03**2)
    assert [values[f"fscore@{t:g}"] for t in THRESHOLDS] == [0, 0, 1, 1]
    assert values["emd"] == pytest.approx(0.03)
    assert values["normal_consistency"] == pytest.approx(1)
    assert values["degenerate"] == ""


def test_f_score_weighs_precision_and_recall():
    truth = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]])
    pairing = Pairing.of(truth[:1], truth)
    assert pairing.f_score(0.1) == pytest.approx(2 * 1 * 0.25 / 1.25)
    assert pairing.chamfer() == pytest.approx(0 + (0 + 1 + 2 + 3) / 4)


def test_emd_is_the_best_assignment():
    rng = np.random.default_rng(3)
    points = rng.normal(size=(50, 3))
    assert earth_movers(points, points[rng.permutation(50)], count=50) == pytest.approx(0, abs=1e-12)
    one, other = np.array([[0.0, 0, 0], [0, 0, 0], [1, 0, 0]]), np.array([[0.0, 0, 0], [1, 0, 0], [1, 0, 0]])
    assert earth_movers(one, other, count=3) == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", ["near", "apart", "random", "equal", "one far"])
def test_assignment_is_that_of_scipy(kind):
    rng = np.random.default_rng(11)
    one, other = rng.normal(size=(2, 300, 3))
    one = {"near": other + 0.01 * one, "apart": one + 5, "random": one, "equal": other * 0, "one far": one * 1}[kind]
    if kind == "one far":
        one[0] = 1e3
    cost = cdist(one, other)
    found = assign(cost)
    assert sorted(found) == list(range(300))
    assert cost[np.arange(300), found].sum() == pytest.approx(cost[linear_sum_assignment(cost)].sum(), rel=1e-12)
    assert assign(np.zeros((4, 4))).tolist() != []


def test_degenerate_clouds_have_a_defined_score():
    cloud = sphere_points([0.5], 100)
    broken = cloud.copy()
    broken[:50] = np.nan
    assert chamfer(NONE, cloud) == chamfer(cloud, NONE) == pytest.approx(2 * MISSING_DISTANCE)
    assert chamfer(broken[:50], cloud) == pytest.approx(2 * MISSING_DISTANCE)
    assert nearest(broken, cloud).distance.mean() == pytest.approx(MISSING_DISTANCE / 2)
    for prediction, reason in ((NONE, "no points"), (broken, "50 of 100"), (cloud[:1], "one point")):
        normals = np.ones_like(prediction) / math.sqrt(3)
        values = score(prediction, cloud, normals, cloud * 2)
        assert all(math.isfinite(value) for value in values.values() if not isinstance(value, str))
        assert reason in values["degenerate"]
    both = score(NONE, NONE, NONE, NONE)
    assert (both["chamfer"], both["fscore@0.01"], both["emd"], both["normal_consistency"]) == (0, 1, 0, 1)
    with pytest.raises(InputError, match="expected"):
        chamfer(np.zeros((3, 2)), cloud)


def test_alignments_undo_what_they_claim():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(4000, 3)) * (0.3, 0.2, 0.1)
    turn = Rotation.from_rotvec([0.004, -0.006, 0.008]).as_matrix()
    moved = 1.3 * truth @ turn.T + (0.2, 0.1, 0)
    shifted = truth + (0.2, 0, 0)
    assert chamfer(align(shifted, truth, "mean").points(shifted), truth) < 1e-9
    assert chamfer(align(moved, truth, "icp").points(moved), truth) < 1e-3 < chamfer(moved, truth)
    best = chamfer(align(moved, truth, "best").points(moved), truth)
    assert best == min(chamfer(align(moved, truth, name).points(moved), truth) for name in ("none", "mean", "icp"))
    assert np.array_equal(align(NONE, truth, "icp").points(truth), truth)
    with pytest.raises(InputError, match="alignment"):
        align(truth, truth, "procrustes")


def test_layers_know_hidden_from_seen():
    truth, _ = sphere_xray([0.5, 0.3], 32)
    wrong = truth.depth.copy()
    wrong[1:][truth.hit[1:]] += 0.02
    values = score_layers(type(truth)(wrong, truth.normal, truth.color), truth)
    assert values["layer_depth_error"][0] == 0
    assert values["hidden_depth_error"] == pytest.approx(0.02, abs=1e-6)
    assert values["hit_iou"] == values["hidden_hit_iou"] == 1
    half = score_layers(truth.keep(4), type(truth)(truth.depth * 0, truth.normal * 0, truth.color * 0))
    assert (half["depth_error"], half["hit_iou"]) == (None, 0)
    with pytest.raises(InputError, match="shape"):
        score_layers(truth, truth.keep(2))
