"""What one visitor of the demo may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from ..common.errors import InputError

MAX_GUIDANCE = 10.0


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for.

    Attributes:
      upload_mb: size of a file; visitor_mb: of all that a visitor uploads within keep_minutes; folder_mb: of
        everybody's uploads and results together.
      megapixels: of a picture.
      steps, samples: of sampling; waiting: requests in the queue; keep_minutes: until results are removed.
    """

    upload_mb: int = 20
    visitor_mb: int = 200
    folder_mb: int = 2000
    megapixels: int = 50
    steps: int = 50
    samples: int = 4
    waiting: int = 8
    keep_minutes: int = 60

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"limit of {name.replace('_', ' ')} {value}: expected at least 1")
