"""A run of the renderer over many objects: workers, the record, the closing line."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from .blender import find_blender
from .cli import FAILURES, OK
from .errors import InputError
from .image_set import RenderSettings, RenderTask, render_object
from .jobs import Failure, run_jobs
from .render_record import FILE_NAME, RenderRow, merge_record

log = logging.getLogger(__name__)


def make_images(
    meshes: dict[str, Path],
    image_root: Path,
    settings: RenderSettings,
    workers: int,
    timeout_s: float | None = None,
    overwrite: bool = False,
    blender: str | None = None,
) -> int:
    """Render objects into `<image_root>/<object>`; failures are recorded and the rest goes on.

    Args:
      meshes: object id -> mesh file.
      workers, timeout_s: see `run_jobs`; a timeout needs workers.
      blender: program for that renderer, see `find_blender`.
    Returns:
      the exit status, `cli.FAILURES` where an object has failed.
    Raises:
      InputError: a folder that cannot be made, a Blender that cannot be used.
    """
    try:
        image_root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{image_root}: cannot be made as a folder ({error.strerror})") from None
    command = tuple(find_blender(blender)) if settings.renderer == "blender" else ()
    threads = max((os.cpu_count() or 1) // max(workers, 1), 1)
    tasks = [
        RenderTask(uid, path, image_root / uid, settings, overwrite, command, threads) for uid, path in meshes.items()
    ]
    rows: list[RenderRow] = []
    results = run_jobs(render_object, tasks, workers, timeout_s if workers else None, progress="rendering")
    try:
        for task, result in results:
            if isinstance(result, Failure):
                log.error("%s: %s", task.uid, result.reason)
                rows.append(RenderRow(task.uid, "failed", result.reason))
            else:
                rows.append(RenderRow(task.uid, "rendered", "", result.made, result.kept, result.seconds))
    finally:
        merge_record(image_root, rows)
    made, kept = sum(row.made for row in rows), sum(row.kept for row in rows)
    failed = sum(row.status == "failed" for row in rows)
    log.info(
        "%d objects: %d pictures made, %d were there, %d objects failed; see %s",
        *(len(rows), made, kept, failed, image_root / FILE_NAME),
    )
    return FAILURES if failed else OK
