"""A photo is prepared alike however it was cropped, cut out, padded or turned."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from xray.common.errors import InputError
from xray.common.images import foreground
from xray.inference.photo import EXTENT, CutOut, cuts_something_out, frame, prepare


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


def test_transparency_counts_only_where_it_cuts_something_out():
    """A stray pixel, a faint veil, round corners: the plain background is removed all the same."""
    plain = drawn(background=(250, 250, 245, 255))
    clean = prepare(plain)
    for change in ("pixel", "veil", "corners"):
        picture = plain.copy()
        alpha = picture.getchannel("A")
        if change == "pixel":
            alpha.putpixel((5, 5), 254)
        elif change == "veil":
            alpha = alpha.point(lambda value: 250)
        else:
            alpha = Image.new("L", picture.size, 0)
            ImageDraw.Draw(alpha).rounded_rectangle((0, 0, 299, 199), 24, fill=255)
        picture.putalpha(alpha)
        assert not cuts_something_out(picture)
        result = prepare(picture)
        if change == "veil":
            result.putalpha(result.getchannel("A").point(lambda value: 255 if value > 240 else value))
        assert difference(clean, result) < 0.5, change
        with pytest.raises(InputError, match="not plain"):
            prepare(with_alpha(busy(), alpha))
    assert cuts_something_out(drawn())
    for box in ((79, 40, 160, 140), (80, 40, 161, 141), (0, 0, 300, 200)):
        assert cuts_something_out(drawn().crop(box)), box


def test_a_rectangle_that_was_cut_out_stays_with_a_warning(tmp_path):
    """A box seen from the front; or a screenshot with a margin or a transparent line, whose owner should know."""
    line = drawn(background=(250, 250, 245, 255))
    line.paste((0, 0, 0, 0), (0, 0, 300, 1))
    for picture in (drawn(), line):
        picture.save(tmp_path / "a.png")
        result, warning = frame(tmp_path / "a.png", None, 256)
        assert difference(prepare(picture, size=256, cutout=CutOut("alpha")), result) == 0
        assert "cuts out a rectangle" in warning


def busy() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))


def with_alpha(picture: Image.Image, alpha: Image.Image) -> Image.Image:
    picture = picture.convert("RGBA")
    picture.putalpha(alpha)
    return picture


def test_round_or_slender_objects_are_cut_out_by_their_transparency():
    for draw in ("ellipse", "cross"):
        picture = Image.new("RGBA", (100, 100))
        pen = ImageDraw.Draw(picture)
        if draw == "ellipse":
            pen.ellipse((0, 0, 99, 99), fill="red")
        else:
            pen.rectangle((45, 0, 55, 99), fill="red")
            pen.rectangle((0, 45, 99, 55), fill="blue")
        assert cuts_something_out(picture), draw
        assert foreground(prepare(picture)).mean() == pytest.approx(foreground(picture).mean() * EXTENT**2, rel=0.03), (
            draw
        )


def test_a_way_to_cut_out_that_cannot_be_used_is_one_line():
    picture, mask = drawn(), drawn().getchannel("A")
    for method, given, said in (
        ("alpha", (picture.convert("RGB"),), "no transparency"),
        ("mask", (picture,), "a mask is needed"),
        ("plain", (picture, mask), "not together with a mask"),
        ("plain", (busy(),), "not plain"),
    ):
        with pytest.raises(InputError, match=said):
            prepare(*given, cutout=CutOut(method))
    for method, said in (("scissors", "expected one of auto, alpha"), ("rembg", "not loaded")):
        with pytest.raises(InputError, match=said):
            CutOut(method)


def test_the_chosen_way_is_taken():
    picture = drawn(background=(250, 250, 245, 255))
    expected = prepare(drawn())
    assert difference(expected, prepare(picture, cutout=CutOut("plain"))) < 0.2
    assert difference(expected, prepare(drawn(), cutout=CutOut("alpha"))) == 0
    assert difference(expected, prepare(picture, drawn().getchannel("A"), cutout=CutOut("mask"))) < 0.2


@pytest.mark.parametrize("background", ["plain", "busy", "mask", "alpha"])
def test_a_phone_photo_is_upright_whatever_its_background(tmp_path, background):
    flat = {"plain": drawn(background=(250, 250, 245, 255)), "busy": busy().convert("RGBA")}.get(background, drawn())
    if background == "busy":
        flat.alpha_composite(drawn())
    exif = Image.Exif()
    exif[0x0112] = 6
    suffix = "jpg" if background == "plain" else "png"
    picture = flat if suffix == "png" else flat.convert("RGB")
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / f"a.{suffix}", exif=exif, quality=97)
    mask = None
    if background == "mask":
        mask = tmp_path / "mask.png"
        drawn().getchannel("A").transpose(Image.Transpose.ROTATE_90).save(mask, exif=exif)
    result, warning = frame(tmp_path / f"a.{suffix}", mask, 256)
    assert ("It is used whole" in warning) == (background == "busy")
    expected = flat if background == "busy" else prepare(drawn(), size=256)
    assert result.size == expected.size
    assert difference(expected, result) < 3


FAULTS = Path(__file__).parents[3] / "shared" / "faults"


@pytest.mark.skipif(not FAULTS.is_dir(), reason="no ../shared/faults beside the repository")
def test_the_pictures_of_the_faults():
    _, warning = frame(FAULTS / "exif_ignored_when_opaque/phone.jpg", None, 256)
    picture = frame(FAULTS / "exif_ignored_when_opaque/phone.jpg", None, 256)[0]
    with Image.open(FAULTS / "exif_ignored_when_opaque/phone.jpg") as raw:
        assert picture.size == raw.size[::-1]
    assert "used whole" in warning
    for path in sorted((FAULTS / "alpha_almost_opaque").glob("*.png")):
        cut, warning = frame(path, None, 256)
        assert 0.1 < foreground(cut).mean() < EXTENT**2, path.name
    for path in sorted((FAULTS / "exif_broken_aborts_folder/pics").iterdir()):
        assert foreground(frame(path, None, 256)[0]).any()
