"""A trained network with its encoders, and its two uses: an X-Ray from a picture, and more rays for an X-Ray."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from ..common.errors import InputError
from ..config import Config
from ..core.codec import MODEL_CHANNELS, Codec
from .conditioner import Conditioner, load_scheduler
from .denoiser import Condition, added_time_ids
from .patch_unet import picture_channels
from .sampling import guided, layer_scales, noise_levels, starting_noise
from .sampling import solver as solver_of
from .upsampler import to_model_space


@dataclass
class Stage:
    """A trained network and what it needs to be used.

    Attributes:
      model: Denoiser, Upsampler or PixelShuffleUpsampler (by config.model.kind), in evaluation mode.
      step: optimizer steps of the checkpoint; 0 where it is untrained.
    """

    config: Config
    codec: Codec
    step: int
    model: nn.Module
    conditioner: Conditioner
    device: torch.device

    def noise_levels(self, steps: int) -> tuple[torch.Tensor, float]:
        """See `sampling.noise_levels`, for the scheduler of the pretrained parts."""
        return noise_levels(load_scheduler(self.config.model.pretrained), steps)


@torch.no_grad()
def sample_diffusion(
    stage: Stage,
    images: torch.Tensor,
    steps: int | None = None,
    guidance: tuple[float, float] | None = None,
    seeds: Sequence[int] | None = None,
    progress: Callable[[int], None] | None = None,
    solver: str = "euler",
) -> torch.Tensor:
    """X-Rays of images, by the first stage.

    Args:
      images: (B, 3 or 4, S, S) in [-1, 1] as `XRayDataset` gives them, S as in `stage.config.data.image_size`.
      steps, guidance: Euler steps; guidance of the first and the last layer; by default those of the configuration.
      seeds: (B,) one a sample; 0, 1, ... by default.
      progress: called with the number of each step done.
      solver: one of `sampling.SOLVERS`.
    Returns:
      (B, L, 8, r, r) model space, on the CPU.
    """
    _expect_stage(stage, "diffusion")
    size = stage.codec.resolution
    return _denoise(stage, images, None, size, steps, guidance, seeds, progress, solver)


@torch.no_grad()
def upsample(
    stage: Stage,
    low: torch.Tensor,
    images: torch.Tensor,
    seeds: Sequence[int] | None = None,
    steps: int | None = None,
    guidance: tuple[float, float] | None = None,
    progress: Callable[[int], None] | None = None,
    solver: str = "euler",
) -> torch.Tensor:
    """Larger X-Rays, by the second stage.

    Args:
      low: (B, L, 8, r, r) model space of the upsampler's codec; images: (B, 3 or 4, S, S) in [-1, 1].
      seeds, steps, guidance, progress, solver: of the `unet` kind; see `sample_diffusion`. The `decoder` draws nothing.
    Returns:
      (B, L, 8, R, R) model space, on the CPU.
    """
    _expect_stage(stage, "upsampler")
    size, layers = stage.codec.resolution, stage.codec.layers
    side = size // stage.config.model.factor
    if low.shape[1:] != (layers, MODEL_CHANNELS, side, side):
        raise InputError(
            f"low-res X-Ray of shape {tuple(low.shape)}: expected (batch, {layers}, {MODEL_CHANNELS}, {side}, {side})",
        )
    low = low.to(stage.device)
    if stage.config.model.kind == "unet":
        return _denoise(stage, images, low, size, steps, guidance, seeds, progress, solver)
    images = images.to(stage.device)
    if stage.config.model.image == "pixels":
        condition = Condition(None, None, picture=images)
    else:
        condition = Condition(embedding=None, latent=stage.conditioner.encode(images))
    return to_model_space(stage.model(low, condition)).cpu()


def _denoise(stage, images, low, size, steps, guidance, seeds, progress, solver) -> torch.Tensor:
    sample, layers = stage.config.sample, stage.codec.layers
    seeds = range(len(images)) if seeds is None else seeds
    if len(seeds) != len(images):
        raise InputError(f"{len(seeds)} seeds for {len(images)} images: expected one each")
    low_scale, high_scale = guidance or (sample.guidance_min, sample.guidance_max)
    images = images.to(stage.device)
    pixels = stage.config.model.image == "pixels"
    condition = Condition(
        embedding=None if pixels else stage.conditioner.embed(images),
        latent=None if pixels else stage.conditioner.encode(images),
        # No noise is added to the image of a sample, hence strength 0.
        added_time_ids=added_time_ids(
            sample.fps,
            stage.config.noise.motion_bucket,
            torch.zeros(len(images), device=stage.device),
        ),
        low=low,
        picture=picture_channels(images, stage.config.model.silhouette_distance) if pixels else None,
    )
    sigmas, deviation = stage.noise_levels(steps or sample.steps)
    x = starting_noise((layers, MODEL_CHANNELS, size, size), seeds, deviation).to(stage.device)
    scales = layer_scales(low_scale, high_scale, layers)
    return solver_of(solver)(guided(stage.model, condition, scales), x, sigmas, progress).cpu()


def _expect_stage(stage: Stage, name: str) -> None:
    if stage.config.stage != name:
        raise InputError(f"{stage.config.output_dir}: a checkpoint of the {stage.config.stage} stage, expected {name}")
