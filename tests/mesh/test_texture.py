"""Texture lookup against pictures that are laid out in full, and image files of every mode."""

import numpy as np
import pytest
from PIL import Image

from xray.common import srgb
from xray.common.errors import InputError
from xray.mesh.texture import Texture, read_pixels

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (3, 5, 3), dtype=np.uint8)

LAID_OUT = {  # the picture from -2 to +3 in both directions, by each rule
    "repeat": np.tile(PIXELS, (5, 5, 1)),
    "mirror": np.tile(np.block([[[PIXELS], [PIXELS[:, ::-1]]], [[PIXELS[::-1]], [PIXELS[::-1, ::-1]]]]), (3, 3, 1))[
        :15, :25
    ],
    "clamp": np.pad(PIXELS, ((6, 6), (10, 10), (0, 0)), mode="edge"),
}


def reference(laid_out: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear by tent weights over every pixel of the whole plane."""
    x, y = (uv[:, 0] + 2) * 5 - 0.5, (uv[:, 1] + 2) * 3 - 0.5
    across = np.maximum(1 - np.abs(x[:, None] - np.arange(laid_out.shape[1])), 0)
    down = np.maximum(1 - np.abs(y[:, None] - np.arange(laid_out.shape[0])), 0)
    return np.einsum("ny,nx,yxc->nc", down, across, laid_out / 255)


@pytest.mark.parametrize("wrap", LAID_OUT)
def test_bilinear_lookup_under_every_wrap(wrap):
    uv = RNG.uniform(-1.8, 2.8, (500, 2))
    found = Texture(PIXELS, (wrap, wrap)).sample(uv)
    assert found.dtype == np.float32
    assert np.abs(found - reference(LAID_OUT[wrap], uv)).max() < 1e-6


def test_wraps_across_and_down_are_apart_and_pixel_centres_are_exact():
    centre = (np.array([[7, 1]]) + 0.5) / (5, 3)
    assert np.allclose(Texture(PIXELS, ("repeat", "clamp")).sample(centre), PIXELS[1, 2] / 255)
    assert np.allclose(Texture(PIXELS, ("clamp", "repeat")).sample(centre), PIXELS[1, 4] / 255)
    assert np.allclose(Texture(PIXELS, ("mirror", "repeat")).sample(centre), PIXELS[1, 2] / 255)


def test_nearest_and_transform():
    uv = RNG.uniform(0, 1, (200, 2))
    row, column = (uv[:, 1] * 3).astype(int), (uv[:, 0] * 5).astype(int)
    assert np.array_equal(Texture(PIXELS, nearest=True).sample(uv), PIXELS[row, column].astype(np.float32) / 255)
    assert np.array_equal(Texture(PIXELS).sample(uv, nearest=True), PIXELS[row, column].astype(np.float32) / 255)
    moved = Texture(PIXELS, transform=np.array([[0.5, 0, 0.25], [0, -1, 1]]))
    assert np.allclose(moved.sample(uv), Texture(PIXELS).sample(uv * (0.5, -1) + (0.25, 1)), atol=1e-6)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK"])
def test_images_of_every_mode_read_alike(tmp_path, mode):
    grey = np.full((4, 6), 255, np.uint8)
    grey[:2] = 0
    picture = Image.fromarray(grey)
    picture = Image.fromarray(grey.astype(np.uint16) * 257) if mode == "I;16" else picture.convert(mode)
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    picture.save(path)
    assert np.array_equal(read_pixels(path, "a"), np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(read_pixels(path.read_bytes(), "a"), read_pixels(path, "a"))


def test_transparent_pixels_keep_their_colour(tmp_path):
    rgba = np.array([[[10, 20, 30, 0], [40, 50, 60, 128]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert np.array_equal(read_pixels(tmp_path / "a.png", "a"), rgba[..., :3])


def test_bad_pictures_are_named(tmp_path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    for path in (tmp_path / "cut.png", tmp_path / "none.png"):
        with pytest.raises(InputError, match=path.name):
            read_pixels(path, str(path))
    with pytest.raises(InputError, match="wrap"):
        Texture(PIXELS, ("repeat", "border"))
    with pytest.raises(InputError, match="expected"):
        Texture(PIXELS[..., :2])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "empty"), (b"\xabKTX 20\xbb\r\n\x1a\n", r"a compressed picture, \.ktx2"), (b"<svg/>", "a drawing of SVG")]
    + [(b"v/1\x01\2\0\0\0", "a picture of OpenEXR"), (b"#?RADIANCE\n", r"a picture of Radiance, \.hdr")]
    + [(b"\1\2\3\4 what is it", "of no kind that is known")],
)
def test_what_stands_in_the_place_of_a_picture_is_named(tmp_path, content, reason):
    (tmp_path / "a.png").write_bytes(content)
    for source in (content, tmp_path / "a.png"):
        with pytest.raises(InputError, match=rf"^images\[0\]: not readable as an image \({reason}\)$"):
            read_pixels(source, "images[0]")


def test_srgb_curve_goes_both_ways():
    values = np.arange(256) / 255
    assert np.abs(srgb.from_linear(srgb.to_linear(values)) - values).max() < 1e-6
    assert srgb.to_linear(np.array([0.5]))[0] == pytest.approx(0.21404114)
