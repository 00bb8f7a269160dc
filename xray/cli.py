"""What every entry shares: one line for bad input and the status it ends with."""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Callable

from .errors import InputError, RunError

OK, STOPPED, BAD_INPUT, FAILURES = 0, 1, 2, 3
"""Exit statuses: all done; a run that cannot go on; input that cannot be used; done, with failures recorded."""


def entry(main: Callable[..., int | None]) -> Callable[..., int]:
    """Wrap an entry's `main`: InputError becomes one line on stderr and status 2, without a traceback."""

    @functools.wraps(main)
    def run(*args, **kwargs) -> int:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        try:
            return main(*args, **kwargs) or OK
        except InputError as error:
            sys.stderr.write(f"error: {error}\n")
            return BAD_INPUT
        except RunError as error:
            sys.stderr.write(f"error: {error}\n")
            return STOPPED
        except KeyboardInterrupt:
            sys.stderr.write("interrupted\n")
            return 130

    return run
