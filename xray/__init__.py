"""X-Ray: a 3D object as the ordered sequence of surfaces that each camera ray crosses.

**The object.** An `XRay` holds, for every pixel's ray, the surfaces that it crosses, front to back: depth, normal,
colour. `load_xray` and `save_xray` are its file, and `Camera` says where its rays run.

>>> import xray
>>> shape = xray.load_xray("example/dataset/xrays/chest/000.npz")
>>> shape.depth.shape, shape.normal.shape, shape.color.shape
((16, 256, 256), (16, 256, 256, 3), (16, 256, 256, 3))

**From a mesh.** `load_mesh` reads .glb, .gltf, .obj, .ply, .stl and .off; `cast_mesh` follows the rays of a camera
through it. Folders of meshes are for the commands `xray render` and `xray cast`, which use every core and record what
fails.

>>> mesh = xray.load_mesh("example/meshes/mug.obj")
>>> shape = xray.cast_mesh(mesh, xray.orbit_camera(azimuth_deg=30, elevation_deg=20))

**Back to points and meshes.** `to_points` is every surface as a `PointCloud`, `to_surface` a mesh made from the order
of the hits; `save_ply` and `save_mesh` write them.

>>> cloud = xray.to_points(shape, xray.orbit_camera(azimuth_deg=30, elevation_deg=20), "world")

**Networks.** A `Codec` maps an X-Ray to the tensor that networks see, and back. `XRayDiffusionPipeline` makes an X-Ray
from one picture, `XRayUpsamplerPipeline` one with more rays from it; both are diffusers pipelines. `ShapeGenerator` is
the whole way from a picture to a mesh.

>>> first = xray.XRayDiffusionPipeline.from_pretrained("example/pretrained/diffusion")

Every name is loaded when it is first used: `import xray` itself takes a moment, and what works on meshes never loads
torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

__version__ = "0.2.0"

_HOMES = {
    "XRay": "core.xray",
    "Camera": "core.camera",
    "orbit_camera": "core.camera",
    "Codec": "core.codec",
    "load_xray": "core.storage",
    "save_xray": "core.storage",
    "PointCloud": "core.points",
    "to_points": "core.points",
    "load_mesh": "mesh.load",
    "save_ply": "mesh.ply",
    "cast_mesh": "raycast.capture",
    "Surface": "surface.surface",
    "to_surface": "surface.surface",
    "save_mesh": "surface.surface",
    "XRayDataset": "data.dataset",
    "XRayDiffusionPipeline": "inference.pipeline",
    "XRayUpsamplerPipeline": "inference.pipeline",
    "ShapeGenerator": "inference.image_to_mesh",
    "InputError": "common.errors",
    "RunError": "common.errors",
}
"""Public name -> the module that has it."""

__all__ = [
    "Camera",
    "Codec",
    "InputError",
    "PointCloud",
    "RunError",
    "ShapeGenerator",
    "Surface",
    "XRay",
    "XRayDataset",
    "XRayDiffusionPipeline",
    "XRayUpsamplerPipeline",
    "cast_mesh",
    "load_mesh",
    "load_xray",
    "orbit_camera",
    "save_mesh",
    "save_ply",
    "save_xray",
    "to_points",
    "to_surface",
]

if TYPE_CHECKING:
    from .common.errors import InputError, RunError
    from .core.camera import Camera, orbit_camera
    from .core.codec import Codec
    from .core.points import PointCloud, to_points
    from .core.storage import load_xray, save_xray
    from .core.xray import XRay
    from .data.dataset import XRayDataset
    from .inference.image_to_mesh import ShapeGenerator
    from .inference.pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline
    from .mesh.load import load_mesh
    from .mesh.ply import save_ply
    from .raycast.capture import cast_mesh
    from .surface.surface import Surface, save_mesh, to_surface


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
