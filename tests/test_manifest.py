"""manifest.csv: round trip, damaged files, merging, and the scan of a data set that has none."""

from pathlib import Path

import pytest

from xray.errors import InputError
from xray.manifest import COLUMNS, Row, merge, read_manifest, scan, write_manifest

RELEASED = Path(__file__).parents[2] / "shared/reference/dataset"
WRITTEN = Row("cup", "000", "accepted", "", 12, (40, 40, 8, 0), 3, 0, 1, 0.98125, 1.5, 0.125, "0123456789ab")
REJECTED = Row("cup", "001", "rejected", "mask IoU 0.5 is below 0.9", 12, (4, 4), 0, 0, 0, 0.5, 1.5, 0.25, "ab")
FAILED = Row('odd, "name"', "", "failed", "x.obj: no triangles, every face is degenerate")


def test_round_trip(tmp_path):
    rows = [WRITTEN, REJECTED, FAILED]
    assert write_manifest(tmp_path / "manifest.csv", iter(rows)) == 3
    assert read_manifest(tmp_path / "manifest.csv") == rows
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    assert lines[0].split(",") == list(COLUMNS)
    assert len(lines) == 4
    assert [row.accepted for row in rows] == [True, False, False]


def test_a_reason_of_several_lines_stays_one_row(tmp_path):
    write_manifest(tmp_path / "manifest.csv", [Row("a", "0", "failed", "one\ntwo\r\nthree")])
    assert read_manifest(tmp_path / "manifest.csv")[0].reason == "one two three"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no column object"),
        (b"object,view\na,0\n", "no column status"),
        (",".join(COLUMNS).encode() + b"\ncup,000,accepted\n", "line 2"),
        (",".join(COLUMNS).encode() + b"\ncup,000,fine,,,,,,,,,,\n", "status 'fine'"),
        (",".join(COLUMNS).encode() + b"\ncup,000,accepted,,many,,,,,,,,\n", "line 2: not a row"),
        (b"\xff\xfe\x00", "not readable"),
        (",".join(COLUMNS).encode() + b'\n"cup', "not readable"),
    ],
)
def test_damaged_manifests_are_named(tmp_path, content, words):
    path = tmp_path / "manifest.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    with pytest.raises(InputError, match="no such manifest"):
        read_manifest(tmp_path / "other.csv")


def test_merge_prefers_what_was_written_and_then_what_came_later():
    failed = Row("cup", "000", "failed", "took longer than 1 s")
    later = Row("cup", "000", "rejected", "mask IoU", 12, (1,), 0, 0, 0, 0.1, 1.5, 1.0, "cd")
    whole = Row("cup", "", "failed", "cup.obj: no such file")
    lamp = Row("lamp", "", "failed", "lamp.obj: no such file")
    assert merge([[WRITTEN], [failed]]) == merge([[failed], [WRITTEN]]) == [WRITTEN]
    assert merge([[WRITTEN], [later]]) == [later]
    assert merge([[whole, lamp], [REJECTED, WRITTEN]]) == [WRITTEN, REJECTED, lamp]


def test_scan(tmp_path):
    for name in ("images/b/000.png", "images/b/001.png", "xrays/b/000.npz", "xrays/a/000.npz", "xrays/b/.001.npz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    failed, accepted = scan(tmp_path)
    assert accepted == Row("b", "000", "accepted")
    assert (failed.object, failed.view, failed.status) == ("a", "000", "failed")
    assert "images/a/000.png" in failed.reason
    for root in (tmp_path / "none", tmp_path / "images"):
        with pytest.raises(InputError, match=str(root)):
            scan(root)


@pytest.mark.skipif(not RELEASED.is_dir(), reason=f"the released example data are not at {RELEASED}")
def test_scan_of_the_released_data():
    rows = scan(RELEASED)
    assert len(rows) == 5
    assert all(row.accepted for row in rows)
    assert len({row.object for row in rows}) == 2
