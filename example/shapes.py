"""Makes any number of textured objects with insides and hidden parts, in twelve families, from a seed.

    python example/shapes.py --output Data/shapes/meshes --num 240 --seed 0

Object k depends on the seed and on k alone, so a longer run begins with the objects of a shorter one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import trimesh
from furniture import bed, car, chair, house, shelf, table
from primitives import Part, picture
from tqdm import tqdm
from vessels import bottle, bowl, lamp, mug, ring, vase

from xray.common.axes import to_y_up
from xray.common.cli import entry
from xray.common.errors import InputError
from xray.common.files import atomic_path
from xray.data.dataset import SPLITS, is_test

Rng = np.random.Generator


FAMILIES: tuple[Callable[[Rng], list[Part]], ...] = (
    table, chair, mug, lamp, bowl, car, house, bottle, shelf, ring, vase, bed,
)  # fmt: skip


EVAL_FRACTION = 0.1
"""Share of the objects that `--split` holds out, the default of `data.eval_fraction`."""


def name_of(index: int) -> str:
    """<family>_<number>; families take turns."""
    return f"{FAMILIES[index % len(FAMILIES)].__name__}_{index:05d}"


def make_object(seed: int, index: int) -> tuple[str, list[Part]]:
    """Name and parts (world z-up, any size) of one object."""
    family = FAMILIES[index % len(FAMILIES)]
    return name_of(index), family(np.random.default_rng([seed, index]))


def to_scene(parts: list[Part]) -> trimesh.Scene:
    """A y-up scene with a mesh and a material a part, as .glb wants it."""
    scene = trimesh.Scene()
    for number, part in enumerate(parts):
        material = trimesh.visual.material.PBRMaterial(
            name=f"part_{number}", baseColorTexture=picture(part.texture), metallicFactor=0.0, roughnessFactor=1.0
        )
        y_up = to_y_up(part.vertices)
        visual = trimesh.visual.TextureVisuals(uv=part.uv, material=material)
        scene.add_geometry(trimesh.Trimesh(y_up, part.faces, visual=visual, process=False), geom_name=f"part_{number}")
    return scene


@entry
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for <family>_<number>.glb")
    parser.add_argument("--num", type=int, default=120)
    parser.add_argument("--first", type=int, default=0, help="number of the first object")
    parser.add_argument("--split", choices=SPLITS, default="all", help="only objects of a split at eval_fraction 0.1")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.num < 1:
        raise InputError(f"--num {args.num}: expected at least 1")
    if args.first < 0:
        raise InputError(f"--first {args.first}: expected 0 or more")
    for index in tqdm(range(args.first, args.first + args.num), desc="objects"):
        if args.split != "all" and is_test(name_of(index), EVAL_FRACTION) != (args.split == "test"):
            continue
        name, parts = make_object(args.seed, index)
        with atomic_path(args.output / f"{name}.glb") as partial:
            partial.write_bytes(to_scene(parts).export(file_type="glb"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
