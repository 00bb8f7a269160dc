"""Scores of recipes and baselines on the held-out objects, under the `surface` protocol."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from ..common.files import read_json, write_json
from ..common.images import load_rgba
from ..core.storage import save_xray
from ..core.xray import XRay
from ..data.dataset import XRayDataset
from ..data.mesh_files import find_meshes
from ..data.sample_names import XRAY_ENDING, file_stem, sample_name
from ..evaluate.run import sample_seed
from ..inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
from ..mesh.load import load_mesh
from ..metrics.protocols import sample_mesh, score_xray
from ..models.build import make_codec
from ..raycast.visibility import is_hidden
from .config import ComparisonConfig

BATCH = 4
"""Views sampled together."""

METRICS = {
    "chamfer": ("surface", "chamfer"),
    "fscore@0.05": ("surface", "fscore@0.05"),
    "hidden_chamfer": ("surface", "hidden_chamfer"),
    "hidden_fscore@0.05": ("surface", "hidden_fscore@0.05"),
    "hit_iou": ("layers", "hit_iou"),
    "hidden_hit_iou": ("layers", "hidden_hit_iou"),
    "depth_error": ("layers", "depth_error"),
    "normal_consistency": ("surface", "normal_consistency"),
    "color_error": ("layers", "color_error"),
    "hidden_color_error": ("layers", "hidden_color_error"),
}
"""name -> its place in what `protocols.score_xray` returns."""

TITLES = {
    "chamfer": "CD",
    "fscore@0.05": "F@0.05",
    "hidden_chamfer": "hidden CD",
    "hit_iou": "hit IoU",
    "depth_error": "depth error",
    "normal_consistency": "normals",
    "color_error": "colour error",
    "hidden_color_error": "hidden",
}
"""Metric -> title of its column in the benchmarks' tables, in their order."""


@dataclass(frozen=True)
class HeldOutScorer:
    """Scores X-Rays of the first view of every held-out object.

    Args:
      dataset: the test split, at the rays and layers of the second stage.
    """

    dataset: XRayDataset
    mesh_root: Path

    @classmethod
    def of(cls, comparison: ComparisonConfig) -> HeldOutScorer:
        """The scorer of a comparison, all of whose recipes share codec and data."""
        return cls(_dataset(comparison, "test"), comparison.mesh_root)

    @cached_property
    def views(self) -> list[int]:
        """Index in the data set of each held-out object's first view."""
        first: dict[str, int] = {}
        for index, row in enumerate(self.dataset.rows):
            first.setdefault(row.object, index)
        return list(first.values())

    @cached_property
    def _meshes(self) -> dict[str, Path]:
        return find_meshes(self.mesh_root)

    def name(self, index: int) -> str:
        """By which an evaluation knows the sample."""
        return sample_name(*self.dataset.rows[index])

    def picture(self, index: int) -> Image.Image:
        """The view's picture, RGBA."""
        row = self.dataset.rows[index]
        return load_rgba(self.dataset.root / "images" / row.object / f"{row.view}.png")

    def score(self, predictions: Iterable[tuple[int, XRay]]) -> dict[str, dict[str, float | None]]:
        """{<object>_<view>: {metric: value}} of (index, X-Ray) pairs."""
        return {self.name(index): self._score(index, xray) for index, xray in predictions}

    def truth(self, index: int) -> XRay:
        """The truth at the rays and layers that are scored."""
        return self.dataset.codec.decode(self.dataset[index]["xray"])

    def _score(self, index: int, prediction: XRay) -> dict[str, float | None]:
        camera = self.dataset.camera(index, self.dataset.codec.resolution)
        mesh = load_mesh(self._meshes[self.dataset.rows[index].object])
        surface = sample_mesh(mesh)
        hidden = is_hidden(mesh, camera, surface.points)
        stored = self.dataset.xray(index, self.dataset.codec.layers)
        scores = score_xray(prediction, self.truth(index), stored, camera, surface, emd=False, hidden=hidden)
        return {name: scores[group][key] for name, (group, key) in METRICS.items()}


def _dataset(comparison: ComparisonConfig, split: str) -> XRayDataset:
    config = comparison.training(next(iter(comparison.upsamplers)))
    codec = make_codec(config)
    return XRayDataset(config.data.root, codec, split, config.data.image_size, config.data.eval_fraction)


def score_recipe(comparison: ComparisonConfig, first: str, second: str) -> dict:
    """Scores of a first stage followed by an upsampler: {"seeds": {seed: rows}, "sampling_s": a view}."""
    path = comparison.run_dir(first) / f"scores_{second}.json"
    return cached_json(path, lambda: _score_recipe(comparison, first, second))


def _score_recipe(comparison: ComparisonConfig, first: str, second: str) -> dict:
    scorer = HeldOutScorer.of(comparison)
    pipelines = load_pipelines(comparison.run_dir(first), comparison.run_dir(second))
    seeds, spent = {}, 0.0
    for seed in comparison.sampling_seeds:
        began = time.process_time()
        made = list(predict(scorer, *pipelines, seed))
        spent += time.process_time() - began
        seeds[str(seed)] = scorer.score(made)
    return {
        "seeds": seeds,
        "sampling_s": spent / (len(comparison.sampling_seeds) * len(scorer.views)),
        "parameters": [sum(p.numel() for p in pipeline.unet.parameters()) for pipeline in pipelines],
    }


def load_pipelines(first: str | Path, second: str | Path) -> tuple[XRayDiffusionPipeline, XRayUpsamplerPipeline]:
    """Both stages, from trainings or from saved pipelines, without progress bars."""
    upsampler = XRayUpsamplerPipeline.from_pretrained(second)
    upsampler.set_progress_bar_config(disable=True)
    return load_first_stage(first), upsampler


def load_first_stage(folder: str | Path) -> XRayDiffusionPipeline:
    """The first stage alone, as `load_pipelines`."""
    pipeline = XRayDiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def predict(
    scorer: HeldOutScorer, first: XRayDiffusionPipeline, second: XRayUpsamplerPipeline | None, seed: int
) -> Iterator[tuple[int, XRay]]:
    """(index, X-Ray) of every view that is scored, through both stages, or through the first alone."""
    for start in range(0, len(scorer.views), BATCH):
        indices = scorer.views[start : start + BATCH]
        made, last = sample(scorer, first, indices, seed), first
        if second is not None:
            pictures = [scorer.picture(index) for index in indices]
            made, last = second(pictures, made, generator=_generators(scorer, indices, seed)).xrays, second
        yield from ((index, unit_box(scorer, last, index, xray)) for index, xray in zip(indices, made, strict=True))


def unit_box(
    scorer: HeldOutScorer, pipeline: XRayDiffusionPipeline | XRayUpsamplerPipeline, index: int, xray: XRay
) -> XRay:
    """A prediction at the size of the object in the unit box.

    Of a model that was trained with `data.camera_distance` it is as large as it would be at that distance; the distance
    of the view's own camera then tells its size.
    """
    distance = pipeline.training.data.camera_distance
    return xray.scaled(scorer.dataset.camera(index, 1).distance / distance) if distance else xray


def own_samples(comparison: ComparisonConfig, first: str) -> Path:
    """Folder of a first stage's X-Rays of all training views."""
    scorer = HeldOutScorer(_dataset(comparison, "train"), comparison.mesh_root)
    return write_samples(scorer, comparison.run_dir(first), comparison.run_dir(first) / "own_samples")


def write_samples(scorer: HeldOutScorer, first: Path, folder: Path) -> Path:
    """Write the X-Rays of a trained first stage, of all views, <object>_<view>_xray.npz; existing files stay.

    Args:
      first: folder of the stage.
    """
    todo = [index for index in range(len(scorer.dataset)) if not sample_path(folder, scorer, index).is_file()]
    if todo:
        pipeline = load_first_stage(first)
        for start in tqdm(range(0, len(todo), BATCH), desc="own samples"):
            indices = todo[start : start + BATCH]
            for index, xray in zip(indices, sample(scorer, pipeline, indices, 0), strict=True):
                save_xray(sample_path(folder, scorer, index), xray)
    return folder


def sample_path(folder: Path, scorer: HeldOutScorer, index: int) -> Path:
    """File of a first stage's X-Ray of a view, as `train.first_stage` looks for it."""
    return folder / f"{file_stem(scorer.name(index))}{XRAY_ENDING}"


def sample(scorer: HeldOutScorer, first: XRayDiffusionPipeline, indices: list[int], seed: int) -> list[XRay]:
    """The first stage's X-Rays of some views, each with its own random numbers of the seed."""
    pictures = [scorer.picture(index) for index in indices]
    return first(pictures, generator=_generators(scorer, indices, seed)).xrays


def _generators(scorer: HeldOutScorer, indices: list[int], seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(sample_seed(seed, scorer.name(index))) for index in indices]


def score_baseline(comparison: ComparisonConfig, name: str) -> dict:
    """Scores of one of `BASELINES`: {"seeds": {"0": rows}}."""

    def make() -> dict:
        scorer = HeldOutScorer.of(comparison)
        return {"seeds": {"0": scorer.score(BASELINES[name][1](comparison, scorer))}}

    return cached_json(comparison.folder / "baselines" / f"{name}.json", make)


def _nearest(comparison: ComparisonConfig, scorer: HeldOutScorer) -> Iterator[tuple[int, XRay]]:
    train = _dataset(comparison, "train")
    codec = train.codec
    small = np.stack([thumbnail(train[index]["image"]) for index in range(len(train))])
    for index in scorer.views:
        distance = ((small - thumbnail(scorer.dataset[index]["image"])) ** 2).sum(1)
        yield index, codec.decode(train[int(distance.argmin())]["xray"])


def thumbnail(image: torch.Tensor, size: int = 32) -> np.ndarray:
    """An image (C, S, S) at `size` x `size`, flat: by it the nearest training view is found."""
    return torch.nn.functional.interpolate(image[None], (size, size), mode="area").flatten().numpy()


def first_layer(scorer: HeldOutScorer) -> Iterator[tuple[int, XRay]]:
    """The truth's first layer alone."""
    for index in scorer.views:
        truth = scorer.truth(index)
        depth = np.where(np.arange(len(truth.depth))[:, None, None] == 0, truth.depth, 0)
        hit = (depth > 0)[..., None]
        yield index, XRay(depth, np.where(hit, truth.normal, 0), np.where(hit, truth.color, 0))


def perfect(scorer: HeldOutScorer) -> Iterator[tuple[int, XRay]]:
    """The truth itself."""
    for index in scorer.views:
        yield index, scorer.truth(index)


BASELINES: dict[str, tuple[str, Callable[[ComparisonConfig, HeldOutScorer], Iterator[tuple[int, XRay]]]]] = {
    "nearest": ("the X-Ray of the training view with the nearest picture (squared error at 32 x 32)", _nearest),
    "first_layer": ("the truth's first layer alone: all that the camera sees", lambda _, scorer: first_layer(scorer)),
    "perfect": (
        "the truth itself at these rays and layers: the least that can be reached",
        lambda _, scorer: perfect(scorer),
    ),
}
"""name -> (what it is, its X-Rays)."""


def cached_json(path: Path, make: Callable[[], dict]) -> dict:
    """The JSON of a file, made first where it is not there."""
    if not path.is_file():
        write_json(path, make())
    return read_json(path)


def metrics_of(scores: dict) -> list[str]:
    """The metrics that at least one view has: a colour error of hidden layers needs hits of both shapes there."""
    rows = [row for rows in scores["seeds"].values() for row in rows.values()]
    return [metric for metric in rows[0] if any(row[metric] is not None for row in rows)]


def mean(scores: dict, metric: str) -> tuple[float, float]:
    """Mean over the views that have the metric, and then mean and standard deviation over the seeds.

    Raises:
      ValueError: no view has it; see `metrics_of`.
    """
    views = ([row[metric] for row in rows.values() if row[metric] is not None] for rows in scores["seeds"].values())
    seeds = [np.mean(values) for values in views if values]
    if not seeds:
        raise ValueError(f"{metric}: no view has a value")
    return float(np.mean(seeds)), float(np.std(seeds))
