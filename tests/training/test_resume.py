"""Interrupted equals uninterrupted, one process equals two, and a signal saves."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import make_data
from helpers.training_runs import assert_equal, children, contents, kill_all, launch, run, start, wait_for

from xray.training import checkpoint
from xray.training.batches import OrderedSamples, SampleNumbers


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as the launched processes have
    yield
    torch.set_num_threads(before)


def test_killed_and_started_again_equals_never_killed(data, tmp_path):
    # 4 views and a batch of 3: the kill falls into the middle of an epoch.
    options = ("train.max_steps=9", "train.checkpoint_every=3", "train.batch_size=3", "data.num_workers=1")
    killed = start("diffusion", data, tmp_path / "killed", *options)
    wait_for(tmp_path / "killed" / "checkpoint-3", killed)
    kill_all(killed)
    assert run("diffusion", data, tmp_path / "whole", *options) == 0
    assert checkpoint.steps(tmp_path / "killed")[-1] < 9
    torch.manual_seed(12345)  # hidden random state has no say
    assert run("diffusion", data, tmp_path / "killed", *options) == 0
    assert_equal(tmp_path / "killed" / "checkpoint-9", tmp_path / "whole" / "checkpoint-9")


def test_two_processes_give_the_gradient_of_one_and_survive_a_lost_rank(data, tmp_path):
    options = ("train.max_steps=8", "train.checkpoint_every=1", "train.keep_checkpoints=0", "train.warmup_steps=4")
    process = launch("diffusion", data, tmp_path / "two", *options, processes=2)
    wait_for(tmp_path / "two" / "checkpoint-2", process)
    ranks = children(process)
    assert len(ranks) == 2
    ranks[1].kill()
    assert process.wait(600) != 0  # the other one stopped too, instead of waiting for ever
    assert checkpoint.steps(tmp_path / "two")[-1] < 8
    assert run("diffusion", data, tmp_path / "one", *options, "train.batch_size=2") == 0
    for name in ("two", "whole"):
        assert start("diffusion", data, tmp_path / name, *options, processes=2).wait(120) == 0
    assert "2 processes x batch 1" in (tmp_path / "whole.log").read_text()
    assert_equal(tmp_path / "two" / "checkpoint-8", tmp_path / "whole" / "checkpoint-8")
    assert json.loads((tmp_path / "two" / "checkpoint-8" / "trainer.json").read_text())["samples"] == 16

    one, two = (contents(tmp_path / name / "checkpoint-1") for name in ("one", "two"))
    gradients = [name for name in one if name.endswith(".exp_avg")]  # after one step, 0.1 times the gradient
    scale = max(float(one[name].abs().max()) for name in gradients)
    assert all(torch.allclose(one[name], two[name], atol=1e-5 * scale) for name in gradients)
    rates = [
        contents(tmp_path / name / f"checkpoint-{step}")["groups"][0]["lr"]
        for name in ("one", "two")
        for step in (1, 2, 8)
    ]
    assert rates[:3] == rates[3:]


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler for a signal."""
    (mask,) = re.findall(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    return bool(int(mask, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_the_same_command_goes_on(data, tmp_path, number):
    several = number == signal.SIGUSR1
    options = ("train.max_steps=5000", "train.checkpoint_every=5000")
    process = (start if several else launch)("diffusion", data, tmp_path / "out", *options, processes=1 + several)
    log = tmp_path / "out.log"
    while "from step 0 to 5000" not in log.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    receiver = children(process)[1].pid if several else process.pid  # a request to one rank stops every rank
    while not catches(receiver, number):  # the other rank may be a little behind
        time.sleep(0.01)
    os.kill(receiver, number)
    assert process.wait(600) == 0
    (step,) = checkpoint.steps(tmp_path / "out")
    assert f"stopped by a signal after step {step}, saved" in log.read_text()
    assert "Traceback" not in log.read_text()
    if not several:
        more = f"train.max_steps={step + 2}"
        assert run("diffusion", data, tmp_path / "out", more) == 0
        assert run("diffusion", data, tmp_path / "whole", more) == 0
        assert_equal(tmp_path / "out" / f"checkpoint-{step + 2}", tmp_path / "whole" / f"checkpoint-{step + 2}")


def test_accumulated_micro_batches_give_the_gradient_of_one_batch(data, tmp_path):
    assert run("diffusion", data, tmp_path / "a", "train.max_steps=1", "train.batch_size=4") == 0
    micro = ("train.batch_size=2", "train.accumulation=2")
    assert run("diffusion", data, tmp_path / "b", "train.max_steps=1", *micro) == 0
    one, two = (contents(tmp_path / name / "checkpoint-1") for name in "ab")
    gradients = [name for name in one if name.endswith(".exp_avg")]
    scale = max(float(one[name].abs().max()) for name in gradients)
    assert all(torch.allclose(one[name], two[name], atol=1e-5 * scale) for name in gradients)
    assert one["trainer"] == two["trainer"]


def test_every_epoch_has_every_item_once_in_another_order_and_ranks_share_nothing():
    class Items(list):
        pass

    samples = OrderedSamples(Items(range(7)), seed=3)
    epochs = [[samples.index(7 * epoch + place) for place in range(7)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    ranks = [list(SampleNumbers(10, 3, 2, rank, 2)) for rank in (0, 1)]
    assert ranks == [[[10, 11], [14, 15], [18, 19]], [[12, 13], [16, 17], [20, 21]]]
    assert [n for batch in SampleNumbers(10, 3, 4) for n in batch] == list(range(10, 22))
