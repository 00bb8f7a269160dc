"""Surfaces from one view's X-Ray against the mesh it was cast from: the table in docs/evaluation.md.

python benchmarks/surfaces.py [--mesh_root M ...] [--methods rays field poisson] [--resolution 256]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import trimesh

from xray.common.cli import entry
from xray.core.camera import FOV_RAD, Camera, sample_views
from xray.core.points import to_points
from xray.data.mesh_files import find_meshes
from xray.mesh.load import load_mesh
from xray.metrics.clouds import Pairing
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster
from xray.surface.surface import METHODS, to_surface

ROOT = Path(__file__).resolve().parents[1]

SAMPLES = 100_000
HEAD = ("mesh", "method", "CD", "F@0.01", "normal consistency", "faces", "watertight", "seconds")


class Made:
    """A made mesh: enough of `xray.mesh.mesh.Mesh` for a capture."""

    def __init__(self, mesh: trimesh.Trimesh) -> None:
        self.vertices, self.faces = np.array(mesh.vertices), np.array(mesh.faces)
        self._mesh = mesh

    def normals(self, face, barycentric, mode="face"):
        return self._mesh.face_normals[face]

    def colors(self, face, barycentric, mode="texture"):
        return np.full((len(face), 3), 0.5, np.float32)

    def sample(self, count, rng):
        points, face = trimesh.sample.sample_surface(self._mesh, count, seed=int(rng.integers(2**31)))
        return points, self._mesh.face_normals[face], np.full((count, 3), 0.5)


def made_meshes() -> dict[str, Made]:
    """A smooth closed blob, five nested shells, and an open wavy sheet."""
    blob = trimesh.creation.icosphere(5)
    blob.vertices *= 0.4 * (1 + 0.18 * np.sin(5 * blob.vertices[:, :1]) * np.cos(4 * blob.vertices[:, 1:2]))
    shells = trimesh.util.concatenate([trimesh.creation.icosphere(5, radius) for radius in (0.5, 0.48, 0.46, 0.3, 0.1)])
    side = np.linspace(-0.5, 0.5, 80)
    x, y = (grid.ravel() for grid in np.meshgrid(side, side))
    row = np.arange(79)[:, None] * 80 + np.arange(79)
    corner = np.stack([row, row + 1, row + 81, row + 80], -1).reshape(-1, 4)
    sheet = trimesh.Trimesh(
        np.stack([x, y, 0.1 * np.sin(9 * x) * np.cos(7 * y)], 1),
        np.concatenate([corner[:, [0, 1, 2]], corner[:, [0, 2, 3]]]),
        process=False,
    )
    return {"blob": Made(blob), "five shells": Made(shells), "open sheet": Made(sheet)}


def measure(mesh, method: str, cameras: list[Camera]) -> list[str]:
    """Means over the views, as the cells of a table's row."""
    truth, normals, _ = mesh.sample(SAMPLES, np.random.default_rng(0))
    caster = RayCaster(mesh.vertices, mesh.faces)
    values = []
    for camera in cameras:
        xray, _ = capture(mesh, caster, camera)
        start = time.process_time()  # all run on one thread: CPU time tells them apart on a busy machine too
        surface = to_surface(xray, camera, method, "world")
        seconds = time.process_time() - start
        made = surface.to_trimesh()
        points, face = trimesh.sample.sample_surface(made, SAMPLES, seed=1)
        pairing = Pairing.of(points, truth)
        consistency = pairing.normal_consistency(made.face_normals[face], normals)
        closed = trimesh.Trimesh(surface.vertices, surface.faces).is_watertight
        values.append((pairing.chamfer(), pairing.f_score(0.01), consistency, len(surface.faces), closed, seconds))
    chamfer, f_score, consistency, faces, closed, seconds = np.mean(values, axis=0)
    numbers = [f"{chamfer:.4f}", f"{f_score:.3f}", f"{consistency:.3f}", f"{faces:,.0f}"]
    return [*numbers, f"{closed * len(cameras):.0f} of {len(cameras)}", f"{seconds:.2f}"]


def warm_up(mesh, methods: list[str]) -> None:
    """Load kernels and libraries before anything is timed."""
    camera = Camera(16, 16, FOV_RAD, sample_views(1, np.random.default_rng(0))[0])
    xray, _ = capture(mesh, RayCaster(mesh.vertices, mesh.faces), camera)
    for method in methods:
        to_surface(xray, camera, method)


def measure_points(mesh, cameras: list[Camera]) -> str:
    """Chamfer distance of the points themselves, and of another sample of the mesh (the sampling floor)."""
    truth, other = (mesh.sample(SAMPLES, np.random.default_rng(seed))[0] for seed in (0, 1))
    caster = RayCaster(mesh.vertices, mesh.faces)
    clouds = [to_points(capture(mesh, caster, camera)[0], camera, "world").points for camera in cameras]
    points = np.mean([Pairing.of(cloud, truth).chamfer() for cloud in clouds])
    return f"points {points:.4f}, floor {Pairing.of(other, truth).chamfer():.4f}"


@entry
def main(arguments: list[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mesh_root", nargs="*", default=[str(ROOT / "example" / "meshes")])
    parser.add_argument("--methods", nargs="*", default=["rays", "field", "poisson"], choices=METHODS)
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--views", type=int, default=2)
    options = parser.parse_args(arguments)
    meshes = {uid: load_mesh(path) for root in options.mesh_root for uid, path in find_meshes(root).items()}
    poses = sample_views(options.views, np.random.default_rng(0))
    cameras = [Camera(options.resolution, options.resolution, FOV_RAD, pose) for pose in poses]
    sys.stdout.write(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}\n")
    warm_up(next(iter(meshes.values())), options.methods)
    for name, mesh in {**meshes, **made_meshes()}.items():
        title = f"{name[:12]} ({measure_points(mesh, cameras)})"
        for method in options.methods:
            sys.stdout.write(f"| {' | '.join([title, method, *measure(mesh, method, cameras)])} |\n")
            sys.stdout.flush()
            title = ""


if __name__ == "__main__":
    sys.exit(main())
