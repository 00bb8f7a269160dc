"""Which reader reads which file type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from .errors import InputError
from .gltf import read_gltf
from .obj import read_obj
from .off import read_off
from .part import Part
from .ply import read_ply


def read_stl(path: Path) -> list[Part]:
    """The part of an .stl file, text or binary; it has no colours.

    Raises:
      InputError: content that cannot be used.
    """
    try:
        with path.open("rb") as stream:
            mesh = trimesh.load_mesh(stream, file_type="stl", process=False)
    except Exception as error:  # noqa: BLE001  a broken file makes trimesh raise anything; all of it is bad input
        raise InputError(f"{path}: not readable as .stl ({type(error).__name__}: {str(error)[:100]})") from None
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
        raise InputError(f"{path}: no triangles")
    return [Part(np.array(mesh.vertices, np.float64), np.array(mesh.faces, np.int64))]


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
    return READERS[path.suffix.lower()](path)
