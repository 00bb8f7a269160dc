"""Pictures of a mesh by our own ray caster: RGBA, antialiased, the pixel's middle on the X-Ray's ray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common import srgb
from ..common.errors import InputError
from ..common.warp_setup import OPTIONS, wp
from ..core.camera import Camera
from ..mesh.mesh import Mesh
from ..raycast.caster import Crossings, RayCaster

wp.set_module_options(OPTIONS)

AROUND = np.array([(1, 3), (3, -1), (-1, -3), (-3, 1)]) / 8
"""Column and row, in pixels from its middle, of the further rays of a pixel on an edge: a rotated grid, with a row
and a column for each, so that upright and level edges have as many steps as there are rays."""

EDGE_DEPTH, EDGE_COSINE, EDGE_COLOR = 0.02, 0.9, 0.06
"""Neighbours with a larger step in depth, angle between normals or colour have an edge between them."""

_DEPTH, _COSINE = wp.constant(wp.float64(EDGE_DEPTH)), wp.constant(wp.float64(EDGE_COSINE))
_COLOR = wp.constant(wp.float32(EDGE_COLOR))

AMBIENT, SKY, SUN = 0.25, 0.6, 0.45
"""Shares of light from everywhere, from above, and from the sun, on a surface that faces each."""

SUN_POSITION = 4 * np.array([0.36, -0.48, 0.8])
"""World; far enough from the unit box to act as parallel light, from one side, above."""

UNKNOWN = -1
"""Of the sun: it is not known yet whether anything hides it."""

SHADOW_BIAS = 2e-3
"""Objects this near to a surface do not shade it."""


@dataclass(frozen=True)
class _Samples:
    """First surfaces along rays, the M of N rays that meet one.

    Attributes:
      ray: (M,) int32, ascending; depth: (M,) float64; normal: (M, 3) float64, turned to the viewer.
      linear: (M, 3) float32, linear light that reaches the camera.
      sun: (M,) int8, 1 where the sun is seen, 0 where something hides it, `UNKNOWN` where the surface looks away.
    """

    ray: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    linear: np.ndarray
    sun: np.ndarray


def picture(mesh: Mesh, caster: RayCaster, camera: Camera, light: str = "studio") -> np.ndarray:
    """A picture over a transparent background.

    The middle of each pixel is the ray of `Camera.rays` (so a picture and an X-Ray of one view agree to the pixel);
    pixels at edges of shape, shading or colour are the mean of five rays, in linear light. Light: a part
    from everywhere, a part from the sky (half of it reaches an upright wall), and a sun that casts shadows, all
    white and fixed in the world. Both sides of a surface are lit alike. With light "none" the picture shows the
    surface colour, and every pixel is its middle ray alone, so that it can be compared with an X-Ray.

    Args:
      caster: of the mesh's vertices and faces.
    Returns:
      (H, W, 4) uint8, sRGB with straight alpha.
    """
    if light not in ("studio", "none"):
        raise InputError(f"light {light!r}: expected studio or none")
    count = camera.height * camera.width
    middle = _shade(mesh, caster, camera, camera.rays_world().reshape(-1, 3), caster.first_hits(camera), light)
    color = np.zeros((count, 3), np.float32)
    color[middle.ray] = middle.linear
    hits = np.zeros(count, np.int64)
    hits[middle.ray] = 1
    rays = np.ones(count, np.int64)
    if light != "none":
        edge = np.flatnonzero(edges(middle, camera.width, camera.height))
        sun = np.full(count, UNKNOWN, np.int8)
        sun[middle.ray] = middle.sun
        sun = _agreed(sun.reshape(camera.height, camera.width)).reshape(-1)[edge]
        total, number = _around(mesh, caster, camera, edge, sun, light)
        total, number = total + color[edge], number + hits[edge]
        color[edge] = total / np.maximum(number, 1)[:, None]
        hits[edge], rays[edge] = number, 1 + len(AROUND)
    seen = np.flatnonzero(hits)
    rgba = np.zeros((count, 4), np.uint8)
    rgba[seen, :3] = np.rint(np.clip(srgb.from_linear(color[seen]), 0, 1) * 255).astype(np.uint8)
    rgba[seen, 3] = np.rint(hits[seen] / rays[seen] * 255).astype(np.uint8)
    return rgba.reshape(camera.height, camera.width, 4)


def _agreed(sun: np.ndarray) -> np.ndarray:
    """(H, W) int8: whether the sun is seen in a pixel and the eight around it, `UNKNOWN` where they differ.

    So that the further rays of a pixel at an edge ask only near the border of a shadow.
    """
    low, high = np.where(sun == UNKNOWN, 1, sun), np.where(sun == UNKNOWN, 0, sun)
    for axis in (0, 1):
        here, there = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        for values, take in ((low, np.minimum), (high, np.maximum)):
            before = values.copy()
            take(values[here], before[there], out=values[here])
            take(values[there], before[here], out=values[there])
    return np.where(low == high, low, UNKNOWN).astype(np.int8)


def _around(
    mesh: Mesh, caster: RayCaster, camera: Camera, pixel: np.ndarray, sun: np.ndarray, light: str
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of linear colour (P, 3) and number of hits (P,) of the rays around the middles of P pixels.

    Args:
      sun: (P,) what is known of the sun in each pixel.
    """
    row, column = np.divmod(pixel, camera.width)
    column, row = (column[:, None] + AROUND[:, 0]).reshape(-1), (row[:, None] + AROUND[:, 1]).reshape(-1)
    directions = camera.rays_at(column, row) @ camera.world_from_camera[:3, :3].T
    found = caster.first_hits(camera, column, row)
    samples = _shade(mesh, caster, camera, directions, found, light, np.repeat(sun, len(AROUND)))
    linear = np.zeros((len(directions), 3), np.float32)
    linear[samples.ray] = samples.linear
    hit = np.zeros(len(directions), np.int64)
    hit[samples.ray] = 1
    return linear.reshape(-1, len(AROUND), 3).sum(1), hit.reshape(-1, len(AROUND)).sum(1)


def _shade(
    mesh: Mesh,
    caster: RayCaster,
    camera: Camera,
    directions: np.ndarray,
    found: Crossings,
    light: str,
    sun: np.ndarray | None = None,
) -> _Samples:
    """What is seen along rays (N, 3), world, whose first hits are `found`; `sun` (N,) is what is known of it."""
    directions = directions[found.ray]
    smooth, flat = mesh.normals(found.face, found.barycentric, "vertex"), mesh.face_normals[found.face]
    turn = np.where(_dot(flat, directions) > 0, -1.0, 1.0)[:, None]
    smooth, flat = smooth * turn, flat * turn
    linear = srgb.to_linear(mesh.colors(found.face, found.barycentric))
    if light == "studio":
        points = directions * found.depth[:, None]
        points += camera.origin
        known = np.full(len(points), UNKNOWN, np.int8) if sun is None else sun[found.ray]
        brightness, known = studio(caster, points, smooth, flat, known)
        linear *= brightness[:, None]
    else:
        known = np.full(len(linear), UNKNOWN, np.int8)
    return _Samples(found.ray, found.depth, smooth, linear, known)


def studio(
    caster: RayCaster, points: np.ndarray, normals: np.ndarray, flat: np.ndarray, sun: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Light that arrives at points of the surface, (N,) float32, and (N,) int8 whether they see the sun.

    Args:
      points: (N, 3) world; normals: (N, 3) for shading; flat: (N, 3) of the faces; both turned to the viewer.
      sun: (N,) int8, what is known of it, as in `_Samples`; where it is `UNKNOWN`, the line to the sun is tested.
    """
    to_sun = SUN_POSITION - points
    to_sun /= np.sqrt(_dot(to_sun, to_sun))[:, None]
    cosine = np.maximum(_dot(normals, to_sun), 0)
    reached = (cosine > 0) & (_dot(flat, to_sun) > 0)
    asked = np.flatnonzero(reached & (sun == UNKNOWN))
    sun = np.where(reached, sun, UNKNOWN).astype(np.int8)
    sun[asked] = ~caster.blocked(SUN_POSITION, points[asked], SHADOW_BIAS)
    light = AMBIENT + SKY * (1 + normals[:, 2]) / 2 + SUN * cosine * (sun == 1)
    return light.astype(np.float32), sun


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) scalar products of (N, 3) vectors."""
    return np.einsum("nk,nk->n", a, b)


def edges(samples: _Samples, width: int, height: int) -> np.ndarray:
    """(height * width,) bool, pixels on either side of an edge."""
    place = np.full(width * height, -1, np.int32)
    place[samples.ray] = np.arange(len(samples.ray), dtype=np.int32)
    edge = wp.zeros(width * height, dtype=wp.bool, device="cpu")
    arrays = [
        wp.array(place, dtype=wp.int32, device="cpu"),
        wp.array(samples.depth, dtype=wp.float64, device="cpu"),
        wp.array(samples.normal, dtype=wp.vec3d, device="cpu"),
        wp.array(srgb.from_linear(samples.linear), dtype=wp.vec3, device="cpu"),
    ]
    wp.launch(_mark_edges, dim=width * height, inputs=[width, height, *arrays, edge], device="cpu")
    return edge.numpy()


@wp.func
def _differ(
    one: wp.int32,
    two: wp.int32,
    depth: wp.array(dtype=wp.float64),
    normal: wp.array(dtype=wp.vec3d),
    color: wp.array(dtype=wp.vec3),
) -> bool:
    """Whether an edge lies between two samples, of which -1 is none."""
    if one < 0 or two < 0:
        return one != two
    if wp.abs(depth[one] - depth[two]) > _DEPTH or wp.dot(normal[one], normal[two]) < _COSINE:
        return True
    step = color[one] - color[two]
    return wp.max(wp.max(wp.abs(step[0]), wp.abs(step[1])), wp.abs(step[2])) > _COLOR


@wp.kernel
def _mark_edges(
    width: int,
    height: int,
    place: wp.array(dtype=wp.int32),
    depth: wp.array(dtype=wp.float64),
    normal: wp.array(dtype=wp.vec3d),
    color: wp.array(dtype=wp.vec3),
    edge: wp.array(dtype=wp.bool),
):
    """Mark a pixel, and its right and lower neighbour, where they differ; `place` is a pixel's sample."""
    pixel = wp.tid()
    if pixel % width + 1 < width:  # noqa: SIM102  a kernel evaluates both sides of an `and`
        if _differ(place[pixel], place[pixel + 1], depth, normal, color):
            edge[pixel] = True
            edge[pixel + 1] = True
    if pixel // width + 1 < height:  # noqa: SIM102
        if _differ(place[pixel], place[pixel + width], depth, normal, color):
            edge[pixel] = True
            edge[pixel + width] = True
