"""Numbers of texts against `float`, to the bit; encodings; names of files as other systems write them."""

import os
import unicodedata

import numpy as np
import pytest

from xray.common.errors import InputError
from xray.mesh.text import PIECE, as_text, find_beside, read_rows, rows_of, shown, split_names

RNG = np.random.default_rng(7)
ODD = ["nan", "-inf", "1e400", "-0.000", "-0", ".5", "-.5", "5.", "+7", "99999999999999999999", "9007199254740993"]
ODD += ["0.1e-7", "1E5", "123456789.123456789123", "0." + "0" * 30 + "17"]


@pytest.mark.parametrize("form", ["%.8f", "%.6g", "%.17g", "%d", "%.3e", "%+.4f", "%.25f", "%.1f"])
@pytest.mark.parametrize("scale", [1, 1e-5, 1e5, 1e12, 1e-12])
@pytest.mark.parametrize("odd", [0, 1, 3])
def test_numbers_are_those_of_float_to_the_bit(form, scale, odd):
    words = [form % value for value in RNG.normal(size=600) * scale]
    for start in range(odd):
        words[start * 20 : start * 20 + len(ODD)] = ODD
    expected = np.array([float(word) for word in words])
    for between in (" ", "\n", " \t "):
        rows = rows_of((between.join(words) + "\n").encode())
        assert np.array_equal(np.isnan(rows.values), np.isnan(expected))
        known = ~np.isnan(expected)
        assert np.array_equal(rows.values[known].view(np.int64), expected[known].view(np.int64))
        assert np.array_equal(rows.dotted, ["." in word for word in words])


@pytest.mark.parametrize(
    "word",
    ["1.2.3", ".", "-", "-.", "+", "1-2", "x", "1e", "0x1p3", "1,2", "--1", "1..2", "1/2", "\u0661", "1\x002"],
)
@pytest.mark.parametrize("before", ["", "1 2 3 ", "1.5 2.5 " * 20])
@pytest.mark.parametrize("behind", ["", " 7", " 7.5 8"])
def test_words_that_are_not_numbers_are_refused(word, before, behind):
    with pytest.raises(ValueError):  # noqa: PT011  the readers put their own words to it
        rows_of(f"{before}{word}{behind}\n".encode())


def test_rows_are_those_of_the_lines_over_all_pieces():
    lengths = RNG.integers(1, 9, 60_000)
    words = RNG.integers(-999, 999, lengths.sum())
    lines = [" ".join(map(str, row)) for row in np.split(words, np.cumsum(lengths)[:-1])]
    text = "\n \n".join(lines).encode()
    assert len(text) > PIECE
    rows = read_rows(text, len(lines))
    assert np.array_equal(rows.values, words)
    assert np.array_equal(rows.counts, lengths)
    rows = read_rows(text + b"\nthe rest", 50_000)
    assert np.array_equal(rows.counts, lengths[:50_000])
    assert len(rows.values) == lengths[:50_000].sum()
    with pytest.raises(ValueError, match="60000 lines of numbers, expected 60001"):
        read_rows(text, len(lines) + 1)
    assert rows.table(1)[:, 0].tolist() == [int(line.split()[0]) for line in lines[:50_000]]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(encoding):
    with pytest.raises(InputError, match=r"a\.obj: the text is UTF-\d\d.*expected UTF-8"):
        as_text("v 0 0 0\n".encode(encoding), "a.obj")


def test_marks_and_line_ends_go():
    assert as_text("\ufeffa\r\nb\rc\n".encode(), "a") == b"a\nb\nc\n"
    assert as_text(b"", "a") == b""


def test_files_are_found_under_the_names_that_other_systems_give_them(tmp_path):
    latin = os.fsencode(tmp_path) + b"/caf\xe9.mtl"
    with open(latin, "wb"):
        pass
    decomposed = unicodedata.normalize("NFD", "Ångström.jpg")
    for name in ("Größe.png", decomposed, "Wood.JPG", "a b.png", "twice.png", "TWICE.png"):
        (tmp_path / name).touch()
    found = {
        "caf\udce9.mtl": "caf\udce9.mtl",  # bytes of Latin-1, as `decode` keeps them
        "café.mtl": "caf\udce9.mtl",  # the text is UTF-8, the disk Latin-1
        "Gr\udcf6\udcdfe.png": "Größe.png",  # the other way round
        "Ångström.jpg": decomposed,
        "wood.jpg": "Wood.JPG",
        "C:\\scans\\wood.jpg": "Wood.JPG",
        '"a b.png"': "a b.png",
        "twice.png": "twice.png",
    }
    for name, file in found.items():
        path = find_beside(tmp_path, name)
        assert path is not None, shown(name)
        assert path.name == file
    for name in ("Twice.png", "gone.png", "", "\0", "x" * 9999, "../nothing/at/all"):
        assert find_beside(tmp_path, name) is None


def test_lines_of_several_names():
    files = {"red.mtl", "my blue.mtl", "a b c.mtl"}
    for line, names in {
        "red.mtl": ["red.mtl"],
        "a b c.mtl": ["a b c.mtl"],
        "red.mtl\tmy blue.mtl": ["red.mtl", "my blue.mtl"],
        "a b c.mtl  red.mtl gone.mtl": ["a b c.mtl", "red.mtl", "gone.mtl"],
        '"my blue.mtl" red.mtl': ["my blue.mtl", "red.mtl"],
    }.items():
        assert split_names(line, files.__contains__) == names


def test_what_is_shown_can_be_printed():
    text = shown("a\udce9\n\x1b" + "x" * 500)
    assert text.isprintable()
    assert len(text) < 150
    assert text.startswith("a\\xe9\\n\\x1b")
