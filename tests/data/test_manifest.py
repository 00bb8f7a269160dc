"""manifest.csv: round trip, damaged files, merging, and the scan of a data set that has none."""

import csv
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from xray.common.errors import InputError
from xray.data.folder import Folder
from xray.data.manifest import (
    COLUMNS,
    Row,
    ViewName,
    accepted_views,
    dataset_rows,
    merge_manifests,
    objects_by,
    read_manifest,
    rows_of_files,
    write_manifest,
)

RELEASED = Path(__file__).parents[3] / "shared/reference/dataset"
WRITTEN = Row(
    "cup", "000", "accepted", "", 12, (40, 40, 8, 0), 3, 0, 1, 0.98125, 1.5, 0.125, "0123456789ab", 2, "ab", "cd"
)
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
    assert merge_manifests([[WRITTEN], [failed]]) == merge_manifests([[failed], [WRITTEN]]) == [WRITTEN]
    assert merge_manifests([[WRITTEN], [later]]) == [later]
    assert merge_manifests([[whole, lamp], [REJECTED, WRITTEN]]) == [WRITTEN, REJECTED, lamp]


def test_scan(tmp_path):
    for name in ("images/b/000.png", "images/b/001.png", "xrays/b/000.npz", "xrays/a/000.npz", "xrays/b/.001.npz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    alone, accepted = rows_of_files(tmp_path)
    assert accepted == Row("b", "000", "accepted")
    assert (alone.object, alone.view, alone.status) == ("a", "000", "no picture")
    assert "images/a/000.png" in alone.reason
    for root in (tmp_path / "none", tmp_path / "images"):
        with pytest.raises(InputError, match=str(root)):
            rows_of_files(root)


def test_names_that_a_manifest_cannot_hold_are_failures_on_record(tmp_path):
    for name in (b"caf\xe9/000", b"good/v\xe9", b"two\nlines/000", b"good/000"):
        for path in (b"images/" + name + b".png", b"xrays/" + name + b".npz"):
            file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + path))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    rows = rows_of_files(tmp_path)
    write_manifest(tmp_path / "manifest.csv", rows)
    assert accepted_views(tmp_path / "manifest.csv") == ([ViewName("good", "000")], 4)
    reasons = {row.object: row.reason for row in read_manifest(tmp_path / "manifest.csv") if row.status == "failed"}
    assert set(reasons) == {"caf\\xe9", "good", "two\\nlines"}
    assert "not UTF-8" in reasons["good"]


def test_objects_may_lie_in_folders_of_folders(tmp_path):
    for name in ("images/a/b/000.png", "xrays/a/b/000.npz", "images/a/1.png", "xrays/a/1.npz"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert rows_of_files(tmp_path) == [Row("a", "1", "accepted"), Row("a/b", "000", "accepted")]
    assert objects_by(tmp_path / "images", "000.png") == (["a/b"], [])
    assert Folder(tmp_path).views() == ([ViewName("a", "1"), ViewName("a/b", "000")], 2)
    assert Folder(tmp_path).picture("a/b", "000")[0].is_file()


def test_parts_that_are_not_joined_are_refused(tmp_path):
    """By file names alone the views that a part rejects would be trained on."""
    for name in ("images/b/000.png", "xrays/b/000.npz"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    assert len(dataset_rows(tmp_path)) == 1
    write_manifest(tmp_path / "manifest.0-of-2.csv", [Row("b", "000", "rejected", "unlike")])
    for read in (dataset_rows, lambda root: Folder(root).views()):
        with pytest.raises(InputError, match=r"scripts/merge_manifests\.py --data_root"):
            read(tmp_path)
    write_manifest(tmp_path / "manifest.csv", [Row("b", "000", "rejected", "unlike")])
    assert Folder(tmp_path).views() == ([], 1)


NAMES = [
    "two  spaces",
    "tail ",
    " head",
    'quo"te',
    "a,b;c",
    "\u00a0",
    "\u2028",
    "\u0085x",
    "e\u0301",
    "=1+1",
    "007",
    "#",
]


@pytest.mark.parametrize("name", NAMES)
def test_identifiers_are_read_as_they_were_written(tmp_path, name):
    rows = [Row(name, name, "accepted"), Row(name, "", "failed", f"{name}.obj:  two\nlines")]
    write_manifest(tmp_path / "manifest.csv", rows)
    read = read_manifest(tmp_path / "manifest.csv")
    assert [(row.object, row.view) for row in read] == [(name, name), (name, "")]
    assert accepted_views(tmp_path / "manifest.csv") == ([ViewName(name, name)], 2)
    assert merge_manifests([read]) == [read[0]]


def test_what_cannot_be_encoded_in_a_reason_is_written_as_an_escape(tmp_path):
    write_manifest(
        tmp_path / "manifest.csv", [Row("a", "", "failed", "caf\udce9.obj: \ud800"), Row("b", "0", "accepted")]
    )
    first, second = read_manifest(tmp_path / "manifest.csv")
    assert first.reason.startswith("caf\\")
    assert second.object == "b"


@pytest.mark.parametrize(
    ("encoding", "separator", "ends"),
    [("utf-8-sig", ",", "\r\n"), ("utf-8-sig", ";", "\r\n"), ("utf-16", "\t", "\r\n"), ("utf-8", ",", "\r")],
)
def test_a_manifest_that_a_spreadsheet_saved_is_read(tmp_path, encoding, separator, ends):
    path = tmp_path / "manifest.csv"
    rows = [WRITTEN, replace(REJECTED, reason="a, b; c", object="caf\u00e9")]
    write_manifest(path, rows)
    lines = []
    for line in csv.reader(path.read_text(encoding="utf-8").splitlines()):
        if separator == ";":
            line = [re.sub(r"^(\d+)\.(\d+)$", r"\1,\2", cell) for cell in line]
        lines.append(separator.join(f'"{cell}"' if separator in cell else cell for cell in line) + ends)
    path.write_bytes("".join(lines).encode(encoding))
    assert read_manifest(path) == rows
    assert accepted_views(path)[1] == 2


@pytest.mark.parametrize("separator", [",", ";"])
def test_lines_that_a_spreadsheet_adds_are_no_rows(tmp_path, separator):
    path = tmp_path / "manifest.csv"
    write_manifest(path, [replace(WRITTEN, mask_iou=1.0, camera_distance=2.0, seconds=3.0)])
    header, row = path.read_text().replace(",", separator).splitlines()
    blank = separator * header.count(separator)
    path.write_text(f"sep={separator}\r\n{header}{separator}\r\n{blank}\r\n{row}{separator}\r\n\r\n{blank}\r\n")
    assert accepted_views(path) == ([(WRITTEN.object, WRITTEN.view)], 1)
    path.write_text(f"sep={separator}\n{header}\n{row[:9]}\n")
    with pytest.raises(InputError, match=r"line 3: cut short: 3 of 13 cells"):
        accepted_views(path)


def test_a_view_that_stands_twice_in_a_manifest_is_refused(tmp_path):
    path = tmp_path / "manifest.csv"
    write_manifest(path, [WRITTEN, REJECTED, WRITTEN])
    with pytest.raises(InputError, match=f"view {WRITTEN.view} of object '{WRITTEN.object}' stands in it twice"):
        accepted_views(path)
    path.write_bytes(path.read_bytes().replace(WRITTEN.object.encode(), b"caf\xe9"))
    with pytest.raises(InputError, match="not UTF-8; save it as UTF-8"):
        accepted_views(path)


def test_manifests_of_earlier_versions_are_read(tmp_path):
    path = tmp_path / "manifest.csv"
    write_manifest(path, [WRITTEN])
    lines = path.read_text().splitlines()
    path.write_text("\n".join(line.rsplit(",", 3)[0] for line in lines) + "\n")
    assert path.read_text().splitlines()[0].endswith(",settings")
    assert read_manifest(path) == [replace(WRITTEN, cut=None, mesh="", picture="")]


@pytest.mark.skipif(not RELEASED.is_dir(), reason=f"the released example data are not at {RELEASED}")
def test_scan_of_the_released_data():
    rows = rows_of_files(RELEASED)
    assert len(rows) == 5
    assert all(row.accepted for row in rows)
    assert len({row.object for row in rows}) == 2
