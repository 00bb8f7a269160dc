"""A photo is prepared alike however it was cropped, cut out, padded or turned."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from xray.errors import InputError
from xray.images import foreground
from xray.photo import EXTENT, prepare


def drawn(width=300, height=200, center=(120, 90), background=(0, 0, 0, 0)) -> Image.Image:
    """A disc with a dark square in it, 80 pixels wide and 100 high with its foot."""
    picture = Image.new("RGBA", (width, height), background)
    draw = ImageDraw.Draw(picture)
    x, y = center
    draw.rectangle((x - 40, y - 50, x + 39, y + 49), (220, 40, 30, 255))
    draw.rectangle((x - 10, y - 30, x + 19, y - 1), (20, 30, 40, 255))
    return picture


def difference(a: Image.Image, b: Image.Image) -> float:
    one, two = (np.asarray(image.convert("RGBa")).astype(float) for image in (a, b))
    return float(np.abs(one - two).mean())


def test_the_object_fills_its_share_of_the_middle():
    result = prepare(drawn(), size=256)
    assert (result.mode, result.size) == ("RGBA", (256, 256))
    rows, columns = np.nonzero(foreground(result))
    assert rows.max() + 1 - rows.min() == pytest.approx(EXTENT * 256, abs=1)
    assert columns.max() + 1 - columns.min() == pytest.approx(EXTENT * 256 * 0.8, abs=1)
    assert rows.min() + rows.max() + 1 == pytest.approx(256, abs=1)
    assert columns.min() + columns.max() + 1 == pytest.approx(256, abs=1)


def test_cropping_padding_and_the_place_in_the_picture_do_not_matter():
    whole = prepare(drawn())
    others = [
        drawn().crop((79, 40, 160, 140)),
        drawn(900, 400, (700, 300)),
        drawn().crop((80, 0, 300, 200)),
        drawn(background=(250, 250, 245, 255)),
        drawn(background=(250, 250, 245, 255)).convert("RGB"),
        drawn(background=(0, 90, 10, 255)).convert("P"),
    ]
    assert [difference(whole, prepare(other)) < 0.2 for other in others] == [True] * len(others)


def test_a_mask_cuts_a_photo_out_of_any_background():
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8))
    photo.paste(drawn(), (0, 0), drawn())
    with pytest.raises(InputError, match="not plain"):
        prepare(photo)
    mask = drawn().getchannel("A")
    assert difference(prepare(drawn()), prepare(photo, mask)) < 0.3
    with pytest.raises(InputError, match="mask of 10 x 20 pixels, picture of 300 x 200"):
        prepare(photo, mask.resize((10, 20)))


def test_a_hole_of_the_background_colour_inside_the_object_stays():
    picture = drawn(background=(20, 30, 40, 255)).convert("RGB")
    assert difference(prepare(drawn()), prepare(picture)) < 0.2


def test_the_noted_orientation_of_a_phone_is_applied(tmp_path):
    turned = drawn().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to show
    turned.save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as picture:
        assert difference(prepare(drawn()), prepare(picture)) < 0.2


def test_a_picture_of_nothing_is_refused():
    for empty in (Image.new("RGBA", (9, 9)), Image.new("RGB", (9, 9), "white")):
        with pytest.raises(InputError, match="no object"):
            prepare(empty)
    with pytest.raises(InputError, match="no object"):
        prepare(drawn(), Image.new("L", (300, 200)))
