"""Makes docs/gallery.png: one held-out object of each family, the shipped model's shape, and the truth.

python docs/make_gallery.py [--model M --upsampler U] [--output docs/gallery.png]

The objects are not chosen: of each family of example/shapes.py, the first that is held out from training.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image, ImageDraw, ImageFont

from xray.common.cli import entry
from xray.common.images import composite
from xray.data.dataset import is_test
from xray.inference.image_to_mesh import VIEWER, GenerationSettings, ShapeGenerator, choose_stages
from xray.mesh.load import load_mesh
from xray.mesh.mesh import Mesh
from xray.preprocess.render_object import RenderSettings
from xray.raycast.caster import RayCaster
from xray.raycast.shading import picture
from xray.surface.surface import Surface
from xray.visual.turntable import turntable

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "example"))

HELD_OUT, SEED = 0.1, 0
"""Share of the objects that is held out, and the seed of the objects, as in training."""

PICTURE_PX, CELL_PX, LABEL_PX, TOP_PX = 256, 150, 78, 34

TRUTH_EDGE = 0.015
"""Longest edge of the true mesh when it is drawn: its texture is drawn by the colours of its vertices."""

SIDES = ("front", "side", "behind")


def held_out() -> list[int]:
    """Number of the first held-out object of each family, in the order of the families."""
    from shapes import FAMILIES

    found: dict[int, int] = {}
    index = 0
    while len(found) < len(FAMILIES):
        family = index % len(FAMILIES)
        # The name that make_object gives; making all these objects would take minutes.
        if is_test(f"{FAMILIES[family].__name__}_{index:05d}", HELD_OUT):
            found.setdefault(family, index)
        index += 1
    return [found[family] for family in sorted(found)]


def from_picture_side(vectors: np.ndarray, pose: np.ndarray) -> np.ndarray:
    """(N, 3) z-up vectors turned around the vertical axis until the camera of `pose` stands at -y."""
    angle = np.arctan2(pose[1, 3], pose[0, 3]) + np.pi / 2
    cosine, sine = np.cos(angle), np.sin(angle)
    return vectors @ np.array([(cosine, -sine, 0), (sine, cosine, 0), (0, 0, 1)])


def upright(surface: Surface, pose: np.ndarray) -> Surface:
    """A predicted surface, which stands before a level camera, turned as the camera of `pose` was."""
    turn = pose[:3, :3] @ VIEWER[:3, :3].T
    vertices, normals = (from_picture_side(values @ turn.T, pose) for values in (surface.vertices, surface.normals))
    return Surface(vertices, surface.faces, normals, surface.colors)


def true_surface(mesh: Mesh, pose: np.ndarray) -> Surface:
    """The mesh in triangles small enough for its texture, turned as `from_picture_side` does."""
    vertices, faces, source = trimesh.remesh.subdivide_to_size(
        mesh.vertices, mesh.faces, TRUTH_EDGE, max_iter=20, return_index=True
    )
    corners, source = vertices[faces].reshape(-1, 3), np.repeat(source, 3)
    place = trimesh.triangles.points_to_barycentric(mesh.vertices[mesh.faces[source]], corners)
    colors, normals = mesh.colors(source, place), mesh.normals(source, place)
    corners, normals = from_picture_side(corners, pose), from_picture_side(normals, pose)
    return Surface(corners, np.arange(len(corners)).reshape(-1, 3), normals, np.asarray(colors, np.float32))


def row(generator: ShapeGenerator, name: str, parts: list, folder: Path, seed: int) -> list[np.ndarray]:
    """The picture, then the prediction and the truth from every side: (H, W, 3) uint8 each."""
    from shapes import to_scene

    path = folder / f"{name}.glb"
    path.write_bytes(to_scene(parts).export(file_type="glb"))
    mesh = load_mesh(path)
    camera = RenderSettings(num_views=1, framing="object").views(name, mesh).camera(0, PICTURE_PX)
    view = Image.fromarray(picture(mesh, RayCaster(mesh.vertices, mesh.faces), camera))
    view.save(path.with_suffix(".png"))
    made = list(generator.make(path.with_suffix(".png"), None, GenerationSettings(seed=seed)))[-1]
    made.check(name)
    pose = camera.world_from_camera
    shown = upright(made.surface, pose), true_surface(mesh, pose)
    sides = [turntable(surface, 4, CELL_PX)[:3] for surface in shown]
    return [np.asarray(composite(view, 1.0).resize((CELL_PX, CELL_PX))), *sides[0], *sides[1]]


def draw(rows: dict[str, list[np.ndarray]]) -> Image.Image:
    """All rows on one sheet."""
    columns = ["picture", *(f"prediction, {side}" for side in SIDES), *(f"truth, {side}" for side in SIDES)]
    canvas = Image.new("RGB", (LABEL_PX + CELL_PX * len(columns), TOP_PX + CELL_PX * len(rows)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    for number, title in enumerate(columns):
        pen.text((LABEL_PX + CELL_PX * number + CELL_PX // 2, TOP_PX // 2), title, (60, 60, 60), font, anchor="mm")
    for line, (name, cells) in enumerate(rows.items()):
        top = TOP_PX + CELL_PX * line
        pen.text((6, top + CELL_PX // 2 - 8), name.replace("_", "\n"), (60, 60, 60), font)
        for number, cell in enumerate(cells):
            canvas.paste(Image.fromarray(cell), (LABEL_PX + CELL_PX * number, top))
    return canvas


@entry
def main(arguments: list[str] | None = None) -> int:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="first stage (default: the shipped model)")
    parser.add_argument("--upsampler", help="second stage (default: the shipped model's; of another, none)")
    parser.add_argument("--seed", type=int, default=0, help="of the sampling")
    parser.add_argument("--families", type=int, help="only the first so many")
    parser.add_argument("--output", type=Path, default=ROOT / "docs/gallery.png")
    options = parser.parse_args(arguments)
    from shapes import make_object

    generator = ShapeGenerator(*choose_stages(options.model, options.upsampler), "cpu")
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for index in held_out()[: options.families]:
            name, parts = make_object(SEED, index)
            rows[name] = row(generator, name, parts, Path(folder), options.seed)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    draw(rows).save(options.output, optimize=True)
    sys.stdout.write(f"{options.output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
