"""What a .ply may hold beside the common: mixed polygons, headers that lie, rows of any length."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from xray.common.errors import InputError
from xray.mesh.ply import load_ply, read_ply

VERTEX = "property float x\nproperty float y\nproperty float z\n"
FACE = "property list uchar int vertex_indices\n"
ROWS = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"


def header(form: str = "ascii", vertices=4, faces=2, newline: str = "\n", face: str = FACE) -> bytes:
    text = f"ply\nformat {form} 1.0\ncomment of a test\nelement vertex {vertices}\n{VERTEX}element face {faces}\n{face}"
    return f"{text}end_header\n".replace("\n", newline).encode()


def test_polygons_of_mixed_sizes_in_text(tmp_path):
    path = tmp_path / "a.ply"
    path.write_bytes(header(faces=3) + f"{ROWS}3 0 1 2\n0\n4 0 1 2 3\n".encode())
    (part,) = read_ply(path)
    assert part.faces.tolist() == [[0, 1, 2], [0, 1, 2], [0, 2, 3]]
    assert part.vertex_colors is part.face_colors is part.normals is None


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("corners", [3, 4, 5])
def test_binary_polygons_of_one_size(tmp_path, corners, newline):
    kind = np.dtype([("size", "u1"), ("index", "<i4", corners)])
    faces = np.array([(corners, np.arange(corners)), (corners, np.arange(corners)[::-1])], kind)
    vertices = np.random.default_rng(0).random((5, 3)).astype("<f4")
    path = tmp_path / "a.ply"
    path.write_bytes(header("binary_little_endian", 5, newline=newline) + vertices.tobytes() + faces.tobytes())
    (part,) = read_ply(path)
    assert np.array_equal(part.vertices, vertices)
    assert len(part.faces) == 2 * (corners - 2)
    assert part.faces[-1].tolist() == [corners - 1, 1, 0]
    assert np.array_equal(load_ply(path).points, vertices)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize("damage", ["vertices", "faces", "list", "negative", "underscores", "no end"])
def test_headers_that_lie_are_refused_before_memory_is_taken(tmp_path, form, damage):
    body = ROWS.encode() * 20 if form == "ascii" else bytes(48) + b"\x03" + bytes(12) + b"\x04" + bytes(16)
    content = {
        "vertices": header(form, vertices=4_000_000_000),
        "faces": header(form, faces=4_000_000_000, newline="\r\n"),
        "list": header(form, face="property list uint int vertex_indices\n"),
        "negative": header(form, vertices=-1),
        "underscores": header(form, vertices="4_000_000_000"),
        "no end": header(form).replace(b"end_header", b"comment"),
    }[damage]
    path = tmp_path / "a.ply"
    path.write_bytes(content + (body.replace(b"\x03", b"\xff\xff\xff\xff") if damage == "list" else body))
    tracemalloc.start()
    for read in (read_ply, load_ply):
        with pytest.raises(InputError, match=r"a\.ply: not readable as \.ply"):
            read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_lists_in_place_of_coordinates_are_refused(tmp_path):
    path = tmp_path / "a.ply"
    text = header(faces=0).decode().replace("property float x", "property list uchar float x")
    path.write_text(text + "2 0 0 0 0\n" * 4)
    with pytest.raises(InputError, match=r"a\.ply: a list where each row has one number \(x, y, z\)"):
        load_ply(path)
