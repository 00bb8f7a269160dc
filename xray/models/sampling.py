"""Sampling from a denoiser: noise levels, guidance and the solvers of the sampling equation, as pure functions."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch

from ..common.errors import InputError
from .denoiser import Condition, Denoiser

DenoiserFn = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""(x (B, ...), sigma (B,)) -> estimate of the clean x."""

Generators = torch.Generator | Sequence[torch.Generator]


def noise_levels(scheduler, steps: int) -> tuple[torch.Tensor, float]:
    """Noise levels of a diffusers Euler scheduler.

    Returns:
      (steps + 1,) float32 falling to 0, and the deviation of the starting noise.
    """
    scheduler.set_timesteps(steps)
    return scheduler.sigmas.clone(), float(scheduler.init_noise_sigma)


def euler(
    denoise: DenoiserFn,
    x: torch.Tensor,
    sigmas: torch.Tensor,
    progress: Callable[[int], None] | None = None,
) -> torch.Tensor:
    """Integrate dx/dsigma = (x - D(x; sigma)) / sigma by Euler steps (algorithm 1 of arXiv 2206.00364, first order).

    Args:
      x: (B, ...) start, unit noise times the first level.
      sigmas: (N + 1,) falling; the last may be 0.
      progress: called with the number of each step done.
    Returns:
      x at the last level.
    """
    for index, (sigma, following) in enumerate(zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True)):
        clean = denoise(x, torch.full((len(x),), sigma, dtype=torch.float32, device=x.device))
        # The same step as x + (following - sigma) * slope, written so that the last one gives exactly `clean`.
        x = clean + (x - clean) * (following / sigma)
        if progress is not None:
            progress(index + 1)
    return x


def guided(denoiser: Denoiser, condition: Condition, scales: torch.Tensor) -> DenoiserFn:
    """Classifier-free guidance with one scale a layer: uncond + scale * (cond - uncond).

    Both passes are one call with twice the batch, which keeps a GPU busy where one sample would not.

    Args:
      scales: (L,); where all are 1 the unconditional pass is left out, since it would not change the result.
    """
    if bool((scales == 1).all()):
        return lambda x, sigma: denoiser(x, sigma, condition)
    scales = scales[:, None, None, None]
    pairs = zip(condition.drop(), condition, strict=True)
    doubled = Condition(*(None if without is None else torch.cat([without, known]) for without, known in pairs))

    def denoise(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        plain, led = denoiser(torch.cat([x, x]), torch.cat([sigma, sigma]), doubled).chunk(2)
        return plain + scales.to(x.device) * (led - plain)

    return denoise


def layer_scales(low: float, high: float, layers: int) -> torch.Tensor:
    """(layers,) guidance rising linearly from the first layer to the last."""
    return torch.linspace(low, high, layers)


def starting_noise(shape: Sequence[int], seeds: Sequence[int], deviation: float) -> torch.Tensor:
    """(len(seeds), *shape) float32 noise on the CPU; each sample depends on its own seed alone."""
    rows = [torch.randn(tuple(shape), generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(rows) * deviation


def draw_seeds(generator: Generators | None, count: int) -> list[int]:
    """A seed a sample: each from its own generator, or all from one in turn; 0, 1, ... without."""
    if generator is None:
        return list(range(count))
    generators = [generator] * count if isinstance(generator, torch.Generator) else list(generator)
    if len(generators) != count:
        raise InputError(f"{len(generators)} generators for {count} images: expected one, or one each")
    return [int(torch.randint(2**62, (), generator=one)) for one in generators]


StepCallback = Callable[[int], None]
Solver = Callable[[DenoiserFn, torch.Tensor, torch.Tensor, StepCallback | None], torch.Tensor]


def heun(
    denoise: DenoiserFn, x: torch.Tensor, sigmas: torch.Tensor, progress: StepCallback | None = None
) -> torch.Tensor:
    """Heun's second-order steps (algorithm 1 of arXiv 2206.00364); two network calls a step, one for the last.

    Arguments and result as in `euler`.
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
    denoise: DenoiserFn, x: torch.Tensor, sigmas: torch.Tensor, progress: StepCallback | None = None
) -> torch.Tensor:
    """DPM-Solver++ (2M): second order from the step before (algorithm 2 of arXiv 2211.01095, data prediction).

    One network call a step. Arguments and result as in `euler`.
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
