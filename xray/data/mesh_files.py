"""The mesh files of a folder, the object's id of each, and the files that are left out."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..common.axes import UP_OF_SUFFIX
from ..common.errors import InputError
from ..common.files import name_fault, printable
from .manifest import MANIFEST, RENDER_RECORD

ID_RULES = ("name", "path")
"""Choices of the `--id` flags: the file's name without suffix, or its path below the folder without suffix."""

FOLDER_STYLES = {"models": ".obj", "meshes": ".obj", "Scan": ".obj"}
"""Folders that a data set puts between the object's id and a file whose name says nothing: ShapeNet's
<uid>/models/*.obj, Google Scanned Objects' <uid>/meshes/model.obj, OmniObject3D's <uid>/Scan/Scan.obj."""

COMPANIONS = {
    *(".mtl", ".bin"),
    *(
        ".png",
        ".jpg",
        ".jpeg",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".tga",
        ".webp",
        ".avif",
        ".dds",
        ".ktx",
        ".ktx2",
        ".exr",
    ),
}
"""Files that meshes refer to: not listed among what is left out."""

UNREAD_MESHES = {".fbx", ".dae", ".blend", ".3ds", ".usd", ".usda", ".usdc", ".usdz", ".x3d", ".wrl", ".3mf", ".step"}
"""Types of mesh files that have no reader here."""

RECORDS = re.compile(
    "|".join(rf"{re.escape(name[:-4])}(\.\d+-of-\d+)?\.csv" for name in (MANIFEST, RENDER_RECORD)), re.IGNORECASE
)
"""Names of the records of a data set and of its parts, which stand beside the folders of the objects."""

SHOWN_IDS, SHOWN_FILES, SHOWN_TYPES = 50, 4, 6
"""How much of a long list a message shows."""


@dataclass
class MeshFolder:
    """The meshes of a folder and what is left out.

    Attributes:
      meshes: object id -> file, sorted by id.
      unfit: object id as it can be written down -> why its name cannot be used.
      others: number of files by suffix that are neither meshes nor what meshes refer to.
      repeated: linked folders that lead to a folder read already, or around the folder itself.
      broken: links that lead nowhere; unreadable: folders that could not be listed.
    """

    meshes: dict[str, Path] = field(default_factory=dict)
    unfit: dict[str, str] = field(default_factory=dict)
    others: Counter = field(default_factory=Counter)
    repeated: int = 0
    broken: int = 0
    unreadable: list[str] = field(default_factory=list)

    def left_out(self) -> str:
        """One line for the end of a run; empty where nothing was left out."""
        parts = []
        if self.others:
            types = [f"{suffix or 'without type'} {number}" for suffix, number in self.others.most_common(SHOWN_TYPES)]
            types += ["..."] * (len(self.others) > SHOWN_TYPES)
            parts.append(f"{_count(self.others.total(), 'file')} of other types ({', '.join(types)})")
        if self.repeated:
            parts.append(f"{_count(self.repeated, 'linked folder')} that had been read already")
        if self.broken:
            parts.append(f"{_count(self.broken, 'link')} that lead nowhere")
        if self.unreadable:
            shown = [printable(path) for path in self.unreadable[:SHOWN_FILES]] + ["..."] * (
                len(self.unreadable) > SHOWN_FILES
            )
            parts.append(f"{_count(len(self.unreadable), 'folder')} that cannot be listed ({', '.join(shown)})")
        return f"left out: {', '.join(parts)}" if parts else ""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


def find_meshes(mesh_root: str | Path, id_rule: str = "name") -> dict[str, Path]:
    """Object id -> mesh file, sorted by id; those of `list_meshes` whose names can be used."""
    return list_meshes(mesh_root, id_rule).meshes


def list_meshes(mesh_root: str | Path, id_rule: str = "name") -> MeshFolder:
    """The meshes anywhere below a folder; linked folders are followed, each folder is read once, hidden ones are not.

    With the rule "name" the id is the file's name without suffix, or that of the object's folder in one of the
    `FOLDER_STYLES`, where no other mesh is near it. With the rule "path" it is the path below the folder, without
    suffix.

    Raises:
      InputError: no such folder, no mesh in it, several files for one id (all such ids are named).
    """
    mesh_root = Path(mesh_root)
    if id_rule not in ID_RULES:
        raise InputError(f"id rule {id_rule!r}: expected one of {', '.join(ID_RULES)}")
    if not mesh_root.is_dir():
        raise InputError(f"{mesh_root}: no such folder of meshes")
    found = MeshFolder()
    files: dict[str, list[str]] = {}
    listing = list(_folders(str(mesh_root), found))
    with_meshes = {folder for folder, names, _ in listing if names}
    for folder, names, unread in listing:
        below = "" if folder == str(mesh_root) else os.path.relpath(folder, mesh_root)
        styled = id_rule == "name" and _is_styled(folder, below, names, unread, with_meshes)
        for name in names:
            if id_rule == "path":
                uid = os.path.join(below, os.path.splitext(name)[0])
            else:
                uid = os.path.basename(os.path.dirname(folder)) if styled else os.path.splitext(name)[0]
            files.setdefault(uid, []).append(f"{folder}/{name}")
    for uid in sorted(files):
        fault = name_fault(uid)
        if RECORDS.fullmatch(uid.split("/")[0]):
            fault = "its id is the name of a data set's record; rename it"
        if fault:
            found.unfit[printable(uid)] = f"{printable(files[uid][0])}: {fault}"
        else:
            found.meshes[uid] = Path(files[uid][0])
    if not files:
        raise InputError(
            f"{mesh_root}: no mesh in this folder; expected files of type {', '.join(UP_OF_SUFFIX)}"
            + (f" ({found.left_out()})" if found.left_out() else "")
        )
    _check_clashes(mesh_root, {uid: paths for uid, paths in files.items() if len(paths) > 1}, id_rule)
    return found


def _check_clashes(mesh_root: Path, clashes: dict[str, list[str]], id_rule: str) -> None:
    """InputError that names all ids of several files at once."""
    if not clashes:
        return
    words = []
    for uid in sorted(clashes)[:SHOWN_IDS]:
        paths = [printable(os.path.relpath(path, mesh_root)) for path in clashes[uid]]
        more = f" and {len(paths) - SHOWN_FILES} more" if len(paths) > SHOWN_FILES else ""
        words.append(f"{printable(uid)!r} of {', '.join(paths[:SHOWN_FILES])}{more}")
    more = f"; and {len(clashes) - SHOWN_IDS} more" if len(clashes) > SHOWN_IDS else ""
    advice = "--id path takes the path below the folder as the id" if id_rule == "name" else "rename them"
    objects = f"{_count(len(clashes), 'object id')} of several files"
    raise InputError(f"{mesh_root}: {objects}, but ids must differ; {advice}: {'; '.join(words)}{more}")


def _folders(root: str, found: MeshFolder) -> Iterator[tuple[str, list[str], int]]:
    """(folder, sorted names of mesh files in it, number of mesh files that no reader knows) for every folder below.

    One or two system calls a folder: the type of a file comes with its name, which makes a million files seconds'
    work. Linked folders come after all others, so that a folder's own path counts where there are two.
    """
    real = os.path.realpath(root)
    above = {_identity(parent) for parent in _parents(real)}
    seen: set[tuple[int, int]] = set()
    folders, links = [root], []
    while folders or links:
        linked = not folders
        folder = links.pop(0) if linked else folders.pop(0)
        try:
            identity = _identity(folder)
            if identity in seen or identity in above:
                found.repeated += 1
                continue
            seen.add(identity)
            listed = _listed(folder, found)
        except OSError as error:
            if folder == root:
                raise InputError(f"{root}: cannot be listed ({error.strerror})") from None
            found.unreadable.append(folder)
            continue
        names, unread, below, linked_below = listed
        if names:
            yield folder, names, unread
        folders = [f"{folder}/{name}" for name in below] + folders
        links += [f"{folder}/{name}" for name in linked_below]


def _listed(folder: str, found: MeshFolder) -> tuple[list[str], int, list[str], list[str]]:
    """(mesh files, number of unread mesh files, folders, linked folders) in a folder, by sorted names."""
    names, below, linked, unread = [], [], [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                continue
            if entry.is_symlink() and not os.path.exists(entry.path):
                found.broken += 1
            elif entry.is_dir():
                (linked if entry.is_symlink() else below).append(entry.name)
            elif suffix in UP_OF_SUFFIX and entry.is_file():
                names.append(entry.name)
            elif suffix not in COMPANIONS:
                found.others[printable(suffix)] += 1
                unread += suffix in UNREAD_MESHES
    return sorted(names), unread, sorted(below), sorted(linked)


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def _parents(path: str) -> Iterator[str]:
    while (parent := os.path.dirname(path)) != path:
        yield parent
        path = parent


def _is_styled(folder: str, below: str, names: list[str], unread: int, with_meshes: set[str]) -> bool:
    """Whether the one mesh of a folder stands for its object as in `FOLDER_STYLES`: nothing else is in the folder,
    nor beside it."""
    style = FOLDER_STYLES.get(os.path.basename(folder))
    parent = os.path.dirname(folder)
    nested = below.count("/") >= 1
    return (
        bool(style and nested and len(names) == 1 and not unread and names[0].lower().endswith(style))
        and parent not in with_meshes
    )
