"""The plan of preprocessing: what it reads from a manifest, and its arithmetic."""

import json
from pathlib import Path

import plan_preprocessing
import pytest
from plan_preprocessing import Sample, plan, read_sample

from xray.data.manifest import Row, write_manifest


def make_data(root: Path) -> Path:
    """Two objects of two views and one that failed; 1,000 bytes a picture, 3,000 an X-Ray."""
    rows = [Row("bad", "", "failed", "no mesh")]
    for name in ("a", "b"):
        for view in ("000", "001"):
            rows.append(Row(name, view, "accepted" if name == "a" else "rejected", seconds=0.5))
            for path, size in ((f"images/{name}/{view}.png", 1000), (f"xrays/{name}/{view}.npz", 3000)):
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_bytes(bytes(size))
    write_manifest(root / "manifest.csv", rows)
    text = "object,status,reason,made,kept,seconds\na,rendered,,2,0,3.0\nb,rendered,,1,1,1.5\nbad,failed,x,0,0,0\n"
    (root / "images/render.csv").write_text(text)
    return root


def test_a_sample_is_read_from_its_manifest(tmp_path):
    sample = read_sample(make_data(tmp_path))
    assert sample == Sample(
        objects=3, failed=1, views=2.0, picture_seconds=3.0, xray_seconds=1.0, picture_bytes=2000, xray_bytes=6000
    )


def test_the_arithmetic_of_a_plan():
    sample = Sample(10, 1, 8.0, picture_seconds=3.0, xray_seconds=1.0, picture_bytes=1e6, xray_bytes=4e6)
    one = plan(sample, 1_000_000, cores=16, nodes=4, limit_hours=24)
    assert (one.core_hours_pictures, one.core_hours_xrays) == pytest.approx((3e6 / 3600, 1e6 / 3600))
    assert one.days == pytest.approx(4e6 / 3600 / (16 * plan_preprocessing.USED) / 24 / 4)
    assert one.terabytes == pytest.approx(0.9e6 * 5e6 / 1e12)
    assert one.files == 2 * 7_200_000 + 2 * 900_000
    assert one.shards == 7200
    assert one.array == 7  # 77 hours of one machine, in tasks of at most 12
    assert one.hours_a_task * one.array == pytest.approx(one.days * 24 * 4)
    assert plan(sample, 100, 16, 4, 24).array == 4  # no machine stands idle


def test_the_command_prints_a_table_and_writes_its_numbers(tmp_path, capsys):
    file = tmp_path / "plan.json"
    arguments = ["--data_root", str(make_data(tmp_path)), "--cores", "16", "--nodes", "2", "--json", str(file)]
    assert plan_preprocessing.main(arguments) == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "sample: 3 objects, 1 failed, 2.0 views each; an object takes 3.00 core s for pictures, 1.00 "
    )
    assert "| 10,000,000 | 8,333 | 2,778 |" in out
    assert [each["meshes"] for each in json.loads(file.read_text())["plans"]] == [80_000, 800_000, 10_000_000]


def test_mistakes_are_one_line(tmp_path, capsys):
    data = make_data(tmp_path)
    assert plan_preprocessing.main(["--data_root", str(data), "--cores", "0"]) == 2
    assert capsys.readouterr().err == "error: --cores 0: expected more than 0\n"
    for hours in ("nan", "inf", "0", "1e-300"):
        assert plan_preprocessing.main(["--data_root", str(data), "--limit_hours", hours]) == 2
        assert "expected at least 0.1\n" in capsys.readouterr().err
    assert plan_preprocessing.main(["--data_root", str(data), "--json", str(tmp_path / "no/plan.json")]) == 2
    assert capsys.readouterr() == ("", f"error: --json {tmp_path}/no/plan.json: no folder {tmp_path}/no\n")
    (data / "xrays/a/001.npz").unlink()
    assert plan_preprocessing.main(["--data_root", str(data)]) == 2
    assert "001.npz: No such file or directory; the manifest names it" in capsys.readouterr().err
    (data / "images/render.csv").write_text("object,status,reason,made,kept,seconds\na,rendered,,0,2,0\n")
    (data / "xrays/a/001.npz").write_bytes(b"x")
    assert plan_preprocessing.main(["--data_root", str(data)]) == 2
    assert "render.csv: no picture was made in the last run" in capsys.readouterr().err
    write_manifest(data / "manifest.csv", [Row("a", "000", "accepted")])
    assert plan_preprocessing.main(["--data_root", str(data)]) == 2
    assert "manifest.csv: no view with its seconds" in capsys.readouterr().err
    write_manifest(data / "manifest.csv", [])
    assert plan_preprocessing.main(["--data_root", str(data)]) == 2
    assert "manifest.csv: no view with its seconds" in capsys.readouterr().err
