"""Ray casting: closed surfaces, a brute-force oracle, thin and coincident walls, damaged meshes, devices."""

from dataclasses import fields

import numpy as np
import pytest
import trimesh
import warp as wp

from xray.common.errors import InputError
from xray.core.camera import Camera, look_at, sample_views
from xray.raycast.caster import RayCaster

HEAD_ON = [look_at(position) for position in ((1.5, 0, 0), (0, -1.5, 0), (0, 0, 1.5), (0, 0, -1.5))]
OBLIQUE = [look_at((1.1, -1.1, 0)), look_at((0.9, 0.9, 0.9)), *sample_views(2, np.random.default_rng(5))]


def joined(*meshes):
    return trimesh.util.concatenate(meshes)


def subdivided_box(times):
    mesh = trimesh.creation.box()
    for _ in range(times):
        mesh = mesh.subdivide()
    return mesh


def soup(faces, seed):
    """Triangles at random places, of many sizes and shapes."""
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-0.4, 0.4, (faces, 1, 3)) + rng.normal(0, 0.15, (faces, 3, 3)) * rng.random((faces, 1, 1))
    return trimesh.Trimesh(corners.reshape(-1, 3), np.arange(3 * faces).reshape(-1, 3), process=False)


CLOSED = {
    "box": trimesh.creation.box(),
    "subdivided box": subdivided_box(5),
    "icosphere": trimesh.creation.icosphere(subdivisions=4, radius=0.5),
    "torus": trimesh.creation.torus(0.35, 0.15),
    "capsule": trimesh.creation.capsule(height=0.5, radius=0.25),
    "annulus": trimesh.creation.annulus(r_min=0.2, r_max=0.5, height=0.6),
    "nested shells": joined(*(trimesh.creation.icosphere(subdivisions=3, radius=r) for r in (0.5, 0.4, 0.3, 0.1))),
}


def cast(mesh, pose, width=256, height=256, max_hits=16, device="cpu"):
    camera = Camera(width, height, world_from_camera=pose)
    caster = mesh if isinstance(mesh, RayCaster) else RayCaster(mesh.vertices, mesh.faces, device)
    return caster.cast(camera.origin, camera.rays_world().reshape(-1, 3), max_hits)


def assert_equal(found, expected):
    """To the last bit."""
    for field in fields(found):
        assert np.array_equal(getattr(found, field.name), getattr(expected, field.name)), field.name


POSES = {
    "outside": OBLIQUE[3],
    "head-on": HEAD_ON[0],
    "inside": look_at((0.1, 0.2, 0.05)),
    "on a plane of symmetry": look_at((0.3, 0, 0)),
    "partly beside the camera": look_at((0.45, -0.3, 0.1), target=(0.5, 1, 0.3)),
    "looking away": look_at((1.5, 0, 0), target=(3, 0.1, 0)),
}


@pytest.mark.parametrize("pose", POSES)
@pytest.mark.parametrize("name", [*CLOSED, "soup"])
def test_the_picture_of_a_camera_equals_its_rays_one_by_one(name, pose):
    mesh = CLOSED.get(name) or soup(500, 6)
    caster = RayCaster(mesh.vertices, mesh.faces)
    for width, height in ((64, 40), (9, 31)):
        camera = Camera(width, height, 1.4, POSES[pose])
        picture = caster.view(camera)
        assert len(picture.ray) > 8 or pose != "outside"
        assert_equal(picture, caster.crossings(camera.origin, camera.rays_world().reshape(-1, 3)))


@pytest.mark.parametrize("name", CLOSED)
def test_every_ray_crosses_a_closed_surface_an_even_number_of_times(name):
    mesh = CLOSED[name]
    assert mesh.is_watertight
    rng = np.random.default_rng(1)
    # Every face with corners of its own, in any order: what a .glb or .obj reader delivers.
    corners = mesh.vertices[mesh.faces].reshape(-1, 3)
    order = rng.permutation(len(corners))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    casters = [RayCaster(mesh.vertices, mesh.faces), RayCaster(corners[order], place.reshape(-1, 3))]
    for pose in HEAD_ON + OBLIQUE:
        camera = Camera(256, 256, world_from_camera=pose)
        shared, alone = (caster.view(camera) for caster in casters)
        assert shared.total.any()
        assert not (shared.total % 2).any()
        assert_equal(shared, alone)


def with_slivers(mesh, size):
    """Every face cut in three by a corner at a distance of `size` of its longest sides from another corner."""
    inner = mesh.vertices[mesh.faces] * np.array([1 - 2 * size, size, size])[:, None]
    new = len(mesh.vertices) + np.arange(len(mesh.faces))
    faces = [np.stack([mesh.faces[:, k], mesh.faces[:, (k + 1) % 3], new], axis=1) for k in range(3)]
    return trimesh.Trimesh(np.concatenate([mesh.vertices, inner.sum(1)]), np.concatenate(faces), process=False)


AIMED_AT = {
    "subdivided box": subdivided_box(3),
    "torus": CLOSED["torus"],
    "annulus": CLOSED["annulus"],
    "slivers of 1e-5": with_slivers(trimesh.creation.icosphere(subdivisions=2, radius=0.5), 1e-5),
    "slivers of 1e-8": with_slivers(trimesh.creation.icosphere(subdivisions=2, radius=0.5), 1e-8),
    "slivers of 1e-11": with_slivers(trimesh.creation.icosphere(subdivisions=2, radius=0.5), 1e-11),
}


@pytest.mark.parametrize("name", AIMED_AT)
def test_rays_aimed_at_corners_and_edges_cross_an_even_number_of_times(name):
    mesh = AIMED_AT[name]
    assert mesh.is_watertight
    caster = RayCaster(mesh.vertices, mesh.faces)
    rng = np.random.default_rng(3)
    one, two = (mesh.vertices[mesh.edges_unique[:, end]] for end in (0, 1))
    share = rng.random((len(one), 1))
    near = mesh.vertices + rng.normal(0, 1e-9, mesh.vertices.shape)
    targets = np.concatenate([mesh.vertices, near, (one + two) / 2, one * share + two * (1 - share)])
    places = [(1.5, 0, 0), (-1, 1, 0.25), (0, -1.5, 1.5), (0.25, 2, 2), *rng.normal(0, 1.5, (6, 3))]
    hits = 0
    for place in np.array(places)[np.abs(places).max(1) > 0.6]:
        directions = targets - place
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        total = caster.crossings(place, directions).total
        assert not (total % 2).any()
        hits += total.sum()
    assert hits > 10_000


def oracle(mesh, origin, directions):
    """By brute force in float64: (R, F) depth, inf where a ray misses a face; facing; and which rays are in doubt.

    In doubt is a ray that passes within 1e-12 of an edge of a face (as an angle, in radians).
    """
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] - origin for corner in range(3))
    normal = np.cross(b - a, c - a)
    crosses = [np.cross(p, q) for p, q in ((b, c), (c, a), (a, b))]
    toward = directions @ normal.T
    inside, loosely = (np.zeros(toward.shape, bool) for _ in range(2))
    for sign in (1, -1):
        sides = [sign * (directions @ (cross / np.linalg.norm(cross, axis=1, keepdims=True)).T) for cross in crosses]
        least = np.minimum(np.minimum(sides[0], sides[1]), sides[2])
        inside |= least > 1e-12
        loosely |= least >= -1e-12
    with np.errstate(divide="ignore", invalid="ignore"):
        depth = np.where(inside, (normal * a).sum(1) / toward, np.inf)
    depth[depth <= 0] = np.inf
    return depth, toward < 0, (loosely & ~inside).any(1)


ORACLE_MESHES = {
    "icosphere": trimesh.creation.icosphere(subdivisions=3, radius=0.5),
    "torus": trimesh.creation.torus(0.35, 0.15, major_sections=24, minor_sections=16),
    "annulus": CLOSED["annulus"],
    "nested shells": joined(*(trimesh.creation.icosphere(subdivisions=2, radius=r) for r in (0.5, 0.4, 0.3))),
    "soup": soup(60, 2),
    "large soup": soup(1000, 3),
}


@pytest.mark.parametrize("name", ORACLE_MESHES)
def test_equals_a_brute_force_oracle_on_every_ray(name):
    mesh = ORACLE_MESHES[name]
    caster = RayCaster(mesh.vertices, mesh.faces)
    for pose in sample_views(3, np.random.default_rng(9)):
        camera = Camera(96, 72, world_from_camera=pose)
        directions = camera.rays_world().reshape(-1, 3)
        hits = caster.cast(camera.origin, directions, max_hits=64)
        sure = 0
        for rays in np.array_split(np.arange(len(directions)), 6):
            depth, facing, doubtful = oracle(mesh, camera.origin, directions[rays])
            order = np.argsort(depth, axis=1, kind="stable")[:, :64]
            depth, facing = (np.take_along_axis(values, order, 1) for values in (depth, facing))
            with np.errstate(invalid="ignore"):  # inf - inf
                near = np.diff(depth, axis=1) < 1e-6
            doubtful |= (near & (facing[:, 1:] == facing[:, :-1])).any(1)  # to merge; a test of its own
            sure += (~doubtful).sum()
            count = np.isfinite(depth).sum(1)
            assert (count < 64).all()
            assert np.array_equal(hits.total[rays][~doubtful], count[~doubtful])
            for row in np.flatnonzero(~doubtful & (count > 0)):
                found = slice(0, count[row])
                assert np.abs(hits.depth[rays[row], found] - depth[row, found]).max() < 1e-9
                assert np.array_equal(hits.face[rays[row], found], order[row, found])
        assert sure > 0.998 * len(directions)
        assert not (hits.depth > 0)[np.arange(64) >= hits.total[:, None]].any()


def test_barycentric_weights_give_the_point_at_the_depth():
    mesh = soup(300, 4)
    camera = Camera(40, 24, world_from_camera=OBLIQUE[2])
    directions = camera.rays_world().reshape(-1, 3)
    hits = RayCaster(mesh.vertices, mesh.faces).cast(camera.origin, directions)
    hit = hits.depth > 0
    assert hit.any()
    points = np.einsum("nk,nkd->nd", hits.barycentric[hit], mesh.vertices[mesh.faces[hits.face[hit]]])
    along = camera.origin + hits.depth[hit][:, None] * directions[np.nonzero(hit)[0]]
    assert np.abs(points - along).max() < 1e-9
    assert (hits.barycentric[hit] >= 0).all()
    assert np.allclose(hits.barycentric[hit].sum(1), 1)
    assert (np.diff(hits.depth, axis=1)[hit[:, 1:]] >= 0).all()
    assert not (hit[:, 1:] & ~hit[:, :-1]).any()


def test_sphere():
    mesh = trimesh.creation.icosphere(subdivisions=5, radius=0.5)
    camera = Camera(64, 48, world_from_camera=OBLIQUE[3])
    directions = camera.rays_world().reshape(-1, 3)
    hits = RayCaster(mesh.vertices, mesh.faces).cast(camera.origin, directions)
    assert set(hits.total) == {0, 2}
    ray = np.flatnonzero(hits.total)
    points = camera.origin + hits.depth[ray, :2, None] * directions[ray, None]
    assert np.abs(np.linalg.norm(points, axis=2) - 0.5).max() < 1e-3
    facing = np.einsum("rkd,rd->rk", mesh.face_normals[hits.face[ray, :2]], directions[ray])
    assert (facing[:, 0] < 0).all()
    assert (facing[:, 1] > 0).all()


def test_thin_walls_stay_and_coincident_faces_count_once():
    box = trimesh.creation.box()
    inner = trimesh.creation.box((1 - 2e-5,) * 3)
    ray = (np.array([1.5, 0, 0]), np.array([[-1.0, 0.013, 0.021]]) / np.linalg.norm([-1.0, 0.013, 0.021]))

    def depths(*meshes):
        mesh = joined(*meshes)
        hits = RayCaster(mesh.vertices, mesh.faces).cast(*ray)
        return hits.depth[0, : hits.total[0]], hits.face[0, : hits.total[0]]

    alone, face = depths(box)
    assert len(alone) == 2
    walls, _ = depths(box, inner)
    assert len(walls) == 4
    assert 0.9e-5 < walls[1] - walls[0] < 1.1e-5
    twice, face_of_twice = depths(box, box)
    assert np.array_equal(twice, alone)
    assert np.array_equal(face_of_twice, face)  # the lower face index stays
    near = trimesh.creation.box((1 - 4e-7,) * 3)
    assert np.array_equal(depths(near, box)[0], [alone[0], depths(near)[0][1]])  # the nearer to the camera stays
    inverted = box.copy()
    inverted.invert()
    assert np.allclose(depths(box, inverted)[0], np.repeat(alone, 2), atol=1e-12)  # a sheet with two sides has both
    assert np.allclose(depths(box, inverted, box, inverted)[0], np.repeat(alone, 2), atol=1e-12)


def test_hits_beyond_those_kept_are_counted():
    shells = joined(*(trimesh.creation.icosphere(subdivisions=2, radius=r) for r in np.linspace(0.1, 0.5, 12)))
    caster = RayCaster(shells.vertices, shells.faces)
    few, many = (cast(caster, OBLIQUE[0], 32, 24, max_hits) for max_hits in (5, 30))
    assert many.total.max() == 24
    assert np.array_equal(few.total, many.total)
    assert np.array_equal(few.depth, many.depth[:, :5])
    assert np.array_equal(few.face, many.face[:, :5])


def test_a_view_with_more_crossings_than_there_was_room_for(monkeypatch):
    mesh = CLOSED["nested shells"]
    expected = cast(mesh, OBLIQUE[0], 64, 48)
    monkeypatch.setattr("xray.raycast.caster.CAPACITY", 16)
    small = cast(mesh, OBLIQUE[0], 64, 48)
    assert np.array_equal(small.depth, expected.depth)
    assert np.array_equal(small.total, expected.total)


def test_more_crossings_than_any_picture_has_are_refused():
    corners = np.array([[0.0, -40, -40], [0, 40, -40], [0, 0, 80]])  # fills the picture, 1100 times
    vertices = (corners + np.linspace(-0.5, 0.5, 1100)[:, None, None] * [1, 0, 0]).reshape(-1, 3)
    caster = RayCaster(vertices, np.arange(len(vertices)).reshape(-1, 3))
    assert cast(caster, HEAD_ON[0], 16, 16).total.min() == 1100
    with pytest.raises(InputError, match="more than 67108864 crossings"):
        caster.view(Camera(256, 256, world_from_camera=HEAD_ON[0]))


def test_rays_from_inside_and_from_far_away():
    box = trimesh.creation.box()
    caster = RayCaster(box.vertices, box.faces)
    inside = caster.cast(np.zeros(3), Camera(32, 32).rays_world().reshape(-1, 3))
    assert (inside.total == 1).all()
    directions = np.array([[-1.0, 1e-5, 2e-5], [-1.0, 1e-3, 0.0]])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    far = caster.cast(np.array([1000.0, 0.0, 0.0]), directions)
    assert list(far.total) == [2, 0]
    assert np.allclose(far.depth[0, :2], np.array([999.5, 1000.5]) / -directions[0, 0], atol=1e-9)


@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_huge_and_tiny_coordinates(scale):
    mesh = CLOSED["torus"]
    expected = cast(mesh, OBLIQUE[1], 64, 48)
    camera = Camera(64, 48, world_from_camera=OBLIQUE[1])
    caster = RayCaster(mesh.vertices * scale, mesh.faces)
    hits = caster.cast(camera.origin * scale, camera.rays_world().reshape(-1, 3))
    if scale > 1:  # at 1e-6 the whole object is as thin as the merging distance
        assert np.array_equal(hits.total, expected.total)
        assert np.allclose(hits.depth / scale, expected.depth, atol=1e-9)
    assert not (hits.total % 2).any()


def test_degenerate_faces_are_never_hit():
    box = trimesh.creation.box()
    vertices = np.concatenate([box.vertices, [[0.5, 0, 0], [0.5, 0.2, 0], [0.5, 0.4, 0]]])
    faces = np.concatenate([box.faces, [[8, 8, 9], [8, 9, 10], [3, 3, 3]]])
    expected = cast(box, HEAD_ON[0], 64, 64)
    hits = RayCaster(vertices, faces).cast(
        HEAD_ON[0][:3, 3], Camera(64, 64, world_from_camera=HEAD_ON[0]).rays_world().reshape(-1, 3)
    )
    assert not (hits.total % 2).any()
    assert np.allclose(hits.depth, expected.depth)


def test_unusable_meshes_and_rays_are_refused():
    good = np.eye(3)
    face = np.array([[0, 1, 2]])
    for vertices, faces, words in (
        (np.full((3, 3), np.nan), face, "not finite"),
        (np.array([[0, 0, 0], [np.inf, 0, 0], [0, 1, 0]]), face, "not finite"),
        (good, np.array([[0, 1, 3]]), "face corners 0 to 3"),
        (good, np.array([[0, 1, -1]]), "face corners -1"),
        (good, np.zeros((0, 3), int), "0 faces"),
        (good[:, :2], face, "expected"),
        (good, np.array([[0.0, 1.0, 2.0]]), "float64"),
    ):
        with pytest.raises(InputError, match=words):
            RayCaster(vertices, faces)
    with pytest.raises(InputError, match="device 'cuda:7'"):
        RayCaster(good, face, "cuda:7")
    if not wp.is_cuda_available():
        with pytest.raises(InputError, match="device 'cuda': not on this machine, which has cpu"):
            RayCaster(good, face, "cuda")
    with pytest.raises(InputError, match="finite"):
        RayCaster(good, face).cast(np.array([0, 0, np.nan]), np.eye(3))
    assert RayCaster(good, face).cast(np.zeros(3), np.zeros((0, 3))).total.shape == (0,)


@pytest.mark.gpu
@pytest.mark.skipif(not wp.is_cuda_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", ["subdivided box", "torus", "soup"])
def test_cuda_equals_cpu(name):
    mesh = CLOSED.get(name) or soup(3000, 8)
    for pose in (HEAD_ON[0], OBLIQUE[1]):
        camera = Camera(256, 256, world_from_camera=pose)
        on_cpu, on_gpu = (RayCaster(mesh.vertices, mesh.faces, device) for device in ("cpu", "cuda"))
        assert_equal(on_gpu.view(camera), on_cpu.view(camera))
        rays = (camera.origin, camera.rays_world().reshape(-1, 3))
        assert_equal(on_gpu.crossings(*rays), on_cpu.crossings(*rays))
