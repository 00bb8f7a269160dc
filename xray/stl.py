"""Reader of .stl files, binary and text. They hold triangles and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from .errors import InputError
from .part import Part

HEADER_BYTES = 84
FACET = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_stl(path: Path) -> list[Part]:
    """The part of an .stl file.

    Raises:
      InputError: content that cannot be used.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    count = int.from_bytes(content[80:HEADER_BYTES], "little")
    # Binary files, too, may begin with "solid": only the size tells. Some writers append to the facets.
    if len(content) >= HEADER_BYTES and 0 < HEADER_BYTES + FACET.itemsize * count <= len(content):
        corners = np.frombuffer(content, FACET, count, HEADER_BYTES)["corners"]
    elif content.lstrip()[:5].lower() == b"solid":
        corners = _text_corners(content, path)
    else:
        raise InputError(f"{path}: cut short: {len(content)} bytes for {count} triangles of a binary .stl")
    vertices = corners.astype(np.float64).reshape(-1, 3)
    return [Part(vertices, np.arange(len(vertices)).reshape(-1, 3))]


def _text_corners(content: bytes, path: Path) -> np.ndarray:
    words = re.findall(rb"\bvertex\s+(\S+)\s+(\S+)\s+(\S+)", content, re.IGNORECASE)
    try:
        return np.array(words, dtype=np.float64).reshape(-1, 3, 3)
    except ValueError as error:
        raise InputError(f"{path}: not readable as .stl ({str(error)[:100]})") from None
