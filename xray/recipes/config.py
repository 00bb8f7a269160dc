"""The configuration of a comparison of recipes, checked before anything is made."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..common.errors import InputError
from ..config import Config, above_zero, amount, check_ranges, count, from_dict, read_yaml, refusal, text


@dataclass
class Objects:
    """The generated data. `number` objects of `seed`, `views` each; pictures of `image_size`, X-Rays of `rays`."""

    number: int = count(360)
    seed: int = amount(0)
    views: int = count(4)
    image_size: int = count(128)
    rays: int = count(128)


@dataclass
class Recipe:
    """One recipe of the comparison.

    Attributes:
      note: what it changes, for the table.
      keys: {dotted key: value} over the keys that all recipes of its stage share.
      budget: its optimizer time, in units of the comparison's; only recipes with 1 can be chosen as the best.
      own_samples: an upsampler that is also trained on the best first stage's own results.
    """

    note: str = ""
    keys: dict[str, Any] = field(default_factory=dict)
    budget: float = above_zero(1.0)
    own_samples: bool = False


@dataclass
class ComparisonConfig:
    """The comparison.

    Attributes:
      vae_steps: of `example/train_vae.py`, whose VAE all recipes use that do not name another in `model.vae`.
      budget_s: optimizer time of a first stage, CPU seconds of one thread; upsampler_budget_s of an upsampler.
      sampling_seeds: each held-out picture is sampled once with each.
      diffusion, upsampler: the configuration that all recipes of the stage share, as configs/*.yaml.
      first_stages, upsamplers: name -> recipe. The first upsampler serves while the first stages are compared.
    """

    output_dir: str = text("Output/recipes")
    objects: Objects = field(default_factory=Objects)
    vae_steps: int = count(800)
    budget_s: float = above_zero(600.0)
    upsampler_budget_s: float = above_zero(300.0)
    sampling_seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    diffusion: dict[str, Any] = field(default_factory=dict)
    upsampler: dict[str, Any] = field(default_factory=dict)
    first_stages: dict[str, Recipe] = field(default_factory=dict)
    upsamplers: dict[str, Recipe] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Folder of all files of the comparison."""
        return Path(self.output_dir)

    @property
    def data_root(self) -> Path:
        """The data set."""
        return self.folder / "data"

    @property
    def mesh_root(self) -> Path:
        """The generated meshes."""
        return self.folder / "meshes"

    @property
    def vae(self) -> Path:
        """The image VAE."""
        return self.folder / "vae"

    def run_dir(self, name: str) -> Path:
        """Folder of a recipe."""
        return self.folder / "runs" / name

    def training(self, name: str) -> Config:
        """The training configuration of a recipe, checked; its `max_steps` is not yet known."""
        stage = "diffusion" if name in self.first_stages else "upsampler"
        recipe = {**self.first_stages, **self.upsamplers}[name]
        values = OmegaConf.create(self.diffusion if stage == "diffusion" else self.upsampler)
        OmegaConf.update(values, "model.vae", str(self.vae))
        for key, value in recipe.keys.items():
            OmegaConf.update(values, key, value)
        own = {"stage": stage, "output_dir": str(self.run_dir(name)), "data": {"root": str(self.data_root)}}
        merged = OmegaConf.to_container(OmegaConf.merge(values, own))
        return from_dict(merged, f"recipe {name}")

    def budget_of(self, name: str) -> float:
        """Optimizer time of a recipe, CPU seconds."""
        if name in self.first_stages:
            return self.budget_s * self.first_stages[name].budget
        return self.upsampler_budget_s * self.upsamplers[name].budget


def read_comparison(path: Path) -> ComparisonConfig:
    """The comparison of a YAML file.

    Raises:
      InputError: no such file, not YAML, an unknown key, a value outside its range, a recipe whose training would be
        refused.
    """
    values = read_yaml(path)
    _check_kinds(values, ComparisonConfig, str(path))
    try:
        comparison = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(ComparisonConfig), values))
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise refusal(error, str(path)) from None
    check_ranges(comparison, str(path))
    both = set(comparison.first_stages) & set(comparison.upsamplers)
    if both or not comparison.first_stages or not comparison.upsamplers:
        raise InputError(f"{path}: expected first_stages and upsamplers, every name once; twice: {sorted(both)}")
    if next(iter(comparison.upsamplers.values())).own_samples:
        raise InputError(f"{path}: the first upsampler serves all first stages and cannot have own_samples")
    if not comparison.sampling_seeds or min(comparison.sampling_seeds) < 0:
        raise InputError(f"{path}: sampling_seeds is {comparison.sampling_seeds}, expected numbers of 0 or more")
    if comparison.objects.image_size % comparison.objects.rays:
        raise InputError(f"{path}: objects.image_size is {comparison.objects.image_size}, expected a multiple of rays")
    for name in [*comparison.first_stages, *comparison.upsamplers]:
        comparison.training(name)
    return comparison


def _check_kinds(values: dict, schema: type, where: str, prefix: str = "") -> None:
    """Check that groups, lists and single values stand where `schema`, a data class, has them: OmegaConf's own errors
    about these do not name the key. Raises InputError; keys that are not in the schema are left to OmegaConf."""
    for key, kind in get_type_hints(schema).items():
        if key not in values:
            continue
        value, name = values[key], f"{prefix}{key}"
        _check_kind(value, kind, where, name)
        if is_dataclass(kind):
            _check_kinds(value, kind, where, f"{name}.")
        elif get_origin(kind) is dict and is_dataclass(get_args(kind)[1]):
            for entry, group in value.items():
                _check_kind(group, get_args(kind)[1], where, f"{name}.{entry}")
                _check_kinds(group, get_args(kind)[1], where, f"{name}.{entry}.")


def _check_kind(value: object, kind: type, where: str, name: str) -> None:
    if is_dataclass(kind):
        fits, expected = isinstance(value, dict), f"a group of {', '.join(item.name for item in fields(kind))}"
    elif get_origin(kind) is dict:
        fits, expected = isinstance(value, dict), "a group of keys"
    elif get_origin(kind) is list:
        fits, expected = isinstance(value, list), "a list"
    else:
        fits, expected = not isinstance(value, (dict, list)), "a single value"
    if not fits:
        raise InputError(f"{where}: {name} is {value!r}, expected {expected}")
