"""Both evaluations, as their commands run them: files, resumption, comparison, and one line for bad input."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
import trimesh
from helpers.forked import ROOT, torchrun
from helpers.tiny_runs import train_both
from safetensors.torch import load_file, save_file

import evaluate_diffusion
import evaluate_upsampler
from xray.common.cli import BAD_INPUT, FAILURES, OK
from xray.core.codec import Codec
from xray.core.storage import load_xray
from xray.data.dataset import XRayDataset
from xray.evaluate.run import sample_seed
from xray.mesh.ply import load_ply
from xray.metrics.nearest import MISSING_DISTANCE
from xray.training.batches import WithFirstStage


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder with data, both stages trained for one step, and both evaluated."""
    return train_both(tmp_path_factory.mktemp("runs"))


def evaluate(runs, *flags: str) -> int:
    return evaluate_diffusion.main(
        ["--exp_diffusion", str(runs / "A"), "--split", "all", "--no_emd", "--scorers", "0", *flags]
    )


def upsample(runs, *flags: str) -> int:
    return evaluate_upsampler.main(
        ["--exp_diffusion", str(runs / "A"), "--exp_upsampler", str(runs / "B"), "--no_emd", "--scorers", "0", *flags]
    )


def test_first_stage_then_second(runs, capsys):
    shutil.rmtree(runs / "A" / "evaluate", ignore_errors=True)
    assert upsample(runs) == BAD_INPUT
    assert "evaluate_diffusion.py" in capsys.readouterr().err
    assert evaluate(runs, "--untrained", "--batch_size", "3") == OK
    assert evaluate(runs, "--date_root", str(runs / "data")) == OK
    printed = capsys.readouterr().out
    assert "untrained" in printed
    assert "step 1" in printed
    folder = runs / "A" / "evaluate" / "checkpoint-1"
    _check_files(folder, rays=8)
    assert upsample(runs) == OK
    _check_files(next((runs / "B" / "evaluate").glob("checkpoint-1_from_*")), rays=16, mesh=True)


def _check_files(folder, rays: int, mesh: bool = False) -> None:
    names = [f"ball{number}_{view:03d}" for number in range(2) for view in range(2)]
    for name in names:
        xray = load_xray(folder / f"{name}_xray.npz").validate()
        assert xray.shape == (4, rays, rays)
        assert len(load_ply(folder / f"{name}_prd.ply")) == xray.hit.sum()
        assert len(load_ply(folder / f"{name}_gt.ply")) > 1000
        assert (folder / f"{name}.png").stat().st_size > 1000
        if mesh and len(load_ply(folder / f"{name}_prd.ply")) > 50:
            assert len(trimesh.load(folder / f"{name}.glb", force="mesh").faces)
    with (folder / "metrics.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    summary = json.loads((folder / "metrics.json").read_text())
    assert [row["sample"] for row in rows] == summary["names"] == names
    mean = sum(float(row["author.chamfer"]) for row in rows) / len(rows)
    assert summary["protocols"]["author"]["mean"]["chamfer"] == pytest.approx(mean)
    assert (folder / "report.html").stat().st_size > 10000


def test_finished_samples_stay_and_other_settings_keep_the_old(runs, capsys):
    shutil.rmtree(runs / "A" / "evaluate", ignore_errors=True)
    assert evaluate(runs, "--max_samples", "2") == OK
    folder = runs / "A" / "evaluate" / "checkpoint-1"
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    content = {path.name: path.read_bytes() for path in folder.glob("*.npz")}
    assert len(before) == 2
    assert evaluate(runs, "--batch_size", "1") == OK
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*.npz")}
    assert len(after) == 4
    assert before.items() <= after.items()
    assert evaluate(runs, "--seed", "1", "--max_samples", "2") == OK
    kept = folder.with_name("checkpoint-1_replaced-1")
    assert len(list(kept.glob("*.npz"))) == 4
    assert {path.name: path.read_bytes() for path in folder.glob("*.npz")} != content
    capsys.readouterr()


def test_a_damaged_view_is_recorded_and_the_rest_goes_on(runs, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(runs / "data", data)
    damaged = data / "xrays" / "ball0" / "001.npz"
    damaged.write_bytes(damaged.read_bytes()[:500])
    shutil.copytree(runs / "A", tmp_path / "A", ignore=shutil.ignore_patterns("evaluate"))
    assert evaluate(tmp_path, "--data_root", str(data)) == FAILURES
    summary = json.loads((tmp_path / "A" / "evaluate" / "checkpoint-1" / "metrics.json").read_text())
    assert list(summary["failed"]) == ["ball0_001"]
    assert "001.npz" in summary["failed"]["ball0_001"]
    assert summary["protocols"]["author"]["samples"] == 3
    assert "1 samples could not be made" in capsys.readouterr().out


def test_ids_that_are_paths_stay_in_the_folder_and_apart(runs, tmp_path):
    """As `--id path` makes them: a/b beside a_b, and a view whose name could be of another object."""
    first, second = tmp_path / "data/images", tmp_path / "data/xrays"
    ids = ("a/b", "a_b", "a-b", "a/" + "n" * 210)
    for uid in ids:
        shutil.copytree(runs / "data/images/ball0", first / uid)
        shutil.copytree(runs / "data/xrays/ball0", second / uid)
    for folder, suffix in ((first, "png"), (second, "npz")):  # the view b_000 of a, which is not the view 000 of a_b
        shutil.copy(folder / f"a_b/000.{suffix}", folder / f"a/b_000.{suffix}")
    views = json.loads((first / "a_b/transforms.json").read_text())
    views["frames"] = [{**views["frames"][0], "file_path": "b_000.png"}]
    (first / "a/transforms.json").write_text(json.dumps(views))
    shutil.copytree(runs / "A", tmp_path / "A", ignore=shutil.ignore_patterns("evaluate"))
    assert evaluate(tmp_path, "--data_root", str(tmp_path / "data")) == OK
    folder = tmp_path / "A/evaluate/checkpoint-1"
    with (folder / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    expected = {(uid, view) for uid in ids for view in ("000", "001")} | {("a", "b_000")}
    assert {(row["object"], row["view"]) for row in rows} == expected
    assert len({row["sample"] for row in rows}) == len(rows) == 9
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["rows"]
    for ending in ("_xray.npz", "_prd.ply", "_gt.ply", ".png"):
        assert len(list(folder.glob(f"*{ending}"))) == 9
    assert "a/b_000" in (folder / "report.html").read_text()
    shutil.copytree(runs / "B", tmp_path / "B", ignore=shutil.ignore_patterns("evaluate"))
    assert upsample(tmp_path, "--max_samples", "9") == OK
    assert len(list(next((tmp_path / "B/evaluate").iterdir()).glob("*.glb"))) == 9
    codec = Codec(layers=4, resolution=16)
    reader = WithFirstStage(XRayDataset(tmp_path / "data", codec, "all", 64), folder, codec, factor=2)
    assert all(reader[index]["low"] is not None for index in range(9))


def test_true_meshes_add_a_protocol(runs, tmp_path):
    for number in range(2):
        trimesh.creation.icosphere(3, 1).export(tmp_path / f"ball{number}.ply")
    shutil.rmtree(runs / "A" / "evaluate", ignore_errors=True)
    assert evaluate(runs, "--mesh_root", str(tmp_path), "--max_samples", "2", "--alignment", "mean") == OK
    summary = json.loads((runs / "A" / "evaluate" / "checkpoint-1" / "metrics.json").read_text())
    assert set(summary["protocols"]) == {"author", "surface"}
    assert summary["protocols"]["surface"]["mean"]["floor"] > summary["protocols"]["author"]["mean"]["floor"] > 0
    for protocol in summary["protocols"].values():
        assert {"fscore@0.05", "hidden_chamfer", "hidden_fscore@0.05"} <= set(protocol["mean"])
    report = (runs / "A" / "evaluate" / "checkpoint-1" / "report.html").read_text()
    assert report.count("surface hidden_chamfer") == report.count("surface: hidden_chamfer") == 1
    assert "layers: layer_hit_iou@4" in report
    (tmp_path / "ball1.ply").unlink()
    assert evaluate(runs, "--mesh_root", str(tmp_path)) == FAILURES


def test_a_network_of_nans_is_scored_and_counted(runs, tmp_path):
    root = tmp_path / "A"
    shutil.copytree(runs / "A", root, ignore=shutil.ignore_patterns("evaluate"))
    path = root / "checkpoint-1" / "ema.safetensors"
    weights = load_file(path)
    first = next(iter(weights))
    weights[first] = torch.full_like(weights[first], torch.nan)
    save_file(weights, path)
    sums = json.loads((path.parent / "files.json").read_text())
    sums[path.name] = {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (path.parent / "files.json").write_text(json.dumps(sums))
    assert evaluate(tmp_path) == OK
    summary = json.loads((root / "evaluate" / "checkpoint-1" / "metrics.json").read_text())
    author = summary["protocols"]["author"]
    assert (summary["not_finite"], author["samples"], author["degenerate"]) == (4, 4, 4)
    assert author["mean"]["chamfer"] == pytest.approx(2 * MISSING_DISTANCE)
    assert "not finite" in (root / "evaluate" / "checkpoint-1" / "report.html").read_text()


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--exp_diffusion", "nothing"], "no such experiment"),
        (["--exp_diffusion", "{root}/A", "--step", "7"], "checkpoint-7"),
        (["--exp_diffusion", "{root}/A", "--data_root", "{root}/nothing"], "no such folder"),
        (["--exp_diffusion", "{root}/A", "--max_samples", "0"], "max_samples"),
        (["--exp_diffusion", "{root}/empty"], "checkpoint"),
        (["--exp_diffusion", "{root}/B"], "upsampler"),
        (["--exp_diffusion", "{root}/A", "--mesh_root", "{root}/nothing"], "no such folder"),
    ],
)
def test_bad_input_is_one_line(runs, capsys, flags, reason):
    (runs / "empty" / "checkpoint-5").mkdir(parents=True, exist_ok=True)
    assert evaluate_diffusion.main([flag.format(root=runs) for flag in [*flags, "--split", "all"]]) == BAD_INPUT
    lines = capsys.readouterr().err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    assert len(errors) == 1
    assert reason in errors[0]


def test_two_processes_share_the_samples(runs, tmp_path):
    alone = runs / "A" / "evaluate" / "checkpoint-1"
    shutil.rmtree(runs / "A" / "evaluate", ignore_errors=True)
    assert evaluate(runs) == OK
    single = {path.name: load_xray(path).depth for path in sorted(alone.glob("*.npz"))}
    shutil.rmtree(runs / "A" / "evaluate")
    flags = ["--exp_diffusion", str(runs / "A"), "--split", "all", "--no_emd", "--batch_size", "2"]
    log = tmp_path / "both.log"
    both = torchrun([str(ROOT / "evaluate_diffusion.py"), *flags], ROOT, log, processes=2)
    assert both.wait(600) == OK, log.read_text()[-2000:]
    assert log.read_text().count("report:") == 1
    rows = [json.loads(path.read_text()) for path in sorted((alone / "rows").glob("*.json"))]
    assert sorted(row["process"] for row in rows) == [0, 0, 1, 1]
    for path in sorted(alone.glob("*.npz")):
        assert np.allclose(load_xray(path).depth, single[path.name], atol=1e-3)


def test_a_sample_has_a_seed_of_its_own():
    assert sample_seed(0, "a_000") == sample_seed(0, "a_000") != sample_seed(1, "a_000")
    assert sample_seed(0, "a_000") != sample_seed(0, "a_001")
    assert 0 <= sample_seed(0, "a_000") < 2**63
