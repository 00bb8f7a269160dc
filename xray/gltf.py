"""glTF 2.0 (.glb, .gltf) as parts: scene graph, geometry and base colours.

The format: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html (sections in brackets below)
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .gltf_file import GltfFile
from .part import Material, Part
from .texture import Texture, read_pixels

WRAP_OF_CODE = {10497: "repeat", 33648: "mirror", 33071: "clamp"}
NEAREST = 9728
TRIANGLES, STRIP, FAN = 4, 5, 6


def read_gltf(path: Path) -> list[Part]:
    """The parts of the default scene, each instance once, in place.

    Colours are the base colour alone: texture, factor and vertex colour, the latter two linear light by the
    specification [3.9.2]. Points and lines are not surfaces and are passed over. A textured material without
    its texture coordinates takes the colour at (0, 0), as graphics hardware does.

    Raises:
      InputError: content that cannot be used, or that needs an extension which is not read.
    """
    file = GltfFile(path)
    reader = _Reader(file)
    try:
        return [part.transformed(matrix) for part, matrix in reader.instances()]
    except (KeyError, TypeError, AttributeError, IndexError) as error:  # JSON of another shape than the format's
        raise file.error(f"not valid glTF 2.0 ({type(error).__name__}: {error})") from None


class _Reader:
    """Reads each mesh, material and texture of a file once."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        self.meshes: dict[int, list[Part]] = {}
        self.materials: dict[int, tuple[Material, int]] = {}
        self.pixels: dict[int, np.ndarray] = {}

    def instances(self) -> Iterator[tuple[Part, np.ndarray]]:
        """Every part with its (4, 4) world transform, depth first from the roots [3.5]."""
        tree = self.file.tree
        if "scenes" in tree:
            roots = self.file.item("scenes", tree.get("scene", 0)).get("nodes", [])
        else:
            nodes = tree.get("nodes", [])
            children = {child for node in nodes for child in node.get("children", [])}
            roots = [index for index in range(len(nodes)) if index not in children]
        stack = [(index, np.eye(4), frozenset()) for index in reversed(roots)]
        while stack:
            index, parent, above = stack.pop()
            if index in above:
                raise self.file.error(f"nodes[{index}] is its own ancestor")
            node = self.file.item("nodes", index)
            matrix = parent @ _local(node)
            stack += [(child, matrix, above | {index}) for child in reversed(node.get("children", []))]
            if "mesh" in node:
                for part in self.mesh(node["mesh"]):
                    for instance in self._copies(node):
                        yield part, matrix @ instance

    def _copies(self, node: dict) -> list[np.ndarray]:
        """The (4, 4) transforms of EXT_mesh_gpu_instancing, or the identity alone."""
        attributes = node.get("extensions", {}).get("EXT_mesh_gpu_instancing", {}).get("attributes")
        if not attributes:
            return [np.eye(4)]
        columns = {name.lower(): self.file.array(index) for name, index in attributes.items() if name[0] != "_"}
        count = len(next(iter(columns.values())))
        return [_local({name: values[row].tolist() for name, values in columns.items()}) for row in range(count)]

    def mesh(self, index: int) -> list[Part]:
        if index not in self.meshes:
            primitives = self.file.item("meshes", index)["primitives"]
            self.meshes[index] = [part for primitive in primitives if (part := self._primitive(primitive)) is not None]
        return self.meshes[index]

    def _primitive(self, primitive: dict) -> Part | None:
        mode = primitive.get("mode", TRIANGLES)
        attributes = primitive["attributes"]
        if mode not in (TRIANGLES, STRIP, FAN) or "POSITION" not in attributes:
            return None
        for name in ("KHR_draco_mesh_compression", "EXT_meshopt_compression"):
            if name in primitive.get("extensions", {}):
                raise self.file.error(f"needs {name}; export it without that extension")
        vertices = self.file.array(attributes["POSITION"]).astype(np.float64)
        if "indices" in primitive:
            order = self.file.array(primitive["indices"])[:, 0].astype(np.int64)
        else:
            order = np.arange(len(vertices))
        material, coordinates = self._material(primitive.get("material"))
        uv = None
        if material.texture is not None:
            uv = np.zeros((len(vertices), 2))
            if f"TEXCOORD_{coordinates}" in attributes:
                uv = self.file.array(attributes[f"TEXCOORD_{coordinates}"]).astype(np.float64)
        normals = self.file.array(attributes["NORMAL"]).astype(np.float64) if "NORMAL" in attributes else None
        colors = None
        if "COLOR_0" in attributes:
            colors = np.clip(self.file.array(attributes["COLOR_0"])[:, :3].astype(np.float32), 0, 1)
        elif "material" not in primitive:
            material = None
        return Part(vertices, _faces(mode, order), material, uv, normals, colors)

    def _material(self, index) -> tuple[Material, int]:
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
        source = extensions.get("EXT_texture_webp", {}).get("source", texture.get("source"))
        if source is None:
            raise self.file.error(f"a texture without a readable picture (extensions: {', '.join(extensions)})")
        sampler = self.file.item("samplers", texture["sampler"]) if "sampler" in texture else {}
        wrap = tuple(WRAP_OF_CODE[sampler.get(key, 10497)] for key in ("wrapS", "wrapT"))
        shift = reference.get("extensions", {}).get("KHR_texture_transform")
        transform = None if shift is None else _texture_transform(shift)
        coordinates = (
            reference.get("texCoord", 0) if shift is None else shift.get("texCoord", reference.get("texCoord", 0))
        )
        return Texture(self._pixels(source), wrap, sampler.get("magFilter") == NEAREST, transform), coordinates

    def _pixels(self, index: int) -> np.ndarray:
        if index not in self.pixels:
            image = self.file.item("images", index)
            content = self.file.resource(image["uri"]) if "uri" in image else self.file.view(image["bufferView"])[0]
            self.pixels[index] = read_pixels(content, f"{self.file.path}: images[{index}]")
        return self.pixels[index]


def _faces(mode: int, order: np.ndarray) -> np.ndarray:
    """(F, 3) int64 of a primitive's indices [3.7.2.1]."""
    if mode == TRIANGLES:
        return order[: len(order) // 3 * 3].reshape(-1, 3)
    count = max(len(order) - 2, 0)
    step = np.arange(count)
    if mode == FAN:
        return order[np.stack([step + 1, step + 2, np.zeros(count, np.int64)], axis=1)]
    return order[np.stack([step, step + 1 + step % 2, step + 2 - step % 2], axis=1)]


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


def _texture_transform(shift: dict) -> np.ndarray:
    """(2, 3) of KHR_texture_transform: offset, then rotation, then scale, as matrices from the left."""
    angle, (x, y) = shift.get("rotation", 0.0), shift.get("scale", [1, 1])
    cos, sin = math.cos(angle), math.sin(angle)
    u, v = shift.get("offset", [0, 0])
    return np.array([[cos * x, sin * y, u], [-sin * x, cos * y, v]])
