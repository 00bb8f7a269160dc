"""The camera: pixels, frames, poses and transforms.json."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from xray.common.errors import InputError
from xray.core.camera import FOV_RAD, Camera, Views, check_pose, load_views, look_at, sample_views


def random_pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return look_at(rng.normal(size=3), rng.normal(size=3), rng.normal(size=3))


def test_default_lens_is_35_mm_on_32_mm():
    assert pytest.approx(2 * math.atan(16 / 35), abs=1e-7) == FOV_RAD


@pytest.mark.parametrize(
    ("width", "height", "factor"),
    [(256, 256, 4), (512, 512, 2), (256, 128, 4), (90, 60, 3), (48, 96, 3), (35, 20, 5), (7, 7, 7)],
)
@pytest.mark.parametrize("fov_rad", [FOV_RAD, 1.9, 0.1])
def test_every_factor_th_ray_is_a_ray_of_the_smaller_view(width, height, factor, fov_rad):
    camera = Camera(width, height, fov_rad, random_pose(1))
    small = camera.at(width // factor)
    assert (small.width, small.height) == (width // factor, height // factor)
    assert small.rays().tobytes() == camera.rays()[::factor, ::factor].tobytes()
    assert small.at(width).rays().tobytes() == camera.rays().tobytes()


def test_rays_follow_the_pixel_rule_and_the_axes():
    camera = Camera(80, 60)
    rays = camera.rays()
    i, j = 13, 47
    expected = np.array([(i - 40) / camera.focal_px, -(j - 30) / camera.focal_px, -1])
    assert np.allclose(rays[j, i], expected / np.linalg.norm(expected), rtol=0, atol=1e-15)
    assert np.abs(np.linalg.norm(rays, axis=-1) - 1).max() < 1e-15
    assert rays[30, 40].tolist() == [0, 0, -1]  # integer corners: a pixel in the centre looks straight ahead
    assert (np.diff(rays[30, :, 0]) > 0).all()  # x to the right
    assert (np.diff(rays[:, 40, 1]) < 0).all()  # y up, rows down
    left = rays[30, 0]
    assert 2 * math.atan(-left[0] / -left[2]) == pytest.approx(FOV_RAD, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_project_unproject_round_trip(seed):
    """Depth is the distance along the ray: the point of a pixel lies at that distance and projects back to it."""
    rng = np.random.default_rng(seed)
    camera = Camera(24, 16, rng.uniform(0.3, 2), random_pose(seed))
    depth = rng.uniform(0.5, 3, (3, 16, 24))
    points = camera.unproject(depth)
    assert np.allclose(np.linalg.norm(points, axis=-1), depth, rtol=1e-14)
    column = points[..., 0] / -points[..., 2] * camera.focal_px + camera.width / 2
    row = -points[..., 1] / -points[..., 2] * camera.focal_px + camera.height / 2
    assert np.allclose(column, np.arange(24)[None, None, :], atol=1e-10)
    assert np.allclose(row, np.arange(16)[None, :, None], atol=1e-10)
    world = camera.to_world(points)
    assert np.allclose(world, camera.origin + depth[..., None] * camera.rays_world(), atol=1e-12)
    inverse = np.linalg.inv(camera.world_from_camera)
    assert np.allclose(world @ inverse[:3, :3].T + inverse[:3, 3], points, atol=1e-12)


@pytest.mark.parametrize("position", [(1.5, 0, 0), (0, -2, 1), (0, 0, 3), (0, 0, -3), (0.1, 0.2, 0.3)])
def test_look_at_puts_the_target_straight_ahead_and_up_up(position):
    pose = check_pose(look_at(position), "look_at")
    assert np.allclose(pose[:3, 3], position)
    camera = Camera(8, 8, world_from_camera=pose)
    distance = np.linalg.norm(position)
    target = camera.to_world(camera.unproject(np.full((8, 8), distance)))[4, 4]
    assert np.abs(target).max() < 1e-12
    assert pose[2, 1] >= -1e-12  # the camera's y has no part downwards in the world
    assert abs(pose[2, 0]) < 1e-12  # and its x is level


def test_sampled_views_are_on_the_cap_and_look_at_the_origin():
    poses = sample_views(200, np.random.default_rng(0), 1.7, (10, 40))
    position = poses[:, :3, 3]
    assert np.allclose(np.linalg.norm(position, axis=1), 1.7)
    elevation = np.degrees(np.arcsin(position[:, 2] / 1.7))
    assert elevation.min() >= 10
    assert elevation.max() <= 40
    azimuth = np.degrees(np.arctan2(position[:, 1], position[:, 0])) % 360
    assert (np.histogram(azimuth, bins=8, range=(0, 360))[0] > 10).all()
    assert np.allclose(poses[:, :3, 2], position / 1.7)
    assert np.array_equal(poses[:20], sample_views(20, np.random.default_rng(0), 1.7, (10, 40)))


def test_views_survive_transforms_json(tmp_path):
    views = Views(0.9, ("000.png", "001.png"), sample_views(2, np.random.default_rng(3)))
    path = tmp_path / "transforms.json"
    path.write_text(views.to_json())
    again = load_views(path)
    assert again.fov_rad == views.fov_rad
    assert again.stems == ("000", "001")
    assert again.world_from_camera.tobytes() == views.world_from_camera.tobytes()
    camera = again.camera(1, 12, 8)
    assert (camera.width, camera.height, camera.fov_rad) == (12, 8, 0.9)
    for frame, pose in zip(json.loads(views.to_json())["frames"], views.world_from_camera, strict=True):
        assert frame["transform_matrix"] == frame["c2w"] == pose.tolist()


IDENTITY = np.eye(4).tolist()
FRAME = {"file_path": "000.png", "c2w": IDENTITY}
BAD_FILES = {
    "not readable as JSON": "{",
    "no frames": {"camera_angle_x": 1},
    "no frames; expected": {"camera_angle_x": 1, "frames": []},
    "no frames; expected a non-empty list": [1, 2],
    "camera_angle_x is None": {"frames": [FRAME]},
    "camera_angle_x is 3.5": {"camera_angle_x": 3.5, "frames": [FRAME]},
    "camera_angle_x is True": {"camera_angle_x": True, "frames": [FRAME]},
    "camera_angle_x is nan": '{"camera_angle_x": NaN, "frames": [1]}',
    "frame 0 has no file_path": {"camera_angle_x": 1, "frames": [{"c2w": IDENTITY}]},
    "frame 1 has neither": {"camera_angle_x": 1, "frames": [FRAME, {"file_path": "a.png"}]},
    "shape (3, 3)": {"camera_angle_x": 1, "frames": [FRAME | {"c2w": np.eye(3).tolist()}]},
    "not a matrix of numbers": {"camera_angle_x": 1, "frames": [FRAME | {"c2w": [["a"]]}]},
    "not a rotation": {"camera_angle_x": 1, "frames": [FRAME | {"c2w": np.diag([1, 1, 2, 1]).tolist()}]},
    "is not a rotation": {"camera_angle_x": 1, "frames": [FRAME | {"c2w": np.diag([1, 1, -1, 1]).tolist()}]},
    "last row 0 0 0 1": {"camera_angle_x": 1, "frames": [FRAME | {"c2w": np.eye(4)[::-1].tolist()}]},
    "a file name of its own": {"camera_angle_x": 1, "frames": [FRAME, FRAME]},
}


@pytest.mark.parametrize("reason", BAD_FILES)
def test_bad_transforms_are_one_line_that_names_the_file(tmp_path, reason):
    path = tmp_path / "transforms.json"
    content = BAD_FILES[reason]
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError) as error:
        load_views(path)
    assert str(path) in str(error.value)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_transforms_that_an_editor_of_another_system_saved(tmp_path, encoding):
    views = Views(0.9, ("images\\caf\u00e9.png", "C:\\x\\001.png"), sample_views(2, np.random.default_rng(3)))
    path = tmp_path / "transforms.json"
    text = views.to_json().replace("\\u00e9", "\u00e9").replace("\n", "\r\n")
    path.write_bytes(text.encode(encoding))
    assert load_views(path).stems == ("caf\u00e9", "001")
    path.write_text(views.to_json().replace("0.9", "9" * 5000))
    with pytest.raises(InputError, match=r"transforms\.json: not readable as JSON \(Exceeds the limit"):
        load_views(path)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"transforms\.json: line 5: not UTF-8; save the file as UTF-8"):
        load_views(path)


def test_transforms_that_are_not_text(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        load_views(tmp_path / "transforms.json")
    (tmp_path / "transforms.json").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="not readable as JSON"):
        load_views(tmp_path / "transforms.json")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Camera(0, 5),
        lambda: Camera(5, 5, 0.0),
        lambda: Camera(5, 5, 3.2),
        lambda: Camera(5, 5, float("nan")),
        lambda: Camera(5, 5, 1.0, np.eye(3)),
        lambda: Camera(5, 5, 1.0, np.full((4, 4), np.nan)),
        lambda: Camera(9, 6).at(6).at(4),
        lambda: Camera(9, 5).at(3),
        lambda: Camera(4, 4).unproject(np.ones((5, 4))),
        lambda: look_at((1, 2, 3), (1, 2, 3)),
        lambda: sample_views(0, np.random.default_rng(0)),
        lambda: sample_views(1, np.random.default_rng(0), -1.0),
        lambda: sample_views(1, np.random.default_rng(0), 1.0, (50, 40)),
    ],
)
def test_impossible_cameras_are_refused(make):
    with pytest.raises(InputError, match=r"expected|not whole|cannot|must"):
        make()
