"""Disks that cannot be written to, or are too small, as real file systems. Permissions say nothing to root."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def disk(folder: Path, size: str = "64m") -> Iterator[Path]:
    """A file system in memory of a size, as "300k", at a new folder; skips where mounting is not allowed."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    """From now on nothing can be written to a disk."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
