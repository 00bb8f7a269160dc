"""Checkpoints and pipelines saved by version 0.1.0 still load.

helpers/saved_by_0_1_0.json holds, of both networks that came with 0.1.0, model_index.json and unet/config.json as that
version wrote them, and a digest of the names and shapes of the saved tensors. Their values are made here.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from xray.common.files import ROOT
from xray.config import from_dict
from xray.inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
from xray.inference.stage import load_stage
from xray.models.build import make_model
from xray.training import checkpoint

SAVED = json.loads((Path(__file__).parents[1] / "helpers" / "saved_by_0_1_0.json").read_text())
PIPELINES = {"diffusion": XRayDiffusionPipeline, "upsampler": XRayUpsamplerPipeline}


def training_of(stage: str) -> dict:
    """The configuration as 0.1.0 wrote it, with the encoders that come with the repository."""
    training = SAVED[stage]["model_index"]["training"]
    model = {**training["model"], "pretrained": str(ROOT / "example/encoders"), "vae": ""}
    return {**training, "model": model, "data": {**training["data"], "root": "Data/old"}}


def weights_of(stage: str) -> dict[str, torch.Tensor]:
    """Weights of today's network for that configuration, as a checkpoint names them."""
    return make_model(from_dict(training_of(stage), stage)).state_dict()


def as_pipeline(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same as a pipeline names them: the network alone, without its denoiser."""
    return {name.removeprefix("unet."): value for name, value in weights.items()}


@pytest.mark.parametrize("stage", SAVED)
def test_the_networks_have_the_tensors_that_were_saved(stage):
    rows = sorted(f"{name} {list(value.shape)}" for name, value in as_pipeline(weights_of(stage)).items())
    assert hashlib.sha256("\n".join(rows).encode()).hexdigest()[:16] == SAVED[stage]["tensors"]


@pytest.mark.parametrize("stage", SAVED)
def test_a_checkpoint_saved_before_loads(stage, tmp_path):
    folder = tmp_path / "old" / "checkpoint-3"
    folder.mkdir(parents=True)
    training, weights = training_of(stage), weights_of(stage)
    for name, scale in (("model.safetensors", 1.0), ("ema.safetensors", 0.5)):
        save_file({key: (scale * value).contiguous() for key, value in weights.items()}, folder / name)
    (folder / "config.yaml").write_text(yaml.safe_dump(training, sort_keys=False, default_flow_style=None, width=110))
    (folder / "codec.json").write_text(json.dumps(training["codec"], indent=1) + "\n")
    (folder / "trainer.json").write_text('{"step": 3, "samples": 6, "scaler": null}\n')
    torch.save({}, folder / "optimizer.pt")
    sums = {
        path.name: {"size": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
    }
    (folder / "files.json").write_text(json.dumps(sums, indent=1) + "\n")
    assert checkpoint.damage_of(folder) is None
    loaded = load_stage(tmp_path / "old")
    assert loaded.step == 3
    assert loaded.codec.to_dict() == training["codec"]
    assert all(torch.equal(value, 0.5 * weights[name]) for name, value in loaded.model.state_dict().items())


@pytest.mark.parametrize("stage", SAVED)
def test_a_pipeline_saved_before_loads_and_runs(stage, tmp_path):
    index, weights = SAVED[stage]["model_index"], as_pipeline(weights_of(stage))
    for name in ("image_encoder", "feature_extractor", "vae", "scheduler"):
        if index[name] != [None, None]:
            shutil.copytree(ROOT / "example/encoders" / name, tmp_path / name)
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps(SAVED[stage]["unet_config"]))
    save_file({name: value.contiguous() for name, value in weights.items()}, tmp_path / "unet" / PART)
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    pipeline = PIPELINES[stage].from_pretrained(tmp_path)
    assert all(torch.equal(value, weights[name]) for name, value in pipeline.unet.state_dict().items())
    assert pipeline.codec.to_dict() == index["training"]["codec"]
    if stage == "diffusion":
        pipeline.set_progress_bar_config(disable=True)
        (xray,) = pipeline(Image.new("RGBA", (64, 64), (200, 80, 40, 255)), num_inference_steps=1).xrays
        assert xray.shape == (8, 16, 16)


PART = "diffusion_pytorch_model.safetensors"
