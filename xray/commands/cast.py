"""Make X-Rays from meshes and the cameras beside their pictures, and a manifest with the status of every view.

Reads <mesh_root>/**/<uid>.<ext> or <mesh_root>/<uid>/models/*.obj and <image_root>/<uid>/transforms.json,
writes <xray_root>/<uid>/<view>.npz and manifest.csv beside <xray_root>. The same command again goes on where the
last run ended. A pose without a picture gets its X-Ray too; it is not accepted for training.
Exit status: 0 every view was written, 2 the input cannot be used, 3 there were failures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..common import cli
from ..common.files import ROOT, real_path
from ..preprocess import flags as shared
from ..preprocess.xray_object import ObjectJob
from ..preprocess.xray_run import TIMEOUT_S, make_xrays


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The flags; defaults are the example meshes of this repository."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    shared.add_mesh_flags(parser, ROOT / "example/meshes")
    parser.add_argument("--image_root", type=Path, default=ROOT / "Data/example/images")
    parser.add_argument("--xray_root", type=Path, default=ROOT / "Data/example/xrays")
    shared.add_xray_flags(parser)
    shared.add_run_flags(parser, TIMEOUT_S)
    return parser.parse_args(arguments)


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    flags = parse(arguments)
    settings = shared.xray_settings(flags)
    job = ObjectJob(settings, real_path(flags.image_root), real_path(flags.xray_root), flags.overwrite)
    workers, timeout_s, shard = shared.run_limits(flags, TIMEOUT_S)
    return make_xrays(job, shared.chosen_meshes(flags), workers, timeout_s, shard, flags.executor)
