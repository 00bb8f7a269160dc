"""Running a trained stage over a data set: predictions on disk, scored, and continued where a run was cut short."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import torch

from .build import Stage, load_stage, sample_diffusion, upsample
from .errors import InputError
from .evaluator import Options, evaluate, processes
from .results import Results
from .storage import load_xray
from .training import checkpoint

OUTPUT = Path("Output")
"""Where experiments are looked for by name."""


def experiment_dir(name: str | Path) -> Path:
    """Folder of an experiment: `Output/NAME`, or NAME itself where it is a folder."""
    for path in (OUTPUT / name, Path(name)):
        if path.is_dir():
            return path
    raise InputError(f"{OUTPUT / name}: no such experiment; expected a name below {OUTPUT}/, or a folder")


def evaluate_diffusion(experiment: str | Path, options: Options) -> tuple[Results, dict]:
    """Predict X-Rays from images with the first stage and score them.

    Returns:
      the results' folder and the content of its metrics.json.
    """
    folder = experiment_dir(experiment)
    stage = _load(folder, "diffusion", options)

    def predict(images: torch.Tensor, names: list[str]) -> torch.Tensor:
        seeds = [seed_of(options.seed, name) for name in names]
        return sample_diffusion(stage, images, options.steps, seeds=seeds, solver=options.solver)

    name = f"checkpoint-{stage.step}" if options.trained else "untrained"
    settings = {"kind": "diffusion", **_settings(folder, stage, options)}
    return evaluate(folder / "evaluate" / name, settings, stage, predict, options)


def evaluate_upsampler(diffusion: str | Path, upsampler: str | Path, options: Options) -> tuple[Results, dict]:
    """Upsample the first stage's evaluated X-Rays with the second stage and score them.

    Raises:
      InputError: the first stage was not evaluated yet, or the two stages do not belong together.
    """
    source = latest_results(experiment_dir(diffusion), f"evaluate_diffusion.py --exp_diffusion {diffusion}")
    folder = experiment_dir(upsampler)
    stage = _load(folder, "upsampler", options)
    codec = stage.codec.smaller(stage.config.model.factor)

    def predict(images: torch.Tensor, names: list[str]) -> torch.Tensor:
        low = torch.stack([codec.encode(load_xray(source.path(name, "_xray.npz"))) for name in names])
        seeds = [seed_of(options.seed, name) for name in names]
        return upsample(stage, low, images, seeds, options.steps, solver=options.solver)

    name = f"checkpoint-{stage.step}" if options.trained else "untrained"
    name += f"_from_{source.folder.parents[1].name}_{source.folder.name}"
    if options.data_root is None:
        options = replace(options, data_root=source.settings["data_root"])
    settings = {"kind": "upsampler", **_settings(folder, stage, options), "source": source.settings}
    known = {row["sample"] for row in source.rows()}
    return evaluate(folder / "evaluate" / name, settings, stage, predict, options, known, meshes=True)


def latest_results(folder: Path, command: str) -> Results:
    """The results of an experiment's latest evaluated checkpoint.

    Raises:
      InputError: there are none; `command` is what makes them.
    """
    finished = [
        (int(path.name.split("-")[1]), path)
        for path in (folder / "evaluate").glob("checkpoint-*")
        if path.name.split("-")[1].isdigit() and any((path / "rows").glob("*.json"))
    ]
    if not finished:
        raise InputError(f"{folder}: no evaluated samples; run `python {command}` first")
    return Results.open(max(finished)[1])


def seed_of(seed: int, name: str) -> int:
    """A sample's own seed: the same whatever batch or process it comes in."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")


def _load(folder: Path, kind: str, options: Options) -> Stage:
    """The experiment's network, or InputError where it is of the other stage."""
    device = str(processes().device) if options.device == "auto" else options.device
    stage = load_stage(folder, options.step, options.ema, device, options.trained)
    if stage.config.stage != kind:
        raise InputError(f"{folder}: its checkpoints are of the {stage.config.stage} stage, expected {kind}")
    return stage


def _settings(folder: Path, stage: Stage, options: Options) -> dict:
    """Everything that changes a sample or its score."""
    if options.trained:
        path = checkpoint.path_of(folder, stage.step)
        sums = json.loads((path / checkpoint.SUMS).read_text(encoding="utf-8"))
        weights = sums[checkpoint.EMA if options.ema else checkpoint.MODEL]["sha256"]
    else:
        weights = f"random start of seed {stage.config.train.seed}"
    sample = stage.config.sample
    return {
        "experiment": folder.name,
        "step": stage.step,
        "weights": weights,
        "ema": options.trained and options.ema,
        "data_root": str(Path(options.data_root or stage.config.data.root).resolve()),
        "seed": options.seed,
        "steps": options.steps or sample.steps,
        "solver": options.solver,
        "guidance": [sample.guidance_min, sample.guidance_max],
        "alignment": options.alignment,
        "mesh_root": options.mesh_root and str(Path(options.mesh_root).resolve()),
        "surface": options.surface,
        "emd": options.emd,
        "codec": stage.codec.to_dict(),
    }
