"""Meshes to files: one triangle mesh with vertex colours, as a .glb with a matt material, and as an .obj.

The formats: https://paulbourke.net/dataformats/obj/ and https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
trimesh 5.2 writes vertex colours of 8 bits: in linear light, 256 sRGB values become 183, the dark ones up to 6 of 255
off; and no colours beside a material (tests/mesh/test_trimesh.py).
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

from ..common import srgb

FLOAT, UNSIGNED_INT = 5126, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
MATERIAL = {"pbrMetallicRoughness": {"metallicFactor": 0, "roughnessFactor": 1}, "doubleSided": True}
"""White, which the vertex colours tint [3.9.2]. A primitive without a material has the format's default one, which is
metal and has no back [3.7.2.1, 5.19]: dark without an environment to mirror, and open surfaces vanish from behind."""

JSON_CHUNK, BINARY_CHUNK = b"JSON", b"BIN\0"


def write_glb(
    path: str | Path, vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, colors: np.ndarray
) -> None:
    """Write a mesh in the axes of the file (y up).

    The format has vertex colours in linear light. They are floats: 8 bits do not keep the dark ones apart, and of 16
    trimesh reads the lower 8.

    Args:
      vertices, normals: (V, 3); faces: (F, 3) int; colors: (V, 3), sRGB in [0, 1].
    """
    linear = srgb.to_linear(np.clip(colors, 0, 1))
    positions = vertices.astype("<f4")
    arrays = [
        ("POSITION", positions, FLOAT, "VEC3", ARRAY_BUFFER),
        ("NORMAL", normals.astype("<f4"), FLOAT, "VEC3", ARRAY_BUFFER),
        ("COLOR_0", linear.astype("<f4"), FLOAT, "VEC3", ARRAY_BUFFER),
        ("indices", faces.reshape(-1, 1).astype("<u4"), UNSIGNED_INT, "SCALAR", ELEMENT_ARRAY_BUFFER),
    ]
    views, accessors, binary = [], [], b""
    for number, (name, array, component, kind, target) in enumerate(arrays):
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": array.nbytes, "target": target})
        accessor = {"bufferView": number, "componentType": component, "count": len(array), "type": kind}
        if name == "POSITION":
            accessor |= {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
        accessors.append(accessor)
        binary += array.tobytes()  # every length is a multiple of 4, as the format asks
    attributes = {name: number for number, (name, *_) in enumerate(arrays) if name != "indices"}
    tree = {
        "asset": {"version": "2.0", "generator": "xray"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "materials": [MATERIAL],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 3, "material": 0}]}],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    Path(path).write_bytes(glb(tree, binary))


def glb(tree: dict, binary: bytes = b"") -> bytes:
    """The content of a .glb: a header, the tree as JSON, and the buffer (a multiple of 4 bytes) if there is one."""
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = [(JSON_CHUNK, text), (BINARY_CHUNK, binary)][: 2 if binary else 1]
    content = b"".join(struct.pack("<I4s", len(chunk), kind) + chunk for kind, chunk in chunks)
    return struct.pack("<4sII", b"glTF", 2, 12 + len(content)) + content


def write_obj(
    path: str | Path, vertices: np.ndarray, faces: np.ndarray, normals: np.ndarray, colors: np.ndarray
) -> None:
    """Write a mesh in the axes of the file (y up).

    The format has no colours of vertices; as many programs do, they stand behind the positions.

    Args:
      vertices, normals: (V, 3); faces: (F, 3) int; colors: (V, 3), sRGB in [0, 1].
    """
    corner = [f"{number}//{number}" for number in range(1, len(vertices) + 1)]
    with Path(path).open("w", encoding="ascii") as file:
        file.write(_lines("v %.7f %.7f %.7f %.4f %.4f %.4f\n", np.concatenate([vertices, colors], axis=1)))
        file.write(_lines("vn %.6f %.6f %.6f\n", normals))
        file.writelines(f"f {corner[a]} {corner[b]} {corner[c]}\n" for a, b, c in faces.tolist())


def _lines(form: str, rows: np.ndarray) -> str:
    return (form * len(rows)) % tuple(rows.ravel().tolist())
