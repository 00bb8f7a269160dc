"""Points of an X-Ray lie on the surface they came from; .ply files give back what was written."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.analytic import sphere_xray

from xray.common.errors import InputError
from xray.core.camera import Camera
from xray.core.points import PointCloud, to_points
from xray.mesh.ply import load_ply, save_ply


def test_points_of_spheres_in_both_frames():
    xray, camera = sphere_xray([0.5, 0.3], 48, 32)
    for frame in ("camera", "world"):
        cloud = to_points(xray, camera.at(96), frame)
        points = cloud.points if frame == "world" else camera.to_world(cloud.points)
        normals = cloud.normals if frame == "world" else cloud.normals @ camera.world_from_camera[:3, :3].T
        radius = np.linalg.norm(points, axis=1)
        assert len(cloud) == xray.hit.sum()
        assert np.abs(radius - np.where(radius > 0.4, 0.5, 0.3)).max() < 1e-6
        assert np.abs(normals - points / radius[:, None]).max() < 1e-5
    assert np.array_equal(cloud.colors, xray.color[xray.hit])


def test_points_refuse_another_camera_or_frame():
    xray, camera = sphere_xray([0.5], 48, 32)
    with pytest.raises(InputError, match="object"):
        to_points(xray, camera, "object")
    with pytest.raises(InputError, match="rays"):
        to_points(xray, Camera(48, 48))


def test_ply_round_trip(tmp_path):
    cloud = to_points(*sphere_xray([0.5], 16), "world")
    save_ply(tmp_path / "a.ply", cloud)
    loaded = load_ply(tmp_path / "a.ply")
    assert np.array_equal(loaded.points, cloud.points.astype(np.float32))
    assert np.array_equal(loaded.normals, cloud.normals.astype(np.float32))
    assert np.abs(loaded.colors - cloud.colors).max() <= 0.5 / 255 + 1e-6
    save_ply(tmp_path / "b.ply", loaded)
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()
    save_ply(tmp_path / "empty.ply", cloud[:0])
    assert len(load_ply(tmp_path / "empty.ply")) == 0


def test_ply_of_other_writers(tmp_path):
    path = tmp_path / "ascii.ply"
    head = (
        "ply\nformat ascii 1.0\ncomment x\nelement vertex 2\nproperty double x\nproperty double y\nproperty float z\n"
    )
    head += "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    head += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    path.write_text(head + "0 1 2 255 0 51\n3 4 5.5 0 0 0\n3 0 1 1\n")
    cloud = load_ply(path)
    assert cloud.points.tolist() == [[0, 1, 2], [3, 4, 5.5]]
    assert np.allclose(cloud.colors, [[1, 0, 0.2], [0, 0, 0]])
    assert not cloud.normals.any()


@pytest.mark.parametrize("damage", ["absent", "empty", "short", "text", "xyz"])
def test_bad_ply_names_the_file(tmp_path, damage):
    path = tmp_path / "bad.ply"
    save_ply(path, to_points(*sphere_xray([0.5], 16)))
    content = path.read_bytes()
    damaged = {
        "empty": b"",
        "short": content[:-1],
        "text": b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\nabc\n",
        "xyz": content.replace(b"float z\n", b"float w\n"),
    }
    path.unlink()
    if damage in damaged:
        path.write_bytes(damaged[damage])
    with pytest.raises(InputError, match=r"bad\.ply") as caught:
        load_ply(path)
    assert "\n" not in str(caught.value)


def test_cloud_of_unequal_lengths_is_refused():
    with pytest.raises(InputError, match="normals"):
        PointCloud(np.zeros((2, 3)), np.zeros((1, 3)), np.zeros((2, 3)))
