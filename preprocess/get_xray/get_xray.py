"""Make X-Rays from meshes and the cameras beside their pictures, and a manifest of what came of every view.

Reads <mesh_root>/**/<uid>.<ext> or <mesh_root>/<uid>/models/*.obj and <image_root>/<uid>/transforms.json,
writes <xray_root>/<uid>/<view>.npz and manifest.csv beside <xray_root>. The same command again goes on where the
last run ended. Exit status: 0 every view was written, 2 the input cannot be used, 3 there were failures.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from xray import cli  # noqa: E402
from xray.axes import UP  # noqa: E402
from xray.mesh import COLORS, NORMALS  # noqa: E402
from xray.objects import ObjectJob, Settings  # noqa: E402
from xray.preprocess import EXECUTORS, TIMEOUT_S, Shard, make_xrays  # noqa: E402


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The flags; defaults are the example meshes of this repository."""
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--mesh_root", type=Path, default=ROOT / "example/meshes")
    add("--image_root", type=Path, default=ROOT / "Data/example/images")
    add("--xray_root", type=Path, default=ROOT / "Data/example/xrays")
    add("--num_layers", type=int, default=default.layers)
    add("--resolution", type=int, default=default.resolution, help="rays on each side")
    add("--color", choices=COLORS, default=default.color)
    add("--normals", choices=NORMALS, default=default.normals)
    add("--up", choices=UP, default=default.up, help="axis that is up in the mesh files (auto: by file type)")
    add("--near", type=float, default=default.near, help="depth range, for the counts in the manifest")
    add("--far", type=float, default=default.far)
    add("--min_iou", type=float, default=default.min_iou, help="agreement with the picture for a view to be accepted")
    add("--device", default=default.device, help="cpu, cuda or cuda:<n>")
    add("--workers", type=int, help="processes (default: one a core); 0 works in this one")
    add("--executor", choices=EXECUTORS, default="process", help="ray: on a Ray cluster, by default one made here")
    add("--timeout", type=float, help=f"seconds for one object, 0 for no limit (default {TIMEOUT_S:g})")
    add("--shard", default="0/1", help="i/n: only the i-th of n parts of the objects")
    add("--overwrite", action="store_true", help="make everything anew")
    return parser.parse_args(arguments)


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    flags = parse(arguments)
    settings = Settings(
        layers=flags.num_layers,
        **{name: getattr(flags, name) for name in ("resolution", "color", "normals", "up", "near", "far", "min_iou")},
        device=flags.device,
    )
    job = ObjectJob(settings, flags.image_root.resolve(), flags.xray_root.resolve(), flags.overwrite)
    workers = flags.workers
    if workers is None:
        workers = 0 if flags.executor == "ray" else len(os.sched_getaffinity(0))
    by_default = TIMEOUT_S if workers or flags.executor == "ray" else None
    timeout_s = by_default if flags.timeout is None else flags.timeout or None
    return make_xrays(job, flags.mesh_root.resolve(), workers, timeout_s, Shard.parse(flags.shard), flags.executor)


if __name__ == "__main__":
    sys.exit(main())
