"""The model that comes with the repository, from nothing: objects, data, both trainings, scores, pipelines.

Everything lies below one folder, and the same command again goes on where it ended.
"""

from __future__ import annotations

import argparse
import logging
import math
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..common.cli import OK, entry
from ..common.errors import InputError, RunError
from ..common.files import ROOT, read_json, write_json
from ..config import Config, load_config
from ..core.xray import XRay
from ..data.dataset import XRayDataset
from ..data.mesh_files import find_meshes
from ..inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
from ..mesh.load import load_mesh
from ..models.build import make_codec
from ..raycast.capture import capture
from ..raycast.caster import RayCaster
from .run import command, run_training, seconds_a_step
from .scores import (
    HeldOutScorer,
    first_layer,
    load_pipelines,
    mean,
    metrics_of,
    perfect,
    predict,
    thumbnail,
    write_samples,
)

log = logging.getLogger(__name__)

HELD_OUT = 360
"""The test split of the first so many objects is scored, and never trained on."""

LARGEST = 20_000
"""Objects that are made at most."""

VIEWS = 2
LARGE_OBJECTS = 700
"""Objects, of one view each, that the second stage is trained on: its X-Rays are 16 times as large.

They follow the first `LARGEST`, so that the first stage, whose results the second corrects, never saw them."""

SHARES = {"diffusion": 0.6, "upsampler": 0.2}
"""Of the time, for the trainings; data and scores take the rest."""

OBJECTS_A_SECOND = 5.0
"""That one core makes, with two pictures and X-Rays each (measured; fewer are made where time is short)."""

LEAST_STEP_S = 5e-5
"""Of a step whose time is lost in that of the starts."""

SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Work:
    """The folders of a run, and where it computes."""

    folder: Path
    device: str
    workers: int

    @property
    def log(self) -> Path:
        """Output of the commands."""
        return self.folder / "commands.log"

    def config(self, stage: str, *overrides: str) -> Config:
        """The configuration of a stage, in this folder."""
        roots = {"diffusion": "data", "upsampler": "data_large"}
        keys = [f"output_dir={self.folder / stage}", f"data.root={self.folder / roots[stage]}", "train.trackers=[]"]
        return load_config(ROOT / f"configs/pretrained_{stage}.yaml", [*keys, *overrides])

    def train(self, config: Config) -> float:
        """Train by the repository's command; CPU seconds (of one thread), on a GPU seconds of the clock.

        CPU seconds do not depend on what else the machine does while a step is measured.
        """
        began = time.perf_counter()
        used = run_training(config, Path(config.output_dir) / "recipe.yaml", Path(config.output_dir) / "train.log")
        return used if self.device == "cpu" else time.perf_counter() - began


def make_data(work: Work, name: str, split: str, first: int, number: int, views: int, pixels: int, rays: int) -> None:
    """`<folder>/<name>`: images and xrays of generated objects with cameras that frame them; meshes beside."""
    root = work.folder / name
    which = ("--first", first, "--num", number, "--split", split)
    command(work.log, ROOT / "example/shapes.py", "--output", root / "meshes", *which)
    make_views(work.log, root / "meshes", root, views, pixels, rays, "--workers", work.workers)


def make_views(log_path: Path, meshes: Path, root: Path, views: int, pixels: int, rays: int, *flags: object) -> None:
    """Images and xrays below `root` as the model is trained on and scored with; flags: more, of make_dataset.py."""
    look = ("--num_views", views, "--image_size", pixels, "--framing", "object")
    stored = ("--resolution", rays, "--num_layers", 8, "--near", 0.5, "--far", 2.8)
    make = ROOT / "preprocess/make_dataset.py"
    command(log_path, make, "--mesh_root", meshes, "--root", root, *look, *stored, *flags)


def plan(work: Work, stage: str, seconds: float, *overrides: str) -> int:
    """Steps that fit the time, measured on the held-out data once and then kept."""
    path = work.folder / f"plan_{stage}.json"
    if not path.is_file():

        def train(probe: Path, steps: int) -> float:
            data = (f"data.root={work.folder / 'held_out'}", "data.eval_fraction=0.0")
            return work.train(work.config(stage, f"train.max_steps={steps}", f"output_dir={probe}", *data, *overrides))

        compiled = work.config(stage, *overrides).train.compile
        step_s = max(seconds_a_step(work.folder, compiled, train), LEAST_STEP_S)
        write_json(path, {"step_s": step_s, "seconds": seconds, "steps": max(math.ceil(seconds / step_s), 1)})
    kept = read_json(path)
    if kept["seconds"] != seconds:
        raise InputError(f"{path}: made for {kept['seconds']} s, asked for are {seconds} s; expected another --output")
    return kept["steps"]


def own_samples(work: Work) -> Path:
    """The first stage's X-Rays of the second stage's training views; what is there stays."""
    scorer = HeldOutScorer(_dataset(work, "upsampler", "all"), work.folder / "data_large/meshes")
    return write_samples(scorer, work.folder / "diffusion", work.folder / "own_samples")


def _dataset(work: Work, stage: str, split: str, root: Path | None = None) -> XRayDataset:
    config = work.config(stage)
    where = root or config.data.root
    return XRayDataset(where, make_codec(config), split, config.data.image_size, config.data.eval_fraction)


def held_out(root: Path, codec) -> HeldOutScorer:
    """The scorer of the held-out views below `root`."""
    return HeldOutScorer(XRayDataset(root, codec, "test", 256), root / "meshes")


def nearest_training_views(scorer: HeldOutScorer, train: XRayDataset, mesh_root: Path) -> Iterator[tuple[int, XRay]]:
    """For each held-out view the X-Ray of the training view with the nearest picture, cast at the scored rays.

    It is scaled as a prediction is (`scores.unit_box`), by the distance of the held-out view's camera.
    """
    meshes, codec = find_meshes(mesh_root), scorer.dataset.codec
    small = np.stack([thumbnail(train.image(index)) for index in range(len(train))])
    for index in scorer.views:
        found = int(((small - thumbnail(scorer.dataset.image(index))) ** 2).sum(1).argmin())
        mesh = load_mesh(meshes[train.rows[found].object])
        camera = train.camera(found, codec.resolution)
        xray, _ = capture(mesh, RayCaster(mesh.vertices, mesh.faces), camera, layers=codec.layers)
        xray = xray.scaled(scorer.dataset.camera(index, 1).distance / camera.distance)
        yield index, codec.decode(codec.encode(xray))


def score_model(scorer: HeldOutScorer, train: XRayDataset, mesh_root: Path, first: Path, second: Path) -> dict:
    """Means of every metric for the model (three seeds, and the best of five a view) and for the baselines."""
    pipelines = load_pipelines(first, second)
    seeds = {str(seed): scorer.score(predict(scorer, *pipelines, seed)) for seed in (*SEEDS, 3, 4)}
    best = {name: min((rows[name] for rows in seeds.values()), key=lambda row: row["chamfer"]) for name in seeds["0"]}
    rows = {
        "model": {seed: seeds[seed] for seed in map(str, SEEDS)},
        "best of 5": {"0": best},
        "nearest": {"0": scorer.score(nearest_training_views(scorer, train, mesh_root))},
        "first_layer": {"0": scorer.score(first_layer(scorer))},
        "perfect": {"0": scorer.score(perfect(scorer))},
    }
    scores = {name: {"seeds": kept} for name, kept in rows.items()}
    means = {name: {metric: mean(kept, metric)[0] for metric in metrics_of(kept)} for name, kept in scores.items()}
    return {
        "objects": {"number": HELD_OUT, "seed": 0, "views": 1, "image_size": 256, "rays": 256, "framing": "object"},
        "training_views": len(train),
        "mean": means["model"],
        "baselines": {name: values for name, values in means.items() if name != "model"},
        "sampling_seeds": list(SEEDS),
        "views": {"seed": 0, "scores": seeds["0"]},
    }


def ship(first: Path, second: Path, scores: dict, target: Path) -> None:
    """Save both stages below `target` as pipelines in half precision, with scores.json. Folders there are replaced."""
    for pipeline, source, name in (
        (XRayDiffusionPipeline, first, "diffusion"),
        (XRayUpsamplerPipeline, second, "upsampler"),
    ):
        loaded = pipeline.from_pretrained(source)
        loaded.unet.half()
        shutil.rmtree(target / name, ignore_errors=True)
        loaded.save_pretrained(target / name)
    write_json(target / "scores.json", scores)


def draw_gallery(work: Work, target: Path) -> None:
    """`<target>/gallery.png` of the pipelines there."""
    shown = ("--model", target / "diffusion", "--upsampler", target / "upsampler", "--output", target / "gallery.png")
    command(work.log, ROOT / "docs/make_gallery.py", *shown)


def train_pretrained(work: Work, hours: float, target: Path) -> None:
    """Everything, in about `hours`; the pipelines, their scores and the gallery are then in `target`."""
    seconds = 3600 * hours
    make_data(work, "held_out", "test", 0, HELD_OUT, 1, 256, 256)
    steps = plan(work, "diffusion", SHARES["diffusion"] * seconds)
    batch = work.config("diffusion").train.batch_size
    can_make = (1 - sum(SHARES.values())) / 2 * seconds * OBJECTS_A_SECOND * max(work.workers, 1)
    number = math.ceil(min(max(steps * batch / VIEWS, HELD_OUT), can_make, LARGEST))
    make_data(work, "data", "train", 0, number, VIEWS, 128, 64)
    work.train(work.config("diffusion", f"train.max_steps={steps}"))
    make_data(work, "data_large", "train", LARGEST, min(number, LARGE_OBJECTS), 1, 256, 256)
    samples = own_samples(work)
    steps = plan(work, "upsampler", SHARES["upsampler"] * seconds)
    work.train(work.config("upsampler", f"train.max_steps={steps}", f"train.first_stage={samples}"))
    scorer = held_out(work.folder / "held_out", make_codec(work.config("upsampler")))
    stages = work.folder / "diffusion", work.folder / "upsampler"
    scores = score_model(scorer, _dataset(work, "diffusion", "train"), work.folder / "data/meshes", *stages)
    ship(*stages, scores, target)
    draw_gallery(work, target)
    log.info(
        "%s: CD %.4f; nearest training view %.4f",
        target,
        *(row["chamfer"] for row in (scores["mean"], scores["baselines"]["nearest"])),
    )


@entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="train_pretrained.sh", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--hours", type=float, default=2.5, help="time for everything")
    add("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--output", type=Path, default=ROOT / "Output/pretrained", help="folder for data and trainings")
    add("--ship", type=Path, help="folder for the pipelines and scores.json (default: OUTPUT/pipelines)")
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes that make data")
    options = parser.parse_args(arguments)
    if not 0 < options.hours < math.inf:
        raise InputError(f"--hours {options.hours}: expected more than 0")
    if options.device == "cuda" and not torch.cuda.is_available():
        raise RunError("--device cuda: there is no CUDA device here")
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # for the trainings, which take a GPU where they see one
    work = Work(options.output.resolve(), options.device, options.workers)
    train_pretrained(work, options.hours, options.ship or work.folder / "pipelines")
    return OK


if __name__ == "__main__":
    sys.exit(main())
