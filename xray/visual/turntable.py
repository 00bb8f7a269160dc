"""A mesh that turns once around its vertical axis in soft light, standing on a floor, as an animated picture."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from ..common import srgb
from ..common.files import atomic_path
from ..common.warp_setup import KERNELS, wp
from ..core.camera import Camera, look_at
from ..core.points import PointCloud
from ..surface.surface import Surface, patches
from .rasterizer import CPU, MIDDLE, SAMPLES, Drawing, LitMesh, add_lamp, shade, to_srgb, view_of

FRAMES, SIZE, FRAME_MS = 36, 320, 70

FOV_RAD, ELEVATION_RAD = 0.5, 0.32

BACKGROUND = np.array((0.955, 0.96, 0.97), np.float32)
"""Of the floor as well, sRGB."""

LAMPS, LAMP_DISTANCE = 40, 6.0
"""Lamps all over the sky, whose shadows together are soft; how far away they are, in radii of the object."""

LAMP_PIXELS = 256
"""Columns of the picture of the object that each lamp has, to tell what it shines on."""

COARSE = 0.015
"""Vertices are merged to a grid of this width for the lamps' pictures, in radii of the object: about two pixels."""

SHADOW_BIAS = 0.035
"""Surfaces this near to a point do not shade it, in radii of the object: above the errors of the lamps' pictures."""

SMOOTHINGS = 4
"""Rounds in which each vertex takes the mean of its faces' light, so that no border of a lamp's shadow is seen."""

FLOOR_POINTS, FLOOR_HALF = 64, 2.0
"""Points along a side of the floor where its shadow is found, and half its side, in radii of the object."""

FLOOR_SHADOW = 0.8
"""Share of the floor's light that the sky gives, which the object can take away."""

KEY_LIGHT = np.array((-0.45, 0.7, 0.55)) / np.linalg.norm((-0.45, 0.7, 0.55))
"""Camera frame: from the upper left, over the viewer's shoulder."""

EXPOSURE = 0.74


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
    with KERNELS:
        mesh = _lit(surface)

        def draw(turns: Sequence[int]) -> list[np.ndarray]:
            drawing = Drawing(mesh.vertices, mesh.faces, size, SAMPLES)
            return [_picture(mesh, drawing, 2 * math.pi * number / frames, size) for number in turns]

        return [picture for part in _on_all_cores(draw, range(frames)) for picture in part]


def _on_all_cores(function: Callable, items: Sequence) -> list:
    """What a function that launches kernels gives for each part of the items, a part a core, in their order.

    Kernels leave Python's lock to other threads. They are loaded by the first item, which is done alone.
    """
    parts = min(len(os.sched_getaffinity(0)), len(items) - 1)
    if parts < 2:
        return [function(items)]
    bounds = [1 + (len(items) - 1) * part // parts for part in range(parts + 1)]
    first = function(items[:1])
    with ThreadPoolExecutor(parts) as threads:
        return [first, *threads.map(lambda part: function(items[bounds[part] : bounds[part + 1]]), range(parts))]


def _squares(cloud: PointCloud) -> Surface:
    """Each point as a square that about fills the gap to its neighbours."""
    if len(cloud) < 2:
        return patches(cloud, np.full(len(cloud), 0.02))
    distance = cKDTree(cloud.points).query(cloud.points, k=2)[0][:, 1]
    return patches(cloud, np.full(len(cloud), 1.5 * float(np.median(distance)) + 1e-6))


def _lit(surface: Surface) -> LitMesh:
    """A surface in a sphere of radius 1 around the origin, with the light that the sky gives it, on its floor."""
    low, high = surface.vertices.min(0), surface.vertices.max(0)
    vertices = surface.vertices - (low + high) / 2
    vertices = vertices / max(float(np.linalg.norm(vertices, axis=1).max()), 1e-9)
    mesh = LitMesh()
    mesh.vertices, mesh.normals = _vectors(vertices), _vectors(surface.normals)
    mesh.colors = _vectors(srgb.to_linear(np.clip(surface.colors, 0, 1)))
    mesh.faces = wp.array(surface.faces.astype(np.int32), dtype=wp.vec3i, device=CPU)
    mesh.floor_z, mesh.floor_half = float(vertices[:, 2].min()) - 0.002, FLOOR_HALF
    mesh.floor_color, mesh.exposure = wp.vec3(*srgb.to_linear(BACKGROUND)), EXPOSURE
    sky, floor = _sky_seen(mesh, vertices, surface.normals)
    mesh.sky = wp.array(_smooth(sky, surface.faces), dtype=wp.float32, device=CPU)
    mesh.floor = wp.array(floor, dtype=wp.float32, device=CPU)
    return mesh


def _vectors(values: np.ndarray):
    return wp.array(values.astype(np.float32), dtype=wp.vec3, device=CPU)


def _sky_seen(mesh: LitMesh, vertices: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of the sky that each vertex sees, (V,) float32, and the light on the floor, float32; see `LitMesh`."""
    along = np.linspace(-FLOOR_HALF, FLOOR_HALF, FLOOR_POINTS)
    x, y = np.meshgrid(along, along, indexing="ij")
    points = np.stack([x, y, np.full(x.shape, mesh.floor_z)], axis=-1).reshape(-1, 3)
    facing = _vectors(np.concatenate([normals, np.tile((0.0, 0, 1), (len(points), 1))]))
    points = _vectors(np.concatenate([vertices, points]))
    coarse = _coarse(vertices, mesh.faces.numpy())
    fov_rad = 2.04 * math.asin(1 / LAMP_DISTANCE)

    def light(directions: np.ndarray) -> np.ndarray:
        seen, whole = (wp.zeros(len(points), dtype=wp.float32, device=CPU) for _ in range(2))
        drawing = Drawing(*coarse, LAMP_PIXELS, MIDDLE)
        for direction in directions:
            view = view_of(Camera(LAMP_PIXELS, LAMP_PIXELS, fov_rad, look_at(LAMP_DISTANCE * direction)))
            drawing.draw(view)
            inputs = [points, facing, view, wp.vec3(*direction), drawing.nearness, SHADOW_BIAS, seen, whole]
            wp.launch(add_lamp, len(points), inputs, device=CPU)
        return np.stack([seen.numpy(), whole.numpy()])

    seen, whole = np.sum(_on_all_cores(light, _sky()), axis=0) + 1e-6
    share = seen / whole
    shadow = ndimage.gaussian_filter(1 - share[len(vertices) :].reshape(x.shape), 1.0, mode="nearest")
    shadow *= np.clip(2 - 2 * np.hypot(x, y) / FLOOR_HALF, 0, 1)  # lamps near the horizon throw long, faint streaks
    return share[: len(vertices)], (1 - FLOOR_SHADOW * shadow).astype(np.float32)


def _coarse(vertices: np.ndarray, faces: np.ndarray) -> tuple:
    """Vertices and faces, as `Drawing` takes them, of the same surface with fewer of both."""
    cell = np.rint(vertices / COARSE).astype(np.int64) + 128
    _, first, merged = np.unique(cell @ (1 << 16, 1 << 8, 1), return_index=True, return_inverse=True)
    faces = merged.astype(np.int32)[faces]
    a, b, c = faces.T
    faces = faces[(a != b) & (b != c) & (c != a)]
    if not len(faces):
        faces = np.zeros((1, 3), np.int32)
    return _vectors(vertices[first]), wp.array(faces, dtype=wp.vec3i, device=CPU)


def _smooth(values: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(V,) float32 values of vertices, each near the mean of its neighbours'."""
    corners, count = faces.ravel(), len(values)
    uses = np.bincount(corners, minlength=count)
    for _ in range(SMOOTHINGS):
        means = values[faces].mean(1)
        around = np.bincount(corners, np.repeat(means, 3), count)
        values = np.where(uses > 0, around / np.maximum(uses, 1), values)
    return values.astype(np.float32)


def _sky() -> np.ndarray:
    """(LAMPS, 3) unit directions, evenly over the upper half of a sphere: a Fibonacci lattice."""
    number = np.arange(LAMPS) + 0.5
    height = 0.06 + 0.94 * number / LAMPS
    turn = math.pi * (3 - math.sqrt(5)) * number
    across = np.sqrt(1 - height**2)
    return np.stack([across * np.cos(turn), across * np.sin(turn), height], axis=1)


def _picture(mesh: LitMesh, drawing: Drawing, turn_rad: float, size: int) -> np.ndarray:
    """(size, size, 3) uint8, seen from a turn around the vertical axis; the main light turns with the viewer."""
    distance = 1.06 / math.sin(FOV_RAD / 2)
    level = distance * math.cos(ELEVATION_RAD)
    place = (level * math.sin(turn_rad), -level * math.cos(turn_rad), distance * math.sin(ELEVATION_RAD))
    camera = Camera(size, size, FOV_RAD, look_at(place))
    view = view_of(camera)
    drawing.draw(view)
    key = wp.vec3(*(camera.world_from_camera[:3, :3] @ KEY_LIGHT))
    linear = wp.empty(size * size, dtype=wp.vec3, device=CPU)
    inputs = [mesh, drawing.pixel, drawing.samples, view, key, drawing.face, linear]
    wp.launch(shade, size * size, inputs, device=CPU)
    return to_srgb(linear.numpy()).reshape(size, size, 3)
