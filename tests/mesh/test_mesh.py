"""Meshes of every file type: axes, scene graphs, one normalisation, normals, what is found and what is refused."""

import numpy as np
import pytest
import trimesh
from helpers.made_meshes import Y_UP_FROM_Z_UP, GltfWriter, chiral, rigged, triangles, volume

from xray.common.axes import UP_OF_SUFFIX, WORLD_FROM_UP, world_from_file
from xray.common.errors import InputError
from xray.mesh.load import load_mesh
from xray.mesh.mesh import Mesh
from xray.mesh.part import Part

BOX = trimesh.creation.box()


def normalised(vertices: np.ndarray) -> np.ndarray:
    low, high = vertices.min(0), vertices.max(0)
    return (vertices - (low + high) / 2) / (high - low).max()


def mesh_of(*parts: Part) -> Mesh:
    return Mesh(parts, np.eye(3), "made")


@pytest.mark.parametrize("up", ["y", "z"])
@pytest.mark.parametrize("suffix", UP_OF_SUFFIX)
def test_a_chiral_solid_is_itself_from_every_file_type_and_axis(tmp_path, suffix, up):
    solid = chiral()
    in_file = solid.copy()
    if up == "y":
        in_file.vertices = solid.vertices @ Y_UP_FROM_Z_UP.T
    path = tmp_path / f"solid{suffix}"
    in_file.export(path)
    mesh = load_mesh(path, up)
    assert np.array_equal(triangles(mesh.vertices, mesh.faces), triangles(normalised(solid.vertices), solid.faces))
    assert volume(mesh.vertices, mesh.faces) > 0
    if UP_OF_SUFFIX[suffix] == up:
        assert np.array_equal(load_mesh(path).vertices, mesh.vertices)


def test_every_axis_rule_is_a_rotation():
    for suffix in UP_OF_SUFFIX:
        for up in ("auto", "y", "z"):
            rotation = world_from_file(suffix.upper(), up)
            assert np.array_equal(rotation @ rotation.T, np.eye(3))
            assert np.linalg.det(rotation) == 1
    assert np.array_equal(WORLD_FROM_UP["y"] @ (1, 2, 3), (1, -3, 2))
    for bad in ((".fbx", "auto"), (".glb", "x")):
        with pytest.raises(InputError, match="expected one of"):
            world_from_file(*bad)


@pytest.mark.parametrize("suffix", [".glb", ".gltf"])
def test_scene_graph_with_roots_instances_mirrors_and_shear(tmp_path, suffix):
    writer = GltfWriter()
    cube = writer.mesh(BOX.vertices, BOX.faces, NORMAL=writer.array(BOX.vertices))
    turn = trimesh.transformations.rotation_matrix(0.7, (1, 2, 3))
    quaternion = trimesh.transformations.quaternion_from_matrix(turn)[[1, 2, 3, 0]].tolist()
    child = writer.node(root=False, mesh=cube, translation=[0, 2, 0], rotation=quaternion, scale=[1, 2, 0.5])
    writer.node(mesh=cube, children=[child], scale=[-1, 1, 1], translation=[3, 0, 0])
    sheared = np.eye(4)
    sheared[0, 1] = 0.4
    writer.node(mesh=cube, matrix=sheared.T.ravel().tolist())
    writer.node(root=False, mesh=cube, translation=[90, 0, 0])  # in no scene
    mesh = load_mesh(writer.save(tmp_path / f"scene{suffix}"), up="z")

    mirror = np.diag([-1.0, 1, 1, 1])
    mirror[0, 3] = 3
    inner = trimesh.transformations.translation_matrix((0, 2, 0)) @ turn @ np.diag([1, 2, 0.5, 1])
    places = [mirror, mirror @ inner, sheared]
    expected = np.concatenate([BOX.vertices @ place[:3, :3].T + place[:3, 3] for place in places])
    faces = np.concatenate(
        [(BOX.faces[:, ::-1] if np.linalg.det(place) < 0 else BOX.faces) + 8 * k for k, place in enumerate(places)]
    )
    assert np.array_equal(triangles(mesh.vertices, mesh.faces), triangles(normalised(expected), faces))
    for start in range(0, len(mesh.faces), 12):
        assert volume(mesh.vertices, mesh.faces[start : start + 12]) > 0
    outward = (mesh.vertex_normals[mesh.faces] * mesh.face_normals[:, None]).sum(-1)
    assert outward.min() > 0  # normals of mirrored instances still point outside


def test_gltf_instancing_and_strips_and_sparse_and_quantised(tmp_path):
    writer = GltfWriter()
    square = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    strip = writer.mesh(square, [0, 1, 2, 3], mode=5)
    shift = writer.array([[0, 0, 0], [0, 0, 2]])
    writer.node(mesh=strip, extensions={"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": shift}}})
    whole = writer.array(square * 127, "int8", normalized=True)
    fan = {"attributes": {"POSITION": whole}, "indices": writer.array([0, 1, 3, 2], "uint8"), "mode": 6}
    writer.node(mesh=writer.add("meshes", {"primitives": [fan]}), translation=[0, 0, 4])
    moved = writer.array(np.zeros((3, 3)))
    writer.tree["accessors"][moved]["sparse"] = {
        "count": 2,
        "indices": {"bufferView": writer.view(np.array([1, 2], np.uint16).tobytes()), "componentType": 5123},
        "values": {"bufferView": writer.view(np.array([[1, 0, 0], [0, 1, 0]], np.float32).tobytes())},
    }
    writer.node(mesh=writer.add("meshes", {"primitives": [{"attributes": {"POSITION": moved}}]}), translation=[0, 0, 6])
    mesh = load_mesh(writer.save(tmp_path / "a.glb"), up="z")
    levels = [(mesh.vertices[:, 2] == z).sum() for z in np.unique(mesh.vertices[:, 2])]
    assert levels == [4, 4, 4, 3]
    assert len(mesh.faces) == 7
    assert np.allclose(mesh.face_normals, (0, 0, 1))


def test_skins_and_morph_targets_stand_as_their_nodes_do(tmp_path):
    path, expected = rigged(tmp_path / "rigged.glb")
    mesh = load_mesh(path, up="z")
    flat = expected.reshape(-1, 3)
    faces = np.arange(len(flat)).reshape(-1, 3)
    found = np.abs(mesh.vertices[mesh.faces] - normalised(flat)[faces]).max()
    assert found < 1e-6


def test_the_longest_side_is_one_and_the_centre_is_the_origin():
    stray = np.concatenate([BOX.vertices * (8, 2, 4) + 70, [[1e6, 0, 0]]])  # the last one in no face
    mesh = mesh_of(Part(stray, np.array(BOX.faces)))
    assert np.allclose([mesh.vertices.min(0), mesh.vertices.max(0)], [[-0.5, -0.125, -0.25], [0.5, 0.125, 0.25]])
    assert mesh.vertices.dtype == mesh.face_normals.dtype == np.float64
    assert mesh.faces.dtype == np.int32


def test_degenerate_faces_go_and_their_neighbours_keep_their_colours():
    square = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [2, 0, 0]], float)
    faces = np.array([[0, 1, 1], [0, 1, 2], [0, 1, 4], [0, 2, 3]])
    colors = np.array([[1, 1, 1], [1, 0, 0], [1, 1, 1], [0, 0, 1]], np.float32)
    mesh = mesh_of(Part(square, faces, face_colors=colors))
    assert len(mesh.faces) == 2
    assert len(mesh.vertices) == 4
    assert np.allclose(mesh.colors(np.array([0, 1]), np.full((2, 3), 1 / 3)), [[1, 0, 0], [0, 0, 1]], atol=1e-6)
    assert np.isfinite(mesh.face_normals).all()


def test_normals_face_or_vertex_with_the_sign_of_the_face():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], float)
    tilted = np.array([[1.0, 0, 3], [0, 0, 0.5], [0, 2, 2]])
    bary = np.array([[0.2, 0.3, 0.5], [1, 0, 0]])
    for sign in (1, -1):
        mesh = mesh_of(Part(vertices, np.array([[0, 1, 2]]), normals=tilted * sign))
        unit = tilted / np.linalg.norm(tilted, axis=1, keepdims=True)
        expected = bary @ unit
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        assert np.allclose(mesh.normals(np.zeros(2, int), bary, "vertex"), expected)
        assert np.array_equal(mesh.normals(np.zeros(2, int), bary), [[0, 0, 1]] * 2)
    without = Part(vertices + 5, np.array([[0, 1, 2]]))
    both = mesh_of(Part(vertices, np.array([[0, 1, 2]]), normals=tilted), without)
    assert np.array_equal(both.normals(np.array([1]), bary[:1], "vertex"), [[0, 0, 1]])
    with pytest.raises(InputError, match="normals 'smooth'"):
        both.normals(np.array([1]), bary[:1], "smooth")


def test_samples_lie_on_the_surface_in_proportion_to_its_area():
    mesh = mesh_of(Part(np.array(BOX.vertices) * (1, 2, 4), np.array(BOX.faces)))
    points, normals, colors = mesh.sample(20000, np.random.default_rng(0))
    half = np.array([0.125, 0.25, 0.5])
    assert np.allclose(np.abs(points / half).max(1), 1)
    assert np.allclose((np.abs(points) * np.abs(normals)).sum(1), np.abs(normals) @ half)
    share = np.abs(normals).mean(0)
    assert np.allclose(share, np.array([8, 4, 2]) / 14, atol=0.015)
    assert np.allclose(colors, 0.8, atol=1e-4)


def test_unusable_meshes_are_one_line_that_names_the_file(tmp_path):
    flat = [[0, 0, 0], [1, 0, 0], [2, 0, 0]]
    files = {
        "empty.obj": "",
        "points.obj": "v 0 0 0\nv 1 0 0\n",
        "words.obj": "v 0 0 zero\nf 1 1 1\n",
        "index.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n",
        "zero.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 0 1 2\n",
        "letter.obj": "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 x\n",
        "nan.obj": "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
        "line.obj": "".join("v {} {} {}\n".format(*v) for v in flat) + "f 1 2 3\n",
        "library.obj": "mtllib gone.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nusemtl m\nf 1 2 3\n",
        "text.glb": "glTF, not really",
        "other.gltf": '{"asset": {"version": "1.0"}}',
        "list.gltf": "[1, 2]",
        "none.gltf": '{"asset": {"version": "2.0"}, "scenes": [{"nodes": [3]}]}',
        "loop.gltf": '{"asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"children": [0]}]}',
        "draco.gltf": '{"asset": {"version": "2.0"}, "extensionsRequired": ["KHR_draco_mesh_compression"]}',
        "bad.ply": "ply\nformat ascii 1.0\nelement vertex 9\n",
        "bad.stl": "solid nothing",
        "bad.off": "OFF\n3 1 0\n0 0 0\n",
        "what.fbx": "",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError) as caught:
            load_mesh(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such file"):
        load_mesh(tmp_path / "absent.glb")


@pytest.mark.parametrize("suffix", UP_OF_SUFFIX)
def test_a_file_cut_short_anywhere_is_refused_or_read(tmp_path, suffix):
    chiral().export(tmp_path / f"whole{suffix}")
    content = (tmp_path / f"whole{suffix}").read_bytes()
    path = tmp_path / f"cut{suffix}"
    outcomes = []
    for share in np.linspace(0, 0.95, 12):
        path.write_bytes(content[: int(share * len(content))])
        outcomes.append(_refusal(path))
    refused = [words for words in outcomes if words is not None]
    assert all(str(path) in words for words in refused)
    assert len(refused) >= (1 if suffix == ".obj" else 6)


def _refusal(path) -> str | None:
    try:
        load_mesh(path)
    except InputError as error:
        return str(error)
    return None
