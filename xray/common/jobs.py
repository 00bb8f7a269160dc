"""One function over many items, in processes of their own: a worker that hangs or dies costs one item.

Every item ends with its result, or with a `Failure` that says why it has none.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection, wait

from tqdm import tqdm

from .errors import Failure, InputError, RunError, Stopped, attempt, describe
from .ray_jobs import STARTUP_S, THREAD_VARIABLES, run_on_ray

STOPPING = (signal.SIGTERM, signal.SIGHUP)
"""By which clusters and service managers end a process, and a terminal whose connection is lost."""


@contextmanager
def stop_on_signal() -> Iterator[None]:
    """While the block runs, a signal of `STOPPING` raises `Stopped` in it, as Ctrl-C raises KeyboardInterrupt, so that
    the block can write down what was done. A second one is ignored until that is written; so is one that was ignored
    before, as SIGHUP is under nohup."""
    if threading.current_thread() is not threading.main_thread():  # no other thread may set signal handlers
        yield
        return
    before = {number: signal.getsignal(number) for number in STOPPING}
    numbers = [number for number, handler in before.items() if handler is not signal.SIG_IGN]

    def stop(signum, frame) -> None:
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        raise Stopped(signum)

    for number in numbers:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL if before[number] is None else before[number])


EXECUTORS = ("process", "ray")
"""Where the items are worked on: processes of this machine, or a Ray cluster."""


def run_jobs(
    function: Callable,
    items: Iterable,
    workers: int,
    timeout_s: float | None = None,
    prepare: Callable[[], object] | None = None,
    progress: str | None = None,
    total: int | None = None,
    executor: str = "process",
) -> Iterator[tuple[object, object]]:
    """Yield (item, result or Failure) for every item, in the order of completion.

    Every worker is a fresh (spawned) interpreter with one compute thread, in a process group of its own: on a
    timeout the worker goes with everything it started, and another takes its place. When the caller dies, the
    workers end too. `items` is read only as fast as the workers take them.

    Args:
      function: called with one item; it, the items and the results must be picklable.
      workers: number of processes; 0 runs the items in this process, where no timeout can be kept.
      timeout_s: longest time for one item, the start of the worker not counted; None for no limit.
      prepare: called once in every worker before its first item (load kernels, open devices).
      progress: text before a progress bar with rate and remaining time; None for no bar.
      total: number of items for the bar, where `items` does not know its length.
      executor: one of `EXECUTORS`; "ray" works on a Ray cluster instead, see `ray_jobs.run_on_ray`.
    Raises:
      InputError: workers, timeout or executor out of range, no Ray or no cluster, or raised by `prepare`.
      RunError: a worker cannot start.
    """
    if executor not in EXECUTORS:
        raise InputError(f"executor {executor!r}: expected one of {', '.join(EXECUTORS)}")
    # With Ray, 0 workers are one for each CPU of the cluster.
    check_limits(max(workers, 1) if executor == "ray" else workers, timeout_s)
    if total is None and isinstance(items, Sized):
        total = len(items)
    if total == 0:
        return
    if executor == "ray":
        done = run_on_ray(function, iter(items), workers, timeout_s, prepare)
    elif workers == 0:
        done = _run_here(function, items, prepare)
    else:
        workers = workers if total is None else min(workers, total)
        done = _Pool(function, workers, timeout_s, prepare).run(iter(items))
    with closing(done):
        yield from tqdm(done, desc=progress, total=total, disable=progress is None, unit="object", smoothing=0.05)


def check_limits(workers: int, timeout_s: float | None) -> None:
    """Raises InputError for a number or a limit out of range, or a limit without workers."""
    if workers < 0:
        raise InputError(f"{workers} workers: expected 0 or more")
    if timeout_s is not None and not timeout_s > 0:
        raise InputError(f"timeout of {timeout_s} s: expected a positive number")
    if workers == 0 and timeout_s is not None:
        raise InputError("a timeout needs workers of their own: give at least 1 worker, or no timeout")


def _run_here(function: Callable, items: Iterable, prepare: Callable | None) -> Iterator[tuple[object, object]]:
    if prepare is not None:
        prepare()
    for item in items:
        yield item, attempt(function, item)


class _Worker:
    """One process, its pipe, and the item that it works on."""

    def __init__(self, context, function: Callable, prepare: Callable | None) -> None:
        self.connection, remote = context.Pipe()
        self.process = context.Process(target=_serve, args=(remote, function, prepare), daemon=False)
        self.process.start()
        remote.close()
        self.started = False
        self.item: object = None
        self.busy = False
        self.deadline = time.monotonic() + STARTUP_S

    def give(self, item: object, timeout_s: float | None) -> None:
        self.item, self.busy = item, True
        self.deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        self.connection.send(item)

    def kill(self) -> None:
        """End the process and everything that it started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:  # not yet the leader of its group, or gone
            self.process.kill()
        self.process.join()
        self.connection.close()

    def ending(self) -> str:
        self.process.join()
        code = self.process.exitcode
        return f"the worker was ended by signal {-code}" if code < 0 else f"the worker left with status {code}"


class _Pool:
    """Keeps `workers` processes busy; replaces the ones that end."""

    def __init__(self, function: Callable, workers: int, timeout_s: float | None, prepare: Callable | None) -> None:
        self.context = multiprocessing.get_context("spawn")
        self.function, self.prepare = function, prepare
        self.size, self.timeout_s = workers, timeout_s
        self.workers: list[_Worker] = []

    def run(self, items: Iterator) -> Iterator[tuple[object, object]]:
        pending = True  # `items` may have more
        try:
            while True:
                while pending and len(self.workers) < self.size:
                    self.workers.append(self._start())
                for worker in self.workers:
                    if pending and worker.started and not worker.busy:
                        try:
                            item = next(items)
                        except StopIteration:
                            pending = False
                        else:
                            yield from self._give(worker, item)
                if not pending:
                    self._drop([worker for worker in self.workers if not worker.busy])
                if not self.workers:
                    if not pending:
                        return
                    continue
                yield from self._collect()
        finally:
            self._drop(list(self.workers))

    def _start(self) -> _Worker:
        saved = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, "1"))  # one core a worker; read when libraries load
        try:
            return _Worker(self.context, self.function, self.prepare)
        finally:
            for name, value in saved.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value

    def _drop(self, workers: list[_Worker]) -> None:
        for worker in workers:
            worker.kill()
            self.workers.remove(worker)

    def _give(self, worker: _Worker, item: object) -> Iterator[tuple[object, object]]:
        try:
            worker.give(item, self.timeout_s)
        except (BrokenPipeError, ConnectionResetError):
            yield from self._lost(worker, Failure("died", worker.ending()))

    def _lost(self, worker: _Worker, failure: Failure) -> Iterator[tuple[object, object]]:
        """Remove a worker and yield its item's failure. One that is lost before its first item ends the whole run."""
        started, busy, item = worker.started, worker.busy, worker.item
        self._drop([worker])
        if not started:
            raise RunError(f"a worker could not start: {failure.reason}")
        if busy:
            yield item, failure

    def _collect(self) -> Iterator[tuple[object, object]]:
        """Wait for the next event of any worker, and yield what it brings."""
        patience = min(worker.deadline for worker in self.workers) - time.monotonic()
        handles = [handle for worker in self.workers for handle in (worker.connection, worker.process.sentinel)]
        wait(handles, None if patience == float("inf") else max(patience, 0))
        for worker in list(self.workers):
            if worker.connection.poll():
                yield from self._receive(worker)
            elif not worker.process.is_alive():
                yield from self._lost(worker, Failure("died", worker.ending()))
            elif time.monotonic() > worker.deadline:
                limit = self.timeout_s if worker.started else STARTUP_S
                yield from self._lost(worker, Failure("timeout", f"took longer than {limit:g} s"))

    def _receive(self, worker: _Worker) -> Iterator[tuple[object, object]]:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            yield from self._lost(worker, Failure("died", worker.ending()))
            return
        if kind == "input error":
            raise InputError(value)
        if kind == "error":
            raise RunError(f"a worker could not start: {value}")
        worker.deadline = float("inf")
        if kind == "ready":
            worker.started = True
        else:
            worker.busy = False
            yield worker.item, value


def _serve(connection: Connection, function: Callable, prepare: Callable | None) -> None:
    """The worker process: prepare, then one item after another until the pipe closes."""
    os.setsid()
    for heard_by_parent in (signal.SIGINT, *STOPPING):  # it decides when a worker ends
        signal.signal(heard_by_parent, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    try:
        if prepare is not None:
            prepare()
        connection.send(("ready", None))
    except InputError as error:
        connection.send(("input error", str(error)))
        return
    except Exception as error:  # noqa: BLE001  passed on to the parent, which raises
        connection.send(("error", describe(error)))
        return
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        result = attempt(function, item)
        try:
            connection.send(("done", result))
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001  a result that cannot be pickled is this item's failure
            connection.send(("done", Failure("error", describe(error))))


def _follow_parent() -> None:
    """End this worker, and what it started, when the parent is killed."""
    wait([multiprocessing.parent_process().sentinel])
    os.killpg(os.getpid(), signal.SIGKILL)
