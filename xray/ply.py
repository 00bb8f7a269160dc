"""Stanford .ply: vertices and polygons with named properties. The format: https://paulbourke.net/dataformats/ply/"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from . import srgb
from .errors import InputError
from .part import Material, Part, fan
from .texture import Texture, read_pixels

TYPES = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"}
TYPES |= {"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"}
TYPES |= {"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"}
COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
"""Names that programs give to texture coordinates of vertices."""


def read_ply(path: Path) -> list[Part]:
    """The part of a .ply file: vertex and face colours (sRGB), normals, and a picture that the header names.

    Raises:
      InputError: content that cannot be used, or a picture that is missing.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    try:
        elements, pictures = _read(content)
    except (ValueError, IndexError, KeyError, OverflowError) as error:
        raise InputError(f"{path}: not readable as .ply ({type(error).__name__}: {str(error)[:100]})") from None
    vertex, face = elements.get("vertex", {}), elements.get("face", {})
    polygons = face.get("vertex_indices", face.get("vertex_index"))
    if not {"x", "y", "z"} <= set(vertex) or polygons is None or not len(polygons.sizes):
        raise InputError(f"{path}: no triangles (expected vertex x y z, face vertex_indices)")
    corner, source = fan(polygons.sizes)
    faces = polygons.values[corner].astype(np.int64)
    vertices = np.stack([vertex[axis] for axis in "xyz"], axis=1).astype(np.float64)
    normals, uv, texture = None, None, None
    if {"nx", "ny", "nz"} <= set(vertex):
        normals = np.stack([vertex[axis] for axis in ("nx", "ny", "nz")], axis=1).astype(np.float64)
    colors = _colors(vertex)
    if pictures:
        file = path.with_name(pictures[0])
        texture = Texture(read_pixels(file, f"{path}: picture {file.name}"))
        named = next((names for names in COORDINATES if set(names) <= set(vertex)), None)
        if named is not None:
            uv = np.stack([vertex[name] for name in named], axis=1).astype(np.float64)
        elif "texcoord" in face and np.array_equal(face["texcoord"].sizes, 2 * polygons.sizes):
            # Coordinates of corners: every corner becomes a vertex of its own.
            uv = face["texcoord"].values.reshape(-1, 2).astype(np.float64)
            vertices = vertices[polygons.values]
            normals = None if normals is None else normals[polygons.values]
            colors = None if colors is None else colors[polygons.values]
            faces = corner
        else:
            raise InputError(f"{path}: names the picture {file.name} but has no texture coordinates")
        uv = uv * (1, -1) + (0, 1)  # a .ply counts v from the bottom
    face_colors = _colors(face)
    return [
        Part(
            vertices,
            faces,
            material=None if texture is None else Material(texture=texture),
            uv=uv,
            normals=normals,
            vertex_colors=colors,
            face_colors=None if face_colors is None else face_colors[source],
        )
    ]


@dataclass(frozen=True)
class _Lists:
    """A list property of N elements: their sizes (N,), and the values of all, one after another."""

    sizes: np.ndarray
    values: np.ndarray


def _colors(properties: dict) -> np.ndarray | None:
    names = ("red", "green", "blue")
    if not set(names) <= set(properties):
        return None
    values = np.stack([properties[name] for name in names], axis=1)
    scale = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1.0
    return srgb.to_linear(np.clip(values / scale, 0, 1))


def _read(content: bytes) -> tuple[dict[str, dict], list[str]]:
    """Element name -> property name -> array or `_Lists`; and the names of pictures in comments."""
    head, separator, body = content.partition(b"end_header")
    if not head.startswith(b"ply") or not separator:
        raise ValueError("no header")
    body = body[body.index(b"\n") + 1 :]
    elements: list[tuple[str, int, list[tuple[str, list[str]]]]] = []
    pictures, form = [], "ascii"
    for line in head.decode("latin-1").splitlines():
        words = line.split()
        if words[:1] == ["format"]:
            form = words[1]
        elif words[:1] == ["element"]:
            elements.append((words[1], int(words[2]), []))
        elif words[:1] == ["property"]:
            elements[-1][2].append((words[-1], words[1:-1]))
        elif words[:1] == ["comment"] and len(words) > 2 and words[1].lower() == "texturefile":
            pictures.append(line.split(None, 2)[2].strip())
    if form == "ascii":
        reader = _Ascii(body)
    elif form in ("binary_little_endian", "binary_big_endian"):
        reader = _Binary(body, "<" if form == "binary_little_endian" else ">")
    else:
        raise ValueError(f"format {form}")
    return {name: reader.element(count, properties) for name, count, properties in elements}, pictures


class _Ascii:
    def __init__(self, body: bytes) -> None:
        self.lines = [line for line in body.decode("latin-1").splitlines() if line.strip()]
        self.next = 0

    def element(self, count: int, properties) -> dict:
        lines = self.lines[self.next : self.next + count]
        if len(lines) < count:
            raise ValueError(f"cut short: {len(lines)} of {count} lines")
        self.next += count
        if all(kind[0] != "list" for _, kind in properties):
            rows = np.array([line.split()[: len(properties)] for line in lines], dtype=np.float64)
            rows = rows.reshape(count, len(properties))
            return {name: rows[:, k].astype(TYPES[kind[0]]) for k, (name, kind) in enumerate(properties)}
        columns: dict[str, list] = {name: [] for name, _ in properties}
        sizes: dict[str, list[int]] = {name: [] for name, kind in properties if kind[0] == "list"}
        for line in lines:
            words, place = line.split(), 0
            for name, kind in properties:
                size = 1
                if kind[0] == "list":
                    size = int(words[place])
                    sizes[name].append(size)
                    place += 1
                if place + size > len(words):
                    raise ValueError("cut short: a line with too few numbers")
                columns[name] += words[place : place + size]
                place += size
        found = {}
        for name, kind in properties:
            values = np.array(columns[name], dtype=np.float64).astype(TYPES[kind[-1]])
            found[name] = _Lists(np.array(sizes[name], np.int64), values) if name in sizes else values
        return found


class _Binary:
    def __init__(self, body: bytes, order: str) -> None:
        self.body, self.order, self.start = body, order, 0

    def element(self, count: int, properties) -> dict:
        """Rows of one element. Where all lists have the size of the first row's, as most files, in one piece."""
        if not count:
            return {
                name: _Lists(np.zeros(0, np.int64), np.zeros(0)) if kind[0] == "list" else np.zeros(0)
                for name, kind in properties
            }
        row = self._row(properties, self.start)
        rows = np.frombuffer(self.body, row, count, self.start) if self._fits(row, count) else None
        lists = [name for name, kind in properties if kind[0] == "list"]
        if rows is None or any((rows[f"{name} size"] != rows[f"{name} size"][0]).any() for name in lists):
            if not lists:
                raise ValueError("cut short")
            return self._one_by_one(count, properties)
        self.start += row.itemsize * count
        return {
            name: _Lists(rows[f"{name} size"].astype(np.int64), rows[name].reshape(-1)) if name in lists else rows[name]
            for name, _ in properties
        }

    def _fits(self, row: np.dtype, count: int) -> bool:
        return self.start + row.itemsize * count <= len(self.body)

    def _row(self, properties, start: int) -> np.dtype:
        """The layout of the row at `start`."""
        fields = []
        for name, kind in properties:
            if kind[0] != "list":
                fields.append((name, self.order + TYPES[kind[0]]))
                continue
            fields.append((f"{name} size", self.order + TYPES[kind[1]]))
            size = np.frombuffer(self.body, fields[-1][1], 1, start + np.dtype(fields[:-1]).itemsize)[0]
            fields.append((name, self.order + TYPES[kind[2]], (int(size),)))
        return np.dtype(fields)

    def _one_by_one(self, count: int, properties) -> dict:
        columns: dict[str, list[np.ndarray]] = {name: [] for name, _ in properties}
        for _ in range(count):
            row = self._row(properties, self.start)
            values = np.frombuffer(self.body, row, 1, self.start)[0]
            for name, _ in properties:
                columns[name].append(np.atleast_1d(values[name]))
            self.start += row.itemsize
        found = {}
        for name, kind in properties:
            values = np.concatenate(columns[name])
            sizes = np.array([len(part) for part in columns[name]], np.int64)
            found[name] = _Lists(sizes, values) if kind[0] == "list" else values
        return found
