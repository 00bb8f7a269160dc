"""Tiny pretrained parts with random weights: the real classes, laid out as Stable Video Diffusion's repository.

`python -m xray.models.example_encoders FOLDER` writes them; equal seeds give equal files. Examples and tests load them
offline with the code that loads the published ones.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from .conditioner import SCHEDULER

EMBEDDING = 16
"""Length of the tiny CLIP embedding."""


def make_scheduler() -> EulerDiscreteScheduler:
    """The settings of stable-video-diffusion-img2vid's scheduler_config.json."""
    return EulerDiscreteScheduler(**SCHEDULER)


def make_pretrained(folder: str | Path, seed: int = 0) -> Path:
    """Write image_encoder/, feature_extractor/, vae/ and scheduler/ into `folder`, which is returned."""
    folder = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=EMBEDDING,
                intermediate_size=EMBEDDING,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=224,
                patch_size=32,
                projection_dim=EMBEDDING,
            ),
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(8, 8, 16, 16),
            norm_num_groups=4,
            layers_per_block=1,
        )
        _whiten(encoder, vae)
    encoder.save_pretrained(folder / "image_encoder")
    vae.save_pretrained(folder / "vae")
    CLIPImageProcessorPil().save_pretrained(folder / "feature_extractor")
    make_scheduler().save_pretrained(folder / "scheduler")
    return folder


@torch.no_grad()
def _whiten(encoder: CLIPVisionModelWithProjection, vae: AutoencoderKL) -> None:
    """Scale the last layers so that embedding and latent have a deviation near 1, as trained parts' have.

    At random weights they are so small that a network could not read them.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(8, 3, 8, 8, generator=generator) * 2 - 1
    images = torch.nn.functional.interpolate(coarse, (224, 224), mode="bilinear")
    encoder.visual_projection.weight /= encoder(images).image_embeds.std()
    latent = vae.encode(images).latent_dist.mode()
    vae.quant_conv.weight /= latent.std()
    vae.quant_conv.bias /= latent.std()


if __name__ == "__main__":
    make_pretrained(sys.argv[1])
