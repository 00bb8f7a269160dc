"""Triangles of polygons: fans as long as they cover the polygon, ears cut off where not, and strips."""

import numpy as np
import pytest

from xray.mesh.load import load_mesh
from xray.mesh.polygons import fan, strips, triangulate

RNG = np.random.default_rng(3)
U_SHAPE = np.array([[0, 0], [3, 0], [3, 3], [2, 3], [2, 1], [1, 1], [1, 3], [0, 3]], float)


def area(flat: np.ndarray) -> float:
    """Signed area of a polygon in the plane."""
    x, y = flat.T
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def cut(points: np.ndarray) -> np.ndarray:
    corner, _ = triangulate(np.array([len(points)]), np.arange(len(points)), points)
    return corner


def star(count: int, straight: bool) -> np.ndarray:
    """A polygon around the origin with random radii; `straight` adds corners in the middle of its edges."""
    angles = (np.arange(count) + RNG.uniform(0, 0.8, count)) * 2 * np.pi / count
    flat = RNG.uniform(0.1, 1, count)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    if straight:
        flat = np.stack([flat, (flat + np.roll(flat, -1, axis=0)) / 2], axis=1).reshape(-1, 2)
    return flat


def inside(points: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """(N,) bool by crossings of the ray to the right, edge by edge."""
    a, b = flat, np.roll(flat, -1, axis=0)
    above = (a[:, 1] > points[:, 1:]) != (b[:, 1] > points[:, 1:])
    with np.errstate(divide="ignore", invalid="ignore"):
        x = a[:, 0] + (points[:, 1:] - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
    return (above & (points[:, :1] < x)).sum(1) % 2 == 1


@pytest.mark.parametrize("count", [4, 5, 9, 40])
@pytest.mark.parametrize("straight", [False, True])
@pytest.mark.parametrize("turned_over", [False, True])
def test_concave_polygons_in_any_plane_are_covered_once_with_all_their_corners(count, straight, turned_over):
    for _ in range(25):
        flat = star(count, straight)
        flat = flat[::-1] if turned_over else flat
        plane = np.linalg.qr(RNG.normal(size=(3, 3)))[0][:, :2]
        triangles = cut(flat @ plane.T + RNG.normal(size=3))
        assert len(triangles) == len(flat) - 2
        assert set(triangles.ravel()) == set(range(len(flat)))
        areas = np.array([area(flat[triangle]) for triangle in triangles])
        assert areas.sum() == pytest.approx(area(flat))
        assert np.abs(areas).sum() == pytest.approx(abs(area(flat)))  # none is turned over, so none overlap
        # Every edge of the polygon belongs to one triangle, in its direction: the neighbours' edges fit.
        edges = {(int(t[k - 1]), int(t[k])) for t in triangles for k in range(3)}
        assert {(k, (k + 1) % len(flat)) for k in range(len(flat))} <= edges


def test_convex_polygons_and_those_that_their_first_corner_sees_stay_fans():
    angles = np.sort(RNG.uniform(0, 2 * np.pi, 12))
    convex = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    for points in (convex, convex.round(5), np.array([[0.0, 0, 0], [2, 2, 0], [0, 1, 0], [-2, 2, 0]])[[2, 3, 0, 1]]):
        assert np.array_equal(cut(points), fan(np.array([len(points)]))[0])


@pytest.mark.parametrize(
    "points",
    [
        [[0, 0, 0], [1, 1, 0], [1, 0, 0], [0, 1, 0]],  # crosses itself
        [[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]],  # on a line
        [[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[0, 0, 0], [1, 0, 0], [np.nan, 0, 0], [0, 1, 0]],
        [[np.cos(k), np.sin(k), 0] for k in np.arange(5) * 4 * np.pi / 5],  # a pentagram
    ],
)
def test_polygons_without_an_inside_stay_fans(points):
    assert np.array_equal(cut(np.array(points, float)), fan(np.array([len(points)]))[0])


def test_bent_quads_take_the_diagonal_that_turns_no_half_over():
    dart = np.array([[0, 0, 0.1], [2, 2, 0], [0, 1, -0.1], [-2, 2, 0]])[[1, 2, 3, 0]]
    assert sorted(map(sorted, cut(dart).tolist())) == [[0, 1, 3], [1, 2, 3]]


def test_only_polygons_that_need_it_are_cut_and_all_keep_their_places():
    points = np.column_stack([U_SHAPE, np.zeros(8)])
    sizes = np.array([3, 8, 2, 4])
    vertex = np.concatenate([[0, 1, 2], np.arange(8), [0, 1], [0, 1, 4, 5]])
    corner, polygon = triangulate(sizes, vertex, points)
    assert polygon.tolist() == [0] + [1] * 6 + [3] * 2
    assert corner[0].tolist() == [0, 1, 2]
    assert corner[-2:].tolist() == [[13, 14, 15], [13, 15, 16]]
    grid = RNG.uniform(0, 3, (500, 2))
    covered = sum(inside(grid, U_SHAPE[triangle - 3]) for triangle in corner[1:7])
    assert np.array_equal(covered, inside(grid, U_SHAPE))
    assert triangulate(np.array([3, 3]), np.arange(6), RNG.normal(size=(6, 3))) == (None, None)


@pytest.mark.parametrize(
    ("outline", "area"),
    [
        ([(0, 0), (2, 0), (2, 2), (2, 3), (2, 2), (0, 2)], 4),  # a spike out of a corner,
        ([(0, 0), (2, 0), (2, 1), (3, 1), (2, 1), (2, 2), (0, 2)], 4),  # out of a side,
        ([(0, 0), (1, 0), (2, 0), (2, 2), (2, 3), (2, 2), (1, 2), (0, 2)], 4),  # beside corners on sides
        ([(0, 0), (1, 0), (1, 1), (2, 1), (2, 2), (1, 2), (1, 1), (0, 1)], 2),  # two squares that touch at a corner
        ([(0, 0), (4, 0), (4, 4), (0, 4), (0, 0), (1, 1), (1, 3), (3, 3), (3, 1), (1, 1)], 12),  # a hole
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_polygons_that_touch_themselves_are_covered_and_nothing_beside_them(outline, area, turned):
    points = np.array([(x, y, x - 2 * y) for x, y in outline[:: -1 if turned else 1]], float)
    for start in range(len(points)):
        vertices = np.roll(points, start, axis=0)
        corner, polygon = triangulate(np.array([len(points)]), np.arange(len(points)), vertices)
        assert len(corner) == len(polygon) == len(points) - 2
        a, b, c = np.moveaxis(vertices[corner][..., :2], 1, 0)
        areas = ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2
        assert np.abs(areas).sum() == pytest.approx(area)
        assert areas.sum() == pytest.approx(-area if turned else area)


def u_prism() -> tuple[np.ndarray, list[list[int]]]:
    vertices = np.array([[*corner, z] for z in (0, 1) for corner in U_SHAPE])
    sides = [[k, (k + 1) % 8, 8 + (k + 1) % 8, 8 + k] for k in range(8)]
    return vertices, [list(range(7, -1, -1)), list(range(8, 16)), *sides]


def test_a_prism_with_concave_caps_is_the_same_solid_from_every_file_type(tmp_path):
    vertices, polygons = u_prism()
    lines = ["{:g} {:g} {:g}".format(*vertex) for vertex in vertices]
    rows = [f"{len(polygon)} {' '.join(map(str, polygon))}" for polygon in polygons]
    head = "ply\nformat ascii 1.0\nelement vertex 16\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 10\nproperty list uchar int vertex_indices\nend_header\n"
    faces = [" ".join(str(vertex + 1) for vertex in polygon) for polygon in polygons]
    files = {
        "a.ply": head + "\n".join([*lines, *rows]) + "\n",
        "a.off": "\n".join(["OFF", "16 10 0", *lines, *rows]) + "\n",
        "a.obj": "\n".join([*(f"v {line}" for line in lines), *(f"f {face}" for face in faces)]) + "\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        mesh = load_mesh(tmp_path / name, up="z")
        corners = mesh.vertices[mesh.faces] * 3
        volume = (corners[:, 0] * np.cross(corners[:, 1], corners[:, 2])).sum() / 6
        assert volume == pytest.approx(7)
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        assert np.linalg.norm(cross, axis=1).sum() / 2 == pytest.approx(2 * 7 + 16)
        edges = {(int(face[k - 1]), int(face[k])) for face in mesh.faces for k in range(3)}
        assert all((b, a) in edges for a, b in edges)  # closed


def test_strips_turn_every_second_triangle():
    assert strips(np.array([5, 6, 7, 8, 1, 2, 3]), np.array([0, 4])).tolist() == [[5, 6, 7], [6, 8, 7], [1, 2, 3]]
    assert strips(np.array([5, 6]), np.array([0])).shape == (0, 3)
    assert strips(np.zeros(0, int), np.zeros(0, int)).shape == (0, 3)
