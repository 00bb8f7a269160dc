"""X-Rays and data sets that tests make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from xray.core.camera import Views, sample_views
from xray.core.storage import save_xray
from xray.core.xray import XRay


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


def make_dataset(
    root: Path, objects: int = 4, views: int = 3, layers: int = 4, rays: int = 16, pixels: int = 20
) -> Path:
    """A data set of files without a manifest; every object but the first has cameras. All pictures differ."""
    rng = np.random.default_rng(objects)
    for number in range(objects):
        uid = f"object{number:02d}"
        for view in range(views):
            save_xray(root / "xrays" / uid / f"{view:03d}.npz", random_xray(100 * number + view, layers, rays, rays))
            picture = Image.fromarray(rng.integers(0, 256, (pixels, pixels, 4), np.uint8), "RGBA")
            (root / "images" / uid).mkdir(parents=True, exist_ok=True)
            picture.save(root / "images" / uid / f"{view:03d}.png")
        if number:
            names = tuple(f"{view:03d}.png" for view in range(views))
            text = Views(0.5 + 0.1 * number, names, sample_views(views, rng)).to_json()
            (root / "images" / uid / "transforms.json").write_text(text)
    return root
