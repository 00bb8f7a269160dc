"""Meshes from files: which reader reads which file type; and the reader of .stl, which holds nothing but triangles.

The format of .stl: https://www.fabbers.com/tech/STL_Format
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..common.axes import UP_OF_SUFFIX, world_from_file
from ..common.errors import InputError
from ..common.files import content_kind
from .gltf_read import read_gltf
from .mesh import Mesh
from .obj import read_obj
from .off import read_off
from .part import Part
from .ply import read_ply
from .text import as_text, pieces, rows_of, shown

HEADER = 84
"""Bytes before the triangles of a binary file; the last four are their number."""

TRIANGLE = np.dtype([("normal", "<f4", 3), ("vertices", "<f4", (3, 3)), ("attribute", "<u2")])

VERTEX_LINE = re.compile(rb"(?m)^[ \t\v\f]*vertex([ \t\v\f][^\n]*\n)")


def read_stl(path: Path) -> list[Part]:
    """The part of an .stl file; where there are several solids, of all of them.

    Raises:
      InputError: content that cannot be used: cut short, or a binary file that is longer than it says.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    # Programs write binary files that begin with "solid", too: the length decides.
    if len(content) >= HEADER:
        count = int.from_bytes(content[HEADER - 4 : HEADER], "little")
        size = HEADER + count * TRIANGLE.itemsize
        if len(content) == size:
            vertices = np.frombuffer(content, TRIANGLE, count, HEADER)["vertices"].reshape(-1, 3)
            return [_stl_part(path, vertices)]
        if b"\0" in content[:HEADER]:  # no text
            raise InputError(f"{path}: {len(content)} bytes, expected {size} for the {count} triangles that it names")
    try:
        vertices = _stl_text_vertices(as_text(content, str(path)).lower())
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path}: not readable as .stl ({str(error)[:100]})") from None
    return [_stl_part(path, vertices)]


def _stl_part(path: Path, vertices: np.ndarray) -> Part:
    if not len(vertices):
        raise InputError(f"{path}: no triangles (expected an .stl as long as it says, or solid ... endsolid)")
    return Part(vertices, np.arange(len(vertices), dtype=np.int32).reshape(-1, 3))


def _a_word_a_line(text: bytes) -> bytes:
    """A text without names of solids in which every word of facets begins a line, as the format does not ask for."""
    text = re.sub(rb"(?m)^[ \t\v\f]*(?:end)?solid\b(?![^\n]*[ \t\v\f]facet[ \t\v\f])[^\n]*", b"", text)
    return re.sub(rb"[ \t\v\f](facet|outer|vertex|endloop|endfacet|endsolid|solid)\b", rb"\n\1", text)


def _stl_text_vertices(text: bytes) -> np.ndarray:
    """(3 F, 3) of a text in lower case. ValueError where it is not solid ... endsolid."""
    begin, end = text.find(b"solid"), text.rfind(b"endsolid")
    if end < 0 or begin > end or (text.rfind(b"vertex", end) >= 0 and re.search(rb"(?m)^\s*vertex\s", text[end:])):
        raise ValueError("expected an .stl as long as it says, or solid ... endsolid")
    rows, facets = [], 0
    for piece in pieces(text[begin:end]):
        facets += piece.count(b"endfacet")
        numbers = VERTEX_LINE.findall(piece)
        if len(numbers) != piece.count(b"vertex"):
            numbers = VERTEX_LINE.findall(_a_word_a_line(piece))
        rows.append(rows_of(b"".join(numbers)).table(3) if numbers else np.zeros((0, 3)))
    vertices = np.concatenate(rows) if rows else np.zeros((0, 3))
    if len(vertices) % 3:
        raise ValueError(f"cut short: {len(vertices)} vertices, expected three for each facet")
    if facets and len(vertices) != 3 * facets:  # programs that write polygons do not keep to the format
        raise ValueError(f"{len(vertices)} vertices in {facets} facets, expected three in each")
    return vertices


UNREADABLE = (ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, LookupError, MemoryError, OSError)
UNREADABLE += (RuntimeError, StopIteration, SyntaxError, TypeError, ValueError, struct.error, zlib.error)
"""What a parser raises over content that no well-formed file has, where its reader has no better message."""

READERS = {
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".obj": read_obj,
    ".ply": read_ply,
    ".stl": read_stl,
    ".off": read_off,
}


COLORED = (".glb", ".gltf", ".obj", ".ply")
"""File types that name pictures and materials in other files, or hold them in a form of their own."""


def read_parts(path: Path, shape_only: bool = False) -> list[Part]:
    """The parts of a mesh file, in the file's axes, all instances in place.

    Args:
      shape_only: leave materials and pictures out; files that are missing or cannot be used then do no harm.
    Raises:
      InputError: content that cannot be used; the message names the file.
    """
    with _refusals(path):
        suffix = path.suffix.lower()
        return READERS[suffix](path, shape_only=True) if shape_only and suffix in COLORED else READERS[suffix](path)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """What goes wrong over a file's content becomes an InputError that names the file."""
    try:
        yield
    except InputError as error:
        raise _other_content(path) or error from None
    except UNREADABLE as error:
        reason = shown(" ".join(str(error).split()))
        unclear = InputError(f"{path}: not readable as {path.suffix} ({type(error).__name__}: {reason})")
        raise _other_content(path) or unclear from None


def _other_content(path: Path) -> InputError | None:
    """The error for a file whose first bytes say that it is something else than its name; None where they do not."""
    found = content_kind(path)
    return found and InputError(f"{path}: {found}; expected {path.suffix}")


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
    if not os.path.isfile(path):  # False, too, for names that the file system refuses
        raise InputError(f"{path}: no such file")
    # Numbers out of range end as ones that are not finite, and those are refused.
    with np.errstate(all="ignore"), _refusals(path):
        return Mesh(read_parts(path), world_from_file(path.suffix, up), str(path))
