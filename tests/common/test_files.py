"""Text that people edit is read as their editors write it; what else it is, is said with its line."""

import codecs

import pytest

from xray.common.errors import InputError
from xray.common.files import read_json, read_text
from xray.config import flatten, load_config

CONFIG = "# Größe\nstage: diffusion\noutput_dir: Output/größe\ncodec:\n  resolution: 32\n"


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (b"", "utf-8"),
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
def test_every_editors_form_is_the_same_text(tmp_path, mark, encoding, newline):
    (tmp_path / "plain.yaml").write_bytes(CONFIG.encode())
    (tmp_path / "edited.yaml").write_bytes(mark + CONFIG.replace("\n", newline).encode(encoding))
    assert read_text(tmp_path / "edited.yaml") == CONFIG
    plain, edited = (flatten(load_config(tmp_path / f"{name}.yaml")) for name in ("plain", "edited"))
    assert edited == plain
    assert (edited["output_dir"], edited["codec.resolution"]) == ("Output/größe", 32)
    (tmp_path / "a.json").write_bytes(mark + f'{{"ü":{newline} 1}}'.encode(encoding))
    assert read_json(tmp_path / "a.json") == {"ü": 1}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (CONFIG.encode("cp1252"), "line 1: not UTF-8"),
        (b"stage: diffusion\n" + "output_dir: größe\n".encode("latin-1"), "line 2: not UTF-8"),
        (CONFIG.encode("utf-16-le"), "not UTF-8|UTF-16 without a byte order mark"),
        (b"stage: diffusion\0\n", "UTF-16 without a byte order mark, or no text"),
        (codecs.BOM_UTF16_LE + b"a", "not UTF-16-LE"),
    ],
)
def test_another_encoding_is_refused_with_its_line(tmp_path, content, reason):
    path = tmp_path / "edited.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"^{path}: .*({reason})"):
        load_config(path)


def test_what_is_no_file_is_refused(tmp_path):
    for path in (tmp_path, tmp_path / "none", tmp_path / "none" / "below"):
        with pytest.raises(InputError, match=str(path)):
            read_text(path)
