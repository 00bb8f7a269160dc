"""Checkpoints: the state of a run on disk, from the folder's name to the decision where to continue.

A checkpoint holds the weights, their exponential moving average, the optimizer and the progress. It is written beside
its place and renamed when it is whole; checksums tell a damaged one. Random state is not part of it: all random numbers
follow from the number of a sample (`random_streams`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import yaml
from accelerate import Accelerator, DistributedType
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..common.errors import InputError, RunError
from ..config import Config, flatten

SUMS = "files.json"
"""Size and SHA-256 of every other file of a checkpoint; written last."""

MODEL, EMA, CONFIG, CODEC = "model.safetensors", "ema.safetensors", "config.yaml", "codec.json"
"""The files of a checkpoint that a finished network needs; the rest is for continuing the training."""

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
        sums = {name: {key: entry[key] for key in ("size", "sha256")} for name, entry in sums.items()}
    except FileNotFoundError:
        return f"no {SUMS}" if any(path.iterdir()) else "the folder is empty"
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        return f"{SUMS} is not readable"
    if not sums:
        return f"{SUMS} names no files"
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
def save_errors(path: Path) -> Iterator[None]:
    """Errors of writing become one RunError that names the checkpoint and what is still there."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:160]
        whole = next((step for step in reversed(steps(path.parent)) if not damage_of(path_of(path.parent, step))), None)
        intact = "there was no whole checkpoint before" if whole is None else f"checkpoint-{whole} is intact"
        raise RunError(f"{path}: cannot be saved ({type(error).__name__}: {reason}); {intact}") from error


def seal(path: Path) -> None:
    """Turn the folder `partial_of(path)` into the checkpoint: checksums, everything synced to disk, then the rename."""
    partial = partial_of(path)
    files = sorted(file for file in partial.rglob("*") if file.is_file())
    sums = {
        file.relative_to(partial).as_posix(): {"size": file.stat().st_size, "sha256": _digest(file)} for file in files
    }
    (partial / SUMS).write_text(json.dumps(sums, indent=1) + "\n", encoding="utf-8")
    for file in [*files, partial / SUMS, partial]:
        _to_disk(file)
    if path.exists():  # a damaged one of the same step; a run that continued from an earlier step made it again
        shutil.rmtree(path)
    os.replace(partial, path)
    _to_disk(path.parent)


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Retention:
    """Removes old checkpoints of a folder: what stays is the latest `keep` whole ones (0 keeps all).

    A damaged checkpoint counts for nothing. One that is newer than those kept stays where it is, since only its owner
    knows whether it can be mended; an older one goes with the rest.
    """

    def __init__(self, directory: str | Path, keep: int):
        self.directory, self.keep = Path(directory), keep
        self._seen: dict[int, tuple] = {}

    def prune(self, saved: int) -> list[int]:
        """Remove what is too old after the checkpoint of step `saved` was written; the removed steps.

        The checkpoint just written is never among them, whatever lies beside it.
        """
        if not self.keep:
            return []
        self._seen[saved] = self._signature(saved)
        whole, old = 1, []
        for step in reversed(steps(self.directory)):
            if step == saved:
                continue
            if whole >= self.keep and step < saved:
                old.append(step)
            elif self._is_whole(step):
                whole += 1
        for step in old:
            shutil.rmtree(path_of(self.directory, step))
            self._seen.pop(step, None)
        return old

    def _is_whole(self, step: int) -> bool:
        """Whether a checkpoint is unharmed; sums are taken again only where a file has changed since."""
        signature = self._signature(step)
        if self._seen.get(step) == signature:
            return True
        if damage_of(path_of(self.directory, step)) is not None:
            return False
        self._seen[step] = signature
        return True

    def _signature(self, step: int) -> tuple:
        files = sorted(file for file in path_of(self.directory, step).rglob("*") if file.is_file())
        return tuple((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


class Ema:
    """shadow <- d shadow + (1 - d) weights, with d = min(decay, (1 + step) / (10 + step)) after `step` steps.

    The rising start lets the first steps' average follow the weights. Works on whatever parameters the model has,
    so on the shards of a sharded one too.
    """

    def __init__(self, model: nn.Module, decay: float):
        self.decay = decay
        self._parameters = dict(model.named_parameters())
        self.shadow = {name: value.detach().clone() for name, value in self._parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after optimizer step `step` (from 1)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.shadow.values()), [p.detach() for p in self._parameters.values()], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights inside the block, and its own again after it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            own = parameter.detach().clone()
            parameter.copy_(self.shadow[name])
            self.shadow[name].copy_(own)


SHARDED = (DistributedType.FSDP, DistributedType.DEEPSPEED)
"""Where the optimizer is spread over the processes, and every process writes its part."""


@dataclass
class Progress:
    """Optimizer steps done, and samples taken over all processes: the next sample has number `samples`."""

    step: int = 0
    samples: int = 0


class State:
    """What a checkpoint holds of a run. `texts`: further files, {name: content}."""

    def __init__(
        self,
        accelerator: Accelerator,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        ema: Ema,
        texts: dict[str, str],
    ):
        self.accelerator, self.model, self.optimizer, self.ema, self.texts = accelerator, model, optimizer, ema, texts
        self.progress = Progress()

    @property
    def _sharded(self) -> bool:
        return self.accelerator.distributed_type in SHARDED

    def save(self, path: Path) -> None:
        """Write `path`, whole or not at all. Every process calls it.

        Raises:
          RunError: the disk is full or the like; what was saved before is untouched.
        """
        partial, is_main = partial_of(path), self.accelerator.is_main_process
        with save_errors(path):
            if is_main:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            self._write_weights(partial / MODEL)
            with self.ema.applied():
                self._write_weights(partial / EMA)
            if self._sharded:
                self.accelerator.save_state(str(partial / "sharded"))
                torch.save(self._local_average(), partial / self._average_name)
            elif is_main:
                torch.save(self.optimizer.state_dict(), partial / "optimizer.pt")
            if is_main:
                scaler = self.accelerator.scaler
                trainer = {**asdict(self.progress), "scaler": scaler.state_dict() if scaler else None}
                for name, text in {**self.texts, "trainer.json": json.dumps(trainer) + "\n"}.items():
                    (partial / name).write_text(text, encoding="utf-8")
            self.accelerator.wait_for_everyone()
            if is_main:
                seal(path)
            self.accelerator.wait_for_everyone()

    def _write_weights(self, path: Path) -> None:
        weights = self.accelerator.get_state_dict(self.model)
        if self.accelerator.is_main_process:
            save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, path)

    @property
    def _average_name(self) -> str:
        return f"average-{self.accelerator.process_index}.pt"

    def _local_average(self) -> dict[str, torch.Tensor]:
        return {name: getattr(value, "to_local", lambda v=value: v)() for name, value in self.ema.shadow.items()}

    def load(self, path: Path) -> None:
        """Load the state of a checkpoint. Every process calls it.

        Raises:
          InputError: the checkpoint is of a network of another size, or lacks a part.
        """
        try:
            trainer = json.loads((path / "trainer.json").read_text(encoding="utf-8"))
            if self._sharded:
                self.accelerator.load_state(str(path / "sharded"))
                average = torch.load(path / self._average_name, map_location="cpu", weights_only=True)
                for name, value in self._local_average().items():
                    value.copy_(average[name])
            else:
                load_weights(self.accelerator.unwrap_model(self.model), path / MODEL)
                average = load_file(path / EMA)
                for name, value in self.ema.shadow.items():
                    value.copy_(average[name.removeprefix("module.")])
                self.optimizer.load_state_dict(torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True))
        except FileNotFoundError as error:
            raise InputError(
                f"{path}: lacks {Path(error.filename).name}, which this launch needs to continue"
            ) from None
        if trainer["scaler"] and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(trainer["scaler"])
        self.progress = Progress(trainer["step"], trainer["samples"])


def load_weights(model: nn.Module, path: Path) -> None:
    """Fill a model from a safetensors file; every tensor must be there with its shape.

    Raises:
      InputError: naming the file and the first tensor that does not fit.
    """
    try:
        weights = load_file(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: not readable as safetensors ({' '.join(str(error).split())[:120]})") from None
    own = model.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        shapes = [tuple(tensors[name].shape) if name in tensors else "absent" for tensors in (weights, own)]
        if shapes[0] != shapes[1]:
            raise InputError(f"{path}: a network of another size: {name} is {shapes[0]}, expected {shapes[1]}")
    model.load_state_dict(weights)


log = logging.getLogger(__name__)

IDENTITY = ("stage", "codec.", "model.", "train.optimizer")
"""Keys that must be as they were: another network, or another meaning of its or the optimizer's numbers. The rest may
change."""

FREE = ("model.pretrained", "model.vae", "model.init", "output_dir", "train.max_steps")
"""Keys that may change without a warning: folders, and the number of steps."""


def resume(state: State, directory: Path, on_damaged: str, settings: dict[str, object]) -> Progress:
    """Load the latest checkpoint, if there is any, into `state`; the progress from which to continue.

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
    check_same_network(path, settings, warn=is_main)
    state.load(path)
    if is_main:
        log.info("%s: going on from step %d", path, state.progress.step)
    return state.progress


def _latest(directory: Path, on_damaged: str) -> Path | None:
    for step in reversed(steps(directory)):
        path = path_of(directory, step)
        damage = damage_of(path)
        if damage is None:
            return path
        if on_damaged == "stop":
            raise InputError(
                f"{path}: damaged checkpoint: {damage}; "
                "train.on_damaged=previous continues from the latest one that is whole",
            )
        log.warning("%s: damaged checkpoint, skipped: %s", path, damage)
    if steps(directory):
        raise InputError(f"{directory}: every checkpoint is damaged; another output_dir begins at step 0")
    return None


def check_same_network(path: Path, settings: dict[str, object], warn: bool) -> None:
    """InputError where a checkpoint's configuration is of another network or optimizer; other changes are logged."""
    stored = flatten(Config()) | _flatten(yaml.safe_load((path / CONFIG).read_text(encoding="utf-8")))
    for name, value in settings.items():
        before = stored[name]  # a key that an earlier version lacks has its default, which changes nothing
        if before == value or name in FREE:
            continue
        if name.startswith(IDENTITY):
            raise InputError(
                f"{path}: made with {name} {before!r}, this run has {value!r}; "
                "expected the same network and optimizer, or another output_dir (train.init_from takes weights along)",
            )
        if warn:
            log.warning("%s: %s was %r, is %r from here on", path, name, before, value)


def _flatten(values: dict, prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in values.items():
        flat |= _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
