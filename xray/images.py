"""RGBA pictures of objects: reading, the background under them, and the array that the models read."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from .errors import InputError

MAX_PIXELS = 2**26
"""Pictures with more pixels are refused before they are decoded."""

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for a damaged file."""


def load_rgba(source: str | Path | bytes, name: str | Path | None = None) -> Image.Image:
    """Read a picture with transparency.

    Args:
      source: a path, or the file's content; name: what errors call it (the path by default).
    Returns:
      A decoded picture of mode RGBA.
    Raises:
      InputError: no such file, not a picture, cut short, without alpha, of more than `MAX_PIXELS` pixels.
    """
    name = source if name is None else name
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f"{name}: {picture.width} x {picture.height} pixels, expected at most {MAX_PIXELS}")
            if not picture.has_transparency_data:
                raise InputError(f"{name}: the picture is {picture.mode}, without alpha; expected RGBA")
            return picture.convert("RGBA")
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except InputError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{name}: not readable as a picture ({type(error).__name__}: {reason})") from None


def foreground(picture: Image.Image) -> np.ndarray:
    """(H, W) bool, where an RGBA picture is at least half opaque."""
    return np.asarray(picture.getchannel("A")) >= 128


def foreground_at_rays(picture: Image.Image, rays: int, name: str | Path) -> np.ndarray:
    """(rays, rays) bool, the foreground of a square picture where the rays of the same view pass.

    Pixel k i of a picture k times as large lies on ray i (`Camera.rays`). Raises InputError, beginning with `name`,
    for a picture that is not square.
    """
    if picture.width != picture.height:
        raise InputError(f"{name}: {picture.width} x {picture.height} pixels, expected a square picture")
    pixel = np.arange(rays) * picture.width // rays
    return foreground(picture)[pixel][:, pixel]


def composite(picture: Image.Image, background: float) -> Image.Image:
    """The RGB picture over a grey of `background` in [0, 1], rounded to 8 bits. Alpha is straight, as PNG has it."""
    if not 0 <= background <= 1:
        raise InputError(f"background {background}: expected a grey between 0 and 1")
    grey = round(255 * background)
    under = Image.new("RGBA", picture.size, (grey, grey, grey, 255))
    return Image.alpha_composite(under, picture).convert("RGB")


def to_array(picture: Image.Image, size: int) -> np.ndarray:
    """(3, size, size) float32 in [-1, 1] of a square RGB picture; antialiased where the size differs.

    Raises InputError for a picture that is not square.
    """
    if picture.width != picture.height:
        raise InputError(f"picture of {picture.width} x {picture.height} pixels: expected a square")
    if picture.width != size:
        picture = picture.resize((size, size), Image.Resampling.BICUBIC, reducing_gap=None)
    planes = np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))
    values = planes.astype(np.float32)
    values /= np.float32(255)
    values *= 2
    values -= 1
    return values
