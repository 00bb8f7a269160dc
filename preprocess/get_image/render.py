"""Pictures and cameras of meshes: `<image_root>/<object>/<view>.png` and `transforms.json`.

    python preprocess/get_image/render.py --mesh_root example/meshes --image_root Data/mine/images

Run again, it makes only what is missing. Every object is listed in `<image_root>/render.csv`, failures with reasons.
Exit status: 0 every object was rendered, 2 the input cannot be used, 3 there were failures.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from xray.axes import UP  # noqa: E402
from xray.cli import entry  # noqa: E402
from xray.image_run import make_images  # noqa: E402
from xray.image_set import RENDERERS, RenderSettings, select_meshes  # noqa: E402
from xray.render import LIGHTS  # noqa: E402


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The flags; defaults are the example meshes of this repository."""
    default = RenderSettings()
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], formatter_class=formatter)
    add = parser.add_argument
    add("--mesh_root", type=Path, default=ROOT / "example/meshes", help="folder of meshes")
    add("--image_root", type=Path, default=ROOT / "Data/example/images", help="folder to write to")
    add("--mesh_list", type=Path, help="JSON list of object ids: render only these")
    add("--num_views", type=int, default=default.num_views)
    add("--camera_distance", type=float, default=default.camera_distance)
    add("--elevation_deg", type=float, nargs=2, default=default.elevation_deg, metavar=("LOW", "HIGH"))
    add("--image_size", type=int, default=default.image_size)
    add("--seed", type=int, default=default.seed, help="of the views, together with the object's id")
    add("--renderer", choices=RENDERERS, default=default.renderer)
    add("--blender", help="a Blender program, or a Python with bpy; by default one is installed in .venv-blender")
    add("--light", choices=LIGHTS, default=default.light)
    add("--up", choices=UP, default=default.up, help="axis that is up in the files (auto: by file type)")
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes; 0 works in this one")
    add("--timeout", type=float, default=1800, help="seconds for one object, 0 for no limit")
    add("--overwrite", action="store_true", help="make pictures anew that are there")
    return parser.parse_args(arguments)


@entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    flags = parse(arguments)
    names = ("num_views", "camera_distance", "image_size", "seed", "renderer", "light", "up")
    settings = RenderSettings(elevation_deg=tuple(flags.elevation_deg), **{n: getattr(flags, n) for n in names})
    meshes = select_meshes(flags.mesh_root, flags.mesh_list)
    timeout_s = flags.timeout or None
    return make_images(
        meshes, flags.image_root, settings, flags.workers, timeout_s, flags.overwrite, blender=flags.blender
    )


if __name__ == "__main__":
    sys.exit(main())
