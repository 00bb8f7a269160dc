"""The benchmarks of surfaces run on small data, and their tables hold what they name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from helpers.analytic import sphere_xray

from xray.common.cli import BAD_INPUT
from xray.core.camera import Views
from xray.core.storage import save_xray

ROOT = Path(__file__).parents[2]


def command(folder: str, name: str):
    """A script's module, by its file."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def rows(printed: str) -> dict[str, list[str]]:
    """First cell of each line -> the cells after it; the first of equal ones counts."""
    found: dict[str, list[str]] = {}
    for line in printed.splitlines():
        if line.startswith("|"):
            first, *rest = [cell.strip() for cell in line.strip("|").split("|")]
            found.setdefault(first, rest)
    return found


def test_a_mesh_goes_there_and_back(tmp_path, capsys):
    trimesh.creation.icosphere(3).export(tmp_path / "ball.ply")
    benchmark = command("benchmarks", "round_trip")
    flags = ["--meshes", str(tmp_path), "--views", "2", "--resolution", "48", "--points", "2000"]
    assert benchmark.main([*flags, "--sheet", str(tmp_path / "sheet.png")]) == 0
    printed = capsys.readouterr().out
    table = rows(printed)
    floor = float(table["ball"][1])
    assert 0.01 < floor < 0.05
    distances = [float(line.split("|")[3]) for line in printed.splitlines() if "view" in line]
    assert len(distances) == 2 * (len(benchmark.WAYS) - 1)
    assert max(distances) < 1.5 * floor
    assert (tmp_path / "sheet.png").stat().st_size > 5000


def test_predictions_are_measured_in_the_world_of_their_mesh(tmp_path, capsys):
    """A perfect prediction of a sphere is near its mesh, also where the network's world is scaled."""
    xray, camera = sphere_xray([0.5], 48)
    root, made = tmp_path / "data", tmp_path / "predictions"
    for folder in (root / "images/ball", root / "xrays/ball", tmp_path / "meshes", made):
        folder.mkdir(parents=True)
    save_xray(root / "xrays/ball/000.npz", xray)
    (root / "images/ball/000.png").write_bytes((ROOT / "docs/overview.png").read_bytes())
    views = Views(camera.fov_rad, ("000.png",), camera.world_from_camera[None])
    (root / "images/ball/transforms.json").write_text(views.to_json())
    trimesh.creation.icosphere(4, 0.5).export(tmp_path / "meshes/ball.ply")
    benchmark = command("benchmarks", "predicted_surfaces")
    common = ["--predictions", str(made), "--data_root", str(root), "--mesh_root", str(tmp_path / "meshes")]
    for distance in (0.0, 2 * camera.distance):
        scale = 1 if not distance else 2
        save_xray(made / "ball_000_xray.npz", type(xray)(xray.depth * scale, xray.normal, xray.color))
        flags = ["--points", "2000", "--camera_distance", str(distance)]
        assert benchmark.main([*common, *flags]) == 0
        table = rows(capsys.readouterr().out)
        for method in ("points", "rays", "fitted", "field", "truth, rays"):
            assert float(table[method][0]) < 0.06 * scale, method
        assert float(table["fitted"][4]) == float(table["fitted"][5]) == 1
        assert table["truth, rays"][:6] == table["rays"][:6]
    assert benchmark.main([*common, "--ending", "_other.npz"]) == BAD_INPUT


@pytest.mark.parametrize("azimuth", [0.3, 2.0, -1.0])
def test_the_gallery_shows_the_side_of_the_picture_first(azimuth):
    from xray.core.camera import look_at

    gallery = command("docs", "make_gallery")
    place = 1.5 * np.array([np.cos(azimuth) * 0.8, np.sin(azimuth) * 0.8, 0.6])
    pose = look_at(place)
    assert np.allclose(gallery.from_picture_side(place[None], pose), [[0, -1.2, 0.9]])
    # A point straight up in the world, as a prediction before a level camera has it.
    up = gallery.VIEWER[:3, :3] @ pose[:3, :3].T @ np.array([0, 0, 1.0])
    surface = gallery.Surface(up[None], np.zeros((0, 3), np.int64), up[None], np.zeros((1, 3), np.float32))
    assert np.allclose(gallery.upright(surface, pose).vertices, [[0, 0, 1]])


def test_the_gallery_takes_the_first_held_out_object_of_each_family():
    gallery = command("docs", "make_gallery")
    from shapes import FAMILIES, make_object

    numbers = gallery.held_out()
    assert [number % len(FAMILIES) for number in numbers] == list(range(len(FAMILIES)))
    for number in numbers:
        family = FAMILIES[number % len(FAMILIES)].__name__
        earlier = range(number % len(FAMILIES), number, len(FAMILIES))
        assert gallery.is_test(f"{family}_{number:05d}", gallery.HELD_OUT)
        assert not any(gallery.is_test(f"{family}_{other:05d}", gallery.HELD_OUT) for other in earlier)
    assert make_object(gallery.SEED, numbers[0])[0] == f"{FAMILIES[0].__name__}_{numbers[0]:05d}"
