"""The generator of example objects: seeded, wound outward, hollow where it says so."""

import sys

import numpy as np
import pytest
import shapes
import trimesh


def closed(part) -> trimesh.Trimesh | None:
    """The part with its texture seams merged, or None where it is an open surface."""
    mesh = trimesh.Trimesh(part.vertices, part.faces, process=False)
    mesh.merge_vertices(merge_tex=True, merge_norm=True)
    mesh.update_faces(mesh.nondegenerate_faces())
    return mesh if mesh.is_watertight else None


@pytest.mark.parametrize("index", range(3 * len(shapes.FAMILIES)))
def test_closed_parts_are_wound_outward(index):
    name, parts = shapes.make_object(0, index)
    volumes = [mesh.volume for part in parts if (mesh := closed(part)) is not None]
    assert volumes, f"{name} has no closed part"
    assert min(volumes) > 0
    assert all(np.isfinite(part.vertices).all() and part.texture.std() > 0 for part in parts)


def test_an_object_depends_on_its_seed_and_number_alone(tmp_path):
    assert len(shapes.FAMILIES) >= 10
    arguments = ["--output", str(tmp_path / "a"), "--num", "13"]
    for count, folder in ((13, "a"), (2, "b")):
        arguments[1], arguments[3] = str(tmp_path / folder), str(count)
        assert run(arguments) == 0
    few = sorted((tmp_path / "b").iterdir())
    assert [path.read_bytes() for path in few] == [(tmp_path / "a" / path.name).read_bytes() for path in few]
    assert len(list((tmp_path / "a").iterdir())) == 13
    other = shapes.make_object(1, 0)[1]
    assert not np.array_equal(other[0].vertices, shapes.make_object(0, 0)[1][0].vertices)


def test_a_bad_count_is_one_line(tmp_path, capsys):
    assert run(["--output", str(tmp_path), "--num", "0"]) == 2
    assert capsys.readouterr().err == "error: --num 0: expected at least 1\n"


def run(arguments) -> int:
    saved, sys.argv = sys.argv, ["shapes.py", *arguments]
    try:
        return shapes.main()
    finally:
        sys.argv = saved
