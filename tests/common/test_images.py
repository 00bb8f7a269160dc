"""A picture is read as it is meant to be seen, whatever its file format, mode, depth and notes."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from xray.common.errors import InputError
from xray.common.images import LEAST_PX, load_mask, load_picture

FAULTS = Path(__file__).parents[3] / "shared" / "faults"

needs_faults = pytest.mark.skipif(not FAULTS.is_dir(), reason="no ../shared/faults beside the repository")


def smooth(width: int = 64, height: int = 48) -> np.ndarray:
    """(H, W, 3) uint8: every corner another colour."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.rint(np.stack([200 * x, 40 + 160 * y, 220 - 150 * x], axis=2)).astype(np.uint8)


def rgb(picture: Image.Image) -> np.ndarray:
    assert picture.mode == "RGBA"
    return np.asarray(picture)[..., :3].astype(int)


def exif(orientation: int) -> Image.Exif:
    notes = Image.Exif()
    notes[0x0112] = orientation
    return notes


TURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # fmt: skip
"""How a picture lies in a file whose orientation undoes it."""


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_every_orientation_of_every_format_is_applied_once(tmp_path, suffix, orientation):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(smooth()).transpose(TURNED[orientation]).save(path, exif=exif(orientation), quality=95)
    picture = load_picture(path)
    assert picture.size == (64, 48)
    assert np.abs(rgb(picture) - smooth()).mean() < 4
    assert load_mask(path).size == (64, 48)


def test_heic_is_read_and_turned_by_its_reader_alone(tmp_path):
    """The format has an orientation of its own, which its reader applies; the EXIF one beside it does not count."""
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed (requirements-photo.txt)")
    pillow_heif.from_pillow(Image.fromarray(smooth())).save(tmp_path / "a.heic", quality=95)
    (tmp_path / "heic_as.jpg").write_bytes((tmp_path / "a.heic").read_bytes())
    for name in ("a.heic", "heic_as.jpg"):
        assert np.abs(rgb(load_picture(tmp_path / name)) - smooth()).mean() < 6
    Image.fromarray(smooth()).save(tmp_path / "noted.heic", exif=exif(6), quality=95)
    assert load_picture(tmp_path / "noted.heic").size == (64, 48)


def test_an_orientation_noted_as_xmp_alone_is_applied(tmp_path):
    note = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    Image.fromarray(smooth()).transpose(TURNED[6]).save(tmp_path / "a.jpg", xmp=note, quality=95)
    assert np.abs(rgb(load_picture(tmp_path / "a.jpg")) - smooth()).mean() < 4


def broken_exif() -> dict[str, bytes]:
    """Damaged notes: no header, cut short, a directory outside, a wrong type."""
    good = exif(6).tobytes()
    head = b"Exif\0\0II*\0\x08\0\0\0"
    return {
        "no header": b"Exif\0\0nothing",
        "empty": b"Exif\0\0",
        "cut": good[: len(good) // 2],
        "outside": b"Exif\0\0II*\0\xff\xff\xff\x7f",
        "type": head + b"\1\0" + struct.pack("<HHIHH", 0x0112, 77, 1, 6, 0) + bytes(4),
        "text": head + b"\1\0" + struct.pack("<HHI4s", 0x0112, 2, 4, b"six\0") + bytes(4),
        "value": head + b"\1\0" + struct.pack("<HHIHH", 0x0112, 3, 1, 99, 0) + bytes(4),
    }


@pytest.mark.parametrize("kind", broken_exif())
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_broken_exif_is_passed_over(tmp_path, suffix, kind):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(smooth()).save(path, exif=broken_exif()[kind], quality=95)
    notes: list[str] = []
    assert np.abs(rgb(load_picture(path, notes=notes)) - smooth()).mean() < 4
    assert len(notes) <= 1
    if kind == "no header" and suffix != "jpg":  # of a .jpg Pillow itself passes over it
        assert "EXIF data is damaged" in notes[0]


def test_damaged_notes_beside_a_good_orientation_do_not_undo_it(tmp_path):
    """The tags that cannot be written again are none that the picture needs."""
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHII", 0x8769, 4, 1, 0x7FFFFFF0)
    notes = b"Exif\0\0II*\0\x08\0\0\0\2\0" + entries + bytes(4)
    Image.fromarray(smooth()).transpose(TURNED[6]).save(tmp_path / "a.jpg", exif=notes, quality=95)
    assert np.abs(rgb(load_picture(tmp_path / "a.jpg")) - smooth()).mean() < 4


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def save_png16(path: Path, values: np.ndarray, kind: int, *chunks: bytes) -> None:
    """A .png of 16 bits a channel, which Pillow cannot write in colour; kind: the format's colour type."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    content = chunk(b"IHDR", head) + b"".join(chunks) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def test_sixteen_bits_a_channel_are_what_eight_are(tmp_path):
    color = smooth()
    grey, alpha = color[..., 0], color[..., 1]
    deep = color.astype(int) * 257
    save_png16(tmp_path / "grey.png", deep[..., 0], 0)
    save_png16(tmp_path / "rgb.png", deep, 2)
    save_png16(tmp_path / "la.png", deep[..., :2], 4)
    save_png16(tmp_path / "rgba.png", np.dstack([deep, deep[..., 1]]), 6)
    assert (rgb(load_picture(tmp_path / "grey.png")) == grey[..., None]).all()
    assert (rgb(load_picture(tmp_path / "rgb.png")) == color).all()
    assert (np.asarray(load_picture(tmp_path / "la.png"))[..., 3] == alpha).all()
    assert (np.asarray(load_picture(tmp_path / "rgba.png")) == np.dstack([color, alpha])).all()
    assert (np.asarray(load_mask(tmp_path / "grey.png")) == grey).all()
    Image.fromarray(deep[..., 0].astype(np.uint16)).save(tmp_path / "grey.tif")
    assert (rgb(load_picture(tmp_path / "grey.tif")) == grey[..., None]).all()


def test_a_transparent_colour_of_sixteen_bits_is_that_colour(tmp_path):
    values = np.full((40, 40, 3), 30_000)
    values[10:30, 10:30] = (60_000, 2_000, 1_000)
    save_png16(tmp_path / "rgb.png", values, 2, chunk(b"tRNS", struct.pack(">HHH", 30_000, 30_000, 30_000)))
    save_png16(tmp_path / "grey.png", values[..., 0], 0, chunk(b"tRNS", struct.pack(">H", 30_000)))
    for name in ("rgb.png", "grey.png"):
        alpha = np.asarray(load_picture(tmp_path / name))[..., 3]
        assert (alpha == np.where(values[..., 0] == 60_000, 255, 0)).all(), name


def test_deep_greys_that_have_no_known_range_are_refused_or_told(tmp_path):
    Image.fromarray(np.full((40, 40), 70_000, np.int32)).save(tmp_path / "i.tif")
    Image.fromarray(np.full((40, 40), 7.0, np.float32)).save(tmp_path / "f.tif")
    for name, most in (("i.tif", 65535), ("f.tif", 1)):
        with pytest.raises(InputError, match=rf"{name}: grey values .* expected 0 to {most}"):
            load_picture(tmp_path / name)
    Image.fromarray(smooth()[..., 0].astype(np.float32) / 255).save(tmp_path / "g.tif")
    assert (rgb(load_picture(tmp_path / "g.tif"))[..., 0] == smooth()[..., 0]).all()
    notes: list[str] = []
    Image.fromarray(smooth()[..., 0].astype(np.uint16)).save(tmp_path / "low.png")
    assert (rgb(load_picture(tmp_path / "low.png", notes=notes))[..., 0] == smooth()[..., 0]).all()
    assert "taken as 8 bits" in notes[0]


@needs_faults
def test_the_deep_picture_and_mask_of_the_faults():
    folder = FAULTS / "grey16_white"
    pairs = [(folder / "dark16.png", folder / "dark8.png", load_picture)]
    pairs += [(folder / "mask16.png", folder / "mask8.png", load_mask)]
    for deep, plain, load in pairs:
        assert np.abs(np.asarray(load(deep)).astype(int) - np.asarray(load(plain))).max() <= 1


def test_every_mode_comes_out_with_its_colours_and_transparency(tmp_path):
    color = Image.fromarray(smooth())
    alpha = Image.fromarray(np.tile(np.linspace(0, 255, 64).astype(np.uint8), (48, 1)))
    clear = color.copy()
    clear.putalpha(alpha)
    cmyk = tmp_path / "cmyk.jpg"
    color.convert("CMYK").save(cmyk, quality=98)
    assert np.abs(rgb(load_picture(cmyk)) - smooth()).mean() < 4
    clear.save(tmp_path / "clear.tif")
    color.convert("L").save(tmp_path / "l.png")
    two = Image.merge("LA", (color.convert("L"), alpha))
    two.save(tmp_path / "la.png")
    for name, expected in (("l.png", None), ("la.png", alpha), ("clear.tif", alpha)):
        picture = load_picture(tmp_path / name)
        opaque = Image.new("L", color.size, 255) if expected is None else expected
        assert picture.getchannel("A").tobytes() == opaque.tobytes(), name
    assert (rgb(load_picture(tmp_path / "la.png")) == np.asarray(color.convert("L"))[..., None]).all()
    palette = color.quantize(200)
    palette.save(tmp_path / "p.png", transparency=0)
    got = load_picture(tmp_path / "p.png")
    assert (np.asarray(got)[..., 3] == np.where(np.asarray(palette) == 0, 0, 255)).all()
    assert np.abs(rgb(got) - smooth())[np.asarray(palette) != 0].mean() < 6
    bits = Image.fromarray(smooth()[..., 0] > 100)
    bits.save(tmp_path / "bits.png")
    assert (rgb(load_picture(tmp_path / "bits.png"))[..., 0] == np.where(smooth()[..., 0] > 100, 255, 0)).all()


def test_premultiplied_colours_are_divided_by_their_alpha(tmp_path):
    """A .tif whose colours are times alpha, as its `ExtraSamples` says [TIFF 6.0, section 18]."""
    pixels = np.dstack([smooth(), np.full((48, 64), 128, np.uint8)])
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    straight, times_alpha = (struct.pack("<HHIHH", 338, 3, 1, kind, 0) for kind in (2, 1))
    assert content.count(straight) == 1
    (tmp_path / "a.tif").write_bytes(content.replace(straight, times_alpha))
    got = np.asarray(load_picture(tmp_path / "a.tif")).astype(int)
    assert (got[..., 3] == 128).all()
    assert np.abs(got[..., :3] - np.minimum(smooth().astype(int) * 255 // 128, 255)).max() <= 2


def test_the_first_of_several_frames_is_used_and_that_is_told(tmp_path):
    frames = [Image.fromarray(smooth()), Image.new("RGB", (64, 48), "red")]
    for suffix in ("gif", "webp", "png", "tif"):
        path = tmp_path / f"a.{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:])
        notes: list[str] = []
        assert np.abs(rgb(load_picture(path, notes=notes)) - smooth()).mean() < 12, suffix
        assert notes == ["it has several frames; the first one is used"]
    frames[0].save(tmp_path / "a.mpo", save_all=True, append_images=frames[1:], quality=95)
    notes = []
    assert np.abs(rgb(load_picture(tmp_path / "a.mpo", notes=notes)) - smooth()).mean() < 4
    assert notes == []


def test_a_colour_profile_is_applied_and_a_broken_one_told(tmp_path):
    """XYZ numbers shown as if they were sRGB would be other colours."""
    swapped = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    Image.fromarray(smooth()).save(tmp_path / "srgb.png", icc_profile=swapped.tobytes())
    assert np.abs(rgb(load_picture(tmp_path / "srgb.png")) - smooth()).max() <= 1
    notes: list[str] = []
    Image.fromarray(smooth()).save(tmp_path / "broken.png", icc_profile=b"no profile at all" * 20)
    assert (rgb(load_picture(tmp_path / "broken.png", notes=notes)) == smooth()).all()
    assert "colour profile cannot be used" in notes[0]


def test_masks_are_bright_where_the_object_is_and_opaque(tmp_path):
    shape = smooth()[..., 0] > 100
    zero_one = Image.fromarray(shape.astype(np.uint8))
    zero_one.save(tmp_path / "ones.png")
    Image.fromarray(shape.astype(np.uint16)).save(tmp_path / "ones16.png")
    cut = Image.new("RGBA", (64, 48), (255, 255, 255, 0))
    cut.paste((255, 255, 255, 255), (0, 0), zero_one.point(lambda value: value * 255))
    cut.save(tmp_path / "cut.png")
    for name in ("ones.png", "ones16.png", "cut.png"):
        assert (np.asarray(load_mask(tmp_path / name)) == np.where(shape, 255, 0)).all(), name
    Image.new("L", (64, 48), 40).save(tmp_path / "dark.png")
    with pytest.raises(InputError, match=r"dark.png: no object in the mask, its brightest value is 40 of 255"):
        load_mask(tmp_path / "dark.png")


def test_what_cannot_be_read_is_one_line_that_names_it(tmp_path):
    (tmp_path / "text.png").write_text("no picture at all")
    good = tmp_path / "good.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(good)
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[:3000])
    (tmp_path / "empty.jpg").touch()
    Image.new("1", (9000, 9000)).save(tmp_path / "large.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    Image.new("L", (LEAST_PX - 1, 100)).save(tmp_path / "small.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "eps.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n")
    for name, said in (
        ("text.png", "not a picture that can be read"),
        ("empty.jpg", "not a picture that can be read"),
        ("eps.png", "not a picture that can be read"),
        ("cut.png", "not readable as a picture"),
        ("folder.png", "not readable as a picture (IsADirectoryError: Is a directory)"),
        ("large.png", "9000 x 9000 pixels, too large: expected at most 67 megapixels"),
        ("bomb.png", "too large, expected at most 67 megapixels"),
        ("small.png", "31 x 100 pixels, too small: expected at least 32 on each side"),
        ("absent.png", "no such file"),
    ):
        with pytest.raises(InputError) as caught:
            load_picture(tmp_path / name)
        assert str(caught.value).startswith(f"{tmp_path / name}: {said}"), caught.value
        assert "\n" not in str(caught.value)


def test_heic_without_its_reader_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0heic")
    with pytest.raises(InputError, match=r"a.heic: a HEIC picture, .*requirements-photo.txt"):
        load_picture(tmp_path / "a.heic")
