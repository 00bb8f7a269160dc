"""Writing a data set's accepted views into WebDataset tar shards."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ..common.cli import FAILURES, OK
from ..common.errors import InputError
from ..common.files import atomic_path
from ..common.folder_lock import folder_lock
from ..common.images import load_rgba
from ..common.jobs import Failure, describe, run_jobs
from ..core.storage import load_sparse
from ..data.folder import Folder
from ..data.manifest import MANIFEST, Row, dataset_rows, write_manifest
from ..data.shards import FOLDER, INDEX, PackedView, TarShards, read_index, write_index
from .xray_run import SHOWN

log = logging.getLogger(__name__)

Plan = tuple[str, tuple[tuple[str, str], ...]]
"""File name of a shard, and the (object, view) pairs that belong into it."""


def plan_shards(rows: list[Row], views_per_shard: int) -> Iterator[Plan]:
    """Deal the accepted views out, in an order of hashes: a fixed shuffle, for programs that stream the shards."""
    if views_per_shard < 1:
        raise InputError(f"{views_per_shard} views a shard: expected at least 1")
    views = [(row.object, row.view) for row in rows if row.accepted]
    views.sort(key=lambda view: hashlib.sha256("/".join(view).encode()).digest())
    for number, start in enumerate(range(0, len(views), views_per_shard)):
        yield f"{number:06d}.tar", tuple(views[start : start + views_per_shard])


@dataclass(frozen=True)
class PackJob:
    """Callable for a `Plan`, for `run_jobs`: writes the shard and its part of the index, returns the entries.

    A shard whose part of the index lists the same views, and whose size is the one written, is kept.
    """

    root: Path
    folder: Path
    overwrite: bool = False

    def __call__(self, plan: Plan) -> list[PackedView]:
        shard, views = plan
        path, part = self.folder / shard, self.folder / f"{Path(shard).stem}.csv"
        kept = None if self.overwrite else self._kept(path, part, views)
        if kept is not None:
            return kept
        part.unlink(missing_ok=True)  # what it says must be true of the tar at any moment
        source = Folder(self.root)
        with (
            atomic_path(path) as partial,
            tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as archive,
        ):
            entries = [_pack_view(archive, source, shard, *view) for view in views]
        write_index(part, entries)
        return entries

    def _kept(self, path: Path, part: Path, views: tuple[tuple[str, str], ...]) -> list[PackedView] | None:
        if not part.is_file() or not path.is_file():
            return None
        try:
            entries = read_index(part)
        except InputError:  # cut short: the shard is made again
            return None
        if [(entry.object, entry.view) for entry in entries] != list(views) or any(entry.error for entry in entries):
            return None
        last = max(
            max(e.xray_at + e.xray_size, e.picture_at + e.picture_size, e.camera_at + e.camera_size) for e in entries
        )
        return entries if path.stat().st_size >= last + 2 * tarfile.BLOCKSIZE else None


def _pack_view(archive: tarfile.TarFile, source: Folder, shard: str, object_id: str, view: str) -> PackedView:
    """Append the members of a view, all or, where one is damaged, none."""
    entry = PackedView(object_id, view, shard)
    try:
        members = list(_members(source, object_id, view))
        headers = [_header(f"{object_id}/{view}{suffix}", content) for _, suffix, content in members]
    except InputError as error:
        return replace(entry, error=describe(error))
    for (part, _, content), header in zip(members, headers, strict=True):
        entry = replace(entry, **{f"{part}_at": archive.offset + tarfile.BLOCKSIZE, f"{part}_size": len(content)})
        archive.addfile(header, io.BytesIO(content))
    return entry


def _members(source: Folder, object_id: str, view: str) -> Iterator[tuple[str, str, bytes]]:
    """(name in `PackedView`, suffix, content) of a view's files, each checked by reading it as training will."""
    if "." in view:
        raise InputError(f"{object_id}/{view}: a view's name with a dot cannot be told from a suffix in a shard")
    path, name = source.xray(object_id, view)
    content = _bytes(path)
    load_sparse(content, name).to_xray().validate(name)
    yield "xray", ".npz", content
    path, name = source.picture(object_id, view)
    content = _bytes(path)
    load_rgba(content, name)
    yield "picture", ".png", content
    if source.has_cameras(object_id):
        camera = source.camera(object_id, view, 1)
        frame = {"file_path": f"{view}.png", "transform_matrix": camera.world_from_camera.tolist()}
        yield "camera", ".json", json.dumps({"camera_angle_x": camera.fov_rad, "frames": [frame]}).encode()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def _header(name: str, content: bytes) -> tarfile.TarInfo:
    """A header that depends on nothing but name and content, so that equal data gives equal files."""
    header = tarfile.TarInfo(name)
    header.size, header.mode = len(content), 0o644
    try:
        if len(header.tobuf(tarfile.USTAR_FORMAT, "utf-8")) != tarfile.BLOCKSIZE:
            raise ValueError("header of several blocks")
    except ValueError as error:
        raise InputError(f"{name}: cannot be the name of a member of a tar ({error})") from None
    return header


def pack_dataset(root: Path, target: Path, views_per_shard: int, workers: int, overwrite: bool = False) -> int:
    """Pack a data set of files into `<target>/shards`, with index and manifest; the same call again continues.

    Returns the exit status. A view that cannot be packed is a failed row of the target's manifest.
    """
    if target.resolve() == root.resolve():
        raise InputError(f"{target}: the shards need a folder of their own")
    TarShards.refuse(root)
    if (target / "xrays").is_dir():  # whose manifest would be replaced
        raise InputError(f"{target}: a data set of files; the shards need a folder of their own")
    rows = dataset_rows(root)
    plans = list(plan_shards(rows, views_per_shard))
    if not plans:
        raise InputError(f"{root}: none of {len(rows)} views is accepted, see its manifest")
    with folder_lock(target, "a run of pack_shards.py"):
        return _pack(root, target, rows, plans, workers, overwrite)


def _pack(root: Path, target: Path, rows: list[Row], plans: list[Plan], workers: int, overwrite: bool) -> int:
    folder = target / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    (folder / INDEX).unlink(missing_ok=True)  # until all is done the target is not a data set
    for path in [*folder.glob(".*.partial-*"), *folder.glob("[0-9]*.tar"), *folder.glob("[0-9]*.csv")]:
        if f"{path.stem}.tar" not in dict(plans):  # of a run that was killed, or that dealt out otherwise
            path.unlink(missing_ok=True)
    entries, errors = [], {}
    for (shard, views), result in run_jobs(PackJob(root, folder, overwrite), plans, workers, None, None, "packing"):
        if isinstance(result, Failure):
            errors |= dict.fromkeys(views, f"{shard}: {result.reason}")
        else:
            entries += result
            errors |= {(entry.object, entry.view): entry.error for entry in result if entry.error}
    packed = [
        replace(row, status="failed", reason=errors[row.object, row.view])
        if row.accepted and (row.object, row.view) in errors
        else row
        for row in rows
    ]
    write_manifest(target / MANIFEST, packed)
    write_index(folder / INDEX, sorted(entries, key=lambda entry: (entry.object, entry.view)))
    for reason in list(errors.values())[:SHOWN]:
        log.error("failed: %s", reason)
    done = sum(len(views) for _, views in plans) - len(errors)
    log.info("%s: %d views in %d shards, %d failed", target, done, len(plans), len(errors))
    return FAILURES if errors else OK
