"""Files of the project: where the repository is, writing whole files or none, JSON."""

from __future__ import annotations

import codecs
import errno
import hashlib
import json
import os
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .errors import InputError, RunError

LONGEST_NAME = 255
"""Bytes of a file's name on the usual file systems."""

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""Errors of writing that the next file would meet too: a full disk, a used-up quota, a read-only file system."""


UNUSABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM)
"""Errors of a path that was given: too long, links in a circle, no permission."""


def real_path(path: Path) -> Path:
    """The path without links in it. Unlike `Path.resolve` it raises nothing where links go in a circle."""
    return Path(os.path.realpath(path))


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place only when the block ends well.

    A reader, or a run that starts again after it was killed, sees the old file or the whole new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def partial_path(path: Path) -> Path:
    """The file that this process writes in the place of `path`; its name is no longer than file systems take."""
    stem, end = path.stem, f".partial-{os.getpid()}{path.suffix}"
    if len(os.fsencode(f".{stem}{end}")) > LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:16]
        stem = f"{stem[:40]}-{digest}"  # 40 letters are at most 160 bytes
    return path.with_name(f".{stem}{end}")


def files_below(folder: Path, unreadable: list[str]) -> Iterator[Path]:
    """All files below a folder in the order of their names; hidden ones left out, every folder once whatever links.

    Args:
      unreadable: gets every folder that could not be listed, with the reason.
    """
    seen: set[str] = set()

    def note(error: OSError) -> None:
        unreadable.append(f"{printable(str(error.filename))} ({error.strerror})")

    for place, folders, files in os.walk(folder, onerror=note, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(place) / name for name in sorted(files) if not name.startswith("."))


def some_of(paths: Sequence[Path], folder: Path, shown: int) -> str:
    """The first few of some paths below a folder, and how many more there are."""
    named = ", ".join(str(path.relative_to(folder)) for path in paths[:shown])
    return named if len(paths) <= shown else f"{named} and {len(paths) - shown} more"


def printable(name: str) -> str:
    """A file name or message as text that can be encoded: bytes that are not UTF-8 as \\xe9, line breaks as \\n."""
    text = name.encode("utf-8", "surrogateescape" if _is_escaped(name) else "backslashreplace")
    text = text.decode("utf-8", "backslashreplace")
    return "".join(repr(letter)[1:-1] if unicodedata.category(letter) == "Cc" else letter for letter in text)


def _is_escaped(name: str) -> bool:
    """Whether the surrogates of a text all stand for bytes, as those of file names do."""
    return all(0xDC80 <= ord(letter) <= 0xDCFF for letter in name if 0xD800 <= ord(letter) <= 0xDFFF)


def name_fault(name: str) -> str:
    """Why a name cannot be an object's id; empty where it can. Ids are written down as they are, in UTF-8."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        return "its name holds a line break or another control character; rename it"
    return ""


def check_writable(path: Path) -> None:
    """Write and remove the file that stands in for `path` while it is written.

    Raises InputError where that cannot be: a folder that cannot be made, too long a name, a full disk, no permission,
    a folder in the file's place.
    """
    if os.path.isdir(path):  # Path.is_dir raises where the name is too long
        raise InputError(f"{path}: a folder is in the place of a result; expected a file or nothing there")
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _look_at(path)
        with partial.open("wb") as file:
            file.write(bytes(65536))  # of a full disk, the first bytes may still fit
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(f"{path.parent}: results cannot be written there ({error.strerror or error})") from None
    finally:
        _remove(partial)


def make_folder(folder: Path, content: str) -> None:
    """InputError where a folder of such content, as "pictures", cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder of {content} ({error.strerror})") from None


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Turn the system's error of a write into a RunError that names the file."""
    try:
        yield
    except OSError as error:
        where = error.filename or folder
        raise RunError(f"{where}: {error.strerror}; stopped, the same command goes on from here") from error


def _look_at(path: Path) -> None:
    """Raises OSError where no file can have this name, as one that is too long."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # it could not be made either: below a file, too long a name


def write_json(path: Path, content: dict) -> None:
    """Write JSON whole or not at all. Numbers that JSON lacks (NaN, infinity) are an error here."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""Byte order marks that editors and spreadsheets put before a text, and what follows them."""


def read_text(path: str | Path) -> str:
    """A text that people edit: UTF-8, or what its byte order mark says; line ends become \\n.

    Raises:
      InputError: no such file, not readable, another encoding (the line is named).
    """
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    return text_of(content, path)


def text_of(content: bytes, path: str | Path) -> str:
    """The content of a file as `read_text` gives it; errors call it `path`."""
    mark, encoding = next((known for known in MARKS if content.startswith(known[0])), (b"", "utf-8"))
    try:
        text = content[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: len(mark) + error.start].count(b"\n") + 1
        raise InputError(f"{path}: line {line}: not {encoding.upper()}; save the file as UTF-8") from None
    if "\0" in text:
        raise InputError(f"{path}: UTF-16 without a byte order mark, or no text; save the file as UTF-8")
    return text.replace("\r\n", "\n").replace("\r", "\n")


@contextmanager
def reading(name: str | Path, kind: str, unreadable: tuple[type[Exception], ...]) -> Iterator[None]:
    """While a block reads a file: InputError, which names it, where it is missing or `unreadable` says it is no `kind`.

    An InputError of the block's own passes.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{name}: no such file") from None
    except InputError:
        raise
    except unreadable as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{name}: not readable as {kind} ({type(error).__name__}: {reason})") from None


def json_of(text: str, path: str | Path) -> object:
    """The content of JSON; InputError, which names the file, where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits are no JSONDecodeError
        raise InputError(f"{path}: not readable as JSON ({str(error).splitlines()[0]})") from None


def read_json(path: Path) -> dict:
    """A JSON object, or InputError naming the file."""
    content = json_of(read_text(path), path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: expected a JSON object")
    return content


ROOT = Path(__file__).resolve().parents[2]
"""The repository, or the folder that the package is installed in."""


BEGINNINGS = (
    (b"version https://git-lfs", "a pointer of Git LFS and not the file itself (`git lfs pull` fetches it)"),
    (b"PK\x03\x04", "a .zip archive"),
    (b"\x1f\x8b", "compressed by gzip"),
    (b"Rar!", "a .rar archive"),
    (b"7z\xbc\xaf", "a .7z archive"),
    (b"<!doctype html", "a page of HTML, perhaps the answer of a failed download"),
    (b"<html", "a page of HTML, perhaps the answer of a failed download"),
    (b"<svg", "a drawing of SVG"),
    (b"\xabKTX 20", "a compressed picture, .ktx2"),
    (b"v/1\x01", "a picture of OpenEXR"),
    (b"#?RADIANCE", "a picture of Radiance, .hdr"),
)
"""What files begin with, in upper or lower case, that collections hold in the place of meshes and pictures."""


def content_kind(source: Path | bytes) -> str | None:
    """What a file, or its content, is by its first bytes, where that is none of the formats that are read; "empty" for
    no bytes."""
    if isinstance(source, bytes):
        head = source[:64]
    else:
        try:
            with source.open("rb") as stream:
                head = stream.read(64)
        except OSError:
            return None
    if not head:
        return "empty"
    return next((kind for begin, kind in BEGINNINGS if head.lstrip().lower().startswith(begin.lower())), None)
