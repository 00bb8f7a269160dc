"""Reader of .stl files, binary and text, by trimesh. They hold triangles and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from .errors import InputError
from .part import Part


def read_stl(path: Path) -> list[Part]:
    """The part of an .stl file; where there are several solids, of all of them.

    Raises:
      InputError: content that cannot be used: cut short, or a binary file that is longer than it says.
    """
    try:
        with np.errstate(invalid="ignore"):  # a damaged file may hold NaNs that signal
            mesh = trimesh.load_mesh(path, file_type="stl", process=False)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    faces = np.asarray(mesh.faces, np.int64).reshape(-1, 3)
    if not len(faces):
        raise InputError(f"{path}: no triangles (expected an .stl as long as it says, or solid ... endsolid)")
    return [Part(np.asarray(mesh.vertices, np.float64), faces)]
