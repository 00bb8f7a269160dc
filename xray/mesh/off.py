"""Geomview .off: vertices, then polygons, either with colours. Format: http://www.geomview.org/docs/html/OFF.html

trimesh 5.2 drops colours, normals and cut faces of these files without a warning (tests/mesh/test_trimesh.py).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..common import srgb
from ..common.errors import InputError
from .part import Part
from .polygons import triangles_of, triangulate
from .text import Rows, read_rows, read_text

HEAD = re.compile(rb"\s*(C?N?|N?C?)OFF(?![A-Za-z])", re.IGNORECASE)
"""How a file begins. The counts may follow at once: ModelNet40 has files that begin with OFF118 76 0."""


def read_off(path: Path) -> list[Part]:
    """The part of an .off, .COFF or NOFF text: polygons, vertex and face colours (sRGB), normals.

    Face colours count as they are, without those of the vertices.

    Raises:
      InputError: content that cannot be used.
    """
    text = read_text(path)
    if b"#" in text:
        text = re.sub(rb"#[^\n]*", b"", text)
    head = HEAD.match(text)
    if head is None:
        raise InputError(f"{path}: not readable as .off (expected OFF, COFF, NOFF or CNOFF at the beginning)")
    if re.compile(rb"\s*BINARY\b", re.IGNORECASE).match(text, head.end()):
        raise InputError(f"{path}: a binary .off, expected a text; save it as text")
    try:
        line = re.compile(rb"\s*([^\n]*)\n?").match(text, head.end())
        count, faces = (int(word) for word in line[1].split()[:2])
        if min(count, faces) < 0 or count + faces > len(text):
            raise InputError(f"{path}: cut short: {len(text)} bytes for {count} vertices and {faces} faces")
        rows = read_rows(text[line.end() :], count + faces)
        return [_part(head[1].decode().upper(), rows, count)]
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
    normals = "N" in prefix
    columns = 3 + 3 * normals
    if table.shape[1] < columns:
        raise ValueError(f"a vertex of {table.shape[1]} values, expected {columns}")
    vertex_colors = face_colors = None
    if "C" in prefix:
        dotted = rows.dotted[:end].reshape(count, -1)[:, columns : columns + 3]
        vertex_colors = _linear(table[:, columns : columns + 3], dotted.any())
    starts, lengths = starts[count:], rows.counts[count:]
    sizes = _whole(rows.values[starts])
    if (sizes < 0).any() or (lengths < 1 + sizes).any():
        raise ValueError("a face with fewer indices than it says")
    left = lengths - 1 - sizes
    if len(left) and ((left == 3) | (left == 4)).all():
        colors = (starts + 1 + sizes)[:, None] + np.arange(3)
        face_colors = _linear(rows.values[colors], rows.dotted[colors].any())
        vertex_colors = None
    values = _whole(rows.values[_places(starts + 1, sizes)])
    if len(values) and not (values.min() >= 0 and values.max() < count):
        raise ValueError(f"faces name vertices {values.min()} to {values.max()}, there are {count}")
    corner, polygon = triangulate(sizes, values, table[:, :3])
    return Part(
        table[:, :3],
        triangles_of(corner, values),
        normals=table[:, 3:6] if normals else None,
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
    """Colours (N, 3); with a decimal point anywhere they count from 0 to 1, else from 0 to 255."""
    if values.shape[1] != 3:
        raise ValueError(f"a colour of {values.shape[1]} values, expected 3")
    return srgb.to_linear(np.clip(values / (1.0 if dotted else 255.0), 0, 1))
