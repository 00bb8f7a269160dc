"""What is compared with what: the contest's configuration file, checked before anything is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ..config import Config, from_dict
from ..errors import InputError


@dataclass
class Objects:
    """The generated data. `number` objects of `seed`, `views` each; pictures of `image_size`, X-Rays of `rays`."""

    number: int = 360
    seed: int = 0
    views: int = 4
    image_size: int = 128
    rays: int = 128


@dataclass
class Recipe:
    """One entry of the contest.

    Attributes:
      note: what it changes, for the table.
      keys: {dotted key: value} over the keys that all recipes of its stage share.
      budget: of its optimizer time, in units of the contest's; more than 1 does not compete.
      own_samples: an upsampler that is also trained on the best first stage's own results.
    """

    note: str = ""
    keys: dict[str, Any] = field(default_factory=dict)
    budget: float = 1.0
    own_samples: bool = False


@dataclass
class Rules:
    """The contest.

    Attributes:
      vae_steps: of `example/train_vae.py`, whose VAE all recipes use that do not name another in `model.vae`.
      budget_s: optimizer time of a first stage, CPU seconds of one thread; upsampler_budget_s of an upsampler.
      sampling_seeds: each held-out picture is sampled once with each.
      diffusion, upsampler: the configuration that all recipes of the stage share, as configs/*.yaml.
      first_stages, upsamplers: name -> recipe. The first upsampler serves while the first stages are compared.
    """

    output_dir: str = "Output/contest"
    objects: Objects = field(default_factory=Objects)
    vae_steps: int = 800
    budget_s: float = 600.0
    upsampler_budget_s: float = 300.0
    sampling_seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    diffusion: dict[str, Any] = field(default_factory=dict)
    upsampler: dict[str, Any] = field(default_factory=dict)
    first_stages: dict[str, Recipe] = field(default_factory=dict)
    upsamplers: dict[str, Recipe] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Where everything of the contest lies."""
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


def read_rules(path: Path) -> Rules:
    """The contest of a YAML file.

    Raises:
      InputError: no such file, not YAML, an unknown key, a recipe whose training would be refused.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        rules = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Rules), values))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a contest as configs/contest/shapes.yaml") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, OmegaConfBaseException, ValueError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())[:160]}") from None
    both = set(rules.first_stages) & set(rules.upsamplers)
    if both or not rules.first_stages or not rules.upsamplers:
        raise InputError(f"{path}: expected first_stages and upsamplers, every name once; twice: {sorted(both)}")
    if next(iter(rules.upsamplers.values())).own_samples:
        raise InputError(f"{path}: the first upsampler serves all first stages and cannot have own_samples")
    if rules.budget_s <= 0 or rules.upsampler_budget_s <= 0 or not rules.sampling_seeds:
        raise InputError(f"{path}: expected budgets above 0 and at least one of sampling_seeds")
    for name in [*rules.first_stages, *rules.upsamplers]:
        rules.training(name)
    return rules
