"""The protocols by which a prediction is scored, for X-Rays of ours and for any method's points or mesh."""

from __future__ import annotations

import numpy as np

from .alignment import align
from .camera import Camera
from .layers import score_layers
from .metrics import chamfer, score
from .points import PointCloud, to_points
from .representation import XRay

PROTOCOLS = {
    "author": "truth: the points of the truth X-Ray's layers, at its stored resolution",
    "surface": "truth: points sampled uniformly over the true mesh",
}
"""Name and truth of each protocol; alignment and metrics are the same in both."""

SURFACE_POINTS = 30_000
"""Points sampled on the true mesh, and on a predicted one."""


def score_clouds(
    prediction: PointCloud, truth: PointCloud, alignment: str = "none", emd: bool = True
) -> dict[str, float | str]:
    """Every metric for one prediction under one protocol.

    Args:
      alignment: one of `alignment.ALIGNMENTS`, applied to the prediction.
    Returns:
      as `metrics.score`; normal_consistency only where both clouds have normals.
    """
    moved = align(prediction.points, truth.points, alignment)
    points = moved.points(prediction.points)
    normals = moved.normals(prediction.normals), truth.normals
    if not all(len(own) == 0 or own.any() for own in normals):
        normals = None, None
    return score(points, truth.points, *normals, emd=emd)


def score_xray(
    prediction: XRay,
    fitted: XRay,
    stored: XRay,
    camera: Camera,
    surface: PointCloud | None = None,
    alignment: str = "none",
    emd: bool = True,
) -> dict[str, dict]:
    """Score of one predicted X-Ray.

    Args:
      prediction: as decoded; fitted: the truth at the same layers and rays.
      stored: the truth at its stored resolution, cut to the prediction's layers.
      camera: of the view, any size in the X-Rays' proportion.
      surface: points of the true mesh in the world frame; without them there is no "surface" protocol.
    Returns:
      protocol -> metrics, where "floor" is the Chamfer distance that a perfect prediction has at its number of
      rays; and "layers" -> depth error and hit IoU.
    """
    truths = {"author": to_points(stored, camera, "world")}
    if surface is not None:
        truths["surface"] = surface
    points, perfect = (to_points(xray, camera, "world") for xray in (prediction, fitted))
    scores: dict[str, dict] = {}
    for name, truth in truths.items():
        scores[name] = score_clouds(points, truth, alignment, emd)
        scores[name]["floor"] = chamfer(perfect.points, truth.points)
    hidden = (to_points(_beyond_first(xray), camera).points for xray in (prediction, stored))
    scores["layers"] = {**score_layers(prediction, fitted), "hidden_chamfer": chamfer(*hidden)}
    return scores


def _beyond_first(xray: XRay) -> XRay:
    return XRay(xray.depth[1:], xray.normal[1:], xray.color[1:])


def sample_mesh(mesh, count: int = SURFACE_POINTS, seed: int = 0) -> PointCloud:
    """Points on the surface of a mesh that has `sample(count, rng)` (see `mesh.Mesh`)."""
    points, normals, colors = mesh.sample(count, np.random.default_rng(seed))
    return PointCloud(points, normals, colors)
