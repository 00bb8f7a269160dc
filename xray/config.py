"""The configuration of a training run: every key, its default and its range; reading and checking it.

The defaults are the published recipe of the first stage. A configuration is read from YAML and changed by `key=value`;
a key that is not known, or a value outside its range, is an error. Only the functions that build objects from it see
a configuration as a whole; everything else takes plain values.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .common.depth_range import FAR, NEAR
from .common.errors import InputError
from .common.files import read_text


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


def below_one(default: float):
    """A number from 0, below 1."""
    return _ranged(default, 0, math.nextafter(1, 0), "at least 0 and less than 1")


def choice(*names: str):
    """One of the names; the first is the default."""
    expected = f"one of {', '.join(names)}"
    return field(default=names[0], metadata={"holds": lambda value: value in names, "expected": expected})


def text(default: str):
    """A text that is not empty."""
    return field(default=default, metadata={"holds": lambda value: bool(value.strip()), "expected": "a text"})


TRACKERS = ("tensorboard", "wandb", "comet_ml", "aim", "mlflow", "clearml", "dvclive", "swanlab", "trackio")
"""The trackers that accelerate knows (`accelerate.tracking.LOGGER_TYPE_TO_CLASS`, which takes seconds to import)."""


@dataclass
class Data:
    """Where samples come from.

    root: folder of the data set; empty only in a saved pipeline, which does not name the folder of its data.
    camera_distance: above 0 the world of each view is scaled so that its camera stands at this distance from the
      object, since a picture alone does not tell size and distance apart; 0 leaves depths as they are stored.
    flip: chance of a training sample to be mirrored, left for right.
    on_error: a sample that cannot be read stops the run, or is named and left out.
    """

    root: str = "Data/Objaverse_XRay"
    eval_fraction: float = fraction(0.1)
    image_size: int = count(512)
    background: float = fraction(1.0)
    camera_distance: float = amount(0.0)
    flip: float = fraction(0.0)
    num_workers: int = amount(4)
    on_error: str = choice("stop", "skip")


@dataclass
class CodecKeys:
    """The mapping to model space, see `codec.Codec`."""

    near: float = amount(NEAR)
    far: float = above_zero(FAR)
    layers: int = count(8)
    resolution: int = count(64)
    miss: str = choice("zero", "far", "last")
    hit_threshold: float = _ranged(0.0, -1, math.nextafter(1, 0), "at least -1 and less than 1")


@dataclass
class Model:
    """The network.

    kind: `unet` (denoising video U-Net), or, upsamplers only, `decoder` (temporal decoder) or `pixel_shuffle` (a flat
      network at the low-res rays that writes patches of rays; it reads the picture's pixels).
    pretrained: hub name or folder with image_encoder/, feature_extractor/, vae/, scheduler/; may be empty where the
      picture's pixels are read: nothing but the published scheduler's settings is then needed of it.
    prediction: what the U-Net's output stands for, `v` as published or `x`, the clean X-Ray.
    image: how the network sees the picture: through the frozen encoders, as published (`vae`), or its own RGBA pixels
      through two learned convolutions of picture_width channels (`pixels`); then no encoder is loaded.
    patch: rays on each side that the U-Net reads and writes as one pixel's channels.
    color_prior, hit_prior: with `pixels` and `x`, the U-Net gives the difference from what the picture shows: the
      colour of the pixel on the same ray, the hits of layers 1 and 2 (see `patch_unet.prior`).
    silhouette_distance, place: further input channels of the U-Net: with `pixels`, the distance from the silhouette's
      outline; layer, column and row.
    color_lookup: channels of queries by which hidden layers find their colours in the picture (`ColorLookup`); 0: none.
    vae: hub name or folder of another image VAE; empty for the one inside `pretrained`.
    init: `random`, or `pretrained` to start from the U-Net inside `pretrained`.
    attention: which levels of a U-Net attend, over space, layers and to the image, outermost level first; empty for
      all but the innermost, as published.
    factor: of an upsampler, rays out over rays in, on each side.
    residual: the decoder predicts the difference from the enlarged low-res X-Ray, not the X-Ray itself.
    """

    kind: str = choice("unet", "decoder", "pixel_shuffle")
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
    prediction: str = choice("v", "x")
    image: str = choice("vae", "pixels")
    picture_width: int = count(64)
    patch: int = count(1)
    color_prior: bool = False
    hit_prior: bool = False
    silhouette_distance: bool = False
    place: bool = False
    color_lookup: int = amount(0)


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
    fps: int = amount(7)
    motion_bucket: int = amount(127)
    low_max: float = amount(0.2)
    image_max: float = amount(0.2)


@dataclass
class Loss:
    """weighting: `published` or `min_snr`. miss_weight: weight of depth, normal and colour where the truth has no
    surface (1 as published, 0 leaves them out). channel_weights: of depth, normal, colour and hit. depth_error,
    color_error: `squared` as published, or `absolute`. hit_loss, value_loss: a regressing upsampler's two terms.
    depth_difference: weight of `losses.depth_difference_loss` beside the others, for pairs of rays whose depths differ
    by less than depth_difference_step a ray in model space.
    """

    weighting: str = choice("published", "min_snr")
    min_snr_gamma: float = above_zero(5.0)
    depth_error: str = choice("squared", "absolute")
    color_error: str = choice("squared", "absolute")
    miss_weight: float = amount(1.0)
    channel_weights: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0, 1.0])
    hit_loss: float = amount(1.0)
    value_loss: float = amount(1.0)
    depth_difference: float = amount(0.0)
    depth_difference_step: float = above_zero(0.06)


@dataclass
class Train:
    """The optimisation. `batch_size` is a process's and a micro-batch's; `precision`: fp32, fp16, bf16.

    init_from: a saved pipeline, or a training's folder or checkpoint, whose weights a new run begins with.
    """

    max_steps: int = count(1_000_000)
    init_from: str = ""
    batch_size: int = count(14)
    accumulation: int = count(1)
    optimizer: str = choice("adamw", "adamw8bit", "muon")
    learning_rate: float = above_zero(1e-4)
    beta1: float = below_one(0.9)
    beta2: float = below_one(0.999)
    weight_decay: float = amount(1e-2)
    epsilon: float = above_zero(1e-8)
    schedule: str = choice("constant", "cosine")
    warmup_steps: int = amount(0)
    max_grad_norm: float = amount(1.0)
    seed: int = _ranged(0, 0, 2**63 - 1, "a whole number from 0 to 2**63 - 1")
    ema_decay: float = below_one(0.9999)
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
    fps: int = amount(6)


@dataclass
class Config:
    """All of a run. `stage`: diffusion or upsampler. `output_dir`: where checkpoints and logs go."""

    stage: str = choice("diffusion", "upsampler")
    output_dir: str = text("Output/Objaverse_XRay")
    data: Data = field(default_factory=Data)
    codec: CodecKeys = field(default_factory=CodecKeys)
    model: Model = field(default_factory=Model)
    noise: Noise = field(default_factory=Noise)
    loss: Loss = field(default_factory=Loss)
    train: Train = field(default_factory=Train)
    sample: Sample = field(default_factory=Sample)


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file over the schema's defaults, then apply `key=value` changes, then check every value.

    Raises:
      InputError: no such file, not YAML, an unknown key (the nearest known one is named), a value of another
        type or outside its range.
    """
    merged = _merge(OmegaConf.structured(Config), read_yaml(path), str(path))
    for override in overrides:
        key, equals, written = override.partition("=")
        if not equals or not key:
            raise InputError(f"{override!r}: expected key=value, as train.max_steps=100")
        nested = parse_yaml(written, f"{override!r}: the value is") if written else ""
        for part in reversed(key.split(".")):
            nested = {part: nested}
        merged = _merge(merged, nested, override)
    return _checked(merged, str(path))


def to_yaml(config: Config) -> str:
    """The resolved configuration as YAML, which `load_config` reads back equal."""
    return yaml.safe_dump(asdict(config), sort_keys=False, default_flow_style=None, width=110)


def from_dict(values: dict, where: str) -> Config:
    """Inverse of `dataclasses.asdict`, with every check of `load_config`; `where` names the source in errors."""
    return _checked(_merge(OmegaConf.structured(Config), values, where), where)


def flatten(config: Config) -> dict[str, object]:
    """{dotted key: value}."""
    return {name: _get(config, name) for name in KEYS}


def _get(config: Config, name: str) -> object:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def _leaves(cls: type, prefix: str = "") -> Iterator[str]:
    for item in fields(cls):
        if is_dataclass(item.default_factory):
            yield from _leaves(item.default_factory, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name


KEYS = tuple(_leaves(Config))
"""Every known key, dotted."""


class _TextLoader(yaml.SafeLoader):
    """Leaves every scalar as the text that was written: the type of the key decides what it means.

    By YAML 1.1 alone, 2024 and 1e3 would change when they stand for a folder's name, and 1e-4 would not be a number.
    A key that stands twice in one mapping is an error; YAML would drop the first.
    """

    yaml_implicit_resolvers = {  # noqa: RUF012  as the class it overrides
        first: [(tag, pattern) for tag, pattern in pairs if tag.endswith((":null", ":merge"))]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"the key {name} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


def parse_yaml(content: str, where: str) -> object:
    """Mappings, lists and texts of YAML; None for null. Raises InputError, which begins with `where`."""
    try:
        return yaml.load(content, Loader=_TextLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{where} not YAML ({' '.join(str(error).split())[:120]})") from None


def read_yaml(path: str | Path) -> dict:
    """The keys of a YAML file, every value as the text that stands there.

    Raises:
      InputError: no such file, not text, not YAML, no keys.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such file; expected a configuration as configs/diffusion.yaml")
    values = parse_yaml(read_text(path), f"{path}:")
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected keys and values")
    return values


def _merge(base: DictConfig, values: dict, where: str) -> DictConfig:
    _check_keys(values, where)
    try:
        return OmegaConf.merge(base, OmegaConf.create(values))
    except OmegaConfBaseException as error:
        raise refusal(error, where) from None


def _checked(merged: DictConfig, where: str) -> Config:
    try:
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:  # an interpolation, as ${x}, that leads nowhere
        raise refusal(error, where) from None
    check(config, where)
    return config


def refusal(error: OmegaConfBaseException, where: str) -> InputError:
    """OmegaConf's error in one line: the source, the key, what is wrong."""
    return InputError(f"{where}: {getattr(error, 'full_key', '') or 'a value'}: {str(error).splitlines()[0].strip()}")


def _check_keys(values: dict, where: str, prefix: str = "") -> None:
    for key, value in values.items():
        name = f"{prefix}{key}"
        is_group = any(known.startswith(f"{name}.") for known in KEYS)
        if not is_group and name not in KEYS:
            nearest = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.0)
            same_leaf = [known for known in KEYS if known.split(".")[-1] == name.rsplit(".", maxsplit=1)[-1]]
            raise InputError(f"{where}: unknown key {name}; the nearest known key is {(same_leaf or nearest)[0]}")
        if value == "???":  # OmegaConf reads it as "not given yet" and would take the default without a word
            raise InputError(f"{where}: {name} is '???', expected a value")
        if is_group != isinstance(value, dict):
            kind = "a group of keys" if is_group else "a single value"
            raise InputError(f"{where}: {name} is {kind}, got {value!r}")
        if is_group:
            _check_keys(value, where, f"{name}.")


def check(config: Config, where: str) -> None:
    """Check every value's range, then what keys must hold together.

    Raises InputError that names the first key whose value cannot be used; `where` names the source.
    """
    check_ranges(config, where)
    values = flatten(config)
    for holds, name, expected in _rules(config):
        if not holds:
            raise InputError(f"{where}: {name} is {values[name]!r}, expected {expected}")


def check_ranges(config: object, where: str, prefix: str = "") -> None:
    """Check every value of a schema by itself, also those of nested groups.

    Args:
      config: instance of a data class whose fields were made by `count`, `amount`, `choice` and so on.
      where: the source, for errors; prefix: what stands before the keys' names.
    Raises:
      InputError: the first key whose value is not finite or outside its range.
    """
    for item in fields(config):
        name, value = f"{prefix}{item.name}", getattr(config, item.name)
        groups = value.items() if isinstance(value, dict) else [("", value)]
        for key, group in groups:
            if is_dataclass(group):
                check_ranges(group, where, f"{name}.{key}." if key else f"{name}.")
        numbers = value if isinstance(value, list) else [value]
        if not all(math.isfinite(number) for number in numbers if isinstance(number, float)):
            raise InputError(f"{where}: {name} is {value}, expected a finite number")
        if item.metadata and not item.metadata["holds"](value):
            raise InputError(f"{where}: {name} is {value!r}, expected {item.metadata['expected']}")


Rule = tuple[bool, str, str]
"""Whether it holds, the key that it is about, and what is expected of the key."""


def _rules(config: Config) -> Iterator[Rule]:
    """The rules for several keys together, for keys in one stage, and for lists."""
    codec, weights, trackers = config.codec, config.loss.channel_weights, config.train.trackers
    yield codec.near < codec.far, "codec.far", f"more than codec.near {codec.near}"
    yield config.noise.dropout <= 1 / 3, "noise.dropout", "at most 1/3, since 3p is a probability"
    fits = len(weights) == 4 and min(weights) >= 0 and max(weights) > 0
    yield fits, "loss.channel_weights", "4 numbers of 0 or more, not all 0"
    yield set(trackers) <= set(TRACKERS), "train.trackers", f"some of {', '.join(TRACKERS)}"
    channels = config.model.block_out_channels
    yield len(channels) >= 1, "model.block_out_channels", "at least one number"
    yield all(c > 0 and c % 32 == 0 for c in channels), "model.block_out_channels", "multiples of 32 (group norm)"
    yield config.codec.resolution % config.model.patch == 0, "model.patch", "a divisor of codec.resolution"
    yield from _picture_rules(config)
    if config.stage == "diffusion":
        yield config.model.kind == "unet", "model.kind", "unet in the diffusion stage"
        yield not config.train.first_stage, "train.first_stage", "nothing: it is for the upsampler stage"
    else:
        yield from _upsampler_rules(config)
    yield from _unet_rules(config) if config.model.kind == "unet" else _regressing_rules(config)


def _upsampler_rules(config: Config) -> Iterator[Rule]:
    factor = config.model.factor
    yield factor > 1 and factor & (factor - 1) == 0, "model.factor", "a power of 2, at least 2"
    yield config.codec.resolution % factor == 0, "codec.resolution", f"a multiple of model.factor {factor}"


def _unet_rules(config: Config) -> Iterator[Rule]:
    channels, heads = config.model.block_out_channels, config.model.num_attention_heads
    fits = len(heads) == len(channels) and all(h > 0 and c % h == 0 for c, h in zip(channels, heads, strict=True))
    yield fits, "model.num_attention_heads", f"one divisor for each of {channels}"
    levels = len(channels)
    fits = len(config.model.attention) in (0, levels)
    yield fits, "model.attention", f"empty, or {levels} of true and false"
    halvings = config.model.patch * 2 ** (levels - 1)
    fits = config.codec.resolution % halvings == 0
    yield fits, "codec.resolution", f"a multiple of {halvings}: each level of channels but the first halves it"
    plain = config.model.patch == 1 and config.model.image == "vae" and not config.model.place
    yield plain or config.model.init == "random", "model.init", "random for other networks than a plain U-Net"


def _regressing_rules(config: Config) -> Iterator[Rule]:
    model, kind = config.model, config.model.kind
    levels = model.factor.bit_length() if kind == "decoder" else 1
    fits = len(model.block_out_channels) == levels
    yield fits, "model.block_out_channels", f"{levels} numbers for a factor of {model.factor}"
    yield model.init == "random", "model.init", f"random for the {kind}: it has no pretrained start"
    yield config.train.attention == "sdpa", "train.attention", f"sdpa for the {kind}; xformers is for the unet kind"
    unchecked = kind == "decoder" or not config.train.gradient_checkpointing
    yield unchecked, "train.gradient_checkpointing", "false for the pixel_shuffle kind, which is small"


def _picture_rules(config: Config) -> Iterator[Rule]:
    """The keys that need `model.image: pixels`, or that it needs."""
    model = config.model
    pixels = model.image == "pixels"
    yield pixels or model.kind != "pixel_shuffle", "model.image", "pixels for the pixel_shuffle kind"
    yield not pixels or model.kind != "decoder", "model.image", "vae for the decoder kind"
    for name in ("color_prior", "hit_prior", "color_lookup"):
        fits = not getattr(model, name) or (pixels and model.prediction == "x")
        off = "0" if name == "color_lookup" else "false"
        yield fits, f"model.{name}", f"{off}, or model.image pixels and model.prediction x"
    yield pixels or not model.silhouette_distance, "model.silhouette_distance", "false without model.image pixels"
    yield pixels or bool(model.pretrained.strip()), "model.pretrained", "a name or folder, where encoders are used"
    fits = not pixels or config.data.image_size % config.codec.resolution == 0
    yield fits, "data.image_size", f"a multiple of codec.resolution {config.codec.resolution} with model.image pixels"
    fits = not pixels or not config.train.cache_dir
    yield fits, "train.cache_dir", "nothing with model.image pixels: no encoder runs"
