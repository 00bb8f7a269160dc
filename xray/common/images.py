"""Pictures: reading them as they are meant to be seen, the background under an object, the array that models read."""

from __future__ import annotations

import io
import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps

from .errors import InputError
from .files import reading

MAX_PIXELS = 2**26
"""Pictures with more pixels are refused before they are decoded."""

LEAST_PX = 32
"""Shortest side of a user's picture: in fewer pixels there is no object to be seen."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""What is read of users' pictures, by content and not by suffix; HEIC too where pillow-heif is installed. Pillow opens
others by programs that it finds, PostScript among them: not for strangers' files."""

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif"
)  # fmt: skip
"""Names of files that are taken for pictures in a folder."""

UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises for a damaged file."""

BROKEN_EXIF = (*UNREADABLE, KeyError, IndexError, TypeError, AttributeError, OverflowError)
"""What Pillow raises, beyond that, for damaged notes about a picture whose pixels are whole."""

HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
"""Bytes 8 to 12 of a HEIC file, after `ftyp` (ISO/IEC 23008-12; mif1 and msf1 may be AVIF as well)."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes a picture upright, by its EXIF orientation (EXIF 2.3, tag 0x0112)."""


def load_picture(path: str | Path, max_pixels: int = MAX_PIXELS, notes: list[str] | None = None) -> Image.Image:
    """A user's picture as it is meant to be seen: upright, 8 bits a channel, sRGB, the first of several frames.

    Args:
      max_pixels: more are refused before they are decoded.
      notes: gets a line for everything that had to be passed over or guessed.
    Returns:
      A decoded picture of mode RGBA; opaque where the file has no transparency.
    Raises:
      InputError: no such file, not a picture of `FORMATS`, damaged, too large or small. The line begins with the path.
    """
    notes = [] if notes is None else notes
    return to_rgba(_decoded(path, max_pixels, notes), str(path), notes)


def load_mask(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """A mask, upright, of mode L: 255 where the object is. What is transparent in it is not the object.

    A mask of the numbers 0 and 1 alone counts as one of 0 and 255.

    Raises:
      InputError: as `load_picture`; nothing in it is bright.
    """
    return to_mask(_decoded(path, max_pixels, []), str(path))


def to_mask(picture: Image.Image, name: str = "mask") -> Image.Image:
    """A picture of any mode as `load_mask` gives it; errors begin with `name`."""
    flat = Image.alpha_composite(Image.new("RGBA", picture.size, "black"), to_rgba(picture, name, []))
    values = np.asarray(flat.convert("L"))
    brightest = int(values.max())
    if brightest == 1:
        values, brightest = values * 255, 255
    if brightest < 128:
        raise InputError(f"{name}: no object in the mask, its brightest value is {brightest} of 255; expected bright")
    return Image.fromarray(values)


@contextmanager
def _opened(path: str | Path, max_pixels: int) -> Iterator[Image.Image]:
    """A picture whose header has been read and whose size can be used."""
    name, most = str(path), f"expected at most {max_pixels / 1e6:.0f} megapixels"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the limit here is a lower one
            with Image.open(path, formats=_formats(Path(path))) as picture:
                size = f"{name}: {picture.width} x {picture.height} pixels"
                if picture.width * picture.height > max_pixels:
                    raise InputError(f"{size}, too large: {most}")
                if min(picture.size) < LEAST_PX:
                    raise InputError(f"{size}, too small: expected at least {LEAST_PX} on each side")
                yield picture
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: too large, {most}") from None
    except Image.UnidentifiedImageError:
        raise InputError(f"{name}: not a picture that can be read (expected {', '.join(FORMATS)} or HEIC)") from None
    except UNREADABLE as error:
        raise InputError(f"{name}: not readable as a picture ({_reason(error)})") from None


def _formats(path: Path) -> tuple[str, ...]:
    """Pillow's names of the formats to try; HEIC's reader is loaded where the file is one."""
    with path.open("rb") as file:
        head = file.read(12)
    if head[4:8] != b"ftyp" or head[8:12] not in HEIC_BRANDS:
        return FORMATS
    try:
        import pillow_heif
    except ImportError:
        if head[8:12] in (b"mif1", b"msf1"):
            return FORMATS
        needed = "pip install -r requirements-photo.txt, or save it as JPEG"
        raise InputError(f"{path}: a HEIC picture, which needs pillow-heif ({needed})") from None
    pillow_heif.register_heif_opener()
    return (*FORMATS, "HEIF")


def _reason(error: Exception) -> str:
    """One line that names no folder."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{type(error).__name__}: {' '.join(words.split())[:80]}"


def check_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> None:
    """Raises InputError, as `load_picture` does, for a file whose header shows that it cannot be used."""
    with _opened(path, max_pixels):
        pass


def _decoded(path: str | Path, max_pixels: int, notes: list[str]) -> Image.Image:
    """Upright, of the file's own mode, without any notes of orientation left."""
    with _opened(path, max_pixels) as picture:
        if getattr(picture, "is_animated", False) and picture.format != "MPO":  # of which phones make single photos
            notes.append("it has several frames; the first one is used")
        deep = picture.format == "PNG" and "16B" in str(picture.tile[:1])
        picture.load()
        key = picture.info.get("transparency")
        if deep and isinstance(key, tuple):  # a transparent colour of 16 bits, beside pixels read as 8
            picture.info["transparency"] = tuple(value >> 8 for value in key)
        return upright(picture, notes)


def upright(picture: Image.Image, notes: list[str]) -> Image.Image:
    """The picture turned as its EXIF orientation says, which the result no longer has as a note.

    Unlike `ImageOps.exif_transpose` it writes none of the other EXIF tags, which fails where they are damaged.
    """
    try:
        turn = TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except BROKEN_EXIF as error:
        notes.append(f"its EXIF data is damaged ({_reason(error)}); taken as upright")
        turn = None
    turned = picture.copy() if turn is None else picture.transpose(turn)
    turned.info = {key: picture.info[key] for key in ("transparency", "icc_profile") if key in picture.info}
    return turned


def to_rgba(picture: Image.Image, name: str, notes: list[str]) -> Image.Image:
    """A picture of any mode as RGBA of 8 bits: deep greys scaled, other colour spaces turned to sRGB."""
    if picture.mode == "F" or picture.mode.startswith("I"):
        return _from_deep_grey(picture, name, notes)
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])  # colours no longer times alpha
    if picture.mode == "LAB":
        picture = ImageCms.profileToProfile(
            picture, ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    flat = _in_srgb(picture, notes)
    rgba = (picture.convert("RGB") if picture.mode in ("CMYK", "YCbCr", "HSV") else picture).convert("RGBA")
    if flat is not None:
        flat.putalpha(rgba.getchannel("A"))
        rgba = flat
    rgba.info = {}
    return rgba


def _in_srgb(picture: Image.Image, notes: list[str]) -> Image.Image | None:
    """The RGB picture that a colour profile makes of it; None without one, or where the colours stay as they are."""
    profile = picture.info.get("icc_profile")
    if not profile:
        return None
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in (source.profile.profile_description or "").lower():
            return None
        space = source.profile.xcolor_space.strip()
        mode = {"GRAY": "L", "RGB": "RGB", "CMYK": "CMYK"}.get(space, "")
        if (mode == "CMYK") != (picture.mode == "CMYK") or (mode == "L" and picture.mode not in ("L", "LA")):
            raise ValueError(f"of {space}, for a picture of mode {picture.mode}")
        colors = picture if picture.mode == mode else picture.convert("RGBA").convert(mode)
        return ImageCms.profileToProfile(colors, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        notes.append(f"its colour profile cannot be used ({_reason(error)}); taken as sRGB")
        return None


def _from_deep_grey(picture: Image.Image, name: str, notes: list[str]) -> Image.Image:
    """Greys of 16 bits, or floats from 0 to 1: Pillow's own conversion clips them at 255."""
    values = np.asarray(picture)
    lowest, highest = float(values.min()), float(values.max())
    most = 1 if picture.mode == "F" else 65535
    if not (lowest >= 0 and highest <= most):
        raise InputError(f"{name}: grey values from {lowest:g} to {highest:g}, expected 0 to {most}")
    if picture.mode != "F" and 1 < highest <= 255:
        notes.append("16 bits a pixel, but none above 255; taken as 8 bits")
        most = 255
    if picture.mode != "F" and highest == 1:
        most = 255  # a mask of 0 and 1 stays one
    grey = np.rint(values * (255 / most)).astype(np.uint8)
    rgba = Image.fromarray(grey).convert("RGBA")
    key = picture.info.get("transparency")
    if isinstance(key, int):
        rgba.putalpha(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)))
    return rgba


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
    content = io.BytesIO(source) if isinstance(source, bytes) else source
    with reading(name, "a picture", UNREADABLE), Image.open(content) as picture:
        if picture.width * picture.height > MAX_PIXELS:
            raise InputError(f"{name}: {picture.width} x {picture.height} pixels, expected at most {MAX_PIXELS}")
        if not picture.has_transparency_data:
            raise InputError(f"{name}: the picture is {picture.mode}, without alpha; expected RGBA")
        deep = picture.mode.startswith("I")
        return to_rgba(picture, str(name), []) if deep else picture.convert("RGBA")


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


def to_pixels(picture: Image.Image, background: float, size: int) -> np.ndarray:
    """(4, size, size) float32 in [-1, 1] of a square RGBA picture: its colour over the background, and its alpha.

    Where the size differs it is resampled with antialiasing so that pixel i still lies on the ray of `Camera.rays`: the
    middle of the first pixel stays, where `to_array` keeps the corner.

    Raises InputError for a picture that is not square.
    """
    if picture.width != picture.height:
        raise InputError(f"picture of {picture.width} x {picture.height} pixels: expected a square")
    colour, alpha = composite(picture, background), picture.getchannel("A")
    if picture.width != size:
        shift = (picture.width / size - 1) / 2
        margin = math.ceil(abs(shift))
        box = (margin - shift, margin - shift, margin - shift + picture.width, margin - shift + picture.width)
        grey = (round(255 * background),) * 3
        colour, alpha = (
            ImageOps.expand(part, margin, fill).resize((size, size), Image.Resampling.BICUBIC, box, reducing_gap=None)
            for part, fill in ((colour, grey), (alpha, 0))
        )
    planes = np.concatenate([np.asarray(colour), np.asarray(alpha)[..., None]], axis=-1).transpose(2, 0, 1)
    return np.ascontiguousarray(planes).astype(np.float32) / np.float32(127.5) - 1


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
