"""Geomview .off: vertices, then polygons, either with colours. Format: http://www.geomview.org/docs/html/OFF.html

trimesh 5.2 drops colours, normals and cut faces of these files in silence (tests/test_trimesh.py).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from . import srgb
from .errors import InputError
from .part import Part, fan


def read_off(path: Path) -> list[Part]:
    """The part of an .off, .COFF or NOFF text: polygons as fans, vertex and face colours (sRGB), normals.

    Raises:
      InputError: content that cannot be used.
    """
    try:
        text = re.sub(r"#[^\n]*", "", path.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    head = re.match(r"\s*(C?N?|N?C?)OFF\b", text)
    if head is None:
        raise InputError(f"{path}: not readable as .off (expected OFF, COFF, NOFF or CNOFF at the beginning)")
    lines = [line.split() for line in text[head.end() :].splitlines() if line.strip()]
    try:
        count, faces = (int(word) for word in lines[0][:2])
        if min(count, faces) < 0 or len(lines) < 1 + count + faces:
            raise InputError(f"{path}: cut short: {len(lines) - 1} lines for {count} vertices and {faces} faces")
        return [_part(head[1], lines[1 : 1 + count], lines[1 + count : 1 + count + faces])]
    except InputError:
        raise
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: not readable as .off ({str(error)[:100]})") from None


def _part(prefix: str, vertex_lines: list[list[str]], face_lines: list[list[str]]) -> Part:
    sizes = np.array([int(words[0]) for words in face_lines], np.int64)
    indices = [words[1 : 1 + size] for words, size in zip(face_lines, sizes, strict=True)]
    if any(len(words) != size for words, size in zip(indices, sizes, strict=True)):
        raise ValueError("a face with fewer indices than it says")
    corner, source = fan(sizes)
    values = np.array([word for words in indices for word in words], dtype=np.int64)
    rows = np.array(vertex_lines, dtype=np.float64).reshape(len(vertex_lines), -1)
    columns = 3 + 3 * ("N" in prefix)
    colors = [words[1 + size :] for words, size in zip(face_lines, sizes, strict=True)]
    has_colors = bool(colors) and all(len(words) in (3, 4) for words in colors)
    return Part(
        rows[:, :3],
        values[corner] if len(corner) else np.zeros((0, 3), np.int64),
        normals=rows[:, 3:6] if "N" in prefix else None,
        vertex_colors=_linear(vertex_lines, columns) if "C" in prefix else None,
        face_colors=_linear(colors, 0)[source] if has_colors else None,
    )


def _linear(lines: list[list[str]], start: int) -> np.ndarray:
    """(N, 3) of columns of text; a file with a decimal point anywhere counts from 0 to 1, else from 0 to 255."""
    words = [line[start : start + 3] for line in lines]
    scale = 1.0 if any("." in word for row in words for word in row) else 255.0
    return srgb.to_linear(np.clip(np.array(words, dtype=np.float64).reshape(len(lines), 3) / scale, 0, 1))
