"""A data set of spheres and a training's folder for each stage, small enough to make in a second or two."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from helpers.analytic import sphere_xray
from PIL import Image

from xray.commands.train import train
from xray.core.camera import FOV_RAD, Views, sample_views
from xray.core.storage import save_xray

RESOLUTION = 8
FACTOR = 2
LAYERS = 4


def make_data(root: Path, objects: int = 2, views: int = 2, size: int = 32) -> Path:
    """Spheres within spheres, one radius an object."""
    rng = np.random.default_rng(0)
    for number in range(objects):
        poses = sample_views(views, rng)
        names = tuple(f"{view:03d}.png" for view in range(views))
        images = root / "images" / f"ball{number}"
        images.mkdir(parents=True)
        (images / "transforms.json").write_text(Views(FOV_RAD, names, poses).to_json())
        for name, pose in zip(names, poses, strict=True):
            xray, _ = sphere_xray([0.5 - 0.05 * number, 0.3], size, eye=pose[:3, 3])
            save_xray(root / "xrays" / images.name / f"{name[:-4]}.npz", xray)
            rgba = np.concatenate([xray.color[0], xray.hit[0][..., None]], axis=-1)
            Image.fromarray(np.rint(rgba * 255).astype(np.uint8)).resize((64, 64)).save(images / name)
    return root


def train_both(root: Path, objects: int = 2) -> Path:
    """A folder with `data`, and both stages trained on it for a step: `A` diffusion, `B` upsampler."""
    data = make_data(root / "data", objects)
    train_stage("diffusion", root / "A", data)
    train_stage("upsampler", root / "B", data)
    return root


def train_stage(stage: str, output: Path, data: Path, steps: int = 1) -> Path:
    """Train a stage for a moment, by the command that users call."""
    upsampler = stage == "upsampler"
    overrides = [
        f"output_dir={output}",
        f"data.root={data}",
        "data.image_size=64",
        f"codec.layers={LAYERS}",
        f"codec.resolution={RESOLUTION * FACTOR if upsampler else RESOLUTION}",
        f"model.factor={FACTOR}" if upsampler else "model.block_out_channels=[32, 32]",
        "model.block_out_channels=[32, 32]",
        "model.num_attention_heads=[2, 2]",
        f"train.max_steps={steps}",
        "train.checkpoint_every=1",
        "train.batch_size=1",
        "train.trackers=[]",
        "sample.steps=2",
    ]
    config = Path(__file__).parents[2] / "configs" / f"example_{stage}.yaml"
    train(stage, ["--config", str(config), *overrides])
    return output
