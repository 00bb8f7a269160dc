"""Flags that the commands of preprocessing share, and the settings that they give."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..common.axes import UP
from ..common.files import real_path
from ..common.jobs import EXECUTORS
from ..data.mesh_files import ID_RULES, MeshFolder
from ..data.object_shard import ObjectShard
from ..mesh.mesh import COLORS, NORMALS
from .render_object import FRAMINGS, LIGHTS, RENDERERS, RenderSettings, select_meshes
from .xray_object import XRaySettings

RENDER_FLAGS = ("num_views", "camera_distance", "image_size", "seed", "renderer", "light", "up", "framing")
XRAY_FLAGS = ("resolution", "color", "normals", "up", "near", "far", "min_iou", "device")


def add_mesh_flags(parser: argparse.ArgumentParser, mesh_root: Path) -> None:
    """Flags of the meshes and of their up axis."""
    add = parser.add_argument
    add("--mesh_root", type=Path, default=mesh_root, help="folder of meshes")
    add("--mesh_list", type=Path, help="JSON list of object ids: work on these alone")
    add("--id", choices=ID_RULES, default="name", help="an object's id: its file's name, or its path below mesh_root")
    add("--up", choices=UP, default="auto", help="axis that is up in the mesh files (auto: by file type)")


def add_render_flags(parser: argparse.ArgumentParser) -> None:
    """How pictures are made."""
    add, default = parser.add_argument, RenderSettings()
    add("--num_views", type=int, default=default.num_views)
    add("--camera_distance", type=float, default=default.camera_distance)
    add("--framing", choices=FRAMINGS, default=default.framing, help="object: each camera frames the object")
    whole = "take an object back from camera_distance until it is whole in every view: --framing whole"
    add("--fit", dest="framing", action="store_const", const="whole", help=whole)
    add("--elevation_deg", type=float, nargs=2, default=default.elevation_deg, metavar=("LOW", "HIGH"))
    add("--image_size", type=int, default=default.image_size)
    add("--seed", type=int, default=default.seed, help="of the views, together with the object's id")
    add("--renderer", choices=RENDERERS, default=default.renderer)
    add("--blender", help="a Blender program, or a Python with bpy; by default one is installed in .venv-blender")
    add("--light", choices=LIGHTS, default=default.light)


def add_xray_flags(parser: argparse.ArgumentParser) -> None:
    """How X-Rays are made."""
    add, default = parser.add_argument, XRaySettings()
    add("--num_layers", type=int, default=default.layers)
    add("--resolution", type=int, default=default.resolution, help="rays on each side")
    add("--color", choices=COLORS, default=default.color)
    add("--normals", choices=NORMALS, default=default.normals)
    add("--near", type=float, default=default.near, help="depth range, for the counts in the manifest")
    add("--far", type=float, default=default.far)
    add("--min_iou", type=float, default=default.min_iou, help="agreement with the picture for a view to be accepted")
    add("--device", default=default.device, help="of the X-Rays' rays: cpu, cuda or cuda:<n>")


def add_run_flags(parser: argparse.ArgumentParser, timeout_s: float, executor: bool = True) -> None:
    """Where and how long; the time limit is for one object."""
    add = parser.add_argument
    add("--workers", type=int, help="processes (default: one a core); 0 works in this one")
    if executor:
        add("--executor", choices=EXECUTORS, default="process", help="ray: on a Ray cluster, by default one made here")
    add("--timeout", type=float, help=f"seconds for one object, 0 for no limit (default {timeout_s:g})")
    add("--shard", default="0/1", help="i/n: only the i-th of n parts of the objects, with a record of its own")
    add("--overwrite", action="store_true", help="make again what is there")


def render_settings(flags: argparse.Namespace) -> RenderSettings:
    """Of `add_mesh_flags` and `add_render_flags`."""
    values = {name: getattr(flags, name) for name in RENDER_FLAGS}
    return RenderSettings(elevation_deg=tuple(flags.elevation_deg), **values)


def xray_settings(flags: argparse.Namespace) -> XRaySettings:
    """Of `add_mesh_flags` and `add_xray_flags`."""
    return XRaySettings(layers=flags.num_layers, **{name: getattr(flags, name) for name in XRAY_FLAGS})


def chosen_meshes(flags: argparse.Namespace) -> MeshFolder:
    """Of `add_mesh_flags`."""
    return select_meshes(real_path(flags.mesh_root), flags.mesh_list, flags.id)


def run_limits(flags: argparse.Namespace, default_s: float) -> tuple[int, float | None, ObjectShard]:
    """Number of workers, seconds for one object or None, and the part, of `add_run_flags`.

    With 0 workers no limit can be kept; but a Ray cluster, where 0 stands for all of it, keeps it.
    """
    on_ray = getattr(flags, "executor", "process") == "ray"
    workers = flags.workers
    if workers is None:
        workers = 0 if on_ray else len(os.sched_getaffinity(0))
    limit = (default_s if workers or on_ray else None) if flags.timeout is None else flags.timeout or None
    return workers, limit, ObjectShard.parse(flags.shard)
