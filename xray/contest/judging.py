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

from ..build import make_codec
from ..dataset import XRayDataset
from ..evaluation import seed_of
from ..images import load_rgba
from ..mesh import find_meshes, load_mesh
from ..pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
from ..representation import XRay
from ..results import read_json, write_json
from ..scoring import sample_mesh, score_xray
from ..storage import save_xray
from ..visibility import is_hidden
from .rules import Rules

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
}
"""name -> where `scoring.score_xray` gives it."""


@dataclass(frozen=True)
class Judge:
    """Scores X-Rays of the first view of every held-out object.

    Args:
      dataset: the test split, at the rays and layers of the second stage.
    """

    dataset: XRayDataset
    mesh_root: Path

    @classmethod
    def of(cls, rules: Rules) -> Judge:
        """The judge of a contest; all of its recipes share codec and data."""
        return cls(_dataset(rules, "test"), rules.mesh_root)

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
        """<object>_<view>."""
        row = self.dataset.rows[index]
        return f"{row.object}_{row.view}"

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


def _dataset(rules: Rules, split: str) -> XRayDataset:
    config = rules.training(next(iter(rules.upsamplers)))
    codec = make_codec(config)
    return XRayDataset(config.data.root, codec, split, config.data.image_size, config.data.eval_fraction)


def judge_recipe(rules: Rules, first: str, second: str) -> dict:
    """Scores of a first stage followed by an upsampler: {"seeds": {seed: rows}, "sampling_s": a view}."""
    path = rules.run_dir(first) / f"scores_{second}.json"
    return kept(path, lambda: _judge_recipe(rules, first, second))


def _judge_recipe(rules: Rules, first: str, second: str) -> dict:
    judge = Judge.of(rules)
    pipelines = load_pipelines(rules.run_dir(first), rules.run_dir(second))
    seeds, spent = {}, 0.0
    for seed in rules.sampling_seeds:
        began = time.process_time()
        made = list(predict(judge, *pipelines, seed))
        spent += time.process_time() - began
        seeds[str(seed)] = judge.score(made)
    return {
        "seeds": seeds,
        "sampling_s": spent / (len(rules.sampling_seeds) * len(judge.views)),
        "parameters": [sum(p.numel() for p in pipeline.unet.parameters()) for pipeline in pipelines],
    }


def load_pipelines(first: str | Path, second: str | Path) -> tuple[XRayDiffusionPipeline, XRayUpsamplerPipeline]:
    """Both stages, from trainings or from saved pipelines, without progress bars."""
    pipelines = XRayDiffusionPipeline.from_pretrained(first), XRayUpsamplerPipeline.from_pretrained(second)
    for pipeline in pipelines:
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


def predict(
    judge: Judge, first: XRayDiffusionPipeline, second: XRayUpsamplerPipeline, seed: int
) -> Iterator[tuple[int, XRay]]:
    """(index, X-Ray) of every view that is judged, through both stages."""
    for start in range(0, len(judge.views), BATCH):
        indices = judge.views[start : start + BATCH]
        pictures = [judge.picture(index) for index in indices]
        low = _sample(judge, first, indices, seed)
        yield from zip(indices, second(pictures, low, generator=_generators(judge, indices, seed)).xrays, strict=True)


def own_samples(rules: Rules, first: str) -> Path:
    """Folder of a first stage's X-Rays of all training views, <object>_<view>_xray.npz; what is there stays."""
    folder = rules.run_dir(first) / "own_samples"
    judge = Judge(_dataset(rules, "train"), rules.mesh_root)
    todo = [index for index in range(len(judge.dataset)) if not _own_path(folder, judge, index).is_file()]
    if todo:
        pipeline = XRayDiffusionPipeline.from_pretrained(rules.run_dir(first))
        pipeline.set_progress_bar_config(disable=True)
        for start in tqdm(range(0, len(todo), BATCH), desc="own samples"):
            indices = todo[start : start + BATCH]
            for index, xray in zip(indices, _sample(judge, pipeline, indices, 0), strict=True):
                save_xray(_own_path(folder, judge, index), xray)
    return folder


def _own_path(folder: Path, judge: Judge, index: int) -> Path:
    return folder / f"{judge.name(index)}_xray.npz"


def _sample(judge: Judge, first: XRayDiffusionPipeline, indices: list[int], seed: int) -> list[XRay]:
    pictures = [judge.picture(index) for index in indices]
    return first(pictures, generator=_generators(judge, indices, seed)).xrays


def _generators(judge: Judge, indices: list[int], seed: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed_of(seed, judge.name(index))) for index in indices]


def judge_baseline(rules: Rules, name: str) -> dict:
    """Scores of one of `BASELINES`: {"seeds": {"0": rows}}."""

    def make() -> dict:
        judge = Judge.of(rules)
        return {"seeds": {"0": judge.score(BASELINES[name][1](rules, judge))}}

    return kept(rules.folder / "baselines" / f"{name}.json", make)


def _nearest(rules: Rules, judge: Judge) -> Iterator[tuple[int, XRay]]:
    train = _dataset(rules, "train")
    codec = train.codec
    small = np.stack([_thumbnail(train[index]["image"]) for index in range(len(train))])
    for index in judge.views:
        distance = ((small - _thumbnail(judge.dataset[index]["image"])) ** 2).sum(1)
        yield index, codec.decode(train[int(distance.argmin())]["xray"])


def _thumbnail(image: torch.Tensor, size: int = 32) -> np.ndarray:
    return torch.nn.functional.interpolate(image[None], (size, size), mode="area").flatten().numpy()


def _first_layer(_: Rules, judge: Judge) -> Iterator[tuple[int, XRay]]:
    for index in judge.views:
        truth = judge.truth(index)
        depth = np.where(np.arange(len(truth.depth))[:, None, None] == 0, truth.depth, 0)
        hit = (depth > 0)[..., None]
        yield index, XRay(depth, np.where(hit, truth.normal, 0), np.where(hit, truth.color, 0))


def _perfect(_: Rules, judge: Judge) -> Iterator[tuple[int, XRay]]:
    for index in judge.views:
        yield index, judge.truth(index)


BASELINES: dict[str, tuple[str, Callable[[Rules, Judge], Iterator[tuple[int, XRay]]]]] = {
    "nearest": ("the X-Ray of the training view with the nearest picture (squared error at 32 x 32)", _nearest),
    "first_layer": ("the truth's first layer alone: all that the camera sees", _first_layer),
    "perfect": ("the truth itself at these rays and layers: the least that can be reached", _perfect),
}
"""name -> (what it is, its X-Rays)."""


def kept(path: Path, make: Callable[[], dict]) -> dict:
    """The JSON of a file, made first where it is not there."""
    if not path.is_file():
        write_json(path, make())
    return read_json(path)


def mean(scores: dict, metric: str) -> tuple[float, float]:
    """Mean over the views, and then mean and standard deviation over the seeds."""
    seeds = [
        np.mean([row[metric] for row in rows.values() if row[metric] is not None]) for rows in scores["seeds"].values()
    ]
    return float(np.mean(seeds)), float(np.std(seeds))
