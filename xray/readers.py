"""Which reader reads which file type."""

from __future__ import annotations

from pathlib import Path

from .errors import InputError
from .gltf import read_gltf
from .obj import read_obj
from .off import read_off
from .part import Part
from .ply import read_ply
from .stl import read_stl

UNREADABLE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, MemoryError)
"""What a parser raises over values that no well-formed file has, where its reader did not put it better."""

READERS = {
    ".glb": read_gltf,
    ".gltf": read_gltf,
    ".obj": read_obj,
    ".ply": read_ply,
    ".stl": read_stl,
    ".off": read_off,
}


def read_parts(path: Path) -> list[Part]:
    """The parts of a mesh file, in the file's axes, all instances in place.

    Raises:
      InputError: content that cannot be used; the message names the file.
    """
    try:
        return READERS[path.suffix.lower()](path)
    except InputError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: not readable as {path.suffix} ({type(error).__name__}: {reason})") from None
