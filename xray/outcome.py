"""What becomes of one item of bulk work: its result, or why it has none."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from .errors import InputError


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
