"""What the networks take from diffusers, loaded without what none of them uses. Import these from here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def put_off(name: str) -> Iterator[None]:
    """While the block runs, `import NAME` loads the module only where something is taken out of it."""
    if name in sys.modules:
        yield
        return
    stand_in = ModuleType(name)

    def load(attribute: str) -> object:
        if attribute.startswith("__"):  # asked of every module by those who look through all of them
            raise AttributeError(attribute)
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]
        return getattr(importlib.import_module(name), attribute)

    stand_in.__getattr__ = load
    sys.modules[name] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(name) is stand_in:
            del sys.modules[name]


# Its schedulers load all of scipy's statistics, most of a second, for kinds of noise levels that nobody asks for here;
# where one is asked for, they are loaded then.
with put_off("scipy.stats"):
    from diffusers import EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
    from diffusers.models.autoencoders.autoencoder_kl_temporal_decoder import TemporalDecoder

__all__ = ["EulerDiscreteScheduler", "TemporalDecoder", "UNetSpatioTemporalConditionModel", "put_off"]
