"""Going on from the latest checkpoint of an output folder, or refusing with the reason."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import yaml

from ..errors import InputError
from . import checkpoint
from .state import Progress, State

log = logging.getLogger(__name__)

IDENTITY = ("stage", "codec.", "model.")
"""Keys that must be as they were: another network, or another meaning of its numbers. The rest may change."""

FREE = ("model.pretrained", "model.vae", "model.init", "output_dir", "train.max_steps")
"""Keys whose change says nothing about the run: places, and how far it goes."""


def take_up(state: State, directory: Path, on_damaged: str, settings: dict[str, object]) -> Progress:
    """Load the latest checkpoint, if there is any, into `state`; the progress from which to go on.

    Args:
      on_damaged: "stop", or "previous" to take the latest one that is whole.
      settings: {dotted key: value} of the run that starts.
    Raises:
      InputError: a damaged checkpoint, or one of another network or stage.
    """
    is_main = state.accelerator.is_main_process
    path = _latest(directory, on_damaged)
    if is_main:
        for partial in directory.glob(".checkpoint-*.partial"):
            log.info("%s: a save that was not finished, removed", partial)
            shutil.rmtree(partial)
    if path is None:
        return state.progress
    compare(path, settings, warn=is_main)
    state.load(path)
    if is_main:
        log.info("%s: going on from step %d", path, state.progress.step)
    return state.progress


def _latest(directory: Path, on_damaged: str) -> Path | None:
    for step in reversed(checkpoint.steps(directory)):
        path = checkpoint.path_of(directory, step)
        damage = checkpoint.damage_of(path)
        if damage is None:
            return path
        if on_damaged == "stop":
            raise InputError(
                f"{path}: damaged checkpoint: {damage}; "
                "train.on_damaged=previous goes on from the latest one that is whole",
            )
        log.warning("%s: damaged checkpoint, passed over: %s", path, damage)
    return None


def compare(path: Path, settings: dict[str, object], warn: bool) -> None:
    """InputError where a checkpoint's configuration is of another network; other changes are logged."""
    stored = _flatten(yaml.safe_load((path / checkpoint.CONFIG).read_text(encoding="utf-8")))
    for name, value in settings.items():
        before = stored.get(name, "absent")
        if before == value or name in FREE:
            continue
        if name.startswith(IDENTITY):
            raise InputError(
                f"{path}: made with {name} {before!r}, this run has {value!r}; "
                "expected the same network, or another output_dir",
            )
        if warn:
            log.warning("%s: %s was %r, is %r from here on", path, name, before, value)


def _flatten(values: dict, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
