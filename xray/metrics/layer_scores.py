"""How near two X-Rays are, layer by layer: where both hit, and how far apart."""

from __future__ import annotations

import numpy as np

from ..common.errors import InputError
from ..core.xray import XRay

DEFINITIONS = {
    "depth_error": "mean |depth - true depth| over the rays where both hit, per layer and over all of them",
    "hit_iou": "rays where both hit / rays where at least one hits, per layer and over all of them",
    "layer_depth_error@L": "depth_error of layer L alone, from 1",
    "layer_hit_iou@L": "hit_iou of layer L alone, from 1",
    "hidden_depth_error": "depth_error over the layers beyond the first",
    "hidden_hit_iou": "hit_iou over the layers beyond the first",
    "color_error": "mean |colour - true colour| in [0, 1] over channels and the rays where both hit in layer 1",
    "hidden_color_error": "color_error over the layers beyond the first",
}
"""What each number means; written into every file of results."""


def score_layers(prediction: XRay, truth: XRay) -> dict[str, float | list[float | None] | None]:
    """Depth error and hit IoU for each layer, for all together, and for the hidden ones; colour errors.

    Returns:
      the names of `DEFINITIONS`; "layer_depth_error" and "layer_hit_iou" are lists of one value a layer. A depth
      or colour error is None where the two never hit together (there is nothing to measure; hit IoU tells why); a
      hit IoU where neither hits at all is 1.
    Raises:
      InputError: different shapes.
    """
    if prediction.shape != truth.shape:
        raise InputError(f"X-Rays of shape {prediction.shape} and {truth.shape}: expected the same")
    both, either = prediction.hit & truth.hit, prediction.hit | truth.hit
    gap = np.abs(prediction.depth.astype(np.float64) - truth.depth)

    def depth_error(rows) -> float | None:
        return float(gap[rows][both[rows]].mean()) if both[rows].any() else None

    def color_error(rows) -> float | None:
        difference = np.abs(prediction.color[rows].astype(np.float64) - truth.color[rows]).mean(-1)
        return float(difference[both[rows]].mean()) if both[rows].any() else None

    def hit_iou(rows) -> float:
        return float(both[rows].sum() / either[rows].sum()) if either[rows].any() else 1.0

    layers = range(truth.shape[0])
    every, hidden = slice(None), slice(1, None)
    return {
        "depth_error": depth_error(every),
        "hit_iou": hit_iou(every),
        "hidden_depth_error": depth_error(hidden),
        "hidden_hit_iou": hit_iou(hidden),
        "color_error": color_error(slice(0, 1)),
        "hidden_color_error": color_error(hidden),
        "layer_depth_error": [depth_error(layer) for layer in layers],
        "layer_hit_iou": [hit_iou(layer) for layer in layers],
    }
