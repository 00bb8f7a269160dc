"""Geomview .off: vertices, then polygons, either with colours. Format: http://www.geomview.org/docs/html/OFF.html

trimesh 5.2 drops colours, normals and cut faces of these files without a warning (tests/mesh/test_trimesh.py).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..common import srgb
from ..common.errors import InputError
from .part import GREY, Part
from .polygons import triangles_of, triangulate
from .text import Rows, decode, read_rows, read_text, shown

NORMAL = rb"(?:(?!(?-i:nOFF))N)?"
HEAD = re.compile(
    rb"\s*((?:ST)?(?:C?" + NORMAL + rb"|" + NORMAL + rb"C?)4?)((?-i:n(?=OFF))?)OFF(?![A-Za-z])", re.IGNORECASE
)
"""How a file begins: what its vertices have, and whether it says of how many dimensions they are, as nOFF does. The
counts may follow at once: ModelNet40 has files that begin with OFF118 76 0."""

DIMENSIONS = re.compile(rb"\s*(\d+)(?=\s)")

COUNTS = re.compile(rb"\s*(\d+)\s+(\d+)(?:[ \t\v\f]+\d+|[ \t\v\f]*\n\s*\d+(?=[ \t\v\f]*\n))?(?=\s)")
"""Vertices and faces, on one line or more, and edges, which many files leave out."""


def read_off(path: Path) -> list[Part]:
    """The part of an .off text in three dimensions (COFF, NOFF, STOFF, 4OFF, nOFF): polygons, colours, normals.

    Colours are sRGB; those of faces count as they are, without those of the vertices, and a face without one is grey
    where others have one. The word OFF may be left out.

    Raises:
      InputError: content that cannot be used.
    """
    text = read_text(path)
    if b"#" in text:
        text = re.sub(rb"#[^\n]*", b"", text)
    head = HEAD.match(text)
    start = 0 if head is None else head.end()
    if head is not None and head[2]:
        dimensions = DIMENSIONS.match(text, start)
        if dimensions is None or int(dimensions[1]) != 3:
            stated = "no number" if dimensions is None else dimensions[1].decode()[:20]
            raise InputError(f"{path}: an nOFF with {stated} as the dimensions of its vertices, expected 3")
        start = dimensions.end()
    found = COUNTS.match(text, start)
    if head is None and found is None:
        raise InputError(f"{path}: not readable as .off (expected OFF, or such as COFF or NOFF, at the beginning)")
    if re.compile(rb"\s*BINARY\b", re.IGNORECASE).match(text, start):
        raise InputError(f"{path}: a binary .off, expected a text; save it as text")
    try:
        if found is None:
            line = text[start:].split(None, 1)[:1]
            raise ValueError(f"{shown(decode(b''.join(line)))!r} in place of the numbers of vertices and faces")
        count, faces = int(found[1]), int(found[2])
        if min(count, faces) < 0 or count + faces > len(text):
            raise InputError(f"{path}: cut short: {len(text)} bytes for {count} vertices and {faces} faces")
        rows = read_rows(text[found.end() :], count + faces)
        return [_part("" if head is None else head[1].decode().upper(), rows, count)]
    except InputError:
        raise
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: not readable as .off ({str(error)[:100]})") from None


def _part(prefix: str, rows: Rows, count: int) -> Part:
    """The part of `count` rows of vertices and of rows of faces behind them."""
    starts = rows.starts
    end = int(rows.counts[:count].sum())
    if count and np.ptp(rows.counts[:count]):
        raise ValueError("vertices of different numbers of values")
    table = rows.values[:end].reshape(count, -1)
    # x y z, w, the normal, the colour and, behind them all, the coordinates of a picture that no .off names.
    normals, width = "N" in prefix, 3 + ("4" in prefix)
    columns = width + 3 * normals
    if table.shape[1] < columns:
        raise ValueError(f"a vertex of {table.shape[1]} values, expected {columns}")
    positions = table[:, :3] / table[:, 3:4] if width == 4 else table[:, :3]
    vertex_colors = face_colors = None
    if "C" in prefix:
        dotted = rows.dotted[:end].reshape(count, -1)[:, columns : columns + 3]
        vertex_colors = _linear(table[:, columns : columns + 3], dotted.any())
    starts, lengths = starts[count:], rows.counts[count:]
    sizes = _whole(rows.values[starts])
    if (sizes < 0).any() or (lengths < 1 + sizes).any():
        raise ValueError("a face with fewer indices than it says")
    left = lengths - 1 - sizes
    colored = (left == 3) | (left == 4)
    if colored.any():
        colors = (starts + 1 + sizes)[colored, None] + np.arange(3)
        face_colors = np.full((len(left), 3), srgb.to_linear(GREY), np.float32)
        shades, dotted = np.empty((len(colors), 3), np.float32), rows.dotted[colors].any(1)
        for chosen, kind in ((dotted, True), (~dotted, False)):  # by the format, each face may count in its own way
            shades[chosen] = _linear(rows.values[colors[chosen]], kind)
        face_colors[colored] = shades
        vertex_colors = None
    values = _whole(rows.values[_places(starts + 1, sizes)])
    if len(values) and not (values.min() >= 0 and values.max() < count):
        raise ValueError(f"faces name vertices {values.min()} to {values.max()}, there are {count}")
    corner, polygon = triangulate(sizes, values, positions)
    return Part(
        positions,
        triangles_of(corner, values),
        normals=table[:, width : width + 3] if normals else None,
        vertex_colors=vertex_colors,
        face_colors=face_colors if face_colors is None or polygon is None else face_colors[polygon],
    )


def _places(starts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """(C,) places of the items of lists that begin at `starts` and have `sizes` items, one list after another."""
    return np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())


def _whole(values: np.ndarray) -> np.ndarray:
    """Values as int64. ValueError where one is not a whole number."""
    with np.errstate(invalid="ignore"):
        whole = values.astype(np.int64)
    if not (whole == values).all():
        raise ValueError("an index that is not a whole number")
    return whole


def _linear(values: np.ndarray, dotted: bool) -> np.ndarray:
    """Colours (N, 3), linear light; `dotted`: whether one is written with a decimal point."""
    if values.shape[1] != 3:
        raise ValueError(f"a colour of {values.shape[1]} values, expected 3")
    return srgb.to_linear(srgb.unit_colors(values, not dotted))
