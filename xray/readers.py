"""Which reader reads which file type; the types without materials are read by trimesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from . import srgb
from .errors import InputError
from .gltf import read_gltf
from .obj import read_obj
from .part import Material, Part
from .texture import Texture, read_pixels


def read_parts(path: Path) -> list[Part]:
    """The parts of a mesh file, in the file's axes, all instances in place.

    Raises:
      InputError: content that cannot be used; the message names the file.
    """
    suffix = path.suffix.lower()
    if suffix in (".glb", ".gltf"):
        return read_gltf(path)
    if suffix == ".obj":
        return read_obj(path)
    return [_read_with_trimesh(path)]


def _read_with_trimesh(path: Path) -> Part:
    try:
        with path.open("rb") as stream:
            mesh = trimesh.load_mesh(stream, file_type=path.suffix[1:].lower(), process=False, skip_materials=True)
    except Exception as error:  # noqa: BLE001  a broken file makes trimesh raise anything; all of it is bad input
        raise InputError(f"{path}: not readable ({type(error).__name__}: {str(error)[:100]})") from None
    if not isinstance(mesh, trimesh.Trimesh) or not len(mesh.faces):
        raise InputError(f"{path}: no triangles")
    visual = mesh.visual
    colors = {"vertex": None, "face": None}
    if visual.kind in colors:
        rgba = visual.vertex_colors if visual.kind == "vertex" else visual.face_colors
        colors[visual.kind] = srgb.to_linear(np.asarray(rgba)[:, :3] / 255)
    material, uv = _ply_texture(path, mesh)
    return Part(
        np.asarray(mesh.vertices, np.float64),
        np.asarray(mesh.faces, np.int64),
        material=material,
        uv=uv,
        normals=np.array(mesh.vertex_normals) if "vertex_normals" in mesh._cache else None,
        vertex_colors=colors["vertex"],
        face_colors=colors["face"],
    )


def _ply_texture(path: Path, mesh: trimesh.Trimesh) -> tuple[Material | None, np.ndarray | None]:
    """The picture that a .ply names in its header, as MeshLab writes it, and its coordinates."""
    if path.suffix.lower() != ".ply" or mesh.visual.kind != "texture":
        return None, None
    header = path.read_bytes()[:4096].split(b"end_header")[0].decode("latin-1")
    for line in header.splitlines():
        if line.lower().startswith("comment texturefile"):
            file = path.with_name(line.split(None, 2)[2].strip())
            uv = np.asarray(mesh.visual.uv, np.float64) * (1, -1) + (0, 1)  # a .ply counts v from the bottom
            return Material(texture=Texture(read_pixels(file, f"{path}: texture {file.name}"))), uv
    return None, None
