"""The wrapper of every denoising network: EDM scalings, noise levels and loss weights.

Equations are those of Karras et al. 2022, "Elucidating the design space of diffusion-based generative models"
(arXiv 2206.00364), with sigma_data = 1 and the sign of c_out of a network that predicts v, as Stable Video Diffusion.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from .patch_unet import PatchUNet, enlarge, prior

SIGMA_DATA = 1.0

PREDICTIONS = ("v", "x")
"""Meaning of the network's output: v as published, or the clean X-Ray itself."""


class Condition(NamedTuple):
    """The condition of the network: what it reads beside the noisy X-Ray.

    Attributes:
      embedding: (B, 1, D) CLIP image embedding, for cross-attention; None for the decoder.
      latent: (B, 4, h, w) mode of the image VAE's latent, unscaled; None where the network reads pixels.
      added_time_ids: (B, 3) frames a second, motion bucket, strength of the noise on the image; None for the decoder.
      low: (B, L, 8, r, r) the low-res X-Ray in model space; None in the first stage.
      picture: (B, 4 or 5, S, S) see `patch_unet.picture_channels`; None where the network reads encoders' outputs.
    """

    embedding: torch.Tensor | None
    latent: torch.Tensor | None
    added_time_ids: torch.Tensor | None = None
    low: torch.Tensor | None = None
    picture: torch.Tensor | None = None

    def drop(self) -> Condition:
        """The same condition without the image, which is zeroed as the dropout of training does."""
        known = {name: getattr(self, name) for name in ("embedding", "latent", "picture")}
        return self._replace(**{name: torch.zeros_like(value) for name, value in known.items() if value is not None})


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
    """D(x; sigma) of equation 7 around a video U-Net whose frames are the X-Ray's layers.

    Args:
      unet: a diffusers U-Net, or a `PatchUNet`.
      prediction: of `PREDICTIONS`; with "x" the network's output, plus the prior, is the estimate itself.
      color_prior, hit_prior, background: see `patch_unet.prior`; for networks that read the picture and predict x.
        Hidden layers whose colours the network looks up have no colour prior.
    """

    def __init__(
        self,
        unet: nn.Module,
        prediction: str = "v",
        color_prior: bool = False,
        hit_prior: bool = False,
        background: float = 1.0,
    ):
        super().__init__()
        self.unet, self.prediction = unet, prediction
        self.color_prior, self.hit_prior, self.background = color_prior, hit_prior, background

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Estimate of the clean X-Ray.

        Args:
          x: (B, L, 8, h, w) clean plus sigma times unit noise, model space.
          sigma: (B,) noise level.
          condition: latent of any size (resized to h x w, bilinear), low-res X-Ray of a divisor of the size (nearest).
        Returns:
          (B, L, 8, h, w) float32.
        """
        scale = scalings(sigma)
        prediction = self._network(_broadcast(scale.c_in) * x, scale.c_noise, condition).float()
        if self.prediction == "v":
            return _broadcast(scale.c_skip) * x + _broadcast(scale.c_out) * prediction
        if self.color_prior or self.hit_prior:
            known = condition.picture, x.shape[1], x.shape[-1], self.background
            looked_up = isinstance(self.unet, PatchUNet) and self.unet.lookup is not None
            prediction = prediction + prior(*known, self.color_prior, self.hit_prior, 1 if looked_up else None)
        return prediction

    def _network(self, x: torch.Tensor, c_noise: torch.Tensor, condition: Condition) -> torch.Tensor:
        layers, size = x.shape[1], x.shape[-2:]
        channels = [x]
        if condition.low is not None:
            channels.append(enlarge(condition.low, size[0] // condition.low.shape[-1]))
        if isinstance(self.unet, PatchUNet):
            known = condition.latent, condition.picture, condition.embedding, condition.added_time_ids
            return self.unet(torch.cat(channels, dim=2), c_noise, *known)
        latent = condition.latent
        if latent.shape[-2:] != size:
            latent = F.interpolate(latent, size, mode="bilinear")
        channels.insert(1, latent[:, None].expand(-1, layers, -1, -1, -1))
        return self.unet(
            torch.cat(channels, dim=2),
            c_noise,
            encoder_hidden_states=condition.embedding,
            added_time_ids=condition.added_time_ids,
            return_dict=False,
        )[0]


def _broadcast(values: torch.Tensor) -> torch.Tensor:
    return values[:, None, None, None, None]


def added_time_ids(fps: int, motion_bucket: int, strength: torch.Tensor) -> torch.Tensor:
    """(B, 3) frames a second, motion bucket, each sample's own strength of image noise."""
    constant = torch.tensor([fps, motion_bucket], dtype=torch.float32, device=strength.device)
    return torch.cat([constant.expand(len(strength), 2), strength[:, None]], dim=1)
