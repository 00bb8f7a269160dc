"""The first hits alone, what a light does not reach, and which of two opposite faces at one depth comes first."""

from pathlib import Path

import numpy as np
import pytest
import trimesh

from xray.common.errors import InputError
from xray.common.warp_setup import wp
from xray.core.camera import Camera, look_at, sample_views
from xray.mesh.load import load_mesh
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster
from xray.raycast.light_grid import mark_hidden

ROOT = Path(__file__).parents[2]
MESHES = ROOT / "example/meshes"
TWO_SIDED = ROOT.parent / "shared/faults/two_sided_faces/meshes/twoside.obj"
FIELDS = ("layer", "ray", "face", "depth", "barycentric")


def views(distance=1.5):
    return sample_views(3, np.random.default_rng(5), distance, (-60, 60))


def subdivided_box():
    box = trimesh.creation.box()
    for _ in range(3):
        box = box.subdivide()
    return box.vertices, box.faces


def sheets(count=25):
    """Triangles of all sizes, some behind the camera, some across its plane."""
    rng = np.random.default_rng(3)
    corners = rng.uniform(-1, 1, (count, 1, 3)) + rng.uniform(-1, 1, (count, 3, 3)) * rng.uniform(
        0.01, 3, (count, 1, 1)
    )
    return corners.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3)


def shapes():
    mesh = load_mesh(MESHES / "cabin.glb")
    return {"cabin": (mesh.vertices, mesh.faces), "box": subdivided_box(), "sheets": sheets()}


@pytest.mark.parametrize("name", ["cabin", "box", "sheets"])
def test_first_hits_are_those_of_the_whole_cast_to_the_bit(name):
    caster = RayCaster(*shapes()[name])
    rng = np.random.default_rng(1)
    poses = [*views(), look_at((0, -1.5, 0))]  # head-on: rays through edges and corners of the box
    for pose in poses:
        camera = Camera(96, 64, world_from_camera=pose)
        for field in FIELDS:
            whole, first = caster.view(camera, 1), caster.first_hits(camera)
            assert np.array_equal(getattr(first, field), getattr(whole, field)), field
        assert np.array_equal(first.total, np.minimum(whole.total, 1))
        # Around some pixels, those at the border of the picture too, and once more through their middles.
        pixel = np.sort(rng.choice(96 * 64, 900, replace=False)).astype(np.int32)
        offsets = np.concatenate([rng.integers(-4, 5, (3, 2)) / 8, [(0, 0)]])
        found, _ = caster.nearest_around(caster.nearest(camera), camera, pixel, offsets)
        directions = found.casting.directions.numpy()
        row, column = (
            place[:, None] + offset for place, offset in zip(divmod(pixel, 96), offsets.T[::-1], strict=True)
        )
        expected = camera.rays_at(column.reshape(-1), row.reshape(-1)) @ pose[:3, :3].T
        assert np.abs(directions - expected).max() < 1e-15 * 4
        whole, first = caster.crossings(camera.origin, directions, 1), found.crossings()
        assert len(first.ray) > 300
        for field in FIELDS:
            assert np.array_equal(getattr(first, field), getattr(whole, field)), field


@pytest.mark.parametrize("name", ["cabin", "box", "sheets"])
@pytest.mark.parametrize("origin", [(1.4, -2.0, 3.0), (-6.0, 0.7, -4.0)])
def test_a_point_is_hidden_from_a_light_where_the_first_crossing_is_nearer(name, origin):
    vertices, faces = shapes()[name]
    vertices = vertices / max(1, np.abs(vertices).max())
    caster = RayCaster(vertices, faces)
    origin, margin = np.array(origin), 2e-3
    rng = np.random.default_rng(2)
    weights = rng.dirichlet((1, 1, 1), 2000)[..., None]
    on_faces = (vertices[faces[rng.integers(0, len(faces), 2000)]] * weights).sum(1)
    points = np.concatenate([rng.uniform(-0.6, 0.6, (4000, 3)), on_faces, 3 * on_faces])
    length = np.linalg.norm(points - origin, axis=1)
    first = caster.crossings(origin, (points - origin) / length[:, None], 1)
    expected = np.zeros(len(points), bool)
    expected[first.ray] = first.depth < length[first.ray] - margin
    assert 400 < expected.sum() < 6000
    hidden = wp.zeros(len(points), dtype=wp.bool, device="cpu")
    inputs = [caster.light(origin), wp.array(points, dtype=wp.vec3d, device="cpu"), margin, hidden]
    wp.launch(mark_hidden, dim=len(points), inputs=inputs, device="cpu")
    assert np.array_equal(hidden.numpy(), expected)
    with pytest.raises(InputError, match="light at"):
        caster.light((0.1, 0.05, 0.02))


def doubled(vertices, faces, split):
    """Every face given once more the other way round; `split` gives it corners of its own, in another order."""
    other = faces[:, ::-1]
    if split:
        other = np.roll(other, 1, axis=1) + len(vertices)
        vertices = np.concatenate([vertices, vertices])
    return vertices, np.concatenate([other, faces])


@pytest.mark.parametrize("split", [False, True])
def test_of_opposite_faces_at_one_depth_the_one_that_looks_at_the_ray_comes_first(split):
    """Along every ray through a doubled closed surface the sides alternate, beginning with the one looked at."""
    ball = trimesh.creation.icosphere(subdivisions=2)
    for vertices, faces in (subdivided_box(), (ball.vertices, ball.faces)):
        all_vertices, all_faces = doubled(vertices, faces, split)
        twice, corners = RayCaster(all_vertices, all_faces), all_vertices[all_faces]
        once = RayCaster(vertices, faces)
        for pose in views(2.0):
            camera = Camera(64, 48, world_from_camera=pose)
            found, single = twice.cast(camera.origin, camera.rays_world().reshape(-1, 3), 8), once.view(camera, 8)
            assert np.array_equal(found.total, 2 * single.total)
            normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            looks = (normal[found.face] * camera.rays_world().reshape(-1, 1, 3)).sum(-1) < 0
            hit = found.face >= 0
            assert hit[:, 0].sum() > 500
            assert looks[:, 0::2][hit[:, 0::2]].all()
            assert not looks[:, 1::2][hit[:, 1::2]].any()
            assert (np.diff(found.depth, axis=1)[hit[:, 1:]] >= 0).all()
            assert np.array_equal(twice.first_hits(camera).face, found.face[:, 0][found.total > 0])


def test_a_quad_cut_along_the_other_diagonal_behind_shows_its_front():
    """At a flat angle the two cuts of one plane differ by rounding, so that depth alone is salt and pepper."""
    corners = np.array([[-0.5, -0.3, 0.1], [0.5, -0.31, 0.12], [0.49, 0.3, 0.33], [-0.51, 0.31, 0.31]])
    corners[3] = corners[0] + corners[2] - corners[1]  # in one plane
    faces = np.array([[1, 0, 3], [1, 3, 2], [0, 1, 2], [0, 2, 3]])  # the side below first
    camera = Camera(128, 128, world_from_camera=look_at((0.0, -1.5, 0.2)))
    found = RayCaster(corners, faces).cast(camera.origin, camera.rays_world().reshape(-1, 3), 4)
    normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
    ahead = 2 if normal @ (camera.origin - corners[0]) > 0 else 0
    seen = found.face[found.total > 0, 0]
    assert len(seen) > 300
    assert set(found.total) == {0, 2}
    assert set(seen) <= {ahead, ahead + 1}


def test_thin_walls_and_gaps_keep_their_order():
    """Surfaces that are apart, if only by 1e-8, stay in the order of their depth."""
    square = np.array([[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1]], float)
    looks, turned = np.array([[0, 1, 2], [0, 2, 3]]), np.array([[0, 2, 1], [0, 3, 2]])
    vertices = np.concatenate([square, square + (0, 1e-8, 0)])
    camera = Camera(8, 8, world_from_camera=look_at((0, -1.5, 0)))
    for first, second in ((looks, turned), (turned, looks)):
        faces = np.concatenate([second + 4, first])
        found = RayCaster(vertices, faces).cast(camera.origin, camera.rays_world().reshape(-1, 3), 4)
        assert set(found.face[:, 0]) <= {2, 3}
        assert set(found.face[:, 1]) <= {0, 1}


@pytest.mark.skipif(not TWO_SIDED.is_file(), reason=f"the two-sided mesh is not at {TWO_SIDED}")
def test_a_mesh_with_every_face_given_twice_is_red_outside():
    mesh = load_mesh(TWO_SIDED)
    caster = RayCaster(mesh.vertices, mesh.faces)
    for pose in views():
        camera = Camera(128, 128, world_from_camera=pose)
        xray, _ = capture(mesh, caster, camera)
        xray.validate()
        hit = xray.hit[0]
        assert hit.sum() > 1000
        assert (xray.color[0][hit] == xray.color[0][hit][0]).all()
        assert xray.color[0][hit][0, 0] > xray.color[0][hit][0, 2]
        assert ((xray.normal[0] * camera.rays()).sum(-1)[hit] < 0).all()
