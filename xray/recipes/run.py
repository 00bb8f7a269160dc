"""Runs a comparison of recipes: data, first stages, upsamplers behind the best of them, the table.

Every recipe is trained for the same time, by the repository's own commands.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from ..common.errors import InputError, RunError
from ..common.files import ROOT, read_json, write_json
from ..common.jobs import Failure, run_jobs
from ..config import Config, to_yaml
from ..inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
from .config import ComparisonConfig
from .scores import mean, metrics_of, own_samples, score_recipe
from .table import write_table

PROBES = (4, 24)
"""Steps of two short trainings: the difference of their CPU times is free of imports and start."""

COMPILED_PROBES = (4, 64)
"""The same of trainings that compile, whose starts vary by seconds even where all is compiled already."""

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
"""CPU seconds of one thread do not depend on what else the machine does; seconds of the clock do."""


def command(log: Path, *arguments: object) -> float:
    """Run a script of the repository, its output appended to `log`.

    Returns:
      CPU seconds that it used.
    Raises:
      RunError: it failed; the last line of its output says why.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as stream:
        process = subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=os.environ | ONE_THREAD,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()  # it saves its state, and the next run continues from there
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
        raise RunError(
            f"{Path(str(arguments[0])).name} ended with status {process.returncode}: {lines[-1]} (see {log})"
        )
    return usage.ru_utime + usage.ru_stime


def make_data(comparison: ComparisonConfig, workers: int) -> None:
    """Objects, pictures, X-Rays and the image VAE; what exists already is not made again."""
    objects, log = comparison.objects, comparison.folder / "data.log"
    images = comparison.data_root / "images"
    if not (comparison.mesh_root / ".complete").is_file():
        which = ("--num", objects.number, "--seed", objects.seed)
        command(log, ROOT / "example/shapes.py", "--output", comparison.mesh_root, *which)
        (comparison.mesh_root / ".complete").touch()
    shared = ("--mesh_root", comparison.mesh_root, "--image_root", images, "--workers", workers)
    size = ("--num_views", objects.views, "--image_size", objects.image_size)
    command(log, ROOT / "preprocess/get_image/render.py", *shared, *size)
    rays = ("--xray_root", comparison.data_root / "xrays", "--resolution", objects.rays)
    command(log, ROOT / "preprocess/get_xray/get_xray.py", *shared, *rays)
    vae = ("--image_root", images, "--output", comparison.vae, "--steps", comparison.vae_steps)
    command(log, ROOT / "example/train_vae.py", *vae)


def train_recipe(comparison: ComparisonConfig, name: str, own_samples: Path | None = None) -> dict:
    """Train a recipe for its time; an interrupted training continues.

    Args:
      own_samples: the first stage's results that an upsampler is also trained on.
    Returns:
      {"step_s": CPU seconds a step, "steps": their number, "budget_s"}.
    """
    config = comparison.training(name)
    if own_samples is not None:
        config.train.first_stage = str(own_samples)
    return train_for(config, comparison.budget_of(name))


def train_for(config: Config, budget_s: float) -> dict:
    """Train for a time into the configuration's folder; an interrupted training continues.

    Returns:
      {"step_s": CPU seconds a step, "steps": their number, "budget_s", "recipe"}.
    Raises:
      InputError: the folder has the training of another recipe or budget.
    """
    folder = Path(config.output_dir)
    plan = _plan(config, folder, budget_s)
    train = replace(config.train, max_steps=plan["steps"])
    run_training(replace(config, train=train), folder / "recipe.yaml", folder / "train.log")
    return plan


def _plan(config: Config, folder: Path, budget_s: float) -> dict:
    """Steps that fit the budget: measured once and written down, so that a continued run trains the same."""
    path = folder / "plan.json"
    recipe = {key: value for key, value in asdict(config).items() if key != "output_dir"}
    if path.is_file():
        plan = read_json(path)
        if plan["recipe"] != json.loads(json.dumps(recipe)) or plan["budget_s"] != budget_s:
            raise InputError(f"{folder}: trained by another recipe or budget; expected an empty folder or the old keys")
        return plan

    def train(probe: Path, steps: int) -> float:
        short = replace(config, output_dir=str(probe), train=replace(config.train, max_steps=steps))
        return run_training(short, probe / "recipe.yaml", probe / "train.log")

    step_s = seconds_a_step(folder, config.train.compile, train)
    plan = {"step_s": step_s, "steps": math.ceil(budget_s / step_s), "budget_s": budget_s, "recipe": recipe}
    write_json(path, plan)
    return plan


def seconds_a_step(folder: Path, compiled: bool, train: Callable[[Path, int], float]) -> float:
    """Seconds of a step, by two short trainings in folders of their own below `folder`, which go again.

    Args:
      compiled: the trainings compile. Then one goes before, since those after it find on disk what it has compiled.
      train: (folder, steps) -> seconds that a training of so many steps into the folder took.
    """
    probes = COMPILED_PROBES if compiled else PROBES
    seconds = []
    for steps in (1, *probes) if compiled else probes:
        probe = folder / f"probe-{steps}"
        shutil.rmtree(probe, ignore_errors=True)  # an interrupted one would continue and seem fast
        seconds.append(train(probe, steps))
        shutil.rmtree(probe)
    return (seconds[-1] - seconds[-2]) / (probes[1] - probes[0])


def run_training(config: Config, path: Path, log: Path) -> float:
    """Train by the command of the stage, with the configuration in `path` and its output in `log`; CPU seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_yaml(config), encoding="utf-8")
    return command(log, ROOT / f"train_{config.stage}.py", "--config", path)


log = logging.getLogger(__name__)


def compare_recipes(comparison: ComparisonConfig, workers: int) -> str:
    """Run what is not done yet, `workers` recipes at a time.

    Returns:
      the table, as text.
    Raises:
      RunError: a recipe failed; the results of the others stay.
    """
    make_data(comparison, workers)
    first_upsampler = next(iter(comparison.upsamplers))
    longest = sorted([first_upsampler, *comparison.first_stages], key=comparison.budget_of, reverse=True)
    plans = _side_by_side(_train_one, [(comparison, name, None) for name in longest], workers)
    _side_by_side(_score_one, [(comparison, name, first_upsampler) for name in comparison.first_stages], workers)
    first = best_first_stage(comparison)
    log.info("best first stage: %s", first)
    needs_samples = any(recipe.own_samples for recipe in comparison.upsamplers.values())
    samples = own_samples(comparison, first) if needs_samples else None
    others = [name for name in comparison.upsamplers if name != first_upsampler]
    jobs = [(comparison, name, samples if comparison.upsamplers[name].own_samples else None) for name in others]
    plans |= _side_by_side(_train_one, jobs, workers)
    finals = [first, *[name for name, recipe in comparison.first_stages.items() if recipe.budget != 1]]
    _side_by_side(_score_one, [(comparison, name, second) for name in finals for second in others], workers)
    pairs = [(name, first_upsampler) for name in comparison.first_stages]
    pairs += [(name, second) for name in finals for second in others]
    return write_table(comparison, pairs, plans)


def best_first_stage(comparison: ComparisonConfig) -> str:
    """The first stage with the smallest Chamfer distance among those of equal time, all with the first upsampler."""
    first_upsampler = next(iter(comparison.upsamplers))
    equal = [name for name, recipe in comparison.first_stages.items() if recipe.budget == 1]
    return min(equal, key=lambda name: mean(score_recipe(comparison, name, first_upsampler), "chamfer")[0])


def ship(comparison: ComparisonConfig, first: str, second: str, target: Path) -> None:
    """Save both stages as pipelines below `target`, with scores.json: the means, and each object's scores.

    Folders of that name are replaced.
    """
    for pipeline, name, folder in (
        (XRayDiffusionPipeline, first, "diffusion"),
        (XRayUpsamplerPipeline, second, "upsampler"),
    ):
        shutil.rmtree(target / folder, ignore_errors=True)
        pipeline.from_pretrained(comparison.run_dir(name)).save_pretrained(target / folder)
    scores = score_recipe(comparison, first, second)
    seed, rows = next(iter(scores["seeds"].items()))
    summary = {
        "objects": asdict(comparison.objects),
        "mean": {metric: mean(scores, metric)[0] for metric in metrics_of(scores)},
        "sampling_seeds": comparison.sampling_seeds,
        "views": {"seed": int(seed), "scores": rows},
    }
    write_json(target / "scores.json", summary)


def _train_one(job: tuple[ComparisonConfig, str, Path | None]) -> dict:
    return train_recipe(*job)


def _score_one(job: tuple[ComparisonConfig, str, str]) -> dict:
    score_recipe(*job)
    return {}


def _side_by_side(function: Callable, jobs: list[tuple], workers: int) -> dict[str, dict]:
    """{recipe: result} of jobs (comparison, recipe, ...); all run to their end before a failure is raised."""
    results, failures = {}, []
    for job, result in run_jobs(function, jobs, min(workers, len(jobs)), progress=function.__name__.strip("_")):
        if isinstance(result, Failure):
            failures.append(f"{job[1]}: {result.reason}")
        else:
            results[job[1]] = result
            log.info("%s: done", job[1])
    if failures:
        raise RunError("; ".join(failures))
    return results
