"""The video U-Net over patches of rays, which reads the picture's own pixels instead of encoders' outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from einops import rearrange
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

from ..core.codec import MODEL_CHANNELS
from .conditioner import LATENT_CHANNELS
from .unet import UNetShape, make_unet

PICTURE_CHANNELS = 4
"""Red, green, blue over the background, and alpha; each in [-1, 1]."""

PLACE_CHANNELS = 3
"""Layer, column and row, each in [-1, 1]."""

DISTANCE_SCALE = 4.0
"""A silhouette as wide as half of the picture has a distance of 1 in its middle."""

FIRST_WIDTH = 2.0
"""Standard deviation, in patches, of the colours' distances before anything is learned."""

LEAST_ALPHA = 1e-4
"""A patch of which less is covered has this cover, so that a picture of nothing has a colour too."""


class PatchUNet(ModelMixin, ConfigMixin):
    """A `UNetSpatioTemporalConditionModel` that reads and writes patches of rays as channels.

    A diffusers model, so that a pipeline can save it and load it. Its grid has `patch` times fewer rows and columns
    than the X-Ray has rays.

    Args:
      block_out_channels to low_res: see `unet.UNetShape`; layers of the X-Ray.
      patch: rays on each side of a patch.
      picture_patch: pixels of the picture on each side of a patch; 0 for a VAE's latent in place of pixels.
      picture_width: channels that two learned convolutions make of the pixels.
      silhouette_distance: the picture has a fifth channel, `silhouette_distance`.
      place: layer, column and row are input channels.
      color_lookup: channels of the queries by which hidden layers find their colours, see `ColorLookup`; 0 for none.
      background: grey in [0, 1] that the picture lies on, for the lookup.
    """

    @register_to_config
    def __init__(
        self,
        block_out_channels: Sequence[int],
        num_attention_heads: Sequence[int],
        layers_per_block: int,
        transformer_layers_per_block: int,
        cross_attention_dim: int,
        addition_time_embed_dim: int,
        layers: int,
        attention: Sequence[bool] = (),
        low_res: bool = False,
        patch: int = 1,
        picture_patch: int = 0,
        picture_width: int = 64,
        silhouette_distance: bool = False,
        place: bool = False,
        color_lookup: int = 0,
        background: float = 1.0,
    ):
        super().__init__()
        rays = MODEL_CHANNELS * patch**2
        known = picture_width if picture_patch else LATENT_CHANNELS
        shape = UNetShape(
            block_out_channels=block_out_channels,
            num_attention_heads=num_attention_heads,
            layers_per_block=layers_per_block,
            transformer_layers_per_block=transformer_layers_per_block,
            cross_attention_dim=cross_attention_dim,
            addition_time_embed_dim=addition_time_embed_dim,
            layers=layers,
            low_res=low_res,
            attention=tuple(attention),
        )
        inputs = rays * (2 if low_res else 1) + known + (PLACE_CHANNELS if place else 0)
        lookup = ColorLookup(layers, color_lookup, picture_patch, background) if color_lookup else None
        self.unet = make_unet(shape, inputs, rays + (lookup.outputs if lookup else 0))
        if picture_patch:
            channels = (PICTURE_CHANNELS + silhouette_distance) * picture_patch**2
            self.read_picture = nn.Sequential(
                nn.Conv2d(channels, picture_width, 3, padding=1),
                nn.SiLU(),
                nn.Conv2d(picture_width, picture_width, 3, padding=1),
            )
            self.summarise = nn.Linear(picture_width, cross_attention_dim)
        self.lookup = lookup

    def forward(
        self,
        rays: torch.Tensor,
        c_noise: torch.Tensor,
        latent: torch.Tensor | None,
        picture: torch.Tensor | None,
        embedding: torch.Tensor | None,
        added_time_ids: torch.Tensor,
    ) -> torch.Tensor:
        """(B, L, 8, h, w) output of the network.

        Args:
          rays: (B, L, 8 or 16, h, w) noisy X-Ray and, where there is one, the low-res X-Ray at its size.
          c_noise: (B,).
          latent: (B, 4, ., .) of the VAE, or None; picture: (B, 4 or 5, S, S) as `picture_channels`, or None.
          embedding: (B, 1, D) of the image; None with a picture, whose own summary takes its place.
        """
        config = self.config
        layers = rays.shape[1]
        x = rearrange(rays, "b l c (h p) (w q) -> b l (c p q) h w", p=config.patch, q=config.patch)
        if config.picture_patch:
            known = self.read_picture(F.pixel_unshuffle(picture, config.picture_patch))
            embedding = self.summarise(known.mean((-2, -1)))[:, None]
        else:
            known = latent
            if known.shape[-2:] != x.shape[-2:]:
                known = F.interpolate(known, x.shape[-2:], mode="bilinear")
        channels = [x, known[:, None].expand(-1, layers, -1, -1, -1)]
        if config.place:
            channels.append(places(layers, *x.shape[-2:], x).expand(len(x), -1, -1, -1, -1))
        x = self.unet(
            torch.cat(channels, dim=2),
            c_noise,
            encoder_hidden_states=embedding,
            added_time_ids=added_time_ids,
            return_dict=False,
        )[0]
        outputs = MODEL_CHANNELS * config.patch**2
        rays = rearrange(x[:, :, :outputs], "b l (c p q) h w -> b l c (h p) (w q)", p=config.patch, q=config.patch)
        if self.lookup is None:
            return rays
        found = self.lookup(x[:, :, outputs:], picture, rays.shape[-1])
        return rays.float() + F.pad(found, (0, 0, 0, 0, 4, 1, 1, 0))  # colours are channels 4 to 6 of 8


class ColorLookup(nn.Module):
    """Colours of hidden surfaces: attention of their patches to those of the first layer, whose values are the picture.

    What is behind mostly has a colour that shows somewhere: the inside of a cup that of its outside, a table's far leg
    that of the near one. The pixel on the same ray is a poor guess of it: where the front has a pattern, a network
    would have to take the pattern away again, ray by ray.

    A weight is the softmax of query times key, less the squared distance over twice a learned width's square, plus the
    log of how much of the patch the object covers: with small queries a Gaussian blur of the picture within the
    silhouette. A gate says how much of the pixel on the ray itself is taken instead, as for a stripe that goes round.

    Args:
      layers: of the X-Ray.
      channels: of queries and keys; the network gives both for each patch, queries first, and then the gate.
      patch: pixels of the picture on each side of a patch; background: grey in [0, 1].
    """

    def __init__(self, layers: int, channels: int, patch: int, background: float):
        super().__init__()
        self.channels, self.patch, self.background = channels, patch, background
        self.log_width = nn.Parameter(torch.full((layers - 1,), FIRST_WIDTH).log())

    @property
    def outputs(self) -> int:
        """Channels that the network must give for each patch."""
        return 2 * self.channels + 1

    def forward(self, asked: torch.Tensor, picture: torch.Tensor, rays: int) -> torch.Tensor:
        """(B, L - 1, 3, rays, rays) colours in [-1, 1] of all layers but the first.

        Args:
          asked: (B, L, 2 channels + 1, h, w) queries, keys and the gate before its sigmoid, of each patch.
          picture: (B, 4 or more, S, S) as `picture_channels`; rays: on each side of the X-Ray.
        """
        size = asked.shape[-2:]
        with torch.autocast(asked.device.type, enabled=False):  # sums of weights and colours, of which 8 bits show
            asked, picture = asked.float(), picture.float()
            query, key = asked[:, 1:, : self.channels].flatten(3), asked[:, 0, self.channels : -1].flatten(2)
            score = torch.einsum("blcq,bck->blqk", query, key) / self.channels**0.5
            color, cover = patch_colors(picture, self.patch, self.background)
            width = self.log_width.float().exp()[:, None, None]
            score = score - squared_distances(*size, asked.device) / (2 * width**2)
            score = score + cover.flatten(1).clamp(min=LEAST_ALPHA).log()[:, None, None]
            found = torch.einsum("blqk,bck->blcq", score.softmax(-1), color.flatten(2)).unflatten(-1, size)
            pixel, inside = pixel_colors(picture, rays, self.background)
            found, gate = (enlarge(x, rays // size[0]) for x in (found, asked[:, 1:, -1:].sigmoid()))
            return found + gate * inside[:, None] * (pixel.clamp(-1, 1)[:, None] - found)


def pixel_colors(images: torch.Tensor, rays: int, background: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The colour of the pixel on each ray, free of the background, and where the picture is at least half opaque.

    Args:
      images: (B, 4 or more, S, S) in [-1, 1]: colour over `background`, and alpha.
    Returns:
      (B, 3, rays, rays), within [-1, 1] up to the rounding of the picture's values, and (B, 1, rays, rays) bool.
    """
    colored, alpha = without_background(at_rays(images, rays), background)
    return colored / alpha.clamp(min=0.5), alpha >= 0.5


def without_background(images: torch.Tensor, background: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(B, 3, S, S) colour, in [-1, 1], times alpha; and (B, 1, S, S) alpha, in [0, 1].

    Args:
      images: (B, 4 or more, S, S) in [-1, 1]: colour over `background`, and alpha.
    """
    alpha = (images[:, 3:4] + 1) / 2
    return images[:, :3] - (1 - alpha) * (2 * background - 1), alpha


def patch_colors(picture: torch.Tensor, patch: int, background: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean colour of the object in each patch of the picture, free of the background, and how much of it is covered.

    Args:
      picture: (B, 4 or more, S, S) in [-1, 1]: colour over `background`, and alpha.
    Returns:
      (B, 3, S / patch, S / patch) in [-1, 1], and (B, S / patch, S / patch) in [0, 1].
    """
    colored, cover = (F.avg_pool2d(x, patch) for x in without_background(picture, background))
    return (colored / cover.clamp(min=LEAST_ALPHA)).clamp(-1, 1), cover[:, 0]


def squared_distances(height: int, width: int, device: torch.device) -> torch.Tensor:
    """(h w, h w) between the patches of a grid, row by row, in patches."""
    row, column = torch.meshgrid(torch.arange(height, device=device), torch.arange(width, device=device), indexing="ij")
    place = torch.stack([row.flatten(), column.flatten()], dim=1).float()
    return ((place[:, None] - place[None]) ** 2).sum(-1)


def places(layers: int, height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(L, 3, h, w): layer, column and row of every value, each from -1 to 1."""
    layer, row, column = (
        torch.linspace(-1, 1, n, dtype=like.dtype, device=like.device) for n in (layers, height, width)
    )
    shape = (layers, height, width)
    return torch.stack([layer[:, None, None].expand(shape), column.expand(shape), row[:, None].expand(shape)], dim=1)


def enlarge(low: torch.Tensor, factor: int) -> torch.Tensor:
    """(..., h, w) -> (..., factor h, factor w), nearest: the inverse of taking every k-th ray."""
    return low.repeat_interleave(factor, dim=-2).repeat_interleave(factor, dim=-1)


def silhouette_distance(alpha: torch.Tensor) -> torch.Tensor:
    """Distance of a pixel inside the silhouette from its outline, 0 outside.

    Args:
      alpha: (B, S, S) in [-1, 1]; above 0 is inside.
    Returns:
      (B, S, S) float32, pixels times 4 / S.
    """
    if alpha.is_meta:  # shapes alone, as where the cost of a step is counted
        return torch.empty_like(alpha)
    inside = (alpha > 0).cpu().numpy()
    distance = np.stack([ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] for mask in inside])
    return torch.from_numpy(distance.astype(np.float32)).to(alpha.device) * (DISTANCE_SCALE / alpha.shape[-1])


def picture_channels(images: torch.Tensor, with_distance: bool) -> torch.Tensor:
    """(B, 4 or 5, S, S): images (B, 4, S, S) of colour and alpha, and their silhouettes' distance."""
    if not with_distance:
        return images
    return torch.cat([images, silhouette_distance(images[:, 3])[:, None]], dim=1)


def at_rays(images: torch.Tensor, rays: int) -> torch.Tensor:
    """Every k-th pixel of (B, C, S, S), which is the one on the ray (`Camera.rays`): (B, C, rays, rays)."""
    step = images.shape[-1] // rays
    return images[..., ::step, ::step]


def prior(
    images: torch.Tensor,
    layers: int,
    rays: int,
    background: float,
    color: bool,
    hit: bool,
    colored_layers: int | None = None,
) -> torch.Tensor:
    """What the picture shows of the X-Ray without any learning, to be added to a network's output.

    Args:
      images: (B, 4, S, S) in [-1, 1]: colour over `background`, and alpha.
      background: grey in [0, 1].
      color: all layers have the colour of the picture's pixel on their ray, free of the background, where the picture
        is at least half opaque, and that of a miss (-1) elsewhere; False for 0.
      hit: layers 1 and 2 are hit where the picture is at least half opaque (a closed object is entered and left);
        False for 0.
      colored_layers: so many layers have the colour, the others 0; None for all.
    Returns:
      (B, layers, 8, rays, rays) model space.
    """
    color_there, inside = pixel_colors(images, rays, background)
    base = torch.zeros(len(images), layers, MODEL_CHANNELS, rays, rays, device=images.device)
    if color:
        base[:, :colored_layers, 4:7] = torch.where(inside, color_there.clamp(-1, 1), -1.0)[:, None]
    if hit:
        base[:, :2, 7] = torch.where(inside, 1.0, -1.0)
    return base
