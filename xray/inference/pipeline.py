"""Both stages as diffusers pipelines: images in, X-Rays out; saved in a folder or on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from diffusers import ConfigMixin, DiffusionPipeline, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from diffusers.utils import BaseOutput
from huggingface_hub import snapshot_download
from PIL import Image

from ..common.errors import InputError
from ..common.files import read_json
from ..common.images import composite, to_array, to_pixels
from ..config import Config, from_dict
from ..core.codec import Codec
from ..core.xray import XRay
from ..models.build import make_denoiser, make_model
from ..models.conditioner import Conditioner, load_scheduler
from ..models.denoiser import Denoiser
from ..models.patch_unet import PatchUNet
from ..models.sampling import Generators, draw_seeds, noise_levels
from ..models.stage import Stage, sample_diffusion, upsample
from ..training import checkpoint
from .stage import load_stage

OPTIONS = ("cache_dir", "force_download", "local_files_only", "revision", "token")
"""Options of a download, as in `huggingface_hub.snapshot_download`."""

FILES = ("*.json", "*.safetensors", "*.txt")


def download(name: str, options: dict) -> Path:
    """Folder in the hub's cache of a pipeline by name, as "someone/chairs"; takes `OPTIONS` out of the options.

    diffusers' own download refuses a part whose class is of another package, as the upsampler's network is.

    Raises:
      OSError, ValueError: no such name, not a name, or no network and not in the cache.
    """
    chosen = {key: options.pop(key) for key in OPTIONS if key in options}
    return Path(snapshot_download(name, allow_patterns=list(FILES), **chosen))


Pictures = Image.Image | Sequence[Image.Image]


@dataclass
class XRayOutput(BaseOutput):
    """Result of a pipeline.

    Attributes:
      xrays: one valid `XRay` an image.
      tensors: (B, layers, 8, r, r) float32, the same in model space, before decoding.
    """

    xrays: list[XRay]
    tensors: torch.Tensor


@dataclass
class _PipelineStage(Stage):
    """A stage whose noise schedule is the pipeline's own."""

    scheduler: EulerDiscreteScheduler | None = None

    def noise_levels(self, steps: int) -> tuple[torch.Tensor, float]:
        return noise_levels(self.scheduler, steps)


class _XRayPipeline(DiffusionPipeline):
    """What both pipelines share: their modules, the configuration they were trained with, and how they load."""

    stage_name: str
    model_cpu_offload_seq = "image_encoder->vae->unet"
    _optional_components = ["image_encoder", "feature_extractor", "vae", "scheduler"]  # noqa: RUF012 (diffusers' own form)

    def __init__(
        self, unet, image_encoder, feature_extractor, vae, scheduler, training: dict | None = None, step: int = 0
    ) -> None:
        super().__init__()
        if training is None:
            raise InputError(f"{type(self).__name__}: no training configuration; load it with from_pretrained")
        self.register_modules(
            unet=unet,
            image_encoder=image_encoder,
            feature_extractor=feature_extractor,
            vae=vae,
            scheduler=scheduler,
        )
        self.register_to_config(training=training, step=step)

    @classmethod
    def from_stage(cls, stage: Stage) -> _XRayPipeline:
        """A pipeline of a loaded training."""
        if stage.config.stage != cls.stage_name:
            raise InputError(f"{stage.config.output_dir}: of the {stage.config.stage} stage, expected {cls.stage_name}")
        denoises = isinstance(stage.model, Denoiser)
        training = asdict(stage.config)
        # The folders of the training do not belong into a pipeline that others get.
        training["data"]["root"], training["output_dir"] = "", Path(stage.config.output_dir).name
        training["train"] |= {"init_from": "", "first_stage": "", "cache_dir": ""}
        pipeline = cls(
            unet=stage.model.unet if denoises else stage.model,
            image_encoder=stage.conditioner.image_encoder,
            feature_extractor=stage.conditioner.image_processor,
            vae=stage.conditioner.vae,
            scheduler=load_scheduler(stage.config.model.pretrained) if denoises else None,
            training=training,
            step=stage.step,
        )
        return pipeline.to(stage.device)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *, step: int | None = None, ema: bool = True, **options):
        """Load a saved pipeline (folder or hub name), or a training's output folder, or one checkpoint of it.

        Args:
          step, ema: of a training's folder: which checkpoint, and whether its averaged weights.
          options: of `DiffusionPipeline.from_pretrained`; of the hub's, those in `OPTIONS`.
        Raises:
          InputError: neither a pipeline nor a training's folder, or of the other stage.
        """
        path = Path(pretrained_model_name_or_path)
        try:
            if not path.is_dir():
                path = download(str(pretrained_model_name_or_path), options)
            if (path / "model_index.json").is_file():
                return super().from_pretrained(str(path), **options)._of_stage(pretrained_model_name_or_path)
        except InputError:
            raise
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"{pretrained_model_name_or_path}: no such folder, and not loadable from the hub ({reason})"
            ) from None
        if (path / checkpoint.CONFIG).is_file() and path.name.startswith("checkpoint-"):
            path, step = path.parent, int(path.name.split("-")[1])
        return cls.from_stage(load_stage(path, step, ema))

    def _of_stage(self, name: str | Path) -> _XRayPipeline:
        """Itself; InputError, beginning with `name`, where it was saved of the other stage."""
        if self.training.stage != self.stage_name:
            raise InputError(f"{name}: of the {self.training.stage} stage, expected {self.stage_name}")
        return self

    def save_pretrained(self, save_directory, **options) -> None:
        """As diffusers does, `push_to_hub` too, but without the local paths that the parts were loaded from."""
        for part in (self, *self.components.values()):
            if isinstance(part, ConfigMixin) and "_name_or_path" in part.config:
                part.register_to_config(_name_or_path=Path(part.config["_name_or_path"]).name)
        super().save_pretrained(save_directory, **options)

    @cached_property  # reading it takes as long as a step of the network
    def training(self) -> Config:
        """The configuration that the networks were trained with."""
        return from_dict(self.config.training, type(self).__name__)

    @property
    def codec(self) -> Codec:
        """Between the X-Rays and the networks."""
        return Codec(**self.config.training["codec"])

    def to_stage(self) -> Stage:
        """The network and its encoders, as the evaluations use them."""
        conditioner = Conditioner(self.image_encoder, self.vae, self.feature_extractor).to(self.device)
        model = self.unet if self._regresses else make_denoiser(self.training, self.unet)
        parts = (self.training, self.codec, self.config.step, model.eval(), conditioner, self.device)
        return _PipelineStage(*parts, scheduler=self.scheduler)

    def _images(self, image: Pictures) -> torch.Tensor:
        """(B, 3 or 4, S, S) in [-1, 1] of pictures as `prepare` makes them."""
        data = self.training.data
        pictures = [image] if isinstance(image, Image.Image) else list(image)
        if not pictures or not all(isinstance(picture, Image.Image) for picture in pictures):
            raise InputError(f"{type(self).__name__}: expected a PIL image or a list of them")
        if self.training.model.image == "pixels":
            arrays = [to_pixels(square_rgba(picture), data.background, data.image_size) for picture in pictures]
        else:
            arrays = [to_array(square(picture, data.background), data.image_size) for picture in pictures]
        return torch.from_numpy(np.stack(arrays))

    @property
    def _regresses(self) -> bool:
        """Whether the network is an upsampler that gives its result in one call."""
        return not isinstance(self.unet, (UNetSpatioTemporalConditionModel, PatchUNet))

    def _tick(self, steps: int, callback: Callable | None):
        """Progress bar and callback as one function of the number of steps done."""
        bar = self.progress_bar(total=steps)

        def tick(done: int) -> None:
            bar.update()
            if callback is not None:
                callback(self, done)

        return bar, tick

    def _output(self, tensors: torch.Tensor) -> XRayOutput:
        return XRayOutput(xrays=[self.codec.decode(tensor) for tensor in tensors], tensors=tensors)


class XRayDiffusionPipeline(_XRayPipeline):
    """One image -> the X-Ray of the object in it."""

    stage_name = "diffusion"

    @torch.no_grad()
    def __call__(
        self,
        image: Pictures,
        num_inference_steps: int | None = None,
        guidance: tuple[float, float] | None = None,
        generator: Generators | None = None,
        solver: str = "euler",
        callback: Callable[[XRayDiffusionPipeline, int], None] | None = None,
    ) -> XRayOutput:
        """Sample an X-Ray for each image.

        Args:
          image: PIL image(s): RGBA goes over the training's background; what is not square is padded with it.
          num_inference_steps, guidance: steps; scale of the first and the last layer; as trained by default.
          generator: one a sample, or one that all samples draw their seeds from in turn: a sample's result is the
            same whatever batch it comes in. By default the samples' seeds are 0, 1, ...
          solver: one of `sampling.SOLVERS`; callback: called with the pipeline and the number of each step done.
        """
        images = self._images(image)
        bar, tick = self._tick(num_inference_steps or self.training.sample.steps, callback)
        seeds = draw_seeds(generator, len(images))
        tensors = sample_diffusion(self.to_stage(), images, num_inference_steps, guidance, seeds, tick, solver)
        bar.close()
        return self._output(tensors)


class XRayUpsamplerPipeline(_XRayPipeline):
    """One image and its low-res X-Ray -> the X-Ray with more rays."""

    stage_name = "upsampler"

    @torch.no_grad()
    def __call__(
        self,
        image: Pictures,
        xrays: XRay | Sequence[XRay],
        num_inference_steps: int | None = None,
        guidance: tuple[float, float] | None = None,
        generator: Generators | None = None,
        solver: str = "euler",
        callback: Callable[[XRayUpsamplerPipeline, int], None] | None = None,
    ) -> XRayOutput:
        """Upsample the X-Ray of each image.

        Args:
          xrays: of the images, with `low_codec`'s number of rays or a whole multiple.
          the others: as in `XRayDiffusionPipeline`; they have no effect on an upsampler that regresses.
        """
        images = self._images(image)
        xrays = [xrays] if isinstance(xrays, XRay) else list(xrays)
        if len(xrays) != len(images):
            raise InputError(f"{len(xrays)} X-Rays for {len(images)} images: expected one each")
        low = torch.stack([self.low_codec.encode(xray) for xray in xrays])
        steps = 1 if self._regresses else num_inference_steps or self.training.sample.steps
        bar, tick = self._tick(steps, callback)
        seeds = draw_seeds(generator, len(images))
        tensors = upsample(self.to_stage(), low, images, seeds, num_inference_steps, guidance, tick, solver)
        if self._regresses:
            tick(1)
        bar.close()
        return self._output(tensors)

    @property
    def low_codec(self) -> Codec:
        """The codec of the input."""
        return self.codec.smaller(self.training.model.factor)


def square_rgba(picture: Image.Image) -> Image.Image:
    """The picture as RGBA, padded with transparency to a square."""
    picture = picture.convert("RGBA")
    side = max(picture.size)
    if picture.size == (side, side):
        return picture
    padded = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    padded.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return padded


def load_pipeline_stage(folder: str | Path, device: str = "cpu", trained: bool = True) -> Stage:
    """The network of a saved pipeline, as `stage.load_stage` gives that of a training's folder.

    Args:
      trained: False leaves the network at its random start (with step 0), to compare with.
    Raises:
      InputError: a pipeline of another class, or one that cannot be loaded.
    """
    kinds = {kind.__name__: kind for kind in (XRayDiffusionPipeline, XRayUpsamplerPipeline)}
    name = read_json(Path(folder) / "model_index.json").get("_class_name")
    if name not in kinds:
        raise InputError(f"{folder}: a pipeline of class {name!r}, expected one of {', '.join(kinds)}")
    stage = kinds[name].from_pretrained(folder).to(device).to_stage()
    if trained:
        return stage
    return replace(stage, model=make_model(stage.config).eval().requires_grad_(False).to(stage.device), step=0)


def square(picture: Image.Image, background: float) -> Image.Image:
    """The RGB picture over a grey background, padded with it to a square."""
    flat = composite(picture.convert("RGBA"), background)
    side = max(flat.size)
    if flat.size == (side, side):
        return flat
    padded = Image.new("RGB", (side, side), (round(255 * background),) * 3)
    padded.paste(flat, ((side - flat.width) // 2, (side - flat.height) // 2))
    return padded
