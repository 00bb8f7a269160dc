"""Meshes of any number of faces for the benchmarks: dented shells in each other, with a texture, as a .glb."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from PIL import Image

SHELLS = (0.5, 0.4, 0.25)


def write_shells(path: Path, faces: int) -> int:
    """Write a file of about `faces` faces; returns the number."""
    rings = max(3, round((faces / len(SHELLS) / 4) ** 0.5))
    vertices, uv, triangles = [], [], []
    for radius in SHELLS:
        triangles.append(_grid(rings) + sum(map(len, vertices)))
        u, v = np.meshgrid(np.linspace(0, 1, 2 * rings + 1), np.linspace(0.001, 0.999, rings + 1))
        around, down = 2 * np.pi * u, np.pi * v
        dent = radius * (1 + 0.08 * np.sin(7 * around) * np.sin(5 * down))
        flat = dent * np.sin(down)
        vertices.append(
            np.stack([flat * np.cos(around), dent * np.cos(down), flat * np.sin(around)], -1).reshape(-1, 3)
        )
        uv.append(np.stack([u, v], -1).reshape(-1, 2))
    x, y = np.meshgrid(np.arange(512), np.arange(512))
    picture = np.stack([x // 2, y // 2, 255 * ((x // 32 + y // 32) % 2)], -1).astype(np.uint8)
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(picture))
    visual = trimesh.visual.TextureVisuals(uv=np.concatenate(uv), material=material)
    mesh = trimesh.Trimesh(np.concatenate(vertices), np.concatenate(triangles), visual=visual, process=False)
    mesh.export(path)
    return len(mesh.faces)


def _grid(rings: int) -> np.ndarray:
    """(F, 3) triangles of a grid of rings x 2 rings quads."""
    columns = 2 * rings + 1
    corner = (np.arange(rings)[:, None] * columns + np.arange(2 * rings)).reshape(-1)
    below = corner + columns
    return np.concatenate([np.stack([corner, corner + 1, below], 1), np.stack([corner + 1, below + 1, below], 1)])
