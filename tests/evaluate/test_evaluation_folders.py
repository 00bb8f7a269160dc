"""Where an evaluation's results go: one run a folder, folders that cannot be written, saved pipelines."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from helpers.disks import disk, make_read_only
from helpers.forked import Forked
from helpers.tiny_runs import train_both

import evaluate_diffusion
import evaluate_upsampler
from xray.common.cli import BAD_INPUT, OK, STOPPED
from xray.evaluate.run import SAMPLES_A_SCORER, scorer_count
from xray.inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder with data and both stages trained for one step."""
    return train_both(tmp_path_factory.mktemp("runs"))


def evaluate(experiment: Path, *flags: str) -> int:
    common = ["--split", "all", "--no_emd", "--scorers", "0"]  # the last of a flag counts
    return evaluate_diffusion.main(["--exp_diffusion", str(experiment), *common, *flags])


def copy(runs, tmp_path) -> Path:
    return shutil.copytree(runs / "A", tmp_path / "A", ignore=shutil.ignore_patterns("evaluate"))


def error(capsys) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error:")]
    return line


def scores(folder: Path) -> list:
    return [json.loads(path.read_text())["scores"] for path in sorted((folder / "rows").glob("*.json"))]


def test_the_second_evaluation_of_a_checkpoint_is_refused_while_the_first_is_at_work(runs, tmp_path, capsys):
    experiment = copy(runs, tmp_path)
    folder = experiment / "evaluate" / "checkpoint-1"
    flags = ["--exp_diffusion", str(experiment), "--split", "all", "--seed", "1"]
    first = Forked(lambda: evaluate_diffusion.main(flags), tmp_path / "first.log")
    while not (folder / "settings.json").is_file():
        assert first.poll() is None
        time.sleep(0.005)
    first.send_signal(signal.SIGSTOP)  # it is at work as long as this needs
    assert evaluate(experiment, "--seed", "2") == BAD_INPUT
    line = error(capsys)
    assert f"an evaluation of checkpoint-1, process {first.pid} on " in line
    assert evaluate(experiment, "--untrained", "--max_samples", "1") == OK  # another folder of the same experiment
    first.send_signal(signal.SIGCONT)
    assert first.wait(300) == OK
    assert json.loads((folder / "settings.json").read_text())["seed"] == 1
    assert json.loads((folder / "metrics.json").read_text())["samples"] == 4
    assert evaluate(experiment, "--seed", "2") == OK  # and now the first one's are kept beside
    kept = folder.with_name("checkpoint-1_replaced-1")
    assert [json.loads((path / "settings.json").read_text())["seed"] for path in (kept, folder)] == [1, 2]
    assert len(scores(kept)) == len(scores(folder)) == 4
    assert not list(folder.parent.glob(".*"))


def test_results_go_where_they_are_told_and_the_experiment_stays_as_it_is(runs, tmp_path, capsys):
    out = tmp_path / "out"
    with disk(tmp_path / "disk") as folder:
        for name in ("A", "B"):
            shutil.copytree(runs / name, folder / name, ignore=shutil.ignore_patterns("evaluate"))
        make_read_only(folder)
        assert evaluate(folder / "A") == BAD_INPUT
        assert error(capsys).startswith(f"error: {folder}/A/evaluate: cannot be made (Read-only file system)")
        assert evaluate(folder / "A", "--output", str(out)) == OK
        experiments = [
            "--exp_diffusion",
            str(folder / "A"),
            "--exp_upsampler",
            str(folder / "B"),
            "--no_emd",
            "--scorers",
            "0",
        ]
        assert evaluate_upsampler.main([*experiments, "--output", str(out)]) == BAD_INPUT
        assert "no evaluated samples" in error(capsys)
        for evaluated in (out, out / "checkpoint-1"):
            flags = ["--evaluated", str(evaluated), "--output", str(out)]
            assert evaluate_upsampler.main([*experiments, *flags]) == OK
    assert {path.name for path in out.iterdir()} == {"checkpoint-1", "checkpoint-1_from_A_checkpoint-1"}
    assert len(scores(out / "checkpoint-1_from_A_checkpoint-1")) == 4
    (tmp_path / "file").write_text("")
    assert evaluate(runs / "A", "--output", str(tmp_path / "file")) == BAD_INPUT
    assert "a file" in error(capsys)


@pytest.mark.parametrize("flag", ["--mesh_root", "--beside", "--device"])
def test_a_mistyped_value_is_refused_before_results_are_touched(runs, tmp_path, capsys, flag):
    experiment = copy(runs, tmp_path)
    assert evaluate(experiment, "--max_samples", "1", "--steps", "1") == OK
    made = {path: path.stat().st_mtime_ns for path in (experiment / "evaluate").rglob("*")}
    capsys.readouterr()
    nowhere = str(tmp_path / "nowhere")
    assert evaluate(experiment, "--max_samples", "2", "--steps", "1", flag, nowhere) == BAD_INPUT
    assert nowhere in error(capsys)
    assert {path: path.stat().st_mtime_ns for path in (experiment / "evaluate").rglob("*")} == made


@pytest.mark.parametrize("scorers", ["0", "2"])
def test_a_full_disk_is_one_line_and_what_is_finished_stays(runs, tmp_path, capsys, scorers):
    with disk(tmp_path / "disk", "150k") as folder:
        assert evaluate(runs / "A", "--output", str(folder / "out"), "--scorers", scorers) == STOPPED
        assert "No space left on device" in error(capsys)
        with contextlib.suppress(OSError):
            (folder / "rest").write_bytes(bytes(1 << 22))
        assert evaluate(runs / "A", "--output", str(folder / "full")) in (BAD_INPUT, STOPPED)
        assert "No space left on device" in error(capsys)


def test_other_processes_score_the_same(runs, tmp_path, caplog):
    caplog.set_level("INFO")
    for scorers in ("0", "2"):
        assert evaluate(runs / "A", "--output", str(tmp_path / scorers), "--scorers", scorers) == OK
    alone, beside = (scores(tmp_path / name / "checkpoint-1") for name in ("0", "2"))
    assert alone == beside
    assert len(alone) == 4
    lines = [line for line in caplog.messages if "the network took" in line]
    assert ["between its batches" in line for line in lines] == [True, False]
    assert "beside it in 2 processes" in lines[1]


def test_a_scorer_is_worth_its_start(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [scorer_count(None, samples) for samples in (1, SAMPLES_A_SCORER, 4 * SAMPLES_A_SCORER, 999)] == [0, 1, 4, 8]
    assert [scorer_count(asked, 3) for asked in (0, 2, 5)] == [0, 2, 3]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert scorer_count(None, 999) == 2


def test_a_saved_pipeline_is_evaluated_as_its_training_is(runs, tmp_path, capsys):
    XRayDiffusionPipeline.from_pretrained(runs / "A").save_pretrained(tmp_path / "first")
    XRayUpsamplerPipeline.from_pretrained(runs / "B").save_pretrained(tmp_path / "second")
    data = ["--data_root", str(runs / "data")]
    assert evaluate(tmp_path / "first", *data) == BAD_INPUT
    assert "--output" in error(capsys)
    assert evaluate(tmp_path / "first", "--output", str(tmp_path / "out")) == BAD_INPUT
    assert "--data_root" in error(capsys)
    assert evaluate(tmp_path / "first", *data, "--output", str(tmp_path / "out"), "--step", "1") == BAD_INPUT
    assert "saved pipeline" in error(capsys)
    for name, experiment in (("out", tmp_path / "first"), ("trained", runs / "A")):
        assert evaluate(experiment, *data, "--output", str(tmp_path / name)) == OK
        assert evaluate(experiment, *data, "--output", str(tmp_path / name), "--untrained") == OK
    for folder in ("checkpoint-1", "untrained"):
        assert scores(tmp_path / "out" / folder) == scores(tmp_path / "trained" / folder)
    assert scores(tmp_path / "out" / "untrained") != scores(tmp_path / "out" / "checkpoint-1")
    both = ["--exp_diffusion", str(tmp_path / "first"), "--exp_upsampler", str(tmp_path / "second")]
    flags = ["--evaluated", str(tmp_path / "out"), "--output", str(tmp_path / "up"), "--no_emd", "--scorers", "0"]
    assert evaluate_upsampler.main([*both, *flags]) == OK
    assert len(list((tmp_path / "up").rglob("*.glb"))) == 4
