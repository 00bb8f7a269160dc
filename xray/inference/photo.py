"""Any picture of an object, as the models expect it: cut out, centred and sized as the training views are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageChops, ImageOps
from scipy import ndimage

from ..common.errors import InputError
from ..common.images import MAX_PIXELS, composite, foreground, load_mask, load_picture, to_mask, to_rgba, upright
from ..core.camera import EXTENT

SIZE = 512

PLAIN_DIFFERENCE = 24
"""A pixel this near to the border's colour (of 255, in every channel) may be background."""

PLAIN_SHARE = 0.9
"""Share of the border that must have one colour for a background to count as plain."""

FRAME_SHARE, FRAME_SIDE = 0.1, 0.5
"""Transparency cuts nothing out where less than this share of the picture is transparent, and each side of what is left
is opaque on at least half of its length: stray pixels, a faint veil, the round corners of a screenshot.
Not so where a margin is left on any side, as of a box that was cut out."""

METHODS = ("auto", "alpha", "mask", "plain", "rembg")
"""How an object is cut out: by the picture's transparency, a mask, a background of one colour, or rembg's network;
`auto` takes the first of them that there is."""


class Network(Protocol):
    """Interface of a network that finds the object in a picture, as `RembgNetwork`."""

    def is_there(self) -> bool:
        """Whether it can be used without a download."""

    def __call__(self, picture: Image.Image) -> Image.Image:
        """A picture of mode RGB -> a mask of its size, mode L, bright where the object is."""


class BackgroundError(InputError):
    """A picture whose object cannot be told from its background."""


@dataclass(frozen=True)
class CutOut:
    """How objects are to be cut out of pictures.

    Attributes:
      method: one of `METHODS`.
      network: of `rembg`; None where it is not to be used.
      max_pixels: larger pictures are refused.
    Raises:
      InputError: another method; `rembg` without its network.
    """

    method: str = "auto"
    network: Network | None = None
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"cutout {self.method!r}: expected one of {', '.join(METHODS)}")
        if self.method == "rembg" and self.network is None:
            raise InputError("cutout rembg: its network is not loaded")


AUTO = CutOut()
"""By what there is; a busy background is left as it is."""


def frame(path: Path, mask: Path | None, size: int, cutout: CutOut = AUTO) -> tuple[Image.Image, str]:
    """The object of a picture file, cut out and framed as `prepare` does, and a warning of one line ("" for none).

    With `auto`, a picture whose object cannot be told from its background is used whole, with a warning that says so.

    Raises:
      InputError: a picture or mask that cannot be used, in one line that begins with its path.
    """
    notes: list[str] = []
    picture = load_picture(path, cutout.max_pixels, notes)
    shape = None if mask is None else load_mask(mask, cutout.max_pixels)
    try:
        return _framed(_cut_out(picture, shape, cutout, notes), size), "; ".join(notes)
    except BackgroundError as error:
        if cutout.method != "auto":
            raise InputError(f"{path}: {error}") from None
        notes.append(f"{error}. It is used whole")
        return picture, "; ".join(notes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def prepare(
    picture: Image.Image,
    mask: Image.Image | None = None,
    size: int = SIZE,
    cutout: CutOut = AUTO,
) -> Image.Image:
    """The object of a picture, cut out and framed as a training view, however the picture was cropped.

    The longest side of the object's box becomes `EXTENT` of the result and its centre the centre; what lies beyond the
    picture is transparent. The orientation that a phone notes beside its pixels is applied first.

    Args:
      picture: of any mode and shape.
      mask: of the picture's size, bright where the object is.
      size: pixels on each side of the result.
    Returns:
      (size, size) picture of mode RGBA.
    Raises:
      InputError: no object in the picture or the mask, a mask of another size, a cut-out that is not possible.
      BackgroundError: a picture without a mask whose object cannot be told from its background.
    """
    picture = to_rgba(upright(picture, []), "the picture", [])
    mask = None if mask is None else to_mask(upright(mask, []), "the mask")
    return _framed(_cut_out(picture, mask, cutout, []), size)


def _cut_out(picture: Image.Image, mask: Image.Image | None, cutout: CutOut, notes: list[str]) -> Image.Image:
    """The RGBA picture with the alpha of its object."""
    method = cutout.method
    if (mask is None and method == "mask") or (mask is not None and method not in ("auto", "mask")):
        raise InputError(f"cutout {method}: {'a mask is needed' if mask is None else 'not together with a mask'}")
    if mask is not None:
        if mask.size != picture.size:
            raise InputError(
                f"mask of {mask.width} x {mask.height} pixels, picture of {picture.width} x {picture.height}"
            )
        picture.putalpha(mask)
        return picture
    if method == "alpha":
        if picture.getextrema()[3][0] == 255:
            raise InputError("cutout alpha: the picture has no transparency")
        return picture
    if method == "auto" and cuts_something_out(picture):
        if _is_rectangle(foreground(picture)):
            notes.append("its transparency cuts out a rectangle; if the object is within, choose another cut-out")
        return picture
    if method == "rembg":
        return _by_network(picture, cutout.network)
    return _before_plain_background(picture, cutout, notes)


def _before_plain_background(picture: Image.Image, cutout: CutOut, notes: list[str]) -> Image.Image:
    """What is not background of one colour; with `auto`, else what the network finds, or the transparency as it is."""
    automatic = cutout.method == "auto"
    try:
        cut = _times_alpha(picture, Image.fromarray(_without_plain_background(picture)))
    except BackgroundError:
        if automatic and cutout.network is not None and cutout.network.is_there():
            return _by_network(picture, cutout.network)
        raise
    if automatic and not foreground(cut).any() and not foreground(picture).all():
        notes.append("its transparency cuts out a rectangle of one colour")
        return picture
    return cut


def cuts_something_out(picture: Image.Image) -> bool:
    """Whether the transparency of an RGBA picture shows an object, by `FRAME_SHARE` and `FRAME_SIDE`."""
    opaque = foreground(picture)
    if 1 - opaque.mean() >= FRAME_SHARE or not _has_whole_sides(opaque):
        return True
    rows, columns = _box(opaque)
    margins = (rows.start, columns.start, picture.height - rows.stop, picture.width - columns.stop)
    return max(margins) > 0


def _is_rectangle(opaque: np.ndarray) -> bool:
    return opaque.any() and _has_whole_sides(opaque) and opaque[_box(opaque)].mean() >= 1 - FRAME_SHARE


def _has_whole_sides(opaque: np.ndarray) -> bool:
    inside = opaque[_box(opaque)]
    return min(side.mean() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1])) >= FRAME_SIDE


def _box(opaque: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns that hold all true values of an array (H, W), of which there is at least one."""
    rows, columns = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _without_plain_background(picture: Image.Image) -> np.ndarray:
    """(H, W) uint8 alpha of what is not joined to the border of the opaque part by the border's colour."""
    opaque = foreground(picture)
    if not opaque.any():
        return np.zeros(opaque.shape, np.uint8)
    box = _box(opaque)
    inside, rgb = opaque[box], np.asarray(picture)[box][..., :3]
    ring = np.zeros(inside.shape, bool)
    ring[[0, -1]], ring[:, [0, -1]] = True, True
    border = rgb[ring & inside].astype(np.int16)
    color = np.median(border, axis=0)
    if (np.abs(border - color).max(1) <= PLAIN_DIFFERENCE).mean() < PLAIN_SHARE:
        seen = "the picture is opaque" if opaque.all() else "its transparency cuts nothing out"
        raise BackgroundError(
            f"{seen} and its background is not plain; give a mask, a picture with transparency, or choose rembg"
        )
    alike = (np.abs(rgb.astype(np.int16) - color.astype(np.int16)).max(2) <= PLAIN_DIFFERENCE) | ~inside
    regions, _ = ndimage.label(alike)
    outside = np.unique(regions[ring])
    alpha = np.zeros(opaque.shape, np.uint8)
    alpha[box] = np.where(np.isin(regions, outside[outside > 0]), 0, 255)
    return alpha


def _by_network(picture: Image.Image, network: Network) -> Image.Image:
    return _times_alpha(picture, network(composite(picture, 1.0)))


def _times_alpha(picture: Image.Image, mask: Image.Image) -> Image.Image:
    picture = picture.copy()
    picture.putalpha(ImageChops.multiply(picture.getchannel("A"), mask))
    return picture


def _framed(picture: Image.Image, size: int) -> Image.Image:
    opaque = foreground(picture)
    if not opaque.any():
        raise InputError("no object in the picture: all of it is transparent or background")
    rows, columns = _box(opaque)
    left, right, top, bottom = columns.start, columns.stop, rows.start, rows.stop
    half = max(right - left, bottom - top) / EXTENT / 2
    x, y = (left + right) / 2 - half, (top + bottom) / 2 - half
    # A margin of whole pixels all round, so that the window lies inside.
    margin = math.ceil(max(-x, -y, x + 2 * half - picture.width, y + 2 * half - picture.height, 0))
    # Premultiplied: otherwise the colour of transparent pixels would bleed into the edge.
    padded = ImageOps.expand(picture.convert("RGBa"), margin, (0, 0, 0, 0)) if margin else picture.convert("RGBa")
    window = (x + margin, y + margin, x + margin + 2 * half, y + margin + 2 * half)
    window = tuple(min(max(edge, 0), limit) for edge, limit in zip(window, padded.size * 2, strict=True))
    return padded.resize((size, size), Image.Resampling.BICUBIC, box=window).convert("RGBA")
