"""Batches of a training's samples, with what goes wrong on the way named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from torch.utils.data import DataLoader, Dataset, Sampler

from ..errors import InputError, RunError

log = logging.getLogger(__name__)


class Loader:
    """Iterates over batches.

    Args:
      on_error: of a sample that cannot be read: "stop", or "skip" to name it, count it in `unreadable` and go on.
    Raises (while iterating):
      InputError: a sample that cannot be read.
      RunError: a worker was lost.
    """

    def __init__(
        self,
        samples: Dataset,
        numbers: Sampler,
        collate: Callable[[list[dict]], dict],
        workers: int,
        on_error: str,
        pin_memory: bool,
    ):
        self.on_error, self.unreadable = on_error, 0
        self._loader = DataLoader(
            samples, batch_sampler=numbers, collate_fn=collate, num_workers=workers, pin_memory=pin_memory
        )

    def __iter__(self) -> Iterator[dict]:
        iterator = iter(self._loader)
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise RunError(f"a data worker was lost ({' '.join(str(error).split())[:160]})") from error
            self._check(batch)
            yield batch

    def _check(self, batch: dict) -> None:
        for error in batch["errors"]:
            if self.on_error == "stop":
                raise InputError(f"{error} (data.on_error=skip leaves such samples out)")
            self.unreadable += 1
            log.warning("left out (%d so far in this process): %s", self.unreadable, error)
