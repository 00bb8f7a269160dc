"""Pictures and cameras of meshes: `<image_root>/<object>/<view>.png` and `transforms.json`.

    python preprocess/get_image/render.py --mesh_root example/meshes --image_root Data/mine/images

Run again, it makes only what is missing. Every object is listed in `<image_root>/render.csv`, failures with reasons.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from xray.axes import UP  # noqa: E402
from xray.cli import FAILURES, entry  # noqa: E402
from xray.image_set import RENDERERS, RenderSettings, RenderTask, render_object, select_meshes  # noqa: E402
from xray.jobs import Failure, run_jobs  # noqa: E402
from xray.render import LIGHTS  # noqa: E402
from xray.render_record import FILE_NAME, RenderRow, merge_record  # noqa: E402


def parse() -> argparse.Namespace:
    default = RenderSettings()
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=formatter)
    parser.add_argument("--mesh_root", type=Path, default=ROOT / "example/meshes", help="folder of meshes")
    parser.add_argument("--image_root", type=Path, default=ROOT / "example/dataset/images", help="folder to write to")
    parser.add_argument("--mesh_list", type=Path, help="JSON list of object ids: render only these")
    parser.add_argument("--num_views", type=int, default=default.num_views)
    parser.add_argument("--camera_distance", type=float, default=default.camera_distance)
    parser.add_argument("--elevation_deg", type=float, nargs=2, default=default.elevation_deg, metavar=("LOW", "HIGH"))
    parser.add_argument("--image_size", type=int, default=default.image_size)
    parser.add_argument("--seed", type=int, default=default.seed)
    parser.add_argument("--renderer", choices=RENDERERS, default=default.renderer)
    parser.add_argument("--light", choices=LIGHTS, default=default.light)
    parser.add_argument("--up", choices=UP, default=default.up, help="axis that is up in the files")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="objects at a time")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds for one object")
    parser.add_argument("--overwrite", action="store_true", help="make pictures anew that are there")
    return parser.parse_args()


@entry
def main() -> int:
    args = parse()
    names = ("num_views", "camera_distance", "image_size", "seed", "renderer", "light", "up")
    settings = RenderSettings(elevation_deg=tuple(args.elevation_deg), **{name: getattr(args, name) for name in names})
    meshes = select_meshes(args.mesh_root, args.mesh_list)
    tasks = [RenderTask(uid, path, args.image_root / uid, settings, args.overwrite) for uid, path in meshes.items()]
    rows = []
    try:
        timeout = args.timeout if args.workers else None
        for task, result in run_jobs(render_object, tasks, args.workers, timeout, progress="rendering"):
            if isinstance(result, Failure):
                logging.error("%s: %s", task.uid, result.reason)
                rows.append(RenderRow(task.uid, "failed", result.reason))
            else:
                rows.append(RenderRow(task.uid, "rendered", "", result.made, result.kept, result.seconds))
    finally:
        merge_record(args.image_root, rows)
    failed = sum(row.status == "failed" for row in rows)
    made, kept = sum(row.made for row in rows), sum(row.kept for row in rows)
    logging.info(
        "%d objects: %d pictures made, %d were there, %d objects failed; see %s",
        len(rows), made, kept, failed, args.image_root / FILE_NAME,
    )  # fmt: skip
    return FAILURES if failed else 0


if __name__ == "__main__":
    sys.exit(main())
