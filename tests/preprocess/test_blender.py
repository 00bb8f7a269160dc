"""Blender against our own renderer, ray caster and readers. Needs the environment that `--renderer blender` makes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.made_meshes import GltfWriter, chiral, rigged, triangles
from PIL import Image
from scipy import ndimage
from scipy.spatial import cKDTree

from xray.common.errors import InputError
from xray.data.mesh_files import find_meshes
from xray.mesh.load import load_mesh
from xray.preprocess import blender
from xray.preprocess.render_object import RenderSettings
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster
from xray.raycast.shading import picture
from xray.surface.surface import Surface, save_mesh

ROOT = Path(__file__).parents[2]
MESHES = find_meshes(ROOT / "example/meshes")
SIZE, VIEWS = 128, 4

needs_blender = pytest.mark.skipif(
    not (blender.ENVIRONMENT / "complete").exists(),
    reason="no .venv-blender; a run of render.py --renderer blender makes it",
)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def agreement(mesh, uid: str, size: int, lit: bool, program: str | None = None) -> dict[str, list[float]]:
    """For each view: IoU of either picture's alpha with the first layer, share of interior pixels within 2 of 255."""
    views = RenderSettings(VIEWS).views(uid)
    caster, everything = RayCaster(mesh.vertices, mesh.faces), list(range(VIEWS))
    command = blender.find_blender(program)
    light = "studio" if lit else "none"
    images = list(blender.pictures(command, mesh, views, everything, size, light))
    found: dict[str, list[float]] = {"blender": [], "raycast": [], "color": []}
    for index, image in zip(everything, images, strict=True):
        camera = views.camera(index, size)
        xray, _ = capture(mesh, caster, camera, layers=1)
        hit = xray.hit[0]
        found["blender"].append(iou(image[..., 3] >= 128, hit))
        found["raycast"].append(iou(picture(mesh, caster, camera)[..., 3] >= 128, hit))
        interior = ndimage.binary_erosion(hit & (image[..., 3] == 255), np.ones((3, 3)))
        step = np.abs(image[interior, :3].astype(float) - 255 * xray.color[0][interior]).max(1)
        found["color"].append(float((step <= 2.5).mean()))  # 2, and half a step of the picture's own rounding
    return found


@needs_blender
@pytest.mark.slow
@pytest.mark.parametrize("uid", MESHES)
def test_blender_and_our_renderer_cover_the_first_layer(uid):
    found = agreement(load_mesh(MESHES[uid]), uid, SIZE, lit=True)
    assert min(found["blender"]) >= 0.98
    assert min(found["raycast"]) >= 0.99


@needs_blender
@pytest.mark.slow
@pytest.mark.parametrize("uid", MESHES)
def test_unlit_colours_are_those_of_the_xray(uid):
    found = agreement(load_mesh(MESHES[uid]), uid, SIZE, lit=False)
    assert min(found["color"]) >= 0.99
    assert min(found["blender"]) >= 0.995


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("blender") is None, reason="no program named blender")
def test_an_external_blender_agrees_too():
    found = agreement(load_mesh(MESHES["mug"]), "mug", SIZE, lit=False, program="blender")
    assert min(found["color"]) >= 0.99
    assert min(found["blender"]) >= 0.995


def samplers(path: Path, tinted: bool) -> Path:
    """A .glb of nine waving squares, one for each pair of wraps, half of them with a texture transform."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 5), np.linspace(0, 1, 5)), -1).reshape(-1, 2)
    faces = np.array([[i, i + 1, i + 6, i, i + 6, i + 5] for i in range(19) if i % 5 < 4]).reshape(-1, 3)
    writer, codes = GltfWriter(), {"repeat": 10497, "mirror": 33648, "clamp": 33071}
    for number, (across, down) in enumerate((a, b) for a in codes for b in codes):
        pixels = ndimage.zoom(rng.integers(40, 256, (4, 4, 3)), (8, 8, 1), order=1).astype(np.uint8)
        shift = {"KHR_texture_transform": {"rotation": 0.3, "scale": [1.5, 1.2], "offset": [0.1, -0.2]}}
        more = {"extensions": shift} if number % 2 else {}
        reference = writer.picture(pixels, {"wrapS": codes[across], "wrapT": codes[down]}, **more)
        pbr = {"baseColorTexture": reference, "baseColorFactor": [0.9, 0.6, 0.8, 1]}
        material = writer.add("materials", {"pbrMetallicRoughness": pbr})
        vertices = np.column_stack([grid * 0.9 + (number % 3, number // 3), 0.1 * np.sin(9 * grid[:, 0])])
        attributes = {"TEXCOORD_0": writer.array(grid * 3 - 1)}
        if tinted:
            attributes["COLOR_0"] = writer.array(rng.uniform(0.5, 1, (25, 3)))
        writer.node(mesh=writer.mesh(vertices, faces, material, **attributes))
    writer.tree["extensionsUsed"] = ["KHR_texture_transform"]
    return writer.save(path)


@needs_blender
@pytest.mark.slow
def test_unlit_colours_under_every_sampler_rule(tmp_path):
    mesh = load_mesh(samplers(tmp_path / "samplers.glb", tinted=True), up="z")
    assert min(agreement(mesh, "samplers", 256, lit=False)["color"]) >= 0.99


@needs_blender
@pytest.mark.slow
@pytest.mark.parametrize("name", ["samplers", "cabin", "jar", "mug"])
def test_blenders_own_importers_give_the_same_picture(tmp_path, name):
    """Axes, scene graph, normalisation, materials and colours at once, against a reader that is not ours."""
    path = samplers(tmp_path / "samplers.glb", tinted=False) if name == "samplers" else MESHES[name]
    mesh, size, views = load_mesh(path), 256, RenderSettings(2).views(name)
    poses = [{"name": views.names[i], "pose": views.world_from_camera[i].tolist()} for i in (0, 1)]
    job = {"size": size, "fov_rad": views.fov_rad, "light": "none", "threads": 0, "gpu": False, "views": poses}
    (tmp_path / "job.json").write_text(json.dumps(job))
    (python,) = blender.find_blender()
    command = [python, ROOT / "tests/helpers/blender_import.py", "--render", tmp_path, path]
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    for index in (0, 1):
        ours = picture(mesh, RayCaster(mesh.vertices, mesh.faces), views.camera(index, size), "none")
        theirs = np.asarray(Image.open(tmp_path / views.names[index]))
        assert iou(ours[..., 3] > 0, theirs[..., 3] > 0) > 0.995
        interior = ndimage.binary_erosion((ours[..., 3] > 0) & (theirs[..., 3] > 0), np.ones((3, 3)))
        step = np.abs(ours[interior, :3].astype(int) - theirs[interior, :3]).max(1)
        # Where two directions wrap differently, that importer wraps before it interpolates, which shows at seams.
        assert (step <= 2).mean() >= (0.985 if name == "samplers" else 0.99)


@needs_blender
@pytest.mark.slow
def test_blenders_own_importers_place_files_as_we_do(tmp_path):
    """Axes, node transforms, instances, mirrors and skins, read twice by code that has nothing in common."""
    solid = chiral()
    paths = [tmp_path / f"solid{suffix}" for suffix in (".glb", ".obj", ".ply", ".stl")]
    for path in paths:
        solid.export(path)
    paths += [path for path in MESHES.values() if path.suffix in (".glb", ".obj", ".ply")]
    paths.append(rigged(tmp_path / "rigged.glb")[0])
    (python,) = blender.find_blender()
    command = [python, ROOT / "tests/helpers/blender_import.py", *paths]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    read = json.loads(output.splitlines()[-1])
    for path in paths:
        theirs = np.array(read[str(path)])
        low, high = theirs.reshape(-1, 3).min(0), theirs.reshape(-1, 3).max(0)
        theirs = (theirs - (low + high) / 2) / (high - low).max()
        mesh = load_mesh(path)
        ours = mesh.vertices[mesh.faces]
        area = np.linalg.norm(np.cross(theirs[:, 1] - theirs[:, 0], theirs[:, 2] - theirs[:, 0]), axis=1)
        theirs = theirs[area > 1e-9]
        assert same_triangles(ours, theirs), path.name


@needs_blender
@pytest.mark.slow
def test_our_own_meshes_look_right_in_blender(tmp_path):
    """Where they were, matt, seen from both sides, with our colours, and lit by our normals."""
    solid, rng = chiral(), np.random.default_rng(4)
    normals, colors = np.array(solid.vertex_normals), rng.random((len(solid.vertices), 3))
    save_mesh(tmp_path / "a.glb", Surface(np.array(solid.vertices), np.array(solid.faces), normals, colors))
    (python,) = blender.find_blender()
    command = [python, ROOT / "tests/helpers/blender_import.py", "--look", tmp_path / "a.glb"]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    read = json.loads(output.splitlines()[-1])
    assert (read["Metallic"], read["Roughness"], read["culled"], read["per_corner"]) == (0, 1, False, True)
    points = np.array(read["points"])
    same = np.abs(points[:, None] - solid.vertices[None]).max(-1) < 1e-5  # several vertices may lie in one place
    assert same.any(1).all()
    step = np.abs(np.array(read["colors"])[:, None] - colors[None]).max(-1)
    assert np.where(same, step, 1).min(1).max() < 1 / 255
    turned = np.abs(np.array(read["normals"])[:, None] - normals[None]).max(-1)
    assert np.where(same, turned, 9).min(1).max() < 2e-3


def same_triangles(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether every oriented triangle of either is in the other, to 1e-4 of the box."""

    def key(corners):
        """Centre, and normal times area: both are apart for a mirrored or a turned triangle."""
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        return np.concatenate([corners.mean(1), cross], axis=1)

    keep = np.linalg.norm(np.cross(a[:, 1] - a[:, 0], a[:, 2] - a[:, 0]), axis=1) > 1e-9
    one, two = key(a[keep]), key(b)
    return all(cKDTree(x).query(y)[0].max() < 1e-4 for x, y in ((one, two), (two, one)))


@needs_blender
@pytest.mark.slow
def test_the_command_renders_with_blender_and_goes_on(tmp_path):
    flags = ["--image_root", tmp_path, "--num_views", 2, "--image_size", 32, "--renderer", "blender"]
    chosen = tmp_path / "list.json"
    chosen.write_text('["jar"]')
    command = [sys.executable, ROOT / "preprocess/get_image/render.py", *flags, "--mesh_list", chosen]
    for made in (2, 0):
        result = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=200)
        assert result.returncode == 0, result.stderr
        assert f"{made} pictures made" in result.stderr
    with Image.open(tmp_path / "jar/001.png") as image:
        assert (image.mode, image.size) == ("RGBA", (32, 32))
    assert (tmp_path / "jar/transforms.json").read_text() == RenderSettings(2).views("jar").to_json()


def test_what_is_missing_for_blender_is_named(tmp_path):
    with pytest.raises(InputError, match="--blender absent: no such program"):
        blender.find_blender("absent")
    empty = tmp_path / "python3"
    empty.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'bpy'\" >&2\nexit 1\n")
    empty.chmod(0o755)
    with pytest.raises(InputError, match="cannot import bpy"):
        blender.find_blender(str(empty))
    # What the loader says on a server without the libraries of a desktop.
    empty.write_text("#!/bin/sh\necho 'ImportError: libSM.so.6: cannot open shared object file' >&2\nexit 1\n")
    with pytest.raises(InputError, match=r"apt-get install libx11-6 .*libice6"):
        blender.find_blender(str(empty))


def test_a_failing_blender_is_told_with_its_last_words(tmp_path):
    mesh, views = load_mesh(MESHES["jar"]), RenderSettings(1).views("jar")
    with pytest.raises(RuntimeError, match=r"status 1.*No module named 'bpy'"):
        list(blender.pictures([sys.executable], mesh, views, [0], 16))


def test_triangles_tell_a_mirror_image():
    """The predicate that the axis tests rest on."""
    solid = chiral()
    corners = solid.vertices[solid.faces]
    assert same_triangles(corners, np.roll(corners[::-1], 1, axis=1))
    for flip in np.diag([-1.0, 1, 1]), np.diag([1.0, 1, 1])[[1, 0, 2]]:
        assert not same_triangles(corners, (corners @ flip)[:, ::-1])
    assert len(triangles(solid.vertices, solid.faces)) == len(solid.faces)
