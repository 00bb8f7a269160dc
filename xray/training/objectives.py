"""The training objective of each kind of network: one loss a sample, from clean data and explicit random streams.

The order of the draws is part of a run's identity: another order gives another run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..config import Loss, Noise
from ..models.conditioner import Conditioner
from ..models.denoiser import Condition, Denoiser, added_time_ids, loss_weight, min_snr_weight
from ..models.losses import EQUAL, denoising_loss, depth_difference_loss, regression_loss
from ..models.patch_unet import picture_channels
from ..models.upsampler import Upsampler
from .encoder_cache import EncoderCache
from .random_streams import RandomStreams

Lows = Sequence[torch.Tensor | None]


@dataclass(frozen=True)
class Mirror:
    """Samples mirrored left for right, each by `chance`. Column i goes to W - i: the camera's axis is column W / 2.

    Column 0 has no partner and becomes empty, in the X-Ray and in the picture. The light of the pictures stands on one
    side of the world, but cameras stand all round, so that a mirrored picture is one of those there could be.

    Args:
      empty_ray: (8,) see `Codec.empty_ray`; background: grey in [0, 1].
    """

    chance: float
    empty_ray: torch.Tensor
    background: float

    def __call__(
        self, xray: torch.Tensor, images: torch.Tensor, streams: RandomStreams, low: Lows = ()
    ) -> tuple[torch.Tensor, torch.Tensor, Lows]:
        """The same, some of the samples mirrored. Draws nothing where the chance is 0."""
        if not self.chance:
            return xray, images, low
        chosen = streams.uniform() < self.chance
        low = (
            [self.xray(row) if take and row is not None else row for row, take in zip(low, chosen, strict=True)]
            if low
            else low
        )
        pick = chosen[:, None, None, None]
        return torch.where(pick[..., None], self.xray(xray), xray), torch.where(pick, self.image(images), images), low

    def xray(self, xray: torch.Tensor) -> torch.Tensor:
        """(..., 8, h, w) mirrored: normals too."""
        mirrored = xray.flip(-1).roll(1, -1)
        mirrored[..., 1, :, :] *= -1
        mirrored[..., 0] = self.empty_ray.to(xray.device)[:, None]
        return mirrored

    def image(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3 or 4, S, S) mirrored."""
        mirrored = images.flip(-1).roll(1, -1)
        mirrored[..., 0] = 2 * self.background - 1
        mirrored[:, 3:, :, 0] = -1
        return mirrored


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What both objectives have. Fields of the same name as keys of `config.Noise` and `config.Loss` have their meaning
    and default.

    Attributes:
      own_fraction: chance that the first stage's result takes the truth's place, see `noisy_low`.
      cache: of the encoders' outputs; None encodes every time.
      mirror: None leaves samples as they are.
    """

    channel_weights: Sequence[float] = EQUAL
    depth_error: str = Loss.depth_error
    color_error: str = Loss.color_error
    depth_difference: float = Loss.depth_difference
    depth_difference_step: float = Loss.depth_difference_step
    own_fraction: float = 0.5
    cache: EncoderCache | None = None
    mirror: Mirror | None = None


@dataclass(frozen=True)
class Denoising(Objective):
    """EDM training of a denoising U-Net: the first stage, and the `unet` upsampler where `factor` is above 1."""

    conditioner: Conditioner
    factor: int = 1
    p_mean: float = Noise.p_mean
    p_std: float = Noise.p_std
    mixture_fraction: float = Noise.mixture_fraction
    mixture_mean: float = Noise.mixture_mean
    mixture_std: float = Noise.mixture_std
    image_mean: float = Noise.image_mean
    image_std: float = Noise.image_std
    dropout: float = Noise.dropout
    fps: int = Noise.fps
    motion_bucket: int = Noise.motion_bucket
    low_max: float = Noise.low_max
    weighting: str = Loss.weighting
    min_snr_gamma: float = Loss.min_snr_gamma
    miss_weight: float = Loss.miss_weight
    silhouette_distance: bool = False

    def loss(
        self, model: Denoiser, xray: torch.Tensor, images: torch.Tensor, streams: RandomStreams, low: Lows = ()
    ) -> torch.Tensor:
        """(B,) losses of clean X-Rays (B, L, 8, h, w) and images (B, 3 or 4, S, S) in [-1, 1]; `low` as in `noisy_low`.

        Images of 4 channels go to the network as they are, those of 3 through the encoders.
        """
        if self.mirror:
            xray, images, low = self.mirror(xray, images, streams, low)
        sigma = self.noise_level(streams)
        noisy = xray + sigma[:, None, None, None, None] * streams.normal(*xray.shape[1:])
        condition = self.condition(images, streams)
        if self.factor > 1:
            condition = condition._replace(low=noisy_low(xray, self, streams, low))
        weight = loss_weight(sigma) if self.weighting == "published" else min_snr_weight(sigma, self.min_snr_gamma)
        estimate = model(noisy, sigma, condition)
        kinds = self.depth_error, self.color_error
        loss = denoising_loss(estimate, xray, weight, self.miss_weight, self.channel_weights, *kinds)
        if self.depth_difference:
            uneven = depth_difference_loss(estimate, xray, self.depth_difference_step)
            loss = loss + weight * self.depth_difference * uneven
        return loss

    def noise_level(self, streams: RandomStreams) -> torch.Tensor:
        """(B,) log-normal, or from the second log-normal for a share of the samples."""
        normal, choice = streams.normal(), streams.uniform()
        first = self.p_mean + self.p_std * normal
        second = self.mixture_mean + self.mixture_std * normal
        return torch.where(choice < self.mixture_fraction, second, first).exp()

    def condition(self, images: torch.Tensor, streams: RandomStreams) -> Condition:
        """Embedding of the clean image, latent of the noisy one, each zeroed at random: u < 2p, p <= u < 3p.

        An image that the network reads itself is zeroed with the chance 2p.
        """
        if images.shape[1] == 4:
            return self.picture_condition(images, streams)
        encoded = self.cache.encode(images, streams, self.encode) if self.cache else self.encode(images, streams)
        u, p = streams.uniform(), self.dropout
        keep_embedding, keep_latent = u >= 2 * p, (u < p) | (u >= 3 * p)
        return Condition(
            embedding=encoded["embedding"] * keep_embedding[:, None, None],
            latent=encoded["latent"] * keep_latent[:, None, None, None],
            added_time_ids=added_time_ids(self.fps, self.motion_bucket, encoded["strength"]),
        )

    def picture_condition(self, images: torch.Tensor, streams: RandomStreams) -> Condition:
        """The picture itself, without noise."""
        picture = picture_channels(images, self.silhouette_distance)
        if self.dropout:
            picture = picture * (streams.uniform() >= 2 * self.dropout)[:, None, None, None]
        strength = torch.zeros(len(images), device=images.device)
        return Condition(None, None, added_time_ids(self.fps, self.motion_bucket, strength), picture=picture)

    def encode(self, images: torch.Tensor, streams: RandomStreams) -> dict[str, torch.Tensor]:
        """Embedding of the images, latent of the images plus noise, and the noise's strength (B,)."""
        strength = (self.image_mean + self.image_std * streams.normal()).exp()
        noisy = images + strength[:, None, None, None] * streams.normal(*images.shape[1:])
        embedding, latent = self.conditioner.embed(images), self.conditioner.encode(noisy)
        return {"embedding": embedding, "latent": latent, "strength": strength}


@dataclass(frozen=True)
class Regression(Objective):
    """Training of a regressing upsampler: low-res X-Ray and image to the X-Ray. Both are noisy, but for the image of a
    network that reads its pixels."""

    conditioner: Conditioner
    factor: int = 4
    low_max: float = Noise.low_max
    image_max: float = Noise.image_max
    hit_loss: float = Loss.hit_loss
    value_loss: float = Loss.value_loss

    def loss(
        self, model: Upsampler, xray: torch.Tensor, images: torch.Tensor, streams: RandomStreams, low: Lows = ()
    ) -> torch.Tensor:
        """(B,) losses of clean X-Rays (B, L, 8, R, R) and images (B, 3 or 4, S, S); `low` as in `noisy_low`."""
        if self.mirror:
            xray, images, low = self.mirror(xray, images, streams, low)
        low = noisy_low(xray, self, streams, low)
        prediction = model(low, self.condition(images, streams))
        kinds = self.depth_error, self.color_error
        loss = regression_loss(prediction, xray, self.hit_loss, self.value_loss, self.channel_weights, *kinds)
        if self.depth_difference:
            loss = loss + self.depth_difference * depth_difference_loss(prediction, xray, self.depth_difference_step)
        return loss

    def condition(self, images: torch.Tensor, streams: RandomStreams) -> Condition:
        """Latent of the noisy image, or the picture itself."""
        if images.shape[1] == 4:
            return Condition(None, None, picture=images)
        encoded = self.cache.encode(images, streams, self.encode) if self.cache else self.encode(images, streams)
        return Condition(embedding=None, latent=encoded["latent"])

    def encode(self, images: torch.Tensor, streams: RandomStreams) -> dict[str, torch.Tensor]:
        """Latent of the images plus noise of a strength uniform in [0, image_max)."""
        strength = self.image_max * streams.uniform()
        noisy = images + strength[:, None, None, None] * streams.normal(*images.shape[1:])
        return {"latent": self.conditioner.encode(noisy)}


def noisy_low(xray: torch.Tensor, task: Denoising | Regression, streams: RandomStreams, own: Lows = ()) -> torch.Tensor:
    """The second stage's low-res input: every factor-th ray of the truth, plus noise of a strength in [0, low_max).

    Args:
      xray: (B, L, 8, R, R) truth.
      own: for each sample the first stage's result (L, 8, r, r) or None; where there is one it takes the truth's
        place with the task's `own_fraction` as its chance.
    Returns:
      (B, L, 8, r, r). A sample's numbers depend on that sample alone: only one that has a result draws whether to
      take it, whatever else is in the batch.
    """
    low = xray[..., :: task.factor, :: task.factor]
    having = [index for index, result in enumerate(own) if result is not None]
    if having:
        low = low.clone()
        for index, take in zip(having, streams.rows(having).uniform() < task.own_fraction, strict=True):
            if take:
                low[index] = own[index].to(low.device)
    strength = task.low_max * streams.uniform()
    return low + strength[:, None, None, None, None] * streams.normal(*low.shape[1:])
