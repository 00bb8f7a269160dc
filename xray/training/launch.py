"""Several processes as one run: their lock, and python -m xray.training.launch [flags of accelerate launch] SCRIPT ...

The launcher is accelerate's with a quiet end. Below the one line in which a run says why it cannot go on, `accelerate
launch` prints a traceback of its own, and torchrun's elastic agent a page about every process. Here the run's line is
the last one, and its status is this one's.
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from ..common.cli import BAD_INPUT, OK, STOPPED, entry
from ..common.errors import InputError
from ..common.folder_lock import folder_lock

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""By which clusters announce the end of a job to all its processes: a training saves and stops."""

AGENT = "torch.distributed.elastic"
"""The package whose loggers report what the processes have said already."""


@entry
def main(arguments: Sequence[str] | None = None) -> int:
    """Launch, wait, and end with the status of the process that failed first."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed import run  # noqa: F401  its loggers must be there to be silenced
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    for name in [name for name in logging.root.manager.loggerDict if name.startswith(AGENT)]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    options = launch_command_parser().parse_args(arguments)
    options.quiet = False  # which hides the process's status, not only accelerate's words
    options.signals_to_handle = "SIGINT,SIGHUP,SIGQUIT"  # of torchrun's agent; see `pass_on`
    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        launch_command(options)
    except subprocess.CalledProcessError as error:
        return _status("the process", error.returncode)
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return _status(f"process {rank}", failure.exitcode)
    except SignalException as error:
        return _status("the launcher", -error.sigval)
    finally:
        signal.signal(signal.SIGTERM, before)
    return OK


def pass_on(number: int, _: FrameType | None) -> None:
    """Give a signal to the processes of the launch, which save and end; the launch ends as they do.

    torchrun's agent would kill them 30 s later, in the middle of a large save, and call the launch failed.
    """
    for process in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def _status(who: str, code: int) -> int:
    """A process that ended by itself has said why; of one that was ended, say by what."""
    if code >= 0:
        return code
    number = signal.Signals(-code)
    hint = "; the system may have run out of memory" if number == signal.SIGKILL else ""
    sys.stderr.write(f"error: {who} was ended by {number.name}{hint}\n")
    return STOPPED


@contextmanager
def launch_lock(folder: str | Path, what: str, part: str = "") -> Iterator[None]:
    """`folder_lock` for all processes of a launch: the main one holds it, every process enters this.

    Raises:
      InputError: in the main process, see `folder_lock`. SystemExit: in the others, which have nothing to add to that.
    """
    state = PartialState()
    with ExitStack() as stack:
        refusal = [""]
        if state.is_main_process:
            try:
                stack.enter_context(folder_lock(folder, what, part))
            except InputError as error:
                refusal = [str(error)]
        if state.num_processes > 1:
            broadcast_object_list(refusal)
        if refusal[0]:
            raise InputError(refusal[0]) if state.is_main_process else SystemExit(BAD_INPUT)
        yield


if __name__ == "__main__":
    sys.exit(main())
