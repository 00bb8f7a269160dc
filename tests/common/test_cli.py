"""Commands whose paths cannot be: one line and a status, no traceback."""

from __future__ import annotations

import os

import pytest

from xray.commands import cast, dataset, evaluate_points, infer, render


@pytest.mark.parametrize("kind", ["long", "circle"])
@pytest.mark.parametrize(
    ("main", "flags"),
    [
        (infer.main, ["--output", "out", "--image"]),
        (infer.main, ["--image", "a.png", "--output"]),
        (infer.main, ["--image", "a.png", "--output", "out", "--mask"]),
        (render.main, ["--mesh_root"]),
        (render.main, ["--mesh_root", "meshes", "--image_root"]),
        (cast.main, ["--mesh_root", "meshes", "--image_root"]),
        (cast.main, ["--mesh_root", "meshes", "--image_root", "meshes", "--xray_root"]),
        (dataset.main, ["--mesh_root", "meshes", "--root"]),
        (evaluate_points.main, ["--gt", "meshes", "--pred"]),
    ],
)
def test_names_too_long_and_links_in_a_circle_are_one_line(tmp_path, monkeypatch, capsys, kind, main, flags):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "meshes").mkdir()
    (tmp_path / "meshes/a.obj").write_text("v 0 0 0\nv 1 0 0\nv 1 1 0\nf 1 2 3\n")
    (tmp_path / "a.png").touch()
    os.symlink("circle", tmp_path / "circle")
    assert main([*flags, "x" * 300 if kind == "long" else "circle"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert ("x" * 300 if kind == "long" else "circle") in said
