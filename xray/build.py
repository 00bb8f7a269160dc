"""From a configuration to objects, and from a training's folder to a network that makes X-Rays."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import nn

from .codec import CHANNELS, Codec
from .config import Config, load_config
from .dataset import XRayDataset
from .errors import InputError
from .models.conditioner import Conditioner, load_conditioner, load_scheduler
from .models.denoiser import Condition, Denoiser
from .models.unet import UNetShape, make_unet
from .models.upsampler import Upsampler, to_model_space
from .sampler import guided, layer_scales, noise_levels, starting_noise
from .solvers import solver as solver_of
from .training import checkpoint
from .training.cache import EncoderCache
from .training.state import load_weights
from .training.tasks import Denoising, Regression, added_time_ids


def make_codec(config: Config) -> Codec:
    """The codec of a configuration."""
    return Codec(**asdict(config.codec))


def make_dataset(config: Config, split: str = "train") -> XRayDataset:
    """The data set of a configuration; damaged files raise, the trainer decides what then."""
    data = config.data
    return XRayDataset(data.root, make_codec(config), split, data.image_size, data.eval_fraction, data.background)


def make_conditioner(config: Config) -> Conditioner:
    """The frozen encoders; the decoder needs no image embedding."""
    model = config.model
    conditioner = load_conditioner(model.pretrained, model.vae, with_embedding=model.kind == "unet")
    if model.kind == "unet":
        length = conditioner.image_encoder.config.projection_dim
        if length != model.cross_attention_dim:
            raise InputError(
                f"model.cross_attention_dim is {model.cross_attention_dim}, expected {length}, "
                f"the length of the image embedding of {model.pretrained}",
            )
    return conditioner


def make_model(config: Config) -> Denoiser | Upsampler:
    """The network with random weights, the same for the same `train.seed`."""
    model = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        if model.kind == "decoder":
            return Upsampler(model.block_out_channels, model.layers_per_block, model.residual)
        shape = UNetShape(
            block_out_channels=model.block_out_channels,
            num_attention_heads=model.num_attention_heads,
            layers_per_block=model.layers_per_block,
            transformer_layers_per_block=model.transformer_layers_per_block,
            cross_attention_dim=model.cross_attention_dim,
            addition_time_embed_dim=model.addition_time_embed_dim,
            layers=config.codec.layers,
            low_res=config.stage == "upsampler",
            attention=tuple(model.attention),
        )
        return Denoiser(make_unet(shape))


def make_task(config: Config, conditioner: Conditioner, cache: EncoderCache | None = None) -> Denoising | Regression:
    """What the network is trained to do."""
    noise, loss = config.noise, config.loss
    factor = config.model.factor if config.stage == "upsampler" else 1
    if config.model.kind == "decoder":
        return Regression(
            conditioner,
            factor,
            noise.low_max,
            noise.image_max,
            loss.hit_loss,
            loss.value_loss,
            loss.channel_weights,
            own_fraction=config.train.first_stage_fraction,
            cache=cache,
        )
    values = {key: value for key, value in asdict(noise).items() if key != "image_max"}
    return Denoising(
        conditioner,
        factor,
        **values,
        weighting=loss.weighting,
        min_snr_gamma=loss.min_snr_gamma,
        miss_weight=loss.miss_weight,
        channel_weights=loss.channel_weights,
        own_fraction=config.train.first_stage_fraction,
        cache=cache,
    )


@dataclass
class Stage:
    """A trained network and what it needs to be used.

    Attributes:
      model: Denoiser, or Upsampler (config.model.kind "decoder"), in evaluation mode.
      step: optimizer steps of the checkpoint; 0 where it is untrained.
    """

    config: Config
    codec: Codec
    step: int
    model: nn.Module
    conditioner: Conditioner
    device: torch.device

    def noise_levels(self, steps: int) -> tuple[torch.Tensor, float]:
        """See `sampler.noise_levels`, for the scheduler of the pretrained parts."""
        return noise_levels(load_scheduler(self.config.model.pretrained), steps)


def load_stage(
    experiment_dir: str | Path,
    step: int | None = None,
    ema: bool = True,
    device: str = "cpu",
    trained: bool = True,
) -> Stage:
    """The network of a training's folder.

    Args:
      experiment_dir: as Output/NAME, with checkpoint-<step> folders.
      step: which checkpoint; the latest by default.
      ema: take the averaged weights.
      trained: False leaves the network at its random start (with step 0), to compare with.
    Raises:
      InputError: no such folder or checkpoint, a damaged one, or one whose pretrained parts are not there.
    """
    path = checkpoint.find(experiment_dir, step)
    config = load_config(path / checkpoint.CONFIG)
    codec = Codec.from_dict(json.loads((path / checkpoint.CODEC).read_text(encoding="utf-8")))
    model = make_model(config)
    if trained:
        load_weights(model, path / (checkpoint.EMA if ema else checkpoint.MODEL))
    step = int(path.name.split("-")[1]) if trained else 0
    where = torch.device(device)
    conditioner = make_conditioner(config).to(where)
    return Stage(config, codec, step, model.eval().requires_grad_(False).to(where), conditioner, where)


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
      images: (B, 3, S, S) in [-1, 1], S as in `stage.config.data.image_size`.
      steps, guidance: Euler steps; guidance of the first and the last layer; by default those of the configuration.
      seeds: (B,) one a sample; 0, 1, ... by default.
      progress: called with the number of each step done.
      solver: one of `solvers.SOLVERS`.
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
      low: (B, L, 8, r, r) model space of the upsampler's codec; images: (B, 3, S, S) in [-1, 1].
      seeds, steps, guidance, progress, solver: of the `unet` kind; see `sample_diffusion`. The `decoder` draws nothing.
    Returns:
      (B, L, 8, R, R) model space, on the CPU.
    """
    _expect_stage(stage, "upsampler")
    size, layers = stage.codec.resolution, stage.codec.layers
    side = size // stage.config.model.factor
    if low.shape[1:] != (layers, CHANNELS, side, side):
        raise InputError(
            f"low-res X-Ray of shape {tuple(low.shape)}: expected (batch, {layers}, {CHANNELS}, {side}, {side})",
        )
    low = low.to(stage.device)
    if stage.config.model.kind == "unet":
        return _denoise(stage, images, low, size, steps, guidance, seeds, progress, solver)
    condition = Condition(embedding=None, latent=stage.conditioner.encode(images.to(stage.device)))
    return to_model_space(stage.model(low, condition)).cpu()


def _denoise(stage, images, low, size, steps, guidance, seeds, progress, solver) -> torch.Tensor:
    sample, layers = stage.config.sample, stage.codec.layers
    seeds = range(len(images)) if seeds is None else seeds
    if len(seeds) != len(images):
        raise InputError(f"{len(seeds)} seeds for {len(images)} images: expected one each")
    low_scale, high_scale = guidance or (sample.guidance_min, sample.guidance_max)
    images = images.to(stage.device)
    condition = Condition(
        embedding=stage.conditioner.embed(images),
        latent=stage.conditioner.encode(images),
        # No noise is added to the image of a sample, hence strength 0.
        added_time_ids=added_time_ids(
            sample.fps,
            stage.config.noise.motion_bucket,
            torch.zeros(len(images), device=stage.device),
        ),
        low=low,
    )
    sigmas, deviation = stage.noise_levels(steps or sample.steps)
    x = starting_noise((layers, CHANNELS, size, size), seeds, deviation).to(stage.device)
    scales = layer_scales(low_scale, high_scale, layers)
    return solver_of(solver)(guided(stage.model, condition, scales), x, sigmas, progress).cpu()


def _expect_stage(stage: Stage, name: str) -> None:
    if stage.config.stage != name:
        raise InputError(f"{stage.config.output_dir}: a checkpoint of the {stage.config.stage} stage, expected {name}")
