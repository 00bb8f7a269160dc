"""The typed schema of a training run's configuration: every key, its default, its range.

The defaults are the published recipe of the first stage.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field


def _ranged(default: float, low: float, high: float, expected: str):
    return field(default=default, metadata={"holds": lambda value: low <= value <= high, "expected": expected})


def count(default: int):
    """A whole number from 1."""
    return _ranged(default, 1, math.inf, "at least 1")


def amount(default: float):
    """A number from 0."""
    return _ranged(default, 0, math.inf, "0 or more")


def above_zero(default: float):
    """A number above 0."""
    return _ranged(default, math.ulp(0.0), math.inf, "more than 0")


def fraction(default: float):
    """A number from 0 to 1."""
    return _ranged(default, 0, 1, "between 0 and 1")


def choice(*names: str):
    """One of the names; the first is the default."""
    expected = f"one of {', '.join(names)}"
    return field(default=names[0], metadata={"holds": lambda value: value in names, "expected": expected})


@dataclass
class Data:
    """Where samples come from. `on_error`: a sample that cannot be read stops the run, or is named and left out."""

    root: str = "Data/Objaverse_XRay"
    eval_fraction: float = fraction(0.1)
    image_size: int = count(512)
    background: float = fraction(1.0)
    num_workers: int = amount(4)
    on_error: str = choice("stop", "skip")


@dataclass
class CodecKeys:
    """The mapping to model space, see `codec.Codec`."""

    near: float = 0.6
    far: float = 2.4
    layers: int = 8
    resolution: int = 64
    miss: str = "zero"
    hit_threshold: float = 0.0


@dataclass
class Model:
    """The network.

    kind: `unet` (denoising video U-Net), or `decoder` (temporal decoder, upsampler only).
    pretrained: hub name or folder with image_encoder/, feature_extractor/, vae/, scheduler/.
    vae: hub name or folder of another image VAE; empty for the one inside `pretrained`.
    init: `random`, or `pretrained` to start from the U-Net inside `pretrained`.
    attention: which levels of a U-Net attend, over space, layers and to the image, outermost level first; empty for
      all but the innermost, as published.
    factor: of an upsampler, rays out over rays in, on each side.
    residual: the decoder adds to the enlarged low-res X-Ray instead of making the X-Ray anew.
    """

    kind: str = choice("unet", "decoder")
    pretrained: str = "stabilityai/stable-video-diffusion-img2vid"
    vae: str = ""
    init: str = choice("random", "pretrained")
    block_out_channels: list[int] = field(default_factory=lambda: [64, 128, 256, 256])
    num_attention_heads: list[int] = field(default_factory=lambda: [4, 8, 16, 16])
    attention: list[bool] = field(default_factory=list)
    layers_per_block: int = count(1)
    transformer_layers_per_block: int = count(1)
    cross_attention_dim: int = count(1024)
    addition_time_embed_dim: int = count(256)
    factor: int = count(4)
    residual: bool = False


@dataclass
class Noise:
    """Noise levels and other randomness of a training sample.

    p_mean, p_std: log of the noise level is normal (EDM). mixture_fraction: that share of the samples draws its
    log level from mixture_mean, mixture_std instead. image_mean, image_std: log of the strength of the noise on
    the image before its VAE (denoising U-Nets). dropout: p of the condition dropout.
    low_max, image_max: upsamplers' largest noise on the low-res X-Ray and on the image (uniform from 0).
    """

    p_mean: float = 0.7
    p_std: float = amount(1.6)
    mixture_fraction: float = fraction(0.0)
    mixture_mean: float = -1.2
    mixture_std: float = amount(1.2)
    image_mean: float = -3.0
    image_std: float = amount(0.5)
    dropout: float = amount(0.1)
    fps: int = 7
    motion_bucket: int = 127
    low_max: float = amount(0.2)
    image_max: float = amount(0.2)


@dataclass
class Loss:
    """weighting: `published` or `min_snr`. miss_weight: weight of depth, normal and colour where the truth has no
    surface (1 as published, 0 leaves them out). channel_weights: of depth, normal, colour and hit. hit_loss,
    value_loss: the decoder's two terms.
    """

    weighting: str = choice("published", "min_snr")
    min_snr_gamma: float = above_zero(5.0)
    miss_weight: float = amount(1.0)
    channel_weights: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0, 1.0])
    hit_loss: float = amount(1.0)
    value_loss: float = amount(1.0)


@dataclass
class Train:
    """The optimisation. `batch_size` is a process's and a micro-batch's; `precision`: fp32, fp16, bf16."""

    max_steps: int = count(1_000_000)
    batch_size: int = count(14)
    accumulation: int = count(1)
    optimizer: str = choice("adamw", "adamw8bit")
    learning_rate: float = above_zero(1e-4)
    beta1: float = fraction(0.9)
    beta2: float = fraction(0.999)
    weight_decay: float = amount(1e-2)
    epsilon: float = above_zero(1e-8)
    schedule: str = choice("constant", "cosine")
    warmup_steps: int = amount(0)
    max_grad_norm: float = amount(1.0)
    seed: int = amount(0)
    ema_decay: float = fraction(0.9999)
    precision: str = choice("fp32", "fp16", "bf16")
    gradient_checkpointing: bool = False
    compile: bool = False
    tf32: bool = False
    attention: str = choice("sdpa", "xformers")
    checkpoint_every: int = count(1000)
    keep_checkpoints: int = amount(3)
    on_damaged: str = choice("stop", "previous")
    log_every: int = count(10)
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])
    validate_every: int = amount(0)
    validate_views: int = count(4)
    first_stage: str = ""
    first_stage_fraction: float = fraction(0.5)
    cache_dir: str = ""
    cache_gib: float = amount(50.0)
    cache_variants: int = count(4)


@dataclass
class Sample:
    """Sampling after training: Euler steps, guidance of the first and the last layer."""

    steps: int = count(25)
    guidance_min: float = 1.0
    guidance_max: float = 3.0
    fps: int = 6


@dataclass
class Config:
    """All of a run. `stage`: diffusion or upsampler. `output_dir`: where checkpoints and logs go."""

    stage: str = choice("diffusion", "upsampler")
    output_dir: str = "Output/Objaverse_XRay"
    data: Data = field(default_factory=Data)
    codec: CodecKeys = field(default_factory=CodecKeys)
    model: Model = field(default_factory=Model)
    noise: Noise = field(default_factory=Noise)
    loss: Loss = field(default_factory=Loss)
    train: Train = field(default_factory=Train)
    sample: Sample = field(default_factory=Sample)
