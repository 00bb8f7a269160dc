"""Samples a second of the data set against the plain way, side by side in one run, and whether both agree to the bit.

The plain way makes the dense array of all layers and rays, brings it to model space at full size, then keeps
the layers and resizes: `python benchmarks/dataset.py --data_root D`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.sparse import csr_matrix

from xray.common import cli
from xray.core.codec import Codec
from xray.data.dataset import XRayDataset

ROOT = Path(__file__).parents[1]


def plain_item(root: Path, object_id: str, view: str, codec: Codec) -> tuple[torch.Tensor, torch.Tensor]:
    """(layers, 8, r, r) and (3, 512, 512), each step at full size."""
    loaded = np.load(root / "xrays" / object_id / f"{view}.npz")
    matrix = csr_matrix((loaded["data"], loaded["indices"], loaded["indptr"]), shape=loaded["shape"])
    dense = matrix.toarray().reshape(16, 7, 256, 256)
    xray = torch.from_numpy(dense.copy()).float()[: codec.layers]
    hit = (xray[:, 0:1] > 0).float() * 2 - 1
    xray[:, 0] = (xray[:, 0] - codec.near) / (codec.far - codec.near) * 2 - 1
    xray[:, 1:4] = torch.nn.functional.normalize(xray[:, 1:4], dim=1)
    xray[:, 4:7] = xray[:, 4:7] * 2 - 1
    xray = torch.cat([xray, hit], dim=1)
    xray = torch.nn.functional.interpolate(xray, size=(codec.resolution, codec.resolution), mode="nearest")
    picture = Image.open(root / "images" / object_id / f"{view}.png").convert("RGBA")
    picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    picture = picture.convert("RGB").resize((512, 512), Image.Resampling.BILINEAR)
    image = torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 255
    return xray, image * 2 - 1


def agree(plain: torch.Tensor, ours: torch.Tensor) -> bool:
    """Equal to the bit, but for normals: the plain way divides them by their length once more, which is rounding."""
    others = [0, 4, 5, 6, 7]
    near = (plain[:, 1:4] - ours[:, 1:4]).abs().max() < 2e-7
    return torch.equal(plain[:, others], ours[:, others]) and bool(near)


def timed(function, *arguments) -> tuple[float, object]:
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def compare(dataset: XRayDataset, rounds: int) -> tuple[list[float], list[float], bool]:
    """Seconds a sample of either way (one value a round), and whether all items were equal."""
    plain, ours, equal = [], [], True
    for number in range(rounds + 1):
        seconds = [0.0, 0.0]
        for index, row in enumerate(dataset.rows):
            spent, (xray, image) = timed(plain_item, dataset.root, row.object, row.view, dataset.codec)
            seconds[0] += spent
            spent, item = timed(dataset.__getitem__, index)
            seconds[1] += spent
            equal &= agree(xray, item["xray"]) and torch.equal(image, item["image"])
        if number:  # the first round fills the file cache
            plain.append(seconds[0] / len(dataset))
            ours.append(seconds[1] / len(dataset))
    return plain, ours, equal


@cli.entry
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data_root", default=ROOT.parent / "shared/reference/dataset", type=Path)
    parser.add_argument("--rounds", default=20, type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.stdout.write("resolution  plain ms  ours ms  samples/s  ratio (median, lowest, highest of rounds)  equal\n")
    all_equal = True
    for resolution in (64, 128, 256):
        dataset = XRayDataset(arguments.data_root, Codec(resolution=resolution), "all")
        plain, ours, equal = compare(dataset, arguments.rounds)
        ratios = [p / o for p, o in zip(plain, ours, strict=True)]
        sys.stdout.write(
            f"{resolution:10d} {1e3 * statistics.median(plain):9.1f} {1e3 * statistics.median(ours):8.1f}"
            f" {1 / statistics.median(ours):10.1f}  {statistics.median(ratios):.2f}x {min(ratios):.2f}x"
            f" {max(ratios):.2f}x  {'yes' if equal else 'NO'}\n"
        )
        all_equal &= equal
    return cli.OK if all_equal else 1


if __name__ == "__main__":
    sys.exit(main())
