"""The example meshes are what their script makes, and what the example needs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import trimesh

from xray.data.dataset import is_test
from xray.data.mesh_files import find_meshes
from xray.mesh.load import load_mesh

ROOT = Path(__file__).parents[2]
MESHES = ROOT / "example/meshes"


def test_the_script_makes_the_meshes_that_are_there(tmp_path):
    command = [sys.executable, ROOT / "example/make_meshes.py", "--output", tmp_path]
    subprocess.run(command, check=True, timeout=60)
    made, there = find_meshes(tmp_path), find_meshes(MESHES)
    assert list(made) == list(there)
    for uid, path in there.items():
        one, other = load_mesh(made[uid]), load_mesh(path)
        assert np.array_equal(one.vertices, other.vertices)
        assert np.array_equal(one.faces, other.faces)
        face = np.arange(len(one.faces))
        weights = np.full((len(face), 3), 1 / 3)
        assert np.array_equal(one.colors(face, weights), other.colors(face, weights))


def test_they_are_of_several_types_parts_and_splits_and_one_is_open():
    there = find_meshes(MESHES)
    assert {path.suffix for path in there.values()} == {".glb", ".obj", ".ply"}
    assert sum(path.stat().st_size for path in MESHES.iterdir()) < 1_000_000
    assert {is_test(uid, 0.1) for uid in there} == {True, False}
    closed, parts = [], []
    for path in there.values():
        mesh = load_mesh(path)
        merged = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
        merged.merge_vertices(merge_tex=True, merge_norm=True, digits_vertex=6)
        pieces = merged.split(only_watertight=False)
        closed.append(all(piece.is_watertight for piece in pieces))
        parts.append(len(pieces))
    assert set(closed) == {True, False}
    assert max(parts) > 20
    assert min(parts) > 1
