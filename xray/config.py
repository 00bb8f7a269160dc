"""Configuration of a training run: read from YAML, changed by key=value, never by surprise.

Only this module, `build` and the trainer see these objects; everything below takes plain values.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .errors import InputError
from .schema import Config


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a YAML file over the schema's defaults, then `key=value` changes, then check every value.

    Raises:
      InputError: no such file, not YAML, an unknown key (the nearest known one is named), a value of another
        type or outside its range.
    """
    merged = _merge(OmegaConf.structured(Config), _read_yaml(Path(path)), str(path))
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key:
            raise InputError(f"{override!r}: expected key=value, as train.max_steps=100")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"{override!r}: the value is not YAML") from None
        if key in KEYS and isinstance(value, str):  # YAML 1.1 reads 1e-4 as text, and people write it
            value = _number(value)
        nested = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        merged = _merge(merged, nested, override)
    config = OmegaConf.to_object(merged)
    check(config, str(path))
    return config


def to_yaml(config: Config) -> str:
    """The resolved configuration as YAML, which `load_config` reads back equal."""
    return yaml.safe_dump(asdict(config), sort_keys=False, default_flow_style=None, width=110)


def from_dict(values: dict, where: str) -> Config:
    """Inverse of `dataclasses.asdict`, with every check of `load_config`; `where` names the source in errors."""
    config = OmegaConf.to_object(_merge(OmegaConf.structured(Config), values, where))
    check(config, where)
    return config


def flatten(config: Config) -> dict[str, object]:
    """{dotted key: value}."""
    return {name: _get(config, name) for name in KEYS}


def _get(config: Config, name: str) -> object:
    for part in name.split("."):
        config = getattr(config, part)
    return config


def _leaves(cls: type, prefix: str = "") -> Iterator[tuple[str, dict]]:
    for item in fields(cls):
        if is_dataclass(item.default_factory):
            yield from _leaves(item.default_factory, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, dict(item.metadata)


_METADATA = dict(_leaves(Config))
KEYS = tuple(_METADATA)
"""Every known key, dotted."""


def _read_yaml(path: Path) -> dict:
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a configuration as configs/diffusion.yaml") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not readable ({error})") from None
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected keys and values, got {type(values).__name__}")
    return _numbers(values)


def _number(text: str) -> str | float:
    try:
        return float(text) if text[:1] in "+-.0123456789" else text
    except ValueError:
        return text


def _numbers(values):
    if isinstance(values, dict):
        return {key: _numbers(value) for key, value in values.items()}
    return _number(values) if isinstance(values, str) and values else values


def _merge(base: DictConfig, values: dict, where: str) -> DictConfig:
    _check_keys(values, where)
    try:
        return OmegaConf.merge(base, OmegaConf.create(values))
    except OmegaConfBaseException as error:
        reason = " ".join(str(error).split("\n")[0].split())
        key = getattr(error, "full_key", "") or ""
        raise InputError(f"{where}: {key}: {reason}") from None


def _check_keys(values: dict, where: str, prefix: str = "") -> None:
    for key, value in values.items():
        name = f"{prefix}{key}"
        is_group = any(known.startswith(f"{name}.") for known in KEYS)
        if not is_group and name not in KEYS:
            nearest = difflib.get_close_matches(name, KEYS, n=1, cutoff=0.0)
            same_leaf = [known for known in KEYS if known.split(".")[-1] == name.rsplit(".", maxsplit=1)[-1]]
            raise InputError(f"{where}: unknown key {name}; the nearest known key is {(same_leaf or nearest)[0]}")
        if is_group != isinstance(value, dict):
            kind = "a group of keys" if is_group else "a single value"
            raise InputError(f"{where}: {name} is {kind}, got {value!r}")
        if is_group:
            _check_keys(value, where, f"{name}.")


def check(config: Config, where: str) -> None:
    """InputError naming the first key whose value is outside its range, or keys that do not belong together."""
    values = flatten(config)

    def expect(holds: bool, name: str, expected: str) -> None:
        if not holds:
            raise InputError(f"{where}: {name} is {values[name]!r}, expected {expected}")

    for name, metadata in _METADATA.items():
        if metadata:
            expect(metadata["holds"](values[name]), name, metadata["expected"])
    expect(config.noise.dropout <= 1 / 3, "noise.dropout", "at most 1/3, since 3p is a probability")
    weights = config.loss.channel_weights
    expect(len(weights) == 4 and min(weights) >= 0, "loss.channel_weights", "4 numbers of 0 or more")
    channels, heads = config.model.block_out_channels, config.model.num_attention_heads
    expect(len(channels) >= 1, "model.block_out_channels", "at least one number")
    expect(all(c > 0 and c % 32 == 0 for c in channels), "model.block_out_channels", "multiples of 32 (group norm)")
    if config.model.kind == "unet":
        fits = len(heads) == len(channels) and all(h > 0 and c % h == 0 for c, h in zip(channels, heads, strict=True))
        expect(fits, "model.num_attention_heads", f"one divisor for each of {channels}")
        levels = len(config.model.attention)
        expect(levels in (0, len(channels)), "model.attention", f"empty, or {len(channels)} of true and false")
    if config.stage == "diffusion":
        expect(config.model.kind == "unet", "model.kind", "unet in the diffusion stage")
        return
    factor = config.model.factor
    expect(factor > 1 and factor & (factor - 1) == 0, "model.factor", "a power of 2, at least 2")
    expect(config.codec.resolution % factor == 0, "codec.resolution", f"a multiple of model.factor {factor}")
    if config.model.kind == "decoder":
        levels = factor.bit_length()
        expect(len(channels) == levels, "model.block_out_channels", f"{levels} numbers for a factor of {factor}")
