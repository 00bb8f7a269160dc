"""Pictures of a triangle mesh by a depth buffer, in single precision and on the CPU: Warp kernels.

For pictures alone: `raycast` has the exact way. A pixel has several samples; the nearest face at each of them is found
first, so that light is reckoned once a sample, whatever lies behind it.
"""

from __future__ import annotations

import numpy as np

from ..common import srgb
from ..common.warp_setup import OPTIONS, wp
from ..core.camera import Camera

wp.set_module_options(OPTIONS)

CPU = "cpu"

SAMPLES = np.array([(1, 3), (3, -1), (-1, -3), (-3, 1)]) / 8
"""Column and row, in pixels from its middle, of the samples of a pixel: no two in one row or column."""

MIDDLE = np.zeros((1, 2))
"""One sample in the middle of each pixel."""

REACH_PX = wp.constant(wp.float32(0.375))
"""No sample is farther from the middle of its pixel, in columns or rows."""

OVERLAP = wp.constant(wp.float32(1e-3))
"""By which faces are enlarged, as a share of them: above the rounding, so that no sample slips between two."""


@wp.struct
class View:
    """A square picture of a pinhole camera; see `Camera` for axes and pixels."""

    origin: wp.vec3
    camera_from_world: wp.mat33
    focal_px: wp.float32
    size: wp.int32


@wp.func
def pixel_at(view: View, point: wp.vec3) -> wp.vec3:
    """Column, row and nearness (1 / distance along the camera's axis) of a point before the camera."""
    p = view.camera_from_world * (point - view.origin)
    nearness = -1.0 / p[2]
    half = 0.5 * float(view.size)
    return wp.vec3(half + view.focal_px * p[0] * nearness, half - view.focal_px * p[1] * nearness, nearness)


@wp.func
def twice_area(a: wp.vec3, b: wp.vec3, c: wp.vec3) -> float:
    """Twice the area of a projection, positive or negative by its winding."""
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@wp.func
def weights_at(a: wp.vec3, b: wp.vec3, c: wp.vec3, scale: float, x: float, y: float) -> wp.vec3:
    """Barycentric weights, in the picture, of a place in a projection; `scale` is 1 / `twice_area`."""
    wa = ((b[0] - x) * (c[1] - y) - (b[1] - y) * (c[0] - x)) * scale
    wb = ((c[0] - x) * (a[1] - y) - (c[1] - y) * (a[0] - x)) * scale
    return wp.vec3(wa, wb, 1.0 - wa - wb)


@wp.kernel
def project(vertices: wp.array(dtype=wp.vec3), view: View, pixel: wp.array(dtype=wp.vec3)):
    """`pixel_at` of every vertex."""
    item = wp.tid()
    pixel[item] = pixel_at(view, vertices[item])


@wp.kernel
def draw(
    pixel: wp.array(dtype=wp.vec3),
    faces: wp.array(dtype=wp.vec3i),
    samples: wp.array(dtype=wp.vec2),
    size: int,
    nearness: wp.array2d(dtype=wp.float32),
    face: wp.array2d(dtype=wp.int32),
):
    """Write a face into the samples, (pixels, samples), where it is the nearest so far; threads must run in turn."""
    index = wp.tid()
    corner = faces[index]
    a = pixel[corner[0]]
    b = pixel[corner[1]]
    c = pixel[corner[2]]
    area = twice_area(a, b, c)
    if wp.abs(area) < 1e-9:
        return
    scale = 1.0 / area
    nearest = wp.max(a[2], wp.max(b[2], c[2]))
    # The weights of b and c grow by these from column to column and from row to row; that of a is what is left of 1.
    to_b = wp.vec2((c[1] - a[1]) * scale, (a[0] - c[0]) * scale)
    to_c = wp.vec2((a[1] - b[1]) * scale, (b[0] - a[0]) * scale)
    to_a = -(to_b + to_c)
    # By how much each may grow between the middle of a pixel and its samples.
    reach_a = REACH_PX * (wp.abs(to_a[0]) + wp.abs(to_a[1])) + OVERLAP
    reach_b = REACH_PX * (wp.abs(to_b[0]) + wp.abs(to_b[1])) + OVERLAP
    reach_c = REACH_PX * (wp.abs(to_c[0]) + wp.abs(to_c[1])) + OVERLAP
    last = float(size - 1)
    left = int(wp.clamp(wp.ceil(wp.min(a[0], wp.min(b[0], c[0])) - REACH_PX), 0.0, last + 1.0))
    right = int(wp.clamp(wp.floor(wp.max(a[0], wp.max(b[0], c[0])) + REACH_PX), -1.0, last))
    top = int(wp.clamp(wp.ceil(wp.min(a[1], wp.min(b[1], c[1])) - REACH_PX), 0.0, last + 1.0))
    bottom = int(wp.clamp(wp.floor(wp.max(a[1], wp.max(b[1], c[1])) + REACH_PX), -1.0, last))
    for row in range(top, bottom + 1):
        for column in range(left, right + 1):
            middle = wp.vec2(float(column) - a[0], float(row) - a[1])
            wb = wp.dot(middle, to_b)
            wc = wp.dot(middle, to_c)
            if wb >= -reach_b and wc >= -reach_c and 1.0 - wb - wc >= -reach_a:
                place = row * size + column
                for sample in range(samples.shape[0]):
                    before = nearness[place, sample]
                    if nearest > before:
                        shift = samples[sample]
                        b_here = wb + wp.dot(shift, to_b)
                        c_here = wc + wp.dot(shift, to_c)
                        if b_here >= -OVERLAP and c_here >= -OVERLAP and 1.0 - b_here - c_here >= -OVERLAP:
                            near = a[2] + b_here * (b[2] - a[2]) + c_here * (c[2] - a[2])
                            if near > before:
                                nearness[place, sample] = near
                                face[place, sample] = index


@wp.kernel
def add_lamp(
    points: wp.array(dtype=wp.vec3),
    facing: wp.array(dtype=wp.vec3),
    lamp: View,
    direction: wp.vec3,
    nearness: wp.array2d(dtype=wp.float32),
    bias: float,
    seen: wp.array(dtype=wp.float32),
    whole: wp.array(dtype=wp.float32),
):
    """Add a lamp's light at points to `seen` where no face is nearer to the lamp by `bias`, and to `whole` anyway.

    `direction` is the way to the lamp; what counts is the side of the surface that it shines on.
    """
    item = wp.tid()
    share = wp.abs(wp.dot(facing[item], direction))
    whole[item] += share
    place = pixel_at(lamp, points[item])
    column = int(wp.floor(place[0] + 0.5))
    row = int(wp.floor(place[1] + 0.5))
    if column >= 0 and row >= 0 and column < lamp.size and row < lamp.size:
        nearest = nearness[row * lamp.size + column, 0]
        if nearest > 0.0 and 1.0 / nearest < 1.0 / place[2] - bias:
            return
    seen[item] += share


@wp.struct
class LitMesh:
    """A mesh with the light that falls on it, on a floor with a shadow.

    normals, colors (linear) and sky (share of it that is seen) are of the vertices; `floor` is the light on the floor
    by x and y, from -half to half, and 1 beyond.
    """

    vertices: wp.array(dtype=wp.vec3)
    faces: wp.array(dtype=wp.vec3i)
    normals: wp.array(dtype=wp.vec3)
    colors: wp.array(dtype=wp.vec3)
    sky: wp.array(dtype=wp.float32)
    floor: wp.array2d(dtype=wp.float32)
    floor_z: wp.float32
    floor_half: wp.float32
    floor_color: wp.vec3
    exposure: wp.float32


@wp.func
def floor_light(mesh: LitMesh, origin: wp.vec3, direction: wp.vec3) -> float:
    """Light of the floor where a ray meets it."""
    along = (mesh.floor_z - origin[2]) / wp.min(direction[2], -1e-6)
    steps = mesh.floor.shape[0] - 1
    scale = float(steps) / (2.0 * mesh.floor_half)
    x = (origin[0] + along * direction[0] + mesh.floor_half) * scale
    y = (origin[1] + along * direction[1] + mesh.floor_half) * scale
    if x < 0.0 or y < 0.0 or x >= float(steps) or y >= float(steps):
        return 1.0
    i = int(x)
    j = int(y)
    u = x - float(i)
    v = y - float(j)
    low = (1.0 - v) * mesh.floor[i, j] + v * mesh.floor[i, j + 1]
    high = (1.0 - v) * mesh.floor[i + 1, j] + v * mesh.floor[i + 1, j + 1]
    return (1.0 - u) * low + u * high


@wp.func
def surface_light(mesh: LitMesh, corner: wp.vec3i, w: wp.vec3, direction: wp.vec3, key: wp.vec3) -> wp.vec3:
    """Linear colour of a place on a face, seen along `direction`, in the light of the sky and of the lamp `key`."""
    normal = w[0] * mesh.normals[corner[0]] + w[1] * mesh.normals[corner[1]] + w[2] * mesh.normals[corner[2]]
    normal = wp.normalize(normal)
    a = mesh.vertices[corner[0]]
    if wp.dot(wp.cross(mesh.vertices[corner[1]] - a, mesh.vertices[corner[2]] - a), direction) > 0.0:
        normal = -normal
    color = w[0] * mesh.colors[corner[0]] + w[1] * mesh.colors[corner[1]] + w[2] * mesh.colors[corner[2]]
    sky = w[0] * mesh.sky[corner[0]] + w[1] * mesh.sky[corner[1]] + w[2] * mesh.sky[corner[2]]
    direct = wp.max((wp.dot(normal, key) + 0.2) / 1.2, 0.0)  # wrapped a little around the edge, as of a large lamp
    light = sky * (0.38 + 0.25 * (1.0 + normal[2])) + (0.35 + 0.65 * sky) * 0.75 * direct
    return mesh.exposure * light * color


@wp.kernel
def shade(
    mesh: LitMesh,
    pixel: wp.array(dtype=wp.vec3),
    samples: wp.array(dtype=wp.vec2),
    view: View,
    key: wp.vec3,
    face: wp.array2d(dtype=wp.int32),
    linear: wp.array(dtype=wp.vec3),
):
    """Mean linear colour of every pixel's samples; `key` is the way to the main lamp, world."""
    place = wp.tid()
    row = place / view.size
    column = place - row * view.size
    half = 0.5 * float(view.size)
    world_from_camera = wp.transpose(view.camera_from_world)
    count = samples.shape[0]
    covered = wp.int32(0)
    for sample in range(count):
        if face[place, sample] >= 0:
            covered += 1
    if covered == 0:  # the floor is smooth: once a pixel will do
        direction = world_from_camera * wp.vec3(
            (float(column) - half) / view.focal_px, (half - float(row)) / view.focal_px, -1.0
        )
        linear[place] = floor_light(mesh, view.origin, direction) * mesh.floor_color
        return
    total = wp.vec3()
    for sample in range(count):
        shift = samples[sample]
        x = float(column) + shift[0]
        y = float(row) + shift[1]
        direction = world_from_camera * wp.vec3((x - half) / view.focal_px, (half - y) / view.focal_px, -1.0)
        index = face[place, sample]
        if index >= 0:
            corner = mesh.faces[index]
            a = pixel[corner[0]]
            b = pixel[corner[1]]
            c = pixel[corner[2]]
            w = weights_at(a, b, c, 1.0 / twice_area(a, b, c), x, y)
            w = wp.cw_mul(w, wp.vec3(a[2], b[2], c[2]))  # weights on the face, from those in the picture
            total += surface_light(mesh, corner, w / (w[0] + w[1] + w[2]), direction, key)
        else:
            total += floor_light(mesh, view.origin, direction) * mesh.floor_color
    linear[place] = total / float(count)


_SRGB = np.rint(srgb.from_linear(np.linspace(0, 1, 4096)) * 255).astype(np.uint8)


def to_srgb(linear: np.ndarray) -> np.ndarray:
    """uint8 of linear light, by a table whose steps are below one of them."""
    return _SRGB[np.clip(linear * 4095 + 0.5, 0, 4095).astype(np.int16)]


def view_of(camera: Camera) -> View:
    """A square camera as kernels take it."""
    view = View()
    view.origin = wp.vec3(*camera.origin)
    view.camera_from_world = wp.mat33(camera.world_from_camera[:3, :3].T)
    view.focal_px, view.size = camera.focal_px, camera.width
    return view


class Drawing:
    """The nearest faces of a mesh in pictures of one size; every picture takes the place of the one before.

    Args:
      vertices, faces: Warp arrays of vec3 and vec3i.
      samples: (n, 2) places in a pixel, within `REACH_PX`.
    """

    def __init__(self, vertices, faces, size: int, samples: np.ndarray) -> None:
        self.vertices, self.faces = vertices, faces
        self.samples = wp.array(samples.astype(np.float32), dtype=wp.vec2, device=CPU)
        self.pixel = wp.empty(len(vertices), dtype=wp.vec3, device=CPU)
        shape = (size * size, len(samples))
        self.nearness = wp.empty(shape, dtype=wp.float32, device=CPU)
        self.face = wp.empty(shape, dtype=wp.int32, device=CPU)

    def draw(self, view: View) -> None:
        """Find the nearest face at every sample of a view, all of whose vertices are before the camera."""
        self.nearness.zero_()
        self.face.fill_(-1)
        wp.launch(project, len(self.vertices), [self.vertices, view, self.pixel], device=CPU)
        inputs = [self.pixel, self.faces, self.samples, view.size, self.nearness, self.face]
        wp.launch(draw, len(self.faces), inputs, device=CPU)
