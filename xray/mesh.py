"""Mesh: one object as triangles in the unit box of the z-up world, with the colour of every surface point."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from . import srgb
from .axes import UP_OF_SUFFIX, world_from_file
from .errors import InputError
from .part import Part, joined, shared_materials
from .readers import read_parts

COLORS = ("texture", "face")
"""Choices of `--color`: looked up at every hit, or one colour a face as in the original's data."""

NORMALS = ("face", "vertex")
"""Choices of `--normals`: of the face, or interpolated from the file's vertex normals."""

FOLDER_STYLES = {"models": ".obj", "meshes": ".obj", "Scan": ".obj"}
"""Folders that a data set puts between the object's id and a file whose name says nothing: ShapeNet's
<uid>/models/*.obj, Google Scanned Objects' <uid>/meshes/model.obj, OmniObject3D's <uid>/Scan/Scan.obj."""

SLIVER = 1e-12
"""A face with less than this share of its longest edge squared as area counts as degenerate."""


class Mesh:
    """Triangles of one object, longest side of the box 1, box centred at the origin, z up.

    Attributes:
      vertices: (V, 3) float64, world.
      faces: (F, 3) int64, counter-clockwise seen from outside; degenerate ones are removed.
      face_normals: (F, 3) float64, unit, by the winding.
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
        counts = [len(part.vertices) for part in parts]
        first = np.concatenate([[0], np.cumsum(counts)[:-1]])
        vertices = np.concatenate([part.vertices for part in parts]).astype(np.float64) @ rotation.T
        faces = np.concatenate([part.faces + start for part, start in zip(parts, first, strict=True)])
        keep = _is_proper(vertices, faces)
        if not keep.any():
            raise InputError(f"{name}: no triangles, every face is degenerate")
        used = np.zeros(len(vertices), bool)
        used[faces[keep]] = True
        self.faces = (np.cumsum(used) - 1)[faces[keep]]
        self.vertices = _in_unit_box(vertices[used])
        corners = self.vertices[self.faces]
        self._cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(self._cross, axis=1, keepdims=True)
        if not length.all():
            raise InputError(f"{name}: faces vanish in a box of side 1, so far away lies one of the vertices")
        self.face_normals = self._cross / length
        self.vertex_normals = _unit(joined(parts, "normals", counts, 3, 0.0)[used] @ rotation.T)
        self.uv = joined(parts, "uv", counts, 2, 0.0)[used]
        self.vertex_colors = joined(parts, "vertex_colors", counts, 3, 1.0)[used].astype(np.float32)
        face_counts = [len(part.faces) for part in parts]
        self.face_colors = joined(parts, "face_colors", face_counts, 3, 1.0)[keep].astype(np.float32)
        names = ("normals", "vertex_colors", "face_colors")
        self._has = {name: any(getattr(part, name) is not None for part in parts) for name in names}
        self.materials, index = shared_materials(parts)
        self.material = np.repeat(index, face_counts)[keep].astype(np.int32)

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
        flat = self.face_normals[face]
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
        area = np.linalg.norm(self._cross, axis=1)
        face = rng.choice(len(self.faces), size=count, p=area / area.sum())
        u, v = rng.random((2, count))
        root = np.sqrt(u)
        barycentric = np.stack([1 - root, root * (1 - v), root * v], axis=1)
        points = (self.vertices[self.faces[face]] * barycentric[:, :, None]).sum(1)
        return points, self.face_normals[face], self.colors(face, barycentric)


def load_mesh(path: str | Path, up: str = "auto") -> Mesh:
    """Read a mesh or scene file.

    Args:
      up: axis that is up in the file; "auto" goes by the file type (`axes.UP_OF_SUFFIX`).
    Raises:
      InputError: no such file, a type that is not known, content that cannot be used; the message names the file.
    """
    path = Path(path)
    if path.suffix.lower() not in UP_OF_SUFFIX:
        raise InputError(f"{path}: file type {path.suffix!r}, expected one of {', '.join(UP_OF_SUFFIX)}")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with np.errstate(all="ignore"):  # numbers out of range end as ones that are not finite, and those are refused
        return Mesh(read_parts(path), world_from_file(path.suffix, up), str(path))


def find_meshes(mesh_root: str | Path) -> dict[str, Path]:
    """Object id -> mesh file, sorted by id: <uid>.<type> anywhere below, and the styles of `FOLDER_STYLES`.

    Raises:
      InputError: no such folder, no mesh in it, two files for one id.
    """
    mesh_root = Path(mesh_root)
    if not mesh_root.is_dir():
        raise InputError(f"{mesh_root}: no such folder of meshes")
    found: dict[str, str] = {}
    for folder, names in _mesh_files(str(mesh_root)):
        styled = _styled(folder, names, mesh_root)
        for name in names:
            uid, path = styled.get(name) or os.path.splitext(name)[0], f"{folder}/{name}"
            if uid in found:
                raise InputError(f"{path}: the object id {uid!r} is also that of {found[uid]}; ids must differ")
            found[uid] = path
    if not found:
        raise InputError(f"{mesh_root}: no mesh in this folder; expected files of type {', '.join(UP_OF_SUFFIX)}")
    return {uid: Path(found[uid]) for uid in sorted(found)}


def _mesh_files(root: str) -> Iterator[tuple[str, list[str]]]:
    """(folder, sorted names of mesh files in it) for every folder below, hidden ones left out.

    One system call a folder: the type of a file comes with its name, which makes a million files seconds' work.
    """
    folders, names = [], []
    with os.scandir(root) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            elif os.path.splitext(entry.name)[1].lower() in UP_OF_SUFFIX and entry.is_file():
                names.append(entry.name)
    if names:
        yield root, sorted(names)
    for name in sorted(folders):
        yield from _mesh_files(f"{root}/{name}")


def _styled(folder: str, names: list[str], mesh_root: Path) -> dict[str, str]:
    """The id of the file that stands for its object in a folder in one of the styles of `FOLDER_STYLES`."""
    path = Path(folder)
    style = FOLDER_STYLES.get(path.name)
    if style is None or path == mesh_root or path.parent == mesh_root:
        return {}
    alike = [name for name in names if name.lower().endswith(style)]
    return {alike[0]: path.parent.name} if len(alike) == 1 else {}


def _is_proper(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F,) bool, which faces have an area."""
    a, b, c = (vertices[corner] for corner in faces.T)
    edges = (b - a, c - a, c - b)
    longest = np.max([np.einsum("nk,nk->n", edge, edge) for edge in edges], axis=0)
    return np.linalg.norm(np.cross(edges[0], edges[1]), axis=1) > SLIVER * longest


def _in_unit_box(vertices: np.ndarray) -> np.ndarray:
    low, high = vertices.min(0), vertices.max(0)
    return (vertices - (low + high) / 2) / (high - low).max()


def _interpolated(values: np.ndarray, corners: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
    """(N, C) of values (V, C) at points (N, 3) in faces with corners (N, 3)."""
    return np.einsum("nkc,nk->nc", values[corners], barycentric)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """(N, 3) of length 1; 0 where there is no direction, which files say by 0 and by NaN."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    known = np.isfinite(length) & (length > 0)
    return np.where(known, vectors, 0) / np.where(known, length, 1)
