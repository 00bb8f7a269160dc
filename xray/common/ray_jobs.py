"""The jobs of `jobs.run_jobs` on a Ray cluster: a worker that hangs or dies costs one item.

Ray is optional: `pip install -r requirements-ray.txt`. Every machine must see the repository and the data under
the same paths.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterator

from .errors import Failure, InputError, RunError, attempt
from .files import ROOT

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Set to 1 before the libraries are loaded that read them: one core a worker."""

STARTUP_S = 600.0
"""Longest start of a worker: imports, and compiling kernels on the first run of a machine."""

MAX_LOST_STARTS = 5
"""So many actors in a row that are lost before they have started end the run."""

POLL_S = 1.0
"""Longest wait between two checks of the time limits."""


def run_on_ray(
    function: Callable, items: Iterator, workers: int, timeout_s: float | None, prepare: Callable | None
) -> Iterator[tuple[object, object]]:
    """What `jobs.run_jobs` yields with the executor "ray", by `workers` actors of one CPU each.

    It joins the cluster that RAY_ADDRESS names, or one that runs on this machine (`ray start`); without either it
    starts Ray here with `workers` CPUs, and ends it afterwards. With 0 workers there is one for each CPU of the
    cluster.

    Raises:
      InputError: Ray is not installed; no such cluster; or raised by `prepare`.
    """
    try:
        import ray
    except ImportError:
        raise InputError("executor ray: Ray is not installed; pip install -r requirements-ray.txt") from None
    ours = not ray.is_initialized()
    if ours:
        _join(ray, workers)
    try:
        workers = workers or max(int(ray.cluster_resources().get("CPU", 1)), 1)
        yield from _Actors(ray, function, workers, timeout_s, prepare).run(items)
    finally:
        if ours:
            ray.shutdown()


def check_reachable(address: str, timeout_s: float = 10.0) -> None:
    """InputError where nothing listens at an address HOST:PORT of RAY_ADDRESS, for which Ray itself waits many minutes.

    Other forms of addresses are left to Ray.
    """
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "/" in host or not host:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout_s).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"executor ray: no cluster at RAY_ADDRESS {address} ({reason}); ray start first") from None


def _join(ray, workers: int) -> None:
    check_reachable(os.environ.get("RAY_ADDRESS", ""))
    variables = {"PYTHONPATH": str(ROOT), **dict.fromkeys(THREAD_VARIABLES, "1")}
    # Without this, Ray hides the GPUs of a machine from actors that have not reserved one.
    variables["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
    options = {"runtime_env": {"env_vars": variables}, "log_to_driver": False, "logging_level": "ERROR"}
    try:
        ray.init(address="auto", **options)
    except ConnectionError:
        if os.environ.get("RAY_ADDRESS"):
            where = os.environ["RAY_ADDRESS"]
            raise InputError(
                f"executor ray: no cluster at RAY_ADDRESS {where}, or it refuses the connection (RAY_AUTH_MODE)"
            ) from None
        ray.init(address="local", num_cpus=workers or None, include_dashboard=False, **options)


class _Actor:
    """One process of the cluster and the item that it works on."""

    def __init__(self, ray, function: Callable, prepare: Callable | None) -> None:
        self.handle = ray.remote(_Server).options(num_cpus=1, max_restarts=0).remote(function)
        self.item: object = None
        self.started = False
        self.answer = self.handle.prepare.remote(prepare)
        self.deadline = time.monotonic() + STARTUP_S

    def give(self, item: object, timeout_s: float | None) -> None:
        self.item = item
        self.deadline = float("inf") if timeout_s is None else time.monotonic() + timeout_s
        self.answer = self.handle.work.remote(item)


class _Server:
    """What runs in the actor's process."""

    def __init__(self, function: Callable) -> None:
        self.function = function

    def prepare(self, prepare: Callable | None) -> str:
        """Empty, or why no item can be worked on here."""
        try:
            if prepare is not None:
                prepare()
        except InputError as error:
            return str(error)
        return ""

    def work(self, item: object) -> object:
        return attempt(self.function, item)


class _Actors:
    """Keeps the actors busy; replaces the ones that end."""

    def __init__(self, ray, function: Callable, workers: int, timeout_s: float | None, prepare) -> None:
        self.ray, self.function, self.prepare = ray, function, prepare
        self.size, self.timeout_s = workers, timeout_s
        self.lost_starts = 0

    def run(self, items: Iterator) -> Iterator[tuple[object, object]]:
        actors: list[_Actor] = []
        pending = True
        while actors or pending:
            while pending and len(actors) < self._room(len(actors)):
                actors.append(self._start())
            answers = {actor.answer: actor for actor in actors}
            ready, _ = self.ray.wait(list(answers), num_returns=1, timeout=POLL_S)
            late = [actor for actor in actors if actor.answer not in ready and time.monotonic() > actor.deadline]
            for actor in [answers[answer] for answer in ready] + late:
                lost = actor in late
                if lost:
                    limit = self.timeout_s if actor.started else STARTUP_S
                    result = Failure("timeout", f"took longer than {limit:g} s")
                else:
                    result, lost = self._result(actor)
                if not actor.started:
                    actor.started = self._has_started(result)
                else:
                    yield actor.item, result
                actors.remove(actor)
                if lost:
                    self.ray.kill(actor.handle)
                    actor = None  # another one is started above, where there is room
                elif pending:
                    try:
                        actor.give(next(items), self.timeout_s)
                    except StopIteration:
                        pending, actor = False, None
                else:
                    actor = None
                if actor is not None:
                    actors.append(actor)

    def _room(self, actors: int) -> int:
        """How many actors the cluster has CPUs for: fewer once a machine is lost, more when one joins.

        One more than that would wait for a CPU until it counts as one that cannot start.
        """
        if actors == self.size:
            return actors
        return max(1, min(self.size, int(self.ray.cluster_resources().get("CPU", 0))))

    def _start(self) -> _Actor:
        return _Actor(self.ray, self.function, self.prepare)

    def _result(self, actor: _Actor) -> tuple[object, bool]:
        """The answer, and whether the actor is lost."""
        try:
            return self.ray.get(actor.answer), False
        except self.ray.exceptions.RayTaskError as error:  # a result that cannot be sent is this item's failure
            return Failure("error", " ".join(str(error.cause).split())[:200]), False
        except self.ray.exceptions.RayError as error:  # died, out of memory, its machine lost, its answer lost, ...
            return Failure("died", f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]), True

    def _has_started(self, result: object) -> bool:
        """Whether an actor's answer to `prepare` is that it can work.

        One that is lost before it could start, as by a machine that goes, has another in its place; but where
        `MAX_LOST_STARTS` in a row are lost, so would be all.
        """
        if isinstance(result, Failure):
            self.lost_starts += 1
            if result.kind == "error" or self.lost_starts >= MAX_LOST_STARTS:
                raise RunError(f"a worker could not start: {result.reason}")
            return False
        if result:
            raise InputError(str(result))
        self.lost_starts = 0
        return True
