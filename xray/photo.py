"""Any picture of an object, as the models expect it: cut out, centred and sized as the training views are."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from .errors import InputError
from .images import foreground

SIZE = 512

EXTENT = 0.8
"""Longest side of the object as a share of the picture: what an object of the unit box has, seen from the default
distance (measured on rendered views: 0.78 to 0.96, and 0.57 to 0.84 on released ones, whose camera stood alike)."""

PLAIN_DIFFERENCE = 24
"""A pixel this near to the border's colour (of 255, in every channel) may be background."""

PLAIN_SHARE = 0.9
"""Share of the border that must have one colour for a background to count as plain."""


class BackgroundError(InputError):
    """An opaque picture whose object cannot be told from its background."""


def prepare(picture: Image.Image, mask: Image.Image | None = None, size: int = SIZE) -> Image.Image:
    """The object of a picture, cut out and framed as a training view, however the picture was cropped.

    The cut-out is the mask where one is given, else the picture's transparency, else, for an opaque picture, all
    that is not joined to the border by the border's colour. The longest side of the object's box becomes `EXTENT`
    of the result and its centre the centre; what lies beyond the picture is transparent. The orientation that
    a phone notes beside its pixels is applied first.

    Args:
      picture: of any mode and shape.
      mask: of the picture's size, bright where the object is.
      size: pixels on each side of the result.
    Returns:
      (size, size) picture of mode RGBA.
    Raises:
      InputError: no object in the picture or the mask, a mask of another size.
      BackgroundError: an opaque picture without a mask whose background is not plain.
    """
    picture = ImageOps.exif_transpose(picture).convert("RGBA")
    if mask is not None:
        mask = ImageOps.exif_transpose(mask).convert("L")
        if mask.size != picture.size:
            raise InputError(
                f"mask of {mask.width} x {mask.height} pixels, picture of {picture.width} x {picture.height}"
            )
        picture.putalpha(mask)
    elif picture.getextrema()[3][0] == 255:
        picture.putalpha(Image.fromarray(_without_plain_background(np.asarray(picture)[..., :3])))
    return _framed(picture, size)


def _without_plain_background(rgb: np.ndarray) -> np.ndarray:
    """(H, W) uint8 alpha of an opaque picture before a background of one colour."""
    border = np.concatenate([rgb[0], rgb[-1], rgb[:, 0], rgb[:, -1]]).astype(np.int16)
    color = np.median(border, axis=0)
    if (np.abs(border - color).max(1) <= PLAIN_DIFFERENCE).mean() < PLAIN_SHARE:
        raise BackgroundError(
            "the picture is opaque and its background is not plain; give a mask, or a picture with transparency"
        )
    alike = np.abs(rgb.astype(np.int16) - color).max(2) <= PLAIN_DIFFERENCE
    regions, _ = ndimage.label(alike)
    outside = np.unique(np.concatenate([regions[0], regions[-1], regions[:, 0], regions[:, -1]]))
    return np.where(np.isin(regions, outside[outside > 0]), 0, 255).astype(np.uint8)


def _framed(picture: Image.Image, size: int) -> Image.Image:
    rows, columns = np.nonzero(foreground(picture))
    if not len(rows):
        raise InputError("no object in the picture: all of it is transparent or background")
    left, right, top, bottom = columns.min(), columns.max() + 1, rows.min(), rows.max() + 1
    half = max(right - left, bottom - top) / EXTENT / 2
    x, y = (left + right) / 2 - half, (top + bottom) / 2 - half
    # A margin of whole pixels all round, so that the window lies inside.
    margin = math.ceil(max(-x, -y, x + 2 * half - picture.width, y + 2 * half - picture.height, 0))
    # Premultiplied: otherwise the colour of transparent pixels would bleed into the edge.
    padded = ImageOps.expand(picture.convert("RGBa"), margin, (0, 0, 0, 0)) if margin else picture.convert("RGBa")
    window = (x + margin, y + margin, x + margin + 2 * half, y + margin + 2 * half)
    window = tuple(min(max(edge, 0), limit) for edge, limit in zip(window, padded.size * 2, strict=True))
    return padded.resize((size, size), Image.Resampling.BICUBIC, box=window).convert("RGBA")
