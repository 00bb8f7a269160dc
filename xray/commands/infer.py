"""One image -> points, a mesh and pictures: python infer.py --image photo.png --output out/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from ..common.cli import FAILURES, OK, entry, loading
from ..inference.photo import METHODS as CUTOUTS
from ..inference.picture_files import check_output, check_sample_names, find_pictures
from ..inference.rembg_network import make_cutout
from ..inference.settings import SOLVER_NAMES, GenerationSettings, check_samples
from ..surface.surface import METHODS


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--image", required=True, nargs="+", metavar="PATH", help="pictures, or folders of them")
    add(
        "--mask", type=Path, metavar="PATH", help="bright where the object is: a picture, or a folder of the same names"
    )
    add("--cutout", choices=CUTOUTS, default="auto", help="by what the object is cut out (default: what there is)")
    add("--cutout_model", type=Path, metavar="ONNX", help="network for rembg, instead of its own u2net")
    add("--model", metavar="NAME", help="first stage: a training, a pipeline, a hub name (default: the shipped model)")
    add("--upsampler", metavar="NAME", help="second stage: more rays (default: the shipped model's; of another, none)")
    add("--output", required=True, metavar="DIR", help="where the results go")
    add("--steps", type=int, metavar="N", help="sampling steps (default: the model's)")
    add("--guidance", type=float, nargs=2, metavar=("FIRST", "LAST"), help="of the first and the last layer")
    add("--solver", choices=SOLVER_NAMES, default="euler", help="of the sampling (default: euler)")
    add("--surface", choices=METHODS, default="auto", help="how the mesh is made (default: auto, which is fitted)")
    add("--seed", type=int, default=0, help="default: 0")
    samples = "shapes of each picture, of the seeds SEED, SEED + 1, ... (default: 1)"
    add("--samples", type=int, default=1, metavar="N", help=samples)
    add("--device", help="cpu, cuda, ... (default: cuda where there is one)")
    return parser.parse_args(arguments)


@entry
def main(arguments: list[str] | None = None) -> int:
    """Run over the pictures; status 3 where some could not be used."""
    options = parse(arguments)
    found = find_pictures(options.image)
    sys.stdout.write("".join(f"{line}\n" for line in found.left_out))
    settings = GenerationSettings(
        options.seed,
        options.steps,
        options.guidance and tuple(options.guidance),
        options.solver,
        options.surface,
    )
    check_samples(settings, options.samples)
    check_sample_names(found.pictures, options.samples)
    output = Path(options.output)
    check_output(output)
    cutout = make_cutout(options.cutout, options.cutout_model, options.mask)
    with loading():  # not before: torch and diffusers take seconds
        from ..inference.image_to_mesh import ShapeGenerator, choose_stages, default_device
    generator = ShapeGenerator(
        *choose_stages(options.model, options.upsampler), options.device or default_device(), cutout
    )
    failed, count = [], len(found.pictures)
    results = generator.run(found.pictures, options.mask, output, settings, options.samples)
    for path, reason in tqdm(results, total=count, unit="picture"):
        if reason:
            failed.append(f"{path}: {reason}" if str(path) not in reason else reason)
    sys.stdout.write("".join(f"failed: {line}\n" for line in failed))
    sys.stdout.write(f"{count - len(failed)} of {count} pictures done, in {output}\n")
    return FAILURES if failed else OK
