"""The course of the contest: data, first stages, the upsamplers behind the best of them, the table."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..errors import RunError
from ..jobs import run_jobs
from ..outcome import Failure
from ..pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
from ..results import write_json
from .judging import METRICS, judge_recipe, mean, own_samples
from .rules import Rules
from .running import make_data, train
from .table import write_table

log = logging.getLogger(__name__)


def hold(rules: Rules, workers: int) -> str:
    """Run what is not yet done, `workers` recipes at a time; the table.

    Raises:
      RunError: a recipe failed; the others are kept.
    """
    make_data(rules, workers)
    serving = next(iter(rules.upsamplers))
    longest = sorted([serving, *rules.first_stages], key=rules.budget_of, reverse=True)
    plans = _side_by_side(_train_one, [(rules, name, None) for name in longest], workers)
    _side_by_side(_judge_one, [(rules, name, serving) for name in rules.first_stages], workers)
    first = best_first_stage(rules)
    log.info("best first stage: %s", first)
    needs_samples = any(recipe.own_samples for recipe in rules.upsamplers.values())
    samples = own_samples(rules, first) if needs_samples else None
    others = [name for name in rules.upsamplers if name != serving]
    jobs = [(rules, name, samples if rules.upsamplers[name].own_samples else None) for name in others]
    plans |= _side_by_side(_train_one, jobs, workers)
    finals = [first, *[name for name, recipe in rules.first_stages.items() if recipe.budget != 1]]
    _side_by_side(_judge_one, [(rules, name, second) for name in finals for second in others], workers)
    pairs = [(name, serving) for name in rules.first_stages]
    pairs += [(name, second) for name in finals for second in others]
    return write_table(rules, pairs, plans)


def best_first_stage(rules: Rules) -> str:
    """The first stage with the smallest Chamfer distance among those of equal time, all with the first upsampler."""
    serving = next(iter(rules.upsamplers))
    equal = [name for name, recipe in rules.first_stages.items() if recipe.budget == 1]
    return min(equal, key=lambda name: mean(judge_recipe(rules, name, serving), "chamfer")[0])


def ship(rules: Rules, first: str, second: str, target: Path) -> None:
    """Save both stages as pipelines below `target`, with scores.json: the means, and each object's scores.

    Folders of that name are replaced.
    """
    for pipeline, name, folder in (
        (XRayDiffusionPipeline, first, "diffusion"),
        (XRayUpsamplerPipeline, second, "upsampler"),
    ):
        shutil.rmtree(target / folder, ignore_errors=True)
        pipeline.from_pretrained(rules.run_dir(name)).save_pretrained(target / folder)
    scores = judge_recipe(rules, first, second)
    seed, rows = next(iter(scores["seeds"].items()))
    summary = {
        "objects": asdict(rules.objects),
        "mean": {metric: mean(scores, metric)[0] for metric in METRICS},
        "sampling_seeds": rules.sampling_seeds,
        "views": {"seed": int(seed), "scores": rows},
    }
    write_json(target / "scores.json", summary)


def _train_one(job: tuple[Rules, str, Path | None]) -> dict:
    return train(*job)


def _judge_one(job: tuple[Rules, str, str]) -> dict:
    judge_recipe(*job)
    return {}


def _side_by_side(function: Callable, jobs: list[tuple], workers: int) -> dict[str, dict]:
    """{recipe: result} of jobs (rules, recipe, ...); all run to their end before a failure is raised."""
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
