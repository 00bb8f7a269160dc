"""The up axis of mesh files, and the rotations between their axes and the z-up world."""

from __future__ import annotations

import numpy as np

from .errors import InputError

UP = ("auto", "y", "z")
"""Choices of the `--up` flags."""

WORLD_FROM_UP = {
    "y": np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]),
    "z": np.eye(3),
}
"""(3, 3) rotations to the z-up world, determinant +1: y-up (x, y, z) becomes (x, -z, y)."""

UP_OF_SUFFIX = {".glb": "y", ".gltf": "y", ".obj": "y", ".ply": "z", ".stl": "z", ".off": "z"}
"""Up axis by file type. glTF fixes it (https://registry.khronos.org/glTF, 3.4); .obj follows ShapeNet and most
exporters; scans and printed parts (.ply, .stl, .off) are taken as they are."""


def world_from_file(suffix: str, up: str = "auto") -> np.ndarray:
    """(3, 3) rotation from the axes of a file to the world.

    Args:
      suffix: of the file, as ".glb".
      up: "auto" takes the axis of the file type, "y" and "z" that axis.
    Raises:
      InputError: a file type or an `up` that is not known.
    """
    if up not in UP:
        raise InputError(f"up axis {up!r}: expected one of {', '.join(UP)}")
    if suffix.lower() not in UP_OF_SUFFIX:
        raise InputError(f"file type {suffix!r}: expected one of {', '.join(UP_OF_SUFFIX)}")
    return WORLD_FROM_UP[UP_OF_SUFFIX[suffix.lower()] if up == "auto" else up]


def to_y_up(points: np.ndarray) -> np.ndarray:
    """(N, 3) of the z-up world in the axes of .glb and .obj files, (x, y, z) -> (x, z, -y)."""
    return points[:, [0, 2, 1]] * (1, 1, -1)
