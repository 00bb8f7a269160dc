"""What real files of public collections hold beside the format's letter: each is read, or refused in plain words."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from helpers.made_meshes import GltfWriter, chiral
from PIL import Image

from xray.common import srgb
from xray.common.errors import InputError
from xray.mesh.load import load_mesh
from xray.mesh.mesh import Mesh
from xray.mesh.ply import load_ply, read_ply

FAULTS = Path(__file__).parents[3] / "shared/faults"
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
VERTICES = "".join("v {:g} {:g} {:g}\n".format(*vertex) for vertex in SQUARE)
COORDINATES = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"
PICTURE = (200, 40, 40)
PIXEL = np.full((1, 1, 3), PICTURE, np.uint8)


def color(path: Path, face: int = 0) -> list[int]:
    """The colour in the middle of a face, from 0 to 255."""
    return np.rint(load_mesh(path).colors(np.array([face]), np.full((1, 3), 1 / 3))[0] * 255).astype(int).tolist()


def paint(path: Path) -> None:
    Image.new("RGB", (4, 4), PICTURE).save(path)


def ply(body: str, faces: str, vertex: str = "", face: str = "", comment: str = "", count: int = 1) -> str:
    """A text of a square whose rows of vertices have `vertex` properties behind x y z."""
    return (
        f"ply\nformat ascii 1.0\n{comment}element vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
        f"{vertex}element face {count}\nproperty list uchar int vertex_indices\n{face}end_header\n{body}{faces}"
    )


RGB = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
ST = "property float s\nproperty float t\n"


def rows(*more: str) -> str:
    return "".join("{:g} {:g} {:g} ".format(*vertex) + " ".join(more) + "\n" for vertex in SQUARE)


# What is needed and what is not


def test_obj_materials_that_no_face_uses_are_not_looked_at(tmp_path):
    path = tmp_path / "a.obj"
    path.write_text(f"mtllib gone.mtl\n{VERTICES}f 1 2 3 4\n")
    assert color(path) == [204] * 3
    library = "newmtl other\nmap_Kd gone.png\nnewmtl worse\nKd red\nnewmtl plain\nKd 1 0 0\n"
    (tmp_path / "a.mtl").write_text(library)
    path.write_text(f"mtllib a.mtl\nmtllib gone.mtl\n{VERTICES}usemtl worse\nl 1 2\nusemtl plain\nf 1 2 3 4\n")
    assert color(path) == [255, 0, 0]
    path.write_text(f"mtllib a.mtl\nmtllib gone.mtl\n{VERTICES}usemtl elsewhere\nf 1 2 3 4\n")
    with pytest.raises(InputError, match=r"a\.obj: its material file gone\.mtl is missing"):
        load_mesh(path)
    path.write_text(f"mtllib a.mtl\n{VERTICES}usemtl other\nf 1 2 3 4\n")
    with pytest.raises(InputError, match=r"a\.mtl: the picture gone\.png is missing"):
        load_mesh(path)


def test_gltf_and_ply_pictures_that_no_face_uses_are_not_looked_at(tmp_path):
    writer = GltfWriter()
    missing = writer.add("images", {"uri": "gone.png"})
    reference = {"index": writer.add("textures", {"source": missing})}
    unused = writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": reference}})
    red = {"pbrMetallicRoughness": {"baseColorFactor": [1, 0, 0, 1]}, "normalTexture": reference}
    mesh = writer.mesh(SQUARE, [0, 1, 2], writer.add("materials", red))
    none = {"attributes": {"POSITION": writer.array(SQUARE)}, "indices": writer.array([0, 1], "uint32")}
    writer.tree["meshes"][mesh]["primitives"].append({**none, "material": unused})
    writer.node(mesh=mesh)
    writer.node(root=False, mesh=writer.mesh(SQUARE, [0, 1, 2], unused))
    for name in ("a.glb", "a.gltf"):
        assert color(writer.save(tmp_path / name)) == [255, 0, 0]
    path = tmp_path / "a.ply"
    path.write_text(ply(rows("9", "8", "7"), "4 0 1 2 3\n", RGB, comment="comment TextureFile gone.png\n"))
    assert color(path) == [9, 8, 7]
    path.write_text(ply(rows("0", "1"), "4 0 1 2 3\n", ST, comment="comment TextureFile gone.png\n"))
    with pytest.raises(InputError, match=r"a\.ply: picture gone\.png: no such file"):
        load_mesh(path)


@pytest.mark.parametrize(
    "line",
    ["red.mtl my  blue.mtl", "my  blue.mtl\tred.mtl", '"my  blue.mtl" "red.mtl"', "gone.mtl red.mtl my  blue.mtl"],
)
def test_several_libraries_on_one_line(tmp_path, line):
    (tmp_path / "red.mtl").write_text("newmtl red\nKd 1 0 0\n")
    (tmp_path / "my  blue.mtl").write_text("newmtl blue\nKd 0 0 1\n")
    path = tmp_path / "a.obj"
    path.write_text(f"mtllib {line}\n{VERTICES}usemtl red\nf 1 2 3\nusemtl blue\nf 1 3 4\n")
    assert [color(path, face) for face in (0, 1)] == [[255, 0, 0], [0, 0, 255]]


def test_the_first_library_of_a_line_that_has_a_material_counts(tmp_path):
    for name, shade in (("red", "1 0 0"), ("blue", "0 0 1")):
        (tmp_path / f"{name}.mtl").write_text(f"newmtl both\nKd {shade}\nnewmtl {name}\nKd {shade}\n")
    uses = "usemtl both\nf 1 2 3\nusemtl blue\nf 1 3 4\n"
    (tmp_path / "a.obj").write_text(f"mtllib red.mtl blue.mtl\n{VERTICES}{uses}")
    assert [color(tmp_path / "a.obj", face) for face in (0, 1)] == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize("corner", ["{0}//{0}", "{0}/{0}", "{0}/{0}/{0}", "{0}/-5/-1"])
@pytest.mark.parametrize("picture", [False, True])
def test_obj_names_normals_and_coordinates_that_it_has_not(tmp_path, corner, picture):
    paint(tmp_path / "p.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 0 0\n" + picture * "map_Kd p.png\n")
    path = tmp_path / "a.obj"
    path.write_text(f"mtllib a.mtl\n{VERTICES}usemtl m\nf " + " ".join(corner.format(k) for k in (1, 2, 3, 4)) + "\n")
    assert color(path) == (list(PICTURE) if picture else [255, 0, 0])
    assert not load_mesh(path).vertex_normals.any()
    path.write_text(f"vn 0 0 1\n{VERTICES}f 1//1 2//1 3//2\n")
    with pytest.raises(InputError, match="a face names vn 2, there are 1"):
        load_mesh(path)


def test_obj_points_lines_and_edges_are_passed_over(tmp_path):
    path = tmp_path / "a.obj"
    edges = "usemtl wire\nf 1 2\nf 3\nf\nl 1 2 3\np 1 2\nusemtl solid\np 4\nf 1 2 3 4\nf 9 9\n"
    path.write_text(f"{VERTICES}{edges}")
    assert load_mesh(path).faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    path.write_text(f"{VERTICES}f 1 2\nl 1 2 3\n")
    with pytest.raises(InputError, match=r"a\.obj: no faces"):
        load_mesh(path)
    (tmp_path / "a.off").write_text("OFF 4 4 0\n" + rows() + "2 0 1\n1 0\n0\n4 0 1 2 3\n")
    (tmp_path / "a.ply").write_text(ply(rows(), "2 0 1\n0\n1 3\n4 0 1 2 3\n", count=4))
    for name in ("a.off", "a.ply"):
        assert load_mesh(tmp_path / name).faces.tolist() == [[0, 1, 2], [0, 2, 3]]


def required(path: Path, name: str, kind: str | None = None, used: bool = True) -> Path:
    """A square whose file requires an extension; it stands in an item of `kind`, or at the root."""
    writer = GltfWriter()
    mesh = writer.mesh(SQUARE, [0, 1, 2], writer.add("materials", {}))
    writer.node(mesh=mesh)
    writer.tree["extensionsRequired"] = [name]
    place = writer.tree["meshes"][0]["primitives"][0] if kind == "primitives" else writer.tree
    if kind not in (None, "primitives"):
        place = writer.tree[kind][0]
    if used:
        place["extensions"] = {name: {}}
    return writer.save(path)


@pytest.mark.parametrize("suffix", [".gltf", ".glb"])
@pytest.mark.parametrize(
    "name",
    ["KHR_lights_punctual", "KHR_xmp_json_ld", "KHR_animation_pointer", "EXT_mesh_features", "KHR_materials_clearcoat"],
)
def test_required_extensions_that_change_nothing_are_no_reason_to_refuse(tmp_path, name, suffix):
    for kind in (None, "nodes", "primitives"):
        assert len(load_mesh(required(tmp_path / f"a{suffix}", name, kind)).faces) == 1


def test_required_extensions_that_may_change_something_are_refused(tmp_path):
    for kind in ("primitives", "nodes", "accessors", "bufferViews", "materials"):
        for name in ("KHR_draco_mesh_compression", "ACME_geometry"):
            path = required(tmp_path / "a.gltf", name, kind)
            with pytest.raises(InputError, match=f"a.gltf: needs {name}; export it without"):
                load_mesh(path)
    for kind in (None, "scenes"):
        assert len(load_mesh(required(tmp_path / "a.gltf", "ACME_notes", kind)).faces) == 1
    assert len(load_mesh(required(tmp_path / "a.gltf", "EXT_meshopt_compression", used=False)).faces) == 1


def test_compressed_primitives_with_their_values_beside_are_read(tmp_path):
    writer = GltfWriter()
    mesh = writer.mesh(SQUARE, [0, 1, 2])
    primitive = writer.tree["meshes"][mesh]["primitives"][0]
    primitive["extensions"] = {"KHR_draco_mesh_compression": {}}
    writer.node(mesh=mesh)
    assert len(load_mesh(writer.save(tmp_path / "a.glb")).faces) == 1
    del writer.tree["accessors"][primitive["indices"]]["bufferView"]
    with pytest.raises(InputError, match="needs KHR_draco_mesh_compression"):
        load_mesh(writer.save(tmp_path / "a.glb"))


@pytest.mark.parametrize("corner", [4, 0])
def test_values_of_vertices_that_no_proper_face_has_do_no_harm(tmp_path, corner):
    """NaN as texture coordinate or colour of a vertex that no face, or only one without area, names; elsewhere not."""
    paint(tmp_path / "p.png")
    vertices, nan = np.vstack([SQUARE, [2, 2, 0]]), [[np.nan] * 3]
    for name in ("TEXCOORD_0", "COLOR_0"):
        writer = GltfWriter()
        material = writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": writer.picture(PIXEL)}})
        values = np.vstack([SQUARE, nan])[:, : 2 if name == "TEXCOORD_0" else 3]
        mesh = writer.mesh(vertices, [0, 1, 2, corner, 4, 4], material, **{name: writer.array(values)})
        writer.node(mesh=mesh)
        assert len(load_mesh(writer.save(tmp_path / "a.glb")).faces) == 1
        writer.tree["meshes"][mesh]["primitives"][0]["indices"] = writer.array([0, 1, 4], "uint32")
        with pytest.raises(InputError, match=r"a\.glb: (texture coordinates|colours) that are not"):
            load_mesh(writer.save(tmp_path / "a.glb"))
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd p.png\n")
    text = f"mtllib a.mtl\n{VERTICES}{COORDINATES}vt nan nan\nusemtl m\nf 1/1 2/2 3/3\n"
    (tmp_path / "a.obj").write_text(text + "f 1/5 2/5 2/5\n")
    assert color(tmp_path / "a.obj") == list(PICTURE)
    (tmp_path / "a.obj").write_text(text + "f 1/5 3/5 4/5\n")
    with pytest.raises(InputError, match=r"a\.obj: texture coordinates that are not numbers up to 1e\+06"):
        load_mesh(tmp_path / "a.obj")


# Headers and encodings


@pytest.mark.parametrize(
    "head", ["OFF8 6 0\n", "OFF 8 6 0\n", "off\n8 6 0\n", "\ufeffOFF8 6\n", "# a\n\nOFF # b\n8 6 # c\n"]
)
def test_off_headers(tmp_path, head):
    box = ["-1 -1 -1", "1 -1 -1", "1 1 -1", "-1 1 -1", "-1 -1 1", "1 -1 1", "1 1 1", "-1 1 1"]
    faces = ["4 3 2 1 0", "4 4 5 6 7", "4 0 1 5 4", "4 1 2 6 5", "4 2 3 7 6", "4 3 0 4 7"]
    for newline in ("\n", "\r\n", "\r"):
        (tmp_path / "a.off").write_bytes((head + "\n".join(box + faces)).replace("\n", newline).encode())
        assert len(load_mesh(tmp_path / "a.off").faces) == 12
    (tmp_path / "a.off").write_text("COFF4 1 0\n" + rows("255", "0", "0", "255") + "4 0 1 2 3\n")
    assert color(tmp_path / "a.off") == [255, 0, 0]


def files_with_names_in_line_1(folder: Path) -> dict[str, str]:
    (folder / "b.mtl").write_text("newmtl m\nKd 1 0 0\n")
    return {
        "library.obj": f"mtllib b.mtl\n{VERTICES}usemtl m\nf 1 2 3 4\n",
        "material.obj": f"mtllib a.mtl\n{VERTICES}usemtl m\nf 1 2 3 4\n",
        "a.mtl": "newmtl m\nKd 1 0 0\n",
        "vertex.obj": f"{VERTICES.replace(chr(10), ' 1 0 0' + chr(10))}f 1 2 3 4\n",
        "a.off": "OFF\n4 2 0\n" + rows() + "3 0 1 2 255 0 0\n3 0 2 3 255 0 0\n",
        "a.ply": ply(rows("255", "0", "0"), "4 0 1 2 3\n", RGB),
    }


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_byte_order_marks_and_line_ends_of_every_text(tmp_path, mark, newline):
    files = files_with_names_in_line_1(tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_bytes((mark + text).replace("\n", newline).encode())
    for name in files:
        if not name.endswith(".mtl"):
            assert color(tmp_path / name) == [255, 0, 0], name
    solid = chiral()
    text = solid.export(file_type="stl_ascii")
    (tmp_path / "a.stl").write_bytes((mark + text).replace("\n", newline).encode())
    assert len(load_mesh(tmp_path / "a.stl").faces) == len(solid.faces)
    writer = GltfWriter()
    writer.node(mesh=writer.mesh(SQUARE, [0, 1, 2]))
    text = writer.save(tmp_path / "a.gltf").read_text()
    (tmp_path / "a.gltf").write_bytes((mark + text).replace(", ", "," + newline).encode())
    assert len(load_mesh(tmp_path / "a.gltf").faces) == 1


@pytest.mark.parametrize("end", ["\0", "\x1a", "\x1a\0\0\0"])
def test_bytes_that_end_a_text_or_fill_it_up_are_not_read(tmp_path, end):
    files = files_with_names_in_line_1(tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text.removesuffix("\n") + end)
    for name in files:
        if not name.endswith(".mtl"):
            assert color(tmp_path / name) == [255, 0, 0], name


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_named_as_the_reason(tmp_path, encoding):
    texts = {
        "a.obj": VERTICES,
        "a.off": "OFF 3 1 0\n",
        "a.ply": ply(rows(), ""),
        "a.stl": "solid a\n",
        "a.gltf": "{}  ",
    }
    for name, text in texts.items():
        (tmp_path / name).write_bytes(text.encode(encoding))
        with pytest.raises(InputError, match=rf"{name}: the text is UTF-16.*expected UTF-8"):
            load_mesh(tmp_path / name)
    (tmp_path / "b.mtl").write_bytes("newmtl m\n".encode(encoding))
    (tmp_path / "b.obj").write_text(f"mtllib b.mtl\n{VERTICES}usemtl m\nf 1 2 3\n")
    with pytest.raises(InputError, match=r"b\.mtl: the text is UTF-16"):
        load_mesh(tmp_path / "b.obj")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("on_disk", ["utf-8", "latin-1"])
def test_names_of_materials_and_files_in_other_encodings(tmp_path, encoding, on_disk):
    folder = os.fsencode(tmp_path)
    (tmp_path / "a.obj").write_bytes(
        f"mtllib ä.mtl\n{VERTICES}{COORDINATES}usemtl grün\nf 1/1 2/2 3/3\n".encode(encoding)
    )
    with open(folder + b"/" + "ä.mtl".encode(on_disk), "wb") as stream:
        stream.write("newmtl grün\nmap_Kd bild ö.png\n".encode(encoding))
    paint(tmp_path / "p.png")
    os.rename(tmp_path / "p.png", folder + b"/" + "bild ö.png".encode(on_disk))
    assert color(tmp_path / "a.obj") == list(PICTURE)
    text = ply(rows("0", "1"), "4 0 1 2 3\n", ST, comment="comment TextureFile bild ö.png\ncomment größe\n")
    (tmp_path / "a.ply").write_bytes(text.encode(encoding))
    assert color(tmp_path / "a.ply") == list(PICTURE)


def test_file_names_that_are_not_utf_8_are_read_or_refused_in_words_that_can_be_written(tmp_path):
    good, bad = (os.path.join(os.fsencode(tmp_path), name) for name in (b"caf\xe9.obj", b"caf\xe9.off"))
    for path, content in ((good, f"{VERTICES}f 1 2 3 4\n".encode()), (bad, b"OFF")):
        with open(path, "wb") as stream:
            stream.write(content)
    assert len(load_mesh(os.fsdecode(good)).faces) == 2
    with pytest.raises(InputError, match=r"not readable as \.off") as caught:
        load_mesh(os.fsdecode(bad))
    str(caught.value).encode()
    for name in ("\0.obj", "x" * 5000 + ".obj", "a/" * 3000 + "a.obj"):
        with pytest.raises(InputError, match="no such file"):
            load_mesh(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_comments_in_any_encoding(tmp_path, encoding, form):
    text = ply("", "", comment="comment größe\nobj_info größe\n").replace("ascii", form)
    order = ">" if form.endswith("big_endian") else "<"
    body = SQUARE.astype(f"{order}f4").tobytes() + b"\4" + np.arange(4, dtype=f"{order}i4").tobytes()
    (tmp_path / "a.ply").write_bytes(
        text.encode(encoding) + ((rows() + "4 0 1 2 3\n").encode() if form == "ascii" else body)
    )
    assert load_mesh(tmp_path / "a.ply").faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert len(load_ply(tmp_path / "a.ply")) == 4


def test_very_long_lines(tmp_path):
    count = 100_000
    angles = np.arange(count) * 2 * np.pi / count
    circle = "".join(f"v {x:.9f} {y:.9f} 0\n" for x, y in zip(np.cos(angles), np.sin(angles), strict=True))
    for line in (f"# {'x' * 3_000_000}\n", f"o {'x ' * 2_000_000}\n", f"v 0 0{' ' * 3_000_000}0\n"):
        (tmp_path / "a.obj").write_text(f"{line}{circle}f " + " ".join(map(str, range(1, count + 1))) + "\n")
        assert len(load_mesh(tmp_path / "a.obj").faces) > 90_000


# .ply beyond triangles


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_ply_strips(tmp_path, form):
    head = ply("", "").replace("element face 1", "element camera 1\nproperty list char short a\nelement tristrips 2")
    order = ">" if form.endswith("big_endian") else "<"
    lists = [[0, 1, 3, 2, -1, 1, 2, 3], [-1, 0, 1, 2, -1]]
    if form == "ascii":
        body = f"{rows()}2 7 8\n" + "".join(f"{len(row)} {' '.join(map(str, row))}\n" for row in lists)
        content = (head + body).encode()
    else:
        content = head.replace("ascii", form).encode() + SQUARE.astype(f"{order}f4").tobytes()
        content += b"\2" + np.array([7, 8], f"{order}i2").tobytes()
        content += b"".join(bytes([len(row)]) + np.array(row, f"{order}i4").tobytes() for row in lists)
    (tmp_path / "a.ply").write_bytes(content)
    (part,) = read_ply(tmp_path / "a.ply")
    assert part.faces.tolist() == [[0, 1, 3], [1, 2, 3], [1, 2, 3], [0, 1, 2]]


def test_ply_pictures_count_as_they_are_and_so_do_face_colours(tmp_path):
    paint(tmp_path / "p.png")
    path, comment = tmp_path / "a.ply", "comment TextureFile p.png\n"
    path.write_text(ply(rows("0", "1", "128", "192", "0"), "4 0 1 2 3\n", ST + RGB, comment=comment))
    assert color(path) == list(PICTURE)
    path.write_text(ply(rows("0", "1"), "4 0 1 2 3 128 128 128\n", ST, RGB, comment))
    assert color(path) == list(PICTURE)
    path.write_text(ply(rows("128", "128", "128"), "4 0 1 2 3 255 0 9\n", RGB, RGB))
    assert color(path) == [255, 0, 9]
    (tmp_path / "a.off").write_text("COFF 4 1 0\n" + rows("128", "128", "128") + "4 0 1 2 3 255 0 9\n")
    assert color(tmp_path / "a.off") == [255, 0, 9]
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd p.png\n")
    grey = VERTICES.replace("\n", " 0.75 0.75 0.75\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{grey}{COORDINATES}usemtl m\nf 1/1 2/2 3/3\n")
    assert color(tmp_path / "a.obj") == list(PICTURE)


def test_gltf_vertex_colours_multiply_the_picture_as_its_specification_says(tmp_path):
    writer = GltfWriter()
    reference = writer.picture(np.full((4, 4, 3), PICTURE, np.uint8))
    material = writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": reference}})
    colors, uv = writer.array(np.full((4, 3), 0.5)), writer.array(SQUARE[:, :2])
    writer.node(mesh=writer.mesh(SQUARE, [0, 1, 2], material, COLOR_0=colors, TEXCOORD_0=uv))
    expected = srgb.from_linear(srgb.to_linear(np.array(PICTURE) / 255) * 0.5)
    assert color(writer.save(tmp_path / "a.glb")) == np.rint(expected * 255).astype(int).tolist()


def test_ply_with_a_picture_for_each_of_its_faces(tmp_path):
    Image.new("RGB", (2, 2), (9, 9, 9)).save(tmp_path / "q.png")
    paint(tmp_path / "p.png")
    comment = "comment TextureFile p.png\ncomment TextureFile q.png\n"
    corners = "property list uchar float texcoord\nproperty int texnumber\n"
    path = tmp_path / "a.ply"
    path.write_text(ply(rows(), "3 0 1 2 6 0 0 1 0 1 1 1\n3 0 2 3 6 0 0 1 1 0 1 0\n", "", corners, comment, 2))
    assert sorted(color(path, face) for face in (0, 1)) == [[9, 9, 9], list(PICTURE)]
    path.write_text(ply(rows(), "3 0 1 2 6 0 0 1 0 1 1 2\n3 0 2 3 6 0 0 1 1 0 1 0\n", "", corners, comment, 2))
    with pytest.raises(InputError, match="texnumber 2, there are 2 pictures"):
        load_mesh(path)


# Pictures that are too large


def test_the_limit_of_a_picture_is_named_and_can_be_raised(tmp_path, monkeypatch):
    Image.new("L", (10_000, 9_000), 77).save(tmp_path / "p.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd p.png\n")
    path = tmp_path / "a.obj"
    path.write_text(f"mtllib a.mtl\n{VERTICES}{COORDINATES}usemtl m\nf 1/1 2/2 3/3\n")
    words = r"p\.png: 10000 x 9000 pixels, expected at most 89478485 \(9459 x 9459\); make it smaller, or set XRAY_MAX_"
    with pytest.raises(InputError, match=words):
        load_mesh(path)
    monkeypatch.setenv("XRAY_MAX_TEXTURE_PIXELS", "many")
    with pytest.raises(InputError, match="XRAY_MAX_TEXTURE_PIXELS=many: expected a number of pixels"):
        load_mesh(path)
    Image.new("L", (60, 50), 77).save(tmp_path / "p.png")
    monkeypatch.setenv("XRAY_MAX_TEXTURE_PIXELS", "2999")
    with pytest.raises(InputError, match="60 x 50 pixels, expected at most 2999"):
        load_mesh(path)
    monkeypatch.setenv("XRAY_MAX_TEXTURE_PIXELS", "3000")
    assert color(path) == [77] * 3


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl", ".off", ".glb", ".gltf"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS"),
        (b"PK\x03\x04" + bytes(99), ".zip"),
        (b"\x1f\x8b\x08" + bytes(99), "gzip"),
        (b"\n<!DOCTYPE html><html></html>", "HTML"),
        (b"", "empty"),
    ],
)
def test_what_stands_in_the_place_of_a_mesh_is_named(tmp_path, suffix, content, reason):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"a{suffix}: .*{reason}.*expected {suffix}"):
        load_mesh(path)


def test_a_pointer_in_the_place_of_a_picture_is_named(tmp_path):
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nmtllib a.mtl\nusemtl a\nf 1/1 2/1 3/1\n")
    (tmp_path / "a.mtl").write_text("newmtl a\nmap_Kd p.png\n")
    (tmp_path / "p.png").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputError, match=r"p\.png: .*Git LFS"):
        load_mesh(tmp_path / "a.obj")


def test_numbers_of_bytes_and_binary_forms_are_named(tmp_path):
    (tmp_path / "a.off").write_bytes(b"OFF BINARY\n" + bytes(40))
    with pytest.raises(InputError, match=r"binary \.off, expected a text"):
        load_mesh(tmp_path / "a.off")
    for size in (0, 49, 53):
        (tmp_path / "a.stl").write_bytes(bytes(80) + (1).to_bytes(4, "little") + bytes(size))
        with pytest.raises(InputError, match=rf"{84 + size} bytes, expected 134 for the 1 triangles"):
            load_mesh(tmp_path / "a.stl")


@pytest.mark.parametrize("names", [("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), "rgb"])
def test_ply_colours_by_each_of_their_names(tmp_path, names):
    path = tmp_path / "a.ply"
    path.write_text(ply(rows("255 0 0"), "3 0 1 2\n", "".join(f"property uchar {name}\n" for name in names)))
    assert color(path) == [255, 0, 0]


# The files of the faults themselves


@pytest.mark.skipif(not FAULTS.is_dir(), reason="the folder of failing inputs is not beside the project")
@pytest.mark.parametrize(
    ("name", "red"),
    [
        ("required_extension_that_changes_nothing/meshes/*.gltf", False),
        ("off_header_glued/meshes/*.off", False),
        ("unused_material_missing/meshes/*.obj", False),
        ("mtllib_several_names/meshes/*.obj", False),
        ("obj_names_absent_vn_vt/meshes/*.obj", False),
        ("obj_group_of_edges/meshes/*.obj", False),
        ("ply_comment_not_ascii/meshes/*.ply", False),
        ("ply_tristrips/meshes/*.ply", False),
        ("byte_order_mark/meshes/bom_[mo]*/*.obj", True),
        ("byte_order_mark/meshes/*/*[fv]*.o*", False),
    ],
)
def test_files_that_once_were_lost_are_read(name, red):
    paths = sorted(FAULTS.glob(name))
    assert paths
    for path in paths:
        mesh = load_mesh(path)
        assert isinstance(mesh, Mesh)
        assert len(mesh.faces) == (2 if path.suffix == ".ply" and "strip" in path.name else 12), path
        if red:
            assert color(path) == [255, 0, 0]
