"""What the workers of every executor share: how an item ends, and how they start."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from .errors import InputError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Set to 1 before the libraries are loaded that read them: one core a worker."""

STARTUP_S = 600.0
"""Longest start of a worker: imports, and compiling kernels on the first run of a machine."""


@dataclass(frozen=True)
class Failure:
    """Why one item has no result.

    Attributes:
      kind: "error" (the function raised), "timeout" or "died" (killed, crashed, left by exit).
      reason: one line.
    """

    kind: str
    reason: str


def describe(error: BaseException) -> str:
    """One line for an error: an InputError's own words, else the type, the words and the place."""
    words = " ".join(str(error).split())[:300]
    if isinstance(error, InputError):
        return words
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {words}{place}"


def attempt(function: Callable, item: object) -> object:
    """The function's result, or a Failure with the reason of what it raised."""
    try:
        return function(item)
    except Exception as error:  # noqa: BLE001  one item's failure is recorded, with its reason, and the rest goes on
        return Failure("error", describe(error))
