"""X-Rays for a folder of meshes: which objects, on which workers, and the manifest of the whole."""

from __future__ import annotations

import csv
import errno
import logging
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..common.cli import FAILURES, OK
from ..common.errors import InputError
from ..common.files import atomic_path, full_disk, make_folder, printable
from ..common.folder_lock import folder_lock
from ..common.jobs import Failure, run_jobs, stop_on_signal
from ..data.manifest import COLUMNS, MANIFEST, Row, iterate_manifest, objects_by, read_manifest
from ..data.mesh_files import MeshFolder
from ..data.object_shard import ObjectShard
from ..data.shards import TarShards
from .render_run import render_failures
from .xray_object import ROWS, ObjectJob, ViewCounts

log = logging.getLogger(__name__)

TIMEOUT_S = 600.0
SHOWN = 10
"""Failures that the closing lines spell out; the manifest has all."""

HEADER = ",".join(COLUMNS) + "\n"


@dataclass
class Report:
    """Sums over all objects of a run, and its first failures."""

    objects: int = 0
    cut_objects: int = 0
    total: ViewCounts = field(default_factory=ViewCounts)
    failures: list[str] = field(default_factory=list)

    def add(self, uid: str, counts: ViewCounts) -> None:
        """Count one object."""
        self.objects += 1
        self.cut_objects += counts.cut > 0
        self.total = self.total.joined(counts)
        if counts.failed and len(self.failures) < SHOWN:
            self.failures.append(printable(f"{uid}: {counts.reason}"))

    def lines(self, manifest: Path) -> Iterator[str]:
        """The closing lines."""
        total = self.total
        yield (
            f"{self.objects} objects: {total.accepted} views accepted, {total.rejected} rejected, {total.failed} failed"
            f"{f', {total.no_picture} without a picture' if total.no_picture else ''}"
            f" ({total.reused} were there already)"
        )
        yield (
            f"{total.hits} hits stored, {total.hits_outside} of them outside near and far;"
            f" {total.hits_beyond_layers} beyond the layers were not"
        )
        if total.cut:
            yield (
                f"{total.cut} views of {self.cut_objects} objects reach beyond the picture (column cut);"
                " --fit of render.py or make_dataset.py takes such objects back until they are whole"
            )
        yield from (f"failed: {line}" for line in self.failures)
        yield f"{manifest}" + (f" (peak memory of a worker {total.peak_mib:.0f} MiB)" if total.peak_mib else "")


class XRayRecord:
    """The results of a run: sums over its objects, and the manifest at its end.

    Objects whose X-Rays were not made here, as those of a released data set that was scanned, keep their rows.

    Args:
      xray_root: folder of X-Rays; the manifest stands beside it.
      unfit: object id -> reason, of files that are no objects by their names.
    """

    def __init__(self, job: ObjectJob, shard: ObjectShard, unfit: dict[str, str]) -> None:
        self.job, self.shard, self.report = job, shard, Report()
        self.manifest = job.xray_root.parent / shard.part_of(MANIFEST)
        self._unfit = unfit
        self._alone = [Row(uid, "", "failed", reason) for uid, reason in sorted(unfit.items())]
        for row in self._alone:
            self._count(row)
        self._kept: list[Row] = []
        if self.manifest.is_file() and not shard.name:  # read before the work: it may be no manifest at all
            others = set(objects_by(job.xray_root, ROWS)[1])
            self._kept = [row for row in iterate_manifest(self.manifest) if row.object in others] if others else []

    def add(self, uid: str, result: ViewCounts | Failure) -> None:
        """Count an object; one that has failed as a whole is put on record."""
        if isinstance(result, ViewCounts):
            self.report.add(uid, result)
            return
        try:
            self.report.add(uid, self.job.fail(uid, result.reason))
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:  # a folder of that name cannot be; other faults are the disk's
                raise
            self._alone.append(Row(uid, "", "failed", result.reason))
            self._count(self._alone[-1])

    def _count(self, row: Row) -> None:
        self.report.add(row.object, ViewCounts(failed=1, reason=row.reason))

    def close(self, ids: list[str]) -> None:
        """Join the rows of objects into the manifest, of a part those of `ids`, else all that are there; log the
        closing lines. After a run of some objects that could not begin, the manifest stays as it was."""
        if ids and self.report.objects == len(self._unfit):
            return
        made, others = map(set, objects_by(self.job.xray_root, ROWS))
        kept = [row for row in self._kept if row.object not in made]
        chosen = sorted(made & set(ids) if self.shard.name else made)
        write_rows(self.manifest, self.job.xray_root, chosen, self._alone + kept)
        for line in self.report.lines(self.manifest):
            log.info("%s", line)
        unknown = sorted(others - {row.object for row in kept} - set(ids))
        if unknown and not self.shard.name:
            log.warning(
                "%d objects with X-Rays, as %s, are in no manifest and will not be trained on; "
                "python scripts/scan_dataset.py --data_root %s --overwrite makes one of all",
                len(unknown),
                printable(unknown[0]),
                self.manifest.parent,
            )


def make_xrays(
    job: ObjectJob,
    meshes: MeshFolder,
    workers: int,
    timeout_s: float | None = TIMEOUT_S,
    shard: ObjectShard | None = None,
    executor: str = "process",
) -> int:
    """Make the X-Rays of meshes, and the manifest beside the folder of X-Rays.

    Returns:
      Exit status: 0 when every view was written, 3 when there were failures, which the manifest lists.
    Raises:
      InputError: a folder that is missing; settings that no object can be made with; parts of another number.
      RunError: nothing can be written any more, as on a full disk.
    """
    shard = shard or ObjectShard()
    if not job.image_root.is_dir():
        raise InputError(f"{job.image_root}: no such folder of pictures; render them first, or give poses there")
    TarShards.refuse(job.xray_root.parent)
    make_folder(job.xray_root, "X-Rays")
    items = list(shard.of(meshes.meshes).items())
    with folder_lock(job.xray_root, "a run of get_xray.py", shard.name), stop_on_signal(), full_disk(job.xray_root):
        shard.check_division(job.xray_root.parent, MANIFEST)
        job = replace(job, failures=render_failures(job.image_root))
        record = XRayRecord(job, shard, shard.of(meshes.unfit))
        results = run_jobs(job, items, workers, timeout_s, job.prepare, "X-Rays", executor=executor)
        try:
            with closing(results):
                for (uid, _), result in results:
                    record.add(uid, result)
        finally:
            record.close([uid for uid, _ in items])
    if meshes.left_out():
        log.info("%s", meshes.left_out())
    return FAILURES if record.report.total.failed else OK


def write_rows(manifest: Path, xray_root: Path, ids: Iterable[str], alone: Iterable[Row] = ()) -> None:
    """Join the rows of objects into a manifest, atomically, and without parsing those of this version.

    Args:
      alone: rows of objects that have no folder.
    """
    with atomic_path(manifest) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        stream.write(HEADER)
        for uid in ids:
            with open(xray_root / uid / ROWS, newline="", encoding="utf-8") as rows:
                header, body = rows.readline(), rows.read()
            if header == HEADER:
                stream.write(body)
                continue
            try:  # of an earlier version
                writer.writerows(row.to_cells() for row in read_manifest(xray_root / uid / ROWS))
            except InputError as error:
                writer.writerow(Row(uid, "", "failed", f"{error}; run the object again").to_cells())
        writer.writerows(row.to_cells() for row in alone)
