"""How a picture is to be turned into a shape, and what has been made of it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from PIL import Image

from .errors import InputError
from .points import PointCloud
from .representation import XRay
from .solvers import SOLVERS
from .surface import METHODS, Surface


@dataclass(frozen=True)
class Settings:
    """What a shape depends on besides the picture and the networks.

    Attributes:
      steps, guidance: of the first stage's sampling, guidance of the first and the last layer; None: as trained.
      solver, surface: of `SOLVERS` and `METHODS`.
    Raises:
      InputError: a value that cannot be used.
    """

    seed: int = 0
    steps: int | None = None
    guidance: tuple[float, float] | None = None
    solver: str = "euler"
    surface: str = "rays"

    def __post_init__(self) -> None:
        if not -(2**63) <= self.seed < 2**63:
            raise InputError(f"seed {self.seed}: expected an integer of at most 63 bits")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps {self.steps}: expected at least 1")
        if self.guidance is not None and not all(math.isfinite(scale) for scale in self.guidance):
            raise InputError(f"guidance {self.guidance}: expected two finite numbers")
        for name, choices in (("solver", SOLVERS), ("surface", METHODS)):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} {getattr(self, name)}: expected one of {', '.join(choices)}")


@dataclass
class Imagined:
    """What has been made of one picture so far; the parts come in the order of the fields.

    Attributes:
      picture: the object, cut out and framed; warning: one line about the cut-out, or "".
      xray: of the first stage, then of the second. cloud, surface: in the z-up world.
      seconds: that each stage took, in the order of their doing.
    """

    picture: Image.Image | None = None
    warning: str = ""
    xray: XRay | None = None
    cloud: PointCloud | None = None
    surface: Surface | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Notes how long the block takes."""
        start = time.perf_counter()
        yield
        self.seconds[stage] = time.perf_counter() - start

    def check(self, name: str) -> None:
        """Raises InputError, beginning with `name`, where there is no surface at all."""
        if not len(self.cloud):
            raise InputError(f"{name}: the model saw no surface in the picture; its X-Ray is empty")
