"""Pictures and X-Rays of many objects in one pass: each mesh is read once for both."""

from __future__ import annotations

import logging
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from ..common.cli import FAILURES, OK
from ..common.files import full_disk, make_folder
from ..common.folder_lock import folder_lock
from ..common.jobs import Failure, attempt, run_jobs, stop_on_signal
from ..data.manifest import MANIFEST, RENDER_RECORD
from ..data.mesh_files import MeshFolder
from ..data.object_shard import ObjectShard
from ..data.shards import TarShards
from .mesh_source import MeshSource
from .render_object import Rendered, RenderSettings, RenderTask, render_object
from .render_run import RenderRecord, render_tasks
from .xray_object import ObjectJob, ViewCounts
from .xray_run import XRayRecord

log = logging.getLogger(__name__)

TIMEOUT_S = 2400.0
"""Time limit of one object: the sum of those of its pictures and its X-Rays."""


@dataclass(frozen=True)
class DatasetJob:
    """Callable for a `RenderTask`, for `run_jobs`: its pictures, then its X-Rays, as the two commands make them."""

    xrays: ObjectJob

    def __call__(self, task: RenderTask) -> tuple[Rendered | Failure, ViewCounts]:
        source = MeshSource(task.mesh, task.settings.up)
        rendered = attempt(lambda task: render_object(task, source), task)
        xrays = self.xrays
        if isinstance(rendered, Failure):
            xrays = replace(xrays, failures={task.uid: rendered.reason})
        return rendered, xrays((task.uid, task.mesh), source)


def make_dataset(
    meshes: MeshFolder,
    pictures: RenderSettings,
    xrays: ObjectJob,
    workers: int,
    timeout_s: float | None = TIMEOUT_S,
    shard: ObjectShard | None = None,
    executor: str = "process",
    blender: str | None = None,
) -> int:
    """Make pictures and X-Rays into the folders of `xrays`; the files are those of `make_images` and `make_xrays`.

    Returns:
      Exit status: 0 when every view was written, 3 when there were failures, which the records list.
    Raises:
      InputError, RunError: as both.
    """
    shard, image_root = shard or ObjectShard(), xrays.image_root
    TarShards.refuse(xrays.xray_root.parent)
    make_folder(image_root, "pictures")
    make_folder(xrays.xray_root, "X-Rays")
    with ExitStack() as stack:
        for folder in (image_root, xrays.xray_root):
            stack.enter_context(folder_lock(folder, "a run of make_dataset.py", shard.name))
        stack.enter_context(stop_on_signal())
        stack.enter_context(full_disk(image_root))
        shard.check_division(image_root, RENDER_RECORD)
        shard.check_division(xrays.xray_root.parent, MANIFEST)
        unfit = shard.of(meshes.unfit)
        records = RenderRecord(image_root, shard, unfit), XRayRecord(xrays, shard, unfit)
        tasks = render_tasks(shard.of(meshes.meshes), image_root, pictures, workers, xrays.overwrite, blender)
        results = run_jobs(DatasetJob(xrays), tasks, workers, timeout_s, xrays.prepare, "objects", executor=executor)
        _collect(results, tasks, records)
    if meshes.left_out():
        log.info("%s", meshes.left_out())
    return FAILURES if records[0].failed or records[1].report.total.failed else OK


def _collect(results, tasks: list[RenderTask], records: tuple[RenderRecord, XRayRecord]) -> None:
    """Put results on record as they come, and close both records, also where the run is stopped."""
    pictures, xrays = records
    try:
        with closing(results):
            for task, result in results:
                rendered, counts = (result, result) if isinstance(result, Failure) else result
                pictures.add(task.uid, rendered)
                xrays.add(task.uid, counts)
    finally:
        pictures.close(len(tasks))
        xrays.close([task.uid for task in tasks])
