"""What a light reaches: the faces of a mesh in a grid as the light sees it, made once for all views. Warp kernels.

A cell of the grid holds the faces that its rays may cross, how far the space before all of them is free, and beyond
which distance a face that fills the cell hides everything. Most points need only these two numbers; for the others
the line to the light is tested against the faces of their cell, so that shadows are exact at any size of the grid.
"""

from __future__ import annotations

import math

import numpy as np

from ..common.warp_setup import BLOCK, OPTIONS, wp
from ..core.camera import Camera, look_at
from .raster import bounds_of, project, projection_of, span_of
from .ray_triangle import DOUBT, FRONT, MISS, Casting, barycentric_weights, distance, face_from, side

wp.set_module_options(OPTIONS)

SMALLEST, LARGEST = 256, 2048
"""Cells on each side: for some faces each, within these. It changes the time alone."""

SLACK = wp.constant(wp.float64(1e-6))
"""Share of a distance by which bounds are made safe from rounding."""

BORDER = wp.constant(wp.float64(1e-3))
"""A face reaches beyond a cell that it fills by this, in cells."""


@wp.struct
class LightGrid:
    """The faces of every cell; those of the cell (column i, row j) are `face[start[k]]` to `face[start[k + 1] - 1]`
    with k = j size + i."""

    casting: Casting  # from the light, without rays
    camera_from_world: wp.mat33d
    focal_px: wp.float64
    size: wp.int32
    start: wp.array(dtype=wp.int32)  # (size * size + 1,)
    face: wp.array(dtype=wp.int32)
    ahead: wp.array(dtype=wp.float32)  # of each entry, the least distance along the axis
    free: wp.array(dtype=wp.float32)  # (size * size,) no face is nearer along the axis
    hidden: wp.array(dtype=wp.float32)  # (size * size,) farther along the axis nothing is lit


@wp.struct
class Plane:
    """One over the distance along the axis of a face's plane is `value` + `across` column + `down` row."""

    known: wp.bool
    turn: wp.float64  # 1 or -1, by the winding of the projection
    value: wp.float64
    across: wp.float64
    down: wp.float64
    a: wp.vec3d  # column, row, distance along the axis of the corners
    b: wp.vec3d
    c: wp.vec3d


@wp.func
def place_of(grid: LightGrid, point: wp.vec3d) -> wp.vec3d:
    """Column, row and distance along the axis of a point ahead of the light."""
    seen = grid.camera_from_world * (point - grid.casting.origin)
    half = wp.float64(grid.size) / wp.float64(2.0)
    ahead = -seen[2]
    return wp.vec3d(half + grid.focal_px * seen[0] / ahead, half - grid.focal_px * seen[1] / ahead, ahead)


@wp.func
def plane_of(grid: LightGrid, index: wp.int32) -> Plane:
    """The plane of a face that covers some cells; not known where it is seen too flat to tell."""
    corner = grid.casting.faces[index]
    plane = Plane()
    plane.a = place_of(grid, grid.casting.vertices[corner[0]])
    plane.b = place_of(grid, grid.casting.vertices[corner[1]])
    plane.c = place_of(grid, grid.casting.vertices[corner[2]])
    one = plane.b - plane.a
    two = plane.c - plane.a
    area = one[0] * two[1] - one[1] * two[0]
    if wp.abs(area) > wp.float64(1.0):
        nearness = wp.float64(1.0) / plane.a[2]
        first = wp.float64(1.0) / plane.b[2] - nearness
        second = wp.float64(1.0) / plane.c[2] - nearness
        plane.known = wp.bool(True)
        plane.turn = wp.sign(area)
        plane.across = (first * two[1] - second * one[1]) / area
        plane.down = (second * one[0] - first * two[0]) / area
        plane.value = nearness - plane.across * plane.a[0] - plane.down * plane.a[1]
    return plane


@wp.func
def beyond(one: wp.vec3d, two: wp.vec3d, turn: wp.float64, column: wp.float64, row: wp.float64) -> bool:
    """Whether a whole cell lies inside of an edge."""
    step = wp.vec2d(two[0] - one[0], two[1] - one[1]) * turn
    value = step[0] * (row - one[1]) - step[1] * (column - one[0])
    lowest = value + wp.min(step[0], wp.float64(0.0)) + wp.min(-step[1], wp.float64(0.0))
    return lowest > BORDER * (wp.abs(step[0]) + wp.abs(step[1]))


@wp.func
def fills(plane: Plane, column: wp.float64, row: wp.float64) -> bool:
    """Whether a face covers a whole cell."""
    return (
        beyond(plane.a, plane.b, plane.turn, column, row)
        and beyond(plane.b, plane.c, plane.turn, column, row)
        and beyond(plane.c, plane.a, plane.turn, column, row)
    )


@wp.func
def cell_of(place: wp.float32, size: wp.int32) -> wp.int32:
    """The cell of a column or row."""
    return int(wp.clamp(wp.floor(place), 0.0, float(size - 1)))


@wp.func
def deal_face(
    pixel: wp.array(dtype=wp.vec3), grid: LightGrid, cursor: wp.array(dtype=wp.int32), fill: int, index: wp.int32
):
    """Go through the cells that a face may touch: count it in those and set their bounds, or enter it at `cursor`."""
    seen = projection_of(pixel, grid.casting.faces[index])
    bounds = bounds_of(seen)
    lowest = wp.float64(wp.min(seen.a[2], wp.min(seen.b[2], seen.c[2]))) * (wp.float64(1.0) - SLACK)
    highest = wp.float64(wp.max(seen.a[2], wp.max(seen.b[2], seen.c[2]))) * (wp.float64(1.0) + SLACK)
    plane = Plane()
    if bounds[1] - bounds[0] > 2.0 or bounds[3] - bounds[2] > 2.0:
        plane = plane_of(grid, index)
    for row in range(cell_of(bounds[2], grid.size), cell_of(bounds[3], grid.size) + 1):
        span = wp.vec2(bounds[0], bounds[1])
        if bounds[1] - bounds[0] > 2.0:
            span = span_of(seen, bounds, float(row), float(row) + 1.0)
        for column in range(cell_of(span[0], grid.size), cell_of(span[1], grid.size) + 1):
            cell = row * grid.size + column
            near = lowest
            if plane.known:
                corner = plane.value + plane.across * wp.float64(column) + plane.down * wp.float64(row)
                most = corner + wp.max(plane.across, wp.float64(0.0)) + wp.max(plane.down, wp.float64(0.0))
                if most > wp.float64(0.0):
                    near = wp.max(near, (wp.float64(1.0) - SLACK) / most)
                if fill == 0 and fills(plane, wp.float64(column), wp.float64(row)):
                    least = corner + wp.min(plane.across, wp.float64(0.0)) + wp.min(plane.down, wp.float64(0.0))
                    far = highest
                    if least > wp.float64(0.0):
                        far = wp.min(far, (wp.float64(1.0) + SLACK) / least)
                    grid.hidden[cell] = wp.min(grid.hidden[cell], wp.float32(far) * (1.0 + wp.float32(SLACK)))
            ahead = wp.float32(near) * (1.0 - wp.float32(SLACK))
            if fill == 0:
                grid.start[cell + 1] += 1
                grid.free[cell] = wp.min(grid.free[cell], ahead)
            else:
                slot = cursor[cell]
                cursor[cell] = slot + 1
                grid.face[slot] = index
                grid.ahead[slot] = ahead


@wp.kernel
def deal_faces(
    pixel: wp.array(dtype=wp.vec3), grid: LightGrid, cursor: wp.array(dtype=wp.int32), fill: int, block: int
):
    """`deal_face` of faces in turn, one thread at a time."""
    begin = wp.tid() * block
    for index in range(begin, wp.min(begin + block, grid.casting.faces.shape[0])):
        deal_face(pixel, grid, cursor, fill, index)


@wp.func
def is_hidden(grid: LightGrid, point: wp.vec3d, margin: wp.float64) -> bool:
    """Whether a surface crosses the straight line from the light to a point, before the last `margin` of it."""
    offset = point - grid.casting.origin
    length = wp.length(offset)
    limit = length - margin
    place = place_of(grid, point)
    column = int(wp.floor(place[0]))
    row = int(wp.floor(place[1]))
    if column < 0 or column >= grid.size or row < 0 or row >= grid.size:
        return False
    cell = row * grid.size + column
    ahead = limit * place[2] / length
    if ahead <= wp.float64(grid.free[cell]):
        return False
    if ahead > wp.float64(grid.hidden[cell]):
        return True
    d = offset / length
    for slot in range(grid.start[cell], grid.start[cell + 1]):
        if wp.float64(grid.ahead[slot]) < ahead:
            face = face_from(grid.casting, grid.face[slot])
            sign = side(d, face, grid.casting.tolerance)
            if sign == DOUBT:
                sign = FRONT  # through an edge or a corner
            if sign != MISS:
                depth = distance(d, face, barycentric_weights(d, face, sign))
                if depth > wp.float64(0.0) and depth < limit:
                    return True
    return False


@wp.kernel
def mark_hidden(grid: LightGrid, points: wp.array(dtype=wp.vec3d), margin: wp.float64, hidden: wp.array(dtype=wp.bool)):
    """`is_hidden` of many points."""
    item = wp.tid()
    hidden[item] = is_hidden(grid, points[item], margin)


def light_grid(casting: Casting) -> LightGrid | None:
    """The grid of a light at the casting's origin; None where the mesh reaches around it, so that no picture holds it.

    Args:
      casting: on the CPU; its rays are not used.
    """
    vertices, origin = casting.vertices.numpy(), np.array(casting.origin)
    low, high = vertices.min(0), vertices.max(0)
    radius = float(np.linalg.norm(high - low)) / 2 + 1e-9
    away = float(np.linalg.norm(origin - (low + high) / 2))
    if not away > 1.01 * radius:
        return None
    faces = len(casting.faces)
    blocks = -(-faces // BLOCK)
    size = min(max(SMALLEST, 1 << max(round(math.log2(faces) / 2 - 1), 0)), LARGEST)
    fov_rad = 2 * math.asin(radius / away) * 1.001
    camera = Camera(size, size, fov_rad, look_at(origin, (low + high) / 2))
    grid = LightGrid()
    grid.casting, grid.size, grid.focal_px = casting, size, camera.focal_px
    grid.camera_from_world = wp.mat33d(camera.world_from_camera[:3, :3].T)
    pixel = wp.empty(len(vertices), dtype=wp.vec3, device="cpu")
    sizes = (float(size), float(size))
    inputs = [casting, grid.camera_from_world, camera.focal_px, *sizes, pixel]
    wp.launch(project, dim=len(vertices), inputs=inputs, device="cpu")
    grid.start = wp.zeros(size * size + 1, dtype=wp.int32, device="cpu")
    grid.free = wp.full(size * size, wp.inf, dtype=wp.float32, device="cpu")
    grid.hidden = wp.full(size * size, wp.inf, dtype=wp.float32, device="cpu")
    grid.face = wp.empty(0, dtype=wp.int32, device="cpu")
    grid.ahead = wp.empty(0, dtype=wp.float32, device="cpu")
    wp.launch(deal_faces, dim=blocks, inputs=[pixel, grid, grid.start, 0, BLOCK], device="cpu")
    start = np.cumsum(grid.start.numpy(), dtype=np.int64)
    grid.start = wp.array(start.astype(np.int32), dtype=wp.int32, device="cpu")
    grid.face = wp.empty(int(start[-1]), dtype=wp.int32, device="cpu")
    grid.ahead = wp.empty(int(start[-1]), dtype=wp.float32, device="cpu")
    cursor = wp.array(start[:-1].astype(np.int32), dtype=wp.int32, device="cpu")
    wp.launch(deal_faces, dim=blocks, inputs=[pixel, grid, cursor, 1, BLOCK], device="cpu")
    return grid
