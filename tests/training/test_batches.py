"""Batches: their order, and samples that cannot be read."""

import multiprocessing
import signal
import subprocess
import threading
import time

import pytest
import torch

from xray.common.errors import InputError, RunError
from xray.training.batches import BatchLoader, OrderedSamples, SampleNumbers, _read_on
from xray.training.launch import STOP_SIGNALS


class Numbered(torch.utils.data.Dataset):
    """Items that hold their own index; some cannot be read."""

    def __init__(self, size, bad=()):
        self.size, self.bad = size, bad

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.bad:
            raise InputError(f"xrays/a/{index:03d}.npz: cut short")
        value = torch.full((1,), float(index))
        return {"xray": value, "image": value, "object": "a", "view": f"{index:03d}"}


def batches(dataset, on_error, workers=0, count=6):
    samples = OrderedSamples(dataset, seed=1, on_error=on_error)
    return samples, BatchLoader(samples, SampleNumbers(0, count, 2), workers, pin_memory=False)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_sample_stops_the_run_with_its_own_line(workers):
    _, loader = batches(Numbered(5, bad={3}), "stop", workers)
    with pytest.raises(InputError) as caught:
        list(loader)
    assert str(caught.value) == "xrays/a/003.npz: cut short (data.on_error=skip leaves such samples out)"


@pytest.mark.parametrize("workers", [0, 1])
def test_the_next_readable_sample_takes_the_place_of_a_bad_one(workers, caplog):
    bad = {1, 3}
    samples, loader = batches(Numbered(5, bad), "skip", workers)
    seen = list(loader)
    assert all(batch["xray"].shape == (2, 1) for batch in seen)
    assert [number for batch in seen for number in batch["numbers"]] == list(range(12))
    read = [int(value) for batch in seen for value in batch["xray"].flatten()]
    for number, index in enumerate(read):
        order = [samples.index(number, skipped) for skipped in range(5)]
        assert index == next(item for item in order if item not in bad)
    for item in bad:  # named each time that its turn comes, in two epochs and two samples of a third
        turns = [number for number in range(12) if samples.index(number) == item]
        assert sum(f"xrays/a/{item:03d}.npz: cut short" in line for line in caplog.messages) >= len(turns) >= 2
    assert loader.unreadable == len(caplog.messages)


def test_samples_that_are_all_bad_end_the_run():
    _, loader = batches(Numbered(3, bad={0, 1, 2}), "skip")
    with pytest.raises(InputError, match=r"none of 3 samples can be read; the last one: xrays/a/00\d.npz: cut short"):
        list(loader)


def test_a_lost_worker_is_told_where_a_batch_is_waited_for_and_nowhere_else():
    before = signal.getsignal(signal.SIGCHLD)
    _, loader = batches(Numbered(5), "stop", workers=1, count=100)
    others = set(multiprocessing.active_children())  # of tests before this one
    iterator = iter(loader)
    next(iterator)
    (worker,) = set(multiprocessing.active_children()) - others
    worker.kill()
    worker.join()  # the signal of its death comes in the midst of something else, here
    assert signal.getsignal(signal.SIGCHLD) == before
    with pytest.raises(RunError, match="a data worker was lost"):
        list(iterator)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_worker_reads_on_when_all_processes_of_a_job_get_the_signal_of_its_end(number):
    _, loader = batches(Numbered(5), "stop", workers=1, count=20)
    others = set(multiprocessing.active_children())  # of tests before this one
    iterator = iter(loader)
    next(iterator)
    (worker,) = set(multiprocessing.active_children()) - others
    subprocess.run(["kill", f"-{number.value}", str(worker.pid)], check=True)  # not from the worker's parent
    assert len(list(iterator)) == 19


def test_a_worker_that_is_just_starting_reads_on_too(monkeypatch):
    monkeypatch.setattr("xray.training.batches._read_on", _late)
    _, loader = batches(Numbered(5), "stop", workers=1, count=20)
    others = set(multiprocessing.active_children())
    iterator = iter(loader)
    sender = threading.Thread(target=_send_to_new_child, args=(others,))
    sender.start()
    assert len(list(iterator)) == 20
    sender.join()


def _late(number: int) -> None:
    time.sleep(1.5)
    _read_on(number)


def _send_to_new_child(others: set) -> None:
    while not (children := set(multiprocessing.active_children()) - others):
        time.sleep(0.01)
    time.sleep(0.5)  # torch's own handler is there now
    subprocess.run(["kill", "-TERM", str(children.pop().pid)], check=True)
