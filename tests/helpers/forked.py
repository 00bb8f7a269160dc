"""Processes that need not import everything anew: copies of this one that can be waited for, signalled and killed."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from tqdm import tqdm

ROOT = Path(__file__).parents[2]
FORK = multiprocessing.get_context("fork")


class Forked:
    """Runs `work` in a session of its own with stdout and stderr appended to `log`; speaks as `subprocess.Popen` does.

    Args:
      work: returns the exit status.
    """

    def __init__(self, work: Callable[[], int], log: Path) -> None:
        log.touch()
        self._process = FORK.Process(target=_main, args=(work, log))
        self._process.start()
        atexit.register(self._end)  # of a test that failed; multiprocessing would wait for it

    def _end(self) -> None:
        if self.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """Its exit status once it has ended, minus the signal's number where one ended it."""
        return self._process.exitcode

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def wait(self, timeout_s: float | None = None) -> int:
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout_s)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def python(
    words: Sequence[str], folder: Path, log: Path, before: Callable[[], None] = lambda: None
) -> subprocess.Popen | Forked:
    """`python SCRIPT ...` or `python -m MODULE ...` in `folder`, its output added to `log`, by a copy of this process.

    What belongs to the repository is imported there once more, from `folder` where it is a copy of the repository; what
    is installed, as torch and diffusers, is there already, which saves seconds. Where processes cannot be copied, the
    command is started. `before` is called in the new process first.
    """
    if not can_fork():
        with log.open("a") as stream:
            command = [sys.executable, *words]
            return subprocess.Popen(
                command, cwd=folder, stdout=stream, stderr=stream, preexec_fn=before, start_new_session=True
            )

    def work() -> int:
        before()
        return _run(words, folder)

    return Forked(work, log)


def torchrun(words: Sequence[str], folder: Path, log: Path, processes: int) -> subprocess.Popen | Forked:
    """`python SCRIPT ...` in several processes of one launch, as `python` starts it in one."""
    if not can_fork():
        launcher = ("-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}")
        return python([*launcher, *words], folder, log)
    return Forked(lambda: distributed(lambda: _run(words, folder), processes), log)


def distributed(work: Callable[[], int], processes: int) -> int:
    """Do `work` as each process of a launch on this machine; the first status that is not 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1]), "WORLD_SIZE": str(processes)}

    def rank(number: int) -> int:
        os.environ.update(meeting, RANK=str(number), LOCAL_RANK=str(number), LOCAL_WORLD_SIZE=str(processes))
        PartialState._reset_state()
        return work()

    return side_by_side([partial(rank, number) for number in range(processes)])


def _run(words: Sequence[str], folder: Path) -> int:
    """What `python` does with these words, in this process."""
    os.chdir(folder)
    _forget_the_repository()
    AcceleratorState._reset_state(True)
    GradientState._reset_state()
    if words[0] == "-m":
        sys.argv[:] = words[1:]
        sys.path.insert(0, str(folder))
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = words
        sys.path.insert(0, str(Path(words[0]).resolve().parent))
        runpy.run_path(words[0], run_name="__main__")
    return 0


def _forget_the_repository() -> None:
    """Its modules and tests are as though never imported."""
    for name, module in list(sys.modules.items()):
        path = Path(getattr(module, "__file__", None) or "/")
        if path.is_relative_to(ROOT) and not path.is_relative_to(ROOT / ".venv") and name != __name__:
            del sys.modules[name]
    sys.path[:] = [place for place in sys.path if not Path(place or ".").resolve().is_relative_to(ROOT / "tests")]


def can_fork() -> bool:
    """Not once a GPU is in use, which a copy could not share."""
    return not torch.cuda.is_available()


def side_by_side(works: list[Callable[[], int]]) -> int:
    """Run `works` as children of this process; the first status that is not 0, after which the others are ended."""
    children = [FORK.Process(target=_end, args=(work,)) for work in works]
    for child in children:
        child.start()
    while None in (statuses := [child.exitcode for child in children]):
        if any(statuses):
            time.sleep(2)  # the others may end by themselves, and say why
            for child in children:
                child.kill()
        time.sleep(0.01)
    return next(filter(None, statuses), 0)


def _end(work: Callable[[], int]) -> None:
    sys.exit(work())


def _main(work: Callable[[], int], log: Path) -> None:
    os.setsid()
    with log.open("a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    # pytest's own are gone with this process
    # closefd: a copy of a copy lets go of these, which must not close its own.
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    logging.root.handlers.clear()
    tqdm.set_lock(threading.RLock())  # its own is one for all copies: who was killed with it would stop them all
    torch.set_num_threads(1)  # the threads of the process that was copied do not exist here
    sys.exit(work())
