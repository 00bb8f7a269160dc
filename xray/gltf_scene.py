"""The scene graph of glTF 2.0: which nodes there are, where, how often, and how their skins are posed.

The format: https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html (sections in brackets below)
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from .gltf_file import GltfFile


class GltfScene:
    """Nodes of a file with their world transforms."""

    def __init__(self, file: GltfFile) -> None:
        self.file = file
        nodes = file.tree.get("nodes", [])
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [index for index in range(len(nodes)) if index not in children]
        self.worlds = dict(self._below(roots))
        self.roots = roots
        if "scenes" in file.tree:
            self.roots = file.item("scenes", file.tree.get("scene", 0)).get("nodes", [])

    def nodes(self) -> Iterator[tuple[dict, np.ndarray]]:
        """The nodes of the default scene with their (4, 4) world transforms, depth first from the roots [3.5]."""
        for index, matrix in self._below(self.roots):
            yield self.file.item("nodes", index), matrix

    def _below(self, roots: list[int]) -> Iterator[tuple[int, np.ndarray]]:
        stack = [(index, np.eye(4), frozenset()) for index in reversed(roots)]
        while stack:
            index, parent, above = stack.pop()
            if index in above:
                raise self.file.error(f"nodes[{index}] is its own ancestor")
            node = self.file.item("nodes", index)
            matrix = parent @ _local(node)
            stack += [(child, matrix, above | {index}) for child in reversed(node.get("children", []))]
            yield index, matrix

    def copies(self, node: dict) -> list[np.ndarray]:
        """The (4, 4) transforms of EXT_mesh_gpu_instancing, or the identity alone."""
        attributes = node.get("extensions", {}).get("EXT_mesh_gpu_instancing", {}).get("attributes")
        if not attributes:
            return [np.eye(4)]
        columns = {name.lower(): self.file.array(index) for name, index in attributes.items() if name[0] != "_"}
        count = len(next(iter(columns.values())))
        return [_local({name: values[row].tolist() for name, values in columns.items()}) for row in range(count)]

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
