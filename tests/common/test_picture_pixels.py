"""Pictures for networks that read pixels: pixel i stays on its ray at every size."""

import numpy as np
import pytest
from PIL import Image

from xray.common.errors import InputError
from xray.common.images import to_pixels


@pytest.mark.parametrize(("size", "factor"), [(16, 4), (32, 2), (64, 1), (128, 0.5)])
def test_pixel_i_of_the_smaller_picture_is_pixel_k_i_of_the_larger(size, factor):
    """A ramp in columns and rows, by which the place of every pixel can be read."""
    row, column = np.mgrid[:64, :64]
    rgba = np.stack([4 * column, 4 * row, 0 * row, 0 * row + 255], -1).astype(np.uint8)
    pixels = to_pixels(Image.fromarray(rgba), 1.0, size)
    assert pixels.shape == (4, size, size)
    assert pixels.dtype == np.float32
    inside = slice(size // 4, size - size // 4)
    place = np.arange(size)[inside] * factor
    across, down = ((pixels[channel, inside, inside] + 1) * 255 / 2 / 4 for channel in (0, 1))
    assert np.abs(across - place).max() < 0.3
    assert np.abs(down - place[:, None]).max() < 0.3
    assert (pixels[3, inside, inside] == 1).all()


def test_colour_is_over_the_background_and_alpha_is_its_own_channel():
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[0, 0] = 200, 100, 50, 255
    rgba[1, 1] = 200, 100, 50, 128
    pixels = to_pixels(Image.fromarray(rgba), 0.5, 4)
    grey = 128 / 127.5 - 1
    assert pixels[:, 0, 0] == pytest.approx(np.array([200, 100, 50, 255]) / 127.5 - 1, abs=1e-6)
    assert pixels[:, 3, 3] == pytest.approx([grey, grey, grey, -1], abs=1e-6)
    half = np.array([164, 114, 89, 128]) / 127.5 - 1
    assert pixels[:, 1, 1] == pytest.approx(half, abs=0.01)
    with pytest.raises(InputError, match="expected a square"):
        to_pixels(Image.new("RGBA", (4, 3)), 1.0, 4)
