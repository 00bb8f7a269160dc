"""Point clouds, and the points of an X-Ray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError
from .camera import Camera
from .xray import XRay

FRAMES = ("camera", "world")
"""Frames that points can be given in; "world" is the object's frame, z-up."""


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
