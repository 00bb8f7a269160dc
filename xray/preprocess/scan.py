"""A manifest for a data set that came without one, by reading every file of it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..common.cli import FAILURES, OK
from ..common.errors import InputError
from ..common.images import foreground_at_rays, load_rgba
from ..common.jobs import Failure, run_jobs
from ..core.storage import load_sparse
from ..data.folder import Folder
from ..data.manifest import MANIFEST, RENDER_RECORD, STATUSES, Row, check_joined, rows_of_files, write_manifest
from ..data.object_shard import ObjectShard
from ..data.shards import TarShards
from .xray_object import XRaySettings, hit_mask, iou, on_border
from .xray_run import SHOWN

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScanJob:
    """Measures and classifies the rows that `manifest.rows_of_files` gives of one object; a function for `run_jobs`.

    Attributes:
      root: of the data set.
      settings: near and far for the counts, min_iou for the verdict.
    """

    root: Path
    settings: XRaySettings

    def __call__(self, rows: tuple[Row, ...]) -> list[Row]:
        return [self._measured(row) if row.accepted else row for row in rows]

    def _measured(self, row: Row) -> Row:
        folder = Folder(self.root)
        try:
            (xray_path, name), (picture_path, _) = (
                read(row.object, row.view) for read in (folder.xray, folder.picture)
            )
            sparse = load_sparse(xray_path)
            xray = sparse.to_xray().validate(name)
            mask = foreground_at_rays(load_rgba(picture_path), xray.shape[1], picture_path)
            if mask.shape != xray.shape[1:]:
                raise InputError(f"{name}: {xray.shape[1]} x {xray.shape[2]} rays, expected a square")
            distance = None
            if folder.has_cameras(row.object):
                distance = float(np.linalg.norm(folder.camera(row.object, row.view, 1).origin))
        except InputError as error:
            return replace(row, status="failed", reason=str(error))
        row = replace(
            row,
            hits=tuple(xray.hit.sum((1, 2)).tolist()),
            hits_before_near=int((xray.hit & (xray.depth <= self.settings.near)).sum()),
            hits_beyond_far=int((xray.depth >= self.settings.far).sum()),
            mask_iou=iou(mask, hit_mask(sparse)),
            cut=on_border(hit_mask(sparse)),
            camera_distance=distance,
        )
        return self.settings.classify(row)


def scan_dataset(job: ScanJob, workers: int, shard: ObjectShard, overwrite: bool = False) -> int:
    """Write the manifest of a data set, or of one part of its objects; returns the exit status.

    Raises:
      InputError: not a data set; a manifest that is there, unless `overwrite`; records of parts that were not joined,
        or of another number of parts than this one.
    """
    TarShards.refuse(job.root)
    path = job.root / shard.part_of(MANIFEST)
    if path.exists() and not overwrite:
        raise InputError(f"{path}: is there already; give --overwrite to measure all again")
    check_joined(job.root, (RENDER_RECORD,) if shard.name else (MANIFEST, RENDER_RECORD))
    shard.check_division(job.root, MANIFEST)
    objects: dict[str, list[Row]] = {}
    for row in rows_of_files(job.root):
        if shard.has(row.object):
            objects.setdefault(row.object, []).append(row)
    rows: list[Row] = []
    for given, result in run_jobs(job, [tuple(rows) for rows in objects.values()], workers, None, None, "scan"):
        failed = isinstance(result, Failure)
        rows += [replace(row, status="failed", reason=result.reason) for row in given] if failed else result
    rows.sort(key=lambda row: (row.object, row.view))
    write_manifest(path, rows)
    count = {status: sum(row.status == status for row in rows) for status in STATUSES}
    for row in [row for row in rows if row.status == "failed"][:SHOWN]:
        log.error("failed: %s", row.reason)
    log.info("%s: %s", path, ", ".join(f"{number} {status}" for status, number in count.items()))
    return FAILURES if count["failed"] else OK
