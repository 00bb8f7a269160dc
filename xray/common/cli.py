"""What all commands share: their exit statuses, and one line on stderr for what went wrong."""

from __future__ import annotations

import functools
import gc
import io
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from .errors import InputError, RunError, Stopped
from .files import NO_ROOM, UNUSABLE, printable

OK, STOPPED, BAD_INPUT, FAILURES = 0, 1, 2, 3
"""Exit statuses: all done; a run that cannot go on; input that cannot be used; done, with failures recorded."""


STAGES = ("diffusion", "upsampler")
"""What can be trained and evaluated, in this order."""


def choose_stage(command: str, arguments: Sequence[str]) -> tuple[str, list[str]]:
    """The stage, which is the first word of `xray COMMAND STAGE ...`, and the rest; --help in its place explains it.

    Raises:
      InputError: no stage, or another word.
    """
    first, rest = next(iter(arguments), "nothing"), list(arguments[1:])
    if first in ("-h", "--help"):
        sys.stdout.write(f"usage: xray {command} {{{','.join(STAGES)}}} [flags]; each stage lists its own:\n\n")
        sys.stdout.write("".join(f"  xray {command} {stage} --help\n" for stage in STAGES))
        raise SystemExit(OK)
    if first not in STAGES:
        raise InputError(f"{first}: expected `{command} {'|'.join(STAGES)}` and its flags")
    sys.argv = [f"xray {command} {first}", *rest]  # what it calls itself in its help
    return first, rest


def entry(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap an entry's `main`: InputError becomes one line on stderr and status 2, without a traceback; a run that
    cannot go on, as on a full disk, status 1."""

    @functools.wraps(main)
    def run(*args, **kwargs) -> int:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        if isinstance(sys.stdout, io.TextIOWrapper):  # file names may hold bytes that are no text; as stderr does
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            return main(*args, **kwargs) or OK
        except InputError as error:
            _say(f"error: {error}\n")
            return BAD_INPUT
        except RunError as error:
            _say(f"error: {error}\n")
            return STOPPED
        except OSError as error:
            if error.errno not in (*NO_ROOM, *UNUSABLE):
                raise
            _say(f"error: {printable(str(error.filename or 'writing'))}: {error.strerror}\n")
            return STOPPED if error.errno in NO_ROOM else BAD_INPUT
        except Stopped as stopped:
            number = signal.Signals(stopped.args[0])
            _say(f"stopped by {number.name}\n")
            return 128 + number
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            return 130

    return run


@contextmanager
def loading() -> Iterator[None]:
    """While the block imports torch and diffusers, no garbage is collected: it would take a tenth of the time more."""
    collected = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collected:
            gc.enable()


SAME_ERROR_S = 15.0
"""How long a launch's other processes leave the word to the first one. Most errors are every process's; the launcher
ends the others as soon as one has ended."""


def _say(line: str) -> None:
    if os.environ.get("RANK", "0") != "0":
        time.sleep(SAME_ERROR_S)
    sys.stderr.write(line)
