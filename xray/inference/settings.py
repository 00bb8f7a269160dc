"""The settings of a shape that is made of a picture; without torch, so that wrong ones are told at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..common.errors import InputError
from ..surface.surface import METHODS

SOLVER_NAMES = ("euler", "heun", "dpmpp_2m")
"""The keys of `sampling.SOLVERS`, which needs torch; a test compares the two."""


@dataclass(frozen=True)
class GenerationSettings:
    """The settings of a shape; it depends on nothing else but the picture and the networks.

    Attributes:
      steps, guidance: of the first stage's sampling, guidance of the first and the last layer; None: as trained.
      solver, surface: of `SOLVER_NAMES` and `METHODS`.
    Raises:
      InputError: a value that cannot be used.
    """

    seed: int = 0
    steps: int | None = None
    guidance: tuple[float, float] | None = None
    solver: str = "euler"
    surface: str = "auto"

    def __post_init__(self) -> None:
        if not -(2**63) <= self.seed < 2**63:
            raise InputError(f"seed {self.seed}: expected an integer of at most 63 bits")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps {self.steps}: expected at least 1")
        if self.guidance is not None and not all(math.isfinite(scale) for scale in self.guidance):
            raise InputError(f"guidance {self.guidance}: expected two finite numbers")
        for name, choices in (("solver", SOLVER_NAMES), ("surface", METHODS)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} {getattr(self, name)}: expected one of {', '.join(choices)}")


def check_samples(settings: GenerationSettings, count: int) -> None:
    """Raises InputError where so many samples cannot be made: fewer than 1, or seeds beyond 63 bits."""
    if count < 1:
        raise InputError(f"samples {count}: expected at least 1")
    if settings.seed + count > 2**63:
        raise InputError(f"samples {count}: their seeds begin at {settings.seed}; expected integers of at most 63 bits")
