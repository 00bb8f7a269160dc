"""An upsampler that costs little: a flat network at the low-res rays that corrects a smooth enlargement."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from ..core.codec import MODEL_CHANNELS
from .denoiser import Condition
from .patch_unet import PICTURE_CHANNELS, pixel_colors
from .upsampler import HIT_LOGIT

LEAST_WEIGHT = 1e-3
"""Where this little of the hits around is left, there is nothing to carry a value on from."""

CERTAIN = 4.0
"""Logit of a first hit where the picture is opaque, and minus that where it is transparent: 98 % sure."""


class PixelShuffleUpsampler(ModelMixin, ConfigMixin):
    """Low-res X-Ray and the picture's pixels -> X-Ray, larger by `factor`.

    The layers are channels of one picture at the low-res rays; each of the residual blocks has two 3 x 3 convolutions,
    and the last convolution writes the factor x factor rays of a patch as channels (Shi et al. 2016,
    arXiv 1609.05158). Its output is added to `enlarge_smoothly` of the low-res X-Ray, with the picture's colour and
    outline in the first layer, so that visible edges and colours are the picture's own.

    Args:
      width: channels inside; blocks: residual blocks; layers: of the X-Ray; factor: rays out over rays in.
      picture_patch: pixels of the picture on each side of a low-res ray's patch.
      background: grey in [0, 1] under the picture.
    """

    @register_to_config
    def __init__(self, width: int, blocks: int, layers: int, factor: int, picture_patch: int, background: float = 1.0):
        super().__init__()
        inputs = MODEL_CHANNELS * layers + PICTURE_CHANNELS * picture_patch**2
        self.first = nn.Conv2d(inputs, width, 3, padding=1)
        self.residual_blocks = nn.ModuleList(
            nn.Sequential(
                nn.GroupNorm(32, width),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(width, width, 3, padding=1),
            )
            for _ in range(blocks)
        )
        self.last = nn.Conv2d(width, MODEL_CHANNELS * layers * factor**2, 1)
        nn.init.zeros_(self.last.weight)  # so that it starts at the enlargement itself
        nn.init.zeros_(self.last.bias)

    def forward(self, low: torch.Tensor, condition: Condition) -> torch.Tensor:
        """Regress the larger X-Ray.

        Args:
          low: (B, L, 8, r, r) model space; condition: its picture (B, 4, S, S).
        Returns:
          (B, L, 8, R, R) float32; the last channel is the logit of a hit.
        """
        layers, factor = low.shape[1], self.config.factor
        pixels = F.pixel_unshuffle(condition.picture, self.config.picture_patch)
        x = self.first(torch.cat([low.flatten(1, 2), pixels], dim=1))
        for block in self.residual_blocks:
            x = x + block(x)
        x = rearrange(
            self.last(x), "b (l c p q) h w -> b l c (h p) (w q)", l=layers, c=MODEL_CHANNELS, p=factor, q=factor
        )
        return x.float() + self._start(low, condition.picture)

    def _start(self, low: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
        base = enlarge_smoothly(low, self.config.factor)
        plain, inside = pixel_colors(picture, base.shape[-1], self.config.background)
        # What the low-res colour differs from the pixel on its own ray by is light and shadow, and is smooth.
        ray = slice(None, None, self.config.factor)
        shade = low[:, :1, 4:7] - plain[:, None, :, ray, ray]
        known = torch.where(inside[:, None, :, ray, ray], low[:, :1, 7:], -1.0)
        shaded = enlarge_smoothly(torch.cat([low[:, :1, :4], shade, known], dim=2), self.config.factor)
        first = base[:, :1].clone()
        first[:, 0, 4:7] = (plain + shaded[:, 0, 4:7]).clamp(-1, 1)
        first[:, 0, 7] = torch.where(inside[:, 0], CERTAIN, -CERTAIN)
        return torch.cat([first, base[:, 1:]], dim=1)


def enlarge_smoothly(low: torch.Tensor, factor: int) -> torch.Tensor:
    """An X-Ray with `factor` times the rays: bilinear between the hits of a layer, every factor-th ray as it was.

    A miss has no share in the values around it. Beyond the last low-res ray values are carried on.

    Args:
      low: (B, L, 8, r, r) model space.
    Returns:
      (B, L, 8, factor r, factor r); the last channel is a logit, `HIT_LOGIT` times the bilinear hit.
    """
    batch, layers, _, height, width = low.shape
    values, hit = low.flatten(0, 1).split([MODEL_CHANNELS - 1, 1], dim=1)
    weight = ((hit + 1) / 2).clamp(LEAST_WEIGHT, 1)
    stacked = torch.cat([values * weight, weight, hit], dim=1)
    size = (factor * (height - 1) + 1, factor * (width - 1) + 1)
    large = F.interpolate(stacked, size, mode="bilinear", align_corners=True)
    large = F.pad(large, (0, factor - 1, 0, factor - 1), mode="replicate")
    values, weight, hit = large.split([MODEL_CHANNELS - 1, 1, 1], dim=1)
    return torch.cat([values / weight, HIT_LOGIT * hit], dim=1).unflatten(0, (batch, layers))
