"""Jobs on a Ray cluster of this machine."""

import os
import signal
import sys
import time

import pytest

from xray.cluster import run_on_ray
from xray.errors import InputError
from xray.jobs import Failure

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


def refuse():
    raise InputError("no such device")


def test_a_bad_item_costs_one_item():
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers do not have the tests
    items = [1, "crash", 2, "hang", 3, "leave", "bad", 4]
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    try:
        done = dict(run_on_ray(work, iter(items), workers=2, timeout_s=2.0))
        assert [done[item] for item in (1, 2, 3, 4)] == [1, 4, 9, 16]
        assert done["crash"].kind == done["leave"].kind == "died"
        assert done["hang"] == Failure("timeout", "took longer than 2 s")
        assert done["bad"] == Failure("error", "x.obj: bad")
        assert len(done) == len(items)
        with pytest.raises(InputError, match="no such device"):
            list(run_on_ray(work, [1], 1, prepare=refuse))
        with pytest.raises(InputError, match="timeout"):
            list(run_on_ray(work, [1], 1, timeout_s=-1))
    finally:
        ray.shutdown()
