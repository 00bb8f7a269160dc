"""Runs a recipe: how many steps its time is worth, then the training, by the repository's own commands."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from ..config import Config, to_yaml
from ..errors import InputError, RunError
from ..results import read_json, write_json
from .rules import Rules

ROOT = Path(__file__).parents[2]

PROBES = (4, 24)
"""Steps of two short trainings: the difference of their CPU times is free of imports and start."""

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
            process.terminate()  # it saves, and goes on next time
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"]
        raise RunError(
            f"{Path(str(arguments[0])).name} ended with status {process.returncode}: {lines[-1]} (see {log})"
        )
    return usage.ru_utime + usage.ru_stime


def make_data(rules: Rules, workers: int) -> None:
    """Objects, pictures, X-Rays and the image VAE; what is there already stays."""
    objects, log = rules.objects, rules.folder / "data.log"
    images = rules.data_root / "images"
    if not (rules.mesh_root / ".complete").is_file():
        which = ("--num", objects.number, "--seed", objects.seed)
        command(log, ROOT / "example/shapes.py", "--output", rules.mesh_root, *which)
        (rules.mesh_root / ".complete").touch()
    shared = ("--mesh_root", rules.mesh_root, "--image_root", images, "--workers", workers)
    size = ("--num_views", objects.views, "--image_size", objects.image_size)
    command(log, ROOT / "preprocess/get_image/render.py", *shared, *size)
    rays = ("--xray_root", rules.data_root / "xrays", "--resolution", objects.rays)
    command(log, ROOT / "preprocess/get_xray/get_xray.py", *shared, *rays)
    vae = ("--image_root", images, "--output", rules.vae, "--steps", rules.vae_steps)
    command(log, ROOT / "example/train_vae.py", *vae)


def train(rules: Rules, name: str, own_samples: Path | None = None) -> dict:
    """Train a recipe for its time; a training that was cut short goes on.

    Args:
      own_samples: the first stage's results that an upsampler is also trained on.
    Returns:
      {"step_s": CPU seconds a step, "steps": their number, "budget_s"}.
    """
    config, folder = rules.training(name), rules.run_dir(name)
    if own_samples is not None:
        config.train.first_stage = str(own_samples)
    plan = _plan(config, folder, rules.budget_of(name))
    config.train.max_steps = plan["steps"]
    _train(config, folder / "recipe.yaml", folder / "train.log")
    return plan


def _plan(config: Config, folder: Path, budget_s: float) -> dict:
    """Steps that fit the budget, measured once and then kept, so that going on gives the same training."""
    path = folder / "plan.json"
    recipe = {key: value for key, value in asdict(config).items() if key != "output_dir"}
    if path.is_file():
        plan = read_json(path)
        if plan["recipe"] != json.loads(json.dumps(recipe)) or plan["budget_s"] != budget_s:
            raise InputError(f"{folder}: trained by another recipe or budget; expected an empty folder or the old keys")
        return plan
    seconds = []
    for steps in PROBES:
        probe = folder / f"probe-{steps}"
        shutil.rmtree(probe, ignore_errors=True)  # one that was cut short would go on and seem fast
        config.train.max_steps, kept = steps, config.output_dir
        config.output_dir = str(probe)
        seconds.append(_train(config, probe / "recipe.yaml", probe / "train.log"))
        config.output_dir = kept
        shutil.rmtree(probe)
    step_s = (seconds[1] - seconds[0]) / (PROBES[1] - PROBES[0])
    plan = {"step_s": step_s, "steps": math.ceil(budget_s / step_s), "budget_s": budget_s, "recipe": recipe}
    write_json(path, plan)
    return plan


def _train(config: Config, path: Path, log: Path) -> float:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_yaml(config), encoding="utf-8")
    return command(log, ROOT / f"train_{config.stage}.py", "--config", path)
