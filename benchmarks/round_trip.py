"""Meshes to X-Rays and back: how near points and surfaces of X-Rays are to the mesh that they were cast from.

python benchmarks/round_trip.py --meshes DIR [DIR ...] [--install DIR] [--sheet round_trip.png]

`--install` puts the packages of `PACKAGES` into a folder of its own by pip, and adds the meshes that come inside them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from xray.common.axes import to_y_up
from xray.common.cli import entry
from xray.common.errors import RunError
from xray.common.files import check_writable
from xray.core.camera import FOV_RAD, Camera, sample_views
from xray.core.points import PointCloud, to_points
from xray.core.xray import XRay
from xray.data.mesh_files import find_meshes
from xray.mesh.load import load_mesh
from xray.mesh.mesh import Mesh
from xray.metrics.clouds import Pairing
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster
from xray.surface.fuse import fuse_views
from xray.surface.surface import Surface, to_surface
from xray.visual.sheets import splat

PACKAGES = {
    "gradio==6.31.0": (
        "gradio/media_assets/models3d",
        ("Bunny.obj", "Duck.glb", "Fox.gltf", "face.obj", "sofia.stl"),
    ),
    "pyvista==0.49.1": ("pyvista/examples", ("airplane.ply", "ant.ply", "nut.ply", "sphere.ply")),
    "gymnasium-robotics==1.4.2": (
        "gymnasium_robotics/envs/assets",
        (
            "stls/fetch/estop_link.stl",
            "stls/fetch/gripper_link.stl",
            "stls/fetch/laser_link.stl",
            "stls/hand/knuckle.stl",
            "stls/hand/palm.stl",
            "stls/hand/wrist.stl",
            "kitchen_franka/kitchen_assets/meshes/faucet.stl",
            "kitchen_franka/kitchen_assets/meshes/hingecabinet.stl",
            "kitchen_franka/kitchen_assets/meshes/kettle.stl",
            "kitchen_franka/kitchen_assets/meshes/knob.stl",
            "kitchen_franka/kitchen_assets/meshes/oventop.stl",
            "kitchen_franka/franka_assets/meshes/visual/hand.stl",
            "kitchen_franka/franka_assets/meshes/visual/finger.stl",
        ),
    ),
}
"""Package -> folder of its meshes, and which of them are used."""

COLUMNS = ("mesh", "of", "CD", "F@0.01", "normal consistency", "colour error")
WAYS = {
    "floor": "another sample",
    "points": "points, 1 view",
    "all": "points, all views",
    "fused": "mesh, all views",
    "rays": "rays, 1 view",
    "field": "closed, 1 view",
}
CELL_PX, LABEL_PX = 150, 110


@dataclass(frozen=True)
class Scores:
    """Against points of the mesh. color: mean difference of a channel to the nearest true point's, 0 to 1."""

    chamfer: float
    f_score: float
    consistency: float
    color: float

    @classmethod
    def of(cls, cloud: PointCloud, truth: PointCloud) -> Scores:
        pairing = Pairing.of(cloud.points, truth.points)
        consistency = pairing.normal_consistency(cloud.normals, truth.normals)
        nearest = truth.colors[pairing.to_truth.index]
        return cls(pairing.chamfer(), pairing.f_score(0.01), consistency, float(np.abs(cloud.colors - nearest).mean()))


def installed(folder: Path) -> dict[str, Path]:
    """name -> mesh of `PACKAGES`, installed into a folder where they are not there yet."""
    missing = [name for name, (below, files) in PACKAGES.items() if not (folder / below / files[0]).is_file()]
    if missing:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *missing]
        if subprocess.run(command).returncode:
            raise RunError(f"{folder}: pip could not install {', '.join(missing)}")
    paths = [folder / below / file for below, files in PACKAGES.values() for file in files]
    return {path.stem: path for path in paths}


def sampled(surface: Surface, count: int) -> PointCloud:
    """Points spread evenly over a surface, with its faces' normals and its vertices' colours between them."""
    mesh = surface.to_trimesh()
    points, face = trimesh.sample.sample_surface(mesh, count, seed=1)
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[face], points)
    colors = (surface.colors[surface.faces[face]] * weights[..., None]).sum(1)
    return PointCloud(points, mesh.face_normals[face], colors.astype(np.float32))


def fused(xrays: list[XRay], cameras: list[Camera]) -> PointCloud:
    """The points of all views, one in each cube as wide as a pixel: the one that its ray sees the least aslant and
    the nearest."""
    clouds = [to_points(xray, camera, "world") for xray, camera in zip(xrays, cameras, strict=True)]
    size = []
    for xray, camera in zip(xrays, cameras, strict=True):
        cosine = np.abs((xray.normal * camera.rays()).sum(-1))[xray.hit]
        size.append(xray.depth[xray.hit] / np.maximum(cosine, 0.05))
    points, normals, colors = (
        np.concatenate([getattr(cloud, name) for cloud in clouds]) for name in ("points", "normals", "colors")
    )
    order = np.argsort(np.concatenate(size), kind="stable")
    width = cameras[0].distance / cameras[0].focal_px
    cells = np.floor(points[order] / width).astype(np.int64)
    kept = order[np.unique(cells, axis=0, return_index=True)[1]]
    return PointCloud(points[kept], normals[kept], colors[kept])


def round_trip(mesh: Mesh, options: argparse.Namespace) -> tuple[dict[str, Scores], dict[str, PointCloud]]:
    """Scores by way, means over the views; and clouds to draw, of the first view."""
    truth = PointCloud(*mesh.sample(options.points, np.random.default_rng(0)))
    poses = sample_views(options.views, np.random.default_rng(0))
    cameras = [Camera(options.resolution, options.resolution, FOV_RAD, pose) for pose in poses]
    caster = RayCaster(mesh.vertices, mesh.faces)
    xrays = [capture(mesh, caster, camera)[0] for camera in cameras]
    shown: dict[str, PointCloud] = {}
    scores: dict[str, list[Scores]] = {way: [] for way in WAYS}
    for xray, camera in zip(xrays, cameras, strict=True):
        for way in ("points", "rays", "field"):
            if way == "points":
                cloud = to_points(xray, camera, "world")
            else:
                cloud = sampled(to_surface(xray, camera, way, "world"), options.points)
            shown.setdefault(way, cloud)
            scores[way].append(Scores.of(cloud, truth))
    shown["all"] = fused(xrays, cameras)
    shown["fused"] = sampled(fuse_views(xrays, cameras), options.points)
    scores["fused"].append(Scores.of(shown["fused"], truth))
    shown["floor"] = PointCloud(*mesh.sample(options.points, np.random.default_rng(1)))
    scores["floor"].append(Scores.of(shown["floor"], truth))
    scores["all"].append(Scores.of(shown["all"], truth))
    means = {way: Scores(*np.mean([list(vars(one).values()) for one in rows], axis=0)) for way, rows in scores.items()}
    return means, {name: shown[name] for name in WAYS}


def lines(name: str, scores: dict[str, Scores]) -> Iterator[str]:
    """Rows of the table."""
    for way, title in WAYS.items():
        one = scores[way]
        numbers = f"{one.chamfer:.4f} | {one.f_score:.3f} | {one.consistency:.3f} | {one.color:.3f}"
        yield f"| {name if way == 'floor' else ''} | {title} | {numbers} |\n"


def draw(clouds: dict[str, dict[str, PointCloud]]) -> Image.Image:
    """A row a mesh, a column a way, all turned alike."""
    titles = ["mesh", *list(WAYS.values())[1:]]
    canvas = Image.new("RGB", (LABEL_PX + CELL_PX * len(titles), 22 + CELL_PX * len(clouds)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=12)
    for column, title in enumerate(titles):
        pen.text((LABEL_PX + CELL_PX * column + 30, 4), title, (60, 60, 60), font)
    for number, (name, row) in enumerate(clouds.items()):
        pen.text((4, 22 + CELL_PX * number + CELL_PX // 2), name[:16], (60, 60, 60), font)
        for column, cloud in enumerate(row.values()):
            upright = PointCloud(to_y_up(cloud.points), to_y_up(cloud.normals), cloud.colors)
            cell = Image.fromarray(splat(upright, 35, 25, CELL_PX - 4))
            canvas.paste(cell, (LABEL_PX + CELL_PX * column, 22 + CELL_PX * number))
    return canvas


@entry
def main(arguments: list[str] | None = None) -> int:
    """Print a Markdown table, and write a sheet of pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--meshes", type=Path, nargs="*", default=[], metavar="DIR", help="folders of meshes")
    add("--install", type=Path, metavar="DIR", help="folder for the packages with meshes; without it they are left out")
    add("--views", type=int, default=8)
    add("--resolution", type=int, default=128, help="rays on each side")
    add("--points", type=int, default=20_000, help="sampled on each mesh and surface")
    add("--sheet", type=Path, help="file for the pictures")
    options = parser.parse_args(arguments)
    paths = {name: path for folder in options.meshes for name, path in find_meshes(folder).items()}
    if options.install:
        paths |= installed(options.install)
    if not paths:
        parser.error("no meshes: give --meshes, --install, or both")
    if options.sheet:
        check_writable(options.sheet)
    sys.stdout.write(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n")
    every, clouds = [], {}
    for name, path in tqdm(paths.items(), unit="mesh"):
        scores, clouds[name] = round_trip(load_mesh(path), options)
        every.append(scores)
        sys.stdout.write("".join(lines(name, scores)))
        sys.stdout.flush()
    mean = {way: Scores(*np.mean([list(vars(row[way]).values()) for row in every], axis=0)) for way in WAYS}
    sys.stdout.write("".join(lines(f"mean of {len(every)}", mean)))
    if options.sheet:
        draw(clouds).save(options.sheet, optimize=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
