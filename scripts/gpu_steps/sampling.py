"""Sampling here against the loop of diffusers' own pipeline, on one network."""

from __future__ import annotations

import statistics
import time

import torch
from sampling import network_and_condition, ours, theirs  # benchmarks/sampling.py

from . import FAILED, OK, Result, Settings
from .training import configuration

TOLERANCE = 1e-2
"""Of values of about 1, in float32 throughout."""


@torch.no_grad()
def compare(settings: Settings) -> Result:
    """Largest difference of the results, and seconds of both."""
    config, steps = configuration(settings, "diffusion"), 2 if settings.tiny else 25
    model, condition, shape = network_and_condition(config, settings.device)
    results, seconds = {}, {"here": [], "diffusers": []}
    usual = torch.backends.cudnn.allow_tf32
    rest = (condition, steps, shape, settings.device)
    runs = {"here": lambda: ours(model, *rest), "diffusers": lambda: theirs(model.unet, *rest)}
    for turn in range(2 if settings.tiny else 4):
        # The first turn warms up and is compared, without the rounding of TF32, which a GPU's convolutions have by
        # themselves; the others are timed, as they are used.
        torch.backends.cudnn.allow_tf32 = usual and turn > 0
        for name, run in runs.items():
            began = time.perf_counter()
            result = run()
            if settings.device == "cuda":
                torch.cuda.synchronize()
            if turn:
                seconds[name].append(time.perf_counter() - began)
            else:
                results[name] = result
    off = float((results["here"] - results["diffusers"]).abs().max())
    middle = {name: statistics.median(times) for name, times in seconds.items()}
    reason = f"{steps} steps: here {middle['here']:.3f} s, diffusers {middle['diffusers']:.3f} s, differ by {off:.1e}"
    return Result(OK if off <= TOLERANCE else FAILED, reason, values={**middle, "difference": off, "steps": steps})
