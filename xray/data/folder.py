"""A data set as files: `images/<object>/<view>.png` and `xrays/<object>/<view>.npz`."""

from __future__ import annotations

import os
from pathlib import Path

from ..common.errors import InputError
from ..core.camera import Camera, load_views
from .manifest import MANIFEST, ViewName, accepted_views, check_joined, rows_of_files

LOOKED_AT = 64
"""Views of a manifest, about, whose files are looked for when it is read."""


class Folder:
    """The files of a data set in a folder; it has the methods of `shards.TarShards`.

    Raises InputError where the folder is not there or is not a data set.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder")

    def views(self) -> tuple[list[ViewName], int]:
        """The accepted views, sorted, and the number of all: of the manifest, or of the files where there is none.

        Raises InputError as `accepted_views`, `rows_of_files` and `check_joined`.
        """
        check_joined(self.root)
        path = self.root / MANIFEST
        if path.is_file():
            views, total = accepted_views(path)
            self._check_names(views)
            return views, total
        rows = rows_of_files(self.root)
        return [ViewName(row.object, row.view) for row in rows if row.accepted], len(rows)

    def _check_names(self, views: list[ViewName]) -> None:
        """InputError where names of the manifest are those of files as a spreadsheet changes them.

        It looks at some views, spread evenly: that is what a spreadsheet does to all of a column. Files that are
        missing otherwise are named where they are read.
        """
        for object_id, view in views[:: max(len(views) // LOOKED_AT, 1)]:
            path = self.xray(object_id, view)[0]
            if path.is_file():
                continue
            folder, name = (path.parent.parent, object_id) if not path.parent.is_dir() else (path.parent, f"{view}.npz")
            found = [other for other in _names_in(folder) if _in_spreadsheet(other) == _in_spreadsheet(name)]
            if found:
                raise InputError(
                    f"{self.root / MANIFEST}: names {folder / name}, which is {found[0]!r}: a spreadsheet has changed"
                    " it; give the columns object and view the format text there, or restore the file"
                )

    def picture(self, object_id: str, view: str) -> tuple[Path, str]:
        """The source that `images.load_rgba` reads, and its name in errors."""
        path = self.root / "images" / object_id / f"{view}.png"
        return path, str(path)

    def xray(self, object_id: str, view: str) -> tuple[Path, str]:
        """The source that `storage.load_sparse` reads, and its name in errors."""
        path = self.root / "xrays" / object_id / f"{view}.npz"
        return path, str(path)

    def has_cameras(self, object_id: str) -> bool:
        """Whether the object has a `transforms.json`."""
        return self._views(object_id).is_file()

    def camera(self, object_id: str, view: str, resolution: int) -> Camera:
        """From the object's `transforms.json`; the default lens at the origin where there is none.

        Raises InputError where that file exists without the view.
        """
        path = self._views(object_id)
        if not self.has_cameras(object_id):
            return Camera(resolution, resolution)
        views = load_views(path)
        if view not in views.stems:
            raise InputError(f"{path}: no frame of view {view}")
        return views.camera(views.stems.index(view), resolution)

    def _views(self, object_id: str) -> Path:
        return self.root / "images" / object_id / "transforms.json"


def _names_in(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []


def _in_spreadsheet(name: str) -> str:
    """What tells a name from others in a spreadsheet: of numbers, their value; no white space around, no case."""
    stem = name.removesuffix(".npz").strip().casefold()
    try:
        return f"{float(stem):g}"
    except ValueError:
        return stem
