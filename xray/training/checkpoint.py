"""Checkpoint folders: names, the latest, writing beside and renaming, sums that tell a damaged one, pruning."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ..errors import InputError, RunError

SUMS = "files.json"
"""Size and SHA-256 of every other file of a checkpoint; written last."""

MODEL, EMA, CONFIG, CODEC = "model.safetensors", "ema.safetensors", "config.yaml", "codec.json"
"""What a checkpoint holds for use; the rest is for going on with the training."""

_NAME = re.compile(r"checkpoint-(\d+)")


def path_of(directory: str | Path, step: int) -> Path:
    """Folder of the checkpoint after `step` optimizer steps."""
    return Path(directory) / f"checkpoint-{step}"


def steps(directory: str | Path) -> list[int]:
    """Steps of the checkpoints in a folder, rising. One that is still being written has another name."""
    directory = Path(directory)
    if not directory.is_dir():
        return []
    names = (_NAME.fullmatch(path.name) for path in directory.iterdir() if path.is_dir())
    return sorted(int(match[1]) for match in names if match)


def find(directory: str | Path, step: int | None = None) -> Path:
    """The checkpoint of a step, by default the latest, unharmed.

    Raises:
      InputError: no such folder, no checkpoint in it, a damaged one (the file is named).
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise InputError(f"{directory}: no such folder; expected a training's output with checkpoint-<step> folders")
    known = steps(directory)
    if not known:
        raise InputError(f"{directory}: no checkpoint; expected folders named checkpoint-<step>")
    if step is not None and step not in known:
        raise InputError(f"{directory}: no checkpoint-{step}; there are steps {', '.join(map(str, known))}")
    path = path_of(directory, known[-1] if step is None else step)
    damage = damage_of(path)
    if damage:
        raise InputError(f"{path}: damaged checkpoint: {damage}")
    return path


def damage_of(path: Path) -> str | None:
    """What is wrong with a checkpoint's files, or None."""
    try:
        sums = json.loads((path / SUMS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return f"no {SUMS}" if any(path.iterdir()) else "the folder is empty"
    except (OSError, ValueError):
        return f"{SUMS} is not readable"
    for name, expected in sums.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != expected["size"]:
            return f"{name} has {file.stat().st_size} bytes, expected {expected['size']}"
        if _digest(file) != expected["sha256"]:
            return f"{name} has another SHA-256 than when it was written"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def partial_of(path: Path) -> Path:
    """Where a checkpoint is written before it takes its name: equal for every process, never a checkpoint's name."""
    return path.with_name(f".{path.name}.partial")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Errors of writing become one RunError that names the checkpoint and what is still there."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:160]
        kept = steps(path.parent)
        intact = f"checkpoint-{kept[-1]} is intact" if kept else "there was no checkpoint before"
        raise RunError(f"{path}: cannot be saved ({type(error).__name__}: {reason}); {intact}") from error


def seal(path: Path) -> None:
    """Turn what was written to `partial_of(path)` into the checkpoint: sums, everything on disk, then the name."""
    partial = partial_of(path)
    files = sorted(file for file in partial.rglob("*") if file.is_file())
    sums = {
        file.relative_to(partial).as_posix(): {"size": file.stat().st_size, "sha256": _digest(file)} for file in files
    }
    (partial / SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
    for file in [*files, partial / SUMS, partial]:
        _to_disk(file)
    if path.exists():  # a damaged one of the same step, made again by a run that went on from the one before
        shutil.rmtree(path)
    os.replace(partial, path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def prune(directory: str | Path, keep: int) -> list[int]:
    """Remove all but the latest `keep` checkpoints (0 keeps all); the removed steps."""
    old = steps(directory)[:-keep] if keep else []
    for step in old:
        shutil.rmtree(path_of(directory, step))
    return old
