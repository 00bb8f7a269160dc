"""Pictures of a mesh by our own ray caster: RGBA, antialiased, the pixel's middle on the X-Ray's ray."""

from __future__ import annotations

import numpy as np

from ..common.errors import InputError
from ..common.warp_setup import OPTIONS, wp
from ..core.camera import Camera
from ..mesh.mesh import Mesh
from .appearance import UNKNOWN, Surface, level_of, sample_at, surface_of
from .caster import RayCaster
from .light_grid import LightGrid
from .nearest import Around, Nearest, face_of_first, side_of_first
from .ray_triangle import Casting

wp.set_module_options(OPTIONS)

AROUND = np.array([(1, 3), (3, -1), (-1, -3), (-3, 1)]) / 8
"""Column and row, in pixels from its middle, of the further rays of a pixel on an edge: a rotated grid, with a row
and a column for each, so that upright and level edges have as many steps as there are rays."""

EDGE_DEPTH, EDGE_COSINE, EDGE_COLOR = 0.02, 0.9, 0.06
"""Neighbours with a larger step in depth, angle between normals or colour have an edge between them."""

_DEPTH, _COSINE = wp.constant(wp.float32(EDGE_DEPTH)), wp.constant(wp.float32(EDGE_COSINE))
_STEP = wp.constant(int(EDGE_COLOR * 255))

SUN_POSITION = 4 * np.array([0.36, -0.48, 0.8])
"""World; far enough from the unit box to act as parallel light, from one side, above."""


@wp.struct
class Canvas:
    """The pixels of a picture, by their middle rays."""

    width: wp.int32
    height: wp.int32
    light: wp.array(dtype=wp.vec3)  # linear
    depth: wp.array(dtype=wp.float32)  # 0 where there is no surface
    normal: wp.array(dtype=wp.vec3)  # turned to the viewer
    sun: wp.array(dtype=wp.int8)
    rgba: wp.array2d(dtype=wp.uint8)  # (height * width, 4)


def picture(mesh: Mesh, caster: RayCaster, camera: Camera, light: str = "studio") -> np.ndarray:
    """A picture over a transparent background.

    The middle of each pixel is the ray of `Camera.rays` (so a picture and an X-Ray of one view agree to the pixel);
    pixels at edges of shape, shading or colour are the mean of five rays, in linear light. Light: a part
    from everywhere, a part from the sky (half of it reaches an upright wall), and a sun that casts shadows, all
    white and fixed in the world. Both sides of a surface are lit alike. With light "none" the picture shows the
    surface colour, and every pixel is its middle ray alone, so that it can be compared with an X-Ray.

    Args:
      caster: of the mesh's vertices and faces, on the CPU.
    Returns:
      (H, W, 4) uint8, sRGB with straight alpha.
    """
    if light not in ("studio", "none"):
        raise InputError(f"light {light!r}: expected studio or none")
    lit = int(light != "none")
    look = surface_of(mesh), caster.light(SUN_POSITION), lit
    canvas = _canvas(camera)
    first = caster.nearest(camera)
    wp.launch(_draw, dim=camera.height, inputs=[first.casting, first.near, *look, canvas], device="cpu")
    if lit:
        edge = wp.zeros(len(canvas.light), dtype=wp.bool, device="cpu")
        wp.launch(_mark_edges, dim=camera.height, inputs=[canvas, edge], device="cpu")
        pixel = np.flatnonzero(edge.numpy()).astype(np.int32)
        rays, around = caster.nearest_around(first, camera, pixel, AROUND)
        inputs = [rays.casting, rays.near, *look, around, wp.array(pixel, dtype=wp.int32, device="cpu"), canvas]
        wp.launch(_draw_edges, dim=len(pixel), inputs=inputs, device="cpu")
    return canvas.rgba.numpy().reshape(camera.height, camera.width, 4)


def _canvas(camera: Camera) -> Canvas:
    canvas, count = Canvas(), camera.width * camera.height
    canvas.width, canvas.height = camera.width, camera.height
    canvas.light = wp.empty(count, dtype=wp.vec3, device="cpu")
    canvas.depth = wp.zeros(count, dtype=wp.float32, device="cpu")
    canvas.normal = wp.empty(count, dtype=wp.vec3, device="cpu")
    canvas.sun = wp.full(count, wp.int8(-1), dtype=wp.int8, device="cpu")
    canvas.rgba = wp.zeros((count, 4), dtype=wp.uint8, device="cpu")
    return canvas


@wp.func
def write_pixel(surface: Surface, canvas: Canvas, pixel: wp.int32, light: wp.vec3, alpha: wp.uint8):
    """Set a pixel to linear light."""
    for channel in range(3):
        canvas.rgba[pixel, channel] = level_of(surface, light[channel])
    canvas.rgba[pixel, 3] = alpha


@wp.func
def draw_pixel(
    casting: Casting, near: Nearest, surface: Surface, sun: LightGrid, lit: int, canvas: Canvas, ray: wp.int32
):
    """A pixel by its middle ray."""
    if face_of_first(near, ray, side_of_first(near, ray)) < 0:
        return
    sample = sample_at(casting, near, surface, sun, lit, ray, UNKNOWN)
    canvas.light[ray] = sample.light
    canvas.depth[ray] = wp.float32(wp.min(near.depth[0, ray], near.depth[1, ray]))
    canvas.normal[ray] = wp.vec3(sample.normal)
    canvas.sun[ray] = sample.sun
    write_pixel(surface, canvas, ray, sample.light, wp.uint8(255))


@wp.kernel
def _draw(casting: Casting, near: Nearest, surface: Surface, sun: LightGrid, lit: int, canvas: Canvas):
    """The pixels of a row."""
    row = wp.tid()
    for pixel in range(row * canvas.width, (row + 1) * canvas.width):
        draw_pixel(casting, near, surface, sun, lit, canvas, pixel)


@wp.func
def agreed_sun(canvas: Canvas, pixel: wp.int32) -> wp.int8:
    """Whether the sun is seen in a pixel and the eight around it, `UNKNOWN` where they differ; so that the further rays
    of a pixel at an edge ask only near the border of a shadow."""
    lit = wp.bool(False)
    dark = wp.bool(False)
    column = pixel % canvas.width
    row = pixel // canvas.width
    for y in range(wp.max(row - 1, 0), wp.min(row + 2, canvas.height)):
        for x in range(wp.max(column - 1, 0), wp.min(column + 2, canvas.width)):
            sun = canvas.sun[y * canvas.width + x]
            if sun == wp.int8(1):
                lit = wp.bool(True)
            if sun == wp.int8(0):
                dark = wp.bool(True)
    if lit == dark:
        return UNKNOWN
    if lit:
        return wp.int8(1)
    return wp.int8(0)


@wp.kernel
def _draw_edges(
    casting: Casting,
    near: Nearest,
    surface: Surface,
    sun: LightGrid,
    lit: int,
    around: Around,
    pixels: wp.array(dtype=wp.int32),
    canvas: Canvas,
):
    """A pixel by the mean of its middle ray and those around it."""
    place = wp.tid()
    pixel = pixels[place]
    number = around.offset.shape[0]
    light = wp.vec3()
    hits = wp.int32(0)
    if canvas.depth[pixel] > 0.0:
        light = canvas.light[pixel]
        hits = 1
    known = agreed_sun(canvas, pixel)
    for item in range(number):
        ray = place * number + item
        if face_of_first(near, ray, side_of_first(near, ray)) >= 0:
            sample = sample_at(casting, near, surface, sun, lit, ray, known)
            light += sample.light
            hits += 1
    if hits > 0:
        alpha = wp.uint8(wp.rint(255.0 * float(hits) / float(1 + number)))
        write_pixel(surface, canvas, pixel, light / float(hits), alpha)


@wp.func
def differ(canvas: Canvas, one: wp.int32, two: wp.int32) -> bool:
    """Whether an edge lies between two pixels."""
    here = canvas.depth[one]
    there = canvas.depth[two]
    if here == 0.0 or there == 0.0:
        return here != there
    if wp.abs(here - there) > _DEPTH or wp.dot(canvas.normal[one], canvas.normal[two]) < _COSINE:
        return True
    step = wp.int32(0)
    for channel in range(3):
        step = wp.max(step, wp.abs(int(canvas.rgba[one, channel]) - int(canvas.rgba[two, channel])))
    return step > _STEP


@wp.kernel
def _mark_edges(canvas: Canvas, edge: wp.array(dtype=wp.bool)):
    """Mark the pixels of a row, and their right and lower neighbours, where they differ."""
    row = wp.tid()
    for column in range(canvas.width):
        pixel = row * canvas.width + column
        if column + 1 < canvas.width:  # noqa: SIM102  a kernel evaluates both sides of an `and`
            if differ(canvas, pixel, pixel + 1):
                edge[pixel] = True
                edge[pixel + 1] = True
        if row + 1 < canvas.height:  # noqa: SIM102
            if differ(canvas, pixel, pixel + canvas.width):
                edge[pixel] = True
                edge[pixel + canvas.width] = True
