"""Meshes to a data set in one pass: pictures, cameras, X-Rays and the manifest.

    python preprocess/make_dataset.py --mesh_root example/meshes --root Data/mine

Writes <root>/images, <root>/xrays and <root>/manifest.csv: the same files as get_image/render.py and then
get_xray/get_xray.py, but reads each mesh once. The same command again goes on where the last run ended.
Exit status: 0 every view was written, 2 the input cannot be used, 3 there were failures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common import cli
from ..common.files import ROOT, real_path
from ..preprocess import flags as shared
from ..preprocess.dataset_run import TIMEOUT_S, make_dataset
from ..preprocess.xray_object import ObjectJob


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The flags; defaults are the example meshes of this repository."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared.add_mesh_flags(parser, ROOT / "example/meshes")
    parser.add_argument("--root", "--data_root", type=Path, default=ROOT / "Data/example", help="folder to write to")
    shared.add_render_flags(parser)
    shared.add_xray_flags(parser)
    shared.add_run_flags(parser, TIMEOUT_S)
    return parser.parse_args(arguments)


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    flags = parse(arguments)
    root = real_path(flags.root)
    xrays = ObjectJob(shared.xray_settings(flags), root / "images", root / "xrays", flags.overwrite)
    pictures = shared.render_settings(flags)
    workers, timeout_s, shard = shared.run_limits(flags, TIMEOUT_S)
    meshes = shared.chosen_meshes(flags)
    return make_dataset(meshes, pictures, xrays, workers, timeout_s, shard, flags.executor, flags.blender)
