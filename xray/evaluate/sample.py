"""One predicted sample: its files, its picture, its scores. Needs no torch, so that other processes start quickly."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..common.files import atomic_path
from ..core.camera import Camera
from ..core.points import PointCloud, to_points
from ..core.storage import save_xray
from ..core.xray import XRay
from ..data.sample_names import XRAY_ENDING
from ..mesh.ply import save_ply
from ..metrics.protocols import sample_mesh, score_xray
from .results import Results


@dataclass(frozen=True)
class Scoring:
    """The settings by which all samples of an evaluation are written and scored.

    Attributes:
      results: where the files go. near, far: of the depth pictures, object units.
      alignment, emd, surface: as in `run.Options`; meshes: also write a mesh a sample.
    """

    results: Results
    near: float
    far: float
    alignment: str = "none"
    emd: bool = True
    surface: str = "auto"
    meshes: bool = False


@dataclass(frozen=True)
class Prediction:
    """The network's X-Ray of one sample, with the truth.

    Attributes:
      name: of its files; object, view: of the data set.
      image: (S, S, 3) uint8, what the network saw.
      xray: as decoded; fitted: the truth at the same layers and rays; stored: the truth at its stored resolution.
      camera: of the view, at the prediction's resolution.
      mesh: file of the true mesh, or None; scale: of the data set's world, see `XRayDataset.scale`.
      process: that predicted it; seconds: of the network; not_finite: values of its output that were not.
    """

    name: str
    object: str
    view: str
    image: np.ndarray
    xray: XRay
    fitted: XRay
    stored: XRay
    camera: Camera
    mesh: Path | None
    process: int
    seconds: float
    not_finite: int
    scale: float = 1.0


def finish_sample(job: tuple[Scoring, Prediction]) -> None:
    """Write the files of a sample, and its row last.

    Raises:
      InputError: a true mesh that cannot be read. OSError: the disk is full, or the like.
    """
    scoring, sample = job
    start = time.perf_counter()
    results, name, camera = scoring.results, sample.name, sample.camera
    save_xray(results.path(name, XRAY_ENDING), sample.xray)
    save_ply(results.path(name, "_prd.ply"), to_points(sample.xray, camera, "world"))
    save_ply(results.path(name, "_gt.ply"), to_points(sample.stored, camera, "world"))
    if scoring.meshes:
        from ..surface.surface import save_mesh, to_surface  # only here: trimesh takes a second to load

        save_mesh(results.path(name, ".glb"), to_surface(sample.xray, camera, scoring.surface, "world", predicted=True))
    _save_sheet(scoring, sample)
    truth = _true_points(sample.mesh, camera, sample.scale)
    scores = score_xray(
        sample.xray, sample.fitted, sample.stored, camera, truth[0], scoring.alignment, scoring.emd, truth[1]
    )
    row = {
        "sample": name,
        "object": sample.object,
        "view": sample.view,
        "process": sample.process,
        "points": int(sample.xray.hit.sum()),
        "not_finite": sample.not_finite,
        "seconds_network": sample.seconds,
        "seconds_rest": time.perf_counter() - start,
        "scores": scores,
    }
    results.write_row(name, row)


def _save_sheet(scoring: Scoring, sample: Prediction) -> None:
    from ..visual.sheets import sheet

    xrays = {"predicted": sample.xray, "truth": sample.fitted}
    clouds = {"predicted": to_points(sample.xray, sample.camera), "truth": to_points(sample.stored, sample.camera)}
    picture = sheet(sample.image, xrays, clouds, scoring.near, scoring.far, sample.name)
    with atomic_path(scoring.results.path(sample.name, ".png")) as partial:
        picture.save(partial)


def _true_points(mesh: Path | None, camera: Camera, scale: float) -> tuple[PointCloud, np.ndarray] | tuple[None, None]:
    """Points of the true mesh and which of them the camera does not see, where a mesh was given.

    The camera and the points are of the world at the data set's scale, the mesh is in the unit box.
    """
    if mesh is None:
        return None, None
    from ..mesh.load import load_mesh
    from ..raycast.visibility import is_hidden

    loaded = load_mesh(mesh)
    cloud = sample_mesh(loaded)
    hidden = is_hidden(loaded, camera.scaled(1 / scale), cloud.points)
    return PointCloud(cloud.points * scale, cloud.normals, cloud.colors), hidden
