"""The mesh of one object, read once for its pictures and its X-Rays, and identified by the content of its files.

`source.json`, beside what was made of a mesh, lists the files that were read (the mesh, its materials, textures and
buffers) with size, time and SHA-256. A later run looks at size and time, and at the content where they differ.
"""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..common.errors import InputError
from ..common.files import read_json, write_json

if TYPE_CHECKING:
    from ..mesh.mesh import Mesh
    from ..raycast.caster import RayCaster

RECORD = "source.json"
ABSENT = "absent"
CHUNK = 1 << 20

_CODE = tuple(os.path.join(os.path.realpath(sysconfig.get_path(name)), "") for name in ("stdlib", "purelib", "platlib"))
"""Folders of Python packages: what is opened there is code and its resources, unless the mesh lies there."""


@dataclass(frozen=True)
class SourceFile:
    """A file that a mesh was read from.

    Attributes:
      path: as seen from the mesh's folder; size: bytes; time_ns: of the last change; sha256: hex digits, or `ABSENT`.
    """

    path: str
    size: int
    time_ns: int
    sha256: str

    @classmethod
    def of(cls, path: Path, folder: Path) -> SourceFile:
        """The file as it is now."""
        relative = os.path.relpath(path, folder)
        try:
            status, digest = os.stat(path), hashlib.sha256()
            with open(path, "rb") as stream:
                while content := stream.read(CHUNK):
                    digest.update(content)
        except OSError:
            return cls(relative, 0, 0, ABSENT)
        return cls(relative, status.st_size, status.st_mtime_ns, digest.hexdigest())

    def now(self, folder: Path) -> SourceFile:
        """The same file today; the content is read only where size or time differ."""
        path = folder / self.path
        try:
            status = os.stat(path)
        except OSError:
            return SourceFile(self.path, 0, 0, ABSENT)
        if (status.st_size, status.st_mtime_ns) == (self.size, self.time_ns) and self.sha256 != ABSENT:
            return self
        return SourceFile.of(path, folder)


class MeshSource:
    """A mesh file, read when it is first asked for. One object's pictures and X-Rays share one.

    Args:
      path: of the file; up: see `load_mesh`.
    """

    def __init__(self, path: Path, up: str) -> None:
        self.path, self.up = Path(path), up
        self._mesh: Mesh | None = None
        self._error: Exception | None = None
        self._files: tuple[SourceFile, ...] = ()
        self._casters: dict[str, RayCaster] = {}

    def mesh(self) -> Mesh:
        """The mesh. An error of its reader is raised each time."""
        from ..mesh.load import load_mesh

        if self._error is not None:
            raise self._error
        if self._mesh is None:
            with opened_files() as opened:
                try:
                    self._mesh = load_mesh(self.path, self.up)
                except Exception as error:
                    self._error = error
                    raise
            folder = self.path.parent
            paths = {os.path.realpath(path) for path in opened} - {os.path.realpath(self.path)}
            others = sorted((SourceFile.of(Path(path), folder) for path in paths), key=lambda file: file.path)
            self._files = (SourceFile.of(self.path, folder), *others)
        return self._mesh

    def caster(self, device: str = "cpu") -> RayCaster:
        """The caster of the mesh on a device, made once."""
        from ..raycast.caster import RayCaster

        if device not in self._casters:
            mesh = self.mesh()
            self._casters[device] = RayCaster(mesh.vertices, mesh.faces, device)
        return self._casters[device]

    def hash(self, folder: Path) -> str:
        """Twelve hex digits of all that the mesh was read from, by the record in a folder where there is one.

        Names count only for what the mesh refers to; of its own name the type does, which tells the axis. Raises what
        reading the mesh raises, where that is needed.
        """
        first, *others = self._today(folder)
        lines = [f"{self.path.suffix.lower()} {first.sha256}", *(f"{file.path} {file.sha256}" for file in others)]
        return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()[:12]

    def changed_ns(self, folder: Path) -> int:
        """When the youngest of the files that the mesh was read from was changed; now where one is gone."""
        files = self._today(folder)
        return time.time_ns() if any(file.sha256 == ABSENT for file in files) else max(file.time_ns for file in files)

    def _today(self, folder: Path) -> tuple[SourceFile, ...]:
        """The files that the mesh is read from, as they are: of the record in a folder, else by reading it."""
        if self._mesh is None:
            recorded = self._recorded(folder)
            if recorded:
                return tuple(file.now(self.path.parent) for file in recorded)
        self.mesh()
        return self._files

    def write_record(self, folder: Path) -> None:
        """Write the files that the mesh was read from into a folder's record, where they are known and new."""
        if self._mesh is not None and self._recorded(folder) != self._files:
            write_json(folder / RECORD, {"mesh": self.path.name, "files": [asdict(file) for file in self._files]})

    def _recorded(self, folder: Path) -> tuple[SourceFile, ...]:
        """The files of the record; none where there is no record, or one that cannot be used.

        The mesh comes first, and may have moved.
        """
        try:
            files = [SourceFile(**file) for file in read_json(folder / RECORD)["files"]]
        except (InputError, KeyError, TypeError):
            return ()
        if not files or not all(isinstance(file.path, str) for file in files):
            return ()
        return (SourceFile(self.path.name, files[0].size, files[0].time_ns, files[0].sha256), *files[1:])


_recorder = threading.local()
_hooked = False


def _note(event: str, arguments: tuple) -> None:
    opened = getattr(_recorder, "opened", None)
    if event == "open" and opened is not None and isinstance(arguments[0], str | bytes):
        opened.append(os.path.abspath(os.fsdecode(arguments[0])))


@contextmanager
def opened_files() -> Iterator[set[str]]:
    """Fills a set, when the block ends, with the regular files that this thread opened in it, but for Python's own.

    What a reader opens is what its result depends on, so that no second list of a format's references is needed.
    Python offers no way to take such a hook away; outside of the block it does nothing.
    """
    global _hooked
    if not _hooked:
        sys.addaudithook(_note)
        _hooked = True
    _recorder.opened, found = [], set()
    try:
        yield found
    finally:
        opened, _recorder.opened = _recorder.opened, None
        found |= {path for path in opened if os.path.isfile(path) and not _is_code(path)}


def _is_code(path: str) -> bool:
    if path.startswith(("/proc/", "/sys/", "/dev/")) or path.endswith((".py", ".pyc", ".so", ".pth")):
        return True
    return os.path.realpath(path).startswith(_CODE) and not path.lower().endswith(_MESH_PARTS)


_MESH_PARTS = (
    *(".glb", ".gltf", ".obj", ".ply", ".stl", ".off", ".mtl", ".bin"),
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".tga", ".webp", ".avif", ".dds"),
)
"""Types of files that meshes in packages consist of."""
