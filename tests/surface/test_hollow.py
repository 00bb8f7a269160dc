"""The sides of hollow objects: where a prediction leaves front and back apart, the outer wall goes around."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.analytic import sphere_points, sphere_xray
from scipy import ndimage

from xray.core.camera import Camera
from xray.core.xray import XRay
from xray.metrics.clouds import chamfer
from xray.surface.hollow import close_sides
from xray.surface.surface import to_surface

RADII = (0.5, 0.44)


def shell(width: int) -> tuple[XRay, Camera]:
    """A hollow sphere; its normals look out of the wall, towards the camera and away in turn."""
    xray, camera = sphere_xray(RADII, width)
    away = (xray.normal * camera.rays()).sum(-1) > 0
    wrong = xray.hit & (away != (np.arange(4)[:, None, None] % 2 == 1))
    return XRay(xray.depth, np.where(wrong[..., None], -xray.normal, xray.normal), xray.color).validate(), camera


def as_predicted(exact: XRay, rays: int) -> XRay:
    """The hollow ends so many rays too early, and around it the second hit lies between the two that it may be."""
    hollow = ndimage.binary_erosion(exact.hit[3], iterations=rays)
    around = exact.hit[1] & ~hollow
    _, nearest = ndimage.distance_transform_edt(~hollow, return_indices=True)
    depth, normal, color = exact.depth.copy(), exact.normal.copy(), exact.color.copy()
    between = (depth[1][tuple(nearest)] + depth[3][tuple(nearest)]) / 2
    depth[1] = np.where(around, np.maximum(between, depth[0]), depth[1])
    for grid in (depth, normal, color):
        grid[2:, ~hollow] = 0
    return XRay(depth, normal, color).validate()


def distance(xray: XRay, camera: Camera) -> float:
    """Chamfer distance of the fitted mesh to the shell."""
    points = to_surface(xray, camera, "fitted", "world").to_trimesh().sample(20_000, seed=0)
    return chamfer(np.asarray(points), sphere_points(RADII, 20_000))


@pytest.mark.parametrize("width", [64, 128])
def test_front_and_back_of_a_hollow_sphere_meet(width, monkeypatch):
    exact, camera = shell(width)
    predicted = as_predicted(exact, 2 * width // 64)
    closed, of_exact = distance(predicted, camera), distance(exact, camera)
    pieces = to_surface(predicted, camera, "fitted").piece_shares()
    monkeypatch.setattr("xray.surface.fit.close_sides", lambda xray, camera: xray)
    left_open, plain = distance(predicted, camera), distance(exact, camera)
    assert closed < 0.85 * left_open
    assert of_exact < 1.06 * plain  # what was right already stays nearly as it was
    halves = to_surface(predicted, camera, "fitted").piece_shares()
    assert halves[0] == pytest.approx(0.7, abs=0.02)  # the half in front is larger: the one behind lacks its sides
    assert pieces[0] == pytest.approx(0.57, abs=0.02) or pieces[0] > 0.99  # outside and inside, or both as one


@pytest.mark.parametrize(("left", "right"), [(16, 18), (16, 46)], ids=["post", "box"])
def test_what_stands_behind_a_board_does_not_move_it(left, right):
    """A board's edge has two hits between the outline and what is behind, and they stay where they are."""
    depth = np.zeros((4, 64, 64), np.float32)
    depth[:2, 10:50, 12:50] = np.array([1.2, 1.25])[:, None, None]
    depth[2:, 10:50, left:right] = np.array([1.6, 1.9])[:, None, None]
    normal = np.zeros((*depth.shape, 3), np.float32)
    normal[..., 2] = np.array([1, -1, 1, -1])[:, None, None] * (depth > 0)
    board = XRay(depth, normal, np.zeros_like(normal)).validate()
    assert np.array_equal(close_sides(board, Camera(64, 64)).depth, depth)


@pytest.mark.parametrize("layers", [0, 2, 4])
def test_without_a_hollow_nothing_is_done(layers):
    exact, camera = sphere_xray([0.5], 32)
    grids = [np.zeros((layers, *grid.shape[1:]), np.float32) for grid in (exact.depth, exact.normal, exact.color)]
    for grid, values in zip(grids, (exact.depth, exact.normal, exact.color), strict=True):
        grid[:2] = values[:layers]
    xray = XRay(*grids)
    assert np.array_equal(close_sides(xray, camera).depth, xray.depth)
