"""Wavefront .mtl: the materials of an .obj. The format: https://paulbourke.net/dataformats/mtl/

trimesh 5.2 drops a picture in silence where it is missing, its path has backslashes, or map_Kd has an option such as
-s, -o or -clamp, and turns Kd into 8 bits (tests/test_trimesh.py).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from . import srgb
from .errors import InputError
from .part import GREY, Material
from .texture import Texture, read_pixels

OPTION_VALUES = {"-s": 3, "-o": 3, "-t": 3, "-mm": 2}
"""How many numbers follow an option of map_Kd, at most; every other option has one value."""


def read_mtl(obj_path: Path, name: str) -> dict[str, Material]:
    """The materials of the library that an .obj names.

    Kd is the sRGB colour as displayed. Where there is a picture (map_Kd), it stands in place of Kd, as Blender
    and trimesh read it; many exporters leave Kd grey or black beside a picture.

    Raises:
      InputError: no such file, or a picture that is missing or not readable.
    """
    path = _beside(obj_path, name)
    if path is None:
        raise InputError(f"{obj_path}: its material file {name} is missing; add it, or remove the mtllib line")
    entries: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, rest = (line.split(None, 1) + ["", ""])[:2]
        if key == "newmtl":
            current = entries.setdefault(rest.strip(), {})
        else:
            current[key.lower()] = rest.strip()
    textures: dict[str, Texture] = {}
    return {material: _material(path, material, values, textures) for material, values in entries.items()}


def _material(path: Path, name: str, values: dict[str, str], textures: dict[str, Texture]) -> Material:
    if values.get("map_kd"):
        statement = values["map_kd"]
        if statement not in textures:
            textures[statement] = _texture(path, statement)
        return Material(texture=textures[statement])
    try:
        color = [float(value) for value in values.get("kd", f"{GREY} {GREY} {GREY}").split()]
    except ValueError:
        raise InputError(f"{path}: material {name} has Kd {values['kd'][:60]!r}, expected three numbers") from None
    color = color * 3 if len(color) == 1 else color
    if len(color) != 3:
        raise InputError(f"{path}: material {name} has Kd {values['kd'][:60]!r}, expected three numbers")
    return Material(srgb.to_linear(np.clip(color, 0, 1)))


def _texture(path: Path, statement: str) -> Texture:
    """The texture of a map_Kd statement: options, then the file name, which may have spaces."""
    scale, offset, wrap = [1.0, 1.0], [0.0, 0.0], "repeat"
    words = statement.split()
    while len(words) > 1 and words[0].startswith("-"):
        option, words = words[0], words[1:]
        most = OPTION_VALUES.get(option, 1)
        given = []
        while len(given) < most and len(words) > 1 and (most == 1 or _is_number(words[0])):
            given.append(words.pop(0))
        if option == "-s" and given:
            scale[: len(given[:2])] = map(float, given[:2])
        elif option == "-o" and given:
            offset[: len(given[:2])] = map(float, given[:2])
        elif option == "-clamp" and given == ["on"]:
            wrap = "clamp"
    # The name as written where there is no option, since it may hold runs of spaces.
    name = statement if not statement.startswith("-") else " ".join(words)
    file = _beside(path, name)
    if file is None:
        raise InputError(f"{path}: the picture {name} is missing")
    transform = None
    if scale != [1.0, 1.0] or offset != [0.0, 0.0]:
        # v counts from the bottom in the file and from the top here: v' = 1 - (s (1 - v) + o).
        transform = np.array([[scale[0], 0, offset[0]], [0, scale[1], 1 - scale[1] - offset[1]]])
    return Texture(read_pixels(file, f"{path}: picture {name}"), (wrap, wrap), transform=transform)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _beside(path: Path, name: str) -> Path | None:
    """The file of that name relative to `path`, or None.

    Names may have backslashes. Google Scanned Objects keep pictures in ../materials/textures; a full path of the
    machine that wrote the file is looked for by its last part.
    """
    name = name.strip().strip('"').replace("\\", "/")
    last = name.rsplit("/", 1)[-1]
    for candidate in (name, last, f"../materials/textures/{last}"):
        if os.path.isfile(path.parent / candidate):  # False, too, for names that the file system refuses
            return path.parent / candidate
    return None
