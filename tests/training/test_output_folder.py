"""A training's folder: whole checkpoints are what is counted and kept, and one run at a time writes there."""

import os
import shutil
import signal

import pytest
from helpers.disks import disk, make_read_only
from helpers.tiny_runs import make_data
from helpers.training_runs import last_line, run, start, wait_for

from xray.training import checkpoint
from xray.training.checkpoint import Retention


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_data(tmp_path_factory.mktemp("data"))


def checkpoints(folder, *steps: int, damaged: tuple[int, ...] = ()):
    """Folders with sums as a training writes them."""
    for step in steps:
        partial = checkpoint.partial_of(checkpoint.path_of(folder, step))
        partial.mkdir(parents=True)
        (partial / "model.safetensors").write_bytes(bytes([step]) * 100)
        checkpoint.seal(checkpoint.path_of(folder, step))
    for step in damaged:
        os.truncate(checkpoint.path_of(folder, step) / "model.safetensors", 50)
    return folder


@pytest.mark.parametrize(
    ("steps", "damaged", "saved", "keep", "left"),
    [
        ((1, 2, 3, 4), (), 4, 2, [3, 4]),
        ((1, 2, 3, 4), (), 4, 0, [1, 2, 3, 4]),
        ((3, 4, 6), (6,), 4, 1, [4, 6]),  # going on past a damaged one
        ((3, 4, 5, 6), (5,), 6, 2, [4, 5, 6]),  # one damaged between
        ((1, 2, 3, 6, 9), (6, 9), 3, 2, [2, 3, 6, 9]),
        ((1, 2, 3), (1, 2), 3, 2, [1, 2, 3]),  # fewer whole ones than are to be kept
        ((1, 5, 8), (), 5, 1, [5, 8]),  # a newer one that came back, say from a backup
        ((1, 2, 3), (1,), 3, 1, [3]),
    ],
)
def test_the_latest_whole_ones_stay(tmp_path, steps, damaged, saved, keep, left):
    folder = checkpoints(tmp_path, *steps, damaged=damaged)
    removed = Retention(folder, keep).prune(saved)
    assert checkpoint.steps(folder) == left
    assert sorted(removed) == sorted(set(steps) - set(left))


def test_damage_between_two_saves_is_seen(tmp_path):
    retention = Retention(checkpoints(tmp_path, 1, 2), keep=2)
    assert retention.prune(2) == []
    os.truncate(tmp_path / "checkpoint-2" / "model.safetensors", 50)
    checkpoints(tmp_path, 3)
    assert retention.prune(3) == []  # 1 is the only other one that is whole
    checkpoints(tmp_path, 4)
    assert sorted(retention.prune(4)) == [1, 2]


@pytest.mark.parametrize(
    ("content", "reason"),
    [("{}", "names no files")]
    + [(content, "is not readable") for content in ("", "[]", "7", '{"a": 1}', '{"a": {"size": 1}}', "[" * 9999)],
)
def test_a_list_of_a_checkpoints_files_that_is_none_is_damage(tmp_path, content, reason):
    (tmp_path / checkpoint.SUMS).write_text(content)
    assert checkpoint.damage_of(tmp_path) == f"{checkpoint.SUMS} {reason}"


def test_a_run_that_goes_on_past_a_damaged_checkpoint_keeps_what_it_saves(data, tmp_path, capsys, caplog):
    output = tmp_path / "out"
    assert run("diffusion", data, output, "train.max_steps=6", "train.checkpoint_every=3") == 0
    os.truncate(output / "checkpoint-6" / "model.safetensors", 1000)
    options = ("train.checkpoint_every=1", "train.keep_checkpoints=1", "train.on_damaged=previous")
    assert run("diffusion", data, output, "train.max_steps=5", *options) == 0
    assert checkpoint.steps(output) == [5, 6]
    assert checkpoint.damage_of(output / "checkpoint-5") is None
    caplog.set_level("INFO")
    assert run("diffusion", data, output, "train.max_steps=6", *options) == 0
    assert "going on from step 5" in caplog.text
    assert checkpoint.steps(output) == [6]
    assert checkpoint.damage_of(output / "checkpoint-6") is None
    os.truncate(output / "checkpoint-6" / "model.safetensors", 1000)
    assert run("diffusion", data, output, "train.max_steps=8", *options) == 2  # to begin at 0 is not what was asked
    assert "every checkpoint is damaged" in last_line(capsys)
    assert checkpoint.steps(output) == [6]


def test_the_second_training_in_a_folder_is_refused(data, tmp_path, capsys):
    output = tmp_path / "out"
    first = start("diffusion", data, output, "train.max_steps=5000", "train.checkpoint_every=1")
    try:
        wait_for(output / "checkpoint-1", first)
        first.send_signal(signal.SIGSTOP)  # so that it does not take the others' time
        assert run("diffusion", data, output, "train.max_steps=2") == 2
        line = last_line(capsys)
        assert line.startswith(f"error: {output}: a training, process {first.pid} on ")
        second = start("diffusion", data, output, "train.max_steps=2", processes=2)
        assert second.wait(600) != 0  # one line, and none waits for ever
        assert output.with_suffix(".log").read_text().count("is at work in it") == 1
        assert first.poll() is None
    finally:
        first.send_signal(signal.SIGCONT)
        first.send_signal(signal.SIGTERM)
        first.wait(600)
    assert all(checkpoint.damage_of(checkpoint.path_of(output, step)) is None for step in checkpoint.steps(output))
    assert run("diffusion", data, tmp_path / "other", "train.max_steps=1") == 0  # another folder is another run


def test_a_read_only_disk_is_one_line_before_the_first_step(data, tmp_path, capsys):
    with disk(tmp_path / "disk") as folder:
        make_read_only(folder)
        assert run("diffusion", data, folder / "out", "train.max_steps=1") == 2
    assert last_line(capsys).startswith(f"error: {folder}/out: cannot be made (Read-only file system)")


def test_a_file_for_a_folder_is_one_line(data, tmp_path, capsys):
    shutil.copy(__file__, tmp_path / "out")
    assert run("diffusion", data, tmp_path / "out", "train.max_steps=1") == 2
    assert last_line(capsys).startswith(f"error: {tmp_path}/out: a file")
