"""Makes the six example meshes: textured, hollow, of several file types, some of many parts, some open.

python example/make_meshes.py [--output example/meshes]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import trimesh
from primitives import Part, arc, box, paint, picture, swept, turned

from xray.common.cli import entry
from xray.common.files import atomic_path

ROOT = Path(__file__).resolve().parents[1]

Y_UP = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""File from world for .glb and .obj: (x, y, z) becomes (x, z, -y)."""

IN_PLACE = (np.eye(4),)

CABIN_TEXTURES = ((1, "stripes"), (5, "wood"), (9, "marble"), (2, "checks"), (7, "dots"))
"""Seed and kind of the logs, boards, stone, tiles and table cloth."""


def at(x=0.0, y=0.0, z=0.0, turn_deg=0.0, scale=(1, 1, 1)) -> np.ndarray:
    """(4, 4) transform: scale (negative mirrors), turn about z, shift."""
    turn = np.radians(turn_deg)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    matrix[:3, :3] *= scale
    matrix[:3, 3] = x, y, z
    return matrix


def ball(radius: float, center, texture: np.ndarray, rings: int = 14, segments: int = 28) -> Part:
    """A closed ball."""
    polar = np.linspace(0, np.pi, rings)
    profile = radius * np.stack([np.sin(polar), -np.cos(polar)], 1)
    profile[[0, -1], 0] = 0
    return turned(profile, texture, segments).moved(center)


def jar() -> list[tuple[Part, tuple]]:
    """Closed: a jar with a wall, a lid with a knob, three balls inside."""
    rng = np.random.default_rng(3)
    outside = [(0, 0), (0.3, 0), (0.36, 0.12), (0.4, 0.36), (0.34, 0.6), (0.24, 0.7), (0.26, 0.76)]
    inside = [(0.21, 0.76), (0.2, 0.7), (0.3, 0.58), (0.36, 0.36), (0.32, 0.14), (0.26, 0.05), (0, 0.05)]
    lid = [(0, 0.76), (0.29, 0.76), (0.29, 0.8), (0.1, 0.86), (0.04, 0.88), (0.07, 0.94), (0, 0.98)]
    clay, cover = paint(rng, "marble"), paint(rng, "stripes")
    balls = [ball(0.12, (0.14, 0.0, 0.2), paint(rng, kind)) for kind in ("plain", "checks", "dots")]
    return [
        (turned(outside + inside, clay), IN_PLACE),
        (turned(lid, cover), IN_PLACE),
        *((part, (at(turn_deg=120 * k),)) for k, part in enumerate(balls)),
    ]


def cabin() -> list[tuple[Part, tuple]]:
    """A scene: four walls around a table, instances of the posts, a shutter and its mirror image, an open gable."""
    logs, boards, stone = (paint(np.random.default_rng(seed), kind) for seed, kind in CABIN_TEXTURES[:3])
    tiles, cloth = (paint(np.random.default_rng(seed), kind) for seed, kind in CABIN_TEXTURES[3:])
    side = box((0.04, 0.8, 0.5), (0.48, 0, 0.27), logs)
    front = box((0.3, 0.04, 0.5), (0.31, -0.38, 0.27), logs)
    post = box((0.06, 0.06, 0.56), (0, 0, 0.28), boards)
    shutter = box((0.02, 0.14, 0.2), (0.515, 0.14, 0.32), tiles)
    slope = box((0.66, 0.96, 0.02), (0, 0, 0), tiles).moved(turn_deg=90).moved(tilt_deg=35).moved(turn_deg=90)
    leg = swept([(0.1, 0.1, 0.03), (0.1, 0.1, 0.2)], 0.02, boards, 8)
    parts = [
        (box((1.04, 0.88, 0.03), (0, 0, 0), stone), IN_PLACE),
        (side, (at(), at(turn_deg=180))),
        (box((0.92, 0.04, 0.5), (0, 0.38, 0.27), logs), IN_PLACE),
        (front, (at(), at(scale=(-1, 1, 1)))),
        (box((0.32, 0.04, 0.16), (0, -0.38, 0.44), logs), IN_PLACE),
        (post, tuple(at(x, y) for x in (-0.48, 0.48) for y in (-0.38, 0.38))),
        (shutter, (at(), at(scale=(1, -1, 1)), at(scale=(-1, 1, 1)), at(turn_deg=180))),
        (slope, (at(0.25, 0, 0.66), at(-0.25, 0, 0.66, scale=(-1, 1, 1)))),
        (box((0.12, 0.14, 0.6), (0.25, 0.2, 0.85), stone), IN_PLACE),
        (box((0.34, 0.34, 0.03), (0, 0, 0.21), cloth), IN_PLACE),
        (leg, tuple(at(turn_deg=90 * k) for k in range(4))),
    ]
    narrow = at(scale=(0.75, 0.75, 1))
    return [(part, tuple(narrow @ place for place in places)) for part, places in parts]


def lamp() -> list[tuple[Part, tuple]]:
    """Not closed: a shade and a collar of no thickness, on a foot; a bulb inside."""
    rng = np.random.default_rng(11)
    metal, cloth, bulb = paint(rng, "plain"), paint(rng, "dots"), paint(rng, "plain")
    return [
        (turned([(0, 0), (0.26, 0), (0.24, 0.05), (0.06, 0.08), (0, 0.09)], metal), IN_PLACE),
        (swept([(0, 0, 0.06), (0, 0, 0.3), (0, 0, 0.62)], [0.04, 0.02, 0.03], metal), IN_PLACE),
        (turned([(0.42, 0.5), (0.36, 0.68), (0.22, 0.92)], cloth, 48, 6), IN_PLACE),
        (turned([(0.07, 0.6), (0.05, 0.7)], metal), IN_PLACE),
        (ball(0.09, (0, 0, 0.74), bulb), IN_PLACE),
    ]


def mug() -> dict[str, list[Part]]:
    """Materials of a mug: a glazed cup with a handle, what is in it."""
    rng = np.random.default_rng(21)
    glaze, drink = paint(rng, "checks"), paint(rng, "marble")
    wall = [
        (0, 0),
        (0.3, 0),
        (0.33, 0.04),
        (0.33, 0.7),
        (0.31, 0.72),
        (0.285, 0.7),
        (0.285, 0.08),
        (0.26, 0.05),
        (0, 0.05),
    ]
    grip = swept(arc(0.22, -82, 82) * (0.9, 1, 1) + (0.31, 0, 0.36), 0.045, glaze)
    return {"glaze": [turned(wall, glaze), grip], "drink": [turned([(0, 0.5), (0.285, 0.5)][::-1], drink)]}


def chest() -> dict[str, list[Part]]:
    """Materials of an open chest: wooden walls, bands that have a colour alone, balls inside, a lid ajar."""
    rng = np.random.default_rng(31)
    wood, gold = paint(rng, "wood"), paint(rng, "dots")
    low = [
        box((0.7, 0.5, 0.04), (0, 0, 0.02), wood),
        *(box((0.04, 0.5, 0.36), (x, 0, 0.22), wood) for x in (-0.33, 0.33)),
        *(box((0.62, 0.04, 0.36), (0, y, 0.22), wood) for y in (-0.23, 0.23)),
    ]
    lid = box((0.7, 0.5, 0.06), (0, -0.25, 0.03), wood).moved(tilt_deg=-65).moved((0, 0.22, 0.42))
    bands = [
        box((0.06, size, 0.4), (x, y, 0.2), wood) for x in (-0.2, 0.2) for y, size in ((-0.25, 0.02), (0.25, 0.02))
    ]
    balls = [ball(0.11, (x, y, 0.15), gold, 12, 24) for x, y in ((-0.17, -0.05), (0.02, 0.08), (0.18, -0.08))]
    return {"wood": [*low, lid], "iron": bands, "gold": balls}


def bowl() -> trimesh.Trimesh:
    """A thick bowl with a ball in it and a saucer below, coloured at the vertices; world axes, as a .ply is."""
    rng = np.random.default_rng(41)
    polar = np.linspace(0, np.radians(85), 18)
    curve = np.stack([np.sin(polar), 1 - np.cos(polar)], 1)
    wall = np.concatenate([0.5 * curve, (0.45 * curve + (0, 0.05))[::-1]])
    wall[[0, -1], 0] = 0
    plain = paint(rng, "plain")
    saucer = turned([(0, -0.1), (0.3, -0.1), (0.42, -0.06), (0.3, -0.08), (0, -0.08)], plain, 48)
    parts = [turned(wall, plain, 48), ball(0.2, (0.12, 0.05, 0.26), plain, 18, 36), saucer]
    colors = []
    for part, tint in zip(parts, ((0.2, 0.5, 0.9), (0.95, 0.6, 0.15), (0.85, 0.85, 0.8)), strict=True):
        x, y, z = part.vertices.T
        wave = 0.5 + 0.5 * np.sin(6 * np.arctan2(y, x) + 9 * z)
        colors.append(np.clip(np.array(tint) * (0.45 + 0.55 * wave[:, None]), 0, 1))
    meshes = [trimesh.Trimesh(part.vertices, part.faces, process=False) for part in parts]
    for mesh, color in zip(meshes, colors, strict=True):
        mesh.visual.vertex_colors = (color * 255 + 0.5).astype(np.uint8)
    return trimesh.util.concatenate(meshes)


def to_glb(parts: list[tuple[Part, tuple]]) -> bytes:
    """A scene with a mesh a part and a node an instance, turned y-up by its root node."""
    scene = trimesh.Scene()
    scene.graph.update(frame_to="z_up_to_y_up", matrix=Y_UP)
    for number, (part, places) in enumerate(parts):
        material = trimesh.visual.material.PBRMaterial(
            name=f"part_{number}", baseColorTexture=picture(part.texture), metallicFactor=0.0, roughnessFactor=1.0
        )
        visual = trimesh.visual.TextureVisuals(uv=part.uv, material=material)
        scene.geometry[f"part_{number}"] = trimesh.Trimesh(part.vertices, part.faces, visual=visual, process=False)
        for place, matrix in enumerate(places):
            scene.graph.update(
                frame_from="z_up_to_y_up",
                frame_to=f"part_{number}_{place}",
                matrix=matrix,
                geometry=f"part_{number}",
            )
    return scene.export(file_type="glb")


def write_obj(output: Path, name: str, materials: dict[str, list[Part]], colors: dict[str, tuple]) -> None:
    """<name>.obj, <name>.mtl and a picture for each material that is not in `colors`."""
    lines, library, first = [f"mtllib {name}.mtl"], [], 1
    for material, parts in materials.items():
        library += [f"newmtl {material}", "Kd {:g} {:g} {:g}".format(*colors.get(material, (1, 1, 1)))]
        if material not in colors:
            library.append(f"map_Kd {name}_{material}.png")
            with atomic_path(output / f"{name}_{material}.png") as partial:
                picture(parts[0].texture).save(partial)
        lines.append(f"usemtl {material}")
        for part in parts:
            lines += ["v {:.6g} {:.6g} {:.6g}".format(*v) for v in part.vertices @ Y_UP[:3, :3].T + 0.0]
            lines += ["vt {:.6g} {:.6g}".format(*uv) for uv in part.uv]
            lines += ["f {0}/{0} {1}/{1} {2}/{2}".format(*face) for face in part.faces + first]
            first += len(part.vertices)
    for suffix, content in ((".obj", lines), (".mtl", library)):
        with atomic_path(output / (name + suffix)) as partial:
            partial.write_text("\n".join(content) + "\n")


@entry
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "example" / "meshes")
    output = parser.parse_args().output
    for make in (jar, cabin, lamp):
        with atomic_path(output / f"{make.__name__}.glb") as partial:
            partial.write_bytes(to_glb(make()))
    write_obj(output, "mug", mug(), {})
    write_obj(output, "chest", chest(), {"iron": (0.25, 0.26, 0.3)})
    with atomic_path(output / "bowl.ply") as partial:
        partial.write_bytes(bowl().export(file_type="ply"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
