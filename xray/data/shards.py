"""A data set as WebDataset tar shards, with an index by which any view is read at once.

`<root>/manifest.csv`, `<root>/shards/<number>.tar` and `<root>/shards/index.csv`. A view's members stand together
in one shard, as `<object>/<view>.npz`, `.png` and, where its camera is known, `.json` (a `transforms.json` of one
frame). Programs that stream WebDatasets need the tar files alone.
"""

from __future__ import annotations

import csv
import io
import tarfile
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from ..common.errors import InputError
from ..common.files import atomic_path, read_text
from ..core.camera import Camera, parse_views
from .manifest import MANIFEST, ViewName, accepted_views

FOLDER = "shards"
INDEX = "index.csv"
HEADER_BYTES = tarfile.BLOCKSIZE


@dataclass(frozen=True, slots=True)
class PackedView:
    """The place of a view in the shards.

    Attributes:
      object, view: its names; shard: file name of the tar.
      xray_at, picture_at, camera_at: byte at which a member's content begins; xray_size, ...: its bytes, where 0
        means that there is no such member.
      error: why the view could not be packed; empty where it was.
    """

    object: str
    view: str
    shard: str
    xray_at: int = 0
    xray_size: int = 0
    picture_at: int = 0
    picture_size: int = 0
    camera_at: int = 0
    camera_size: int = 0
    error: str = ""


_NAMES = tuple(field.name for field in fields(PackedView))
_TEXTS = ("object", "view", "shard", "error")


def write_index(path: Path, entries: list[PackedView]) -> None:
    """Write an index, atomically."""
    with atomic_path(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(_NAMES)
        writer.writerows(astuple(entry) for entry in entries)


def read_index(path: Path) -> list[PackedView]:
    """Inverse of `write_index`; InputError naming file and line where it is not an index."""
    try:
        lines = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
        if tuple(next(lines, ())) != _NAMES:
            raise InputError(f"{path}: not an index of shards; expected the columns {','.join(_NAMES)}")
        return [_entry(cells, f"{path}: line {lines.line_num}") for cells in lines]
    except csv.Error as error:
        raise InputError(f"{path}: not readable as an index ({type(error).__name__}: {error})") from None


def _entry(cells: list[str], where: str) -> PackedView:
    try:
        values = dict(zip(_NAMES, cells, strict=True))
        entry = PackedView(**{name: text if name in _TEXTS else int(text) for name, text in values.items()})
    except ValueError as error:
        raise InputError(f"{where}: not an entry of an index ({error})") from None
    if Path(entry.shard).name != entry.shard or min(entry.xray_at, entry.picture_at, entry.camera_at) < 0:
        raise InputError(f"{where}: shard {entry.shard!r} or an offset is out of place")
    return entry


class TarShards:
    """The views of packed shards, read by position. Holds no open file, so workers of any kind can share it.

    Raises InputError where manifest or index cannot be read.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._entries = {
            ViewName(entry.object, entry.view): entry
            for entry in read_index(self.root / FOLDER / INDEX)
            if not entry.error
        }

    @staticmethod
    def are_at(root: str | Path) -> bool:
        """Whether a folder is a data set of shards."""
        return (Path(root) / FOLDER / INDEX).is_file()

    @staticmethod
    def refuse(root: str | Path) -> None:
        """InputError where a folder is a data set of shards, for commands that read or make a data set of files."""
        if TarShards.are_at(root):
            raise InputError(f"{root}: a data set that is packed already ({FOLDER}/{INDEX}); expected one of files")

    def views(self) -> tuple[list[ViewName], int]:
        """The accepted views, sorted, and the number of all. One that the index lacks is an InputError."""
        path = self.root / MANIFEST
        views, total = accepted_views(path)
        for view in views:
            if view not in self._entries:
                raise InputError(f"{path}: {view.object}/{view.view} is accepted, but not in {FOLDER}/{INDEX}")
        return views, total

    def picture(self, object_id: str, view: str) -> tuple[bytes, str]:
        """The source that `images.load_rgba` reads, and its name in errors."""
        entry = self._entries[object_id, view]
        return self._member(entry, ".png", entry.picture_at, entry.picture_size)

    def xray(self, object_id: str, view: str) -> tuple[bytes, str]:
        """The source that `storage.load_sparse` reads, and its name in errors."""
        entry = self._entries[object_id, view]
        return self._member(entry, ".npz", entry.xray_at, entry.xray_size)

    def camera(self, object_id: str, view: str, resolution: int) -> Camera:
        """The camera that was packed; the default lens at the origin where there was none."""
        entry = self._entries[object_id, view]
        if not entry.camera_size:
            return Camera(resolution, resolution)
        content, name = self._member(entry, ".json", entry.camera_at, entry.camera_size)
        return parse_views(content, name).camera(0, resolution)

    def _member(self, entry: PackedView, suffix: str, start: int, size: int) -> tuple[bytes, str]:
        member = f"{entry.object}/{entry.view}{suffix}"
        name = f"{self.root / FOLDER / entry.shard}:{member}"
        try:
            with open(self.root / FOLDER / entry.shard, "rb", buffering=0) as stream:
                stream.seek(max(start - HEADER_BYTES, 0))
                content = stream.read(HEADER_BYTES + size)
            header = tarfile.TarInfo.frombuf(content[:HEADER_BYTES], "utf-8", "surrogateescape")
        except (OSError, tarfile.HeaderError) as error:
            raise InputError(f"{name}: not readable from the shard ({type(error).__name__}: {error})") from None
        if (header.name, header.size, len(content)) != (member, size, HEADER_BYTES + size):
            raise InputError(
                f"{name}: the shard has {header.name} of {header.size} bytes there; index and shard differ"
            )
        return content[HEADER_BYTES:], name
