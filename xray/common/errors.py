"""The exceptions that commands show as one line, and the failure of one item among many.

Any other exception is a defect and keeps its traceback.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable
from dataclasses import dataclass

LINE_BREAKS = {ord(letter): repr(letter)[1:-1] for letter in "\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"}
"""What `str.splitlines` takes for the end of a line, apart from the one that messages of several lines have."""


class InputError(ValueError):
    """Input that cannot be used. The message is one line: the file, the value, what was expected.

    Names of files may hold anything. Bytes that are not UTF-8, which Python keeps as half characters, could be neither
    printed nor written to a record, and some characters would begin a new line there: both are escaped.
    """

    def __init__(self, message: object) -> None:
        super().__init__(str(message).encode("utf-8", "backslashreplace").decode().translate(LINE_BREAKS))


class RunError(RuntimeError):
    """A run that cannot continue although its input is good: a full disk, a loss that is not finite, a lost worker."""


class Stopped(KeyboardInterrupt):
    """A signal of `jobs.STOPPING`, where `jobs.stop_on_signal` is in effect; its number is the argument."""


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
