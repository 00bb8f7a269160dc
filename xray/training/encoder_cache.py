"""Outputs of the frozen encoders on disk, so that they run once an image and augmentation instead of every step.

The augmentation of the published recipe draws new noise each time, so no output would ever be used twice. With the
cache, an image has `variants` fixed draws of noise, and each time one of them is taken at random.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ..common.files import atomic_path, make_folder
from .random_streams import RandomStreams

log = logging.getLogger(__name__)

Encode = Callable[[torch.Tensor, RandomStreams], dict[str, torch.Tensor]]
"""(images (B, 3, S, S), streams) -> tensors with a row an image: the encoders' outputs for a draw of noise."""


class EncoderCache:
    """A folder of encoded images, bounded in size; keyed by image, encoders and augmentation.

    Once full it stays as it is: a data set is read in random order, so replacing old outputs would not make a hit more
    likely. Several processes may share the folder: each may fill its share of what
    was free when it started, so that together they fill it and never exceed it, however often they start again.

    Args:
      folder: made if it is not there.
      limit_bytes: bound for the folder.
      variants: draws of noise an image.
      settings: the augmentation's settings, as text.
      encoders: module whose weights belong to the key.
      processes: that share the folder.
    """

    def __init__(
        self,
        folder: str | Path,
        limit_bytes: float,
        variants: int,
        settings: str,
        encoders: torch.nn.Module,
        processes: int = 1,
    ):
        self.folder, self.variants = Path(folder), variants
        self._prefix = hashlib.sha256(f"{settings} {fingerprint(encoders)}".encode())
        make_folder(self.folder, "encoders' outputs (train.cache_dir)")
        used = sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))
        self.free_bytes = max(0, limit_bytes - used) / processes
        self.found = self.made = 0

    def encode(self, images: torch.Tensor, streams: RandomStreams, encode: Encode) -> dict[str, torch.Tensor]:
        """What `encode` gives for the images, each with one of its fixed draws of noise, chosen by `streams`."""
        choice = (streams.uniform() * self.variants).long().tolist()
        keys = [self._key(image, variant) for image, variant in zip(images, choice, strict=True)]
        rows = [self._read(key) for key in keys]
        missing = [index for index, row in enumerate(rows) if row is None]
        self.found += len(rows) - len(missing)
        self.made += len(missing)
        if missing:
            # The noise of a variant follows from its key, so that it is the same in every process.
            own = RandomStreams.of([int(keys[index][:15], 16) for index in missing], streams.device)
            made = encode(images[missing], own)
            for place, index in enumerate(missing):
                rows[index] = {name: value[place] for name, value in made.items()}
                self._write(keys[index], rows[index])
        return {name: torch.stack([row[name].to(images.device) for row in rows]) for name in rows[0]}

    def _key(self, image: torch.Tensor, variant: int) -> str:
        digest = self._prefix.copy()
        digest.update(variant.to_bytes(4, "little"))
        digest.update(image.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def _read(self, key: str) -> dict[str, torch.Tensor] | None:
        path = self._path(key)
        if not path.exists():
            return None
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            log.warning("%s: damaged, made again (%s)", path, error)
            return None

    def _write(self, key: str, row: dict[str, torch.Tensor]) -> None:
        content = save({name: value.detach().cpu().contiguous() for name, value in row.items()})
        if len(content) > self.free_bytes:
            return
        with atomic_path(self._path(key)) as partial:
            partial.write_bytes(content)
        self.free_bytes -= len(content)


def fingerprint(module: torch.nn.Module) -> str:
    """SHA-256 of a module's weights, names and types included."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
