"""Losses of both stages. Each returns one number a sample, so that a batch's mean is that of its parts."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

VALUES = slice(0, 7)
"""Depth, normal and colour."""
DEPTH, COLOR = slice(0, 1), slice(4, 7)
HIT = 7
DIFFERENCES = (1, 2, 4)
"""Rays between the two ends of a difference of depth."""
EQUAL = (1.0, 1.0, 1.0, 1.0)
"""Published weights of depth, normal, colour and hit."""


def denoising_loss(
    estimate: torch.Tensor,
    truth: torch.Tensor,
    weight: torch.Tensor,
    miss_weight: float = 1.0,
    channel_weights: Sequence[float] = EQUAL,
    depth_error: str = "squared",
    color_error: str = "squared",
) -> torch.Tensor:
    """Weight * mean squared error over all layers, channels and pixels (equation 8 of EDM).

    Args:
      estimate, truth: (B, L, 8, h, w) model space.
      weight: (B,) of each sample's noise level.
      miss_weight: weight of depth, normal and colour where the truth has no surface; the mean is then taken
        over the sum of weights.
      channel_weights: of depth, normal, colour and hit.
      depth_error, color_error: as in `elementwise_error`.
    Returns:
      (B,).
    """
    error = elementwise_error(estimate, truth, depth_error, color_error)
    if tuple(channel_weights) != EQUAL:
        error = error * per_channel(channel_weights, error)
    if miss_weight == 1:
        return weight * error.flatten(1).mean(1)
    mask = torch.ones_like(error)
    mask[:, :, VALUES] = torch.where(truth[:, :, HIT:] > 0, 1.0, miss_weight)
    return weight * (error * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


def elementwise_error(
    estimate: torch.Tensor, truth: torch.Tensor, depth_error: str = "squared", color_error: str = "squared"
) -> torch.Tensor:
    """The error of every value, as (B, L, 8, h, w).

    Args:
      depth_error: `squared`, or `absolute` for |depth - truth|: along an outline, where a ray may meet either of two
        surfaces, the least squared error is a depth between them, the least absolute error one of them.
      color_error: the same for the colour channels: of a pattern that is not seen, the likelier of its colours, not
        the mixture of all.
    """
    apart = estimate - truth
    error = apart**2
    for kind, channels in ((depth_error, DEPTH), (color_error, COLOR)):
        if kind == "absolute":
            before, after = error[:, :, : channels.start], error[:, :, channels.stop :]
            error = torch.cat([before, apart[:, :, channels].abs(), after], dim=2)
    return error


def depth_difference_loss(estimate: torch.Tensor, truth: torch.Tensor, max_step: float) -> torch.Tensor:
    """Mean absolute error of the depth's differences between hits of one layer, 1, 2 and 4 rays apart.

    Along rows and columns. A pair k rays apart counts where the truth has a hit at both ends and its depths differ by
    less than `max_step` a ray, so that both lie on one surface. Noise from ray to ray, which is what keeps neighbours
    from being connected, costs little in the loss on depth itself and much here.

    Args:
      estimate, truth: (B, L, 8, h, w) model space; max_step: in model space.
    Returns:
      (B,); 0 for a sample without such a pair.
    """
    depth, guess, hit = truth[:, :, 0], estimate[:, :, 0], truth[:, :, HIT] > 0
    total = torch.zeros(len(truth), device=truth.device)
    count = torch.zeros(len(truth), device=truth.device)
    for apart in DIFFERENCES:
        for axis in (-2, -1):
            length = depth.shape[axis] - apart
            if length < 1:
                continue
            (step, guessed), both = (
                (x.narrow(axis, apart, length) - x.narrow(axis, 0, length) for x in (depth, guess)),
                hit.narrow(axis, apart, length) & hit.narrow(axis, 0, length),
            )
            both = both & (step.abs() < max_step * apart)
            total = total + ((guessed - step).abs() * both).flatten(1).sum(1)
            count = count + both.flatten(1).sum(1)
    return total / count.clamp(min=1)


def regression_loss(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    hit_loss: float = 1.0,
    value_loss: float = 1.0,
    channel_weights: Sequence[float] = EQUAL,
    depth_error: str = "squared",
    color_error: str = "squared",
) -> torch.Tensor:
    """Cross-entropy of the hit everywhere plus squared error of the rest where the truth has a surface.

    Args:
      prediction: (B, L, 8, h, w), the last channel a logit; truth: the same shape, model space.
      channel_weights: of depth, normal, colour and hit.
      depth_error, color_error: as in `elementwise_error`.
    Returns:
      (B,). A sample without any surface has no second term.
    """
    hit = truth[:, :, HIT] > 0
    cross_entropy = F.binary_cross_entropy_with_logits(prediction[:, :, HIT], hit.float(), reduction="none")
    error = elementwise_error(prediction, truth, depth_error, color_error)
    if tuple(channel_weights) != EQUAL:
        error = error * per_channel(channel_weights, error)
    error = error[:, :, VALUES].mean(2) * hit
    count = hit.flatten(1).sum(1).clamp(min=1)
    hit_loss = hit_loss * channel_weights[-1]
    return hit_loss * cross_entropy.flatten(1).mean(1) + value_loss * error.flatten(1).sum(1) / count


def per_channel(weights: Sequence[float], like: torch.Tensor) -> torch.Tensor:
    """(8, 1, 1): the weights of depth, normal, colour and hit for each of the 8 channels."""
    depth, normal, color, hit = weights
    values = [depth, normal, normal, normal, color, color, color, hit]
    return torch.tensor(values, dtype=like.dtype, device=like.device)[:, None, None]
