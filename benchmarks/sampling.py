"""Sampling against the loop of diffusers' StableVideoDiffusionPipeline, on one U-Net, at equal steps, in one run.

python benchmarks/sampling.py [--config configs/diffusion.yaml] [--steps 2] [--repeats 3] [key=value ...]
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from xray.common.cli import entry
from xray.config import Config, load_config
from xray.core.codec import MODEL_CHANNELS
from xray.models.build import make_model
from xray.models.denoiser import Condition, Denoiser
from xray.models.example_encoders import make_scheduler
from xray.models.sampling import euler, guided, layer_scales, noise_levels, starting_noise


def network_and_condition(config: Config, device: str) -> tuple[Denoiser, Condition, tuple[int, ...]]:
    """A first stage's network as it begins, a random condition of one picture, and the shape of an X-Ray's layers."""
    denoiser = make_model(config).eval().to(device)
    size, layers = config.codec.resolution, config.codec.layers
    generator = torch.Generator().manual_seed(0)
    condition = Condition(
        torch.randn(1, 1, config.model.cross_attention_dim, generator=generator).to(device),
        torch.randn(1, 4, size, size, generator=generator).to(device),
        torch.tensor([[6.0, 127.0, 0.0]], device=device),
    )
    return denoiser, condition, (layers, MODEL_CHANNELS, size, size)


def ours(denoiser, condition: Condition, steps: int, shape: tuple[int, ...], device: str) -> torch.Tensor:
    """As `build.sample_diffusion` does it, from the condition on."""
    sigmas, deviation = noise_levels(make_scheduler(), steps)
    x = starting_noise(shape, [0], deviation).to(device)
    return euler(guided(denoiser, condition, layer_scales(1.0, 3.0, shape[0])), x, sigmas)


def theirs(unet, condition: Condition, steps: int, shape: tuple[int, ...], device: str) -> torch.Tensor:
    """The denoising loop of StableVideoDiffusionPipeline.__call__: doubled batch, scheduler's scaling and step."""
    scheduler = make_scheduler()
    scheduler.set_timesteps(steps, device=device)
    latents = starting_noise(shape, [0], float(scheduler.init_noise_sigma)).to(device)
    guidance = layer_scales(1.0, 3.0, shape[0]).to(device)[None, :, None, None, None]
    image = condition.latent[:, None].expand(-1, shape[0], -1, -1, -1)
    image = torch.cat([torch.zeros_like(image), image])
    embedding = torch.cat([torch.zeros_like(condition.embedding), condition.embedding])
    ids = torch.cat([condition.added_time_ids] * 2)
    for step in scheduler.timesteps:
        scaled = scheduler.scale_model_input(torch.cat([latents] * 2), step)
        scaled = torch.cat([scaled, image], dim=2)
        noise = unet(scaled, step, encoder_hidden_states=embedding, added_time_ids=ids, return_dict=False)[0]
        without, with_image = noise.chunk(2)
        latents = scheduler.step(without + guidance * (with_image - without), step, latents).prev_sample
    return latents


def seconds(run, device: str) -> tuple[float, float]:
    """Wall time of one call, and the CPU time of all its threads, which other work on the machine disturbs less."""
    start = time.perf_counter(), time.process_time()
    run()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - start[0], time.process_time() - start[1]


@entry
@torch.no_grad()
def main(arguments: list[str] | None = None) -> None:
    """Print the shortest times and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default=str(Path(__file__).parents[1] / "configs" / "diffusion.yaml"))
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_intermixed_args(arguments)
    config = load_config(options.config, options.overrides)
    denoiser, condition, shape = network_and_condition(config, options.device)
    runs = {
        "here": lambda: ours(denoiser, condition, options.steps, shape, options.device),
        "diffusers": lambda: theirs(denoiser.unet, condition, options.steps, shape, options.device),
    }
    difference = float((runs["here"]() - runs["diffusers"]()).abs().max())  # also warms up
    times = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, run in runs.items():
            times[name].append(seconds(run, options.device))
    sys.stdout.write(f"{options.steps} steps, shortest of {options.repeats} calls in turn\n")
    for number, name in enumerate(("wall", "CPU")):
        here, other = (min(call[number] for call in calls) for calls in times.values())
        sys.stdout.write(f"{name}: here {here:.2f} s, diffusers {other:.2f} s, ratio {here / other:.3f}\n")
    sys.stdout.write(f"largest difference of the results {difference:.1e}\n")


if __name__ == "__main__":
    sys.exit(main())
