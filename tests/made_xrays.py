"""X-Rays that tests make."""

from __future__ import annotations

import numpy as np

from xray.representation import XRay


def random_xray(seed: int, layers: int = 4, height: int = 6, width: int = 10) -> XRay:
    """A valid X-Ray with rays of every number of hits, the whole stack included."""
    rng = np.random.default_rng(seed)
    hits = rng.integers(0, layers + 1, (height, width))
    hit = np.arange(layers)[:, None, None] < hits
    depth = (0.7 + np.cumsum(rng.uniform(0, 0.3, hit.shape), axis=0)).astype(np.float32) * hit
    normal = rng.normal(size=(*hit.shape, 3))
    normal = (normal / np.linalg.norm(normal, axis=-1, keepdims=True)).astype(np.float32) * hit[..., None]
    color = rng.uniform(0, 1, (*hit.shape, 3)).astype(np.float32) * hit[..., None]
    color[hit] *= rng.integers(0, 2, (hit.sum(), 1))  # black surfaces: a colour of 0 is stored by nothing
    # Adding 0.0 turns -0.0 into 0.0: the sparse form cannot tell them apart.
    return XRay(depth, normal + np.float32(0), color).validate("made for the test")
