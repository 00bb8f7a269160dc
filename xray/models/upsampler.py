"""The regressing upsampler: the up half of a temporal autoencoder, from a low-res X-Ray and the image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder
from einops import rearrange
from torch.nn import functional as F

from ..core.codec import MODEL_CHANNELS
from .conditioner import LATENT_CHANNELS
from .denoiser import Condition
from .patch_unet import enlarge

LAYERS_PER_BLOCK = 2
"""Residual blocks of the published decoder (42.4 M parameters at 128/256/512 channels)."""


HIT_LOGIT = 2.0
"""Logit of a hit (and minus that of a miss) where a residual upsampler starts: 88 % sure of the low-res ray."""


class Upsampler(ModelMixin, ConfigMixin):
    """Low-res X-Ray and image latent -> X-Ray, larger by 2 for every level of channels but the first.

    A diffusers model, so that a pipeline can save it and load it.

    Args:
      residual: add the decoder's output to the low-res X-Ray, enlarged; False as published.
    """

    @register_to_config
    def __init__(
        self, block_out_channels: Sequence[int], layers_per_block: int = LAYERS_PER_BLOCK, residual: bool = False
    ):
        super().__init__()
        self.decoder = TemporalDecoder(
            in_channels=MODEL_CHANNELS + LATENT_CHANNELS,
            out_channels=MODEL_CHANNELS,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
        )

    def forward(self, low: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Regress the larger X-Ray.

        Args:
          low: (B, L, 8, r, r) model space.
          condition: latent of any size (resized to r x r, bilinear).
        Returns:
          (B, L, 8, R, R) float32; the last channel is the logit of a hit.
        """
        batch, layers = low.shape[:2]
        latent = condition.latent
        if latent.shape[-2:] != low.shape[-2:]:
            latent = F.interpolate(latent, low.shape[-2:], mode="bilinear")
        x = torch.cat([low, latent[:, None].expand(-1, layers, -1, -1, -1)], dim=2)
        # The decoder blends space and time by this mask: zeros say "frames of one video".
        video = torch.zeros(batch, layers, dtype=x.dtype, device=x.device)
        x = self.decoder(rearrange(x, "b l c h w -> (b l) c h w"), video, num_frames=layers)
        x = rearrange(x, "(b l) c h w -> b l c h w", b=batch).float()
        return x + _start(low, x.shape[-1] // low.shape[-1]) if self.config.residual else x


def _start(low: torch.Tensor, factor: int) -> torch.Tensor:
    """The low-res X-Ray enlarged, its hit as a logit."""
    values, hit = enlarge(low, factor).split([MODEL_CHANNELS - 1, 1], dim=2)
    return torch.cat([values, HIT_LOGIT * hit], dim=2)


def to_model_space(prediction: torch.Tensor) -> torch.Tensor:
    """The decoder's output with the hit logit mapped to (-1, 1): tanh(logit / 2) = 2 sigmoid(logit) - 1."""
    values, logit = prediction.split([MODEL_CHANNELS - 1, 1], dim=2)
    return torch.cat([values, torch.tanh(logit / 2)], dim=2)
