"""Pictures and cameras of meshes: `<image_root>/<object>/<view>.png` and `transforms.json`.

    python preprocess/get_image/render.py --mesh_root example/meshes --image_root Data/mine/images

Run again, it makes only what is missing. Every object is listed in `<image_root>/render.csv`, failures with reasons.
Exit status: 0 every object was rendered, 2 the input cannot be used, 3 there were failures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common.cli import entry
from ..common.files import ROOT
from ..preprocess import flags as shared
from ..preprocess.render_run import TIMEOUT_S, make_images


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The flags; defaults are the example meshes of this repository."""
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=formatter)
    shared.add_mesh_flags(parser, ROOT / "example/meshes")
    parser.add_argument("--image_root", type=Path, default=ROOT / "Data/example/images", help="folder to write to")
    shared.add_render_flags(parser)
    shared.add_run_flags(parser, TIMEOUT_S, executor=False)
    return parser.parse_args(arguments)


@entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    flags = parse(arguments)
    settings = shared.render_settings(flags)
    workers, timeout_s, shard = shared.run_limits(flags, TIMEOUT_S)
    meshes = shared.chosen_meshes(flags)
    return make_images(meshes, flags.image_root, settings, workers, timeout_s, flags.overwrite, flags.blender, shard)
