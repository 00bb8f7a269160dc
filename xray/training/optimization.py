"""Optimizer and learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch

from ..errors import InputError


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter],
    kind: str,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    epsilon: float,
) -> torch.optim.Optimizer:
    """AdamW, or its 8-bit form; InputError where that cannot run."""
    options = {"lr": learning_rate, "betas": betas, "weight_decay": weight_decay, "eps": epsilon}
    if kind == "adamw":
        return torch.optim.AdamW(parameters, **options)
    if not torch.cuda.is_available():
        raise InputError("train.optimizer adamw8bit needs a CUDA device; here only adamw runs")
    try:
        import bitsandbytes
    except ImportError:
        raise InputError(
            "train.optimizer adamw8bit needs bitsandbytes: pip install -r requirements-gpu.txt",
        ) from None
    return bitsandbytes.optim.AdamW8bit(parameters, **options)


def learning_rate(step: int, base: float, schedule: str, warmup_steps: int, max_steps: int) -> float:
    """The rate of optimizer step `step` (from 0): a function of the step alone, so it has no state to save.

    Linear warm-up from base / warmup_steps, then `constant`, or `cosine` down to 0 at max_steps.
    """
    if step < warmup_steps:
        return base * (step + 1) / warmup_steps
    if schedule == "constant":
        return base
    done = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    return base * (1 + math.cos(math.pi * min(done, 1))) / 2
