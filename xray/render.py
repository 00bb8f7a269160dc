"""Pictures of a mesh by our own ray caster: RGBA, antialiased, the pixel's middle on the X-Ray's ray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import srgb
from .camera import Camera
from .errors import InputError
from .mesh import Mesh
from .raycast import Crossings, RayCaster

LIGHTS = ("studio", "none")
"""Lit as `studio` describes, or the bare surface colour."""

AROUND = np.array([(1, 3), (3, -1), (-1, -3), (-3, 1)]) / 8
"""Column and row, in pixels from its middle, of the further rays of a pixel on an edge: a rotated grid, with a row
and a column for each, so that upright and level edges have as many steps as there are rays."""

EDGE_DEPTH, EDGE_COSINE, EDGE_COLOR = 0.02, 0.9, 0.06
"""Neighbours with a larger step in depth, angle between normals or colour have an edge between them."""

AMBIENT, SKY, SUN = 0.25, 0.6, 0.45
"""Shares of light from everywhere, from above, and from the sun, on a surface that faces each."""

SUN_POSITION = 4 * np.array([0.36, -0.48, 0.8])
"""World; far enough from the unit box to act as parallel light, from one side, above."""

SHADOW_BIAS = 2e-3
"""Objects this near to a surface do not shade it."""


@dataclass(frozen=True)
class _Samples:
    """First surfaces along N rays: hit (N,), depth (N,), normal (N, 3) turned to the viewer, linear (N, 3)."""

    hit: np.ndarray
    depth: np.ndarray
    normal: np.ndarray
    linear: np.ndarray


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
    if light not in LIGHTS:
        raise InputError(f"light {light!r}: expected one of {', '.join(LIGHTS)}")
    shape = (camera.height, camera.width)
    middle = _shade(mesh, caster, camera, camera.rays_world().reshape(-1, 3), caster.view(camera, 1), light)
    color = middle.linear.reshape(*shape, 3).copy()
    alpha = middle.hit.astype(np.float32).reshape(shape)
    if light != "none":
        row, column = np.nonzero(_edges(middle, shape))
        total, hits = _around(mesh, caster, camera, row, column, light)
        total, hits = total + color[row, column], hits + alpha[row, column]
        color[row, column] = total / np.maximum(hits, 1)[:, None]
        alpha[row, column] = hits / (1 + len(AROUND))
    rgba = np.empty((*shape, 4), np.float32)
    rgba[..., :3] = srgb.from_linear(color)
    rgba[..., 3] = alpha
    return np.rint(np.clip(rgba, 0, 1) * 255).astype(np.uint8)


def _around(mesh: Mesh, caster: RayCaster, camera: Camera, row, column, light: str) -> tuple[np.ndarray, np.ndarray]:
    """Sum of linear colour (P, 3) and number of hits (P,) of the rays around the middles of P pixels."""
    rays = camera.rays_at(column[:, None] + AROUND[:, 0], row[:, None] + AROUND[:, 1]).reshape(-1, 3)
    directions = rays @ camera.world_from_camera[:3, :3].T
    samples = _shade(mesh, caster, camera, directions, caster.crossings(camera.origin, directions, 1), light)
    return samples.linear.reshape(-1, len(AROUND), 3).sum(1), samples.hit.reshape(-1, len(AROUND)).sum(1)


def _shade(mesh: Mesh, caster: RayCaster, camera: Camera, directions, found: Crossings, light: str) -> _Samples:
    """What is seen along rays (N, 3), world, whose first hits are `found`."""
    count, first = len(directions), found.ray
    hit = np.zeros(count, bool)
    hit[first] = True
    depth, normal, linear = np.zeros(count), np.zeros((count, 3)), np.zeros((count, 3), np.float32)
    depth[first] = found.depth
    facing = mesh.normals(found.face, found.barycentric, "vertex")
    flat = mesh.face_normals[found.face]
    away = (flat * directions[first]).sum(1, keepdims=True) > 0
    facing, flat = np.where(away, -facing, facing), np.where(away, -flat, flat)
    normal[first] = facing
    linear[first] = srgb.to_linear(mesh.colors(found.face, found.barycentric))
    if light == "studio":
        points = camera.origin + directions[first] * found.depth[:, None]
        linear[first] *= studio(caster, points, facing, flat)[:, None]
    return _Samples(hit, depth, normal, linear)


def studio(caster: RayCaster, points: np.ndarray, normals: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """(N,) float32 light that arrives at points of the surface.

    Args:
      points: (N, 3) world; normals: (N, 3) for shading; flat: (N, 3) of the faces; both turned to the viewer.
    """
    to_sun = SUN_POSITION - points
    distance = np.linalg.norm(to_sun, axis=1)
    to_sun /= distance[:, None]
    cosine = np.maximum((normals * to_sun).sum(1), 0)
    reached = (cosine > 0) & ((flat * to_sun).sum(1) > 0)
    asked = np.flatnonzero(reached)
    blocked = caster.crossings(SUN_POSITION, -to_sun[asked], max_hits=1)
    shaded = blocked.depth < distance[asked[blocked.ray]] - SHADOW_BIAS
    reached[asked[blocked.ray[shaded]]] = False
    return (AMBIENT + SKY * (1 + normals[:, 2]) / 2 + SUN * cosine * reached).astype(np.float32)


def _edges(samples: _Samples, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool, pixels on either side of an edge."""
    hit, depth = samples.hit.reshape(shape), samples.depth.reshape(shape)
    normal, color = samples.normal.reshape(*shape, 3), srgb.from_linear(samples.linear).reshape(*shape, 3)
    edges = np.zeros(shape, bool)
    for axis in (0, 1):
        here = (slice(None),) * axis + (slice(None, -1),)
        there = (slice(None),) * axis + (slice(1, None),)
        step = hit[here] != hit[there]
        step |= np.abs(depth[here] - depth[there]) > EDGE_DEPTH
        step |= ((normal[here] * normal[there]).sum(-1) < EDGE_COSINE) & hit[here] & hit[there]
        step |= np.abs(color[here] - color[there]).max(-1) > EDGE_COLOR
        edges[here] |= step
        edges[there] |= step
    return edges
