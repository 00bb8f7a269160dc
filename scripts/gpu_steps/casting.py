"""Casting of rays: the same hits on the GPU as on the CPU, and views a second on both."""

from __future__ import annotations

import time

import numpy as np
from made_mesh import write_shells

from xray.core.camera import Camera, sample_views
from xray.mesh.load import load_mesh
from xray.raycast.caster import Crossings, RayCaster

from . import FAILED, OK, ROOT, Result, Settings

LAYERS = 16
INTEGERS, NUMBERS = ("total", "layer", "ray", "face"), ("depth", "barycentric")


def compare(settings: Settings) -> Result:
    """Every example mesh and shells of growing size; the differences of all views, and the rate on each device."""
    size, views = (64, 1) if settings.tiny else (256, 4)
    paths = sorted(path for path in (ROOT / "example/meshes").iterdir() if path.suffix in (".glb", ".obj", ".ply"))
    for faces in (2_000,) if settings.tiny else (40_000, 2_600_000):
        paths.append(settings.out / f"shells_{faces}.glb")
        write_shells(paths[-1], faces)
    poses = sample_views(views, np.random.default_rng(0))
    cameras = [Camera(size, size, world_from_camera=pose) for pose in poses]
    values, different, hits = {}, [], 0
    for path in paths:
        rates, results = {}, {}
        mesh = load_mesh(path)
        for device in ("cpu", settings.device):
            results[device], rates[device] = _cast(mesh, cameras, device)
        values[path.name] = {f"views_a_second_{device}": rate for device, rate in rates.items()}
        for name in results["cpu"]:
            pair = results["cpu"][name], results[settings.device][name]
            hits += len(pair[0].ray)
            difference = _difference(*pair)
            if difference:
                different.append(f"{path.name} {name}: {difference}")
    rate = values[paths[-1].name][f"views_a_second_{settings.device}"]
    what = f"{hits} hits of {len(paths)} meshes the same to the bit" if not different else "; ".join(different[:4])
    reason = f"{what}; {paths[-1].stem}: {rate:.1f} views/s, CPU {values[paths[-1].name]['views_a_second_cpu']:.1f}"
    return Result(FAILED if different else OK, reason, values={"meshes": values, "different": different})


def _cast(mesh, cameras: list[Camera], device: str) -> tuple[dict[str, Crossings], float]:
    """All hits of every view, and of the first one also by the tree of faces; views a second without the tree."""
    caster = RayCaster(mesh.vertices, mesh.faces, device)
    caster.view(cameras[0], LAYERS)  # loads the kernels
    began = time.perf_counter()
    results = {f"view {number}": caster.view(camera, LAYERS) for number, camera in enumerate(cameras)}
    rate = len(cameras) / (time.perf_counter() - began)
    camera = cameras[0]
    results["tree"] = caster.crossings(camera.origin, camera.rays_world().reshape(-1, 3), LAYERS)
    return results, rate


def _difference(one: Crossings, two: Crossings) -> str:
    """Empty where both are equal to the bit, else how many hits differ and by how much."""
    rays = int((one.total != two.total).sum())
    if rays:
        return f"{rays} of {len(one.total)} rays with another number of hits"
    for name in INTEGERS[1:]:
        count = int((getattr(one, name) != getattr(two, name)).sum())
        if count:
            return f"{count} of {len(one.ray)} hits with another {name}"
    parts = []
    for name in NUMBERS:
        off = np.abs(getattr(one, name) - getattr(two, name))
        if off.any():
            parts.append(f"{int((off > 0).sum())} values of {name} differ, by at most {off.max():.1e}")
    return ", ".join(parts)
