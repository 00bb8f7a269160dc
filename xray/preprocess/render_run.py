"""Renders many objects: workers, the record `<image_root>/render.csv` of one row an object, and the closing line."""

from __future__ import annotations

import csv
import logging
import os
import time
from contextlib import closing
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..common.cli import FAILURES, OK
from ..common.errors import InputError
from ..common.files import atomic_path, full_disk, make_folder, printable
from ..common.folder_lock import folder_lock
from ..common.jobs import Failure, run_jobs, stop_on_signal
from ..data.manifest import RENDER_RECORD
from ..data.mesh_files import MeshFolder
from ..data.object_shard import ObjectShard, parts_of
from .blender import find_blender
from .render_object import Rendered, RenderSettings, RenderTask, render_object

log = logging.getLogger(__name__)

TIMEOUT_S = 1800.0
"""For the pictures of one object."""

FLUSH_S = 10.0
"""Shortest time between two writings of the record during a run."""


@dataclass(frozen=True)
class RenderRow:
    """The result of one object.

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


def merge_record(image_root: Path, rows: list[RenderRow], file_name: str = RENDER_RECORD) -> None:
    """Write rows, in place of those of the same objects; rows of other objects stay. Sorted by object."""
    path = image_root / file_name
    merged = {row["object"]: row for row in _read(path)}
    for row in rows:
        merged[row.object] = {**asdict(row), "reason": printable(row.reason), "seconds": f"{row.seconds:.3f}"}
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [field.name for field in fields(RenderRow)])
        writer.writeheader()
        writer.writerows(merged[uid] for uid in sorted(merged))


def render_failures(image_root: Path) -> dict[str, str]:
    """Object id -> reason of the failures on record in a folder of pictures, also in the records of parts.

    Of several records the one that was written last counts.
    """
    paths = [*parts_of(image_root, RENDER_RECORD).values(), image_root / RENDER_RECORD]
    paths = sorted((path for path in paths if path.is_file()), key=lambda path: path.stat().st_mtime_ns)
    rows = {row["object"]: row for path in paths for row in _read(path)}
    return {uid: row["reason"] for uid, row in rows.items() if row["status"] == "failed"}


def join_records(image_root: Path, paths: list[Path]) -> tuple[int, int]:
    """Bring the record of a whole up to date by those of its parts; returns the numbers of rows and of failures.

    Where an object stands in several, pictures that were made replace a failure, and otherwise the later file counts.
    """
    best: dict[str, RenderRow] = {}
    for path in paths:
        for cells in _read(path):
            row = _row(cells, path)
            if row.object not in best or row.status != "failed" or best[row.object].status == "failed":
                best[row.object] = row
    merge_record(image_root, list(best.values()))
    return len(best), sum(row.status == "failed" for row in best.values())


def _row(cells: dict[str, str], path: Path) -> RenderRow:
    try:
        made, kept, seconds = int(cells["made"]), int(cells["kept"]), float(cells["seconds"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: object {cells['object']!r}: not a row of a rendering ({error})") from None
    return RenderRow(cells["object"], cells["status"], cells["reason"], made, kept, seconds)


def _read(path: Path) -> list[dict]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if reader.fieldnames != [field.name for field in fields(RenderRow)]:
                raise InputError(f"{path}: not a record of a rendering (columns {reader.fieldnames}); move it away")
            rows = []
            for row in reader:
                if any(row.pop(None, [])) or None in row.values():
                    raise InputError(f"{path}: line {reader.line_num}: not a row of a rendering; move the file away")
                rows.append(row)
            return rows
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a record of a rendering ({error}); move it away") from None


class RenderRecord:
    """The rows of a run, on disk from time to time and at its end: a run that is killed leaves what it did.

    Raises InputError where the file that is there is something else.
    """

    def __init__(self, image_root: Path, shard: ObjectShard, unfit: dict[str, str]) -> None:
        self.image_root, self.file_name = image_root, shard.part_of(RENDER_RECORD)
        self.made = self.kept = self.failed = self.objects = 0
        self._unwritten: list[RenderRow] = []
        self._pause_s, self._written_at = FLUSH_S, time.monotonic()
        _read(self.path)
        self._unfit = len(unfit)
        for uid, reason in unfit.items():
            self.add(uid, Failure("error", reason))

    @property
    def path(self) -> Path:
        """Of the file."""
        return self.image_root / self.file_name

    def add(self, uid: str, result: Rendered | Failure) -> None:
        """Count an object."""
        self.objects += 1
        if isinstance(result, Failure):
            log.error("%s: %s", uid, printable(result.reason))
            self.failed += 1
            self._unwritten.append(RenderRow(uid, "failed", result.reason))
        else:
            self.made, self.kept = self.made + result.made, self.kept + result.kept
            self._unwritten.append(RenderRow(uid, "rendered", "", result.made, result.kept, result.seconds))
        if time.monotonic() > self._written_at + self._pause_s:
            self.write()

    def write(self) -> None:
        """Bring the file up to date."""
        began = time.monotonic()
        merge_record(self.image_root, self._unwritten, self.file_name)
        self._unwritten = []
        self._written_at = time.monotonic()
        self._pause_s = max(FLUSH_S, 50 * (self._written_at - began))  # a record of a million objects takes seconds

    def close(self, asked: int) -> None:
        """Bring the file up to date and log the closing line, but for a run of some objects that could not begin."""
        if asked and self.objects == self._unfit:
            return
        self.write()
        log.info(
            "%d objects: %d pictures made, %d were there, %d objects failed; see %s",
            *(self.objects, self.made, self.kept, self.failed, self.path),
        )


def make_images(
    meshes: MeshFolder,
    image_root: Path,
    settings: RenderSettings,
    workers: int,
    timeout_s: float | None = None,
    overwrite: bool = False,
    blender: str | None = None,
    shard: ObjectShard | None = None,
) -> int:
    """Render objects into `<image_root>/<object>`; failures are recorded and the other objects are still rendered.

    Args:
      workers, timeout_s: see `run_jobs`; a timeout needs workers.
      blender: program for that renderer, see `find_blender`.
      shard: render one part of the objects only.
    Returns:
      the exit status, `cli.FAILURES` where an object has failed.
    Raises:
      InputError: a folder that cannot be made, a Blender that cannot be used, a record that is something else or of
        another number of parts.
    """
    shard = shard or ObjectShard()
    make_folder(image_root, "pictures")
    with folder_lock(image_root, "a rendering", shard.name), stop_on_signal(), full_disk(image_root):
        shard.check_division(image_root, RENDER_RECORD)
        record = RenderRecord(image_root, shard, shard.of(meshes.unfit))
        tasks = render_tasks(shard.of(meshes.meshes), image_root, settings, workers, overwrite, blender)
        results = run_jobs(render_object, tasks, workers, timeout_s if workers else None, progress="rendering")
        try:
            with closing(results):
                for task, result in results:
                    record.add(task.uid, result)
        finally:
            record.close(len(tasks))
    if meshes.left_out():
        log.info("%s", meshes.left_out())
    return FAILURES if record.failed else OK


def render_tasks(
    meshes: dict[str, Path],
    image_root: Path,
    settings: RenderSettings,
    workers: int,
    overwrite: bool = False,
    blender: str | None = None,
) -> list[RenderTask]:
    """A task for every mesh; Blender is looked for, and installed, where it is the renderer."""
    command = tuple(find_blender(blender)) if settings.renderer == "blender" else ()
    threads = max((os.cpu_count() or 1) // max(workers, 1), 1)
    return [
        RenderTask(uid, path, image_root / uid, settings, overwrite, command, threads) for uid, path in meshes.items()
    ]
