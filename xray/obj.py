"""Wavefront .obj: polygons that index positions, texture coordinates and normals apart.

The format: https://paulbourke.net/dataformats/obj/
trimesh 5.2 drops in silence: vertex colours beside a material, every mtllib but the first or that is missing,
texture coordinates of a material where one face has none, and takes index 0 for a vertex (tests/test_trimesh.py).
"""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np

from . import srgb
from .errors import InputError
from .mtl import read_mtl
from .part import Material, Part, fan


def read_obj(path: Path) -> list[Part]:
    """One part for each material of an .obj file.

    Colours behind the coordinates (x y z r g b) are sRGB. Faces whose material the library lacks have none. A
    textured material on faces without texture coordinates takes the colour at (0, 0), as graphics hardware does.

    Raises:
      InputError: content that cannot be used, a material file or a picture that is missing.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    lines = _Lines(path, text)
    materials: dict[str, Material] = {}
    for name in lines.libraries:
        materials.update(read_mtl(path, name))
    positions = lines.table("v")
    colors = None
    if positions.shape[1] >= 6:
        colors = srgb.to_linear(np.clip(positions[:, 3:6], 0, 1))
    coordinates, normals = lines.table("vt"), lines.table("vn")
    return [
        _part(path, materials.get(name), corners, positions[:, :3], coordinates, normals, colors)
        for name, corners in lines.triangles().items()
    ]


def _part(path, material, corners, positions, coordinates, normals, colors) -> Part:
    """A part of triangles (F, 3, 3) of 0-based indices into positions, coordinates and normals; -1 is none."""
    unique, faces = _different(corners.reshape(-1, 3))
    for index, table, name in zip(unique.T, (positions, coordinates, normals), ("v", "vt", "vn"), strict=True):
        if len(index) and index.max() >= len(table):
            raise InputError(f"{path}: a face names {name} {index.max() + 1}, there are {len(table)}")
    if (unique[:, 0] < 0).any():
        raise InputError(f"{path}: a face without a position index")
    vertex, texture, normal = unique.T
    uv = None
    if (texture >= 0).any() or (material is not None and material.texture is not None):
        uv = np.zeros((len(unique), 2))
        given = texture >= 0
        uv[given] = coordinates[texture[given], :2] * (1, -1) + (0, 1)  # an .obj counts v from the bottom
        uv[~given] = (0, 1)
    vertex_normals = None
    if (normal >= 0).any():
        vertex_normals = np.where((normal >= 0)[:, None], normals[np.maximum(normal, 0)], 0.0)
    return Part(
        positions[vertex],
        faces.reshape(-1, 3),
        material=material,
        uv=uv,
        normals=vertex_normals,
        vertex_colors=None if colors is None else colors[vertex],
    )


def _different(corners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows of (N, 3) indices, and for each row the place of its like among them."""
    place = np.zeros(len(corners), np.int64)
    for column in corners.T:  # one number for the columns so far: sorting numbers is far faster than sorting rows
        first, place = np.unique(place * (int(corners.max()) + 2) + column + 1, return_index=True, return_inverse=True)[
            1:
        ]
    return corners[first], place


class _Lines:
    """The lines of an .obj sorted by what they say."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.libraries: list[str] = []
        self.rows: dict[str, list[str]] = {"v": [], "vt": [], "vn": []}
        self.polygons: dict[str | None, list[str]] = {}
        current = self.polygons.setdefault(None, [])
        for line in text.replace("\\\n", " ").replace("\\\r\n", " ").splitlines():
            key, rest = (line.split(None, 1) + ["", ""])[:2]
            if key in self.rows:
                self.rows[key].append(rest)
            elif key == "f":
                current.append(self._absolute(rest) if "-" in rest else rest)
            elif key == "usemtl":
                current = self.polygons.setdefault(rest.strip(), [])
            elif key == "mtllib":
                self.libraries.append(rest.strip())

    def _absolute(self, polygon: str) -> str:
        """A face with its negative indices, which count back from the latest line, made positive."""
        counts = [len(self.rows[key]) + 1 for key in ("v", "vt", "vn")]
        corners = []
        for corner in polygon.split():
            fields = corner.split("/")
            for slot, field in enumerate(fields[:3]):
                if field.startswith("-"):
                    fields[slot] = str(counts[slot] + self._whole(field))
            corners.append("/".join(fields))
        return " ".join(corners)

    def _whole(self, field: str) -> int:
        try:
            return int(field)
        except ValueError:
            raise InputError(f"{self.path}: a face with the index {field[:40]!r}, expected a whole number") from None

    def table(self, key: str) -> np.ndarray:
        """(N, K) float64 of the lines of one key; K is that of the shortest line (0 rows: 3)."""
        rows, least = self.rows[key], 2 if key == "vt" else 3
        if not rows:
            return np.zeros((0, 3))
        if "#" in "".join(rows):
            rows = [row.split("#")[0] for row in rows]
        fields = list(map(str.split, rows))
        sizes = set(map(len, fields))
        columns = min(sizes)
        try:
            if key == "vt" and columns == 1:
                return np.array([[row[0], "0"] for row in fields], dtype=np.float64)
            if columns < least:
                raise ValueError
            if len(sizes) > 1:
                fields = [row[:columns] for row in fields]
            # One flat list of texts converts several times faster than a table of them.
            return np.array(list(chain.from_iterable(fields)), dtype=np.float64).reshape(-1, columns)
        except ValueError:
            wanted = "two" if key == "vt" else "three"
            raise InputError(f"{self.path}: a line of '{key}' that is not {wanted} numbers") from None

    def triangles(self) -> dict[str | None, np.ndarray]:
        """Material name -> (F, 3, 3) int64 of 0-based v, vt, vn (-1 none); polygons become fans."""
        found = {}
        for name, polygons in self.polygons.items():
            if not polygons:
                continue
            if "#" in "".join(polygons):
                polygons = [polygon.split("#")[0] for polygon in polygons]
            corners = list(map(str.split, polygons))
            sizes = np.fromiter(map(len, corners), np.int64, len(corners))
            indices = self._indices(list(chain.from_iterable(corners)))
            found[name] = indices[fan(sizes)[0]]
        if not found:
            raise InputError(f"{self.path}: no faces")
        return found

    def _indices(self, corners: list[str]) -> np.ndarray:
        """(N, 3) int64, 0-based, -1 for what is left out, of corners such as 3, 3/1, 3//2 and 3/1/2."""
        joined = " ".join(corners)
        indices = np.zeros((len(corners), 3), np.int64)
        try:
            for form, columns in FORMS.items():
                # Without its digits, a text of corners of one form is that form over and over.
                if joined.translate(WITHOUT_DIGITS) == " ".join([form] * len(corners)):
                    numbers = joined.replace("/", " ").split()
                    if len(numbers) == 2 * len(corners) and form == "//" and joined.count("//") == len(corners):
                        columns = [0, 2]
                    if len(numbers) == len(columns) * len(corners):
                        indices[:, columns] = np.array(numbers, np.int64).reshape(len(corners), -1)
                        return indices - 1
            fields = [(corner.split("/") + ["", ""])[:3] for corner in corners]
            return np.array([[field or "0" for field in row] for row in fields], dtype=np.int64) - 1
        except ValueError:
            raise InputError(f"{self.path}: a face with an index that is not a whole number") from None


FORMS = {"": [0], "/": [0, 1], "//": [0, 1, 2]}
"""Slashes of a corner, and the columns that its numbers fill; 3//2 is told from 3/1/2 by the number of numbers."""

WITHOUT_DIGITS = str.maketrans("", "", "0123456789")
