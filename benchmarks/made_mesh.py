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


def write_instances(path: Path, faces: int, copies: int) -> int:
    """Write a file of `copies` placings of one mesh, of `faces` faces in all; returns the number."""
    shells = path.with_name("one.glb")
    write_shells(shells, faces // copies)
    mesh, scene = trimesh.load(shells, force="mesh", process=False), trimesh.Scene()
    side = round(copies ** (1 / 3) + 0.5)
    for number in range(copies):
        place = np.array([number % side, number // side % side, number // side**2]) * 1.1
        scene.add_geometry(mesh, geom_name="one", transform=trimesh.transformations.translation_matrix(place))
    scene.export(path)
    shells.unlink()
    return copies * len(mesh.faces)


def write_textured_obj(path: Path, faces: int, side: int) -> int:
    """Write an .obj with one texture of `side` x `side` pixels; returns the number of faces."""
    shells = path.with_suffix(".glb")
    count = write_shells(shells, faces)
    mesh = trimesh.load(shells, force="mesh", process=False)
    shells.unlink()
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    picture = np.stack([x * 255 // side, y * 255 // side, 255 * ((x // 64 + y // 64) % 2)], -1).astype(np.uint8)
    Image.fromarray(picture).save(path.with_suffix(".png"))
    path.with_suffix(".mtl").write_text(f"newmtl all\nKd 1 1 1\nmap_Kd {path.stem}.png\n")
    with path.open("w") as stream:
        stream.write(f"mtllib {path.stem}.mtl\nusemtl all\n")
        np.savetxt(stream, mesh.vertices, "v %.6f %.6f %.6f")
        np.savetxt(stream, mesh.visual.uv, "vt %.6f %.6f")
        np.savetxt(stream, np.repeat(mesh.faces + 1, 2, axis=1), "f %d/%d %d/%d %d/%d")
    return count


def _grid(rings: int) -> np.ndarray:
    """(F, 3) triangles of a grid of rings x 2 rings quads."""
    columns = 2 * rings + 1
    corner = (np.arange(rings)[:, None] * columns + np.arange(2 * rings)).reshape(-1)
    below = corner + columns
    return np.concatenate([np.stack([corner, corner + 1, below], 1), np.stack([corner + 1, below + 1, below], 1)])
