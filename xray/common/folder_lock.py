"""One run a folder: a second process that wants to write into a folder in use is refused.

The lock is the operating system's (a POSIX record lock, which network file systems know too): it ends with the process,
however that ends, so there is nothing to clean up after a kill. A file beside it only says who holds it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .errors import InputError

log = logging.getLogger(__name__)

LOCK = ".lock"
"""Name of the file, in the folder; of a part ".lock-<part>". Both are removed at the end."""

UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a file system without locks answers."""

_held: dict[str, dict] = {}
"""Files that this process holds, and what it wrote there. A POSIX lock is the process's: it would be given to it twice,
and closing the file, even after reading it, would end the lock."""


@contextmanager
def folder_lock(folder: str | Path, what: str, part: str = "", reads: bool = False) -> Iterator[None]:
    """Hold a folder while the block runs; it is made where it is missing.

    Args:
      what: the work, for the message to another run, as "a training".
      part: of the parts of one run, such as the shards of an array job: parts of different names work side by side,
        while a run without part keeps every other one out, and so do "<i>-of-<n>" those of another n.
      reads: this run only reads the part, as others may at the same time; a run that writes it is kept out. No lock is
        needed on a disk that cannot be written to.
    Raises:
      InputError: another process holds it (its host, process and start are named), or the folder cannot be written.
    """
    folder = Path(folder)
    if reads and not os.access(folder, os.W_OK):
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise InputError(f"{folder}: a file; expected a folder to write into") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from None
    with ExitStack() as stack:
        stack.enter_context(_lock(folder, LOCK, what, shared=bool(part)))
        if part:
            stack.enter_context(_lock(folder, f"{LOCK}-{part}", what, shared=reads))
            _check_division(folder, part)  # after the own lock: of two that start at once, one sees the other
        yield


@contextmanager
def _lock(folder: Path, name: str, what: str, shared: bool) -> Iterator[None]:
    path = folder / name
    key = os.path.realpath(path)
    if key in _held:
        if not (shared and _held[key]["shared"]):
            raise InputError(_refusal(folder, path))
        yield  # two parts in one process: the first holds the file until after the second
        return
    descriptor = _acquire(folder, path, shared)
    _held[key] = {
        "what": what,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%F %T"),
        "shared": shared,
    }
    try:
        if not shared:
            _sign(folder, descriptor, _held[key])
        yield
    finally:
        del _held[key]
        _release(path, descriptor, shared)


def _acquire(folder: Path, path: Path, shared: bool) -> int:
    """A locked descriptor of the file at `path`, which the run before may have just removed."""
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise InputError(f"{folder}: cannot be written into ({error.strerror})") from None
        try:
            fcntl.lockf(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in UNSUPPORTED:
                log.warning("%s: no locks on this file system; nothing keeps a second run out", folder)
                return descriptor
            os.close(descriptor)
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise InputError(_refusal(folder, path)) from None
            raise InputError(f"{folder}: cannot be locked ({error.strerror})") from None
        try:
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        except FileNotFoundError:
            pass
        os.close(descriptor)


def _sign(folder: Path, descriptor: int, owner: dict) -> None:
    """Write who holds the lock; this also finds out whether there is room on the disk."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written into ({error.strerror})") from None


def _release(path: Path, descriptor: int, shared: bool) -> None:
    try:
        if shared:  # the last of several parts removes the file
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            path.unlink()
    except OSError as error:  # another part holds it, or the folder is gone: nothing of ours is left behind
        log.debug("%s: left (%s)", path, error)
    finally:
        os.close(descriptor)


def _check_division(folder: Path, part: str) -> None:
    """InputError where a part of another number of parts is at work: "1-of-3" beside "0-of-4"."""
    _, number, count = part.rpartition("-of-")
    for path in sorted(folder.glob(f"{LOCK}-*-of-*")) if number else ():
        if path.name.endswith(f"{number}{count}") or not _is_held(path):
            continue
        raise InputError(f"{_refusal(folder, path)} (its parts are {path.name.removeprefix(f'{LOCK}-')}, not {part})")


def _is_held(path: Path) -> bool:
    """Whether a run holds a lock; its file alone may be of one that was killed."""
    if os.path.realpath(path) in _held:
        return True
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False  # its run has just ended
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    finally:
        os.close(descriptor)
    return False


def _refusal(folder: Path, path: Path) -> str:
    """Who is at work in the folder. A run may have taken the lock without having signed it yet."""
    files = [path, *sorted(folder.glob(f"{LOCK}-*"))] if path.name == LOCK else [path]
    for file in files:
        try:
            owner = _held.get(os.path.realpath(file)) or json.loads(file.read_text(encoding="utf-8"))
            who = f"{owner['what']}, process {owner['pid']} on {owner['host']} since {owner['since']}"
        except (OSError, ValueError, KeyError, TypeError):
            continue
        return f"{folder}: {who} is at work in it; wait for its end, or take another folder"
    return f"{folder}: another process is at work in it; wait for its end, or take another folder"
