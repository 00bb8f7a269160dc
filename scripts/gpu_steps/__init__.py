"""The steps of scripts/check_gpu.py: each is a function of `Settings` in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

OK, FAILED, ABSENT, TIMEOUT, CUT = "ok", "failed", "absent", "timeout", "cut"
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
    """`device`: cuda, with published sizes, or cpu, with tiny ones. `out`: folder that all steps share."""

    device: str
    out: Path

    @property
    def tiny(self) -> bool:
        """Whether sizes are those of a test of the steps themselves."""
        return self.device == "cpu"


class Absent(Exception):  # noqa: N818  it is no error
    """A step cannot run here; the message says what is missing."""
