"""manifest.csv: one row for every view of a data set, the failed ones included."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from ..common.errors import InputError
from ..common.files import atomic_path, name_fault, printable
from .object_shard import parts_of, some

MANIFEST = "manifest.csv"
RENDER_RECORD = "render.csv"
"""Beside the pictures: a row an object that was rendered, see `preprocess.render_record`."""
STATUSES = ("accepted", "rejected", "no picture", "failed")


@dataclass(frozen=True, slots=True)
class Row:
    """One view of a data set: its status, and what was measured.

    Attributes:
      object, view: names, as in `xrays/<object>/<view>.npz`; a failure of a whole object may have no view.
      status: "accepted" (training reads it), "rejected" (written, but unlike its picture), "no picture" (written, with
        nothing to compare it with) or "failed".
      reason: one line where the status is not "accepted".
      faces: triangles of the mesh.
      hits: number of hits in each layer.
      hits_beyond_layers: surfaces behind the last layer, which the file does not hold.
      hits_before_near, hits_beyond_far: hits in the file that lie outside the depth range.
      mask_iou: agreement of the picture's alpha with the first layer, in [0, 1].
      camera_distance: from the camera's centre to the origin.
      seconds: time that the view took.
      settings: hash of the settings and the camera that made the file.
      cut: rays on the picture's border that hit the object, which reaches beyond the picture where it is above 0.
      mesh: hash of the mesh and of every file that it refers to; picture: hash of the picture's file.
    What was not measured is None, or empty for texts and hits.
    """

    object: str
    view: str
    status: str
    reason: str = ""
    faces: int | None = None
    hits: tuple[int, ...] = ()
    hits_beyond_layers: int | None = None
    hits_before_near: int | None = None
    hits_beyond_far: int | None = None
    mask_iou: float | None = None
    camera_distance: float | None = None
    seconds: float | None = None
    settings: str = ""
    cut: int | None = None
    mesh: str = ""
    picture: str = ""

    @property
    def accepted(self) -> bool:
        """Whether training reads the view."""
        return self.status == "accepted"

    def to_cells(self) -> list[str]:
        """The row's texts, in the order of `COLUMNS`."""
        return [getattr(self, name) if name in IDENTIFIERS else _text(getattr(self, name)) for name in COLUMNS]


class ViewName(NamedTuple):
    """The names that identify a view."""

    object: str
    view: str


COLUMNS = tuple(field.name for field in fields(Row))
IDENTIFIERS = ("object", "view")
"""Columns that are written without any change, since files are found by them."""

LATER = ("cut", "mesh", "picture")
"""Columns that manifests of earlier versions lack."""

_INTEGERS = ("faces", "hits_beyond_layers", "hits_before_near", "hits_beyond_far", "cut")
_NUMBERS = ("mask_iou", "camera_distance", "seconds")


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    # A line break would be legal inside quotes, but then a line is no longer a row to grep and sort.
    return printable(" ".join(value.split())) if isinstance(value, str) else str(value)


def _row(cells: dict[str, str], where: str) -> Row:
    cells = dict.fromkeys(LATER, "") | cells
    try:
        values = {name: cells[name] for name in ("object", "view", "status", "reason", "settings", "mesh", "picture")}
        values["hits"] = tuple(int(word) for word in cells["hits"].split())
        values |= {name: int(cells[name]) if cells[name] else None for name in _INTEGERS}
        values |= {name: float(cells[name]) if cells[name] else None for name in _NUMBERS}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: not a row of a manifest ({type(error).__name__}: {error})") from None
    if not values["object"] or values["status"] not in STATUSES:
        raise InputError(
            f"{where}: object {values['object']!r}, status {values['status']!r}; see {', '.join(STATUSES)}"
        )
    return Row(**values)


def read_manifest(path: str | Path) -> list[Row]:
    """All rows, in the order of the file.

    Raises:
      InputError: no such file, no header, a column missing, a row that cannot be read; the line is named.
    """
    return list(iterate_manifest(path))


def iterate_manifest(path: str | Path) -> Iterator[Row]:
    """As `read_manifest`, a row at a time."""
    for number, header, cells in _lines(path):
        yield _row(dict(zip(header, cells, strict=False)), f"{path}: line {number}")


def accepted_views(path: str | Path) -> tuple[list[ViewName], int]:
    """The views that training reads, sorted, and the number of all rows. Millions of rows take seconds.

    Raises InputError as `read_manifest`, but looks at nothing besides object, view and status; and where a view stands
    in it twice.
    """
    views, total, names = [], 0, {}
    for number, header, cells in _lines(path):
        if not total:
            wanted = [header.index(name) for name in ("object", "view", "status")]
        total += 1
        try:
            object_id, view, status = [cells[column] for column in wanted]
        except IndexError:
            raise InputError(f"{path}: line {number}: not a row of a manifest (cut short)") from None
        if status not in STATUSES:
            raise InputError(f"{path}: line {number}: status {status!r}; see {', '.join(STATUSES)}")
        if status == "accepted":  # each name is kept once: a large data set has few views and eight of an object
            views.append(ViewName(names.setdefault(object_id, object_id), names.setdefault(view, view)))
    views.sort()
    twice = next((view for view, following in pairwise(views) if view == following), None)
    if twice is not None:
        raise InputError(f"{path}: view {twice.view} of object {twice.object!r} stands in it twice, expected once")
    return views, total


def _lines(path: str | Path) -> Iterator[tuple[int, list[str], list[str]]]:
    """(line number, header, cells) of every line after the header that is not blank."""
    path = Path(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(1 << 12)
        encoding = "utf-16" if start.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"  # as Excel saves
        with path.open(newline="", encoding=encoding) as stream:
            first = stream.readline()
            stated = first.strip()[4:] if first.startswith("sep=") else ""  # a line of its own, which Excel reads
            if not stated:
                stream.seek(0)
            separator = stated or max(",;\t", key=first.count)
            reader = csv.reader(stream, strict=True, delimiter=separator)
            header = next(reader, [])
            missing = [name for name in COLUMNS if name not in header and name not in LATER]
            if missing:
                raise InputError(f"{path}: no column {', '.join(missing)}; expected {','.join(COLUMNS)}")
            least = 1 + max(header.index(name) for name in COLUMNS if name not in LATER)
            numbers = [index for index, name in enumerate(header) if name in _NUMBERS] if separator == ";" else []
            for cells in reader:
                if any(cells):
                    if len(cells) < least:
                        line = f"{path}: line {reader.line_num + bool(stated)}"
                        raise InputError(f"{line}: cut short: {len(cells)} of {least} cells")
                    for index in numbers:  # where lists have semicolons, fractions have commas
                        cells[index : index + 1] = [cell.replace(",", ".") for cell in cells[index : index + 1]]
                    yield reader.line_num + bool(stated), header, cells
    except FileNotFoundError:
        raise InputError(f"{path}: no such manifest") from None
    except UnicodeDecodeError:
        raise InputError(
            f"{path}: not readable as a manifest: not {encoding.upper().removesuffix('-SIG')}; save it as UTF-8"
        ) from None
    except (OSError, csv.Error) as error:
        raise InputError(f"{path}: not readable as a manifest ({type(error).__name__}: {error})") from None


def write_manifest(path: str | Path, rows: Iterable[Row]) -> int:
    """Write rows as they come, atomically; returns their number."""
    count = 0
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow(row.to_cells())
            count += 1
    return count


def merge_manifests(manifests: Iterable[Iterable[Row]]) -> list[Row]:
    """The rows of several manifests by object and view.

    Equal places: a view that was written replaces a failure, and among equals the later manifest counts. The
    failure of a whole object (no view) goes when another manifest has views of it.
    """
    best: dict[tuple[str, str], Row] = {}
    for rows in manifests:
        for row in rows:
            key = (row.object, row.view)
            if key not in best or row.status != "failed" or best[key].status == "failed":
                best[key] = row
    with_views = {name for name, view in best if view}
    return [best[key] for key in sorted(best) if key[1] or key[0] not in with_views]


def dataset_rows(root: str | Path) -> list[Row]:
    """All rows of a data set: of its manifest, or by its file names where it has none (`scan`).

    Raises:
      InputError: as both; records of parts that were not joined, see `check_joined`.
    """
    root = Path(root)
    check_joined(root)
    return read_manifest(root / MANIFEST) if (root / MANIFEST).is_file() else rows_of_files(root)


def check_joined(root: Path, records: tuple[str, ...] = (MANIFEST, RENDER_RECORD)) -> None:
    """InputError where a data set has manifests of parts, or records of rendered parts, and none of the whole: views
    that a part rejects would be accepted, and objects that a part could not render would be missing without a word."""
    for name in records:
        folder = root if name == MANIFEST else root / "images"
        if (folder / name).is_file():
            continue  # first: the folder of pictures may have a million entries
        parts = [path.name for path in parts_of(folder, name).values()]
        if parts:
            raise InputError(
                f"{folder}: parts that are not joined yet ({some(parts)});"
                f" python scripts/merge_manifests.py --data_root {root} joins them"
            )


def rows_of_files(root: str | Path) -> list[Row]:
    """Rows for a data set without a manifest, from its file names: `images/<object>/<view>.png` beside
    `xrays/<object>/<view>.npz`. A view with both is accepted; one without a picture is "no picture"; one
    whose name cannot be written into a manifest is "failed".

    Raises:
      InputError: no such folder, or no X-Ray in it.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    rows = []
    for name, views, _ in _object_folders(root / "xrays", ".npz"):
        pictures = set(_files(root / "images" / name, ".png"))
        for view in views:
            fault = name_fault(f"{name}/{view}")
            if fault:
                names = printable(name), printable(view)
                rows.append(Row(*names, "failed", f"xrays/{'/'.join(names)}.npz: {fault}"))
            elif view in pictures:
                rows.append(Row(name, view, "accepted"))
            else:
                rows.append(Row(name, view, "no picture", f"no picture images/{name}/{view}.png"))
    if not rows:
        raise InputError(f"{root}: no xrays/<object>/<view>.npz in it; expected the layout of a data set")
    return sorted(rows, key=lambda row: (row.object, row.view))


def objects_by(folder: Path, name: str) -> tuple[list[str], list[str]]:
    """Sorted ids of the objects whose folders, anywhere below one, hold a file of some name; and of those that hold
    X-Rays without it."""
    found: tuple[list[str], list[str]] = [], []
    for uid, views, files in _object_folders(folder, ".npz"):
        if name in files:
            found[0].append(uid)
        elif views:
            found[1].append(uid)
    return sorted(found[0]), sorted(found[1])


def _object_folders(folder: Path, suffix: str) -> Iterator[tuple[str, list[str], set[str]]]:
    """(object id, sorted names without suffix of the files with it, names of all files) of every folder below.

    An id may be a path of several folders. One system call a folder, not a file.
    """
    todo = [""]
    while todo:
        uid = todo.pop()
        files, folders = _listed(folder / uid)
        if uid:
            named = (name for name in files if name.endswith(suffix))
            yield uid, sorted(name.removesuffix(suffix) for name in named), set(files)
        todo += [f"{uid}/{name}" if uid else name for name in sorted(folders, reverse=True)]


def _files(folder: Path, suffix: str) -> list[str]:
    """Names of the files in a folder with a suffix, without it; none where there is no folder."""
    return [name.removesuffix(suffix) for name in _listed(folder)[0] if name.endswith(suffix)]


def _listed(folder: Path) -> tuple[list[str], list[str]]:
    """Names of files and of folders in a folder, hidden ones left out; none where there is no folder."""
    files, folders = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    (folders if entry.is_dir() else files).append(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return files, folders
