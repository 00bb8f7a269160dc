"""The steps of scripts/check_gpu.py: each is a function of `Settings` in a process of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

OK, FAILED, ABSENT, TIMEOUT, CUT = "ok", "failed", "absent", "timeout", "cut"
FULL = "out of memory"
"""Of a training step: it is started again with half the batch, and its result is kept where none fits."""

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Result:
    """Of one step. `reason`: one line; `values`: numbers, by name."""

    status: str
    reason: str
    seconds: float = 0.0
    values: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """`device`: cuda, with published sizes, or cpu, with tiny ones. `out`: folder that all steps share.

    `batch`: instead of the configuration's, 0 for that one.
    """

    device: str
    out: Path
    batch: int = 0

    @property
    def tiny(self) -> bool:
        """Whether sizes are those of a test of the steps themselves."""
        return self.device == "cpu"


class Absent(Exception):  # noqa: N818  it is no error
    """A step cannot run here; the message says what is missing."""


_ERROR = re.compile(r"(?:\[rank\d+\]:\s*)?(error: .+|[\w.]*(?:Error|Exception|Absent)\b: .+)")


def last_error(text: str) -> str:
    """The line of a log that says what went wrong: the last error of Python or of a command, else the last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [match[1] for match in map(_ERROR.match, lines) if match]
    return (errors or lines or ["empty"])[-1][:200]
