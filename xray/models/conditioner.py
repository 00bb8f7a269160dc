"""The image as the networks read it: CLIP embedding and VAE latent, from frozen pretrained parts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from diffusers import UNetSpatioTemporalConditionModel
from safetensors import SafetensorError
from torch import nn
from torch.nn import functional as F

from ..common.errors import InputError
from ..common.files import ROOT

if TYPE_CHECKING:
    from diffusers import EulerDiscreteScheduler
    from transformers import CLIPImageProcessorPil

SCHEDULER = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "use_karras_sigmas": True,
    "sigma_min": 0.002,
    "sigma_max": 700.0,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "steps_offset": 1,
}
"""The settings of stable-video-diffusion-img2vid's scheduler_config.json."""

LATENT_CHANNELS = 4
"""Channels of the image VAE's latent."""

T = TypeVar("T")


class Conditioner(nn.Module):
    """Frozen CLIP vision tower and image VAE; neither where the network reads the picture's own pixels.

    Attributes:
      image_encoder: CLIPVisionModelWithProjection; None where the network has no cross-attention (the decoder).
      vae: AutoencoderKL or AutoencoderKLTemporalDecoder; None with pixels.
      image_processor: has the encoder's mean and deviation of pixels; None where there is no encoder.
    """

    def __init__(
        self,
        image_encoder: nn.Module | None,
        vae: nn.Module | None,
        image_processor: CLIPImageProcessorPil | None = None,
    ):
        super().__init__()
        self.image_encoder = image_encoder
        self.vae = vae
        self.image_processor = image_processor
        if image_encoder is not None:
            self.size = image_encoder.config.image_size
            self.register_buffer("mean", torch.tensor(image_processor.image_mean)[:, None, None], persistent=False)
            self.register_buffer("std", torch.tensor(image_processor.image_std)[:, None, None], persistent=False)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """CLIP image embedding.

        Args:
          images: (B, 3, S, S) in [-1, 1].
        Returns:
          (B, 1, D) float32.
        """
        small = F.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True)
        pixels = ((small + 1) / 2 - self.mean) / self.std
        return self.image_encoder(pixels.to(self.image_encoder.dtype)).image_embeds.float()[:, None]

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Mode of the VAE's latent, not multiplied by its scaling factor.

        Args:
          images: (B, 3, S, S), about [-1, 1] (noise may lead beyond).
        Returns:
          (B, 4, S/8, S/8) float32.
        """
        if images.device.type == "cpu":  # the memory order of the CPU's convolutions, which then need no conversion
            images = images.contiguous(memory_format=torch.channels_last)
        return self.vae.encode(images.to(self.vae.dtype)).latent_dist.mode().float()


def load_conditioner(pretrained: str, vae: str = "", with_embedding: bool = True) -> Conditioner:
    """The conditioner of a hub repository or a local folder, both laid out as Stable Video Diffusion.

    Args:
      pretrained: name or folder with image_encoder/, feature_extractor/ and vae/.
      vae: name or folder of another image VAE, at its root; empty for the one in `pretrained`.
      with_embedding: False leaves the CLIP tower out.
    Raises:
      InputError: a part is not there or cannot be read.
    """
    # not before: they take seconds to load, and networks that read pixels need none of them
    from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
    from transformers import CLIPImageProcessorPil, CLIPVisionModelWithProjection

    encoder = processor = None
    if with_embedding:
        encoder = _load(CLIPVisionModelWithProjection.from_pretrained, pretrained, "image_encoder")
        processor = _load(CLIPImageProcessorPil.from_pretrained, pretrained, "feature_extractor")
    name, subfolder = (vae, None) if vae else (pretrained, "vae")
    kind = _load(AutoencoderKL.load_config, name, subfolder).get("_class_name")
    classes = {"AutoencoderKL": AutoencoderKL, "AutoencoderKLTemporalDecoder": AutoencoderKLTemporalDecoder}
    if kind not in classes:
        raise InputError(f"{name}: the VAE is a {kind}, expected one of {', '.join(classes)}")
    return Conditioner(encoder, _load(classes[kind].from_pretrained, name, subfolder), processor)


def load_scheduler(pretrained: str) -> EulerDiscreteScheduler:
    """The noise schedule of sampling, from `pretrained`/scheduler; the published one where `pretrained` is empty."""
    from diffusers import EulerDiscreteScheduler  # which loads all of scipy.stats; a training has no use for it

    if not pretrained:
        return EulerDiscreteScheduler(**SCHEDULER)
    return _load(EulerDiscreteScheduler.from_pretrained, pretrained, "scheduler")


def load_unet(pretrained: str) -> UNetSpatioTemporalConditionModel:
    """The U-Net of `pretrained`/unet, to start another one from."""
    return _load(UNetSpatioTemporalConditionModel.from_pretrained, pretrained, "unet")


def find_pretrained(name: str) -> str:
    """A folder of that name (in the working directory, else in the repository), else the name, for the hub."""
    for folder in (Path(name), ROOT / name):
        if folder.is_dir():
            return str(folder)
    return name


def _load(load: Callable[..., T], name: str, subfolder: str | None) -> T:
    where = f"{name}/{subfolder}" if subfolder else name
    options = {"subfolder": subfolder} if subfolder else {}
    try:
        return load(find_pretrained(name), **options)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(
            f"{where}: cannot be loaded, expected a folder or a hub repository ({type(error).__name__}: {reason})",
        ) from None
