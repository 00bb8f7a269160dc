"""Surfaces made of a network's X-Rays, by every method: the table of predictions in docs/evaluation.md.

python benchmarks/predicted_surfaces.py --predictions DIR --data_root D --mesh_root M

DIR holds <object>_<view>_xray.npz, as evaluate_diffusion.py and evaluate_upsampler.py write them. The row "truth, rays"
is of the stored X-Rays at the same rays and layers: objects of several parts are in several pieces there too.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import trimesh
from tqdm import tqdm

from xray.common.cli import entry
from xray.common.errors import InputError
from xray.core.camera import Camera
from xray.core.codec import Codec
from xray.core.points import PointCloud, to_points
from xray.core.storage import load_xray
from xray.core.xray import XRay
from xray.data.dataset import XRayDataset
from xray.data.mesh_files import find_meshes
from xray.mesh.load import load_mesh
from xray.metrics.clouds import Pairing
from xray.metrics.protocols import SURFACE_POINTS, sample_mesh
from xray.surface.surface import METHODS, to_surface

COLUMNS = (
    "method",
    "CD",
    "CD / points",
    "F@0.05",
    "normal consistency",
    "pieces",
    "largest piece",
    "borders",
    "seconds",
)

TRUTH = "truth, rays"


def predictions(options: argparse.Namespace) -> Iterator[tuple[XRay, XRay, Camera, PointCloud]]:
    """Prediction, truth, camera and points of the true mesh, in the world of the prediction, view by view."""
    dataset = XRayDataset(options.data_root, Codec(), "all", 64, camera_distance=options.camera_distance)
    meshes = find_meshes(options.mesh_root)
    used = 0
    for index, view in enumerate(dataset.rows):
        path = options.predictions / f"{view.object}_{view.view}{options.ending}"
        if not path.is_file() or view.object not in meshes:
            continue
        used += 1
        xray = load_xray(path).validate(str(path))
        truth = sample_mesh(load_mesh(meshes[view.object]), options.points)
        scaled = PointCloud(truth.points * dataset.scale(index), truth.normals, truth.colors)
        yield xray, true_xray(dataset, index, xray), dataset.camera(index, xray.shape[2]), scaled
    if not used:
        raise InputError(f"{options.predictions}: no <object>_<view>{options.ending} of a view and a mesh given")


def true_xray(dataset: XRayDataset, index: int, prediction: XRay) -> XRay:
    """The stored X-Ray at the rays of a prediction, and at its layers as far as they are stored."""
    stored = dataset.xray(index)
    layers = min(len(stored.depth), len(prediction.depth))
    return Codec(layers=layers, resolution=prediction.shape[2]).fit(stored)


def measure_points(xray: XRay, camera: Camera, truth: PointCloud) -> list[float]:
    """As `measure`, of the predicted points themselves."""
    cloud = to_points(xray, camera, "world")
    pairing = Pairing.of(cloud.points, truth.points)
    consistency = pairing.normal_consistency(cloud.normals, truth.normals)
    return [pairing.chamfer(), pairing.chamfer(), pairing.f_score(0.05), consistency, *[np.nan] * 4]


def measure(xray: XRay, camera: Camera, truth: PointCloud, method: str, of_points: float) -> list[float]:
    """A number for each of `COLUMNS` but the first; the points' Chamfer distance stands for its ratio."""
    start = time.process_time()
    surface = to_surface(xray, camera, method, "world")
    seconds = time.process_time() - start
    mesh = surface.to_trimesh()
    points, face = trimesh.sample.sample_surface(mesh, len(truth), seed=1)
    pairing = Pairing.of(points, truth.points)
    consistency = pairing.normal_consistency(mesh.face_normals[face], truth.normals)
    shares = surface.piece_shares()
    values = [pairing.chamfer(), of_points, pairing.f_score(0.05), consistency]
    return [*values, len(shares), shares[0], surface.border_share(), seconds]


def line(method: str, rows: list[list[float]]) -> str:
    """A row of the table: means over the views; of the Chamfer distances, the ratio of the means."""
    chamfer, of_points, *rest = np.mean(rows, axis=0)
    numbers = [f"{chamfer:.4f}", f"{chamfer / of_points:.3f}"]
    formats = ("{:.3f}", "{:.3f}", "{:.1f}", "{:.3f}", "{:.3f}", "{:.2f}")
    numbers += ["" if np.isnan(value) else form.format(value) for form, value in zip(formats, rest, strict=True)]
    return f"| {' | '.join([method, *numbers])} |\n"


@entry
def main(arguments: list[str] | None = None) -> int:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--predictions", type=Path, required=True)
    add("--data_root", required=True, help="images and cameras of the views")
    add("--mesh_root", type=Path, required=True)
    add("--ending", default="_xray.npz", help="of the predictions' names (default: _xray.npz)")
    add("--camera_distance", type=float, default=0.0, help="data.camera_distance of the training (default: 0)")
    add("--methods", nargs="*", default=["rays", "fitted", "field"], choices=METHODS)
    add("--points", type=int, default=SURFACE_POINTS, help="sampled on each mesh")
    options = parser.parse_args(arguments)
    rows: dict[str, list[list[float]]] = {method: [] for method in ("points", *options.methods, TRUTH)}
    for xray, true, camera, truth in tqdm(predictions(options), unit="view"):
        rows["points"].append(measure_points(xray, camera, truth))
        of_points = rows["points"][-1][0]
        for method in options.methods:
            rows[method].append(measure(xray, camera, truth, method, of_points))
        rows[TRUTH].append(measure(true, camera, truth, "rays", of_points))
    number = len(rows["points"])
    sys.stdout.write(f"{number} predictions\n\n| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}\n")
    sys.stdout.write("".join(line(method, values) for method, values in rows.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
