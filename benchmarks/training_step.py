"""Seconds of a training step of the published first stage, split into its parts, against a plain loop.

    python benchmarks/training_step.py --data_root D [--size small|published] [--steps 3] [--ways W ...] [--clock cpu]

All run here, in this one process, a step of each in turn, so that whatever else the machine does meets all alike;
on the same samples with the same random numbers. The encoders have the published shapes and random weights. The
plain loop is written after the published recipe: dense reading of an X-Ray, both encoders at every step, the U-Net
as it is. Ours reads sparsely in 2 workers, and is measured with the encoders' cache off and on, and with the U-Net
compiled (minutes to compile).

The clock is the wall's, or with `--clock cpu` this process's time on the cores, over its threads: for a machine whose
other work is larger than the differences. Workers are not in it.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLTemporalDecoder
from PIL import Image
from scipy.sparse import csr_matrix
from tqdm import tqdm
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from xray.core.codec import Codec
from xray.data.dataset import XRayDataset
from xray.models.conditioner import Conditioner
from xray.models.denoiser import Denoiser
from xray.models.unet import UNetShape, make_unet
from xray.training.batches import BatchLoader, OrderedSamples, SampleNumbers
from xray.training.encoder_cache import EncoderCache
from xray.training.objectives import Denoising
from xray.training.random_streams import RandomStreams

# resolution of the X-Ray, image size, VAE channels, CLIP (width, depth, heads, patch)
SIZES = {
    "small": (32, 256, (64, 128, 256, 256), (512, 8, 8, 14)),
    "published": (64, 512, (128, 256, 512, 512), (1280, 32, 16, 14)),
}
UNET = UNetShape([64, 128, 256, 256], [4, 8, 16, 16], 1, 1, 1024, 256, layers=8)
PARTS = ("data", "encoders", "forward", "backward", "optimizer")


CLOCKS = {"wall": time.perf_counter, "cpu": lambda: time.process_time() / torch.get_num_threads()}


class Clock(defaultdict):
    """Seconds by part, of one of `CLOCKS`."""

    def __init__(self, kind: str):
        super().__init__(float)
        self.now = CLOCKS[kind]

    @contextmanager
    def part(self, name: str):
        began = self.now()
        yield
        self[name] += self.now() - began


Run = tuple[Clock, list[float]]
WAYS = {
    "ours": {"cache": False, "compiled": False},
    "cache": {"cache": True, "compiled": False},
    "compiled": {"cache": False, "compiled": True},
    "both": {"cache": True, "compiled": True},
}


def make_encoders(vae_channels, clip) -> Conditioner:
    """CLIP tower and VAE with random weights."""
    width, depth, heads, patch = clip
    encoder = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            image_size=224,
            patch_size=patch,
            projection_dim=1024,
        )
    )
    vae = AutoencoderKLTemporalDecoder(
        down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=vae_channels, layers_per_block=2
    )
    vae.decoder = None
    return Conditioner(encoder, vae, CLIPImageProcessorPil())


def make_network(seed: int = 0) -> tuple[Denoiser, torch.optim.Optimizer]:
    """The published U-Net, equal for an equal seed."""
    torch.manual_seed(seed)
    model = Denoiser(make_unet(UNET))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=1e-2)


def plain_item(root: Path, view: tuple[str, str], resolution: int, size: int):
    """Dense reading as published: the whole array, normalised and resized."""
    with np.load(root / "xrays" / view[0] / f"{view[1]}.npz") as stored:
        matrix = csr_matrix((stored["data"], stored["indices"], stored["indptr"]), shape=stored["shape"])
    side = math.isqrt(matrix.shape[1] // 7)
    dense = torch.from_numpy(matrix.toarray().reshape(-1, 7, side, side))[:8]
    hit = (dense[:, :1] > 0).float() * 2 - 1
    depth = (dense[:, :1] - 0.6) / 1.8 * 2 - 1
    xray = torch.cat([depth, dense[:, 1:4], dense[:, 4:7] * 2 - 1, hit], dim=1)
    xray = torch.nn.functional.interpolate(xray, (resolution, resolution), mode="nearest")
    picture = Image.open(root / "images" / view[0] / f"{view[1]}.png").convert("RGBA")
    rgba = np.asarray(picture.resize((size, size)), np.float32) / 255
    rgb = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
    return xray, torch.from_numpy(rgb).permute(2, 0, 1) * 2 - 1


def plain_loop(run: Run, dataset, encoders, steps: int, resolution: int, size: int) -> Iterator[None]:
    """The published recipe, one sample a step; pauses after each."""
    (model, optimizer), clock, losses = make_network(), *run
    order = OrderedSamples(dataset, 0)
    for step in range(steps + 1):
        if step == 1:  # the first one warms up
            clock.clear()
        with clock.part("data"):
            xray, image = (v[None] for v in plain_item(dataset.root, dataset.rows[order.index(step)], resolution, size))
        draws = RandomStreams(0, [step])
        sigma = torch.exp(0.7 + 1.6 * draws.normal())
        draws.uniform()
        noisy = xray + sigma[:, None, None, None, None] * draws.normal(*xray.shape[1:])
        with clock.part("encoders"):
            strength = torch.exp(-3.0 + 0.5 * draws.normal())
            noisy_image = image + strength[:, None, None, None] * draws.normal(*image.shape[1:])
            token, latent = encoders.embed(image), encoders.encode(noisy_image)
        u = float(draws.uniform())
        token, latent = token * (u >= 0.2), latent * (not 0.1 <= u < 0.3)
        s = sigma[:, None, None, None, None]
        with clock.part("forward"):
            sample = torch.cat([noisy / (s**2 + 1).sqrt(), latent[:, None].expand(-1, 8, -1, -1, -1)], dim=2)
            ids = torch.tensor([[7.0, 127.0, float(strength)]])
            v = model.unet(sample, sigma.log() / 4, token, ids).sample
            x0 = noisy / (s**2 + 1) - v * s / (s**2 + 1).sqrt()
            loss = ((1 + s**2) / s**2 * (x0 - xray) ** 2).mean()
        _optimize(clock, loss, model, optimizer)
        losses.append(float(loss.detach()))
        yield


def our_loop(run: Run, dataset, encoders, steps, resolution, size, cache=None, compiled=False) -> Iterator[None]:
    """The trainer's parts in the trainer's order, one sample a step; pauses after each."""
    (model, optimizer), clock, losses = make_network(), *run
    if compiled:
        model.unet.compile()
    task = Denoising(encoders, cache=cache)
    loader = BatchLoader(OrderedSamples(dataset, 0), SampleNumbers(0, steps + 1, 1), workers=2, pin_memory=False)
    batches = iter(loader)
    for step in range(steps + 1):
        if step == 1:
            clock.clear()
        with clock.part("data"):
            batch = next(batches)
        began = clock.now()
        inner = clock["encoders"]
        timed = _Timed(task.condition, clock)
        object.__setattr__(task, "condition", timed)
        loss = task.loss(model, batch["xray"], batch["image"], RandomStreams(0, batch["numbers"])).mean()
        object.__setattr__(task, "condition", timed.function)
        clock["forward"] += clock.now() - began - (clock["encoders"] - inner)
        _optimize(clock, loss, model, optimizer)
        losses.append(float(loss.detach()))
        yield


class _Timed:
    def __init__(self, function, clock: Clock):
        self.function, self.clock = function, clock

    def __call__(self, *args):
        with self.clock.part("encoders"):
            return self.function(*args)


def _optimize(clock: Clock, loss: torch.Tensor, model, optimizer) -> None:
    with clock.part("backward"):
        loss.backward()
    with clock.part("optimizer"):
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_root", required=True, help="as Output/example/data")
    parser.add_argument("--size", choices=SIZES, default="small")
    parser.add_argument("--steps", type=int, default=3, help="measured, after one to warm up")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=["ours", "cache"], help="beside the plain loop")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    resolution, size, vae_channels, clip = SIZES[options.size]
    encoders = make_encoders(vae_channels, clip)
    with tempfile.TemporaryDirectory() as folder:
        dataset = XRayDataset(options.data_root, Codec(layers=8, resolution=resolution), "all", size)
        shape = (options.steps, resolution, size)
        cache = EncoderCache(Path(folder) / "cache", 1e9, 1, "benchmark", encoders)
        order = OrderedSamples(dataset, 0)
        if any(WAYS[way]["cache"] for way in options.ways):
            for step in range(options.steps + 1):  # so that every step finds what it needs
                image = dataset[order.index(step)]["image"][None]
                cache.encode(image, RandomStreams(0, [step]), Denoising(encoders).encode)
        runs = {name: (Clock(options.clock), []) for name in ("plain", *options.ways)}
        loops = [plain_loop(runs["plain"], dataset, encoders, *shape)]
        for way in options.ways:
            known = cache if WAYS[way]["cache"] else None
            loops.append(our_loop(runs[way], dataset, encoders, *shape, known, WAYS[way]["compiled"]))
        for _ in tqdm(zip(*loops, strict=True), total=options.steps + 1, desc="steps"):
            pass
    _print(runs, options)


def _print(runs: dict[str, tuple[Clock, list[float]]], options: argparse.Namespace) -> None:
    write = sys.stdout.write
    write(f"{options.size} size, batch 1, {torch.get_num_threads()} threads; ")
    write(f"seconds a step by the {options.clock} clock (share)\n")
    write(f"{'':16}" + "".join(f"{part:>16}" for part in PARTS) + f"{'samples/s':>12}{'times plain':>13}\n")
    plain = sum(runs["plain"][0].values())
    for name, (clock, _) in runs.items():
        total = sum(clock.values())
        cells = [f"{clock[part] / options.steps:8.3f} ({clock[part] / total:4.0%})" for part in PARTS]
        write(f"{name:16}" + "".join(f"{cell:>16}" for cell in cells))
        write(f"{options.steps / total:12.3f}{plain / total:13.2f}\n")
    plain = runs["plain"][1]
    for name in options.ways:
        if not WAYS[name]["cache"]:  # the cache draws its own noise for the images
            difference = max(abs(a - b) / abs(a) for a, b in zip(plain, runs[name][1], strict=True))
            write(f"losses of plain and {name} differ by at most {difference:.1e} (relative)\n")


if __name__ == "__main__":
    main()
