"""Scoring the files of any method against the truth, under the protocols that ours are scored under."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh

from .camera import DISTANCE, FOV_RAD, Camera, look_at
from .errors import InputError
from .jobs import Failure, run_jobs
from .points import PointCloud
from .raycast import RayCaster
from .representation import RESOLUTION
from .results import NOTES, summarise
from .scoring import SURFACE_POINTS, score_clouds
from .shapes import find_shapes, load_shape, to_cloud

LAYERS = 8
"""Layers of the truth X-Ray in the "author" protocol."""

VIEW_DEG = (30.0, 20.0)
"""Azimuth and elevation from which a true mesh is cast for the "author" protocol: the middle of the data's range."""


def load_truth(path: Path, count: int = SURFACE_POINTS) -> dict[str, PointCloud]:
    """The truth's points by protocol.

    A mesh is sampled ("surface") and cast from one view ("author"); a cloud, as the `_gt.ply` of an evaluation, stands
    for itself in both.
    """
    shape = load_shape(path)
    cloud = to_cloud(shape, count)
    if not np.isfinite(cloud.points).all() or not len(cloud):
        raise InputError(f"{path}: the truth has no points, or some that are not finite")
    seen = cast(shape) if isinstance(shape, trimesh.Trimesh) else cloud
    return {"author": seen, "surface": cloud}


def cast(mesh: trimesh.Trimesh) -> PointCloud:
    """Points of a mesh's X-Ray of 256 x 256 rays and 8 layers, in the mesh's own coordinates.

    The camera is that of the data set: the box around the mesh has its centre at the origin and 1 as longest side.
    """
    low, high = mesh.bounds
    centre, size = (low + high) / 2, float((high - low).max())
    vertices = (np.asarray(mesh.vertices, np.float64) - centre) / size
    azimuth, elevation = np.radians(VIEW_DEG)
    flat = np.cos(elevation)
    place = DISTANCE * np.array([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)])
    camera = Camera(RESOLUTION, RESOLUTION, FOV_RAD, look_at(place))
    rays = camera.rays_world().reshape(-1, 3)
    found = RayCaster(vertices, np.asarray(mesh.faces)).crossings(camera.origin, rays, LAYERS)
    points = (camera.origin + found.depth[:, None] * rays[found.ray]) * size + centre
    return PointCloud(points, mesh.face_normals[found.face], np.full((len(points), 3), 0.5, np.float32))


def score_pair(prediction: Path | None, truth: Path, alignment: str, count: int = SURFACE_POINTS) -> dict:
    """One row: scores by protocol. A prediction that is absent or unreadable scores as one without points.

    Raises:
      InputError: the truth cannot be used.
    """
    remark = "" if prediction else "no prediction"
    cloud = PointCloud(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3), np.float32))
    if prediction:
        try:
            cloud = to_cloud(load_shape(prediction), count, seed=1)
        except InputError as error:
            remark = str(error)
    scores = {name: score_clouds(cloud, points, alignment) for name, points in load_truth(truth, count).items()}
    return {
        "prediction": prediction and str(prediction),
        "truth": str(truth),
        "points": len(cloud),
        "remark": remark,
        "scores": scores,
    }


def pair(predictions: str | Path, truths: str | Path) -> tuple[dict[str, tuple[Path | None, Path]], list[str]]:
    """Files of both folders by name, and the names of predictions without a truth.

    A `_prd` or `_gt` at the end of a name, as evaluations write them, does not count.

    Raises:
      InputError: nothing to pair.
    """
    predicted = {_plain(name, "_prd"): path for name, path in find_shapes(predictions).items()}
    true = {_plain(name, "_gt"): path for name, path in find_shapes(truths).items()}
    if not predicted.keys() & true.keys():
        example = f"{next(iter(predicted))!r} and {next(iter(true))!r}"
        raise InputError(f"{predictions} and {truths}: no two files of the same name, as {example}")
    pairs = {name: (predicted.get(name), path) for name, path in true.items()}
    return pairs, sorted(predicted.keys() - true.keys())


def _plain(name: str, ending: str) -> str:
    return name.removesuffix(ending)


def compare(
    predictions: str | Path, truths: str | Path, alignment: str = "none", count: int = SURFACE_POINTS, workers: int = 0
) -> dict:
    """Score every true shape's prediction.

    Args:
      count: points sampled on a mesh; workers: processes, 0 for this one alone.
    Returns:
      {"protocols": {"author" | "surface": {"truth", "samples", "degenerate", "mean": {metric: value}, "median",
      "missing", "rows": [{"name", metric: value}]}}, "alignment", "definitions", "files", "failed", "unpaired"}.
      A truth without prediction counts as a prediction without points; a truth that cannot be used is in "failed".
    """
    if count < 1:
        raise InputError(f"{count} points: expected at least 1")
    pairs, unpaired = pair(predictions, truths)
    items = [(name, *paths, alignment, count) for name, paths in pairs.items()]
    rows, failed = {}, {}
    for item, result in run_jobs(_score, items, workers, progress="scored"):
        if isinstance(result, Failure):
            failed[item[0]] = result.reason
        else:
            rows[item[0]] = result
    rows = dict(sorted(rows.items()))
    means = summarise(list(rows.values()))
    for name, values in means["protocols"].items():
        values["rows"] = [{"name": key, **row["scores"][name]} for key, row in rows.items()]
    kept = ("prediction", "truth", "points", "remark")
    return {
        **means,
        "alignment": alignment,
        "definitions": NOTES,
        "files": [{"name": name, **{key: row[key] for key in kept}} for name, row in rows.items()],
        "failed": dict(sorted(failed.items())),
        "unpaired": unpaired,
    }


def _score(item: tuple[str, Path | None, Path, str, int]) -> dict:
    return score_pair(*item[1:])
