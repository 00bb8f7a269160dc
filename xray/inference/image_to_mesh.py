"""From the picture of an object to its X-Ray, points, mesh and pictures of them, on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..common.errors import InputError
from ..common.files import atomic_path
from ..core.camera import DISTANCE, Camera, look_at
from ..core.points import PointCloud, to_points
from ..core.samples import sample_spread
from ..core.storage import save_xray
from ..core.xray import XRay
from ..mesh.ply import save_ply
from ..models.conditioner import find_pretrained
from ..surface.surface import Surface, save_mesh, to_surface
from ..visual.sheets import sheet
from ..visual.turntable import save_turntable
from .photo import AUTO, CutOut, frame
from .picture_files import LAYERS, PictureFile, check_results, find_mask
from .pipeline import XRayDiffusionPipeline, XRayUpsamplerPipeline, square
from .settings import GenerationSettings, check_samples
from .stage import check_device, model_source


@dataclass
class GeneratedShape:
    """The parts of one shape that are made so far; they are made in the order of the fields.

    Attributes:
      picture: the object, cut out and framed; warning: one line about the cut-out, or "".
      xray: of the first stage, then of the second. cloud, surface: in the z-up world.
      seconds: that each stage took, in the order of their doing; of samples made together, for all of them.
    """

    picture: Image.Image | None = None
    warning: str = ""
    xray: XRay | None = None
    cloud: PointCloud | None = None
    surface: Surface | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Notes how long the block takes."""
        with timed([self], stage):
            yield

    def check(self, name: str) -> None:
        """Raises InputError, beginning with `name`, where there is no surface at all."""
        if not len(self.cloud):
            raise InputError(f"{name}: the model saw no surface in the picture; its X-Ray is empty")


@contextmanager
def timed(shapes: list[GeneratedShape], stage: str) -> Iterator[None]:
    """Notes with every shape how long the block takes, for all of them together."""
    start = time.perf_counter()
    yield
    for made in shapes:
        made.seconds[stage] = time.perf_counter() - start


log = logging.getLogger(__name__)

SHEET_CLOUDS = 5
"""Samples of a picture whose points are drawn on its sheet."""

VIEWER = look_at((0.0, -DISTANCE, 0.0))
"""Pose given to a picture that comes without one: in front of the object, level with it."""

MODEL, UPSAMPLER = "example/pretrained/diffusion", "example/pretrained/upsampler"
"""The two stages of the model that comes with the repository."""


def choose_stages(model: str | None, upsampler: str | None) -> tuple[str, str | None]:
    """The stages to use: those of the repository where no model is given; of another model, the given ones.

    Raises:
      InputError: the repository's are asked for and not there, as with the installed package alone.
    """
    if model is None:
        if not Path(find_pretrained(MODEL)).is_dir():
            raise InputError(
                f"{MODEL}: this model comes with the repository, not with the installed package; "
                "run in the repository's folder, or name another one by --model"
            )
        return MODEL, upsampler or UPSAMPLER
    return model, upsampler


class ShapeGenerator:
    """Both pipelines, and the way from a picture to a mesh through them.

    Args:
      model: of the first stage: an experiment, a training's folder, a saved pipeline or a hub name.
      upsampler: of the second stage, or None to stay at the first one's number of rays.
      cutout: how objects are cut out of pictures.
    Raises:
      InputError: no such device, a stage that cannot be loaded, or stages that do not fit together.
    """

    def __init__(
        self, model: str = MODEL, upsampler: str | None = UPSAMPLER, device: str = "cpu", cutout: CutOut = AUTO
    ) -> None:
        check_device(device)
        self.cutout = cutout
        self.first = XRayDiffusionPipeline.from_pretrained(model_source(model)).to(device)
        self.second = XRayUpsamplerPipeline.from_pretrained(model_source(upsampler)).to(device) if upsampler else None
        if self.second is not None:
            made, taken = self.first.codec, self.second.low_codec
            if made.resolution % taken.resolution or made.layers < taken.layers:
                raise InputError(
                    f"{upsampler}: takes X-Rays of {taken.layers} layers and {taken.resolution} rays on each side; "
                    f"{model} makes {made.layers} layers and {made.resolution} rays"
                )
        for pipeline in (self.first, self.second):
            if pipeline is not None:
                pipeline.set_progress_bar_config(leave=False, desc=pipeline.stage_name)

    def make(
        self,
        path: Path,
        mask: Path | None,
        settings: GenerationSettings,
        tick: Callable[[int], None] | None = None,
        cutout: CutOut | None = None,
    ) -> Iterator[GeneratedShape]:
        """All that is made of a picture, yielded again after every stage (the same object, with more in it).

        Args:
          tick: called with the number of every sampling step of the first stage done.
          cutout: how the object is cut out, where not as of all pictures.
        """
        for (made,) in self.make_samples(path, mask, settings, 1, tick, cutout):
            yield made

    def shape(self, path: str | Path, settings: GenerationSettings | None = None) -> GeneratedShape:
        """What `make` makes of a picture file, when all is done.

        Raises:
          InputError: not a picture, or the model saw no surface in it.
        """
        made = list(self.make(Path(path), None, settings or GenerationSettings()))[-1]
        made.check(str(path))
        return made

    def make_samples(
        self,
        path: Path,
        mask: Path | None,
        settings: GenerationSettings,
        count: int,
        tick: Callable[[int], None] | None = None,
        cutout: CutOut | None = None,
    ) -> Iterator[list[GeneratedShape]]:
        """`count` shapes of a picture, yielded again after every stage (the same list, with more in its shapes).

        Shape k, from 0, has the seed `settings.seed` + k: but for rounding, it is the one that `make` gives for that
        seed. All are sampled together.

        Args:
          tick: called with the number of every sampling step of the first stage done.
          cutout: how the object is cut out, where not as of all pictures.
        Raises:
          InputError: a count below 1, or a seed too large, before anything is made.
        """
        check_samples(settings, count)
        shapes = [GeneratedShape() for _ in range(count)]
        generators = [torch.Generator().manual_seed(settings.seed + number) for number in range(count)]
        with timed(shapes, "cut-out"):
            picture, warning = frame(path, mask, self.first.training.data.image_size, cutout or self.cutout)
            for made in shapes:
                made.picture, made.warning = picture, warning
        yield shapes
        options = {"generator": generators, "solver": settings.solver}
        with timed(shapes, "X-Ray"):
            done = None if tick is None else lambda _, step: tick(step)
            first = self.first([picture] * count, settings.steps, settings.guidance, callback=done, **options)
            _give(shapes, first.xrays)
        yield shapes
        if self.second is not None:
            with timed(shapes, "more rays"):
                low = [made.xray for made in shapes]
                _give(shapes, self.second([picture] * count, low, **options).xrays)
            yield shapes
        for stage in (_add_cloud, _add_surface):
            for made in shapes:
                stage(made, settings)
            yield shapes

    def layers(self, shapes: GeneratedShape | list[GeneratedShape], title: str) -> Image.Image:
        """The picture, every layer of the X-Ray and its points from four sides, on one sheet.

        Of several samples: the layers of the first, the spread of all at each ray, and the points of the first
        `SHEET_CLOUDS`.
        """
        shapes = [shapes] if isinstance(shapes, GeneratedShape) else shapes
        codec, data = self.first.codec, self.first.training.data
        image = np.asarray(square(shapes[0].picture, data.background))
        if len(shapes) == 1:
            names, spread = ["predicted"], None
        else:
            names = [f"sample {number}" for number in range(1, len(shapes) + 1)]
            spread = sample_spread([made.xray for made in shapes])
        clouds = {
            name: to_points(made.xray, _viewer(made.xray))
            for name, made in zip(names[:SHEET_CLOUDS], shapes, strict=False)
        }
        return sheet(image, {names[0]: shapes[0].xray}, clouds, codec.near, codec.far, title, spread)

    def run(
        self,
        pictures: Sequence[PictureFile],
        mask: Path | None,
        output: Path,
        settings: GenerationSettings,
        samples: int = 1,
    ) -> Iterator[tuple[Path, str]]:
        """Write every picture's results; yields each path, and why it has none ("" where it does).

        Whether they can be written is tried before anything is sampled. Several samples have files of their own,
        NAME_sample1_xray.npz to NAME_sampleN_turntable.gif, and one NAME_layers.png.
        """
        check_samples(settings, samples)
        for picture in pictures:
            try:
                check_results(output, picture, samples)
                self._write(picture, find_mask(mask, picture), output, settings, samples)
            except InputError as error:
                yield picture.path, str(error)
            except OSError as error:
                yield picture.path, f"{output}: results cannot be written there ({error.strerror or error})"
            else:
                yield picture.path, ""

    def _write(
        self, picture: PictureFile, mask: Path | None, output: Path, settings: GenerationSettings, samples: int
    ) -> None:
        names, writing = picture.sample_names(samples), []
        with ThreadPoolExecutor(1) as beside:  # meshes are made on one core: what is done already is written meanwhile
            for shapes in self.make_samples(picture.path, mask, settings, samples):
                if shapes[0].cloud is not None and not writing:
                    # The X-Rays first, and nothing without them: they mark the others as results, which a later run
                    # may replace.
                    writing.append(beside.submit(_save_all_points, shapes, names, output))
                    writing.append(beside.submit(_after, writing[0], self._save_layers, shapes, picture.name, output))
            if shapes[0].warning:
                log.warning("%s: %s", picture.path, shapes[0].warning)
            writing += [
                beside.submit(_after, writing[0], _save_meshes, *shape, output)
                for shape in zip(shapes, names, strict=True)
            ]
            writing[0].result()
            for made, name in zip(shapes, names, strict=True):
                with made.timed("turntable"):
                    turned = made.surface if len(made.surface.faces) else made.cloud
                    save_turntable(output / f"{name}_turntable.gif", turned)
            for one in writing:
                one.result()
        seconds = shapes[-1].seconds.items()
        log.info("%s: %s", picture.path, ", ".join(f"{name} {took:.2f} s" for name, took in seconds))
        for number, made in enumerate(shapes, 1):
            made.check(picture.path.name if samples == 1 else f"{picture.path.name}, sample {number}")

    def _save_layers(self, shapes: list[GeneratedShape], name: str, output: Path) -> None:
        with timed(shapes, "layers"), atomic_path(output / f"{name}{LAYERS}") as partial:
            self.layers(shapes, name).save(partial)


def _give(shapes: list[GeneratedShape], xrays: list[XRay]) -> None:
    for made, xray in zip(shapes, xrays, strict=True):
        made.xray = xray


def _viewer(xray: XRay) -> Camera:
    return Camera(xray.shape[2], xray.shape[1], world_from_camera=VIEWER)


def _add_cloud(made: GeneratedShape, settings: GenerationSettings) -> None:
    with made.timed("points"):
        made.cloud = to_points(made.xray, _viewer(made.xray), "world")


def _add_surface(made: GeneratedShape, settings: GenerationSettings) -> None:
    with made.timed("mesh"):
        made.surface = to_surface(made.xray, _viewer(made.xray), settings.surface, "world", predicted=True)


def save(made: GeneratedShape, stem: str, output: Path) -> list[Path]:
    """Write STEM_xray.npz, _points.ply and, where there are faces, .glb; returns their paths."""
    with made.timed("files"):
        return _save_points(made, stem, output) + _save_meshes(made, stem, output, ("glb",))


def _save_all_points(shapes: Sequence[GeneratedShape], names: Sequence[str], output: Path) -> None:
    for made, name in zip(shapes, names, strict=True):
        _save_points(made, name, output)


def _after(first: Future, job: Callable[..., Any], *arguments) -> None:
    """Do a job where another has come to a good end."""
    first.result()
    job(*arguments)


def _save_points(made: GeneratedShape, stem: str, output: Path) -> list[Path]:
    paths = [output / f"{stem}_xray.npz", output / f"{stem}_points.ply"]
    save_xray(paths[0], made.xray)
    save_ply(paths[1], made.cloud)
    return paths


def _save_meshes(made: GeneratedShape, stem: str, output: Path, kinds: Sequence[str] = ("glb", "obj")) -> list[Path]:
    """None where there are no faces."""
    paths = [output / f"{stem}.{kind}" for kind in kinds if len(made.surface.faces)]
    for path in paths:
        save_mesh(path, made.surface)
    return paths


def default_device() -> str:
    """cuda where there is a GPU, else cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"
