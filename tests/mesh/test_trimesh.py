"""What trimesh 5.2 leaves out in silence: the reason for our own readers. Once it reads these, ours may go."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.made_meshes import GltfWriter, rigged
from PIL import Image

SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
HALVES = np.array([[0, 1, 2], [0, 2, 3]])
UV = SQUARE[:, :2] * 3
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
VERTICES = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


def loaded(path: Path) -> list[trimesh.Trimesh]:
    return list(trimesh.load_scene(path, process=False).geometry.values())


def textured(path: Path, sampler: dict | None = None, attributes=("TEXCOORD_0",), **reference) -> trimesh.Trimesh:
    """A square with a picture through trimesh: its last set of texture coordinates is UV, the others are 0."""
    writer = GltfWriter()
    material = {"pbrMetallicRoughness": {"baseColorTexture": writer.picture(PIXELS, sampler, **reference)}}
    arrays = {name: writer.array(UV * (name == attributes[-1])) for name in attributes}
    writer.node(mesh=writer.mesh(SQUARE, HALVES, writer.add("materials", material), **arrays))
    return loaded(writer.save(path))[0]


def test_gltf_samplers_transforms_and_second_coordinates(tmp_path):
    plain = textured(tmp_path / "a.glb", {})
    clamped = textured(tmp_path / "a.glb", {"wrapS": 33071, "wrapT": 33648, "magFilter": 9728})
    assert hash(clamped.visual.material) == hash(plain.visual.material)
    assert not set(vars(clamped.visual)) - set(vars(plain.visual))
    moved = textured(tmp_path / "a.glb", extensions={"KHR_texture_transform": {"offset": [0.2, 0.3], "scale": [2, 5]}})
    assert np.allclose(moved.visual.uv, UV * (1, -1) + (0, 1))
    assert hash(moved.visual.material) == hash(plain.visual.material)
    second = textured(tmp_path / "a.glb", attributes=("TEXCOORD_0", "TEXCOORD_1"), texCoord=1)
    assert np.allclose(second.visual.uv, (0, 1))


def test_gltf_parts_with_escaped_names(tmp_path):
    writer = GltfWriter()
    writer.node(mesh=writer.mesh(SQUARE, HALVES))
    with pytest.raises(FileNotFoundError, match="a%20buffer"):
        loaded(writer.save(tmp_path / "a.gltf"))


def test_gltf_vertex_colours_beside_a_material_and_missing_pictures(tmp_path):
    writer = GltfWriter()
    material = writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": writer.picture(PIXELS)}})
    writer.tree["images"][0] = {"uri": "gone.png"}
    colors = writer.array([[0.5, 0.25, 1]] * 4)
    writer.node(mesh=writer.mesh(SQUARE, HALVES, material, TEXCOORD_0=writer.array(UV), COLOR_0=colors))
    (mesh,) = loaded(writer.save(tmp_path / "a.glb"))
    assert mesh.visual.kind == "texture"
    assert mesh.visual.material.baseColorTexture is None
    assert not mesh.vertex_attributes


def test_gltf_skins(tmp_path):
    path, expected = rigged(tmp_path / "a.glb")
    found = trimesh.load_scene(path, process=False).to_mesh().bounds
    assert np.abs(found - [expected.min((0, 1)), expected.max((0, 1))]).max() > 0.1


@pytest.mark.parametrize("what", ["instances", "fan", "morph", "sparse", "normalised", "required"])
def test_gltf_geometry(tmp_path, what):
    writer = GltfWriter()
    fan = {"faces": np.arange(4), "mode": 6} if what == "fan" else {"faces": HALVES}
    node = {"mesh": writer.mesh(SQUARE, **fan)}
    position = writer.tree["accessors"][writer.tree["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    if what == "instances":
        offsets = writer.array([[0, 0, 0], [5, 0, 0]])
        node["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": offsets}}}
    elif what == "morph":
        writer.tree["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": writer.array(SQUARE)}]
        node["weights"] = [1.0]
    elif what == "sparse":
        indices, values = writer.view(np.array([2], "uint16").tobytes()), writer.view(np.full(3, 7, "<f4").tobytes())
        indices = {"bufferView": indices, "componentType": 5123}
        position["sparse"] = {"count": 1, "indices": indices, "values": {"bufferView": values}}
    elif what == "normalised":
        whole = writer.array((SQUARE * 32767).astype(np.int16), "int16", normalized=True)
        writer.tree["meshes"][0]["primitives"][0]["attributes"]["POSITION"] = whole
    elif what == "required":
        writer.tree["extensionsRequired"] = ["EXT_of_another_world"]
    writer.node(**node)
    scene = trimesh.load_scene(writer.save(tmp_path / "a.glb"), process=False)
    size = 0 if what == "fan" else 32767 if what == "normalised" else 1
    assert np.ptp(scene.to_mesh().vertices, axis=0).max(initial=0) == size if size else not scene.geometry


@pytest.mark.parametrize(
    "statement", ["-s 2 3 1 -o 0.25 0 p.png", "-clamp on p.png", "C:\\scans\\p.png", "gone.png"], ids=str.split
)
def test_obj_options_and_paths_of_pictures(tmp_path, statement):
    Image.fromarray(PIXELS).save(tmp_path / "p.png")
    (tmp_path / "a.mtl").write_text(f"newmtl m\nmap_Kd {statement}\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{VERTICES}usemtl m\nf 1/1 2/2 3/3 4/4\n")
    assert loaded(tmp_path / "a.obj")[0].visual.material.image is None


def test_obj_coordinates_where_one_face_has_none(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "p.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd p.png\n")
    (tmp_path / "a.obj").write_text(f"mtllib a.mtl\n{VERTICES}usemtl m\nf 1/1 2/2 3/3\nf 1 3 4\n")
    assert loaded(tmp_path / "a.obj")[0].visual.uv is None


def test_obj_second_libraries_vertex_colours_and_indices(tmp_path):
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 0 1 0\n")
    (tmp_path / "b.mtl").write_text("newmtl n\nKd 1 0 0\n")
    path = tmp_path / "a.obj"
    path.write_text(f"mtllib a.mtl\nmtllib b.mtl\n{VERTICES}usemtl m\nf 1 2 3\nusemtl n\nf 1 3 4\n")
    assert sorted(mesh.visual.kind or "" for mesh in loaded(path)) == ["", "texture"]
    colored = "".join("v {:g} {:g} {:g} 1 0 0\n".format(*vertex) for vertex in SQUARE)
    path.write_text(f"mtllib a.mtl\n{colored}usemtl m\nf 1 2 3\n")
    assert loaded(path)[0].visual.kind == "texture"
    path.write_text(f"mtllib gone.mtl\n{VERTICES}f 0 1 2\n")  # no such library, no such vertex
    assert len(loaded(path)[0].faces) == 1


def test_off_colours_normals_and_missing_faces(tmp_path):
    path = tmp_path / "a.off"
    rows = "".join("{:g} {:g} {:g} 0 0 1 255 0 0\n".format(*vertex) for vertex in SQUARE)
    path.write_text(f"NCOFF\n4 2 0\n{rows}3 0 1 2 255 0 128\n3 0 2\n")
    (mesh,) = loaded(path)
    assert not mesh.visual.defined
    assert "vertex_normals" not in mesh._cache
    assert len(mesh.faces) == 1


def test_ply_strips_comments_face_colours_and_normals_of_points(tmp_path):
    path = tmp_path / "a.ply"
    head = "ply\nformat ascii 1.0\n{}element vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    head += "{}end_header\n"
    rows = ["{:g} {:g} {:g} ".format(*vertex) for vertex in SQUARE]
    lists = "element {} {}\nproperty list uchar int vertex_indices\n"
    path.write_text(head.format("", lists.format("tristrips", 1)) + "\n".join([*rows, "4 0 1 3 2", ""]))
    assert not len(trimesh.load_mesh(path, process=False).faces)
    text = head.format("comment größe\n", lists.format("face", 1)) + "\n".join([*rows, "3 0 1 2", ""])
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(UnicodeDecodeError):
        trimesh.load_mesh(path, process=False)
    rgb = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    colored = [f"{row}1 2 3" for row in rows]
    path.write_text(head.format("", rgb + lists.format("face", 1) + rgb) + "\n".join([*colored, "3 0 1 2 9 8 7", ""]))
    visual = trimesh.load_mesh(path, process=False).visual
    assert visual.kind == "vertex"
    assert not (visual.face_colors[:, :3] == (9, 8, 7)).any()
    normals = "property float nx\nproperty float ny\nproperty float nz\n"
    path.write_text(head.format("", normals) + "\n".join([*(f"{row}0 0 1" for row in rows), ""]))
    assert not hasattr(trimesh.load(path, process=False), "vertex_normals")


def test_glb_written_with_colours_of_8_bits(tmp_path):
    mesh = trimesh.Trimesh(SQUARE, HALVES, vertex_colors=np.uint8([[1, 2, 3, 255]] * 4), process=False)
    mesh.export(tmp_path / "a.glb")
    assert b'"componentType":5121' in (tmp_path / "a.glb").read_bytes()
