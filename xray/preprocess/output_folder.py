"""The folders that the commands of preprocessing write into: making them, and what ends a run there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..common.errors import InputError, RunError


def make_folder(folder: Path, content: str) -> None:
    """InputError where a folder of such content, as "pictures", cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder of {content} ({error.strerror})") from None


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Turn the system's error of a write into a RunError that names the file."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise RunError(f"{where}: {error.strerror}; stopped, the same command goes on from here") from error
