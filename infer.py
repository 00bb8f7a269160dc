"""One image -> points, a mesh and pictures: python infer.py --image photo.png --output out/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from xray.cli import FAILURES, OK, entry
from xray.errors import InputError
from xray.imagined import Settings
from xray.inference import Imaginer, choose_stages, find_pictures
from xray.solvers import SOLVERS
from xray.surface import METHODS


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--image", required=True, nargs="+", metavar="PATH", help="pictures, or folders of them")
    add(
        "--mask", type=Path, metavar="PATH", help="bright where the object is: a picture, or a folder of the same names"
    )
    add("--model", metavar="NAME", help="first stage: a training, a pipeline, a hub name (default: the shipped model)")
    add("--upsampler", metavar="NAME", help="second stage: more rays (default: the shipped model's; of another, none)")
    add("--output", required=True, metavar="DIR", help="where the results go")
    add("--steps", type=int, metavar="N", help="sampling steps (default: the model's)")
    add("--guidance", type=float, nargs=2, metavar=("FIRST", "LAST"), help="of the first and the last layer")
    add("--solver", choices=SOLVERS, default="euler", help="of the sampling (default: euler)")
    add("--surface", choices=METHODS, default="rays", help="how the mesh is made (default: rays)")
    add("--seed", type=int, default=0, help="default: 0")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, ...")
    return parser.parse_args(arguments)


@entry
def main(arguments: list[str] | None = None) -> int:
    """Run over the pictures; status 3 where some could not be used."""
    options = parse(arguments)
    paths = find_pictures(options.image)
    if options.mask is not None and not options.mask.exists():
        raise InputError(f"{options.mask}: no such mask")
    settings = Settings(
        options.seed,
        options.steps,
        options.guidance and tuple(options.guidance),
        options.solver,
        options.surface,
    )
    imaginer = Imaginer(*choose_stages(options.model, options.upsampler), options.device)
    output = Path(options.output)
    failed = []
    for path, reason in tqdm(imaginer.run(paths, options.mask, output, settings), total=len(paths), unit="picture"):
        if reason:
            failed.append(f"{path}: {reason}" if str(path) not in reason else reason)
    sys.stdout.write("".join(f"failed: {line}\n" for line in failed))
    sys.stdout.write(f"{len(paths) - len(failed)} of {len(paths)} pictures done, in {output}\n")
    return FAILURES if failed else OK


if __name__ == "__main__":
    sys.exit(main())
