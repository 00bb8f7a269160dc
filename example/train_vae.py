"""Trains the small image VAE of example/encoders on rendered pictures, for pictures like them.

    python example/train_vae.py --image_root Data/shapes/images --output Output/vae --steps 1500

With random weights its latent tells little of the picture: a linear fit of the silhouette explains a third of it.
Writes an AutoencoderKL that `model.vae` can name. The same command again goes on from the last hundred steps.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch.nn import functional as F
from tqdm import tqdm

from xray.common.cli import entry
from xray.common.errors import InputError
from xray.common.files import atomic_path
from xray.common.images import composite, load_rgba, to_array
from xray.data.dataset import is_test

log = logging.getLogger(__name__)

CHANNELS = (16, 32, 32, 32)
BATCH = 4
KL_WEIGHT = 1e-6
SAVE_EVERY = 100


def pictures(root: Path, eval_fraction: float) -> list[Path]:
    """Pictures of the objects that are not for testing, sorted."""
    found = [path for path in sorted(root.glob("*/*.png")) if not is_test(path.parent.name, eval_fraction)]
    if not found:
        raise InputError(f"{root}: no <object>/<view>.png of the training split")
    return found


def load_batch(paths: list[Path], picks: np.ndarray) -> torch.Tensor:
    """(B, 3, S, S) in [-1, 1], over white."""
    images = [composite(load_rgba(paths[pick]), 1.0) for pick in picks]
    return torch.from_numpy(np.stack([to_array(image, image.width) for image in images]))


def make_vae(seed: int) -> AutoencoderKL:
    """Untrained, with the sizes of this file."""
    torch.manual_seed(seed)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=CHANNELS,
        norm_num_groups=8,
        layers_per_block=1,
    )


@torch.no_grad()
def whiten(vae: AutoencoderKL, images: torch.Tensor) -> None:
    """Scale the latent to mean 0 and deviation 1 over some pictures, channel by channel, decoder included."""
    latent = vae.encode(images).latent_dist.mode()
    mean, std = latent.mean((0, 2, 3)), latent.std((0, 2, 3))
    channels = len(mean)
    vae.quant_conv.weight[:channels] /= std[:, None, None, None]
    vae.quant_conv.bias[:channels] = (vae.quant_conv.bias[:channels] - mean) / std
    vae.post_quant_conv.bias += (vae.post_quant_conv.weight[:, :, 0, 0] * mean).sum(1)
    vae.post_quant_conv.weight *= std[None, :, None, None]


@entry
def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_root", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--eval_fraction", type=float, default=0.1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if (args.output / "config.json").is_file():
        log.info("%s: trained already", args.output)
        return 0
    paths = pictures(args.image_root, args.eval_fraction)
    vae = make_vae(args.seed)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=0)
    kept, first = args.output / "training.pt", 0
    if kept.is_file():
        state = torch.load(kept, weights_only=True)
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    errors = []
    for step in tqdm(range(first, args.steps), desc="vae", initial=first, total=args.steps, mininterval=10):
        rng = np.random.default_rng([args.seed, step])
        images = load_batch(paths, rng.integers(len(paths), size=BATCH))
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 50, 2 * (args.steps - step) / args.steps)
        posterior = vae.encode(images).latent_dist
        noise = torch.from_numpy(rng.standard_normal(posterior.mean.shape, dtype=np.float32))
        error = F.mse_loss(vae.decode(posterior.mean + posterior.std * noise).sample, images)
        (error + KL_WEIGHT * posterior.kl().mean()).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        errors.append(error.item())
        if step % SAVE_EVERY == SAVE_EVERY - 1:
            with atomic_path(kept) as partial:
                torch.save({"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}, partial)
    whiten(vae, load_batch(paths, np.linspace(0, len(paths) - 1, 64).astype(int)))
    vae.save_pretrained(args.output)
    kept.unlink(missing_ok=True)
    recent = float(np.mean(errors[-100:])) if errors else None
    sys.stdout.write(json.dumps({"steps": args.steps, "squared_error": recent}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
