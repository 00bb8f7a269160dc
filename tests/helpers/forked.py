"""Processes that need not import everything anew: copies of this one that can be waited for, signalled and killed."""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

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

    def wait(self, timeout_s: float | None = None) -> int:
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout_s)
        return self._process.exitcode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


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
    sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
    logging.root.handlers.clear()
    torch.set_num_threads(1)  # the threads of the process that was copied do not exist here
    sys.exit(work())
