"""Order of the data and random numbers as pure functions of a sample's number in the run.

Every sample that a run ever takes has a number n = 0, 1, 2, ... over all processes: the optimizer step and the
place in its global batch. Which item it is and every random number it meets follow from (seed, n) alone. So there
is no random state to save or to lose: a run that goes on from any step draws what it would have drawn, and 2
processes of batch 1 draw what 1 process of batch 2 draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from ..errors import InputError

ORDER, TRAIN = 1, 2
"""Purposes that must not share random numbers."""


def seed_of(*numbers: int) -> int:
    """63 well-mixed bits of whole numbers (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Streams:
    """One generator a sample; every draw returns a row a sample.

    Args:
      seed: of the run.
      numbers: (B,) the samples' numbers in the run.
      device: where numbers are drawn; CPU and GPU generators differ.
      purpose: keeps training, validation and so on apart.
    """

    def __init__(self, seed: int, numbers: Sequence[int], device: str | torch.device = "cpu", purpose: int = TRAIN):
        self._start([seed_of(seed, purpose, int(number)) for number in numbers], device)

    @classmethod
    def of(cls, seeds: Sequence[int], device: str | torch.device = "cpu") -> Streams:
        """Streams with seeds of their own, whatever the run."""
        streams = cls.__new__(cls)
        streams._start(seeds, device)
        return streams

    def _start(self, seeds: Sequence[int], device: str | torch.device) -> None:
        self.device = torch.device(device)
        self._generators = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]

    def normal(self, *shape: int) -> torch.Tensor:
        """(B, *shape) unit normal."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self._generators])

    def uniform(self, *shape: int) -> torch.Tensor:
        """(B, *shape) in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g, device=self.device) for g in self._generators])


class OrderedSamples(Dataset):
    """A dataset read by number in the run: epoch n // size in a fresh order each, without end."""

    def __init__(self, dataset: Dataset, seed: int):
        self.dataset = dataset
        self.seed = seed
        self._order: tuple[int, np.ndarray] | None = None

    def index(self, number: int) -> int:
        """Item of the dataset that is the run's sample `number`."""
        epoch, place = divmod(number, len(self.dataset))
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng(np.random.SeedSequence((self.seed, ORDER, epoch)))
            self._order = epoch, rng.permutation(len(self.dataset))
        return int(self._order[1][place])

    def __getitem__(self, number: int) -> dict:
        """The item with its `number`; one that cannot be read has only `number` and `error`, the reason."""
        try:
            item = self.dataset[self.index(number)]
        except InputError as error:  # crosses the worker's boundary as plain text; the trainer decides
            return {"number": number, "error": str(error)}
        return {**item, "number": number}


class Numbers(Sampler):
    """Batches of sample numbers for one process, from `first` on.

    The numbers of a global batch are dealt out in runs: process 0 the first `batch_size`, and so on; the next
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


class Collate:
    """Makes a batch: xray (B, L, 8, r, r), image (B, 3, S, S), low (a list of (L, 8, r, r) or None), numbers, names,
    valid (B,) bool, errors.

    A sample that could not be read keeps its row, filled with zeros and not valid, so that every process still
    makes the same number of steps.
    """

    def __init__(self, xray_shape: tuple[int, ...], image_shape: tuple[int, ...]):
        self.shapes = {"xray": xray_shape, "image": image_shape}

    def __call__(self, items: list[dict]) -> dict:
        batch = {
            "numbers": [item["number"] for item in items],
            "names": [f"{item['object']}/{item['view']}" if "error" not in item else "unreadable" for item in items],
            "low": [item.get("low") for item in items],
            "errors": [item["error"] for item in items if "error" in item],
            "valid": torch.tensor(["error" not in item for item in items]),
        }
        for key, shape in self.shapes.items():
            batch[key] = torch.stack([item[key] if "error" not in item else torch.zeros(shape) for item in items])
        return batch
