"""Solvers of the sampling equation by name: Euler as published, and two of second order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import torch

from .errors import InputError
from .sampler import DenoiserFn, euler

Progress = Callable[[int], None]
Solver = Callable[[DenoiserFn, torch.Tensor, torch.Tensor, Progress | None], torch.Tensor]


def heun(denoise: DenoiserFn, x: torch.Tensor, sigmas: torch.Tensor, progress: Progress | None = None) -> torch.Tensor:
    """Heun's second-order steps (algorithm 1 of arXiv 2206.00364); two network calls a step, one for the last.

    Arguments and result as in `sampler.euler`.
    """
    for index, (sigma, following) in enumerate(_steps(sigmas)):
        clean = denoise(x, _level(x, sigma))
        ahead = clean + (x - clean) * (following / sigma)
        if following > 0:
            slope, slope_ahead = (x - clean) / sigma, (ahead - denoise(ahead, _level(x, following))) / following
            ahead = x + (following - sigma) * (slope + slope_ahead) / 2
        x = ahead
        if progress is not None:
            progress(index + 1)
    return x


def dpmpp_2m(
    denoise: DenoiserFn, x: torch.Tensor, sigmas: torch.Tensor, progress: Progress | None = None
) -> torch.Tensor:
    """DPM-Solver++ (2M): second order from the step before (algorithm 2 of arXiv 2211.01095, data prediction).

    One network call a step. Arguments and result as in `sampler.euler`.
    """
    before: tuple[torch.Tensor, float] | None = None
    for index, (sigma, following) in enumerate(_steps(sigmas)):
        clean = denoise(x, _level(x, sigma))
        # In the paper's terms alpha is 1 and lambda is -log sigma; the last step, to 0, is of first order.
        span = math.log(sigma / following) if following > 0 else math.inf
        aim = clean
        if before is not None and following > 0:
            old, old_span = before
            aim = clean + (clean - old) * (span / old_span / 2)
        x = aim + (x - aim) * (following / sigma)
        before = (clean, span)
        if progress is not None:
            progress(index + 1)
    return x


SOLVERS: dict[str, Solver] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
"""By the name that commands and pipelines take."""


def solver(name: str) -> Solver:
    """A solver by name, or InputError naming those that there are."""
    if name not in SOLVERS:
        raise InputError(f"solver {name!r}: expected one of {', '.join(SOLVERS)}")
    return SOLVERS[name]


def _steps(sigmas: torch.Tensor) -> list[tuple[float, float]]:
    levels = sigmas.tolist()
    return list(itertools.pairwise(levels))


def _level(x: torch.Tensor, sigma: float) -> torch.Tensor:
    return torch.full((len(x),), sigma, dtype=torch.float32, device=x.device)
