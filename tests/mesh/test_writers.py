"""One shape in the many ways in which programs write it: each is read with the colour and faces that it has."""

from __future__ import annotations

import base64
import json
import re
import struct
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from helpers.made_meshes import GltfWriter
from PIL import Image

from xray.common import srgb
from xray.common.errors import InputError
from xray.mesh.load import load_mesh

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
ROWS = "0 0 0\n1 0 0\n1 1 0\n0 1 0\n"
RED, GREY, BLUE = [200, 40, 40], [204, 204, 204], [0, 0, 255]


def colors(path: Path, content: str | bytes) -> list[list[int]]:
    """The colours in the middle of the faces, from 0 to 255."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    mesh = load_mesh(path)
    count = len(mesh.faces)
    found = mesh.colors(np.arange(count), np.full((count, 3), 1 / 3))
    return np.rint(found * 255).astype(int).tolist()


def rows(behind: str, before: str = "") -> str:
    return "".join(f"{before}{x:g} {y:g} {z:g} {behind}\n" for x, y, z in SQUARE)


# Colours


@pytest.mark.parametrize(
    ("values", "whole", "expected"),
    [
        ([[1, 0, 0]], True, [1, 0, 0]),
        ([[255, 51, 0]], True, [1, 0.2, 0]),
        ([[65535, 257, 0]], True, [1, 1 / 255, 0]),
        ([[2**32 - 1, 0, 0]], True, [1, 0, 0]),
        ([[0.5, 1.5, -1]], False, [0.5, 1, 0]),
        ([[255.0, 51.0, 0.5]], False, [1, 0.2, 0.5 / 255]),
    ],
)
def test_how_far_the_numbers_of_colours_count(values, whole, expected):
    assert np.allclose(srgb.unit_colors(np.array(values, float), whole), [expected])


def test_colours_that_count_in_no_known_way_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.obj: colours up to 1e\+10, expected at most 1, 255 or 65535"):
        colors(tmp_path / "a.obj", rows("1e10 0 0", "v ") + "f 1 2 3 4\n")
    assert srgb.unit_colors(np.zeros((0, 3)), True).shape == (0, 3)
    assert np.isnan(srgb.unit_colors(np.full((1, 3), np.nan), False)).all()


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
@pytest.mark.parametrize(
    ("kind", "factor"),
    [("uchar", 1), ("ushort", 1), ("ushort", 257), ("short", 1), ("int", 1), ("uint", 257)]
    + [("float", 1), ("float", 1 / 255), ("double", 1), ("double", 1 / 255)],
)
def test_ply_colours_of_every_type_and_range(tmp_path, form, kind, factor):
    code = {"uchar": "B", "ushort": "H", "short": "h", "int": "i", "uint": "I", "float": "f", "double": "d"}[kind]
    shade = [value * factor for value in RED]
    header = f"ply\r\nformat {form} 1.0\nelement vertex 4\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property {kind} {name}\n" for name in ("red", "green", "blue"))
    header += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    if form == "ascii":
        body = (rows(" ".join(map(repr, shade))) + "4 0 1 2 3\n").encode()
    else:
        order = "<" if "little" in form else ">"
        body = b"".join(struct.pack(f"{order}3f3{code}", *vertex, *shade) for vertex in SQUARE)
        body += struct.pack(f"{order}B4i", 4, 0, 1, 2, 3)
    assert colors(tmp_path / "a.ply", header.encode() + body) == [RED] * 2


def test_ply_faces_without_a_picture_beside_ones_with(tmp_path):
    Image.new("RGB", (2, 2), tuple(RED)).save(tmp_path / "b.png")
    header = "ply\nformat ascii 1.0\ncomment TextureFile gone.png\ncomment TextureFile b.png\nelement vertex 4\n"
    header += "".join(f"property float {axis}\n" for axis in ("x", "y", "z", "tx", "ty"))
    header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    header += "element face 2\nproperty list uchar int vertex_indices\nproperty int texnumber\nend_header\n"
    body = rows("0.5 0.5 0 0 255") + "3 0 1 2 1\n3 0 2 3 -1\n"
    assert sorted(colors(tmp_path / "a.ply", header + body)) == sorted([RED, BLUE])
    with pytest.raises(InputError, match=r"a face with texnumber -2, there are 2 pictures"):
        colors(tmp_path / "a.ply", header + body.replace("-1", "-2"))


@pytest.mark.parametrize("bare", ["6 0 0 0 0 0 0 -1", "0 -1", "0 0"])
def test_ply_faces_without_a_picture_where_there_is_one_alone(tmp_path, bare):
    Image.new("RGB", (2, 2), tuple(RED)).save(tmp_path / "b.png")
    header = "ply\nformat ascii 1.0\ncomment TextureFile b.png\nelement vertex 4\n"
    header += "".join(f"property float {axis}\n" for axis in "xyz")
    header += "".join(f"property uchar {name}\n" for name in ("red", "green", "blue"))
    header += "element face 2\nproperty list uchar int vertex_indices\nproperty list uchar float texcoord\n"
    header += "property int texnumber\nend_header\n" + rows("0 0 255")
    body = f"3 0 1 2 6 0 0 1 0 1 1 0\n3 0 2 3 {bare}\n"
    assert sorted(colors(tmp_path / "a.ply", header + body)) == sorted([RED, BLUE])
    (tmp_path / "b.png").unlink()
    assert colors(tmp_path / "a.ply", header + f"3 0 1 2 {bare}\n3 0 2 3 {bare}\n") == [BLUE] * 2


@pytest.mark.parametrize(
    ("behind", "color"),
    [("200 40 40", RED), ("200.0 40.0 40.0", RED), (".7843 .1569 .1569", RED), ("1 200 40 40", RED)]
    + [("200 40 40 1", RED), ("1 0 0", [255, 0, 0]), ("1", GREY)],
)
def test_obj_vertex_colours_of_every_range_with_weight_or_alpha(tmp_path, behind, color):
    assert colors(tmp_path / "a.obj", rows(behind, "v ") + "f 1 2 3 4\n") == [color] * 2
    mixed = rows("", "v ") + rows(behind, "v ") + "f 5 6 7 8\nf 1 2 3\n"
    assert colors(tmp_path / "a.obj", mixed) == [color] * 2 + [GREY]


# .obj and .mtl


@pytest.mark.parametrize(
    "library",
    [
        "newmtl m # of wood\nKd .7843 .1569 .1569 # red\n",
        "newmtl m\nKd .7843 \\\n .1569 .1569 1.0\n",
        "newmtl m\nKd 200 40 40\n",
        "newmtl m\nKd .7843 .1569\n",
        "newmtl m\nmap_Kd p.png # the picture\n",
        "newmtl m\nmap_Kd -S 1 1 1 -clamp off two  words.png\n",
        "newmtl m\nmap_Kd 'p.png'\n",
        "newmtl m\nmap_Kd C:\\Users\\me\\Tex\\q.png\n",
        "newmtl m\nmap_Kd /data/me/work/TEX/Q.PNG\n",
        "newmtl m\nmap_Kd two%20%20words.png\n",
        "newmtl m\nmap_Kd \\\n p.png\n",
    ],
)
@pytest.mark.parametrize("folder", [".", "libraries"])
def test_material_libraries_as_they_come(tmp_path, library, folder):
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / "tex").mkdir()
    for name in ("p.png", "two  words.png", "tex/q.png"):
        Image.new("RGB", (2, 2), tuple(RED)).save(tmp_path / name)
    (tmp_path / folder / "a.mtl").write_text(library)
    text = f"mtllib {folder}/a.mtl # colours\n{rows('', 'v ')}vt 0 0\nusemtl m # wood\nf 1/1 2/1 3/1 4/1\n"
    assert colors(tmp_path / "a.obj", text) == [RED] * 2


@pytest.mark.parametrize(
    ("name", "place"),
    [("tex/p.png", "tex"), ("libraries/p.png", "libraries"), ("t%201/p.png", "t 1"), ("p.png # was old/q.png", ".")]
    + [("C:\\gone\\p.png # was old/q.png", "."), ("../tex/p.png", "tex")],
)
def test_the_end_of_a_path_counts_only_where_the_whole_leads_nowhere(tmp_path, name, place):
    """Beside the library lie pictures of the same last part that are not meant."""
    for folder in ("libraries/libraries", "tex", "t 1"):
        (tmp_path / folder).mkdir(parents=True)
    for other in ("libraries/p.png", "libraries/q.png", "p.png", "q.png", "tex/p.png", "t 1/p.png"):
        Image.new("RGB", (2, 2), (0, 0, 255)).save(tmp_path / other)
    Image.new("RGB", (2, 2), tuple(RED)).save(tmp_path / place / "p.png")
    library = "a.mtl" if place == "." else "libraries/a.mtl"
    (tmp_path / library).write_text(f"newmtl m\nmap_Kd {name}\n")
    text = f"mtllib {library}\n{rows('', 'v ')}vt 0 0\nusemtl m\nf 1/1 2/1 3/1 4/1\n"
    assert colors(tmp_path / "a.obj", text) == [RED] * 2


@pytest.mark.parametrize("line", ["# made in C:\\work\\", "  # C:\\ \t", "o C:\\work\\", "g\tC:\\work\\"])
def test_a_comment_or_the_name_of_a_group_does_not_swallow_the_next_line(tmp_path, line):
    (tmp_path / "a.mtl").write_text(f"{line}\nnewmtl m\n{line}\nKd .7843 \\\n .1569 .1569\n")
    text = f"{line}\nmtllib a.mtl\n{line}\n{rows('', 'v ')}usemtl m\n{line}\nf 1 2 \\\n 3 4\n"
    assert colors(tmp_path / "a.obj", text) == [RED] * 2


def test_names_of_materials_may_hold_a_number_sign(tmp_path):
    (tmp_path / "a #1.mtl").write_text("newmtl Material #25\nKd 1 0 0\nnewmtl Material #26\nKd 0 0 1\nnewmtl e\nKd\n")
    use = "".join(f"usemtl {name}\nf 1 2 3\n" for name in ("Material #26", "Material #25", "e"))
    text = f"mtllib a #1.mtl\n{rows('', 'v ')}{use}"
    assert colors(tmp_path / "a.obj", text) == [BLUE, [255, 0, 0], GREY]


@pytest.mark.parametrize("word", ["nan", "-nan(ind)", "-1.#IND", "1.#QNAN00"])
def test_numbers_that_are_none_do_no_harm_where_nothing_needs_them(tmp_path, word):
    head = f"{rows('', 'v ')}v {word} 0 0\nvn {word} {word} {word}\nvt {word} 0\n"
    assert colors(tmp_path / "a.obj", f"{head}f 1/1/1 2/1/1 3/1/1 \\ \n4/1/1\n") == [GREY] * 2
    with pytest.raises(InputError, match="vertices that are not finite"):
        colors(tmp_path / "a.obj", f"{head}f 1 2 5\n")


@pytest.mark.parametrize("word", ["nan", "-nan(ind)", "-1.#IND", "1.#QNAN00"])
def test_normals_that_are_none_in_text_of_other_kinds(tmp_path, word):
    words = " ".join([word] * 3)
    ply = "ply\nformat ascii 1.0\nelement vertex 4\n"
    ply += "".join(f"property float {name}\n" for name in ("x", "y", "z", "nx", "ny", "nz"))
    ply += "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    assert colors(tmp_path / "a.ply", ply + rows(words) + "4 0 1 2 3\n") == [GREY] * 2
    assert colors(tmp_path / "a.off", f"NOFF\n4 1 0\n{rows(words)}4 0 1 2 3\n") == [GREY] * 2
    facet = f"facet normal {words}\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex {{}} 1 0\nendloop\nendfacet\n"
    text = f"solid a\n{facet}endsolid a\n"
    assert colors(tmp_path / "a.stl", text.format(1)) == [GREY]
    with pytest.raises(InputError, match="vertices that are not finite"):
        colors(tmp_path / "a.stl", text.format(word))


@pytest.mark.parametrize("word", ["1,5", "0x1", "1.0D+00", "1e", "--1", "+", "1_0"])
def test_the_word_that_is_no_number_is_shown(tmp_path, word):
    ply = "ply\nformat ascii 1.0\nelement vertex 4\n" + "".join(f"property float {axis}\n" for axis in "xyz")
    ply += f"element face 1\nproperty list uchar int vertex_indices\nend_header\n{word} {ROWS[2:]}4 0 1 2 3\n"
    facet = f"facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex {word} 0 0\nvertex 1 1 0\nendloop\nendfacet\n"
    for name, text in {
        "a.ply": ply,
        "a.off": f"OFF\n4 1 0\n{word} {ROWS[2:]}4 0 1 2 3\n",
        "a.stl": f"solid a\n{facet}endsolid a\n",
    }.items():
        shown = re.escape(word if name != "a.stl" else word.lower())
        with pytest.raises(InputError, match=rf"{name}: not readable as \.\w+ \('{shown}' in place of a number\)"):
            colors(tmp_path / name, text)


def test_lines_that_cannot_be_read_are_shown(tmp_path):
    with pytest.raises(InputError, match=r"a line of 'v' that is not three numbers \(1,5 0 0\)"):
        colors(tmp_path / "a.obj", "v 0 0 0\nv 1,5 0 0\nf 1 2 1\n")
    with pytest.raises(InputError, match=r"an index that is not a whole number \(1 2\.0 3\)"):
        colors(tmp_path / "a.obj", rows("", "v ") + "f 1 2 3\nf 1 2.0 3\n")


# .off and .stl


@pytest.mark.parametrize(
    ("text", "color"),
    [
        (f"OFF\n4\n1\n0\n{ROWS}4 0 1 2 3\n", GREY),
        (f"OFF # a\n# b\n4 1\n0\n\n{ROWS}# c\n4 0 1 2 3\n", GREY),
        (f"OFF\n4 1\n{ROWS}4 0 1 2 3\n", GREY),
        (f"4 1 0\n{ROWS}4 0 1 2 3\n", GREY),
        ("STOFF\n4 1 0\n" + rows("0 1") + "4 0 1 2 3\n", GREY),
        ("STCNOFF\n4 1 0\n" + rows("0 0 1 200 40 40 255 0 1") + "4 0 1 2 3\n", RED),
        ("C4OFF\n4 1 0\n" + "".join(f"{3 * x} {3 * y} {z} 3 200 40 40\n" for x, y, z in SQUARE) + "4 0 1 2 3\n", RED),
        ("COFF\n4 1 0\n" + rows("200.0 40.0 40.0 255.0") + "4 0 1 2 3\n", RED),
        ("COFF\n4 1 0\n" + rows("0 0 1 1") + "4 0 1 2 3\n", BLUE),
        (f"OFF\n4 1 0\n{ROWS}4 0 1 2 3 200.0 40.0 40.0\n", RED),
        (f"nOFF\n3\n4 1 0\n{ROWS}4 0 1 2 3\n", GREY),
        ("CNnOFF 3 4 1 0\n" + rows("0 0 1 200 40 40 255") + "4 0 1 2 3\n", RED),
        ("4nOFF\n3\n4 1 0\n" + "".join(f"{3 * x} {3 * y} {z} 3\n" for x, y, z in SQUARE) + "4 0 1 2 3\n", GREY),
        ("noff\n4 1 0\n" + rows("0 0 1") + "4 0 1 2 3\n", GREY),
    ],
)
def test_off_of_every_kind(tmp_path, text, color):
    assert colors(tmp_path / "a.off", text) == [color] * 2
    assert np.ptp(load_mesh(tmp_path / "a.off").vertices, axis=0).tolist() == [1, 1, 0]


def test_off_of_other_dimensions_is_named(tmp_path):
    for head, stated in (("nOFF\n4\n", "4"), ("CnOFF 2\n", "2"), ("nOFF\n", "4"), ("nOFF\nx", "no number")):
        with pytest.raises(InputError, match=rf"a\.off: an nOFF with {stated} as the dimensions .*, expected 3"):
            colors(tmp_path / "a.off", f"{head}4 1 0\n{ROWS}4 0 1 2 3\n")


def test_off_with_colours_of_whole_numbers_beside_decimal_ones(tmp_path):
    text = f"OFF\n4 2 0\n{ROWS}3 0 1 2 200 40 40\n3 0 2 3 0.0 0.0 1.0\n"
    assert colors(tmp_path / "a.off", text) == [RED, BLUE]
    assert colors(tmp_path / "a.off", text.replace("200 40 40", "1 0 0")) == [[255, 0, 0], BLUE]


def test_off_with_colours_on_some_faces(tmp_path):
    text = f"COFF\n4 2 0\n{rows('0 0 255')}3 0 1 2 200 40 40\n3 0 2 3\n"
    assert colors(tmp_path / "a.off", text) == [RED, GREY]


@pytest.mark.parametrize("join", ["\n", " ", "\n\t"])
def test_stl_words_on_any_lines(tmp_path, join):
    facet = ["facet normal 0 0 1", "outer loop", "vertex 0 0 0", "vertex 1 0 0", "vertex 1 1 0", "endloop", "endfacet"]
    first, second = join.join(facet), join.join(facet).replace("vertex 1 1 0", "vertex 0 1 1")
    for line in (join, "\n"):
        name = "a" if line == " " else "vertex 7"
        text = f"solid {name}{line}{first}{line}endsolid{line}solid b{line}{second}{line}endsolid b\n"
        assert len(colors(tmp_path / "a.stl", text)) == 2
    assert len(colors(tmp_path / "a.stl", text.replace("\n", "\r\n").upper())) == 2


def test_stl_facets_that_are_no_triangles_are_refused(tmp_path):
    """Cut into threes regardless of facets, three quadrilaterals would be four wrong triangles."""
    quad = "".join(f"vertex {x:g} {y:g} {z:g}\n" for x, y, z in SQUARE)
    facet = f"facet normal 0 0 1\nouter loop\n{quad}endloop\nendfacet\n"
    with pytest.raises(InputError, match=r"a\.stl: .*12 vertices in 3 facets, expected three in each"):
        colors(tmp_path / "a.stl", f"solid a\n{3 * facet}endsolid a\n")


# .gltf


def square(**attributes) -> GltfWriter:
    writer = GltfWriter()
    writer.node(mesh=writer.mesh(SQUARE, [[0, 1, 2], [0, 2, 3]], **attributes))
    return writer


def with_buffer(path: Path, writer: GltfWriter, uri: str) -> int:
    """Number of faces of a .gltf whose buffer has this address."""
    writer.save(path)
    tree = json.loads(path.read_text())
    tree["buffers"][0]["uri"] = uri
    return len(colors(path, json.dumps(tree)))


def test_gltf_data_in_the_file_in_every_form(tmp_path):
    writer = square()
    writer.view(bytes([0xFB, 0xEF, 0xBE, 0xFF]))  # of which the alphabets of base64 make other letters
    content = writer.binary
    plain, other = base64.b64encode(content).decode(), base64.urlsafe_b64encode(content).decode()
    assert plain != other
    for data in (
        *(f"data:{kind};base64,{plain}" for kind in ("", "text/plain;charset=utf-8", "application/gltf-buffer")),
        *(f"DATA:;BASE64,{form}" for form in (other, plain.rstrip("="), quote(plain, safe=""), plain + "\n")),
        "data:application/octet-stream," + quote(content),
    ):
        assert with_buffer(tmp_path / "a.gltf", writer, data) == 2
    with pytest.raises(InputError, match=r"a\.gltf: a data: URI that is not base64"):
        with_buffer(tmp_path / "a.gltf", writer, "data:;base64,!!!!")


@pytest.mark.parametrize(
    "uri",
    ["sub\\b.bin", "gone/../sub/b.bin", "file:///data/me/sub/b.bin", "C:/x/sub/b.bin", "SUB/B.bin", "sub/b.bin?x"],
)
def test_gltf_parts_at_the_addresses_of_other_machines(tmp_path, uri):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/b.bin").write_bytes(square().binary)
    assert with_buffer(tmp_path / "a.gltf", square(), uri) == 2


@pytest.mark.parametrize(("kind", "most"), [("uint8", 255), ("uint16", 65535), ("float32", 1)])
@pytest.mark.parametrize("said", [True, False])
def test_gltf_vertex_colours_of_every_type_whether_said_to_be_normalised_or_not(tmp_path, kind, most, said):
    writer = square()
    shade = np.array(srgb.to_linear(np.array(RED) / 255)) * most
    more = {"normalized": True} if said and most > 1 else {}
    number = writer.array(np.tile(shade if most == 1 else np.rint(shade), (4, 1)), kind, **more)
    writer.tree["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = number
    path = writer.save(tmp_path / "a.gltf")
    assert np.abs(np.array(colors(path, path.read_bytes())) - RED).max() <= 2


@pytest.mark.parametrize("required", [True, False])
def test_gltf_extensions_that_say_which_picture_or_node(tmp_path, required):
    for name, form in {"EXT_texture_avif": "AVIF", "MSFT_texture_dds": "DDS", "KHR_texture_basisu": None}.items():
        writer = square()
        reference = writer.picture(np.full((16, 16, 3), RED, np.uint8))
        writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": reference}})
        writer.tree["meshes"][0]["primitives"][0]["material"] = 0
        other = writer.add("images", {"uri": "other"})
        texture = writer.tree["textures"][0]
        texture["extensions"] = {name: {"source": other}}
        writer.tree["extensionsRequired"] = [name] if required else []
        path = writer.save(tmp_path / "a.gltf")
        if form:  # else a picture that cannot be read, with another in its place
            Image.new("RGB", (16, 16), tuple(RED)).save(tmp_path / "other", form)
            del texture["source"]
            writer.save(path)
        assert np.abs(np.array(colors(path, path.read_bytes())) - RED).max() <= 3, name
    del texture["source"]
    writer.save(path)
    with pytest.raises(InputError, match=r"without a readable picture .*KHR_texture_basisu"):
        colors(path, path.read_bytes())


def test_gltf_nodes_that_are_not_to_be_seen(tmp_path):
    writer = square()
    hidden = {"KHR_node_visibility": {"visible": False}}
    child = writer.node(root=False, mesh=0, translation=[3, 0, 0])
    writer.node(mesh=0, translation=[5, 0, 0], extensions=hidden, children=[child])
    for required in ([], ["KHR_node_visibility"]):
        writer.tree["extensionsRequired"] = required
        path = writer.save(tmp_path / "a.gltf")
        assert len(colors(path, path.read_bytes())) == 2


def test_gltf_without_scenes_of_another_encoding_or_version(tmp_path):
    writer = square()
    writer.tree["scenes"], writer.tree["asset"] = [], {"version": "2.0", "copyright": "caf\xe9"}
    path = writer.save(tmp_path / "a.gltf")
    tree = {**json.loads(path.read_text()), "scenes": []}
    assert len(colors(path, json.dumps(tree, ensure_ascii=False).encode("latin-1"))) == 2
    with pytest.raises(InputError, match=r"a\.glb: binary glTF version 1, expected 2"):
        colors(tmp_path / "a.glb", b"glTF" + struct.pack("<4I", 1, 100, 20, 0) + bytes(80))


@pytest.mark.parametrize("name", ["EXT_meshopt_compression", "KHR_meshopt_compression"])
def test_gltf_compressed_buffers_are_named(tmp_path, name):
    writer = square()
    writer.tree["bufferViews"][0] |= {"buffer": 1, "extensions": {name: {"buffer": 0, "byteLength": 8}}}
    path = writer.save(tmp_path / "a.gltf")
    tree = json.loads(path.read_text())
    tree["buffers"].append({"byteLength": 48})
    with pytest.raises(InputError, match=f"a.gltf: needs {name}; export it without that extension"):
        colors(path, json.dumps(tree))


@pytest.mark.parametrize(("name", "columns"), [("NORMAL", 2), ("COLOR_0", 2), ("COLOR_0", 1), ("TEXCOORD_0", 1)])
def test_gltf_values_of_other_types_than_their_use_asks_for_are_named(tmp_path, name, columns):
    writer = GltfWriter()
    reference = writer.picture(np.full((2, 2, 3), RED, np.uint8))
    material = writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": reference}})
    values = writer.array(np.ones((4, columns)))
    writer.node(mesh=writer.mesh(SQUARE, [0, 1, 2], material, **{name: values}))
    kind = {1: "SCALAR", 2: "VEC2"}[columns]
    with pytest.raises(InputError, match=rf"a\.glb: accessors\[{values}\] has type {kind}, expected VEC\d"):
        load_mesh(writer.save(tmp_path / "a.glb"))
    writer = GltfWriter()
    writer.node(mesh=writer.mesh(SQUARE[:, :2], [0, 1, 2]))
    with pytest.raises(InputError, match=r"a\.glb: accessors\[0\] has type VEC2, expected VEC3"):
        load_mesh(writer.save(tmp_path / "a.glb"))


def test_gltf_instances_that_have_values_of_their_own_alone_stand_in_place(tmp_path):
    writer = square()
    values = {"_ID": writer.array([[0], [1]], "uint16")}
    writer.tree["nodes"][0]["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": values}}
    assert len(load_mesh(writer.save(tmp_path / "a.glb")).faces) == 2


def test_gltf_nodes_with_two_parents_each_do_not_go_on_for_ever(tmp_path):
    """Each of 30 nodes has the next one twice, which makes a thousand million of the last one."""
    writer = square()
    for step in range(1, 30):
        writer.node(root=step == 1, children=[step + 1, step + 1])
    writer.node(root=False, mesh=0)
    with pytest.raises(InputError, match=r"a\.glb: nodes that have several parents, .* expected one$"):
        load_mesh(writer.save(tmp_path / "a.glb"))
    for step in range(5, 30):
        writer.tree["nodes"][step]["children"] = []
    writer.tree["nodes"][5]["mesh"] = 0
    assert len(load_mesh(writer.save(tmp_path / "a.glb")).faces) == 2 + 2 * 2**4


def test_glb_whose_text_is_filled_up_with_zeros(tmp_path):
    content = square().save(tmp_path / "a.glb").read_bytes()
    size = int.from_bytes(content[12:16], "little")
    text = content[20 : 20 + size] + bytes(4)
    assert (
        len(
            colors(
                tmp_path / "a.glb", content[:12] + struct.pack("<I", size + 4) + b"JSON" + text + content[20 + size :]
            )
        )
        == 2
    )


# Pictures


@pytest.mark.parametrize("word", ["NaN", "1e30", "-Infinity"])
def test_the_file_and_the_value_of_a_transform_that_cannot_be_are_named(tmp_path, word):
    Image.new("RGB", (2, 2)).save(tmp_path / "p.png")
    (tmp_path / "a.mtl").write_text(f"newmtl m\nmap_Kd -o 0 {word} p.png\n")
    words = rf"^{tmp_path}/a\.mtl: map_Kd -o 0 {word} p\.png, expected numbers up to 1e\+06$"
    with pytest.raises(InputError, match=words):
        colors(tmp_path / "a.obj", f"mtllib a.mtl\n{rows('', 'v ')}usemtl m\nf 1 2 3 4\n")
    writer = square()
    shift = {"KHR_texture_transform": {"scale": [1, float(word)]}}
    reference = writer.picture(np.zeros((2, 2, 3), np.uint8), extensions=shift)
    writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": reference}})
    writer.tree["meshes"][0]["primitives"][0]["material"] = 0
    words = rf"^{tmp_path}/a\.glb: texture transform .*scale.*{float(word)}.*, expected numbers up to 1e\+06$".replace(
        "+30", ".30"
    )
    with pytest.raises(InputError, match=words):
        load_mesh(writer.save(tmp_path / "a.glb"))


def test_pictures_of_floats_and_of_16_bits_with_8_in_use(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd p.tif\n")
    text = f"mtllib a.mtl\n{rows('', 'v ')}vt 0 0\nusemtl m\nf 1/1 2/1 3/1 4/1\n"
    for value, kind in ((0.4, np.float32), (102.0, np.float32), (102, np.uint16), (102 * 257, np.uint16)):
        Image.fromarray(np.full((4, 4), value, kind)).save(tmp_path / "p.tif")
        assert colors(tmp_path / "a.obj", text) == [[102] * 3] * 2
