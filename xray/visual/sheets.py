"""Pictures of X-Rays and point clouds, for sheets and reports: (H, W, 3) uint8 arrays."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..core.points import PointCloud
from ..core.samples import Spread
from ..core.xray import XRay

BACKGROUND = 255
CELL_PX = 96
SPREAD_END = 0.1
"""Standard deviation of depth, in object units, that gets the darkest colour of its ramp."""
LABEL_PX = 76
VIEWS = (("camera", 0.0, 0.0), ("side", 90.0, 0.0), ("behind", 180.0, 0.0), ("above", 30.0, 60.0))
"""Name, turn around the vertical and tilt, in degrees, from the camera's own view."""

_DEPTH_RAMP = np.array([(250, 231, 120), (244, 136, 73), (188, 55, 84), (87, 35, 109), (16, 14, 40)], np.float64)


def depth_picture(depth: np.ndarray, near: float, far: float) -> np.ndarray:
    """Bright where near, dark where far; rays without a hit are white. depth: (H, W)."""
    place = np.clip((depth - near) / (far - near), 0, 1) * (len(_DEPTH_RAMP) - 1)
    low = np.minimum(place.astype(np.int64), len(_DEPTH_RAMP) - 2)
    share = (place - low)[..., None]
    color = _DEPTH_RAMP[low] * (1 - share) + _DEPTH_RAMP[low + 1] * share
    return _on_white(color, depth > 0)


def layer_pictures(xray: XRay, layer: int, near: float, far: float) -> dict[str, np.ndarray]:
    """Depth, normal, colour and hit of one layer, by name."""
    hit = xray.hit[layer]
    grey = np.where(hit, 40, BACKGROUND).astype(np.uint8)
    return {
        "depth": depth_picture(xray.depth[layer], near, far),
        "normal": _on_white((xray.normal[layer] + 1) * 127.5, hit),
        "colour": _on_white(xray.color[layer] * 255.0, hit),
        "hit": np.repeat(grey[..., None], 3, axis=2),
    }


def spread_pictures(spread: Spread, layer: int) -> dict[str, np.ndarray]:
    """Standard deviation of depth (bright: 0, dark: `SPREAD_END` and more) and share of hits, of one layer, by name."""
    ever = spread.hit_frequency[layer] > 0
    std = depth_picture(np.where(ever, np.maximum(spread.depth_std[layer], 1e-6), 0), 0, SPREAD_END)
    grey = np.rint(BACKGROUND * (1 - spread.hit_frequency[layer])).astype(np.uint8)
    return {f"depth std\n0 to {SPREAD_END:g}": std, "share of\nhits": np.repeat(grey[..., None], 3, axis=2)}


def _on_white(color: np.ndarray, hit: np.ndarray) -> np.ndarray:
    return np.where(hit[..., None], np.rint(np.clip(color, 0, 255)), BACKGROUND).astype(np.uint8)


def rotation(turn_deg: float, tilt_deg: float) -> np.ndarray:
    """(3, 3) that turns points of a y-up frame around y, then tilts their top toward the viewer on +z."""
    turn, tilt = math.radians(turn_deg), math.radians(tilt_deg)
    around = np.array([[math.cos(turn), 0, math.sin(turn)], [0, 1, 0], [-math.sin(turn), 0, math.cos(turn)]])
    over = np.array([[1, 0, 0], [0, math.cos(tilt), -math.sin(tilt)], [0, math.sin(tilt), math.cos(tilt)]])
    return over @ around


def frame_of(cloud: PointCloud) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of the box around a cloud; origin and 1 where it has no finite points."""
    points = cloud.points[np.isfinite(cloud.points).all(1)]
    if not len(points):
        return np.zeros(3), 1.0
    low, high = points.min(0), points.max(0)
    return (low + high) / 2, max(float(np.linalg.norm(high - low)) / 2, 1e-6)


def splat(
    cloud: PointCloud,
    turn_deg: float = 0.0,
    tilt_deg: float = 0.0,
    size: int = 192,
    frame: tuple[np.ndarray, float] | None = None,
    dot_px: int | None = None,
) -> np.ndarray:
    """A cloud of a y-up frame seen along -z without perspective, shaded by its normals.

    Args:
      frame: centre and radius that fill the picture (those of the cloud by default).
      dot_px: side of the square drawn for a point; by default it grows where points are few.
    Returns:
      (size, size, 3) uint8.
    """
    centre, radius = frame or frame_of(cloud)
    turn = rotation(turn_deg, tilt_deg)
    picture = np.full((size, size, 3), BACKGROUND, np.uint8)
    finite = np.isfinite(cloud.points).all(1)
    points = (cloud.points[finite] - centre) @ turn.T
    shade = 0.55 + 0.45 * np.abs((cloud.normals[finite] @ turn.T)[:, 2])
    color = np.rint(np.clip(cloud.colors[finite] * shade[:, None], 0, 1) * 255).astype(np.uint8)
    column = np.floor((points[:, 0] / radius * 0.95 + 1) / 2 * size).astype(np.int64)
    row = np.floor((1 - points[:, 1] / radius * 0.95) / 2 * size).astype(np.int64)
    dot_px = dot_px or int(np.clip(round(size / math.sqrt(len(points) + 1)), 2, 5))
    shift = np.arange(dot_px) - dot_px // 2
    down, across = (grid.ravel()[:, None] for grid in np.meshgrid(shift, shift, indexing="ij"))
    row, column = (row + down).ravel(), (column + across).ravel()
    height = np.tile(points[:, 2], dot_px**2)
    owner = np.tile(np.arange(len(points)), dot_px**2)
    inside = np.flatnonzero((row >= 0) & (row < size) & (column >= 0) & (column < size))
    # Assignment to a repeated place keeps the last value, so the nearest to the viewer is written last.
    order = inside[np.argsort(height[inside], kind="stable")]
    picture[row[order], column[order]] = color[owner[order]]
    return picture


def fit_cell(picture: np.ndarray, size: int) -> Image.Image:
    """A picture in a square cell: whole pixels when it grows, averaged when it shrinks."""
    image = Image.fromarray(picture)
    grows = max(image.size) <= size
    scale = size / max(image.size)
    shape = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(shape, Image.Resampling.NEAREST if grows else Image.Resampling.BOX)


def sheet(
    image: np.ndarray,
    xrays: dict[str, XRay],
    clouds: dict[str, PointCloud],
    near: float,
    far: float,
    title: str = "",
    spread: Spread | None = None,
) -> Image.Image:
    """One picture of a sample: the input, every layer of each X-Ray, and the points from four sides.

    Args:
      image: (H, W, 3) uint8, the input.
      xrays: name -> X-Ray, as {"predicted": ..., "truth": ...}; the rows of each kind stand together.
      clouds: name -> points in the camera frame, one column each; the last one sets the scale.
      spread: of several samples of the picture; adds two rows.
    """
    layers = max(xray.shape[0] for xray in xrays.values())
    rows = _layer_rows(xrays, near, far)
    if spread is not None:
        pictures = [spread_pictures(spread, layer) for layer in range(len(spread.depth_std))]
        rows += [(label, [picture[label] for picture in pictures]) for label in pictures[0]]
    side = CELL_PX * len(rows) // len(VIEWS)
    left = max(2 * CELL_PX, 120)
    width = left + LABEL_PX + layers * CELL_PX + len(clouds) * side + 12
    canvas = Image.new("RGB", (width, 18 + len(rows) * CELL_PX + 18), (255, 255, 255))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=11)
    draw.text((4, 3), title, (0, 0, 0), font)
    canvas.paste(fit_cell(image, left - 8), (4, 20))
    draw.text((4, 20 + left - 6), "input", (90, 90, 90), font)
    for layer in range(layers):
        draw.text((left + LABEL_PX + layer * CELL_PX + 4, 3), f"layer {layer + 1}", (90, 90, 90), font)
    for row, (label, pictures) in enumerate(rows):
        top = 18 + row * CELL_PX
        draw.text((left, top + CELL_PX // 2 - 12), label, (0, 0, 0), font)
        for layer, picture in enumerate(pictures):
            canvas.paste(fit_cell(picture, CELL_PX - 2), (left + LABEL_PX + layer * CELL_PX + 1, top + 1))
    _paste_clouds(canvas, draw, font, clouds, left + LABEL_PX + layers * CELL_PX + 12, side)
    return canvas


def _layer_rows(xrays: dict[str, XRay], near: float, far: float) -> list[tuple[str, list[np.ndarray]]]:
    """(label, a picture a layer), kind by kind, and the X-Rays in turn within a kind."""
    made = {
        name: [layer_pictures(xray, layer, near, far) for layer in range(xray.shape[0])] for name, xray in xrays.items()
    }
    kinds = next(iter(made.values()))[0]
    return [
        (f"{kind}\n{name}", [picture[kind] for picture in pictures])
        for kind in kinds
        for name, pictures in made.items()
    ]


def _paste_clouds(canvas, draw, font, clouds: dict[str, PointCloud], left: int, side: int) -> None:
    frame = frame_of(list(clouds.values())[-1])
    for column, (name, cloud) in enumerate(clouds.items()):
        draw.text((left + column * side + 4, 3), f"points, {name}", (90, 90, 90), font)
        for row, (view, turn, tilt) in enumerate(VIEWS):
            picture = Image.fromarray(splat(cloud, turn, tilt, side - 2, frame))
            canvas.paste(picture, (left + column * side, 18 + row * side))
            draw.text((left + column * side + 4, 18 + row * side + 2), view, (90, 90, 90), font)
