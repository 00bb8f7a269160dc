"""Base colours of glTF 2.0: materials, textures, samplers, pictures.

The format: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html (sections in brackets below)
"""

from __future__ import annotations

import math

import numpy as np

from .gltf_file import GltfFile
from .part import Material
from .texture import Texture, read_pixels

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


def _texture_transform(shift: dict) -> np.ndarray:
    """(2, 3) of KHR_texture_transform: offset, then rotation, then scale, as matrices from the left."""
    angle, (x, y) = shift.get("rotation", 0.0), shift.get("scale", [1, 1])
    cos, sin = math.cos(angle), math.sin(angle)
    u, v = shift.get("offset", [0, 0])
    return np.array([[cos * x, sin * y, u], [-sin * x, cos * y, v]])
