"""Part: one piece of a file with one material, as the readers hand it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..common import srgb
from ..common.errors import InputError
from .texture import Texture

GREY = 0.8
"""sRGB value of a surface for which the file gives no colour at all."""


LARGEST = 1e60
"""No coordinate is larger: the fourth power, which areas squared are, must stay a number."""

LARGEST_UV = 1e6
"""No texture coordinate is larger: what is left behind the point would not tell two pixels apart."""


@dataclass(frozen=True, eq=False)
class Material:
    """The colour of a surface: `texture` times `factor`.

    Attributes:
      factor: (3,) float32, linear light.
      texture: or None, where the factor alone is the colour.
    """

    factor: np.ndarray = field(default_factory=lambda: np.ones(3, np.float32))
    texture: Texture | None = None


def largest(values: np.ndarray) -> float:
    """The largest absolute value; NaN where one is NaN, 0 where there are none."""
    return max(-float(values.min()), float(values.max())) if values.size else 0.0


@dataclass(frozen=True, eq=False)
class Part:
    """Triangles with one material. What a file does not have is None.

    Attributes:
      vertices: (V, 3) float64, or float32 as the file has them, in the axes of the file, node transforms applied.
      faces: (F, 3) of whole numbers, counter-clockwise seen from outside.
      material: or None.
      uv: (V, 2) float64, see `Texture`.
      normals: (V, 3) float64, of any length.
      vertex_colors: (V, 3) float32, linear light.
      face_colors: (F, 3) float32, linear light.
    """

    vertices: np.ndarray
    faces: np.ndarray
    material: Material | None = None
    uv: np.ndarray | None = None
    normals: np.ndarray | None = None
    vertex_colors: np.ndarray | None = None
    face_colors: np.ndarray | None = None

    def check(self, name: str) -> Part:
        """Self, or InputError beginning with `name`: values that are out of range, lengths that do not agree."""
        count, faces = len(self.vertices), self.faces
        if len(faces) and not (faces.min() >= 0 and faces.max() < count):
            raise InputError(f"{name}: faces name vertices {faces.min()} to {faces.max()}, there are {count}")
        used = self.vertices
        if not largest(used) <= LARGEST:  # perhaps a vertex that no face has
            named = np.zeros(count, bool)
            named[faces] = True
            used = used[named]
        if not np.isfinite(used).all():
            raise InputError(f"{name}: vertices that are not finite numbers")
        if largest(used) > LARGEST:
            raise InputError(f"{name}: a vertex at {largest(used):.3g}, expected at most {LARGEST:g}")
        for what in ("uv", "normals", "vertex_colors"):
            values = getattr(self, what)
            if values is not None and len(values) != count:
                raise InputError(f"{name}: {len(values)} {what} for {count} vertices")
        return self

    def transformed(self, matrix: np.ndarray) -> Part:
        """The part under a (4, 4) affine transform; a mirror turns the winding, so that outside stays outside."""
        if np.array_equal(matrix, np.eye(4)):
            return self
        linear = matrix[:3, :3]
        mirrored = np.linalg.det(linear) < 0
        normals = self.normals
        if normals is not None:
            # The cofactor matrix is the inverse transpose up to scale, and exists for singular ones too.
            cofactor = np.stack([np.cross(linear[(i + 1) % 3], linear[(i + 2) % 3]) for i in range(3)])
            normals = normals @ cofactor.T * (-1.0 if mirrored else 1.0)
        return replace(
            self,
            vertices=self.vertices @ linear.T + matrix[:3, 3],
            faces=self.faces[:, ::-1] if mirrored else self.faces,
            normals=normals,
        )


FIELD_TYPES = {
    "normals": (3, np.float64),
    "uv": (2, np.float64),
    "vertex_colors": (3, np.float32),
    "face_colors": (3, np.float32),
}
"""Columns and type of what a part may lack."""


def joined(parts: Sequence[Part], name: str, counts: list[int], missing: float) -> np.ndarray:
    """(N, columns) of a field of all parts in a row, `missing` where a part lacks it; `counts` are their rows.

    Where every part lacks it, the array is read-only and takes no memory.
    """
    columns, dtype = FIELD_TYPES[name]
    rows = [getattr(part, name) for part in parts]
    if all(values is None for values in rows):
        return np.broadcast_to(dtype(missing), (sum(counts), columns))
    blank = [np.broadcast_to(dtype(missing), (count, columns)) for count in counts]
    rows = [empty if values is None else values for values, empty in zip(rows, blank, strict=True)]
    return (rows[0] if len(rows) == 1 else np.concatenate(rows)).astype(dtype, copy=False)


def shared_materials(parts: Sequence[Part]) -> tuple[tuple[Material, ...], np.ndarray]:
    """The different materials, and the index of each part's."""
    grey = Material(np.full(3, srgb.to_linear(np.float32(GREY)), np.float32))
    white = Material()
    materials: list[Material] = []
    known: dict[int, int] = {}
    index = []
    for part in parts:
        material = part.material
        if material is None:
            material = grey if part.vertex_colors is None and part.face_colors is None else white
        if id(material) not in known:
            known[id(material)] = len(materials)
            materials.append(material)
        index.append(known[id(material)])
    return tuple(materials), np.array(index)
