"""Recipes of a first stage from nothing, each for the same CPU time, on the data of the model that ships.

python benchmarks/equal_time.py --work Output/pretrained [--seconds 1200] [--recipes published shipped ...]

Reads what `scripts/train_pretrained.sh` made in --work: views of `data`, and of `held_out` the objects that are scored.
Each recipe learns in one thread, bf16 and compiled, for so many steps as take the time (measured before; what
compiling takes does not count); its X-Rays of 64 x 64 rays are scored as the model's card says, without its second
stage. The published recipe makes 16 x 16 rays in four fifths of the time and 64 x 64 by the published decoder in one
fifth. Stopped, the same command goes on; two recipes can run side by side, each with its own --recipes.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import torch

from xray.common.cli import entry
from xray.common.files import ROOT, read_json, write_json
from xray.config import Config, load_config
from xray.models.build import make_codec
from xray.recipes.config import read_comparison
from xray.recipes.pretrained import held_out
from xray.recipes.run import command, train_for
from xray.recipes.scores import TITLES, load_first_stage, load_pipelines, mean, metrics_of, predict

RECIPES = {
    "published": None,
    "shipped": (),
    "no_lookup": ("model.color_lookup=0",),
    "patch_8": ("model.patch=8",),
    "wider": ("model.block_out_channels=[96,128,192]", "model.num_attention_heads=[3,4,6]"),
    "adamw": ("train.optimizer=adamw",),
    "fast": ("train.learning_rate=2.4e-3",),
    "pairs": ("train.batch_size=2",),
}
"""name -> keys beside configs/pretrained_diffusion.yaml; published is that of configs/recipes/shapes.yaml."""

SECOND_STAGE = 0.2
"""Share of the time that the published decoder takes."""


def train(config: Config, seconds: float) -> dict:
    """Train for the time, or what is left of it; the plan."""
    return train_for(
        replace(config, train=replace(config.train, precision="bf16", compile=True, keep_checkpoints=1)), seconds
    )


def published(work: Path, output: Path) -> tuple[Config, Config]:
    """Both stages of the published recipe at 16 x 16 and 64 x 64 rays, over the image VAE of the comparison."""
    comparison = replace(read_comparison(ROOT / "configs/recipes/shapes.yaml"), output_dir=str(output / "published"))
    if not comparison.vae.is_dir():
        steps = ("--steps", comparison.vae_steps)
        images = ("--image_root", work / "data/images", "--output", comparison.vae)
        command(comparison.folder / "vae.log", ROOT / "example/train_vae.py", *images, *steps)
    like = load_config(ROOT / "configs/pretrained_diffusion.yaml", ["data.root=."])
    stages = []
    for name in ("published", "decoder"):
        stage = comparison.training(name)
        data = replace(stage.data, root=str(work / "data"), camera_distance=like.data.camera_distance)
        codec = replace(stage.codec, near=like.codec.near, far=like.codec.far)
        stages.append(replace(stage, data=data, codec=codec, output_dir=str(output / f"published/{name}")))
    return stages[0], stages[1]


def run(name: str, work: Path, output: Path, seconds: float, seeds: range) -> dict:
    """The scores of a recipe, trained first."""
    path = output / f"{name}.json"
    if path.is_file():
        return read_json(path)
    if name == "published":
        configs = published(work, output)
        plans = [train(configs[0], (1 - SECOND_STAGE) * seconds), train(configs[1], SECOND_STAGE * seconds)]
        pipelines = load_pipelines(configs[0].output_dir, configs[1].output_dir)
        codec = make_codec(configs[1])
    else:
        keys = (f"data.root={work / 'data'}", f"output_dir={output / name}", "data.num_workers=0", *RECIPES[name])
        config = load_config(ROOT / "configs/pretrained_diffusion.yaml", list(keys))
        plans = [train(config, seconds)]
        pipelines = load_first_stage(config.output_dir), None
        codec = make_codec(config)
    scorer = held_out(work / "held_out", codec)
    scores = {"seeds": {str(seed): scorer.score(predict(scorer, *pipelines, seed)) for seed in seeds}}
    result = {
        "seconds": seconds,
        "steps": [plan["steps"] for plan in plans],
        "step_s": [plan["step_s"] for plan in plans],
        "parameters": [sum(p.numel() for p in pipeline.unet.parameters()) for pipeline in pipelines if pipeline],
        "scores": {metric: mean(scores, metric) for metric in metrics_of(scores)},
    }
    write_json(path, result)
    return result


def table(results: dict[str, dict]) -> str:
    """A line a recipe, the published one first where it is among them."""
    lines = ["| recipe | " + " | ".join(TITLES.values()) + " | steps | ms a step |", "|---" * (len(TITLES) + 3) + "|"]
    for name, row in results.items():
        cells = [f"{row['scores'][metric][0]:.4f}" for metric in TITLES]
        steps = " + ".join(map(str, row["steps"]))
        times = " + ".join(f"{1000 * seconds:.0f}" for seconds in row["step_s"])
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {steps} | {times} |")
    return "\n".join(lines)


@entry
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--work", type=Path, required=True, help="folder of scripts/train_pretrained.sh: data and held_out")
    add("--output", type=Path, default=ROOT / "Output/equal_time")
    add("--seconds", type=float, default=1200, help="CPU seconds of one thread a recipe")
    add("--recipes", nargs="+", choices=RECIPES, default=list(RECIPES))
    add("--seeds", type=int, default=3, help="of sampling")
    args = parser.parse_args()
    torch.set_num_threads(1)
    work, output = args.work.resolve(), args.output.resolve()
    for name in args.recipes:
        run(name, work, output, args.seconds, range(args.seeds))
    done = {name: read_json(output / f"{name}.json") for name in RECIPES if (output / f"{name}.json").is_file()}
    sys.stdout.write(table(done) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
