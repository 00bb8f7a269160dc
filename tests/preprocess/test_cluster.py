"""Jobs on a Ray cluster of this machine."""

import os
import signal
import sys
import time
from types import SimpleNamespace

import pytest

from xray.common.errors import InputError, RunError
from xray.common.jobs import Failure, run_jobs
from xray.common.ray_jobs import _Actors

ray = pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-ray.txt")


def work(item):
    """Square a number, or misbehave as the item says."""
    if item == "hang":
        time.sleep(600)
    if item == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "leave":
        raise SystemExit(7)
    if item == "bad":
        raise InputError("x.obj: bad")
    return item * item


def work_slowly(item):
    """Long enough for a machine to be lost meanwhile."""
    time.sleep(1)
    return item * item


def refuse():
    raise InputError("no such device")


def test_a_bad_item_costs_one_item():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers do not have the tests
    items = [1, "crash", 2, "hang", 3, "leave", "bad", 4]
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        done = dict(run_jobs(work, iter(items), workers=2, timeout_s=2.0, executor="ray"))
        assert [done[item] for item in (1, 2, 3, 4)] == [1, 4, 9, 16]
        assert done["crash"].kind == done["leave"].kind == "died"
        assert done["hang"] == Failure("timeout", "took longer than 2 s")
        assert done["bad"] == Failure("error", "x.obj: bad")
        assert len(done) == len(items)
        with pytest.raises(InputError, match="no such device"):
            list(run_jobs(work, [1], 1, prepare=refuse, executor="ray"))
        with pytest.raises(InputError, match="timeout"):
            list(run_jobs(work, [1], 1, timeout_s=-1, executor="ray"))
    finally:
        ray.shutdown()


def test_a_lost_machine_costs_what_it_was_working_on():
    """The actors that it had cannot start elsewhere, since every CPU is taken: the run goes on with fewer."""
    from ray.cluster_utils import Cluster

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    arguments = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    try:
        machine = cluster.add_node(num_cpus=2)
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        run = _Actors(ray, work_slowly, 3, None, None)
        results = run.run(iter(range(30)))
        done = dict(next(results) for _ in range(4))
        cluster.remove_node(machine, allow_graceful=False)
        done |= dict(results)
        assert sorted(done) == list(range(30)), "nothing is left out"
        lost = {item: result for item, result in done.items() if isinstance(result, Failure)}
        assert all(result.kind == "died" for result in lost.values())
        assert len(lost) <= 2, "one item for each actor of the machine"
        assert all(done[item] == item * item for item in done.keys() - lost.keys())
    finally:
        ray.shutdown()
        cluster.shutdown()


class _InProcess:
    """What `_Actors` asks of Ray, in this process, with Ray's own errors raised as answers of our choice."""

    exceptions = ray.exceptions

    def __init__(self, lost):
        self.lost, self.answers, self.killed = lost, 0, 0

    def remote(self, actor_class):
        return SimpleNamespace(
            options=lambda **_: SimpleNamespace(remote=lambda *given: self._actor(actor_class(*given)))
        )

    def _actor(self, actor):
        def method(name):
            return SimpleNamespace(remote=lambda *given: lambda: getattr(actor, name)(*given))

        return SimpleNamespace(prepare=method("prepare"), work=method("work"))

    def cluster_resources(self):
        return {"CPU": 2}

    def wait(self, answers, num_returns, timeout):
        return answers[:num_returns], answers[num_returns:]

    def get(self, answer):
        self.answers += 1
        if self.answers in self.lost:
            raise self.lost.pop(self.answers)
        return answer()

    def kill(self, handle):
        self.killed += 1


def test_a_worker_that_is_lost_in_any_way_costs_one_item():
    """Out of memory, a lost machine and a lost answer are errors of other classes than a process that ends."""
    errors = [
        ray.exceptions.OutOfMemoryError("memory"),
        ray.exceptions.NodeDiedError("node"),
        ray.exceptions.ActorUnavailableError("unreachable", None),
        ray.exceptions.WorkerCrashedError(),
    ]
    local = _InProcess({4 + 3 * index: error for index, error in enumerate(errors)})
    done = dict(_Actors(local, work, 2, None, None).run(iter(range(20))))
    assert not local.lost
    assert local.killed == 4
    failed = {item: result for item, result in done.items() if isinstance(result, Failure)}
    assert 1 <= len(failed) <= 4  # an actor that is lost before it has started costs none
    assert {result.kind for result in failed.values()} == {"died"}
    assert set(done) == set(range(20))
    assert all(done[item] == item * item for item in set(done) - set(failed))
    always = _InProcess(dict.fromkeys(range(1, 99), ray.exceptions.NodeDiedError("node")))
    with pytest.raises(RunError, match="a worker could not start"):
        list(_Actors(always, work, 2, None, None).run(iter(range(20))))
