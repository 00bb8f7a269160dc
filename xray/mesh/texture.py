"""Texture: a picture that is looked up by texture coordinates."""

from __future__ import annotations

import io
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..common import srgb
from ..common.errors import InputError
from ..common.files import content_kind
from ..common.images import UNREADABLE
from .text import shown

WRAPS = ("repeat", "mirror", "clamp")
"""What stands outside [0, 1]: the picture again, the picture mirrored, or its border."""


LARGEST_TRANSFORM = 1e6
"""Keeps pixel positions within whole numbers of 64 bits."""


MOST_PIXELS = 89_478_485
"""Of a picture, unless the environment says otherwise: Pillow's own limit, 256 MiB of three bytes a pixel."""

LIMIT_VARIABLE = "XRAY_MAX_TEXTURE_PIXELS"


@dataclass(frozen=True, eq=False)
class Texture:
    """An sRGB picture with the rules of its sampler.

    Texture coordinates are those of glTF: (0, 0) is the outer corner of the top left pixel, u goes right and
    v goes down, so pixel centres lie at (i + 0.5) / W.

    Attributes:
      pixels: (H, W, 3) uint8, sRGB, kept row by row in memory. Alpha is left out: a surface is there or not, whatever
        is painted on it.
      wrap: the rule across and down, each of `WRAPS`.
      nearest: take the nearest pixel instead of interpolating between four.
      transform: (2, 3) float64 applied to (u, v, 1) first, or None.
    """

    pixels: np.ndarray
    wrap: tuple[str, str] = ("repeat", "repeat")
    nearest: bool = False
    transform: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[2] != 3 or self.pixels.dtype != np.uint8 or not self.pixels.size:
            raise InputError(f"texture of shape {self.pixels.shape} {self.pixels.dtype}: expected (H, W, 3) uint8")
        object.__setattr__(self, "pixels", np.ascontiguousarray(self.pixels))
        if self.transform is not None and not (np.abs(self.transform) <= LARGEST_TRANSFORM).all():
            raise InputError(f"texture transform with values that are not numbers up to {LARGEST_TRANSFORM:g}")
        if not set(self.wrap) <= set(WRAPS):
            raise InputError(f"texture wrap {self.wrap}: expected of {', '.join(WRAPS)}")

    def sample(self, uv: np.ndarray, nearest: bool = False) -> np.ndarray:
        """Colours at texture coordinates, interpolated between the sRGB values of the four pixels around.

        Args:
          uv: (N, 2); nearest: take the nearest pixel in any case.
        Returns:
          (N, 3) float32, sRGB in [0, 1].
        """
        uv = np.asarray(uv, dtype=np.float64)
        if self.transform is not None:
            uv = uv @ self.transform[:, :2].T + self.transform[:, 2]
        height, width = self.pixels.shape[:2]
        x, y = uv[:, 0] * width, uv[:, 1] * height
        if nearest or self.nearest:
            column = _wrapped(np.floor(x).astype(np.int64), width, self.wrap[0])
            row = _wrapped(np.floor(y).astype(np.int64), height, self.wrap[1])
            return self.pixels[row, column].astype(np.float32) / 255
        x, y = x - 0.5, y - 0.5
        left, top = np.floor(x), np.floor(y)
        right_share = (x - left).astype(np.float32)[:, None]
        lower_share = (y - top).astype(np.float32)[:, None]
        left, top = left.astype(np.int64), top.astype(np.int64)
        columns = [_wrapped(left + step, width, self.wrap[0]) for step in (0, 1)]
        upper, lower = (
            self._row(_wrapped(top + step, height, self.wrap[1]) * width, columns, right_share) for step in (0, 1)
        )
        return _blend(upper, lower, lower_share) / 255

    def _row(self, start: np.ndarray, columns: list[np.ndarray], right_share: np.ndarray) -> np.ndarray:
        flat = self.pixels.reshape(-1, 3)  # one index a pixel: twice as fast as two
        left, right = (np.take(flat, start + column, axis=0).astype(np.float32) for column in columns)
        return _blend(left, right, right_share)


def _blend(first: np.ndarray, second: np.ndarray, share: np.ndarray) -> np.ndarray:
    """first + (second - first) * share, made in the memory of `second`."""
    second -= first
    second *= share
    second += first
    return second


def _wrapped(index: np.ndarray, size: int, wrap: str) -> np.ndarray:
    if wrap == "clamp":
        return np.clip(index, 0, size - 1)
    if wrap == "repeat":
        return index % size
    index = index % (2 * size)
    return np.minimum(index, 2 * size - 1 - index)


def largest_picture() -> int:
    """Pixels that a picture may have. InputError where the environment does not say it as a whole number."""
    stated = os.environ.get(LIMIT_VARIABLE, str(MOST_PIXELS))
    if not stated.isdecimal():
        raise InputError(f"{LIMIT_VARIABLE}={stated}: expected a number of pixels, such as {MOST_PIXELS}")
    return int(stated)


def _rgb(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8; no conversion where the file has these bytes, which spares memory and time."""
    if image.mode == "F" or image.mode.startswith("I"):  # more than 8 bits; Pillow's own conversion clips at 255
        values = srgb.unit_colors(np.asarray(image, dtype=np.float64)[..., None], image.mode != "F")
        return np.repeat(np.rint(np.nan_to_num(values) * 255).astype(np.uint8), 3, axis=2)
    if image.mode in ("RGB", "RGBA"):
        return np.ascontiguousarray(np.asarray(image)[..., :3])
    return np.asarray(image.convert("RGBA").convert("RGB"))


@contextmanager
def _without_pillows_limit() -> Iterator[None]:
    """Pillow raises, too, for pictures of more than twice its limit; the size is checked here before any decoding."""
    stated, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = stated


def read_pixels(source: str | Path | bytes, name: str) -> np.ndarray:
    """(H, W, 3) uint8, perhaps read-only, of an image file or of its bytes, transparency dropped.

    Raises:
      InputError: not readable as an image, or of more pixels than `largest_picture`; the message begins with `name`.
    """
    most = largest_picture()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is stated in words
            with (
                _without_pillows_limit(),
                Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image,
            ):
                if image.width * image.height > most:
                    raise InputError(
                        f"{name}: {image.width} x {image.height} pixels, expected at most {most} ({math.isqrt(most)} x "
                        f"{math.isqrt(most)}); make it smaller, or set {LIMIT_VARIABLE} to a larger number"
                    )
                return _rgb(image)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except (*UNREADABLE, MemoryError, RuntimeError) as error:
        reason = content_kind(source if isinstance(source, bytes) else Path(source))
        if reason is None and isinstance(error, Image.UnidentifiedImageError):  # whose own words are Python's of memory
            reason = "of no kind that is known"
        reason = reason or shown(" ".join(str(error).split()))
        raise InputError(f"{name}: not readable as an image ({reason})") from None
