"""The faces that the rays of a pinhole camera may cross, by projection: Warp kernels.

Rays of one picture start at one point and lie on a grid, so a face can only be crossed by the rays in the box of
its projection. Going through the faces, and not through the rays, needs no tree and visits no box in vain.
"""

from __future__ import annotations

from ..common.warp_setup import OPTIONS, wp
from .hit_lists import Found, record
from .ray_triangle import Casting, face_from

wp.set_module_options(OPTIONS)

MARGIN_PX = wp.constant(wp.float32(1e-3))
"""Added around a projection: far above the rounding of a float32 pixel position below 2^13."""

LARGEST_PX = wp.constant(wp.float32(2**13))
"""Farther from a place, corners of a projection do not tell on which side of their edge it lies."""


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
    place = wp.clamp(low - MARGIN_PX, 0.0, float(size))
    whole = int(place)  # towards 0; a call of ceil takes far longer
    if float(whole) < place:
        whole += 1
    return whole


@wp.func
def last_pixel(high: wp.float32, size: int) -> int:
    """Highest whole number that is at most `high`, within -1..size - 1; one more where `high` rounds to it."""
    return int(wp.clamp(high + MARGIN_PX, -1.0, float(size - 1)) + 1.0) - 1


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
def box_of(bounds: wp.vec4, width: int, height: int) -> wp.vec4i:
    """First and last column, first and last row of the pixels in a projection's bounds; first after last where there is
    none."""
    return wp.vec4i(
        first_pixel(bounds[0], width),
        last_pixel(bounds[1], width),
        first_pixel(bounds[2], height),
        last_pixel(bounds[3], height),
    )


@wp.func
def sweep_face(
    pixel: wp.array(dtype=wp.vec3), casting: Casting, width: int, height: int, found: Found, index: wp.int32
):
    """Test a face against the rays in the box of its projection, or against all where it meets the camera's plane."""
    box = box_of(bounds_of(projection_of(pixel, casting.faces[index])), width, height)
    if box[0] > box[1] or box[2] > box[3]:
        return
    face = face_from(casting, index)
    for row in range(box[2], box[3] + 1):
        for column in range(box[0], box[1] + 1):
            record(found, casting, row * width + column, face)


@wp.kernel
def sweep(pixel: wp.array(dtype=wp.vec3), casting: Casting, width: int, height: int, found: Found, block: int):
    """Test faces against the rays in the boxes of their projections."""
    begin = wp.tid() * block
    for index in range(begin, wp.min(begin + block, casting.faces.shape[0])):
        sweep_face(pixel, casting, width, height, found, index)


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
def passes_by(seen: Projection, position: wp.vec2) -> bool:
    """Whether a place is surely outside of the projection of a face; for large projections never, since their float32
    positions do not tell."""
    one = wp.vec2(seen.a[0], seen.a[1]) - position
    two = wp.vec2(seen.b[0], seen.b[1]) - position
    three = wp.vec2(seen.c[0], seen.c[1]) - position
    size = wp.abs(one[0]) + wp.abs(one[1]) + wp.abs(two[0]) + wp.abs(two[1]) + wp.abs(three[0]) + wp.abs(three[1])
    if wp.min(seen.a[2], wp.min(seen.b[2], seen.c[2])) <= 0.0 or size > LARGEST_PX:
        return False
    first = one[0] * two[1] - one[1] * two[0]
    second = two[0] * three[1] - two[1] * three[0]
    third = three[0] * one[1] - three[1] * one[0]
    doubt = 2.0 * MARGIN_PX * size
    return wp.min(first, wp.min(second, third)) < -doubt and wp.max(first, wp.max(second, third)) > doubt
