"""The only door to a denoising network: EDM scalings, noise levels and loss weights.

Equations are those of Karras et al. 2022, "Elucidating the design space of diffusion-based generative models"
(arXiv 2206.00364), with sigma_data = 1 and the sign of c_out of a network that predicts v, as Stable Video Diffusion.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

SIGMA_DATA = 1.0


class Condition(NamedTuple):
    """What the network knows beside the noisy X-Ray.

    Attributes:
      embedding: (B, 1, D) CLIP image embedding, for cross-attention; None for the decoder.
      latent: (B, 4, h, w) mode of the image VAE's latent, unscaled.
      added_time_ids: (B, 3) frames a second, motion bucket, strength of the noise on the image; None for the decoder.
      low: (B, L, 8, r, r) the low-res X-Ray in model space; None in the first stage.
    """

    embedding: torch.Tensor | None
    latent: torch.Tensor
    added_time_ids: torch.Tensor | None = None
    low: torch.Tensor | None = None

    def drop(self) -> Condition:
        """The same condition without the image: embedding and latent zeroed, as the dropout of training does."""
        return self._replace(embedding=torch.zeros_like(self.embedding), latent=torch.zeros_like(self.latent))


class Scalings(NamedTuple):
    """(B,) each; equation 7 and table 1."""

    c_skip: torch.Tensor
    c_out: torch.Tensor
    c_in: torch.Tensor
    c_noise: torch.Tensor


def scalings(sigma: torch.Tensor) -> Scalings:
    """The preconditioning of equation 7 for noise levels (B,)."""
    total = sigma**2 + SIGMA_DATA**2
    return Scalings(
        c_skip=SIGMA_DATA**2 / total,
        c_out=-sigma * SIGMA_DATA / total.sqrt(),
        c_in=1 / total.sqrt(),
        c_noise=sigma.log() / 4,
    )


def loss_weight(sigma: torch.Tensor) -> torch.Tensor:
    """lambda(sigma) of equation 8 on the error of x0: 1 / c_out^2."""
    return (sigma**2 + SIGMA_DATA**2) / (sigma * SIGMA_DATA) ** 2


def min_snr_weight(sigma: torch.Tensor, gamma: float) -> torch.Tensor:
    """min(SNR, gamma) on the error of x0, with SNR = 1 / sigma^2 (Hang et al. 2023, arXiv 2303.09556, section 3.4)."""
    return (SIGMA_DATA**2 / sigma**2).clamp(max=gamma)


class Denoiser(nn.Module):
    """D(x; sigma) of equation 7 around a video U-Net whose frames are the X-Ray's layers."""

    def __init__(self, unet: nn.Module):
        super().__init__()
        self.unet = unet

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Estimate of the clean X-Ray.

        Args:
          x: (B, L, 8, h, w) clean plus sigma times unit noise, model space.
          sigma: (B,) noise level.
          condition: latent of any size (resized to h x w, bilinear), low-res X-Ray of a divisor of the size (nearest).
        Returns:
          (B, L, 8, h, w) float32.
        """
        layers, size = x.shape[1], x.shape[-2:]
        scale = scalings(sigma)
        latent = condition.latent
        if latent.shape[-2:] != size:
            latent = F.interpolate(latent, size, mode="bilinear")
        channels = [_broadcast(scale.c_in) * x, latent[:, None].expand(-1, layers, -1, -1, -1)]
        if condition.low is not None:
            channels.append(enlarge(condition.low, size[0] // condition.low.shape[-1]))
        prediction = self.unet(
            torch.cat(channels, dim=2),
            scale.c_noise,
            encoder_hidden_states=condition.embedding,
            added_time_ids=condition.added_time_ids,
            return_dict=False,
        )[0]
        return _broadcast(scale.c_skip) * x + _broadcast(scale.c_out) * prediction.float()


def enlarge(low: torch.Tensor, factor: int) -> torch.Tensor:
    """(B, L, C, h, w) -> (B, L, C, factor h, factor w), nearest: the other way round from taking every k-th ray."""
    return low.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def _broadcast(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None, None]
