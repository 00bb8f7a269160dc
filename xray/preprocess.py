"""X-Rays for a folder of meshes: which objects, on which workers, and the manifest of the whole."""

from __future__ import annotations

import csv
import hashlib
import logging
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .cli import FAILURES, OK
from .cluster import run_on_ray
from .errors import InputError, RunError
from .jobs import Failure, run_jobs
from .manifest import COLUMNS, NAME, Row, part_name
from .mesh import find_meshes
from .objects import ROWS, ObjectJob, Tally
from .storage import atomic_path

log = logging.getLogger(__name__)

TIMEOUT_S = 600.0
SHOWN = 10
"""Failures that the closing lines spell out; the manifest has all."""

EXECUTORS = {"process": run_jobs, "ray": run_on_ray}
"""Where the objects are worked on: processes of this machine, or a Ray cluster."""

HEADER = ",".join(COLUMNS) + "\n"


@dataclass(frozen=True)
class Shard:
    """One of `count` disjoint parts of a set of objects, told by a hash of the id: machines need not agree on the
    whole set, only on the number of parts."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InputError(f"shard {self.index}/{self.count}: expected i/n with 0 <= i < n")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """From "i/n"."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal()):
            raise InputError(f"shard {text!r}: expected i/n, as 0/8")
        return cls(int(index), int(count))

    def has(self, uid: str) -> bool:
        """Whether an object belongs to this part."""
        if self.count == 1:
            return True
        return int.from_bytes(hashlib.sha256(uid.encode()).digest()[8:16], "big") % self.count == self.index

    @property
    def manifest(self) -> str:
        """File name of the manifest of this part."""
        return NAME if self.count == 1 else part_name(self.index, self.count)


@dataclass
class Report:
    """Sums over all objects of a run."""

    objects: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    reused: int = 0
    hits: int = 0
    hits_beyond_layers: int = 0
    hits_outside: int = 0
    peak_mib: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, uid: str, tally: Tally) -> None:
        """Count one object."""
        self.objects += 1
        for name in ("accepted", "rejected", "failed", "reused", "hits", "hits_beyond_layers", "hits_outside"):
            setattr(self, name, getattr(self, name) + getattr(tally, name))
        self.peak_mib = max(self.peak_mib, tally.peak_mib)
        if tally.failed and len(self.failures) < SHOWN:
            self.failures.append(f"{uid}: {tally.reason}")

    def lines(self, manifest: Path) -> Iterator[str]:
        """The closing lines."""
        yield (
            f"{self.objects} objects: {self.accepted} views accepted, {self.rejected} rejected, {self.failed} failed"
            f" ({self.reused} were there already)"
        )
        yield (
            f"{self.hits} hits stored, {self.hits_outside} of them outside near and far;"
            f" {self.hits_beyond_layers} beyond the layers were not"
        )
        yield from (f"failed: {line}" for line in self.failures)
        yield f"{manifest}" + (f" (peak memory of a worker {self.peak_mib:.0f} MiB)" if self.peak_mib else "")


def make_xrays(
    job: ObjectJob,
    mesh_root: Path,
    workers: int,
    timeout_s: float | None = TIMEOUT_S,
    shard: Shard | None = None,
    executor: str = "process",
) -> int:
    """Make the X-Rays of every mesh below a folder, and the manifest beside the folder of X-Rays.

    Returns:
      Exit status: 0 when every view was written, 3 when there were failures, which the manifest lists.
    Raises:
      InputError: a folder that is missing or without meshes; settings that no object can be made with.
      RunError: nothing can be written any more, as on a full disk.
    """
    shard = shard or Shard()
    if not job.image_root.is_dir():
        raise InputError(f"{job.image_root}: no such folder of pictures; render them first")
    items = [(uid, path) for uid, path in find_meshes(mesh_root).items() if shard.has(uid)]
    report = Report()
    manifest = job.xray_root.parent / shard.manifest
    _make_folder(job.xray_root)
    try:
        for (uid, _), result in _run(executor, job, items, workers, timeout_s):
            report.add(uid, job.fail(uid, result.reason) if isinstance(result, Failure) else result)
        ids = _finished(job.xray_root) if shard.count == 1 else sorted(uid for uid, _ in items)
        write_rows(manifest, job.xray_root, ids)
    except OSError as error:
        where = error.filename or job.xray_root
        raise RunError(f"{where}: {error.strerror}; stopped, the same command goes on from here") from error
    for line in report.lines(manifest):
        log.info("%s", line)
    return FAILURES if report.failed else OK


def _run(executor: str, job: ObjectJob, items: list, workers: int, timeout_s: float | None):
    if executor not in EXECUTORS:
        raise InputError(f"executor {executor!r}: expected one of {', '.join(EXECUTORS)}")
    run = EXECUTORS[executor]
    return run(job, items, workers, timeout_s, job.prepare, progress="X-Rays", total=len(items))


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder of X-Rays ({error.strerror})") from None


def _finished(xray_root: Path) -> list[str]:
    """Ids of all objects with rows, those of earlier runs with other meshes included."""
    with os.scandir(xray_root) as entries:
        return sorted(entry.name for entry in entries if os.path.exists(os.path.join(entry.path, ROWS)))


def write_rows(manifest: Path, xray_root: Path, ids: Iterable[str]) -> None:
    """Join the rows of objects into a manifest, atomically and without parsing them."""
    with atomic_path(manifest) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        stream.write(HEADER)
        for uid in ids:
            with open(xray_root / uid / ROWS, newline="", encoding="utf-8") as rows:
                header, body = rows.readline(), rows.read()
            if header != HEADER:
                row = Row(uid, "", "failed", f"{ROWS} has other columns than this version writes; run the object again")
                writer.writerow(row.to_cells())
            else:
                stream.write(body)
