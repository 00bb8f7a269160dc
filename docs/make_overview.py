"""Makes docs/overview.png: the picture of an example mesh, the layers of its X-Ray, and its points from behind.

python docs/make_overview.py
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from xray.common.axes import to_y_up
from xray.common.images import composite
from xray.core.camera import Camera, look_at
from xray.core.points import PointCloud, to_points
from xray.mesh.load import load_mesh
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster
from xray.raycast.shading import picture
from xray.visual.sheets import fit_cell, layer_pictures, splat

ROOT = Path(__file__).resolve().parents[1]

CELL_PX, LAYERS, SIDE_PX = 130, 6, 390
DIRECTION = np.array([0.75, -1.05, 0.75])


def main() -> None:
    """Write the picture."""
    mesh = load_mesh(ROOT / "example/meshes/chest.obj")
    camera = Camera(512, 512, world_from_camera=look_at(1.75 * DIRECTION / np.linalg.norm(DIRECTION)))
    caster = RayCaster(mesh.vertices, mesh.faces)
    view = composite(Image.fromarray(picture(mesh, caster, camera)), 1.0)
    xray, _ = capture(mesh, caster, camera, layers=LAYERS)
    canvas = Image.new("RGB", (2 * SIDE_PX + LAYERS * CELL_PX + 40, 3 * CELL_PX + 22), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=13)
    canvas.paste(fit_cell(np.asarray(view), SIDE_PX), (0, 22))
    depths = xray.depth[xray.hit]
    for layer in range(LAYERS):
        left = SIDE_PX + 20 + layer * CELL_PX
        draw.text((left + 40, 3), f"layer {layer + 1}", (90, 90, 90), font)
        cells = layer_pictures(xray, layer, depths.min(), depths.max())
        for row, name in enumerate(("depth", "normal", "colour")):
            canvas.paste(fit_cell(cells[name], CELL_PX - 4), (left, 22 + row * CELL_PX))
    world = to_points(xray, camera, frame="world")
    upright = [to_y_up(points) for points in (world.points, world.normals)]  # as splat has it
    canvas.paste(
        fit_cell(splat(PointCloud(*upright, world.colors), 165, 30, SIDE_PX, dot_px=2), SIDE_PX),
        (SIDE_PX + 40 + LAYERS * CELL_PX, 22),
    )
    canvas.save(ROOT / "docs/overview.png", optimize=True)


if __name__ == "__main__":
    main()
