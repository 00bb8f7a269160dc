"""Batches of a training: which samples, in which order, read by workers.

The sample numbers of a process (`SampleNumbers`) go to the workers, which read the samples (`OrderedSamples`) and stack
them (`collate`); `BatchLoader` hands the batches to the training loop. `WithFirstStage` adds the first stage's own
results, which an upsampler otherwise never sees.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ..common.errors import InputError, RunError
from ..core.codec import Codec
from ..core.storage import load_xray
from ..data.sample_names import XRAY_ENDING, file_stem, sample_name
from .launch import STOP_SIGNALS
from .random_streams import ORDER

log = logging.getLogger(__name__)


class SampleNumbers(Sampler):
    """Batches of sample numbers for one process, from `first` on.

    The numbers of a global batch are split in order: process 0 takes the first `batch_size`, and so on; the next
    micro-batch of an accumulation takes the numbers after those of all processes.
    """

    def __init__(self, first: int, batches: int, batch_size: int, rank: int = 0, processes: int = 1):
        self.first, self.batches, self.batch_size = first, batches, batch_size
        self.rank, self.processes = rank, processes

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        stride = self.batch_size * self.processes
        for batch in range(self.batches):
            start = self.first + batch * stride + self.rank * self.batch_size
            yield list(range(start, start + self.batch_size))


class OrderedSamples(Dataset):
    """A data set read by sample number: every epoch goes over all of it, in an order of its own, without end.

    Args:
      on_error: of a sample that cannot be read: "stop", or "skip" to take the next one in the epoch's order.
    """

    def __init__(self, dataset: Dataset, seed: int, on_error: str = "stop"):
        self.dataset, self.seed, self.on_error = dataset, seed, on_error
        self._order: tuple[int, np.ndarray] | None = None

    def index(self, number: int, skipped: int = 0) -> int:
        """Item of the data set that is sample `number` of the run, or that takes its place when `skipped` are bad."""
        epoch, place = divmod(number, len(self.dataset))
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng(np.random.SeedSequence((self.seed, ORDER, epoch)))
            self._order = epoch, rng.permutation(len(self.dataset))
        return int(self._order[1][(place + skipped) % len(self.dataset)])

    def __getitem__(self, number: int) -> dict | InputError:
        """The item with its `number` and `skipped`, why other items could not be read.

        The error itself where the run shall stop: raised in a worker, it would reach the trainer as a traceback.
        """
        skipped: list[str] = []
        while True:
            try:
                item = self.dataset[self.index(number, len(skipped))]
            except InputError as error:
                if self.on_error == "stop":
                    return InputError(f"{error} (data.on_error=skip leaves such samples out)")
                skipped.append(str(error))
                if len(skipped) == len(self.dataset):
                    return InputError(f"none of {len(skipped)} samples can be read; the last one: {error}")
            else:
                return {**item, "number": number, "skipped": skipped}


class WithFirstStage(Dataset):
    """A data set whose items also have `low` (L, 8, r, r): the first stage's result, or None for a view without one.

    Args:
      dataset: items as `XRayDataset` gives them.
      folder: results of `evaluate_diffusion.py --split train`, <object>_<view>_xray.npz.
      codec: of the second stage; the results are encoded with it at resolution / factor.
    Raises:
      InputError: no such folder, or no result in it.
    """

    def __init__(self, dataset: Dataset, folder: str | Path, codec: Codec, factor: int):
        self.dataset, self.folder = dataset, Path(folder)
        self.codec = codec.smaller(factor)
        if next(self.folder.glob(f"*{XRAY_ENDING}"), None) is None:
            raise InputError(
                f"{self.folder}: no <object>_<view>_xray.npz; expected the results of "
                "evaluate_diffusion.py --split train, as Output/NAME/evaluate/checkpoint-<step>"
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        item = self.dataset[index]
        path = self.folder / f"{file_stem(sample_name(item['object'], item['view']))}{XRAY_ENDING}"
        return {**item, "low": self.codec.encode(load_xray(path)) if path.exists() else None}


def collate(items: list[dict | InputError]) -> dict | InputError:
    """Make a batch of samples.

    Args:
      items: as `OrderedSamples` gives them.
    Returns:
      xray (B, L, 8, r, r), image (B, 3 or 4, S, S), low (a list of (L, 8, r, r) or None), numbers, names, and skipped,
      why items could not be read; or the first error among the items.
    """
    for item in items:
        if isinstance(item, InputError):
            return item
    return {
        "xray": torch.stack([item["xray"] for item in items]),
        "image": torch.stack([item["image"] for item in items]),
        "low": [item.get("low") for item in items],
        "numbers": [item["number"] for item in items],
        "names": [f"{item['object']}/{item['view']}" for item in items],
        "skipped": [reason for item in items for reason in item["skipped"]],
    }


@contextmanager
def _unchanged_sigchld() -> Iterator[None]:
    """Undo what torch's loader does as its first workers start: from then on, the death of one raises wherever the main
    thread is just then, as in a step or an import. Who waits for a batch finds a lost worker without it, in 5 s."""
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGCHLD, before)


@contextmanager
def _sigterm_held_back() -> Iterator[None]:
    """Processes that are started in the block begin with SIGTERM blocked: until `_read_on` is reached, torch's own
    handler would end them. This one gets the signal after the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _read_on(_: int) -> None:
    """In a worker: signals that announce the end of a job reach it too, but the trainer wants data until it stops.

    The trainer itself ends its workers by SIGTERM. Who sent a signal is told to `sigwaitinfo` alone.
    """
    for number in STOP_SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_for, args=(os.getppid(),), daemon=True).start()


def _end_for(trainer: int) -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != trainer:
        pass
    os._exit(0)


class BatchLoader:
    """Iterates over batches as `collate` makes them; names and counts (`unreadable`) the samples that are left out.

    Args:
      workers: processes that read; 0 reads in this one.
    Raises (while iterating):
      InputError: a sample that cannot be read, where the run shall stop.
      RunError: a worker was lost.
    """

    def __init__(self, samples: OrderedSamples, numbers: SampleNumbers, workers: int, pin_memory: bool):
        self.unreadable = 0
        self._loader = DataLoader(
            samples,
            batch_sampler=numbers,
            collate_fn=collate,
            num_workers=workers,
            pin_memory=pin_memory,
            worker_init_fn=_read_on,
        )

    def __iter__(self) -> Iterator[dict]:
        with _unchanged_sigchld(), _sigterm_held_back():
            iterator = iter(self._loader)
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except (RuntimeError, ConnectionError, EOFError) as error:  # the last two where it was lost while it sent
                words = " ".join(str(error).split())
                if words.startswith("Caught") or (isinstance(error, RuntimeError) and "DataLoader worker" not in words):
                    raise
                raise RunError(f"a data worker was lost ({words[:160]})") from error
            if isinstance(batch, InputError):
                raise batch
            for reason in batch["skipped"]:
                self.unreadable += 1
                log.warning("left out (%d so far in this process): %s", self.unreadable, reason)
            yield batch
