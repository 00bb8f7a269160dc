"""The record of a rendering: `<image_root>/render.csv`, one row an object."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from .errors import InputError
from .storage import atomic_path

FILE_NAME = "render.csv"


@dataclass(frozen=True)
class RenderRow:
    """What became of an object.

    Attributes:
      status: "rendered" or "failed".
      reason: of a failure, one line.
      made, kept: pictures made in the latest run, and those that were there before.
    """

    object: str
    status: str
    reason: str = ""
    made: int = 0
    kept: int = 0
    seconds: float = 0.0


def merge_record(image_root: Path, rows: list[RenderRow]) -> None:
    """Write rows, in place of those of the same objects; rows of other objects stay. Sorted by object."""
    path = image_root / FILE_NAME
    merged = {row["object"]: row for row in _read(path)}
    for row in rows:
        merged[row.object] = {**asdict(row), "seconds": f"{row.seconds:.3f}"}
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(RenderRow)])
        writer.writeheader()
        writer.writerows(merged[uid] for uid in sorted(merged))


def _read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != [field.name for field in fields(RenderRow)]:
            raise InputError(f"{path}: not a record of a rendering (columns {reader.fieldnames}); move it away")
        return list(reader)
