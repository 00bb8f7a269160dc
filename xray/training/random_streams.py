"""Order of the data and random numbers as pure functions of a sample's number in the run.

Every sample that a run ever takes has a number n = 0, 1, 2, ... over all processes: the optimizer step and the
place in its global batch. Which item it is and every random number it meets follow from (seed, n) alone. So
there is no random state to save: a run that continues from any step draws the same numbers as an uninterrupted one, and
2 processes of batch 1 draw the same as 1 process of batch 2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

ORDER, TRAIN = 1, 2
"""Uses of random numbers that must not share them."""


def seed_of(*numbers: int) -> int:
    """63 well-mixed bits of whole numbers (numpy's SeedSequence)."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class RandomStreams:
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
    def of(cls, seeds: Sequence[int], device: str | torch.device = "cpu") -> RandomStreams:
        """Streams with seeds of their own, whatever the run."""
        streams = cls.__new__(cls)
        streams._start(seeds, device)
        return streams

    def _start(self, seeds: Sequence[int], device: str | torch.device) -> None:
        self.device = torch.device(device)
        self._generators = [torch.Generator(self.device).manual_seed(seed) for seed in seeds]

    def rows(self, indices: Sequence[int]) -> RandomStreams:
        """The streams of some of the samples, the same generators: what is drawn from one is drawn from the other."""
        streams = RandomStreams.__new__(RandomStreams)
        streams.device, streams._generators = self.device, [self._generators[index] for index in indices]
        return streams

    def normal(self, *shape: int) -> torch.Tensor:
        """(B, *shape) unit normal."""
        return torch.stack([torch.randn(shape, generator=g, device=self.device) for g in self._generators])

    def uniform(self, *shape: int) -> torch.Tensor:
        """(B, *shape) in [0, 1)."""
        return torch.stack([torch.rand(shape, generator=g, device=self.device) for g in self._generators])
