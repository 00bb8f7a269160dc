"""glTF 2.0 (.glb, .gltf) as parts: container, scene graph, geometry and base colours.

The format: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html (sections in brackets below).
trimesh 5.2 drops the following without a warning: vertex colours beside a material, wrap modes, texture transforms, the
second set of texture coordinates, missing pictures, fans, instances, sparse and normalised values, skins, morph targets
and required extensions that it lacks; and it refuses names of parts with %20 in them (tests/mesh/test_trimesh.py).
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import math
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import numpy as np

from ..common import srgb
from ..common.errors import InputError
from .part import Material, Part
from .text import as_text, decode, find_beside, find_file, shown
from .texture import LARGEST_TRANSFORM, Texture, read_pixels

COMPONENTS = {5120: np.int8, 5121: np.uint8, 5122: np.int16, 5123: np.uint16, 5125: np.uint32, 5126: np.float32}
COLUMNS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
PICTURES = ("EXT_texture_webp", "EXT_texture_avif", "MSFT_texture_dds", "KHR_texture_basisu")
"""Extensions that name another picture for a texture; the last one's cannot be read, only what stands in its place."""

READABLE = {"KHR_mesh_quantization", "KHR_texture_transform", "EXT_mesh_gpu_instancing", "KHR_node_visibility"}
READABLE |= set(PICTURES)
"""Extensions that change positions or base colours, and that are read."""

HARMLESS = {
    *("KHR_lights_punctual", "EXT_lights_image_based", "EXT_lights_ies", "KHR_xmp", "KHR_xmp_json_ld"),
    *("KHR_animation_pointer", "KHR_audio", "KHR_audio_emitter", "KHR_interactivity", "KHR_node_selectability"),
    *("KHR_node_hoverability", "KHR_physics_rigid_bodies", "KHR_collision_shapes", "KHR_implicit_shapes"),
    *("EXT_mesh_features", "EXT_instance_features", "EXT_structural_metadata"),
    *("EXT_feature_metadata", "EXT_mesh_manifold", "MSFT_lod", "MSFT_physics"),
    *("MSFT_packing_normalRoughnessMetallic", "MSFT_packing_occlusionRoughnessMetallic", "MSFT_audio_emitter"),
    *("CESIUM_primitive_outline", "FB_geometry_metadata", "ADOBE_materials_thin_transparency", "AGI_articulations"),
    *("AGI_stk_metadata", "GRIFFEL_bim_data", "VRM", "VRMC_vrm", "VRMC_springBone", "VRMC_node_constraint"),
}
"""Extensions that change neither triangles nor base colours as the nodes stand: lights, sound, physics, metadata. So
do KHR_materials_*, which add to a base colour, and KHR_materials_pbrSpecularGlossiness is read."""

CHANGED_BY_EXTENSIONS = ("nodes", "meshes", "skins", "accessors", "bufferViews", "buffers")
CHANGED_BY_EXTENSIONS += ("materials", "textures", "images", "samplers")
"""Where an extension must stand to change triangles or base colours. Elsewhere (scenes, cameras, animations, the root)
even one that is not known here changes nothing."""

MAX_BLANK, MAX_COPIES = 2**24, 2**16
"""Values of an accessor without data, and nodes below a second parent: a broken file must not go on for ever."""


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
        self._binary: memoryview | None = None
        text = self._chunks(memoryview(content)) if content[:4] == b"glTF" else as_text(content, str(path))
        try:
            self.tree = json.loads(decode(text.removeprefix(codecs.BOM_UTF8)))  # names may be of another encoding
            version = str(self.tree["asset"]["version"])
        except (json.JSONDecodeError, KeyError, TypeError, RecursionError):
            raise self.error("not readable as glTF 2.0 (no valid JSON with asset.version)") from None
        if not version.startswith("2"):
            raise self.error(f"glTF version {version}, expected 2.x")
        unreadable = sorted(name for name in set(self.tree.get("extensionsRequired", [])) if self._changes(name))
        if unreadable:
            raise self.error(f"needs {', '.join(map(shown, unreadable))}; export it without that extension")
        self._buffers: dict[int, memoryview] = {}

    def _changes(self, name: str) -> bool:
        """Whether a required extension changes triangles or base colours in a way that is not read."""
        if name in READABLE or name in HARMLESS or name.startswith("KHR_materials_"):
            return False
        left = [self.tree.get(kind) for kind in CHANGED_BY_EXTENSIONS]
        while left:
            item = left.pop()
            if isinstance(item, dict):
                extensions = item.get("extensions")
                if isinstance(extensions, dict) and name in extensions:
                    return True
                left += item.values()
            elif isinstance(item, list):
                left += item
        return False

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

    def _chunks(self, content: memoryview) -> bytes:
        """The JSON chunk of a .glb; the binary chunk is kept [4.4]."""
        version = int.from_bytes(content[4:8], "little")
        if version != 2:
            raise self.error(f"binary glTF version {version}, expected 2")
        chunks: dict[bytes, memoryview] = {}
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
        return bytes(chunks[b"JSON"]).rstrip(b"\0")  # some programs fill it up with these in place of blanks

    def resource(self, uri: str) -> bytes:
        """The bytes of a data: URI or of a file beside this one [2.8]."""
        if uri[:5].lower() == "data:":
            head, _, data = uri.partition(",")
            try:
                content = unquote_to_bytes(data)
                return _from_base64(content) if head.lower().rstrip().endswith(";base64") else content
            except binascii.Error:
                raise self.error("a data: URI that is not base64") from None
        # Some programs write names as they are, with a % in them; others write bytes that are not UTF-8, or paths of
        # their own machine.
        names = (unquote(uri, errors="surrogateescape"), uri, uri.partition("?")[0])
        finders = (find_file, find_beside)
        files = (find(self.path.parent, name) for find in finders for name in names)
        file = next((file for file in files if file is not None), None)
        try:
            return (file or self.path.parent / names[0]).read_bytes()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise self.error(f"its part {shown(names[0])} is not readable ({reason})") from None

    def view(self, index) -> tuple[memoryview, int]:
        """The bytes of a buffer view and the stride in it, 0 for none [5.11]."""
        view = self.item("bufferViews", index)
        number = view.get("buffer")
        if number not in self._buffers:
            buffer = self.item("buffers", number)
            if "uri" in buffer:
                self._buffers[number] = memoryview(self.resource(buffer["uri"]))
            elif number == 0 and self._binary is not None:
                self._buffers[number] = self._binary
            else:
                needed = ", ".join(map(shown, view.get("extensions", {})))
                raise self.error(
                    f"needs {needed}; export it without that extension" if needed else f"buffers[{number}] has no data"
                )
        start = view.get("byteOffset", 0)
        content = self._buffers[number][start : start + view["byteLength"]]
        if len(content) < view["byteLength"]:
            raise self.error(f"cut short: bufferViews[{index}] goes beyond the end of its buffer")
        return content, view.get("byteStride", 0)

    def array(self, index, types: tuple[str, ...] = (), normalized: bool = False) -> np.ndarray:
        """(count, columns) of an accessor; normalised whole numbers become floats in [-1, 1] or [0, 1] [3.6.2].

        Args:
          types: that it may have, any if none is given; normalized: that they are, whether the file says so or not.
        """
        accessor = self.item("accessors", index)
        try:
            dtype = np.dtype(COMPONENTS[accessor["componentType"]]).newbyteorder("<")
            columns, count = COLUMNS[accessor["type"]], accessor["count"]
        except KeyError as error:
            raise self.error(f"accessors[{index}] has an unknown or missing {error}") from None
        if types and accessor["type"] not in types:
            raise self.error(f"accessors[{index}] has type {accessor['type']}, expected {' or '.join(types)}")
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
        if (normalized or accessor.get("normalized")) and dtype.kind in "iu":
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


def _from_base64(content: bytes) -> bytes:
    """The bytes of base64 in either of its alphabets, with or without padding. binascii.Error where it is none."""
    compact = b"".join(content.split()).translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=")
    return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)


class GltfScene:
    """Nodes of a file with their world transforms."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        nodes = file.tree.get("nodes", [])
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [index for index in range(len(nodes)) if index not in children]
        self.hidden: set[int] = set()
        """Nodes that are not to be seen, by KHR_node_visibility of theirs or of a node above."""
        self.worlds = dict(self._below(roots))
        self.roots = roots
        if file.tree.get("scenes"):
            self.roots = file.item("scenes", file.tree.get("scene", 0)).get("nodes", [])

    def nodes(self) -> Iterator[tuple[dict, np.ndarray]]:
        """The nodes of the default scene with their (4, 4) world transforms, depth first from the roots [3.5]."""
        for index, matrix in self._below(self.roots):
            if index not in self.hidden:
                yield self.file.item("nodes", index), matrix

    def _below(self, roots: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        stack = [(index, np.eye(4), frozenset()) for index in reversed(roots)]
        left = len(self.file.tree.get("nodes", [])) + MAX_COPIES
        while stack:
            index, parent, above = stack.pop()
            if (left := left - 1) < 0:
                raise self.file.error(f"nodes that have several parents, in more than {MAX_COPIES} ways; expected one")
            if index in above:
                raise self.file.error(f"nodes[{index}] is its own ancestor")
            node = self.file.item("nodes", index)
            matrix = parent @ _local(node)
            seen = node.get("extensions", {}).get("KHR_node_visibility", {}).get("visible", True)
            if not seen or not self.hidden.isdisjoint(above):
                self.hidden.add(index)
            stack += [(child, matrix, above | {index}) for child in reversed(node.get("children", []))]
            yield index, matrix

    def copies(self, node: dict) -> list[np.ndarray]:
        """The (4, 4) transforms of EXT_mesh_gpu_instancing, or the identity alone."""
        attributes = node.get("extensions", {}).get("EXT_mesh_gpu_instancing", {}).get("attributes", {})
        names = [name for name in ("TRANSLATION", "ROTATION", "SCALE") if name in attributes]
        if not names:
            return [np.eye(4)]
        columns = {name.lower(): self.file.array(attributes[name]).tolist() for name in names}
        return [_local(dict(zip(columns, values, strict=True))) for values in zip(*columns.values(), strict=True)]

    def joints(self, skin_index: int) -> np.ndarray:
        """(J, 4, 4) of a skin: from the mesh at rest to the world, by each joint as its node stands [3.7.3]."""
        skin = self.file.item("skins", skin_index)
        worlds = np.stack([self.worlds[joint] for joint in skin["joints"]])
        if "inverseBindMatrices" not in skin:
            return worlds
        stored = self.file.array(skin["inverseBindMatrices"]).astype(np.float64)
        return worlds @ stored.reshape(-1, 4, 4).transpose(0, 2, 1)


def _local(node: dict) -> np.ndarray:
    """(4, 4) transform of a node to its parent: a matrix stored by columns, or translation, rotation, scale [3.5.2]."""
    if "matrix" in node:
        return np.array(node["matrix"], np.float64).reshape(4, 4).T
    x, y, z, w = np.array(node.get("rotation", [0, 0, 0, 1]), np.float64) / max(
        math.hypot(*node.get("rotation", [0, 0, 0, 1])), 1e-30
    )
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
    matrix = np.eye(4)
    matrix[:3, :3] = rotation * np.array(node.get("scale", [1, 1, 1]), np.float64)
    matrix[:3, 3] = node.get("translation", [0, 0, 0])
    return matrix


WRAP_OF_CODE = {10497: "repeat", 33648: "mirror", 33071: "clamp"}
NEAREST = 9728


class GltfMaterials:
    """The materials of a file, each and each picture read once."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.materials: dict[int, tuple[Material, int]] = {}
        self.pixels: dict[int, np.ndarray] = {}

    def material(self, index) -> tuple[Material, int]:
        """The material and the number of its set of texture coordinates; without an index, plain white [3.9.6]."""
        if index is None:
            return Material(), 0
        if index not in self.materials:
            tree = self.file.item("materials", index)
            glossy = tree.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness")
            if glossy is not None:  # the archived form that much older content has
                factor, reference = glossy.get("diffuseFactor"), glossy.get("diffuseTexture")
            else:
                pbr = tree.get("pbrMetallicRoughness", {})
                factor, reference = pbr.get("baseColorFactor"), pbr.get("baseColorTexture")
            factor = np.clip(np.array((factor or [1, 1, 1])[:3], np.float32), 0, 1)
            texture, coordinates = self._texture(reference) if reference is not None else (None, 0)
            self.materials[index] = Material(factor, texture), coordinates
        return self.materials[index]

    def _texture(self, reference: dict) -> tuple[Texture, int]:
        texture = self.file.item("textures", reference["index"])
        extensions = texture.get("extensions", {})
        sources = [extensions.get(name, {}).get("source") for name in PICTURES[:-1]]
        choices = (sources[0], texture.get("source"), *sources[1:])
        source = next((number for number in choices if number is not None), None)
        if source is None:
            needed = ", ".join(map(shown, extensions)) or "none"
            raise self.file.error(f"a texture without a readable picture (extensions: {needed})")
        sampler = self.file.item("samplers", texture["sampler"]) if "sampler" in texture else {}
        wrap = tuple(WRAP_OF_CODE[sampler.get(key, 10497)] for key in ("wrapS", "wrapT"))
        shift = reference.get("extensions", {}).get("KHR_texture_transform")
        transform = None if shift is None else _texture_transform(shift)
        if transform is not None and not (np.abs(transform) <= LARGEST_TRANSFORM).all():
            raise self.file.error(
                f"texture transform {shown(str(shift))}, expected numbers up to {LARGEST_TRANSFORM:g}"
            )
        coordinates = (shift or {}).get("texCoord", reference.get("texCoord", 0))
        return Texture(self._pixels(source), wrap, sampler.get("magFilter") == NEAREST, transform), coordinates

    def _pixels(self, index: int) -> np.ndarray:
        if index not in self.pixels:
            image = self.file.item("images", index)
            content = self.file.resource(image["uri"]) if "uri" in image else self.file.view(image["bufferView"])[0]
            self.pixels[index] = read_pixels(bytes(content), f"{self.file.path}: images[{index}]")
        return self.pixels[index]


def _texture_transform(shift: dict) -> np.ndarray:
    """(2, 3) of KHR_texture_transform: offset, then rotation, then scale, as matrices from the left."""
    angle, (x, y) = shift.get("rotation", 0.0), shift.get("scale", [1, 1])
    cos, sin = math.cos(angle), math.sin(angle)
    u, v = shift.get("offset", [0, 0])
    return np.array([[cos * x, sin * y, u], [-sin * x, cos * y, v]])


TRIANGLES, STRIP, FAN = 4, 5, 6


def read_gltf(path: Path, shape_only: bool = False) -> list[Part]:
    """The parts of the default scene, each instance once, in place.

    Colours are the base colour alone: texture, factor and vertex colour, the latter two linear light by the
    specification [3.9.2]. Skins and morph targets stand as their nodes and weights do, before any
    animation. Points and lines are not surfaces and are passed over. A textured material without
    its texture coordinates takes the colour at (0, 0), as graphics hardware does.

    Args:
      shape_only: leave materials and pictures out, unread.
    Raises:
      InputError: content that cannot be used, or that needs an extension which is not read.
    """
    file = GltfFile(path)
    try:
        return list(_Reader(file, shape_only).placed())
    except (KeyError, TypeError, AttributeError, IndexError) as error:  # JSON of another shape than the format's
        raise file.error(f"not valid glTF 2.0 ({type(error).__name__}: {error})") from None


class _Reader:
    """Reads the meshes of a file, each once."""

    def __init__(self, file: GltfFile, shape_only: bool) -> None:
        self.file, self.shape_only = file, shape_only
        self.scene = GltfScene(file)
        self.materials = GltfMaterials(file)
        self.parts: dict[tuple, list[tuple[dict, Part]]] = {}

    def placed(self) -> Iterator[Part]:
        """Every part of the default scene, in place."""
        for node, matrix in self.scene.nodes():
            if "mesh" not in node:
                continue
            for attributes, part in self._mesh(node):
                if "skin" in node and "JOINTS_0" in attributes:
                    yield self._posed(part, attributes, self.scene.joints(node["skin"]))  # the node's place is void
                    continue
                for copy in self.scene.copies(node):
                    yield part.transformed(matrix @ copy)

    def _mesh(self, node: dict) -> list[tuple[dict, Part]]:
        """Attributes and part of each primitive of a node's mesh, its morph targets weighted as they stand."""
        mesh = self.file.item("meshes", node["mesh"])
        weights = tuple(node.get("weights", mesh.get("weights", ())))
        key = (node["mesh"], weights)
        if key not in self.parts:
            found = ((primitive, self._primitive(primitive, weights)) for primitive in mesh["primitives"])
            self.parts[key] = [(primitive["attributes"], part) for primitive, part in found if part is not None]
        return self.parts[key]

    def _primitive(self, primitive: dict, weights: tuple[float, ...]) -> Part | None:
        mode = primitive.get("mode", TRIANGLES)
        attributes = primitive["attributes"]
        if mode not in (TRIANGLES, STRIP, FAN) or "POSITION" not in attributes:
            return None
        name = "KHR_draco_mesh_compression"
        if name in primitive.get("extensions", {}) and not self._has_fallback(primitive):
            raise self.file.error(f"needs {name}; export it without that extension")
        vertices, normals = (self._morphed(name, primitive, weights) for name in ("POSITION", "NORMAL"))
        if "indices" in primitive:
            order = self.file.array(primitive["indices"])[:, 0].astype(np.int64)
        else:
            order = np.arange(len(vertices))
        faces = _faces(mode, order)
        if not len(faces):
            return None
        if self.shape_only:
            return Part(vertices, faces, normals=normals)
        material, coordinates = self.materials.material(primitive.get("material"))
        uv = None
        if material.texture is not None:
            uv = np.zeros((len(vertices), 2))
            if f"TEXCOORD_{coordinates}" in attributes:
                uv = self.file.array(attributes[f"TEXCOORD_{coordinates}"], ("VEC2",)).astype(np.float64)
        colors = None
        if "COLOR_0" in attributes:
            # Whole numbers are normalised by the format, even where a file does not say so.
            values = self.file.array(attributes["COLOR_0"], ("VEC3", "VEC4"), normalized=True)[:, :3].astype(np.float64)
            colors = srgb.unit_colors(values, whole=False).astype(np.float32)
        elif "material" not in primitive:
            material = None
        return Part(vertices, faces, material, uv, normals, colors)

    def _has_fallback(self, primitive: dict) -> bool:
        """Whether a compressed primitive has its values uncompressed, too, as it must where that is not required."""
        numbers = [*primitive["attributes"].values(), *([primitive["indices"]] if "indices" in primitive else [])]
        return all("bufferView" in self.file.item("accessors", number) for number in numbers)

    def _morphed(self, name: str, primitive: dict, weights: tuple[float, ...]) -> np.ndarray | None:
        """(V, 3) float64 of an attribute, with the morph targets added by their weights [3.7.2.2]; or None."""
        if name not in primitive["attributes"]:
            return None
        values = self.file.array(primitive["attributes"][name], ("VEC3",)).astype(np.float64)
        for weight, target in zip(weights, primitive.get("targets", ()), strict=False):
            if weight and name in target:
                values = values + weight * self.file.array(target[name], ("VEC3",))
        return values

    def _posed(self, part: Part, attributes: dict, joints: np.ndarray) -> Part:
        """A part moved by the joints (J, 4, 4) of its skin, by the weights of its vertices [3.7.3.3]."""
        matrix = np.zeros((len(part.vertices), 4, 4))
        for name in sorted(attributes):
            if name.startswith("JOINTS_"):
                joint = self.file.array(attributes[name]).astype(np.int64)
                weight = self.file.array(attributes[name.replace("JOINTS", "WEIGHTS")]).astype(np.float64)
                matrix += np.einsum("vk,vkij->vij", weight, joints[joint])
        total = matrix[:, 3, 3]
        matrix /= np.where(total > 0, total, 1)[:, None, None]
        linear = matrix[:, :3, :3]
        faces, normals = part.faces, part.normals
        mirrored = bool((np.linalg.det(linear) < 0).mean() > 0.5)
        if normals is not None:
            normals = np.einsum("vij,vj->vi", linear, normals)
        return replace(
            part,
            vertices=np.einsum("vij,vj->vi", linear, part.vertices) + matrix[:, :3, 3],
            faces=faces[:, ::-1] if mirrored else faces,
            normals=normals,
        )


def _faces(mode: int, order: np.ndarray) -> np.ndarray:
    """(F, 3) int64 of a primitive's indices [3.7.2.1]."""
    if mode == TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    count = max(len(order) - 2, 0)
    step = np.arange(count)
    if mode == FAN:
        return order[np.stack([step + 1, step + 2, np.zeros(count, np.int64)], axis=1)]
    return order[np.stack([step, step + 1 + step % 2, step + 2 - step % 2], axis=1)]
