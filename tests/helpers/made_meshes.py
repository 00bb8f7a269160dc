"""Mesh files made for tests: a chiral solid, a glTF writer that can say anything the format can."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import ClassVar

import numpy as np
import trimesh
from PIL import Image

Y_UP_FROM_Z_UP = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def chiral() -> trimesh.Trimesh:
    """A closed solid whose mirror image no rotation brings back: three boxes of different size on three axes."""
    boxes = [
        trimesh.creation.box((1.0, 0.2, 0.2), trimesh.transformations.translation_matrix((0.5, 0, 0))),
        trimesh.creation.box((0.2, 0.6, 0.2), trimesh.transformations.translation_matrix((1.0, 0.4, 0))),
        trimesh.creation.box((0.2, 0.2, 0.4), trimesh.transformations.translation_matrix((0.0, 0, 0.3))),
    ]
    return trimesh.util.concatenate(boxes)


def triangles(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 9) corners of oriented triangles in an order that does not depend on how they are stored."""
    corners = np.round(vertices[faces], 5) + 0.0
    first = np.lexsort(np.moveaxis(corners, -1, 0)[::-1], axis=1)[:, 0]
    turned = np.stack([np.roll(triangle, -start, axis=0) for triangle, start in zip(corners, first, strict=True)])
    return np.unique(turned.reshape(len(faces), 9), axis=0)


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Signed volume of closed surfaces, positive where they are wound counter-clockwise from outside."""
    a, b, c = np.moveaxis(vertices[faces], 1, 0)
    return float((a * np.cross(b, c)).sum() / 6)


def png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


class GltfWriter:
    """Collects arrays into one buffer; `tree` is the JSON, free to be changed before `save`."""

    TYPES: ClassVar = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4"}
    CODES: ClassVar = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}

    def __init__(self) -> None:
        self.binary = b""
        self.tree: dict = {
            "asset": {"version": "2.0"},
            "scene": 0,
            "scenes": [{"nodes": []}],
            **{name: [] for name in ("nodes", "meshes", "accessors", "bufferViews", "materials", "textures")},
            **{name: [] for name in ("images", "samplers")},
        }

    def add(self, kind: str, item: dict) -> int:
        self.tree[kind].append(item)
        return len(self.tree[kind]) - 1

    def view(self, content: bytes, **more) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        start = len(self.binary)
        self.binary += content
        return self.add("bufferViews", {"buffer": 0, "byteOffset": start, "byteLength": len(content), **more})

    def array(self, values, dtype="float32", **more) -> int:
        values = np.asarray(values, dtype)
        values = values.reshape(len(values), -1)
        accessor = {
            "bufferView": self.view(values.tobytes()),
            "componentType": self.CODES[str(values.dtype)],
            "count": len(values),
            "type": self.TYPES[values.shape[1]],
            **more,
        }
        return self.add("accessors", accessor)

    def mesh(self, vertices, faces, material=None, mode=None, **attributes) -> int:
        """A mesh of one primitive; attributes are indices of accessors."""
        primitive: dict = {"attributes": {"POSITION": self.array(vertices), **attributes}}
        if faces is not None:
            primitive["indices"] = self.array(np.ravel(faces), "uint32")
        if material is not None:
            primitive["material"] = material
        if mode is not None:
            primitive["mode"] = mode
        return self.add("meshes", {"primitives": [primitive]})

    def node(self, root=True, **content) -> int:
        index = self.add("nodes", content)
        if root:
            self.tree["scenes"][0]["nodes"].append(index)
        return index

    def picture(self, pixels: np.ndarray, sampler: dict | None = None, **reference) -> dict:
        """A reference to a new texture, for a material."""
        image = self.add("images", {"bufferView": self.view(png(pixels)), "mimeType": "image/png"})
        texture = {"source": image}
        if sampler is not None:
            texture["sampler"] = self.add("samplers", sampler)
        return {"index": self.add("textures", texture), **reference}

    def save(self, path: Path) -> Path:
        tree = {key: value for key, value in self.tree.items() if value or key == "scene"}
        if path.suffix == ".gltf":
            (path.parent / "a buffer.bin").write_bytes(self.binary)
            tree["buffers"] = [{"uri": "a%20buffer.bin", "byteLength": len(self.binary)}]
            path.write_text(json.dumps(tree))
            return path
        tree["buffers"] = [{"byteLength": len(self.binary)}]
        text = json.dumps(tree).encode()
        text += b" " * (-len(text) % 4)
        binary = self.binary + b"\0" * (-len(self.binary) % 4)
        total = 12 + 8 + len(text) + 8 + len(binary)
        parts = [struct.pack("<4sII", b"glTF", 2, total), struct.pack("<I4s", len(text), b"JSON"), text]
        path.write_bytes(b"".join([*parts, struct.pack("<I4s", len(binary), b"BIN\0"), binary]))
        return path


def rigged(path: Path) -> tuple[Path, np.ndarray]:
    """The chiral solid with a skin of two joints and a morph target; and its triangles (F, 3, 3) as they stand."""
    writer, solid = GltfWriter(), chiral()
    rest = np.array(solid.vertices, np.float32)
    target = np.zeros_like(rest)
    target[:, 2] = 0.5 * (rest[:, 0] > 0.9)
    share = np.clip(rest[:, 0], 0, 1)
    weights = np.column_stack([1 - share, share, 0 * share, 0 * share])
    bind = np.eye(4)
    bind[0, 3] = 1.0  # the second joint was bound at x = 1
    inverse = np.stack([np.eye(4), np.linalg.inv(bind)])
    turn = trimesh.transformations.rotation_matrix(0.6, (0, 0, 1))
    quaternion = trimesh.transformations.quaternion_from_matrix(turn)[[1, 2, 3, 0]].tolist()
    mesh = writer.mesh(
        rest,
        solid.faces,
        JOINTS_0=writer.array(np.tile([0, 1, 0, 0], (len(rest), 1)), "uint8"),
        WEIGHTS_0=writer.array(weights),
    )
    writer.tree["meshes"][mesh]["primitives"][0]["targets"] = [{"POSITION": writer.array(target)}]
    writer.tree["meshes"][mesh]["weights"] = [0.4]
    hand = writer.node(root=False, translation=[1, 0.2, 0], rotation=quaternion)
    arm = writer.node(translation=[0, 0, 0.3], children=[hand])
    matrices = writer.add("accessors", {"componentType": 5126, "count": 2, "type": "MAT4"})
    stored = inverse.transpose(0, 2, 1).astype(np.float32)
    writer.tree["accessors"][matrices]["bufferView"] = writer.view(stored.tobytes())
    writer.tree["skins"] = [{"joints": [arm, hand], "inverseBindMatrices": matrices}]
    writer.node(mesh=mesh, skin=0)
    arm_world, hand_local = np.eye(4), turn.copy()
    arm_world[2, 3], hand_local[:3, 3] = 0.3, (1, 0.2, 0)
    posed = np.stack([arm_world, arm_world @ hand_local]) @ inverse
    matrix = np.einsum("vk,kij->vij", weights[:, :2], posed)
    points = np.column_stack([rest + 0.4 * target, np.ones(len(rest))])
    return writer.save(path), np.einsum("vij,vj->vi", matrix, points)[:, :3][solid.faces]
