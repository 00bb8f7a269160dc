"""A user's own pictures: from the image to points, a mesh and pictures of both, on disk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from .camera import DISTANCE, Camera, look_at
from .errors import InputError
from .evaluation import OUTPUT
from .images import MAX_PIXELS, UNREADABLE
from .imagined import Imagined, Settings
from .models.conditioner import find
from .photo import BackgroundError, prepare
from .pictures import sheet
from .pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline, square
from .points import save_ply, to_points
from .storage import atomic_path, save_xray
from .surface import save_mesh, to_surface
from .turntable import sample_surface, save_turntable

log = logging.getLogger(__name__)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")

VIEWER = look_at((0.0, -DISTANCE, 0.0))
"""Pose given to a picture that comes without one: in front of the object, level with it."""

MODEL, UPSAMPLER = "example/pretrained/diffusion", "example/pretrained/upsampler"
"""The two stages of the model that comes with the repository."""


def choose_stages(model: str | None, upsampler: str | None) -> tuple[str, str | None]:
    """The stages to use: those of the repository unless told otherwise; of another model, the given ones."""
    if model is None:
        return MODEL, upsampler or UPSAMPLER
    return model, upsampler


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


def frame(path: Path, mask: Path | None, size: int) -> tuple[Image.Image, str]:
    """The object of a picture file, cut out and framed as `photo.prepare` does, and a warning ("" for none).

    An opaque picture whose object cannot be told from its background is used whole, with a warning that says so.
    """
    picture = load_picture(path)
    if mask is not None:
        return prepare(picture, load_picture(mask), size), ""
    try:
        return prepare(picture, None, size), ""
    except BackgroundError as error:
        return picture, f"{error}. It is used whole."


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
    """Both pipelines, and the way from a picture to a mesh through them.

    Args:
      model: of the first stage: an experiment, a training's folder, a saved pipeline or a hub name.
      upsampler: of the second stage, or None to stay at the first one's number of rays.
    Raises:
      InputError: no such device, or a stage that cannot be loaded.
    """

    def __init__(self, model: str, upsampler: str | None, device: str) -> None:
        _check_device(device)
        self.first = XRayDiffusionPipeline.from_pretrained(_find(model)).to(device)
        self.second = XRayUpsamplerPipeline.from_pretrained(_find(upsampler)).to(device) if upsampler else None
        for pipeline in (self.first, self.second):
            if pipeline is not None:
                pipeline.set_progress_bar_config(leave=False, desc=pipeline.stage_name)

    def make(
        self, path: Path, mask: Path | None, settings: Settings, tick: Callable[[int], None] | None = None
    ) -> Iterator[Imagined]:
        """All that is made of a picture, yielded again after every stage (the same object, with more in it).

        Args:
          tick: called with the number of every sampling step of the first stage done.
        """
        made = Imagined()
        generator = torch.Generator().manual_seed(settings.seed)
        with made.timed("cut-out"):
            made.picture, made.warning = frame(path, mask, self.first.training.data.image_size)
        yield made
        with made.timed("X-Ray"):
            options = {"generator": generator, "solver": settings.solver}
            done = None if tick is None else lambda _, step: tick(step)
            first = self.first(made.picture, settings.steps, settings.guidance, callback=done, **options)
            made.xray = first.xrays[0]
        yield made
        if self.second is not None:
            with made.timed("more rays"):
                made.xray = self.second(made.picture, made.xray, **options).xrays[0]
            yield made
        camera = Camera(made.xray.shape[2], made.xray.shape[1], world_from_camera=VIEWER)
        with made.timed("points"):
            made.cloud = to_points(made.xray, camera, "world")
        yield made
        with made.timed("mesh"):
            made.surface = to_surface(made.xray, camera, settings.surface, "world")
        yield made

    def layers(self, made: Imagined, title: str) -> Image.Image:
        """The picture, every layer of the X-Ray and its points from four sides, on one sheet."""
        codec, data = self.first.codec, self.first.training.data
        camera = Camera(made.xray.shape[2], made.xray.shape[1], world_from_camera=VIEWER)
        image = np.asarray(square(made.picture, data.background))
        clouds = {"predicted": to_points(made.xray, camera)}
        return sheet(image, {"predicted": made.xray}, clouds, codec.near, codec.far, title)

    def run(self, paths: list[Path], mask: Path | None, output: Path, settings: Settings) -> Iterator[tuple[Path, str]]:
        """Write every picture's results; yields each path, and why it has none ("" where it does)."""
        for path in paths:
            try:
                made = list(self.make(path, find_mask(mask, path), settings))[-1]
                if made.warning:
                    log.warning("%s: %s", path, made.warning)
                save(made, path.stem, output)
                self.save_views(made, path.stem, output)
                log.info("%s: %s", path, ", ".join(f"{name} {took:.2f} s" for name, took in made.seconds.items()))
                made.check(path.name)
            except InputError as error:
                yield path, str(error)
            else:
                yield path, ""

    def save_views(self, made: Imagined, stem: str, output: Path) -> None:
        """Write STEM.obj, _layers.png and _turntable.gif."""
        with made.timed("views"):
            if len(made.surface.faces):
                save_mesh(output / f"{stem}.obj", made.surface)
            with atomic_path(output / f"{stem}_layers.png") as partial:
                self.layers(made, stem).save(partial)
            turned = sample_surface(made.surface) if len(made.surface.faces) else made.cloud
            save_turntable(output / f"{stem}_turntable.gif", turned)


def save(made: Imagined, stem: str, output: Path) -> list[Path]:
    """Write STEM_xray.npz, _points.ply and, where there are faces, .glb; returns their paths."""
    with made.timed("files"):
        paths = [output / f"{stem}_xray.npz", output / f"{stem}_points.ply"]
        save_xray(paths[0], made.xray)
        save_ply(paths[1], made.cloud)
        if len(made.surface.faces):
            paths.append(output / f"{stem}.glb")
            save_mesh(paths[2], made.surface)
    return paths


def _check_device(device: str) -> None:
    try:
        known = torch.device(device).type
    except RuntimeError as error:
        raise InputError(f"device {device}: {str(error).splitlines()[0]}") from None
    if known == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device {device}: no CUDA device here")


def _find(model: str) -> str:
    """A folder, an experiment's folder by its name, a folder of the repository, else a name for the hub."""
    experiment = OUTPUT / model
    return str(experiment) if not Path(model).is_dir() and experiment.is_dir() else find(model)
