"""A mesh that turns once around its vertical axis in soft light, standing on a floor, as an animated picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from ..common import srgb
from ..common.files import atomic_path
from ..core.camera import Camera, look_at
from ..core.points import PointCloud
from ..raycast.caster import Crossings, RayCaster
from ..surface.surface import Surface, patches

FRAMES, SIZE, FRAME_MS = 36, 320, 70

AROUND = np.array([(1, 3), (3, -1), (-1, -3), (-3, 1)]) / 8
"""Column and row, in pixels from its middle, of the further rays of a pixel on an edge."""

EDGE_DEPTH, EDGE_LIGHT = 0.05, 0.1
"""Neighbours with a larger step in depth or linear light have an edge between them."""

FOV_RAD, ELEVATION_RAD = 0.5, 0.32

BACKGROUND = np.array((0.955, 0.96, 0.97), np.float32)
"""Of the floor as well, sRGB."""

LIGHTS, LIGHT_DISTANCE = 20, 6.0
"""Lamps all over the sky, whose shadows together are soft; how far away they are, in radii of the object."""

SHADOW_BIAS = 0.01
"""Surfaces this near to a point do not shade it, in radii of the object."""

FLOOR_POINTS, FLOOR_HALF = 64, 2.0
"""Points along a side of the floor where its shadow is found, and half its side, in radii of the object."""

FLOOR_SHADOW = 0.8
"""Share of the floor's light that the sky gives, which the object can take away."""

MOST_LIT = 12_000
"""Vertices where the shadow of the object on itself is found; of more, the nearest ones count."""

KEY_LIGHT = np.array((-0.45, 0.7, 0.55)) / np.linalg.norm((-0.45, 0.7, 0.55))
"""Camera frame: from the upper left, over the viewer's shoulder."""

EXPOSURE = 0.74


@dataclass(frozen=True)
class _Scene:
    """A surface in a sphere of radius 1 around the origin, with the light that the sky gives it.

    Attributes:
      attributes: (V, 7) float32 of the vertices: normal, linear colour, share of the sky that is seen.
      floor: (FLOOR_POINTS, FLOOR_POINTS) float32, light on the floor by x and y; 1 at its border.
      floor_z: its height.
    """

    caster: RayCaster
    faces: np.ndarray
    face_normals: np.ndarray
    attributes: np.ndarray
    floor: np.ndarray
    floor_z: float


def save_turntable(path: Path, shown: Surface | PointCloud, frames: int = FRAMES, size: int = SIZE) -> None:
    """Write an animated .gif of a z-up surface, or of a cloud as small squares, that turns around its vertical axis."""
    pictures = [Image.fromarray(picture) for picture in turntable(shown, frames, size)]
    chosen = pictures[:: max(1, frames // 6)]
    sheet = Image.new("RGB", (size * len(chosen), size))
    for number, picture in enumerate(chosen):
        sheet.paste(picture, (number * size, 0))
    palette = sheet.quantize(256, Image.Quantize.MEDIANCUT)
    indexed = [picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for picture in pictures]
    with atomic_path(path) as partial:
        indexed[0].save(partial, save_all=True, append_images=indexed[1:], duration=FRAME_MS, loop=0, disposal=1)


def turntable(shown: Surface | PointCloud, frames: int = FRAMES, size: int = SIZE) -> list[np.ndarray]:
    """`frames` pictures (size, size, 3) uint8, of equal turns; without any surface, of the empty floor."""
    surface = _squares(shown) if isinstance(shown, PointCloud) else shown
    if not len(surface.faces):
        return [np.full((size, size, 3), np.rint(BACKGROUND * 255), np.uint8)] * frames
    scene = _lit(surface)
    return [_picture(scene, 2 * math.pi * number / frames, size) for number in range(frames)]


def _squares(cloud: PointCloud) -> Surface:
    """Each point as a square that about fills the gap to its neighbours."""
    if len(cloud) < 2:
        return patches(cloud, np.full(len(cloud), 0.02))
    distance = cKDTree(cloud.points).query(cloud.points, k=2)[0][:, 1]
    return patches(cloud, np.full(len(cloud), 1.5 * float(np.median(distance)) + 1e-6))


def _lit(surface: Surface) -> _Scene:
    low, high = surface.vertices.min(0), surface.vertices.max(0)
    vertices = surface.vertices - (low + high) / 2
    vertices = vertices / max(float(np.linalg.norm(vertices, axis=1).max()), 1e-9)
    corners = vertices[surface.faces]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    caster = RayCaster(vertices, surface.faces)
    floor_z = float(vertices[:, 2].min()) - 0.002
    sky, floor = _sky_seen(caster, vertices, surface.normals, floor_z)
    linear = srgb.to_linear(np.clip(surface.colors, 0, 1))
    attributes = np.concatenate([surface.normals, linear, sky[:, None]], axis=1).astype(np.float32)
    return _Scene(caster, surface.faces, face_normals, attributes, floor, floor_z)


def _sky_seen(
    caster: RayCaster, vertices: np.ndarray, normals: np.ndarray, floor_z: float
) -> tuple[np.ndarray, np.ndarray]:
    """Share of the sky that each vertex sees, (V,), by shadow rays; and the floor's light, see `_Scene`."""
    chosen = np.random.default_rng(0).permutation(len(vertices))[:MOST_LIT]
    along = np.linspace(-FLOOR_HALF, FLOOR_HALF, FLOOR_POINTS)
    x, y = np.meshgrid(along, along, indexing="ij")
    floor_points = np.stack([x, y, np.full(x.shape, floor_z)], axis=-1).reshape(-1, 3)
    points = np.concatenate([vertices[chosen], floor_points])
    facing = np.concatenate([normals[chosen], np.tile((0.0, 0, 1), (len(floor_points), 1))])
    seen, whole = np.zeros(len(points)), np.full(len(points), 1e-6)
    for direction in _sky():
        share = np.abs(facing @ direction)  # of whichever side is looked at
        seen += share * ~caster.blocked(LIGHT_DISTANCE * direction, points, SHADOW_BIAS)
        whole += share
    seen /= whole
    count = min(6, len(chosen))
    _, nearest = cKDTree(vertices[chosen]).query(vertices, k=count)
    shadow = ndimage.gaussian_filter(1 - seen[len(chosen) :].reshape(x.shape), 1.0, mode="nearest")
    shadow *= np.clip(2 - 2 * np.hypot(x, y) / FLOOR_HALF, 0, 1)  # lamps near the horizon throw long, faint streaks
    return seen[nearest.reshape(len(vertices), count)].mean(1), (1 - FLOOR_SHADOW * shadow).astype(np.float32)


def _sky() -> np.ndarray:
    """(LIGHTS, 3) unit directions, evenly over the upper half of a sphere: a Fibonacci lattice."""
    number = np.arange(LIGHTS) + 0.5
    height = 0.06 + 0.94 * number / LIGHTS
    turn = math.pi * (3 - math.sqrt(5)) * number
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)


def _picture(scene: _Scene, turn_rad: float, size: int) -> np.ndarray:
    """(size, size, 3) uint8, seen from a turn around the vertical axis; the main light turns with the viewer."""
    distance = 1.06 / math.sin(FOV_RAD / 2)
    level = distance * math.cos(ELEVATION_RAD)
    place = (level * math.sin(turn_rad), -level * math.cos(turn_rad), distance * math.sin(ELEVATION_RAD))
    camera = Camera(size, size, FOV_RAD, look_at(place))
    floor = _floor(scene, camera)
    linear, depth = floor.copy(), np.zeros(size * size, np.float32)
    found = scene.caster.first_hits(camera)
    linear[found.ray] = _shade(scene, camera, camera.rays_world().reshape(-1, 3)[found.ray], found)
    depth[found.ray] = found.depth
    edge = np.flatnonzero(_edges(depth.reshape(size, size), linear.reshape(size, size, 3)))
    row, column = np.divmod(edge, size)
    column, row = (column[:, None] + AROUND[:, 0]).ravel(), (row[:, None] + AROUND[:, 1]).ravel()
    directions = camera.rays_at(column, row) @ camera.world_from_camera[:3, :3].T
    found = scene.caster.first_hits(camera, column, row)
    around = np.repeat(floor[edge], len(AROUND), axis=0)
    around[found.ray] = _shade(scene, camera, directions[found.ray], found)
    linear[edge] = (linear[edge] + around.reshape(-1, len(AROUND), 3).sum(1)) / (1 + len(AROUND))
    return np.rint(np.clip(srgb.from_linear(linear), 0, 1) * 255).astype(np.uint8).reshape(size, size, 3)


def _shade(scene: _Scene, camera: Camera, directions: np.ndarray, found: Crossings) -> np.ndarray:
    """(M, 3) float32 linear light of the hits `found` of rays in `directions`, (M, 3), world."""
    corners, weights = scene.faces[found.face], found.barycentric.astype(np.float32)
    values = sum(scene.attributes[corners[:, corner]] * weights[:, corner, None] for corner in range(3))
    normals, colors, sky = values[:, :3], values[:, 3:6], values[:, 6]
    normals /= np.maximum(np.sqrt(np.einsum("nk,nk->n", normals, normals)), 1e-6)[:, None]
    behind = np.einsum("nk,nk->n", scene.face_normals[found.face], directions) > 0
    normals[behind] *= -1
    key = (camera.world_from_camera[:3, :3] @ KEY_LIGHT).astype(np.float32)
    direct = np.maximum((normals @ key + 0.2) / 1.2, 0)  # wrapped a little around the edge, as of a large lamp
    light = sky * (0.38 + 0.5 * (1 + normals[:, 2]) / 2) + (0.35 + 0.65 * sky) * 0.75 * direct
    return colors * (EXPOSURE * light)[:, None]


def _edges(depth: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """(H, W) bool, pixels on either side of an edge; depth (H, W) is 0 where there is no surface."""
    edges = np.zeros(depth.shape, bool)
    light = linear @ np.array((1, 2, 3), np.float32) / 2  # of two colours as bright as each other too, one number each
    for axis in (0, 1):
        step = np.abs(np.diff(depth, axis=axis)) > EDGE_DEPTH
        step |= np.abs(np.diff(light, axis=axis)) > EDGE_LIGHT
        edges[(slice(None),) * axis + (slice(None, -1),)] |= step
        edges[(slice(None),) * axis + (slice(1, None),)] |= step
    return edges


def _floor(scene: _Scene, camera: Camera) -> np.ndarray:
    """(rays, 3) float32 linear light of the floor along every ray of a camera, as if there were no object."""
    rays = camera.rays_world().reshape(-1, 3)
    down = np.minimum(rays[:, 2], -1e-6)
    points = camera.origin[:2] + rays[:, :2] * ((scene.floor_z - camera.origin[2]) / down)[:, None]
    place = (points + FLOOR_HALF) / (2 * FLOOR_HALF) * (FLOOR_POINTS - 1)
    light = ndimage.map_coordinates(scene.floor, place.T, order=1, mode="constant", cval=1.0)
    return srgb.to_linear(BACKGROUND) * light.astype(np.float32)[:, None]
