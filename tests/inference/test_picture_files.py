"""Which files of a folder are worked on, and that what is left out is named."""

from __future__ import annotations

import errno
import os
import unicodedata

import pytest
from PIL import Image

from xray.common.errors import InputError
from xray.common.files import partial_path
from xray.inference.picture_files import PictureFile, check_output, check_results, find_mask, find_pictures


def touch(*paths) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def names(*inputs) -> list[str]:
    return [picture.name for picture in find_pictures([str(path) for path in inputs]).pictures]


def test_all_below_a_folder_is_found_and_named_after_its_place(tmp_path):
    touch(*(tmp_path / name for name in ("b.png", "a.JPG", "sub/b.webp", "sub/c.v2.heic", ".hidden.png", ".x/d.png")))
    assert names(tmp_path) == ["a", "b", "sub/b", "sub/c.v2"]
    assert names(tmp_path / "b.png", tmp_path / "sub/c.v2.heic") == ["b", "c.v2"]


def test_links_are_followed_and_circles_are_walked_once(tmp_path):
    touch(tmp_path / "elsewhere/a.png", tmp_path / "pictures/own.png", tmp_path / "pictures/deep/own.png")
    (tmp_path / "pictures/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "pictures/circle").symlink_to(tmp_path / "pictures")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "pictures/deep")
    (tmp_path / "pictures/single.png").symlink_to(tmp_path / "elsewhere/a.png")
    assert names(tmp_path / "pictures") == ["own", "single", "deep/own", "linked/a"]
    (tmp_path / "way").symlink_to(tmp_path / "pictures")
    assert names(tmp_path / "way") == ["own", "single", "deep/own", "linked/a"]


def test_what_is_left_out_is_named(tmp_path):
    touch(tmp_path / "mug.png", tmp_path / "notes.txt", tmp_path / "sub/raw.cr2")
    found = find_pictures([str(tmp_path)])
    assert found.left_out == (f"{tmp_path}: left out notes.txt, sub/raw.cr2, not read as pictures",)
    touch(*(tmp_path / f"{number}.txt" for number in range(9)))
    (line,) = find_pictures([str(tmp_path)]).left_out
    assert "4.txt and 6 more" in line
    with pytest.raises(InputError, match=r"sub: no pictures in it .*raw.cr2, not read"):
        find_pictures([str(tmp_path / "sub")])


def test_results_in_the_folder_of_the_pictures_are_no_pictures(tmp_path):
    picture = PictureFile(tmp_path / "mug.png", "mug")
    touch(picture.path, tmp_path / "my_layers.png", *picture.results(tmp_path), *picture.results(tmp_path / "out"))
    found = find_pictures([str(tmp_path)])
    assert [one.name for one in found.pictures] == ["mug", "my_layers"]
    (line,) = found.left_out
    for name in ("mug_layers.png", "mug_turntable.gif", "out/mug_layers.png", "out/mug_turntable.gif"):
        assert name in line
    assert line.endswith("results of an earlier run")
    assert names(tmp_path / "mug_layers.png") == ["mug_layers"]


def test_all_clashes_are_told_at_once(tmp_path):
    touch(*(tmp_path / name for name in ("a.png", "a.jpg", "b.png", "c.webp", "c.bmp")))
    with pytest.raises(InputError) as caught:
        find_pictures([str(tmp_path)])
    assert [name for name in ("a.png", "a.jpg", "b.png", "c.webp", "c.bmp") if name in str(caught.value)] == [
        "a.png", "a.jpg", "c.webp", "c.bmp",
    ]  # fmt: skip


def test_a_mask_is_found_by_the_name_of_the_picture(tmp_path):
    touch(tmp_path / "masks/photo[1].png", tmp_path / "masks/sub/a.jpg", tmp_path / "one.png")
    picture = PictureFile(tmp_path / "photo[1].jpg", "photo[1]")
    assert find_mask(None, picture) is None
    assert find_mask(tmp_path / "one.png", picture) == tmp_path / "one.png"
    assert find_mask(tmp_path / "masks", picture).name == "photo[1].png"
    assert find_mask(tmp_path / "masks", PictureFile(tmp_path / "x/a.png", "sub/a")).name == "a.jpg"
    for absent in ("photo1", "none/a"):
        with pytest.raises(InputError, match=r"no mask|no such mask"):
            find_mask(tmp_path / "masks", PictureFile(tmp_path / "a.png", absent))


def test_accents_of_other_systems_do_not_part_a_mask_from_its_picture(tmp_path):
    decomposed, composed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFD", "NFC"))
    touch(tmp_path / f"{decomposed}.png")
    assert find_mask(tmp_path, PictureFile(tmp_path, composed)).stem == decomposed
    touch(tmp_path / f"{composed}.png")
    assert find_mask(tmp_path, PictureFile(tmp_path, composed)).stem == composed


def test_two_masks_of_one_name_are_named(tmp_path):
    touch(tmp_path / "mug.png", tmp_path / "mug.jpg")
    with pytest.raises(InputError, match=r"mug.jpg and .*mug.png: two masks of one name"):
        find_mask(tmp_path, PictureFile(tmp_path / "photo.png", "mug"))


def test_whether_results_can_be_written_is_known_before(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file/below", tmp_path / "file/far/below"):
        with pytest.raises(InputError, match="results cannot be written"):
            check_output(place)
    check_output(tmp_path / "new/folder")
    assert list((tmp_path / "new/folder").iterdir()) == []
    for letters, letter in ((241, "n"), (120, "ü")):
        check_results(tmp_path, PictureFile(tmp_path / "a.png", letter * letters))
        with pytest.raises(InputError, match="name too long"):
            check_results(tmp_path, PictureFile(tmp_path / "a.png", letter * (letters + 1)))
    (tmp_path / "a.glb").mkdir()
    with pytest.raises(InputError, match=r"a.glb: a folder is in the place of a result"):
        check_results(tmp_path, PictureFile(tmp_path / "a.png", "a"))


@pytest.mark.parametrize("own", ["mug.obj", "mug_layers.png", "mug_sample2.glb"])
def test_a_file_of_the_users_in_the_place_of_a_result_is_not_replaced(tmp_path, own):
    picture, samples = PictureFile(tmp_path / "mug.png", "mug"), 3 if "sample" in own else 1
    touch(tmp_path / own)
    with pytest.raises(InputError, match=f"{own}: is in the place of a result and of no earlier run"):
        check_results(tmp_path, picture, samples)
    touch(tmp_path / "mug_xray.npz", tmp_path / "mug_sample1_xray.npz", tmp_path / "mug_sample2_xray.npz")
    check_results(tmp_path, picture, samples)  # an earlier run's, which the same command makes again


def test_a_folder_of_pictures_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    touch(tmp_path / "a.png", tmp_path / "closed/b.png")
    scandir = os.scandir

    def refuse(path):
        if os.fspath(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_pictures([str(tmp_path)])
    assert [picture.name for picture in found.pictures] == ["a"]
    assert found.left_out == (f"{tmp_path}: left out {tmp_path}/closed (Permission denied), cannot be listed",)


def test_the_name_of_a_partial_file_is_never_too_long(tmp_path):
    names = {partial_path(tmp_path / f"{letter * 120}{end}.png").name for letter in "nü" for end in "ab"}
    assert len(names) == 4
    assert max(len(name.encode()) for name in names) <= 255
    Image.new("L", (9, 9)).save(partial_path(tmp_path / f"{'ü' * 120}.png"))
