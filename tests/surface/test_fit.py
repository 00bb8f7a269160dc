"""Surfaces of predictions: noise from ray to ray goes, the shape stays, front and back meet at the outline."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh
from helpers.analytic import plane_xray, sphere_points, sphere_xray
from scipy import ndimage

from xray.core.camera import Camera
from xray.core.points import to_points
from xray.core.samples import nondecreasing
from xray.core.xray import XRay, pack_hits
from xray.metrics.clouds import chamfer
from xray.surface.fit import WALL, fit
from xray.surface.surface import to_surface


def as_predicted(xray: XRay, camera: Camera, noise_px: float, seed: int = 0) -> XRay:
    """Depths with noise of so many pixel widths, normals with a tenth of noise."""
    rng = np.random.default_rng(seed)
    hit = xray.hit
    depth = xray.depth + rng.normal(0, noise_px, hit.shape) * xray.depth / camera.focal_px
    normal = xray.normal + rng.normal(0, 0.1, (*hit.shape, 3))
    normal = normal / np.linalg.norm(normal, axis=-1, keepdims=True) * hit[..., None]
    return XRay(nondecreasing(depth, hit).astype(np.float32), normal.astype(np.float32), xray.color).validate()


def without(xray: XRay, lost: np.ndarray) -> XRay:
    """The X-Ray without some of its hits."""
    order, valid = pack_hits(xray.depth, xray.hit & ~lost)
    depth = np.take_along_axis(xray.depth, order, 0) * valid
    normal, color = (
        np.take_along_axis(values, order[..., None], 0) * valid[..., None] for values in (xray.normal, xray.color)
    )
    return XRay(depth, normal, color).validate()


def test_pieces_and_borders_of_a_surface():
    one, camera = plane_xray(slope=0.0)
    two = XRay(*(np.concatenate([values, values]) for values in (one.depth, one.normal, one.color)))
    two.depth[1] += 0.3 * two.hit[1]
    surface = to_surface(two, camera, "rays")
    area = [(1.5 / (1.5 + 0.3)) ** 2, 1.0]
    assert np.allclose(surface.piece_shares(), np.sort(area)[::-1] / np.sum(area), atol=0.01)
    height, width = 30 - 10 - 1, 40 - 8 - 1
    edges = height * (width + 1) + width * (height + 1) + height * width
    assert surface.border_share() == pytest.approx(2 * (height + width) / edges)
    closed = to_surface(*sphere_xray([0.5], 48))
    assert closed.border_share() == 0
    assert np.allclose(closed.piece_shares(), [1])


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_noise_of_a_tilted_plane_is_averaged_away(slope):
    exact, camera = plane_xray(48, 40, slope)
    normal = exact.normal[exact.hit][0].astype(np.float64)
    height = to_points(exact, camera).points[0] @ normal
    noisy = as_predicted(exact, camera, 2.0)
    before, after = (
        np.abs(to_points(xray, camera).points @ normal - height).mean() for xray in (noisy, fit(noisy, camera))
    )
    assert after < 0.5 * before
    surface = to_surface(noisy, camera, predicted=True)
    assert surface.piece_shares()[0] > 0.99
    cosine = np.abs(surface.to_trimesh().face_normals @ normal)
    assert np.average(cosine, weights=surface.to_trimesh().area_faces) > 0.9


def test_what_has_no_noise_stays():
    exact, camera = sphere_xray([0.5], 64)
    fitted = fit(exact, camera)
    both = exact.hit & fitted.hit[: len(exact.depth)]
    assert both.sum() > 0.98 * exact.hit.sum()
    facing = both & (np.abs((exact.normal * camera.rays()).sum(-1)) > 0.3)
    pixel = 1.5 / camera.focal_px
    assert np.abs(fitted.depth - exact.depth)[facing].max() < 0.5 * pixel


def test_a_noisy_sphere_is_one_closed_piece():
    exact, camera = sphere_xray([0.5], 64)
    noisy = as_predicted(exact, camera, 2.0)
    surface, rays = (to_surface(noisy, camera, method, "world") for method in ("fitted", "rays"))
    assert surface.piece_shares()[0] > 0.99
    assert surface.border_share() < 0.01 < rays.border_share()
    mesh = surface.to_trimesh()
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * 0.125, rel=0.05)
    truth = sphere_points([0.5], 10_000)
    near = [
        chamfer(trimesh.sample.sample_surface(one.to_trimesh(), 10_000, seed=0)[0], truth) for one in (surface, rays)
    ]
    assert near[0] < 0.8 * near[1]
    outward = (mesh.face_normals * mesh.triangles_center).sum(1)
    assert (outward > 0).mean() > 0.97


def test_depths_that_are_worse_along_the_outline_follow_the_surface_inside():
    """A network's depths near an outline: six pixels of noise, where there is one elsewhere."""
    exact, camera = sphere_xray([0.5], 64)
    noisy = as_predicted(exact, camera, 1.0)
    wild = as_predicted(exact, camera, 6.0)
    rim = ndimage.distance_transform_edt(exact.hit[0]) < 3
    depth = nondecreasing(np.where(rim, wild.depth, noisy.depth), exact.hit).astype(np.float32)
    prediction = XRay(depth, noisy.normal, noisy.color)

    def misplaced(xray):
        """Mean distance of the points near the outline from the sphere."""
        xray = XRay(*(values[:2] for values in (xray.depth, xray.normal, xray.color)))
        points = camera.to_world(camera.unproject(xray.depth.astype(np.float64)))
        return np.abs(np.linalg.norm(points, axis=-1) - 0.5)[xray.hit & rim].mean()

    assert misplaced(fit(prediction, camera)) < 0.45 * misplaced(prediction)
    lengths = to_surface(prediction, camera, "fitted", "world").to_trimesh().edges_unique_length
    plain = to_surface(prediction, camera, "rays", "world").to_trimesh().edges_unique_length
    assert np.quantile(lengths, 0.99) < np.quantile(plain, 0.99)


def test_a_hollow_cup_is_one_piece_and_its_wall_closes_at_the_rim():
    """Half a thick shell below a plane: from above, the wall's outside and inside meet at the opening's edge."""
    exact, camera = sphere_xray([0.5, 0.4], 64, eye=(1.1, 0, 1.0))
    points = camera.to_world(camera.unproject(exact.depth.astype(np.float64)))
    cup = without(exact, points[..., 2] > 0.05)
    surface = to_surface(as_predicted(cup, camera, 1.0), camera, predicted=True)
    assert surface.piece_shares()[0] > 0.95
    assert surface.border_share() < 0.04


def test_specks_go_and_holes_of_a_ray_are_filled():
    exact, camera = sphere_xray([0.5], 64)
    lost = np.zeros(exact.shape, bool)
    lost[:2, 32, 30] = lost[:2, 28, 36] = True
    holed = without(exact, lost)
    speck = [values.copy() for values in (holed.depth, holed.normal, holed.color)]
    for values, value in zip(speck, (1.2, (0, 0, 1), 0.5), strict=True):
        values[0, 2, 3] = value
    fitted = fit(XRay(*speck).validate(), camera)
    assert not fitted.hit[:, 2, 3].any()
    for row, column in ((32, 30), (28, 36)):
        near = np.abs(fitted.depth[:2, row, column] - exact.depth[:2, row, column])
        assert (near < 2 * 1.5 / camera.focal_px).all()


def test_colours_at_the_border_are_those_further_inside():
    exact, camera = sphere_xray([0.5], 48)
    color = np.where(exact.hit[..., None], np.float32((0.8, 0.2, 0.1)), 0)
    inner = exact.hit.copy()
    for axis, by in ((1, 1), (1, -1), (2, 1), (2, -1)):
        inner &= np.roll(exact.hit, by, axis)
    mixed = np.where((exact.hit & ~inner)[..., None], np.float32(0.9), color)
    surface = to_surface(XRay(exact.depth, exact.normal, mixed), camera, predicted=True)
    wrong = np.abs(surface.colors - np.float32((0.8, 0.2, 0.1))).max(1) > 0.05
    assert wrong.mean() < 0.02


def test_two_sheets_that_face_apart_and_nothing_at_all():
    near, camera = plane_xray(slope=0.0)
    both = XRay(
        np.concatenate([near.depth, near.depth + 0.3 * near.hit]),
        np.concatenate([near.normal, near.normal]),
        np.concatenate([near.color] * 2),
    )
    assert len(to_surface(both, camera, "fitted").piece_shares()) == 2
    nothing = XRay(np.zeros((2, 8, 8), np.float32), *[np.zeros((2, 8, 8, 3), np.float32)] * 2)
    assert len(to_surface(nothing, Camera(8, 8), "fitted").faces) == 0


@pytest.mark.parametrize(("gap", "pieces"), [(0.5 * WALL, 1), (1.5 * WALL, 2)])
def test_front_and_back_are_joined_where_the_gap_is_no_wider_than_a_wall(gap, pieces):
    one, camera = plane_xray(slope=0.0)
    two = XRay(*(np.concatenate([values, values]) for values in (one.depth, one.normal, one.color)))
    two.depth[1] += gap * two.hit[1]
    two.normal[1] *= -1
    surface = to_surface(two, camera, "fitted")
    assert len(surface.piece_shares()) == pieces
    assert (surface.border_share() == 0) == (pieces == 1)


def test_auto_is_fitted_for_predictions_and_rays_for_exact_x_rays():
    xray, camera = sphere_xray([0.5], 32)
    noisy = as_predicted(xray, camera, 2.0)
    for predicted, method in ((True, "fitted"), (False, "rays")):
        auto, named = to_surface(noisy, camera, predicted=predicted), to_surface(noisy, camera, method)
        assert np.array_equal(auto.vertices, named.vertices)
        assert np.array_equal(auto.faces, named.faces)
