"""The protocols by which a prediction is scored, for X-Rays of ours and for any method's points or mesh."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..core.camera import Camera
from ..core.points import PointCloud, to_points
from ..core.samples import mean_xray
from ..core.xray import XRay
from .alignment import align
from .clouds import chamfer, score, score_hidden
from .layer_scores import score_layers

PROTOCOLS = {
    "author": "truth: the points of the truth X-Ray's layers, at its stored resolution",
    "surface": "truth: points sampled uniformly over the true mesh",
}
"""Name and truth of each protocol; alignment and metrics are the same in both.

Of an X-Ray, both score the hidden surfaces once more alone. The prediction is then the points of its layers beyond
the first; the truth is the points of the true layers beyond the first ("author"), or those sampled points that the
camera does not see ("surface", `visibility.is_hidden`)."""

SURFACE_POINTS = 30_000
"""Points sampled on the true mesh, and on a predicted one."""


def score_clouds(
    prediction: PointCloud,
    truth: PointCloud,
    alignment: str = "none",
    emd: bool = True,
    hidden: tuple[np.ndarray, np.ndarray] | None = None,
) -> dict[str, float | str]:
    """Every metric for one prediction under one protocol.

    Args:
      alignment: one of `alignment.ALIGNMENTS`, applied to the prediction.
      hidden: (N,) and (M,) bool, which points of the prediction and of the truth are hidden surfaces.
    Returns:
      as `clouds.score`; normal_consistency only where both clouds have normals. With `hidden` also the keys of
      `clouds.score_hidden`, under the alignment of the whole clouds.
    """
    moved = align(prediction.points, truth.points, alignment)
    points = moved.points(prediction.points)
    normals = moved.normals(prediction.normals), truth.normals
    if not all(len(own) == 0 or own.any() for own in normals):
        normals = None, None
    values = score(points, truth.points, *normals, emd=emd)
    if hidden is not None:
        values |= score_hidden(points[hidden[0]], truth.points[hidden[1]])
    return values


def score_xray(
    prediction: XRay,
    fitted: XRay,
    stored: XRay,
    camera: Camera,
    surface: PointCloud | None = None,
    alignment: str = "none",
    emd: bool = True,
    hidden: np.ndarray | None = None,
) -> dict[str, dict]:
    """Score of one predicted X-Ray.

    Args:
      prediction: as decoded; fitted: the truth at the same layers and rays.
      stored: the truth at its stored resolution, cut to the prediction's layers.
      camera: of the view, any size in the X-Rays' proportion.
      surface: points of the true mesh in the world frame; without them there is no "surface" protocol.
      hidden: (M,) bool, which points of `surface` the camera does not see; without it the protocol has no numbers
        of hidden surfaces.
    Returns:
      protocol -> metrics, where "floor" is the Chamfer distance that a perfect prediction has at its number of
      rays; and "layers" -> depth error and hit IoU.
    """
    truths = {"author": (to_points(stored, camera, "world"), _is_beyond_first(stored))}
    if surface is not None:
        truths["surface"] = (surface, hidden)
    points, perfect = (to_points(xray, camera, "world") for xray in (prediction, fitted))
    scores: dict[str, dict] = {}
    for name, (truth, unseen) in truths.items():
        masks = None if unseen is None else (_is_beyond_first(prediction), unseen)
        scores[name] = score_clouds(points, truth, alignment, emd, masks)
        scores[name]["floor"] = chamfer(perfect.points, truth.points)
    hidden = (to_points(_beyond_first(xray), camera).points for xray in (prediction, stored))
    scores["layers"] = {**score_layers(prediction, fitted), "hidden_chamfer": chamfer(*hidden)}
    return scores


def score_samples(xrays: Sequence[XRay], camera: Camera, truth: PointCloud) -> dict[str, float]:
    """Chamfer distances of several predictions for one picture.

    Args:
      xrays: the samples, of one shape; camera: of the view; truth: points in the world frame.
    Returns:
      "mean_sample": of the samples' mean X-Ray (`core.samples.mean_xray`); "mean": mean over the samples;
      "best": of the nearest sample. The nearest is chosen by the truth: it says what N samples cover, not what one
      prediction is worth.
    """
    distances = [chamfer(to_points(xray, camera, "world").points, truth.points) for xray in xrays]
    mean = to_points(mean_xray(xrays), camera, "world")
    return {
        "mean_sample": chamfer(mean.points, truth.points),
        "mean": float(np.mean(distances)),
        "best": min(distances),
    }


def _beyond_first(xray: XRay) -> XRay:
    return XRay(xray.depth[1:], xray.normal[1:], xray.color[1:])


def _is_beyond_first(xray: XRay) -> np.ndarray:
    """(N,) bool, which of `to_points` are of layers beyond the first: it goes layer by layer."""
    return np.arange(int(xray.hit.sum())) >= int(xray.hit[0].sum())


def sample_mesh(mesh, count: int = SURFACE_POINTS, seed: int = 0) -> PointCloud:
    """Points on the surface of a mesh that has `sample(count, rng)` (see `mesh.Mesh`)."""
    points, normals, colors = mesh.sample(count, np.random.default_rng(seed))
    return PointCloud(points, normals, colors)
