"""The colour of surface points, by every way in which a file can say it."""

import numpy as np
import pytest
from helpers.made_meshes import GltfWriter
from PIL import Image

from xray.common import srgb
from xray.common.errors import InputError
from xray.mesh.load import load_mesh

RNG = np.random.default_rng(8)
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], float)
HALVES = np.array([[0, 1, 2], [0, 2, 3]])
UV = SQUARE[:, :2] * (3.5, 2) - (1.2, 0.4)
PIXELS = RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)
PIXELS[:, :4] = PIXELS[:1, :1]
FACE = np.repeat([0, 1], 200)
BARYCENTRIC = RNG.dirichlet(np.ones(3), 400)


def at(values: np.ndarray) -> np.ndarray:
    """Values of the square's corners (4, C) at the points."""
    return np.einsum("nkc,nk->nc", np.asarray(values, float)[HALVES[FACE]], BARYCENTRIC)


def looked_up(uv: np.ndarray, pixels: np.ndarray = PIXELS) -> np.ndarray:
    """Bilinear lookup of a picture that repeats, v down."""
    height, width = pixels.shape[:2]
    x, y = uv[:, 0] * width - 0.5, uv[:, 1] * height - 0.5
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    share, down = (x - left)[:, None], (y - top)[:, None]
    rows = [
        pixels[(top + k) % height, left % width] * (1 - share) + pixels[(top + k) % height, (left + 1) % width] * share
        for k in (0, 1)
    ]
    return (rows[0] * (1 - down) + rows[1] * down) / 255


def square(writer: GltfWriter, material=None, faces=HALVES, **attributes):
    writer.node(mesh=writer.mesh(SQUARE, faces, material, **attributes))


def colors(path, mode="texture"):
    return load_mesh(path).colors(FACE, BARYCENTRIC, mode)


def test_texture_as_it_is_tiled_and_upright(tmp_path):
    writer = GltfWriter()
    picture = writer.picture(PIXELS)
    material = writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": picture}})
    square(writer, material, TEXCOORD_0=writer.array(UV))
    found = colors(writer.save(tmp_path / "a.glb"))
    assert np.abs(found - looked_up(at(UV.astype(np.float32)))).max() < 1e-5


def test_product_of_texture_factor_and_vertex_colour_is_of_linear_light(tmp_path):
    writer = GltfWriter()
    factor, tint = [0.2, 0.9, 0.5, 0.3], np.array([[65535, 0, 30000], [0, 65535, 9], [100, 7, 65535], [5000] * 3])
    pbr = {"baseColorTexture": writer.picture(PIXELS), "baseColorFactor": factor}
    material = writer.add("materials", {"pbrMetallicRoughness": pbr})
    color = writer.array(np.hstack([tint, [[0]] * 4]), "uint16", normalized=True)
    square(writer, material, TEXCOORD_0=writer.array(UV), COLOR_0=color)
    found = colors(writer.save(tmp_path / "a.gltf"))
    expected = srgb.to_linear(looked_up(at(UV.astype(np.float32)))) * factor[:3] * at(tint / 65535)
    assert np.abs(found - srgb.from_linear(expected)).max() < 1e-5


def test_factor_alone_vertex_colour_alone_and_nothing(tmp_path):
    writer = GltfWriter()
    red = writer.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [0.5, 0.1, 0.0, 1]}})
    square(writer, red)
    square(writer, COLOR_0=writer.array([[0.25, 0.5, 1]] * 4))
    square(writer)
    square(writer, writer.add("materials", {}))
    mesh = load_mesh(writer.save(tmp_path / "a.glb"))
    found = mesh.colors(np.arange(8), np.full((8, 3), 1 / 3))[::2]
    linear = [[0.5, 0.1, 0], [0.25, 0.5, 1]]
    assert np.allclose(found, [*srgb.from_linear(linear), [0.8] * 3, [1, 1, 1]], atol=1e-5)


def test_sampler_transform_and_set_of_coordinates(tmp_path):
    writer = GltfWriter()
    shift = {"offset": [0.2, -0.3], "scale": [0.5, 2], "rotation": 0.6, "texCoord": 1}
    reference = writer.picture(
        PIXELS, {"wrapS": 33071, "wrapT": 33648, "magFilter": 9728}, extensions={"KHR_texture_transform": shift}
    )
    writer.tree["extensionsRequired"] = ["KHR_texture_transform", "KHR_materials_unlit"]
    material = writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": reference}})
    square(writer, material, TEXCOORD_0=writer.array(UV * 0), TEXCOORD_1=writer.array(UV))
    found = colors(writer.save(tmp_path / "a.glb"))
    u, v = at(UV.astype(np.float32)).T * [[0.5], [2]]
    x, y = np.cos(0.6) * u + np.sin(0.6) * v + 0.2, -np.sin(0.6) * u + np.cos(0.6) * v - 0.3
    column = np.clip(np.floor(x * 8).astype(int), 0, 7)
    row = np.floor(y * 8).astype(int) % 16
    assert np.array_equal(found, PIXELS[np.minimum(row, 15 - row), column].astype(np.float32) / 255)


def test_older_materials_and_missing_coordinates(tmp_path):
    writer = GltfWriter()
    glossy = {"diffuseFactor": [0.5, 1, 1, 1], "diffuseTexture": writer.picture(PIXELS)}
    material = writer.add("materials", {"extensions": {"KHR_materials_pbrSpecularGlossiness": glossy}})
    square(writer, material)
    expected = srgb.from_linear(srgb.to_linear(looked_up(np.zeros((1, 2)))) * [0.5, 1, 1])
    assert np.allclose(colors(writer.save(tmp_path / "a.glb")), expected, atol=1e-5)


def test_parts_of_every_kind_in_one_scene_keep_their_colours(tmp_path):
    writer = GltfWriter()
    pictured = writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": writer.picture(PIXELS)}})
    plain = writer.add("materials", {"pbrMetallicRoughness": {"baseColorFactor": [0, 1, 0, 1]}})
    square(writer, pictured, TEXCOORD_0=writer.array(UV))
    square(writer, plain)
    square(writer, COLOR_0=writer.array(np.array([[255, 0, 0, 255]] * 4), "uint8", normalized=True))
    mesh = load_mesh(writer.save(tmp_path / "a.glb"))
    face = RNG.permutation(np.concatenate([FACE, FACE + 2, FACE + 4]))
    found = mesh.colors(face, np.tile(BARYCENTRIC, (3, 1)))
    assert np.allclose(found[(face == 2) | (face == 3)], (0, 1, 0))
    assert np.allclose(found[face >= 4], (1, 0, 0))
    uv = np.einsum("nkc,nk->nc", UV[HALVES[face % 2]], np.tile(BARYCENTRIC, (3, 1)))
    assert np.abs(found[face < 2] - looked_up(uv[face < 2])).max() < 1e-4


def test_face_mode_averages_the_nearest_pixels_of_the_corners(tmp_path):
    """A quad with a red border and a green middle comes out all red, as in the original's data."""
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[..., 0] = 255
    pixels[2:-2, 2:-2] = (0, 255, 0)
    writer = GltfWriter()
    material = writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": writer.picture(pixels)}})
    square(writer, material, TEXCOORD_0=writer.array(SQUARE[:, :2] * 0.98 + 0.01))
    path = writer.save(tmp_path / "a.glb")
    assert np.array_equal(colors(path, "face"), np.broadcast_to([1, 0, 0], (400, 3)))
    assert (colors(path)[:, 1] > 0.5).mean() > 0.4
    with pytest.raises(InputError, match="'vertex'"):
        colors(path, "vertex")


def test_ply_vertex_face_and_texture_colours(tmp_path):
    ends = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]])
    head = "ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
    rgb = "property uchar red\nproperty uchar green\nproperty uchar blue\n"
    quad = "element face 1\nproperty list uchar int vertex_indices\n"
    path = tmp_path / "a.ply"
    rows = "".join("{:g} {:g} {:g} {} {} {}\n".format(*v, *c) for v, c in zip(SQUARE, ends, strict=True))
    path.write_text(f"{head}{rgb}{quad}end_header\n{rows}4 0 1 2 3\n")
    expected = srgb.from_linear(at(srgb.to_linear(ends / 255)))
    assert np.abs(colors(path) - expected).max() < 1e-5
    assert np.allclose(colors(path, "face")[FACE == 0], ends[HALVES[0]].mean(0) / 255)

    plain = "".join("{:g} {:g} {:g}\n".format(*v) for v in SQUARE)
    two = quad.replace("face 1", "face 2")
    path.write_text(f"{head}{two}{rgb}end_header\n{plain}3 0 1 2 10 20 30\n3 0 2 3 200 100 0\n")
    assert np.allclose(colors(path), np.array([[10, 20, 30], [200, 100, 0]])[FACE] / 255, atol=1e-5)

    Image.fromarray(PIXELS[::-1]).save(tmp_path / "a picture.png")
    named = head.replace("element", "comment TextureFile a picture.png\nelement", 1)
    rows = "".join("{:g} {:g} {:g} {:.9g} {:.9g}\n".format(*v, *uv) for v, uv in zip(SQUARE, UV, strict=True))
    path.write_text(f"{named}property float s\nproperty float t\n{quad}end_header\n{rows}4 0 1 2 3\n")
    assert np.abs(colors(path) - looked_up(at(UV))).max() < 1e-5
    corner = " ".join(f"{u:.9g} {v:.9g}" for u, v in UV)
    path.write_text(f"{named}{quad}property list uchar float texcoord\nend_header\n{plain}4 0 1 2 3 8 {corner}\n")
    assert np.abs(colors(path) - looked_up(at(UV))).max() < 1e-5


@pytest.mark.parametrize("order", ["little", "big"])
def test_binary_ply_with_polygons_of_many_sizes(tmp_path, order):
    mark = "<" if order == "little" else ">"
    header = (
        f"ply\nformat binary_{order}_endian 1.0\nelement vertex 5\nproperty double x\nproperty double y\n"
        "property double z\nproperty float nx\nproperty float ny\nproperty float nz\n"
        "element face 2\nproperty list uchar int vertex_index\nproperty uchar red\nproperty uchar green\n"
        "property uchar blue\nend_header\n"
    )
    vertices = np.zeros(5, [("p", mark + "f8", 3), ("n", mark + "f4", 3)])
    vertices["p"] = [*SQUARE, [0.5, 2, 0]]
    vertices["n"] = (0, 0, 2)
    faces = b""
    for polygon, color in (([0, 1, 2, 3], (9, 8, 7)), ([3, 2, 4], (1, 2, 3))):
        faces += bytes([len(polygon)]) + np.array(polygon, mark + "i4").tobytes() + bytes(color)
    (tmp_path / "a.ply").write_bytes(header.encode() + vertices.tobytes() + faces)
    mesh = load_mesh(tmp_path / "a.ply")
    assert len(mesh.faces) == 3
    found = mesh.colors(np.arange(3), np.full((3, 3), 1 / 3))
    assert np.allclose(found * 255, [[9, 8, 7], [9, 8, 7], [1, 2, 3]], atol=1e-3)
    assert np.array_equal(mesh.vertex_normals, [[0, 0, 1]] * 5)


def test_off_with_vertex_and_face_colours(tmp_path):
    rows = "".join("{:g} {:g} {:g}\n".format(*v) for v in SQUARE)
    path = tmp_path / "a.off"
    path.write_text(f"OFF # a comment\n4 2 0\n{rows}3 0 1 2 255 0 128\n3 0 2 3 0 51 0\n")
    assert np.allclose(colors(path), np.array([[255, 0, 128], [0, 51, 0]])[FACE] / 255, atol=1e-5)
    shades = [0.25, 0.5, 0.75, 1.0]
    rows = "".join("{:g} {:g} {:g} {s} {s} {s} 1\n".format(*v, s=s) for v, s in zip(SQUARE, shades, strict=True))
    path.write_text(f"COFF 4 1 0\n{rows}4 0 1 2 3\n")
    expected = srgb.from_linear(at(srgb.to_linear(np.array(shades))[:, None]))
    assert np.abs(colors(path) - expected).max() < 1e-5


OBJ = "".join("v {:g} {:g} {:g}\n".format(*v) for v in SQUARE) + "".join("vt {:.9g} {:.9g}\n".format(*t) for t in UV)


@pytest.mark.parametrize(
    "faces",
    ["f 1/1 2/2 3/3 4/4\n", "f -4/-4 -3/-3 -2/-2 -1/-1\n", "f 1/1 2/2 3/3\nf 1/1/ 3/3/ 4/4/\n"],
    ids=["quad", "negative", "triangles"],
)
def test_obj_texture_and_diffuse_colour(tmp_path, faces):
    (tmp_path / "tex").mkdir()
    Image.fromarray(PIXELS[::-1]).save(tmp_path / "tex" / "my  wood.png")
    (tmp_path / "one.mtl").write_text("newmtl wood\nKd 0 0 0\nmap_Kd tex\\my  wood.png\n")
    (tmp_path / "two.mtl").write_text("newmtl flat red\n\tKd\t0.8 0.2 0.1\nd 0.5\n")
    path = tmp_path / "a.obj"
    path.write_text(f"mtllib one.mtl\nmtllib two.mtl\n{OBJ}usemtl wood\n{faces}usemtl flat red\nf 1// 2// 3//\n")
    mesh = load_mesh(path)
    assert np.abs(mesh.colors(FACE, BARYCENTRIC) - looked_up(at(UV))).max() < 1e-5
    assert np.allclose(mesh.colors(np.array([2]), BARYCENTRIC[:1]), [[0.8, 0.2, 0.1]], atol=1e-5)


def test_obj_options_of_the_picture(tmp_path):
    Image.fromarray(PIXELS[::-1]).save(tmp_path / "p q.png")
    path = tmp_path / "a.obj"
    path.write_text(f"mtllib a.mtl\n{OBJ}usemtl m\nf 1/1 2/2 3/3 4/4\n")
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd -blendu off -s 2 3 1 -o 0.25 -0.5 p q.png\n")
    assert np.abs(colors(path) - looked_up(at(UV * (2, 3) + (0.25, -0.5)))).max() < 1e-5
    (tmp_path / "a.mtl").write_text("newmtl m\nmap_Kd -clamp on p q.png\n")
    edge = np.clip(at(UV), 1 / 16, 15 / 16)
    assert np.abs(colors(path) - looked_up(edge)).max() < 1e-5


def test_obj_vertex_colours_and_pictures_in_other_places(tmp_path):
    shades = np.array([0.1, 0.4, 0.6, 0.9])
    rows = "".join("v {:g} {:g} {:g} {s} {s} {s}\n".format(*v, s=s) for v, s in zip(SQUARE, shades, strict=True))
    (tmp_path / "a.obj").write_text(f"{rows}f 1 2 3 4\n")
    assert np.abs(colors(tmp_path / "a.obj") - srgb.from_linear(at(srgb.to_linear(shades)[:, None]))).max() < 1e-5
    for folder in ("meshes", "materials/textures"):
        (tmp_path / "shoe" / folder).mkdir(parents=True)
    Image.fromarray(PIXELS[::-1]).save(tmp_path / "shoe/materials/textures/texture.png")
    (tmp_path / "shoe/meshes/model.mtl").write_text("newmtl m\nmap_Kd C:\\scans\\texture.png\n")
    path = tmp_path / "shoe/meshes/model.obj"
    path.write_text(f"mtllib model.mtl\n{OBJ}usemtl m\nf 1/1 2/2 3/3 4/4\n")
    assert np.abs(colors(path) - looked_up(at(UV))).max() < 1e-5
    (tmp_path / "shoe/materials/textures/texture.png").unlink()
    with pytest.raises(InputError, match=r"model\.mtl: the picture .*texture\.png is missing"):
        load_mesh(path)
