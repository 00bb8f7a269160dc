"""What each kind of network is trained to do: one loss a sample, from clean data and explicit random streams.

The order of the draws is part of a run's identity: a change of it changes every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..models.conditioner import Conditioner
from ..models.denoiser import Condition, Denoiser, loss_weight, min_snr_weight
from ..models.losses import EQUAL, denoising_loss, regression_loss
from ..models.upsampler import Upsampler
from .cache import EncoderCache
from .streams import Streams

Lows = Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class Denoising:
    """EDM training of a denoising U-Net: the first stage, and the `unet` upsampler where `factor` is above 1.

    See the keys of `schema.Noise` and `schema.Loss` for the fields of the same name.
    """

    conditioner: Conditioner
    factor: int = 1
    p_mean: float = 0.7
    p_std: float = 1.6
    mixture_fraction: float = 0.0
    mixture_mean: float = -1.2
    mixture_std: float = 1.2
    image_mean: float = -3.0
    image_std: float = 0.5
    dropout: float = 0.1
    fps: int = 7
    motion_bucket: int = 127
    low_max: float = 0.1
    weighting: str = "published"
    min_snr_gamma: float = 5.0
    miss_weight: float = 1.0
    channel_weights: Sequence[float] = EQUAL
    own_fraction: float = 0.5
    cache: EncoderCache | None = None

    def loss(
        self, model: Denoiser, xray: torch.Tensor, images: torch.Tensor, streams: Streams, low: Lows = ()
    ) -> torch.Tensor:
        """(B,) losses of clean X-Rays (B, L, 8, h, w) and images (B, 3, S, S) in [-1, 1]; `low` as in `noisy_low`."""
        sigma = self.noise_level(streams)
        noisy = xray + sigma[:, None, None, None, None] * streams.normal(*xray.shape[1:])
        condition = self.condition(images, streams)
        if self.factor > 1:
            condition = condition._replace(low=noisy_low(xray, self, streams, low))
        weight = loss_weight(sigma) if self.weighting == "published" else min_snr_weight(sigma, self.min_snr_gamma)
        return denoising_loss(model(noisy, sigma, condition), xray, weight, self.miss_weight, self.channel_weights)

    def noise_level(self, streams: Streams) -> torch.Tensor:
        """(B,) log-normal, or from the second log-normal for a share of the samples."""
        normal, choice = streams.normal(), streams.uniform()
        first = self.p_mean + self.p_std * normal
        second = self.mixture_mean + self.mixture_std * normal
        return torch.where(choice < self.mixture_fraction, second, first).exp()

    def condition(self, images: torch.Tensor, streams: Streams) -> Condition:
        """Embedding of the clean image, latent of the noisy one, each zeroed at random: u < 2p, p <= u < 3p."""
        encoded = self.cache.encode(images, streams, self.encode) if self.cache else self.encode(images, streams)
        u, p = streams.uniform(), self.dropout
        keep_embedding, keep_latent = u >= 2 * p, (u < p) | (u >= 3 * p)
        return Condition(
            embedding=encoded["embedding"] * keep_embedding[:, None, None],
            latent=encoded["latent"] * keep_latent[:, None, None, None],
            added_time_ids=added_time_ids(self.fps, self.motion_bucket, encoded["strength"]),
        )

    def encode(self, images: torch.Tensor, streams: Streams) -> dict[str, torch.Tensor]:
        """Embedding of the images, latent of the images plus noise, and the noise's strength (B,)."""
        strength = (self.image_mean + self.image_std * streams.normal()).exp()
        noisy = images + strength[:, None, None, None] * streams.normal(*images.shape[1:])
        embedding, latent = self.conditioner.embed(images), self.conditioner.encode(noisy)
        return {"embedding": embedding, "latent": latent, "strength": strength}


@dataclass(frozen=True)
class Regression:
    """Training of the `decoder` upsampler: low-res X-Ray and image, both noisy, to the X-Ray."""

    conditioner: Conditioner
    factor: int = 4
    low_max: float = 0.2
    image_max: float = 0.2
    hit_loss: float = 1.0
    value_loss: float = 1.0
    channel_weights: Sequence[float] = EQUAL
    own_fraction: float = 0.5
    cache: EncoderCache | None = None

    def loss(
        self, model: Upsampler, xray: torch.Tensor, images: torch.Tensor, streams: Streams, low: Lows = ()
    ) -> torch.Tensor:
        """(B,) losses of clean X-Rays (B, L, 8, R, R) and images (B, 3, S, S) in [-1, 1]; `low` as in `noisy_low`."""
        low = noisy_low(xray, self, streams, low)
        encoded = self.cache.encode(images, streams, self.encode) if self.cache else self.encode(images, streams)
        condition = Condition(embedding=None, latent=encoded["latent"])
        prediction = model(low, condition)
        return regression_loss(prediction, xray, self.hit_loss, self.value_loss, self.channel_weights)

    def encode(self, images: torch.Tensor, streams: Streams) -> dict[str, torch.Tensor]:
        """Latent of the images plus noise of a strength uniform in [0, image_max)."""
        strength = self.image_max * streams.uniform()
        noisy = images + strength[:, None, None, None] * streams.normal(*images.shape[1:])
        return {"latent": self.conditioner.encode(noisy)}


def noisy_low(xray: torch.Tensor, task: Denoising | Regression, streams: Streams, own: Lows = ()) -> torch.Tensor:
    """The second stage's low-res input: every factor-th ray of the truth, plus noise of a strength in [0, low_max).

    Args:
      xray: (B, L, 8, R, R) truth.
      own: for each sample the first stage's result (L, 8, r, r) or None; where there is one it takes the truth's
        place with the task's `own_fraction` as its chance. Without any, nothing is drawn for it.
    """
    low = xray[..., :: task.factor, :: task.factor]
    if any(row is not None for row in own):
        chosen = streams.uniform() < task.own_fraction
        rows = [mine if take and mine is not None else row for row, mine, take in zip(low, own, chosen, strict=True)]
        low = torch.stack([row.to(low.device) for row in rows])
    strength = task.low_max * streams.uniform()
    return low + strength[:, None, None, None, None] * streams.normal(*low.shape[1:])


def added_time_ids(fps: int, motion_bucket: int, strength: torch.Tensor) -> torch.Tensor:
    """(B, 3) frames a second, motion bucket, each sample's own strength of image noise."""
    constant = torch.tensor([fps, motion_bucket], dtype=torch.float32, device=strength.device)
    return torch.cat([constant.expand(len(strength), 2), strength[:, None]], dim=1)
