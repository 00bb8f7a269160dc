"""The second stage in its denoising form, from its own example configuration to scores and meshes."""

import csv

from helpers.tiny_runs import FACTOR, LAYERS, RESOLUTION, make_data, train_stage
from helpers.training_runs import ROOT

import evaluate_diffusion
import evaluate_upsampler
from xray.commands.train import train
from xray.common.cli import OK
from xray.core.storage import load_xray
from xray.inference.stage import load_stage
from xray.metrics.nearest import MISSING_DISTANCE


def test_it_trains_and_is_evaluated(tmp_path):
    data = make_data(tmp_path / "data", views=1)
    overrides = [
        f"output_dir={tmp_path / 'B'}",
        f"data.root={data}",
        "data.image_size=64",
        f"codec.layers={LAYERS}",
        f"codec.resolution={RESOLUTION * FACTOR}",
        f"model.factor={FACTOR}",
        "model.block_out_channels=[32, 32]",
        "model.num_attention_heads=[2, 2]",
        "train.max_steps=3",
        "train.batch_size=1",
        "train.trackers=[]",
    ]
    train("upsampler", ["--config", str(ROOT / "configs" / "example_upsampler_unet.yaml"), *overrides])
    stage = load_stage(tmp_path / "B")
    assert (stage.step, stage.config.model.kind) == (3, "unet")
    train_stage("diffusion", tmp_path / "A", data)

    flags = ["--exp_diffusion", str(tmp_path / "A"), "--no_emd"]
    assert evaluate_diffusion.main([*flags, "--split", "all"]) == OK
    assert evaluate_upsampler.main([*flags, "--exp_upsampler", str(tmp_path / "B")]) == OK
    (folder,) = (tmp_path / "B" / "evaluate").iterdir()
    with (folder / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sample"] for row in rows] == ["ball0_000", "ball1_000"]
    for row in rows:
        assert load_xray(folder / f"{row['sample']}_xray.npz").validate().shape == (LAYERS, 16, 16)
        assert 0 < float(row["author.chamfer"]) < 2 * MISSING_DISTANCE
    assert (folder / "report.html").exists()
