"""Damaged files: each loads to a valid object or raises InputError, whatever byte or number was changed."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.made_xrays import random_xray
from PIL import Image

from xray.common.errors import InputError
from xray.common.images import load_rgba
from xray.core.camera import Views, check_pose, load_views, sample_views
from xray.core.storage import load_xray, save_xray
from xray.data.manifest import Row, accepted_views, read_manifest, write_manifest
from xray.data.shards import PackedView, read_index, write_index
from xray.mesh.load import load_mesh

MUTANTS = 180
"""Of every kind of file."""

SLOWEST_S = 2.0
"""No damage may make a loader of these files of a few kilobytes take longer, as sizes out of a broken header would."""

NUMBERS = [b"nan", b"inf", b"-inf", b"1e308", b"-1", b"0", b"65536", b"4294967295", b"99999999999999999999", b"1e-320"]
NUMBERS += [b"null", b"true", b'"a"', b"[]", b"{}", b"-7.5", b""]


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """One to three changes: bits, bytes, cuts, copies, or a number of a text replaced."""
    for _ in range(rng.integers(1, 4)):
        if not content:
            return content
        start = int(rng.integers(len(content)))
        end = min(len(content), start + int(rng.integers(1, 1 + rng.choice([4, 40, 400]))))
        piece = content[start:end]
        number = re.compile(rb"-?\d+(?:\.\d+)?").search(content, start)
        change = rng.integers(8)
        if change == 0:
            content = content[:start]
        elif change == 1:
            content = content[:start] + content[end:]
        elif change == 2:
            content = content[:start] + piece + content[start:]
        elif change == 3:
            content = content[:start] + rng.bytes(len(piece)) + content[end:]
        elif change == 4:
            content = content[:start] + bytes([content[start] ^ (1 << int(rng.integers(8)))]) + content[start + 1 :]
        elif change == 5:
            content = content[:start] + rng.choice([b"\0", b"\xff", b"\x7f"]) * len(piece) + content[end:]
        elif number:
            content = content[: number.start()] + NUMBERS[rng.integers(len(NUMBERS))] + content[number.end() :]
    return content


def textured_box() -> trimesh.Trimesh:
    box = trimesh.creation.box((1.0, 0.5, 0.25))
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8))
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=picture)
    box.visual = trimesh.visual.TextureVisuals(np.random.default_rng(1).uniform(0, 1, (8, 2)), material)
    return box


def export(folder: Path, name: str, **options) -> None:
    mesh = textured_box() if name.endswith((".glb", ".gltf", ".obj")) else trimesh.creation.box((1.0, 0.5, 0.25))
    if name.endswith(".ply"):
        mesh.visual.vertex_colors = np.arange(32, dtype=np.uint8).reshape(8, 4) * 8
    mesh.export(folder / name, **options)


def make_files(folder: Path) -> None:
    export(folder, "binary.glb")
    export(folder, "text.obj")
    export(folder, "binary.ply", encoding="binary")
    export(folder, "text.ply", encoding="ascii")
    export(folder, "binary.stl")
    (folder / "text.stl").write_text(trimesh.exchange.stl.export_stl_ascii(trimesh.creation.box()))
    export(folder, "text.off")
    (folder / "embedded.gltf").write_text(json.dumps(_embedded()))
    make_polygons(folder)
    save_xray(folder / "view.npz", random_xray(0, 3, 6, 6))
    np.savez(folder / "stored.npz", **dict(np.load(folder / "view.npz")))  # not deflated: damage reaches the arrays
    Image.fromarray(np.random.default_rng(2).integers(0, 256, (9, 9, 4), np.uint8), "RGBA").save(folder / "view.png")
    views = Views(0.9, ("000.png", "001.png"), sample_views(2, np.random.default_rng(3)))
    (folder / "transforms.json").write_text(views.to_json())
    rows = [Row("a", f"{view:03d}", "accepted", "", 12, (5, 3), 0, 0, 0, 0.95, 1.5, 0.1, "ab") for view in range(4)]
    write_manifest(folder / "manifest.csv", rows)
    write_index(
        folder / "index.csv", [PackedView("a", f"{view:03d}", "000000.tar", 512, 9, 1024, 9) for view in range(4)]
    )


def make_polygons(folder: Path) -> None:
    """A U-shaped prism with concave caps of eight corners, in every form that has polygons, and a strip."""
    flat = np.array([[0, 0], [3, 0], [3, 3], [2, 3], [2, 1], [1, 1], [1, 3], [0, 3]], float)
    vertices = np.array([[*corner, height] for height in (0, 1) for corner in flat])
    sides = [[k, (k + 1) % 8, 8 + (k + 1) % 8, 8 + k] for k in range(8)]
    polygons = [list(range(7, -1, -1)), list(range(8, 16)), *sides]
    points = ["{:g} {:g} {:g}".format(*vertex) for vertex in vertices]
    colored = [f"{len(polygon)} {' '.join(map(str, polygon))} 10 200 30" for polygon in polygons]
    (folder / "polygons.off").write_text("\n".join(["OFF16 10 0", *points, "# faces", *colored]) + "\n")
    (folder / "red.mtl").write_text("newmtl red\nKd 1 0 0\n")
    (folder / "blue.mtl").write_text("newmtl unused\nmap_Kd gone.png\nnewmtl blue\nKd 0 0 1\n")
    faces = ["f " + " ".join(f"{k - 16}//{k + 1}" for k in polygon) for polygon in polygons]
    lines = [
        "\ufeffmtllib red.mtl blue.mtl",
        *(f"v {point}" for point in points),
        "usemtl red",
        faces[0],
        "f 1 2",
        "l 1 2 3",
    ]
    lines += ["usemtl blue", *faces[1:], "usemtl unused", "p 1"]
    (folder / "polygons.obj").write_text("\r\n".join(lines) + "\r\n", newline="")
    head = (
        "ply\nformat {} 1.0\ncomment größe\nelement vertex 16\nproperty float x\nproperty float y\nproperty float z\n"
    )
    kinds = "element {} {}\nproperty list {} int vertex_indices\n"
    colors = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    text = head.format("ascii") + kinds.format("face", 10, "uchar") + colors + "end_header\n"
    (folder / "polygons.ply").write_text(text + "\n".join([*points, *colored]) + "\n")
    text = head.format("binary_big_endian") + kinds.format("face", 10, "uchar") + colors + "end_header\n"
    rows = [bytes([len(row)]) + np.array(row, ">i4").tobytes() + bytes([10, 200, 30]) for row in polygons]
    (folder / "uneven.ply").write_bytes(text.encode() + vertices.astype(">f4").tobytes() + b"".join(rows))
    text = head.format("binary_little_endian") + kinds.format("tristrips", 2, "int") + "end_header\n"
    strips = [[0, 1, 7, 2, 5, -1, 8, 9, 15], [8, 9, 0, 1]]
    rows = [np.array([len(row), *row], "<i4").tobytes() for row in strips]
    (folder / "strips.ply").write_bytes(text.encode("latin-1") + vertices.astype("<f4").tobytes() + b"".join(rows))


def _embedded() -> dict:
    """A triangle whose buffer stands in the text, so that every number of the format is a text to be changed."""
    uri = "data:application/octet-stream;base64,AAAAAAAAAAAAAAAAAACAPwAAAAAAAAAAAAAAAAAAgD8AAAAAAAABAAIA"
    return {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "children": [1], "scale": [1, 2, 1]}, {"mesh": 0, "translation": [0, 0, 1]}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [1, 0.5, 0, 1]}}],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": 3, "type": "SCALAR"},
        ],
        "bufferViews": [
            {"buffer": 0, "byteLength": 36, "byteOffset": 0},
            {"buffer": 0, "byteLength": 6, "byteOffset": 36},
        ],
        "buffers": [{"byteLength": 42, "uri": uri}],
    }


def check_mesh(path: Path) -> None:
    mesh = load_mesh(path)
    assert len(mesh.faces) > 0
    assert np.isfinite(mesh.vertices).all()
    assert np.ptp(mesh.vertices, axis=0).max() == pytest.approx(1)
    assert 0 <= mesh.faces.min() <= mesh.faces.max() < len(mesh.vertices)
    assert np.abs(np.linalg.norm(mesh.face_normals, axis=1) - 1).max() < 1e-9
    points, normals, colors = mesh.sample(20, np.random.default_rng(0))
    assert np.isfinite(points).all()
    assert np.isfinite(normals).all()
    assert (colors >= 0).all()
    assert (colors <= 1).all()


def check_picture(path: Path) -> None:
    picture = load_rgba(path)
    assert picture.mode == "RGBA"
    assert np.asarray(picture).shape == (picture.height, picture.width, 4)


def check_views(path: Path) -> None:
    views = load_views(path)
    for index in range(len(views.names)):
        check_pose(views.camera(index, 8).world_from_camera, "loaded")


CHECKS: dict[str, Callable[[Path], object]] = {
    "binary.glb": check_mesh,
    "embedded.gltf": check_mesh,
    "text.obj": check_mesh,
    "material.mtl": check_mesh,
    "binary.ply": check_mesh,
    "text.ply": check_mesh,
    "binary.stl": check_mesh,
    "text.stl": check_mesh,
    "text.off": check_mesh,
    "polygons.obj": check_mesh,
    "blue.mtl": check_mesh,
    "polygons.off": check_mesh,
    "polygons.ply": check_mesh,
    "uneven.ply": check_mesh,
    "strips.ply": check_mesh,
    "view.npz": lambda path: load_xray(path).validate(),
    "stored.npz": lambda path: load_xray(path).validate(),
    "view.png": check_picture,
    "transforms.json": check_views,
    "manifest.csv": lambda path: (read_manifest(path), accepted_views(path)),
    "index.csv": read_index,
}


def refusal(check: Callable[[Path], object], path: Path) -> str | None:
    """The InputError's words; None where the file loads to something valid. Any other error goes through."""
    try:
        check(path)
    except InputError as error:
        return str(error)
    return None


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", CHECKS)
def test_damaged_files_load_to_something_valid_or_are_refused(tmp_path, name):
    make_files(tmp_path)
    changed = next(tmp_path.glob("material*.mtl")) if name == "material.mtl" else tmp_path / name
    loaded = {"material.mtl": tmp_path / "text.obj", "blue.mtl": tmp_path / "polygons.obj"}.get(name, changed)
    whole = changed.read_bytes()
    assert refusal(CHECKS[name], loaded) is None
    rng = np.random.default_rng(sum(name.encode()))
    refused = 0
    for number in range(MUTANTS):
        changed.write_bytes(mutate(whole, rng))  # stays behind where the test fails
        began = time.perf_counter()
        words = refusal(CHECKS[name], loaded)
        assert time.perf_counter() - began < SLOWEST_S, number
        if words is not None:
            refused += 1
            assert str(tmp_path) in words, number
            assert len(words.splitlines()) == 1, number
    assert 0 < refused < MUTANTS


def random_name(rng: np.random.Generator, suffix: str) -> bytes:
    """Bytes that a file system takes as a name, most of them no UTF-8; never with blanks at an end."""
    inner = bytes(byte for byte in rng.bytes(int(rng.integers(1, 60))) if byte not in b'\0/\n\r\\"#.')
    return b"x" + inner + b"x" + suffix.encode()


def test_files_of_any_name_are_read_under_it_and_found_by_it(tmp_path):
    rng = np.random.default_rng(5)
    folder = os.fsencode(tmp_path)
    Image.new("RGB", (2, 2), (9, 8, 7)).save(tmp_path / "p.png")
    picture = (tmp_path / "p.png").read_bytes()
    vertices = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\n"
    for _ in range(60):
        names = {suffix: random_name(rng, suffix) for suffix in (".obj", ".mtl", ".png")}
        contents = {
            ".obj": b"mtllib " + names[".mtl"] + b"\n" + vertices + b"usemtl " + names[".mtl"] + b"\nf 1/1 2/1 3/1\n",
            ".mtl": b"newmtl " + names[".mtl"] + b"\nmap_Kd " + names[".png"] + b"\n",
            ".png": picture,
        }
        for suffix, content in contents.items():
            with open(folder + b"/" + names[suffix], "wb") as stream:
                stream.write(content)
        path = Path(os.fsdecode(folder + b"/" + names[".obj"]))
        found = load_mesh(path).colors(np.zeros(1, int), np.full((1, 3), 1 / 3))
        assert np.allclose(found * 255, (9, 8, 7)), names
        os.remove(folder + b"/" + names[".png"])
        with pytest.raises(InputError, match="is missing") as caught:
            load_mesh(path)
        assert str(caught.value).encode()
        assert len(str(caught.value).splitlines()) == 1


def test_there_are_enough_of_them():
    assert len(CHECKS) * MUTANTS >= 2000
