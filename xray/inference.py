"""A user's own pictures: from the image to points, a mesh and pictures of both, on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import trimesh
from PIL import Image

from .camera import DISTANCE, Camera, look_at
from .errors import InputError
from .evaluation import OUTPUT
from .images import MAX_PIXELS, UNREADABLE
from .photo import prepare
from .pictures import frame_of, sheet, splat
from .pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline, square
from .points import PointCloud, save_ply, to_points
from .representation import XRay
from .storage import atomic_path, save_xray
from .surface import Surface, save_mesh, to_surface

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

VIEWER = look_at((0.0, -DISTANCE, 0.0))
"""Pose given to a picture that comes without one: in front of the object, level with it."""


def find_pictures(inputs: list[str]) -> list[Path]:
    """The picture files among files and folders, each folder's sorted by name.

    Raises:
      InputError: nothing there, a folder without pictures, two pictures of one name (their results would collide).
    """
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside = sorted(item for item in path.iterdir() if item.suffix.lower() in SUFFIXES)
            if not inside:
                raise InputError(f"{path}: no pictures in it ({', '.join(SUFFIXES)})")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{path}: no such file or folder")
    stems: dict[str, Path] = {}
    for path in found:
        if path.stem in stems:
            raise InputError(f"{path} and {stems[path.stem]} have the same name; results are named after the picture")
        stems[path.stem] = path
    return found


def find_mask(mask: Path | None, picture: Path) -> Path | None:
    """The mask of a picture: the file given, or the one of its name in the folder given."""
    if mask is None or mask.is_file():
        return mask
    found = sorted(path for path in mask.glob(f"{picture.stem}.*") if path.suffix.lower() in SUFFIXES)
    if not found:
        raise InputError(f"{mask}: no mask named {picture.stem} in it")
    return found[0]


def frame(path: Path, mask: Path | None, size: int) -> Image.Image:
    """The object of a picture file, cut out and framed as `photo.prepare` does.

    An opaque picture whose object cannot be told from its background is used whole, with a warning that says so.
    """
    picture = load_picture(path)
    if mask is not None:
        return prepare(picture, load_picture(mask), size)
    if picture.convert("RGBA").getextrema()[3][0] < 255:
        return prepare(picture, None, size)
    try:
        return prepare(picture, None, size)
    except InputError as error:
        log.warning("%s: %s. It is used whole.", path, error)
        return picture


def load_picture(path: Path) -> Image.Image:
    """A decoded picture of any mode. Raises InputError where it is none."""
    try:
        with Image.open(path) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f"{path}: {picture.width} x {picture.height} pixels, expected at most {MAX_PIXELS}")
            picture.load()
            return picture
    except InputError:
        raise
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{path}: not readable as a picture ({type(error).__name__}: {reason})") from None


class Imaginer:
    """Both pipelines and what they are run with.

    Args:
      model: of the first stage: an experiment, a training's folder, a saved pipeline or a hub name.
      upsampler: of the second stage, or None to stay at the first one's number of rays.
      options: of the first pipeline's call: num_inference_steps, guidance, solver.
    """

    def __init__(self, model: str, upsampler: str | None, device: str, seed: int, **options) -> None:
        self.first = XRayDiffusionPipeline.from_pretrained(_find(model)).to(device)
        self.second = XRayUpsamplerPipeline.from_pretrained(_find(upsampler)).to(device) if upsampler else None
        for pipeline in (self.first, self.second):
            if pipeline is not None:
                pipeline.set_progress_bar_config(leave=False, desc=pipeline.stage_name)
        self.seed, self.options = seed, options

    def imagine(self, picture: Image.Image) -> XRay:
        """The X-Ray of the object in a picture."""
        generator = torch.Generator().manual_seed(self.seed)
        xray = self.first(picture, generator=generator, **self.options).xrays[0]
        if self.second is None:
            return xray
        return self.second(picture, xray, generator=generator, solver=self.options["solver"]).xrays[0]

    def run(self, paths: list[Path], mask: Path | None, output: Path, method: str) -> Iterator[tuple[Path, str]]:
        """Write every picture's results; yields each path, and why it has none ("" where it does)."""
        size = self.first.training.data.image_size
        for path in paths:
            try:
                picture = frame(path, find_mask(mask, path), size)
                self.write(path.stem, picture, self.imagine(picture), output, method)
            except InputError as error:
                yield path, str(error)
            else:
                yield path, ""

    def write(self, stem: str, picture: Image.Image, xray: XRay, output: Path, method: str) -> None:
        """Write STEM_xray.npz, _points.ply, .glb, .obj, _layers.png and _turntable.gif."""
        camera = Camera(xray.shape[2], xray.shape[1], world_from_camera=VIEWER)
        codec = self.first.codec
        save_xray(output / f"{stem}_xray.npz", xray)
        cloud = to_points(xray, camera, "world")
        save_ply(output / f"{stem}_points.ply", cloud)
        surface = to_surface(xray, camera, method, "world")
        if len(surface.faces):
            save_mesh(output / f"{stem}.glb", surface)
            save_mesh(output / f"{stem}.obj", surface)
        image = np.asarray(square(picture, self.first.training.data.background))
        layers = sheet(image, {"predicted": xray}, {"predicted": to_points(xray, camera)}, codec.near, codec.far, stem)
        with atomic_path(output / f"{stem}_layers.png") as partial:
            layers.save(partial)
        save_turntable(output / f"{stem}_turntable.gif", sample_surface(surface) if len(surface.faces) else cloud)
        if not len(cloud):
            raise InputError(f"{stem}: the model saw no surface in the picture; its X-Ray is empty")


def _find(model: str) -> str:
    """A folder, an experiment's folder by its name, else a name for the hub."""
    experiment = OUTPUT / model
    return str(experiment) if not Path(model).is_dir() and experiment.is_dir() else model


def sample_surface(surface: Surface, count: int = 60_000) -> PointCloud:
    """Points spread evenly over a mesh, with its normals and colours."""
    mesh = surface.to_trimesh()
    points, face, weights = trimesh.sample.sample_surface(mesh, count, return_barycentric=True, seed=0)
    corners, weights = surface.faces[face], weights[..., None]
    colors = (surface.colors[corners] * weights).sum(1).astype(np.float32)
    return PointCloud(points, mesh.face_normals[face], colors)


def save_turntable(path: Path, cloud: PointCloud, frames: int = 36, size: int = 256) -> None:
    """Write an animated .gif of a z-up cloud turning once around its vertical axis."""
    upright = PointCloud(
        cloud.points[:, [0, 2, 1]] * (1, 1, -1), cloud.normals[:, [0, 2, 1]] * (1, 1, -1), cloud.colors
    )
    centre, radius = frame_of(upright)
    views = [
        Image.fromarray(splat(upright, 360 * number / frames, 15.0, size, (centre, radius), 2))
        for number in range(frames)
    ]
    with atomic_path(path) as partial:
        views[0].save(partial, save_all=True, append_images=views[1:], duration=70, loop=0)
