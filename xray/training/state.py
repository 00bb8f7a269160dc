"""The state of a run, to and from a checkpoint: weights, their average, optimizer, progress.

Random state is not among it: see `streams`.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import InputError
from . import checkpoint
from .ema import Ema

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
        partial, is_main = checkpoint.partial_of(path), self.accelerator.is_main_process
        with checkpoint.explained(path):
            if is_main:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            self._write_weights(partial / checkpoint.MODEL)
            with self.ema.applied():
                self._write_weights(partial / checkpoint.EMA)
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
                checkpoint.seal(path)
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
        """Take over the state of a checkpoint. Every process calls it.

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
                load_weights(self.accelerator.unwrap_model(self.model), path / checkpoint.MODEL)
                average = load_file(path / checkpoint.EMA)
                for name, value in self.ema.shadow.items():
                    value.copy_(average[name.removeprefix("module.")])
                self.optimizer.load_state_dict(torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True))
        except FileNotFoundError as error:
            raise InputError(f"{path}: lacks {Path(error.filename).name}, which this launch needs to go on") from None
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
