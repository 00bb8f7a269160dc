"""Building blocks of the example objects: boxes, turned and swept shapes, and painted textures. World z-up."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from PIL import Image

TEXTURE_PX = 64


@dataclass
class Part:
    """A textured piece. vertices (V, 3), faces (F, 3) wound counter-clockwise from outside, uv (V, 2)."""

    vertices: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    texture: np.ndarray

    def moved(self, offset=(0, 0, 0), turn_deg: float = 0, tilt_deg: float = 0) -> Part:
        """The part turned about z, after a tilt about x, then shifted."""
        turn, tilt = np.radians([turn_deg, tilt_deg])
        about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
        about_x = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
        return Part(self.vertices @ (about_z @ about_x).T + np.asarray(offset), self.faces, self.uv, self.texture)


def box(size, center, texture: np.ndarray) -> Part:
    """Closed box; every side has the texture once per unit length, so that long sides repeat it."""
    size, vertices, uv, faces = np.asarray(size, float), [], [], []
    for axis in range(3):
        u_axis, v_axis = (axis + 1) % 3, (axis + 2) % 3
        for sign in (-1, 1):
            corner = np.full((4, 3), 0.5 * sign)
            corner[:, u_axis] = [-0.5, 0.5, 0.5, -0.5]
            corner[:, v_axis] = [-0.5, -0.5, 0.5, 0.5]
            quad = np.array([[0, 1, 2], [0, 2, 3]])
            faces.append((quad if sign > 0 else quad[:, ::-1]) + 4 * len(vertices))
            vertices.append(corner * size)
            uv.append((corner[:, [u_axis, v_axis]] + 0.5) * size[[u_axis, v_axis]] * 2)
    return Part(np.concatenate(vertices) + np.asarray(center), np.concatenate(faces), np.concatenate(uv), texture)


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """(2 (rows-1) (columns-1), 3) triangles of a vertex grid stored row by row."""
    first = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    lower = np.stack([first, first + 1, first + columns + 1], 1)
    upper = np.stack([first, first + columns + 1, first + columns], 1)
    return np.concatenate([lower, upper])


def turned(profile, texture: np.ndarray, segments: int = 40, repeat: float = 2) -> Part:
    """Surface of revolution about z of a profile (K, 2) of (radius, z).

    A profile from axis to axis, going up on the outside, gives a closed solid; one that stops short of the
    axis leaves the surface open.
    """
    profile = np.asarray(profile, float)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    circle = np.stack([np.cos(angle), np.sin(angle)], 1)
    circle[-1] = circle[0]  # the seam closes to the last bit
    vertices = np.empty((len(profile), segments + 1, 3))
    vertices[..., :2] = profile[:, None, :1] * circle
    vertices[..., 2] = profile[:, 1:]
    length = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(profile, axis=0), axis=1))])
    uv = np.stack(np.broadcast_arrays(np.linspace(0, repeat, segments + 1), 2 * length[:, None]), -1)
    return Part(vertices.reshape(-1, 3), _grid_faces(len(profile), segments + 1), uv.reshape(-1, 2), texture)


def swept(path, radius, texture: np.ndarray, segments: int = 16) -> Part:
    """Round tube along a path (K, 3), with flat ends; closed into a ring where the path ends at its start.

    The frame is carried along without twist; a ring must lie in a plane for its two ends to meet.
    """
    path = np.asarray(path, float)
    ring = np.allclose(path[0], path[-1])
    tangent = np.gradient(path, axis=0)
    if ring:
        tangent[0] = tangent[-1] = path[1] - path[-2]
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    side = np.cross(tangent[0], np.eye(3)[np.argmin(np.abs(tangent[0]))])
    sides = []
    for direction in tangent:
        side = side - direction * (side @ direction)
        side = side / np.linalg.norm(side)
        sides.append(side)
    if ring:
        sides[-1] = sides[0]
    sides = np.array(sides)
    angle = np.linspace(0, 2 * np.pi, segments + 1)
    angle[-1] = 0
    spoke = (
        np.cos(angle)[None, :, None] * sides[:, None] + np.sin(angle)[None, :, None] * np.cross(tangent, sides)[:, None]
    )
    radius = np.broadcast_to(np.asarray(radius, float), len(path))
    tube = path[:, None] + radius[:, None, None] * spoke
    if not ring:  # caps: a first and a last ring of no radius
        tube = np.concatenate(
            [np.broadcast_to(path[0], tube[:1].shape), tube, np.broadcast_to(path[-1], tube[:1].shape)]
        )
    rows = len(tube)
    uv = np.stack(np.meshgrid(np.linspace(0, 1, rows) * 2, np.linspace(0, 1, segments + 1), indexing="ij"), -1)
    return Part(tube.reshape(-1, 3), _grid_faces(rows, segments + 1), uv.reshape(-1, 2), texture)


def arc(radius: float, start_deg: float, end_deg: float, steps: int = 24) -> np.ndarray:
    """(steps, 3) points of a circle in the x-z plane."""
    angle = np.radians(np.linspace(start_deg, end_deg, steps))
    return np.stack([radius * np.cos(angle), np.zeros(steps), radius * np.sin(angle)], 1)


def paint(rng: np.random.Generator, kind: str | None = None) -> np.ndarray:
    """(64, 64, 3) uint8 texture that repeats without a seam: plain, stripes, checks, dots, wood or marble."""
    kind = kind or rng.choice(["plain", "stripes", "checks", "dots", "wood", "marble"])
    hue = rng.uniform()
    base = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.25, 0.9), rng.uniform(0.45, 0.95)))
    other = np.array(colorsys.hsv_to_rgb((hue + rng.uniform(0.2, 0.8)) % 1, rng.uniform(0.2, 0.9), rng.uniform(0.3, 1)))
    v, u = np.mgrid[0:TEXTURE_PX, 0:TEXTURE_PX] / TEXTURE_PX
    count = int(rng.integers(2, 5))
    wave = sum(np.sin(2 * np.pi * (a * u + b * v + rng.uniform())) / (abs(a) + abs(b)) for a, b in _WAVES)
    if kind == "stripes":
        mix = (np.floor(v * count * 2) % 2).astype(float)
    elif kind == "checks":
        mix = (np.floor(u * count * 2) + np.floor(v * count * 2)) % 2
    elif kind == "dots":
        mix = ((u * count % 1 - 0.5) ** 2 + (v * count % 1 - 0.5) ** 2 < 0.09).astype(float)
    elif kind == "wood":
        base, other = np.array([0.62, 0.42, 0.24]) * rng.uniform(0.6, 1.3), np.array([0.36, 0.22, 0.12])
        mix = 0.5 + 0.5 * np.sin(2 * np.pi * (count * v + 0.12 * wave))
    elif kind == "marble":
        mix = np.abs(np.sin(np.pi * (count * u + 0.5 * wave)))
    else:
        mix = 0.12 * (1 + wave / 2)
    color = base + mix[..., None] * (other - base) + rng.normal(0, 0.012, (TEXTURE_PX, TEXTURE_PX, 1))
    return (np.clip(color, 0, 1) * 255 + 0.5).astype(np.uint8)


_WAVES = [(1, 0), (0, 1), (1, 1), (2, -1), (1, 3), (3, 2)]


def picture(texture: np.ndarray) -> Image.Image:
    """The texture as an image for a material."""
    return Image.fromarray(texture)
