"""Stanford .ply, read by plyfile: https://python-plyfile.readthedocs.io

Text and polygons of mixed sizes are read row by row, about 30 and 10 microseconds each. Headers are ASCII and text
holds one row a line, as the format says; files that do otherwise are refused.
"""

from __future__ import annotations

import io
import os
import re
import warnings
from pathlib import Path

import numpy as np
from plyfile import PlyData, PlyElement, PlyElementParseError, PlyParseError

from . import srgb
from .errors import InputError
from .part import Material, Part, fan
from .texture import Texture, read_pixels

COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
"""Names that programs give to texture coordinates of vertices."""


def read_ply(path: Path) -> list[Part]:
    """The part of a .ply file: vertex and face colours (sRGB), normals, and a picture that the header names.

    Raises:
      InputError: content that cannot be used, or a picture that is missing.
    """
    elements, comments = read_elements(path)
    vertex, face = elements.get("vertex", ()), elements.get("face", ())
    indices = next((name for name in ("vertex_indices", "vertex_index") if name in face), None)
    vertices = columns(vertex, "x", "y", "z")
    if vertices is None or indices is None or not len(face.data):
        raise InputError(f"{path}: no triangles (expected vertex x y z, face vertex_indices)")
    sizes, values = _lists(face[indices])
    corner, source = fan(sizes)
    faces = values[corner].astype(np.int64)
    normals, uv, texture = columns(vertex, "nx", "ny", "nz"), None, None
    vertex_colors, face_colors = (_linear(colors(element)) for element in (vertex, face))
    picture = _picture(comments)
    if picture is not None:
        file = path.with_name(picture)
        texture = Texture(read_pixels(file, f"{path}: picture {file.name}"))
        uv = next((found for names in COORDINATES if (found := columns(vertex, *names)) is not None), None)
        if uv is None:
            coordinates = _lists(face["texcoord"]) if "texcoord" in face else None
            if coordinates is None or not np.array_equal(coordinates[0], 2 * sizes):
                raise InputError(f"{path}: names the picture {file.name} but has no texture coordinates")
            # Coordinates of corners: every corner becomes a vertex of its own.
            uv, faces = coordinates[1].reshape(-1, 2).astype(np.float64), corner
            vertices, normals, vertex_colors = (
                None if table is None else table[values] for table in (vertices, normals, vertex_colors)
            )
        uv = uv * (1, -1) + (0, 1)  # a .ply counts v from the bottom
    return [
        Part(
            vertices,
            faces,
            material=None if texture is None else Material(texture=texture),
            uv=uv,
            normals=normals,
            vertex_colors=vertex_colors,
            face_colors=None if face_colors is None else face_colors[source],
        )
    ]


def read_elements(path: Path) -> tuple[dict[str, PlyElement], list[str]]:
    """The elements of a .ply, text or binary, by their names, and the comments of its header.

    Raises:
      InputError: no such file, not a .ply, cut short, or more rows announced than the file has bytes.
    """
    try:
        _check_counts(path.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of numpy, for lists without an item
            data = _parse(path)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    except (PlyParseError, ValueError, TypeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: not readable as .ply ({type(error).__name__}: {reason})") from None
    return {element.name: element for element in data}, sum((part.comments for part in data), data.comments)


def _check_counts(content: bytes) -> None:
    """ValueError where the header announces more rows than there are bytes: plyfile takes the memory first."""
    newline = b"\r\n" if content[3:5] == b"\r\n" else content[3:4]
    head, _, body = content.partition(newline + b"end_header" + newline)
    for count in re.findall(r"(?:^|[\r\n])\s*element\s+\S+\s+(\S+)", head.decode("ascii")):
        if int(count) > len(body):
            raise ValueError(f"cut short: {count[:20]} rows in {len(body)} bytes")


class _File(io.BufferedReader):
    """A file that takes no more memory for a read than it has bytes; plyfile asks for lists of any announced length."""

    def read(self, size: int = -1) -> bytes:
        return super().read(min(size, os.fstat(self.fileno()).st_size))


def _parse(path: Path) -> PlyData:
    """All triangles or all quads are read in one piece, which plyfile must be told before; others one by one."""
    for corners in (3, 4):
        lengths = {"vertex_indices": corners, "vertex_index": corners, "texcoord": 2 * corners}
        try:
            with _File(io.FileIO(path)) as file:
                return PlyData.read(file, known_list_len={"face": lengths})
        except PlyElementParseError as error:
            if error.element.name != "face":
                raise
    with _File(io.FileIO(path)) as file:
        return PlyData.read(file)


def columns(element: PlyElement, *names: str) -> np.ndarray | None:
    """(N, len(names)) float64 of properties of an element; None where it lacks one."""
    if not all(name in element for name in names):
        return None
    with np.errstate(invalid="ignore"):  # a damaged file may hold NaNs that signal
        return np.stack([np.asarray(element[name], np.float64) for name in names], axis=1)


def colors(element: PlyElement) -> np.ndarray | None:
    """(N, 3) float64, sRGB in [0, 1], of an element; None where it has no colours."""
    values = columns(element, "red", "green", "blue")
    if values is None:
        return None
    kind = element["red"].dtype
    return np.clip(values / (np.iinfo(kind).max if kind.kind in "iu" else 1.0), 0, 1)


def _linear(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else srgb.to_linear(values)


def _lists(lists: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sizes (N,) of the lists of a property, and the values of all, one after another."""
    if lists.dtype != object:
        return np.full(len(lists), lists.shape[1]), np.asarray(lists).reshape(-1)
    sizes = np.fromiter(map(len, lists), np.int64, len(lists))
    return sizes, np.concatenate(list(lists))


def _picture(comments: list[str]) -> str | None:
    """The first file name in a comment that begins with TextureFile."""
    for comment in comments:
        words = comment.strip().split(None, 1)
        if len(words) == 2 and words[0].lower() == "texturefile":
            return words[1]
    return None
