"""Mesh: one object as triangles in the unit box of the z-up world, with the colour of every surface point."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np

from ..common import srgb
from ..common.errors import InputError
from .part import LARGEST_UV, Part, joined, largest, shared_materials
from .polygons import corner_columns, cross_columns, difference

COLORS = ("texture", "face")
"""Choices of `--color`: looked up at every hit, or one colour a face as in the original's data."""

NORMALS = ("face", "vertex")
"""Choices of `--normals`: of the face, or interpolated from the file's vertex normals."""

FIELDS = ("normals", "vertex_colors", "face_colors")
"""What a file may have or lack."""

BLOCK = 1 << 14
"""Faces or vertices that are worked on at once."""

SLIVER = 1e-12
"""A face with less than this share of its longest edge squared as area counts as degenerate."""

SURE_AREA = 1e-12
"""Twice the area of a face, in the unit box, from which on rounding its corners cannot make it vanish."""

MANY_FACES = 1 << 18
"""Of a mesh with more, normals are made for the faces that were hit and not for all."""


class Mesh:
    """Triangles of one object, longest side of the box 1, box centred at the origin, z up.

    Attributes:
      vertices: (V, 3) float64, world.
      faces: (F, 3) int32, counter-clockwise seen from outside; degenerate ones are removed.
      vertex_normals: (V, 3) float64, unit; 0 where the file has none.
      uv: (V, 2) float64; 0 where the file has none.
      vertex_colors: (V, 3) float32, linear light; 1 where the file has none.
      face_colors: (F, 3) float32, linear light; 1 where the file has none.
      materials: tuple of Material; material: (F,) int32, the material of each face.
    """

    def __init__(self, parts: Sequence[Part], rotation: np.ndarray, name: str) -> None:
        """Join parts, turn them by a (3, 3) rotation, scale to the unit box. Errors begin with `name`."""
        parts = [part.check(name) for part in parts if len(part.faces)]
        if not parts:
            raise InputError(f"{name}: no triangles")
        counts, face_counts = ([len(getattr(part, rows)) for part in parts] for rows in ("vertices", "faces"))
        columns = _joined_columns([_turned(part.vertices, rotation) for part in parts])
        faces = _joined_faces(parts, counts, name)
        keep, least_area = _find_proper(columns, faces)
        if not keep.any():
            raise InputError(f"{name}: no triangles, every face is degenerate")
        keep = None if keep.all() else keep
        faces = _chosen(faces, keep)
        used = np.zeros(columns.shape[1], bool)
        used[faces] = True
        used = None if used.all() else used
        self.faces = faces if used is None else (np.cumsum(used, dtype=np.int32) - 1)[faces]
        columns = columns if used is None else columns[:, used]
        self.vertices, size = _fit_unit_box(columns)
        if not least_area / size**2 > SURE_AREA and not self._planes[1].all():
            raise InputError(f"{name}: faces vanish in a box of side 1, so far away lies one of the vertices")
        self._has = {name: any(getattr(part, name) is not None for part in parts) for name in FIELDS}
        self.vertex_normals = np.broadcast_to(0.0, self.vertices.shape)
        if self._has["normals"]:
            normals = joined(parts, "normals", counts, 0.0)
            self.vertex_normals = _unit(_turned(_chosen(normals, used), rotation))
        self.uv = _chosen(joined(parts, "uv", counts, 0.0), used)
        self.vertex_colors = _chosen(joined(parts, "vertex_colors", counts, 1.0), used)
        self.face_colors = _chosen(joined(parts, "face_colors", face_counts, 1.0), keep)
        self.materials, index = shared_materials(parts)
        self.material = _chosen(np.repeat(index.astype(np.int32), face_counts), keep)
        self._check_values(name)

    def _check_values(self, name: str) -> None:
        """Raises InputError, beginning with `name`, for texture coordinates and colours that cannot be shown.

        Those of vertices that no proper face has do no harm: programs write NaN where a face has no area.
        """
        pictured = np.array([material.texture is not None for material in self.materials])
        are_wrong = pictured.any() and not largest(self.uv) <= LARGEST_UV
        if are_wrong and not largest(self.uv[self.faces[pictured[self.material]]]) <= LARGEST_UV:
            raise InputError(f"{name}: texture coordinates that are not numbers up to {LARGEST_UV:g}")
        values = [material.factor for material in self.materials]
        values += [getattr(self, field) for field in ("vertex_colors", "face_colors") if self._has[field]]
        if not all(np.isfinite(colors).all() for colors in values):
            raise InputError(f"{name}: colours that are not finite numbers")

    def has(self, field: str) -> bool:
        """Whether the file has a field of `FIELDS`."""
        return self._has[field]

    @property
    def face_normals(self) -> np.ndarray:
        """(F, 3) float64, unit, by the winding."""
        return self._planes[0]

    @cached_property
    def _planes(self) -> tuple[np.ndarray, np.ndarray]:
        """`_normals` of all faces, made when they are asked for."""
        return _normals(self.vertices, self.faces)

    def colors(self, face: np.ndarray, barycentric: np.ndarray, mode: str = "texture") -> np.ndarray:
        """Colour at points on the surface: texture x material factor x vertex colour x face colour.

        The product is of linear light, and the result is sRGB; so a texture alone comes back as it is in its
        file. A surface without any colour is grey (`part.GREY`). Mode "face" looks the nearest texture pixel
        up at the three corners only and averages, as the original's data does, so that a face has one colour.

        Args:
          face: (N,) int; barycentric: (N, 3), the weights of the face's corners.
        Returns:
          (N, 3) float32, sRGB in [0, 1].
        """
        if mode not in COLORS:
            raise InputError(f"color {mode!r}: expected one of {', '.join(COLORS)}")
        if mode == "texture":
            return self._colors(face, barycentric, nearest=False)
        different, inverse = np.unique(face, return_inverse=True)
        corners = (np.tile(row, (len(different), 1)) for row in np.eye(3))
        mean = sum(self._colors(different, corner, nearest=True) for corner in corners) / 3
        return np.clip(mean, 0, 1).astype(np.float32)[inverse]

    def _colors(self, face: np.ndarray, barycentric: np.ndarray, nearest: bool) -> np.ndarray:
        color = np.empty((len(face), 3), np.float32)
        material = self.material[face]
        present = np.flatnonzero(np.bincount(material, minlength=1))
        for index in present:
            # A slice, where all have one material, spares copies of everything.
            chosen = slice(None) if len(present) == 1 else np.flatnonzero(material == index)
            corners, weights = self.faces[face[chosen]], barycentric[chosen]
            factor = self._factor(self.materials[index].factor, face[chosen], corners, weights)
            texture = self.materials[index].texture
            if texture is None:
                color[chosen] = srgb.from_linear(factor)
                continue
            picture = texture.sample(_interpolated(self.uv, corners, weights), nearest)
            tinted = np.abs(factor - 1).max(1) > 1e-5  # elsewhere the product is the picture itself
            if len(factor) == 1:
                color[chosen] = srgb.from_linear(srgb.to_linear(picture) * factor) if tinted[0] else picture
                continue
            picture[tinted] = srgb.from_linear(srgb.to_linear(picture[tinted]) * factor[tinted])
            color[chosen] = picture
        return np.clip(color, 0, 1, out=color)

    def _factor(self, factor: np.ndarray, face: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """What the texture is multiplied with, linear light: (N, 3) float32, or (1, 3) where it is the same for all."""
        factor = factor[None]
        if self._has["face_colors"]:
            factor = factor * self.face_colors[face]
        if self._has["vertex_colors"]:
            factor = factor * _interpolated(self.vertex_colors, corners, weights).astype(np.float32)
        return factor

    def normals(self, face: np.ndarray, barycentric: np.ndarray, mode: str = "face") -> np.ndarray:
        """Unit normals at points on the surface, world frame, never turned to a viewer.

        Mode "vertex" interpolates the file's vertex normals and gives them the sign of the face's normal; where
        the file has none it is the face's normal.

        Args:
          face: (N,) int; barycentric: (N, 3).
        Returns:
          (N, 3) float64.
        """
        if mode not in NORMALS:
            raise InputError(f"normals {mode!r}: expected one of {', '.join(NORMALS)}")
        few = len(self.faces) > max(MANY_FACES, len(face))
        flat = _normals(self.vertices, self.faces[face])[0] if few else self.face_normals[face]
        if mode == "face" or not self._has["normals"]:
            return flat
        smooth = _interpolated(self.vertex_normals, self.faces[face], barycentric)
        smooth *= np.where((smooth * flat).sum(1, keepdims=True) < 0, -1.0, 1.0)
        length = np.linalg.norm(smooth, axis=1, keepdims=True)
        return np.where(length > 1e-6, smooth / np.maximum(length, 1e-6), flat)

    def sample(self, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points spread evenly over the area of the surface.

        Returns:
          points (count, 3) float64, normals (count, 3) float64 of the faces, colors (count, 3) float32.
        """
        face, barycentric = sample_by_area(self._planes[1], count, rng)
        points = (self.vertices[self.faces[face]] * barycentric[:, :, None]).sum(1)
        return points, self.face_normals[face], self.colors(face, barycentric)


def sample_by_area(area: np.ndarray, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw points that are uniform over the area of triangles (Osada et al. 2002, "Shape Distributions", section 4.2).

    Args:
      area: (F,) in any unit, of a sum above 0.
    Returns:
      face (count,) int64 and barycentric coordinates (count, 3) float64.
    """
    face = rng.choice(len(area), size=count, p=area / area.sum())
    u, v = rng.random((2, count))
    root = np.sqrt(u)
    return face, np.stack([1 - root, root * (1 - v), root * v], axis=1)


def _joined_columns(columns: list[np.ndarray]) -> np.ndarray:
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


def _joined_faces(parts: Sequence[Part], counts: Sequence[int], name: str) -> np.ndarray:
    """(F, 3) int32 of all parts in a row; `counts` are their vertices."""
    if sum(counts) > np.iinfo(np.int32).max:
        raise InputError(f"{name}: {sum(counts)} vertices, expected at most {np.iinfo(np.int32).max}")
    if len(parts) == 1:
        return np.ascontiguousarray(parts[0].faces, np.int32)
    faces, begin = np.empty((sum(len(part.faces) for part in parts), 3), np.int32), 0
    for part, first in zip(parts, np.cumsum(counts) - counts, strict=True):
        np.add(part.faces, first, out=faces[begin : begin + len(part.faces)], casting="unsafe")
        begin += len(part.faces)
    return faces


def _chosen(rows: np.ndarray, chosen: np.ndarray | None) -> np.ndarray:
    """The rows of a mask; all of them, not copied, where it is None."""
    return rows if chosen is None else rows[chosen]


def _turned(vectors: np.ndarray, rotation: np.ndarray) -> np.ndarray:
    """(3, N) float64, one row for each axis, of vectors (N, 3) under a rotation (3, 3)."""
    if np.isin(rotation, (-1, 0, 1)).all():  # axes change places: no products, which are slower and as exact
        places = np.abs(rotation).argmax(1)
        turned = np.empty((3, len(vectors)))
        for start in range(0, len(vectors), BLOCK):
            for axis, place in enumerate(places):
                turned[axis, start : start + BLOCK] = vectors[start : start + BLOCK, place]
        turned[rotation[range(3), places] < 0] *= -1
        return turned
    return np.ascontiguousarray((vectors.astype(np.float64) @ rotation.T).T)


def _blocks(faces: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The faces in blocks, so that what is made of them stays in the processor's cache."""
    for start in range(0, len(faces), BLOCK):
        yield slice(start, start + BLOCK), faces[start : start + BLOCK]


def _find_proper(columns: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, float]:
    """(F,) bool, which faces have an area, and twice the least of these areas; columns (3, V)."""
    proper, least = np.empty(len(faces), bool), math.inf
    for rows, block in _blocks(faces):
        a, b, c = corner_columns(columns, block)
        edges = difference(b, a), difference(c, a), difference(c, b)
        longest = np.maximum.reduce([_squared(edge) for edge in edges])
        area = np.sqrt(_squared(cross_columns(edges[0], edges[1])))
        np.greater(area, SLIVER * longest, out=proper[rows])
        least = min(least, area.min(where=proper[rows], initial=math.inf))
    return proper, least


def _normals(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(F, 3) unit normals of faces by their winding, and (F,) twice their areas; vertices (V, 3)."""
    normals, areas = np.empty((len(faces), 3)), np.empty(len(faces))
    for rows, block in _blocks(faces):
        a, b, c = np.ascontiguousarray(vertices[block].transpose(1, 2, 0))
        cross = cross_columns(difference(b, a), difference(c, a))
        areas[rows] = np.sqrt(_squared(cross))
        for axis in range(3):
            np.divide(cross[axis], areas[rows], out=normals[rows, axis], where=areas[rows] > 0)
    return normals, areas


def _squared(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """(N,) squared lengths of vectors that are given as one array for each axis."""
    x, y, z = vectors
    return x * x + y * y + z * z


def _fit_unit_box(columns: np.ndarray) -> tuple[np.ndarray, float]:
    """Vertices (3, V) as (V, 3) with the centre of their box at the origin and its longest side 1; that side before."""
    low, high = columns.min(1, keepdims=True), columns.max(1, keepdims=True)
    middle, size = (low + high) / 2, (high - low).max()
    vertices = np.empty((columns.shape[1], 3))
    for start in range(0, len(vertices), BLOCK):
        block = (columns[:, start : start + BLOCK] - middle) / size
        for axis in range(3):  # twice as fast as the transposed block in one
            vertices[start : start + BLOCK, axis] = block[axis]
    return vertices, size


def _interpolated(values: np.ndarray, corners: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
    """(N, C) of values (V, C) at points (N, 3) in faces with corners (N, 3)."""
    return np.einsum("nkc,nk->nc", values[corners], barycentric)


def _unit(columns: np.ndarray) -> np.ndarray:
    """(N, 3) of length 1 of (3, N); 0 where there is no direction, which files say by 0 and by NaN."""
    length = np.sqrt(_squared(columns))
    known = np.isfinite(length) & (length > 0)
    length[~known] = 1
    unit = np.empty((len(length), 3))
    for axis in range(3):
        np.divide(np.where(known, columns[axis], 0), length, out=unit[:, axis])
    return unit
