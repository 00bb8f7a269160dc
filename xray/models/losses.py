"""Losses of both stages. Each returns one number a sample, so that a batch's mean is that of its parts."""

from __future__ import annotations

import torch
from torch.nn import functional as F

VALUES = slice(0, 7)
"""Depth, normal and colour."""
HIT = 7


def denoising_loss(
    estimate: torch.Tensor,
    truth: torch.Tensor,
    weight: torch.Tensor,
    miss_weight: float = 1.0,
) -> torch.Tensor:
    """Weight * mean squared error over all layers, channels and pixels (equation 8 of EDM).

    Args:
      estimate, truth: (B, L, 8, h, w) model space.
      weight: (B,) of each sample's noise level.
      miss_weight: weight of depth, normal and colour where the truth has no surface; the mean is then taken
        over the sum of weights.
    Returns:
      (B,).
    """
    error = (estimate - truth) ** 2
    if miss_weight == 1:
        return weight * error.flatten(1).mean(1)
    mask = torch.ones_like(error)
    mask[:, :, VALUES] = torch.where(truth[:, :, HIT:] > 0, 1.0, miss_weight)
    return weight * (error * mask).flatten(1).sum(1) / mask.flatten(1).sum(1)


def regression_loss(
    prediction: torch.Tensor,
    truth: torch.Tensor,
    hit_loss: float = 1.0,
    value_loss: float = 1.0,
) -> torch.Tensor:
    """Cross-entropy of the hit everywhere plus squared error of the rest where the truth has a surface.

    Args:
      prediction: (B, L, 8, h, w), the last channel a logit; truth: the same shape, model space.
    Returns:
      (B,). A sample without any surface has no second term.
    """
    hit = truth[:, :, HIT] > 0
    cross_entropy = F.binary_cross_entropy_with_logits(prediction[:, :, HIT], hit.float(), reduction="none")
    error = ((prediction[:, :, VALUES] - truth[:, :, VALUES]) ** 2).mean(2) * hit
    count = hit.flatten(1).sum(1).clamp(min=1)
    return hit_loss * cross_entropy.flatten(1).mean(1) + value_loss * error.flatten(1).sum(1) / count
