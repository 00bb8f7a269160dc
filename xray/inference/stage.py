"""A trained stage from its folder, and the one rule by which experiments are found by name."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from pathlib import Path

import torch

from ..common.errors import InputError
from ..common.files import read_json
from ..config import load_config
from ..core.codec import Codec
from ..models.build import make_conditioner, make_model
from ..models.conditioner import find_pretrained
from ..models.stage import Stage
from ..training import checkpoint
from ..training.checkpoint import load_weights

log = logging.getLogger(__name__)


def check_device(device: str) -> None:
    """InputError where this machine, or torch, has no device of that name, as "cpu" or "cuda:1"."""
    try:
        if torch.device(device).type == "cuda" and not torch.cuda.is_available():
            raise InputError(f"device {device}: no CUDA device here")
        torch.zeros(1, device=device).cpu()  # of many devices torch knows the name alone
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device}: {str(error).splitlines()[0][:120]}") from None


def load_stage(
    experiment_dir: str | Path,
    step: int | None = None,
    ema: bool = True,
    device: str = "cpu",
    trained: bool = True,
) -> Stage:
    """The network of a training's folder.

    Args:
      experiment_dir: as Output/NAME, with checkpoint-<step> folders.
      step: which checkpoint; the latest by default.
      ema: take the averaged weights.
      trained: False leaves the network at its random start (with step 0), to compare with.
    Raises:
      InputError: no such folder or checkpoint, a damaged one, or one whose pretrained parts are not there.
    """
    path = checkpoint.find(experiment_dir, step)
    config = load_config(path / checkpoint.CONFIG)
    codec = Codec.from_dict(json.loads((path / checkpoint.CODEC).read_text(encoding="utf-8")))
    model = make_model(config)
    if trained:
        load_weights(model, path / (checkpoint.EMA if ema else checkpoint.MODEL))
    step = int(path.name.split("-")[1]) if trained else 0
    where = torch.device(device)
    conditioner = make_conditioner(config).to(where)
    return Stage(config, codec, step, model.eval().requires_grad_(False).to(where), conditioner, where)


def is_pipeline(folder: str | Path) -> bool:
    """Whether a folder is what `save_pretrained` of a pipeline wrote."""
    return (Path(folder) / "model_index.json").is_file()


def weights_of(folder: Path, stage: Stage, ema: bool = True) -> str:
    """SHA-256 of the weights that a stage took from a training's folder or a saved pipeline's."""
    if is_pipeline(folder):
        digest = hashlib.sha256()
        for path in sorted((folder / "unet").glob("*.safetensors")):
            digest.update(path.read_bytes())
        return digest.hexdigest()
    sums = read_json(checkpoint.path_of(folder, stage.step) / checkpoint.SUMS)
    return sums[checkpoint.EMA if ema else checkpoint.MODEL]["sha256"]


OUTPUT = Path("Output")
"""Where experiments are looked for by name."""


def experiment_dir(name: str | Path) -> Path:
    """The folder of an experiment, by the rule of `find_experiment`. Raises InputError where there is none."""
    found = find_experiment(name)
    if found is None:
        raise InputError(f"{OUTPUT / name}: no such experiment; expected a name below {OUTPUT}/, or a folder")
    return found


def model_source(name: str) -> str:
    """What `from_pretrained` loads a model from: an experiment (`find_experiment`), a folder of the repository, or,
    where neither is there, the name itself, for the Hugging Face hub.
    """
    found = find_experiment(name)
    return find_pretrained(name) if found is None else str(found)


def find_experiment(name: str | Path) -> Path | None:
    """The folder that every command understands by an experiment's name; None where there is none.

    `Output/NAME` comes first, then NAME as a folder. What begins with `/`, `./` or `../` is the folder alone. Where a
    name means two folders, a warning tells which one is used.
    """
    folder, below_output = Path(name), OUTPUT / name
    is_path = folder.is_absolute() or os.fspath(name).startswith(("./", "../"))
    if is_path or not below_output.is_dir():
        return folder if folder.is_dir() else None
    if folder.is_dir() and not folder.samefile(below_output):
        log.warning("%s: %s is used; for the folder of that name here write ./%s", name, below_output, name)
    return below_output
