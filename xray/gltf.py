"""glTF 2.0 (.glb, .gltf) as parts: scene graph, geometry and base colours.

The format: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html (sections in brackets below)
trimesh 5.2 drops in silence: vertex colours beside a material, wrap modes, texture transforms, the second set of
texture coordinates, missing pictures, fans, instances, sparse and normalised values, skins, morph targets, required
extensions that it lacks; and it refuses names of parts with %20 in them (tests/test_trimesh.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from .gltf_file import GltfFile
from .gltf_material import GltfMaterials
from .gltf_scene import GltfScene
from .part import Part

TRIANGLES, STRIP, FAN = 4, 5, 6


def read_gltf(path: Path) -> list[Part]:
    """The parts of the default scene, each instance once, in place.

    Colours are the base colour alone: texture, factor and vertex colour, the latter two linear light by the
    specification [3.9.2]. Skins and morph targets stand as their nodes and weights do, before any
    animation. Points and lines are not surfaces and are passed over. A textured material without
    its texture coordinates takes the colour at (0, 0), as graphics hardware does.

    Raises:
      InputError: content that cannot be used, or that needs an extension which is not read.
    """
    file = GltfFile(path)
    try:
        return list(_Reader(file).placed())
    except (KeyError, TypeError, AttributeError, IndexError) as error:  # JSON of another shape than the format's
        raise file.error(f"not valid glTF 2.0 ({type(error).__name__}: {error})") from None


class _Reader:
    """Reads the meshes of a file, each once."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
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
        for name in ("KHR_draco_mesh_compression", "EXT_meshopt_compression"):
            if name in primitive.get("extensions", {}):
                raise self.file.error(f"needs {name}; export it without that extension")
        vertices, normals = (self._morphed(name, primitive, weights) for name in ("POSITION", "NORMAL"))
        if "indices" in primitive:
            order = self.file.array(primitive["indices"])[:, 0].astype(np.int64)
        else:
            order = np.arange(len(vertices))
        material, coordinates = self.materials.material(primitive.get("material"))
        uv = None
        if material.texture is not None:
            uv = np.zeros((len(vertices), 2))
            if f"TEXCOORD_{coordinates}" in attributes:
                uv = self.file.array(attributes[f"TEXCOORD_{coordinates}"]).astype(np.float64)
        colors = None
        if "COLOR_0" in attributes:
            colors = np.clip(self.file.array(attributes["COLOR_0"])[:, :3].astype(np.float32), 0, 1)
        elif "material" not in primitive:
            material = None
        return Part(vertices, _faces(mode, order), material, uv, normals, colors)

    def _morphed(self, name: str, primitive: dict, weights: tuple[float, ...]) -> np.ndarray | None:
        """(V, 3) float64 of an attribute, with the morph targets added by their weights [3.7.2.2]; or None."""
        if name not in primitive["attributes"]:
            return None
        values = self.file.array(primitive["attributes"][name]).astype(np.float64)
        for weight, target in zip(weights, primitive.get("targets", ()), strict=False):
            if weight and name in target:
                values = values + weight * self.file.array(target[name])
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
