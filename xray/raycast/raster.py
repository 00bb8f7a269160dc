"""The faces that the rays of a pinhole camera may cross, by projection: Warp kernels.

Rays of one picture start at one point and lie on a grid, so a face can only be crossed by the rays in the box of
its projection. Going through the faces, and not through the rays, needs no tree and visits no box in vain. Rays from
one point that do not lie on a grid are dealt out into its cells first (`RayGrid`), after Johnson et al., "The
Irregular Z-Buffer", ACM Transactions on Graphics 24(4), 2005.
"""

from __future__ import annotations

from ..common.warp_setup import OPTIONS, wp
from .hit_lists import Found, record
from .ray_triangle import DOUBT, FRONT, MISS, Casting, Face, barycentric_weights, distance, face_from, side

wp.set_module_options(OPTIONS)

MARGIN_PX = wp.constant(wp.float32(1e-3))
"""Added around a projection: far above the rounding of a float32 pixel position below 2^13."""


@wp.kernel
def project(
    casting: Casting,
    camera_from_world: wp.mat33d,
    focal_px: wp.float64,
    width: wp.float64,
    height: wp.float64,
    pixel: wp.array(dtype=wp.vec3),
):
    """Column, row and distance along the axis of every vertex; the first two hold where the third is above 0, which is
    -1 for a vertex behind the camera's plane, and 0 for one close to it."""
    item = wp.tid()
    point = camera_from_world * (casting.vertices[item] - casting.origin)
    ahead = -point[2]
    # Nearer to the camera's plane than this, a vertex has no usable place in the picture; see `sweep`.
    if ahead > wp.float64(1e-6) * wp.length(point):
        column = width / wp.float64(2.0) + focal_px * point[0] / ahead
        row = height / wp.float64(2.0) - focal_px * point[1] / ahead
        pixel[item] = wp.vec3(wp.float32(column), wp.float32(row), wp.float32(ahead))
    elif ahead < wp.float64(0.0):
        pixel[item] = wp.vec3(0.0, 0.0, -1.0)
    else:
        pixel[item] = wp.vec3(0.0, 0.0, 0.0)


@wp.struct
class Projection:
    """The corners of a face as `project` gives them."""

    a: wp.vec3
    b: wp.vec3
    c: wp.vec3


@wp.func
def projection_of(pixel: wp.array(dtype=wp.vec3), corner: wp.vec3i) -> Projection:
    """The projection of a face with these corners."""
    seen = Projection()
    seen.a = pixel[corner[0]]
    seen.b = pixel[corner[1]]
    seen.c = pixel[corner[2]]
    return seen


@wp.func
def first_pixel(low: wp.float32, size: int) -> int:
    """Lowest whole number that is at least `low`, within 0..size."""
    return int(wp.clamp(wp.ceil(low - MARGIN_PX), 0.0, float(size)))


@wp.func
def last_pixel(high: wp.float32, size: int) -> int:
    """Highest whole number that is at most `high`, within -1..size - 1."""
    return int(wp.clamp(wp.floor(high + MARGIN_PX), -1.0, float(size - 1)))


@wp.func
def box_of(seen: Projection, width: int, height: int) -> wp.vec4i:
    """First and last column, first and last row of the pixels in the box of a face's projection; all pixels where
    the face meets the camera's plane; first after last where there is none."""
    a = seen.a
    b = seen.b
    c = seen.c
    if a[2] > 0.0 and b[2] > 0.0 and c[2] > 0.0:
        first_column = first_pixel(wp.min(a[0], wp.min(b[0], c[0])), width)
        last_column = last_pixel(wp.max(a[0], wp.max(b[0], c[0])), width)
        if first_column > last_column:
            return wp.vec4i(0, -1, 0, -1)
        first_row = first_pixel(wp.min(a[1], wp.min(b[1], c[1])), height)
        last_row = last_pixel(wp.max(a[1], wp.max(b[1], c[1])), height)
        return wp.vec4i(first_column, last_column, first_row, last_row)
    if a[2] < 0.0 and b[2] < 0.0 and c[2] < 0.0:
        return wp.vec4i(0, -1, 0, -1)  # behind the camera
    return wp.vec4i(0, width - 1, 0, height - 1)


@wp.kernel
def sweep(
    pixel: wp.array(dtype=wp.vec3),
    casting: Casting,
    width: int,
    height: int,
    found: Found,
):
    """Test a face against the rays in the box of its projection, or against all where it meets the camera's plane."""
    index = wp.tid()
    box = box_of(projection_of(pixel, casting.faces[index]), width, height)
    if box[0] > box[1] or box[2] > box[3]:
        return
    face = face_from(casting, index)
    for row in range(box[2], box[3] + 1):
        for column in range(box[0], box[1] + 1):
            record(found, casting, row * width + column, face)


@wp.struct
class RayGrid:
    """Rays from one point by the pixel of a camera that each passes nearest to.

    The rays of the cell (column i, row j) are `order[start[k]]` to `order[start[k + 1] - 1]` with k = j width + i.
    Rays beyond the picture stand in its outermost cells.
    """

    width: wp.int32
    height: wp.int32
    position: wp.array(dtype=wp.vec2)  # (N,) column and row, not rounded
    start: wp.array(dtype=wp.int32)  # (width * height + 1,)
    order: wp.array(dtype=wp.int32)  # (N,)


@wp.func
def cell_at(position: wp.float32, size: wp.int32) -> wp.int32:
    """The cell of a column or row."""
    return int(wp.clamp(wp.floor(position + 0.5), 0.0, float(size - 1)))


@wp.kernel
def count_cells(grid: RayGrid):
    """Add every ray to its cell's number, which stands one place behind the cell's own."""
    position = grid.position[wp.tid()]
    cell = cell_at(position[1], grid.height) * grid.width + cell_at(position[0], grid.width)
    wp.atomic_add(grid.start, cell + 1, 1)


@wp.kernel
def fill_cells(grid: RayGrid, cursor: wp.array(dtype=wp.int32)):
    """Put every ray into `order`; `cursor` holds where each cell begins, and ends behind it."""
    ray = wp.tid()
    position = grid.position[ray]
    cell = cell_at(position[1], grid.height) * grid.width + cell_at(position[0], grid.width)
    grid.order[wp.atomic_add(cursor, cell, 1)] = ray


@wp.func
def bounds_of(seen: Projection) -> wp.vec4:
    """Lowest and highest column, lowest and highest row of a face's projection; without end where the face meets the
    camera's plane; the first above the second for a face behind it."""
    a = seen.a
    b = seen.b
    c = seen.c
    if a[2] > 0.0 and b[2] > 0.0 and c[2] > 0.0:
        return wp.vec4(
            wp.min(a[0], wp.min(b[0], c[0])) - MARGIN_PX,
            wp.max(a[0], wp.max(b[0], c[0])) + MARGIN_PX,
            wp.min(a[1], wp.min(b[1], c[1])) - MARGIN_PX,
            wp.max(a[1], wp.max(b[1], c[1])) + MARGIN_PX,
        )
    if a[2] < 0.0 and b[2] < 0.0 and c[2] < 0.0:
        return wp.vec4(1.0, -1.0, 1.0, -1.0)
    return wp.vec4(-wp.inf, wp.inf, -wp.inf, wp.inf)


@wp.func
def is_within(position: wp.vec2, bounds: wp.vec4) -> bool:
    """Whether a place lies in the box of a projection."""
    return (
        position[0] >= bounds[0] and position[0] <= bounds[1] and position[1] >= bounds[2] and position[1] <= bounds[3]
    )


@wp.func
def across(low: wp.float32, high: wp.float32, a: wp.vec3, b: wp.vec3, span: wp.vec2) -> wp.vec2:
    """`span`, lowest and highest column, widened by the part of an edge between two rows."""
    if wp.min(a[1], b[1]) > high or wp.max(a[1], b[1]) < low:
        return span
    slope = b[1] - a[1]
    start = wp.float32(0.0)
    end = wp.float32(1.0)
    if slope != 0.0:
        start = wp.clamp((low - a[1]) / slope, 0.0, 1.0)
        end = wp.clamp((high - a[1]) / slope, 0.0, 1.0)
    one = a[0] + start * (b[0] - a[0])
    two = a[0] + end * (b[0] - a[0])
    return wp.vec2(wp.min(span[0], wp.min(one, two)), wp.max(span[1], wp.max(one, two)))


@wp.func
def span_of(seen: Projection, bounds: wp.vec4, low: wp.float32, high: wp.float32) -> wp.vec2:
    """Lowest and highest column of the projection of a face with these `bounds` between two rows.

    The margin is far above the rounding of the corners' float32 positions, which grows with them.
    """
    if wp.isinf(bounds[0]):
        return wp.vec2(bounds[0], bounds[1])
    size = wp.max(wp.max(wp.abs(bounds[0]), wp.abs(bounds[1])), wp.max(wp.abs(bounds[2]), wp.abs(bounds[3])))
    margin = MARGIN_PX + 1e-6 * size
    low -= margin
    high += margin
    span = across(low, high, seen.a, seen.b, wp.vec2(wp.inf, -wp.inf))
    span = across(low, high, seen.b, seen.c, span)
    span = across(low, high, seen.c, seen.a, span)
    return wp.vec2(wp.max(bounds[0], span[0] - margin), wp.min(bounds[1], span[1] + margin))


@wp.func
def has_rays(grid: RayGrid, bounds: wp.vec4) -> bool:
    """Whether any ray passes through the box of a projection; answered for small boxes only, true for others."""
    if bounds[1] - bounds[0] > 2.0 or bounds[3] - bounds[2] > 2.0:
        return True
    first = cell_at(bounds[0], grid.width)
    last = cell_at(bounds[1], grid.width)
    for row in range(cell_at(bounds[2], grid.height), cell_at(bounds[3], grid.height) + 1):
        for slot in range(grid.start[row * grid.width + first], grid.start[row * grid.width + last + 1]):
            if is_within(grid.position[grid.order[slot]], bounds):
                return True
    return False


@wp.func
def slots_of(grid: RayGrid, seen: Projection, bounds: wp.vec4, row: int) -> wp.vec2i:
    """The first place in `grid.order`, and the place behind the last, of the rays in the cells of one row that the
    projection of a face with these `bounds` may hold."""
    span = wp.vec2(bounds[0], bounds[1])
    if row > 0 and row < grid.height - 1 and bounds[3] - bounds[2] > 2.0:
        span = span_of(seen, bounds, float(row) - 0.5, float(row) + 0.5)
    first = row * grid.width + cell_at(span[0], grid.width)
    last = row * grid.width + cell_at(span[1], grid.width)
    # The cells of a row stand one behind the other.
    return wp.vec2i(grid.start[first], grid.start[last + 1])


@wp.kernel
def sweep_grid(pixel: wp.array(dtype=wp.vec3), casting: Casting, grid: RayGrid, found: Found):
    """As `sweep`, for rays between the pixels."""
    index = wp.tid()
    seen = projection_of(pixel, casting.faces[index])
    bounds = bounds_of(seen)
    if bounds[0] > bounds[1] or not has_rays(grid, bounds):
        return
    face = face_from(casting, index)
    for row in range(cell_at(bounds[2], grid.height), cell_at(bounds[3], grid.height) + 1):
        slots = slots_of(grid, seen, bounds, row)
        for slot in range(slots[0], slots[1]):
            ray = grid.order[slot]
            if is_within(grid.position[ray], bounds):
                record(found, casting, ray, face)


@wp.kernel
def sweep_blocked(
    pixel: wp.array(dtype=wp.vec3),
    casting: Casting,
    grid: RayGrid,
    limit: wp.array(dtype=wp.float64),
    blocked: wp.array(dtype=wp.bool),
):
    """Mark the rays that cross a face nearer than their limit. A ray in doubt, one through an edge, is blocked."""
    index = wp.tid()
    seen = projection_of(pixel, casting.faces[index])
    bounds = bounds_of(seen)
    if bounds[0] > bounds[1] or not has_rays(grid, bounds):
        return
    # No crossing is nearer than the nearest corner is along the camera's axis, less the rounding of float32.
    ahead = wp.float64(0.9999 * wp.min(seen.a[2], wp.min(seen.b[2], seen.c[2])))
    face = Face()
    ready = wp.bool(False)
    for row in range(cell_at(bounds[2], grid.height), cell_at(bounds[3], grid.height) + 1):
        slots = slots_of(grid, seen, bounds, row)
        for slot in range(slots[0], slots[1]):
            ray = grid.order[slot]
            if not blocked[ray] and ahead < limit[ray] and is_within(grid.position[ray], bounds):
                if not ready:  # the face that a point is on, and those behind it, need no test
                    face = face_from(casting, index)
                    ready = True
                d = casting.directions[ray]
                sign = side(d, face, casting.tolerance)
                if sign == DOUBT:
                    sign = FRONT
                if sign != MISS:
                    depth = distance(d, face, barycentric_weights(d, face, sign))
                    if depth > wp.float64(0.0) and depth < limit[ray]:
                        blocked[ray] = True
