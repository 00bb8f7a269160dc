"""The container of glTF 2.0: the JSON, the buffers, and the arrays in them.

The format: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html (sections in brackets below)
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from .errors import InputError

COMPONENTS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
COLUMNS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
READABLE = {"KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp", "EXT_mesh_gpu_instancing"}
"""Extensions that change positions or base colours, and that are read. KHR_materials_* need nothing."""

MAX_BLANK = 2**24
"""Values of an accessor without data, which are zeros: a broken count must not ask for all of the memory."""


class GltfFile:
    """A .glb or .gltf with its buffers.

    Attributes:
      path: the file; tree: its JSON.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: not readable ({error.strerror})") from None
        self._binary: bytes | None = None
        text = self._chunks(content) if content[:4] == b"glTF" else content
        try:
            self.tree = json.loads(text.decode("utf-8-sig"))
            version = str(self.tree["asset"]["version"])
        except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, RecursionError):
            raise self.error("not readable as glTF 2.0 (no valid JSON with asset.version)") from None
        if not version.startswith("2"):
            raise self.error(f"glTF version {version}, expected 2.x")
        required = [name for name in self.tree.get("extensionsRequired", []) if not name.startswith("KHR_materials_")]
        unreadable = sorted(set(required) - READABLE)
        if unreadable:
            raise self.error(f"needs {', '.join(unreadable)}; export it without that extension")
        self._buffers: dict[int, bytes] = {}

    def error(self, words: str) -> InputError:
        """An InputError that begins with the file's name."""
        return InputError(f"{self.path}: {words}")

    def item(self, kind: str, index) -> dict:
        """`tree[kind][index]`, or InputError."""
        items = self.tree.get(kind)
        if not isinstance(index, int) or not isinstance(items, list) or not 0 <= index < len(items):
            raise self.error(f"refers to {kind}[{index}], which is not there")
        if not isinstance(items[index], dict):
            raise self.error(f"{kind}[{index}] is not an object")
        return items[index]

    def _chunks(self, content: bytes) -> bytes:
        """The JSON chunk of a .glb; the binary chunk is kept [4.4]."""
        chunks: dict[bytes, bytes] = {}
        start = 12
        while start + 8 <= len(content):
            length, kind = struct.unpack("<I4s", content[start : start + 8])
            if start + 8 + length > len(content):
                raise self.error(f"cut short: a chunk of {length} bytes goes beyond the end of the file")
            chunks.setdefault(kind, content[start + 8 : start + 8 + length])
            start += 8 + length
        if b"JSON" not in chunks:
            raise self.error("not readable as .glb: no JSON chunk")
        self._binary = chunks.get(b"BIN\0")
        return chunks[b"JSON"]

    def resource(self, uri: str) -> bytes:
        """The bytes of a data: URI or of a file beside this one [2.8]."""
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition(",")[2])
            except binascii.Error:
                raise self.error("a data: URI that is not base64") from None
        file = self.path.parent / unquote(uri)
        try:
            return file.read_bytes()
        except OSError as error:
            raise self.error(f"its part {unquote(uri)[:120]} is not readable ({error.strerror})") from None

    def view(self, index) -> tuple[bytes, int]:
        """The bytes of a buffer view and the stride in it, 0 for none [5.11]."""
        view = self.item("bufferViews", index)
        number = view.get("buffer")
        if number not in self._buffers:
            buffer = self.item("buffers", number)
            if "uri" in buffer:
                self._buffers[number] = self.resource(buffer["uri"])
            elif number == 0 and self._binary is not None:
                self._buffers[number] = self._binary
            else:
                raise self.error(f"buffers[{number}] has no data")
        start = view.get("byteOffset", 0)
        content = self._buffers[number][start : start + view["byteLength"]]
        if len(content) < view["byteLength"]:
            raise self.error(f"cut short: bufferViews[{index}] goes beyond the end of its buffer")
        return content, view.get("byteStride", 0)

    def array(self, index) -> np.ndarray:
        """(count, columns) of an accessor; normalised whole numbers become floats in [-1, 1] or [0, 1] [3.6.2]."""
        accessor = self.item("accessors", index)
        try:
            dtype = np.dtype(COMPONENTS[accessor["componentType"]]).newbyteorder("<")
            columns, count = COLUMNS[accessor["type"]], accessor["count"]
        except KeyError as error:
            raise self.error(f"accessors[{index}] has an unknown or missing {error}") from None
        if "bufferView" not in accessor:
            if not 0 <= count <= MAX_BLANK:
                raise self.error(f"accessors[{index}] has {count} values and no data, expected at most {MAX_BLANK}")
            values = np.zeros((count, columns), dtype)
        else:
            values = self._strided(accessor["bufferView"], accessor.get("byteOffset", 0), dtype, count, columns)
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            where, what, number = sparse["indices"], sparse["values"], sparse["count"]
            kind = np.dtype(COMPONENTS[where["componentType"]]).newbyteorder("<")
            rows = self._strided(where["bufferView"], where.get("byteOffset", 0), kind, number, 1)[:, 0]
            values = values.copy()
            values[rows] = self._strided(what["bufferView"], what.get("byteOffset", 0), dtype, number, columns)
        if accessor.get("normalized") and dtype.kind in "iu":
            return np.maximum(values / np.iinfo(dtype).max, -1.0)
        return values

    def _strided(self, view, start: int, dtype: np.dtype, count: int, columns: int) -> np.ndarray:
        content, stride = self.view(view)
        row = dtype.itemsize * columns
        stride = stride or row
        if count < 0 or start < 0 or (count and start + (count - 1) * stride + row > len(content)):
            raise self.error(f"cut short: an accessor goes beyond the end of bufferViews[{view}]")
        if not count:
            return np.zeros((0, columns), dtype)
        return np.ndarray((count, columns), dtype, content, start, (stride, dtype.itemsize))
