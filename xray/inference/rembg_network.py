"""rembg's networks that find the object of a photo: https://github.com/danielgatis/rembg (requirements-photo.txt)."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import numpy as np
from PIL import Image

from ..common.errors import InputError
from .photo import CutOut

NAME = "u2net"
"""Of rembg's networks: for objects of all kinds, Apache License 2.0, 176 MB (https://github.com/xuebinqin/U-2-Net)."""

CUSTOM = {320: "u2net_custom", 1024: "dis_custom"}
"""rembg's ways to use a network of one's own, by the side of the picture that the network takes."""

log = logging.getLogger(__name__)


class RembgNetwork:
    """One of rembg's networks, loaded at its first use.

    Args:
      model: a network as an .onnx file, made as U^2-Net or IS-Net are; None for rembg's own `NAME`, which rembg
        downloads once into its folder (REMBG_HOME).
    Raises:
      InputError: no such file.
    """

    def __init__(self, model: Path | None = None) -> None:
        if model is not None and not model.is_file():
            raise InputError(f"{model}: no such file; expected a network as .onnx")
        self.model = model
        self._session = None

    def is_there(self) -> bool:
        """Whether rembg is installed, and its network here already."""
        if any(importlib.util.find_spec(package) is None for package in ("onnxruntime", "rembg")):
            return False
        return self.model is not None or _session_class(NAME).resolve_existing(f"{NAME}.onnx") is not None

    def load(self) -> None:
        """Load the network, after a download where it is not there.

        Raises:
          InputError: rembg is not installed, the network cannot be downloaded or is no network for this.
        """
        if self._session is not None:
            return
        if any(importlib.util.find_spec(package) is None for package in ("onnxruntime", "rembg")):
            raise InputError("cutout rembg: rembg is not installed (pip install -r requirements-photo.txt)")
        if not self.is_there():
            log.info("rembg downloads its network %s (176 MB), once", NAME)
        try:
            self._session = _local(self.model) if self.model else _session(NAME, _session_class(NAME))
        except (OSError, ValueError, *_onnx_errors()) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"cutout rembg: {self.model or NAME} cannot be loaded ({reason})") from None

    def __call__(self, picture: Image.Image) -> Image.Image:
        """A picture of mode RGB -> a mask of its size, mode L, bright where the object is."""
        self.load()
        try:
            with np.errstate(invalid="ignore"):  # a network that sees nothing anywhere is divided by its range, 0
                return self._session.predict(picture)[0]
        except (ValueError, IndexError, *_onnx_errors()) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(f"cutout rembg: {self.model or NAME} cannot be used on this picture ({reason})") from None


def make_cutout(method: str, model: Path | None = None, mask: Path | None = None) -> CutOut:
    """What the flags of a command ask for, checked before anything is loaded that takes long.

    Raises:
      InputError: flags that do not go together, a mask that is not there, a network that cannot be loaded.
    """
    if mask is not None and not mask.exists():
        raise InputError(f"{mask}: no such mask")
    if (mask is None and method == "mask") or (mask is not None and method not in ("auto", "mask")):
        raise InputError(f"--cutout {method} {'needs' if mask is None else 'does not go together with'} --mask")
    if model is not None and method not in ("auto", "rembg"):
        raise InputError(f"--cutout_model {model}: of no use with --cutout {method}")
    network = RembgNetwork(model)
    if method == "rembg":
        network.load()
    return CutOut(method, network)


def _session_class(name: str):
    from rembg.sessions import sessions

    return sessions[name]


def _session(name: str, kind, **options):
    import onnxruntime

    return kind(name, onnxruntime.SessionOptions(), **options)


def _local(model: Path):
    """A session of rembg for a file that is anywhere, which rembg itself takes from its own folder only."""
    import onnxruntime

    shape = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs()[0].shape
    side = shape[2] if len(shape) == 4 and isinstance(shape[2], int) else 320
    if len(shape) != 4 or side not in CUSTOM:
        raise ValueError(
            f"it takes {shape}, expected pictures (1, 3, S, S) with S one of {', '.join(map(str, CUSTOM))}"
        )

    class Local(_session_class(CUSTOM[side])):
        @classmethod
        def download_models(cls, *_, **options) -> str:
            return options["model_path"]

    return _session(CUSTOM[side], Local, model_path=str(model))


def _onnx_errors() -> tuple[type[Exception], ...]:
    """onnxruntime's own exceptions, which have no common class."""
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    return tuple(kind for kind in vars(states).values() if isinstance(kind, type) and issubclass(kind, Exception))
