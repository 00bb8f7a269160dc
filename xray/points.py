"""XRay -> point cloud, and point clouds as .ply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement

from .camera import Camera
from .errors import InputError
from .ply import colors, columns, read_elements
from .representation import XRay
from .storage import atomic_path

FRAMES = ("camera", "world")
"""Frames that points may be asked in; "world" is the object's frame, z-up."""


@dataclass(frozen=True)
class PointCloud:
    """Points with normals and colours.

    Attributes:
      points: (N, 3) float64, object units.
      normals: (N, 3) float64, unit.
      colors: (N, 3) float32, sRGB in [0, 1].
    """

    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray

    def __post_init__(self) -> None:
        for name in ("points", "normals", "colors"):
            shape = getattr(self, name).shape
            if shape != (len(self.points), 3):
                raise InputError(f"{name} of shape {shape}: expected ({len(self.points)}, 3)")

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows) -> PointCloud:
        """The chosen points: a slice, a mask or a list of numbers."""
        return PointCloud(self.points[rows], self.normals[rows], self.colors[rows])


def check_frame(frame: str) -> str:
    """`frame`, or InputError where it is none of `FRAMES`."""
    if frame not in FRAMES:
        raise InputError(f"frame {frame!r}: expected one of {', '.join(FRAMES)}")
    return frame


def to_points(xray: XRay, camera: Camera, frame: str = "camera") -> PointCloud:
    """Every hit as a point, o + depth * ray, layer by layer and row by row.

    Which hits there are was decided when the X-Ray was made or decoded (`Codec.decode`); nothing is dropped here.

    Args:
      camera: any size whose columns and rows are in the X-Ray's proportion.
      frame: "camera", or "world" to apply the camera's pose.
    """
    check_frame(frame)
    camera = fit_camera(camera, xray)
    hit = xray.hit
    points = camera.unproject(xray.depth.astype(np.float64))[hit]
    normals = xray.normal[hit].astype(np.float64)
    if frame == "world":
        points = camera.to_world(points)
        normals = normals @ camera.world_from_camera[:3, :3].T
    return PointCloud(points, normals, xray.color[hit])


def fit_camera(camera: Camera, xray: XRay) -> Camera:
    """The camera at the X-Ray's number of rays."""
    height, width = xray.shape[1:]
    fitted = camera.at(width)
    if fitted.height != height:
        raise InputError(f"camera of {fitted.width} x {fitted.height} pixels for {width} x {height} rays")
    return fitted


_RECORD = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [
    (name, "u1") for name in ("red", "green", "blue")
]


def save_ply(path: str | Path, cloud: PointCloud) -> None:
    """Write a binary little-endian .ply: x y z nx ny nz float32, red green blue uint8."""
    table = np.empty(len(cloud), _RECORD)
    for axis, letter in enumerate("xyz"):
        table[letter] = cloud.points[:, axis]
        table[f"n{letter}"] = cloud.normals[:, axis]
    for axis, name in enumerate(("red", "green", "blue")):
        table[name] = np.rint(np.clip(cloud.colors[:, axis], 0, 1) * 255)
    with atomic_path(path) as partial:
        PlyData([PlyElement.describe(table, "vertex")], byte_order="<").write(partial)


def load_ply(path: str | Path) -> PointCloud:
    """Read the vertices of a .ply, ours or another's: ascii or binary, normals and colours 0 where it has none.

    Raises:
      InputError: no such file, not a .ply, cut short, no x y z.
    """
    path = Path(path)
    vertex = read_elements(path)[0].get("vertex", ())
    try:
        points, normals = columns(vertex, "x", "y", "z"), columns(vertex, "nx", "ny", "nz")
        found = colors(vertex)
    except ValueError:
        raise InputError(f"{path}: a list where each vertex has one number") from None
    if points is None:
        raise InputError(f"{path}: vertices without x, y, z")
    zero = np.zeros_like(points)
    return PointCloud(
        points, zero if normals is None else normals, (zero if found is None else found).astype(np.float32)
    )
