"""The faces that the rays of a pinhole camera may cross, by projection: Warp kernels.

Rays of one picture start at one point and lie on a grid, so a face can only be crossed by the rays in the box of
its projection. Going through the faces, and not through the rays, needs no tree and visits no box in vain.
"""

from .crossing import face_from
from .hits import Found, record
from .kernels import OPTIONS, wp

wp.set_module_options(OPTIONS)

MARGIN_PX = wp.constant(wp.float32(1e-3))
"""Added around a projection: far above the rounding of a float32 pixel position below 2^13."""


@wp.kernel
def project(
    vertices: wp.array(dtype=wp.vec3d),
    origin: wp.vec3d,
    camera_from_world: wp.mat33d,
    focal_px: wp.float64,
    width: wp.float64,
    height: wp.float64,
    pixel: wp.array(dtype=wp.vec3),
):
    """Column, row and distance along the axis of every vertex; the first two hold where the third is above 0."""
    item = wp.tid()
    point = camera_from_world * (vertices[item] - origin)
    ahead = -point[2]
    # Nearer to the camera's plane than this, a vertex has no usable place in the picture; see `sweep`.
    if ahead > wp.float64(1e-6) * wp.length(point):
        column = width / wp.float64(2.0) + focal_px * point[0] / ahead
        row = height / wp.float64(2.0) - focal_px * point[1] / ahead
        pixel[item] = wp.vec3(wp.float32(column), wp.float32(row), wp.float32(1.0))
    elif ahead < wp.float64(0.0):
        pixel[item] = wp.vec3(0.0, 0.0, -1.0)
    else:
        pixel[item] = wp.vec3(0.0, 0.0, 0.0)


@wp.func
def first_pixel(low: wp.float32, size: int) -> int:
    """Lowest whole number that is at least `low`, within 0..size."""
    return int(wp.clamp(wp.ceil(low - MARGIN_PX), 0.0, float(size)))


@wp.func
def last_pixel(high: wp.float32, size: int) -> int:
    """Highest whole number that is at most `high`, within -1..size - 1."""
    return int(wp.clamp(wp.floor(high + MARGIN_PX), -1.0, float(size - 1)))


@wp.kernel
def sweep(
    pixel: wp.array(dtype=wp.vec3),
    vertices: wp.array(dtype=wp.vec3d),
    faces: wp.array(dtype=wp.vec3i),
    origin: wp.vec3d,
    directions: wp.array(dtype=wp.vec3d),
    tolerance: wp.float64,
    width: int,
    height: int,
    found: Found,
):
    """Test a face against the rays in the box of its projection, or against all where it meets the camera's plane."""
    index = wp.tid()
    corner = faces[index]
    a = pixel[corner[0]]
    b = pixel[corner[1]]
    c = pixel[corner[2]]
    first_column = wp.int32(0)
    first_row = wp.int32(0)
    last_column = width - 1
    last_row = height - 1
    if a[2] > 0.0 and b[2] > 0.0 and c[2] > 0.0:
        first_column = first_pixel(wp.min(a[0], wp.min(b[0], c[0])), width)
        last_column = last_pixel(wp.max(a[0], wp.max(b[0], c[0])), width)
        if first_column > last_column:
            return
        first_row = first_pixel(wp.min(a[1], wp.min(b[1], c[1])), height)
        last_row = last_pixel(wp.max(a[1], wp.max(b[1], c[1])), height)
        if first_row > last_row:
            return
    elif a[2] < 0.0 and b[2] < 0.0 and c[2] < 0.0:
        return  # behind the camera
    face = face_from(vertices, faces, index, origin)
    for row in range(first_row, last_row + 1):
        for column in range(first_column, last_column + 1):
            ray = row * width + column
            record(found, ray, directions[ray], face, tolerance)
