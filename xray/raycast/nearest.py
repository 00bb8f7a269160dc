"""The first surface along the rays of a picture, at its pixels or around them: Warp kernels for the CPU.

As `raster.sweep`, face by face, but what lies behind a surface that is already known is passed over before any test.
"""

from __future__ import annotations

from ..common.warp_setup import OPTIONS, wp
from .hit_lists import SAME_DEPTH
from .raster import (
    Projection,
    bounds_of,
    box_of,
    first_pixel,
    is_within,
    last_pixel,
    passes_by,
    projection_of,
    span_of,
)
from .ray_triangle import (
    BACK,
    DOUBT,
    FRONT,
    MISS,
    Casting,
    Face,
    barycentric_weights,
    distance,
    exact_side,
    face_from,
    side,
)

wp.set_module_options(OPTIONS)

SLACK = wp.constant(wp.float32(1e-6))
"""Share of a float32 distance that is above its rounding."""


@wp.struct
class Nearest:
    """Of each of N rays the nearest crossing from each side, found without atomic operations: threads run in turn.

    What float64 cannot decide is put aside as pairs of ray and face, for `decide_nearest`; there may be more pairs
    than there is room for.
    """

    depth: wp.array2d(dtype=wp.float64)  # (2, N) from the front, from the back; without end where there is none
    face: wp.array2d(dtype=wp.int32)  # (2, N), -1 where there is none
    reach: wp.array(dtype=wp.float32)  # (N,) farther ahead than this, along `axis`, lies no first surface
    axis: wp.vec3d  # of the camera
    doubts: wp.array(dtype=wp.int32)  # (1,)
    doubtful_ray: wp.array(dtype=wp.int32)
    doubtful_face: wp.array(dtype=wp.int32)


@wp.struct
class Around:
    """K rays around each of P pixels of a picture: those of the pixel in place p are p K to p K + K - 1."""

    width: wp.int32
    height: wp.int32
    place: wp.array(dtype=wp.int32)  # (width * height,) of every pixel, -1 where it has no rays
    offset: wp.array(dtype=wp.vec2)  # (K,) column and row from the pixel's middle
    farthest: wp.float32  # the largest of all offsets


@wp.func
def keep(near: Nearest, casting: Casting, ray: wp.int32, face: Face, sign: wp.int32):
    """Note a crossing if it is ahead of the ray's start and nearer than what is known."""
    d = casting.directions[ray]
    depth = distance(d, face, barycentric_weights(d, face, sign))
    if depth <= wp.float64(0.0):
        return
    kind = wp.int32(0)
    if sign == BACK:
        kind = 1
    nearest = near.depth[kind, ray]
    if depth < nearest or (depth == nearest and face.index < near.face[kind, ray]):
        near.depth[kind, ray] = depth
        near.face[kind, ray] = face.index
        ahead = wp.float32((depth + SAME_DEPTH) * wp.dot(d, near.axis)) * (1.0 + SLACK)
        near.reach[ray] = wp.min(near.reach[ray], ahead)


@wp.func
def test(near: Nearest, casting: Casting, ray: wp.int32, face: Face):
    """Test one ray against one face; note the crossing, or put the pair aside."""
    sign = side(casting.directions[ray], face, casting.tolerance)
    if sign == DOUBT:
        slot = near.doubts[0]
        near.doubts[0] = slot + 1
        if slot < near.doubtful_ray.shape[0]:
            near.doubtful_ray[slot] = ray
            near.doubtful_face[slot] = face.index
    elif sign != MISS:
        keep(near, casting, ray, face, sign)


@wp.func
def lowest_ahead(seen: Projection) -> wp.float32:
    """Where along the camera's axis a face begins: no crossing is before its nearest corner."""
    return (1.0 - SLACK) * wp.min(seen.a[2], wp.min(seen.b[2], seen.c[2]))


@wp.func
def columns_of(seen: Projection, bounds: wp.vec4, row: int, farthest: wp.float32, width: int) -> wp.vec2i:
    """First and last column of the pixels of a row with places that a projection may hold, up to `farthest` away."""
    span = wp.vec2(bounds[0], bounds[1])
    if span[1] - span[0] > 4.0:
        span = span_of(seen, bounds, float(row) - farthest, float(row) + farthest)
    return wp.vec2i(first_pixel(span[0] - farthest, width), last_pixel(span[1] + farthest, width))


SMALL_PX = wp.constant(wp.float32(4.0))
"""A projection of fewer rows and columns is tested by its float32 place first, which spares the making of the face;
in a loop of its own, since one loop for both makes a picture of a million faces in a third more time."""


@wp.func
def is_small(bounds: wp.vec4) -> bool:
    """Whether a projection has few rows and columns."""
    return bounds[1] - bounds[0] < SMALL_PX and bounds[3] - bounds[2] < SMALL_PX


@wp.func
def sweep_face_pixels(
    pixel: wp.array(dtype=wp.vec3), casting: Casting, width: int, height: int, near: Nearest, index: wp.int32
):
    """Test a face against the rays of the pixels within its projection."""
    seen = projection_of(pixel, casting.faces[index])
    bounds = bounds_of(seen)
    box = box_of(bounds, width, height)
    if box[0] > box[1] or box[2] > box[3]:
        return
    ahead = lowest_ahead(seen)
    if is_small(bounds):
        for row in range(box[2], box[3] + 1):
            for column in range(box[0], box[1] + 1):
                ray = row * width + column
                if ahead <= near.reach[ray] and not passes_by(seen, wp.vec2(float(column), float(row))):
                    test(near, casting, ray, face_from(casting, index))
        return
    face = face_from(casting, index)
    for row in range(box[2], box[3] + 1):
        columns = columns_of(seen, bounds, row, 0.0, width)
        for column in range(columns[0], columns[1] + 1):
            ray = row * width + column
            if ahead <= near.reach[ray]:
                test(near, casting, ray, face)


@wp.kernel
def sweep_pixels(pixel: wp.array(dtype=wp.vec3), casting: Casting, width: int, height: int, near: Nearest, block: int):
    """Test faces against the rays of the pixels within their projections."""
    begin = wp.tid() * block
    for index in range(begin, wp.min(begin + block, casting.faces.shape[0])):
        sweep_face_pixels(pixel, casting, width, height, near, index)


@wp.func
def sweep_face_around(pixel: wp.array(dtype=wp.vec3), casting: Casting, around: Around, near: Nearest, index: wp.int32):
    """As `sweep_face_pixels`, for the rays around some pixels."""
    seen = projection_of(pixel, casting.faces[index])
    bounds = bounds_of(seen)
    first_row = first_pixel(bounds[2] - around.farthest, around.height)
    last_row = last_pixel(bounds[3] + around.farthest, around.height)
    if bounds[0] > bounds[1] or first_row > last_row:
        return
    ahead = lowest_ahead(seen)
    number = around.offset.shape[0]
    if is_small(bounds):
        for row in range(first_row, last_row + 1):
            columns = columns_of(seen, bounds, row, around.farthest, around.width)
            for column in range(columns[0], columns[1] + 1):
                place = around.place[row * around.width + column]
                if place >= 0:
                    for item in range(number):
                        position = wp.vec2(float(column), float(row)) + around.offset[item]
                        ray = place * number + item
                        if is_within(position, bounds) and ahead <= near.reach[ray] and not passes_by(seen, position):
                            test(near, casting, ray, face_from(casting, index))
        return
    face = face_from(casting, index)
    for row in range(first_row, last_row + 1):
        columns = columns_of(seen, bounds, row, around.farthest, around.width)
        for column in range(columns[0], columns[1] + 1):
            place = around.place[row * around.width + column]
            if place >= 0:
                for item in range(number):
                    position = wp.vec2(float(column), float(row)) + around.offset[item]
                    ray = place * number + item
                    if is_within(position, bounds) and ahead <= near.reach[ray]:
                        test(near, casting, ray, face)


@wp.kernel
def sweep_around(pixel: wp.array(dtype=wp.vec3), casting: Casting, around: Around, near: Nearest, block: int):
    """As `sweep_pixels`, for the rays around some pixels."""
    begin = wp.tid() * block
    for index in range(begin, wp.min(begin + block, casting.faces.shape[0])):
        sweep_face_around(pixel, casting, around, near, index)


@wp.kernel
def decide_nearest(casting: Casting, near: Nearest):
    """Settle the pairs that were put aside, exactly."""
    item = wp.tid()
    ray = near.doubtful_ray[item]
    face = face_from(casting, near.doubtful_face[item])
    sign = exact_side(casting.directions[ray], face, casting.tolerance)
    if sign != MISS:
        keep(near, casting, ray, face, sign)


@wp.kernel
def aim(
    pixel: wp.array(dtype=wp.int32),
    around: Around,
    world_from_camera: wp.mat33d,
    tangent: wp.float64,
    directions: wp.array(dtype=wp.vec3d),
):
    """Unit directions, world, of the rays around pixels; see `Camera.rays_at`."""
    place = wp.tid()
    number = around.offset.shape[0]
    column = float(pixel[place] % around.width)
    row = float(pixel[place] // around.width)
    width = wp.float64(around.width)
    height = wp.float64(around.height)
    for item in range(number):
        offset = around.offset[item]
        x = (wp.float64(2.0) * wp.float64(column + offset[0]) - width) / width * tangent
        y = -(wp.float64(2.0) * wp.float64(row + offset[1]) - height) / width * tangent
        direction = world_from_camera * wp.vec3d(x, y, wp.float64(-1.0))
        directions[place * number + item] = wp.normalize(direction)


@wp.func
def side_of_first(near: Nearest, ray: wp.int32) -> wp.int32:
    """`FRONT` or `BACK`, from which side a ray meets its first surface; see `hit_lists.sort_and_merge`."""
    front = near.depth[0, ray]
    back = near.depth[1, ray]
    if back < front and front - back >= SAME_DEPTH:
        return BACK
    return FRONT


@wp.func
def face_of_first(near: Nearest, ray: wp.int32, side_seen: wp.int32) -> wp.int32:
    """The face of a ray's first surface, met from a side; -1 where there is none."""
    if side_seen == BACK:
        return near.face[1, ray]
    return near.face[0, ray]


@wp.kernel
def choose_first(
    casting: Casting,
    near: Nearest,
    face: wp.array(dtype=wp.int32),
    depth: wp.array(dtype=wp.float64),
    barycentric: wp.array(dtype=wp.vec3d),
):
    """Per ray: the first of the hits that `sort_and_merge` would give; -1 as its face where there is none."""
    ray = wp.tid()
    seen = side_of_first(near, ray)
    face[ray] = face_of_first(near, ray, seen)
    depth[ray] = wp.min(near.depth[0, ray], near.depth[1, ray])
    if face[ray] >= 0:
        barycentric[ray] = barycentric_weights(casting.directions[ray], face_from(casting, face[ray]), seen)
