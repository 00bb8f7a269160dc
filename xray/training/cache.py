"""Outputs of the frozen encoders on disk, so that they run once an image and augmentation instead of every step.

The augmentation of the published recipe draws fresh noise at every visit, so nothing would ever be found again.
With the cache on, an image has `variants` fixed draws of noise, and each visit takes one of them at random.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..storage import atomic_path
from .streams import Streams

log = logging.getLogger(__name__)

Encode = Callable[[torch.Tensor, Streams], dict[str, torch.Tensor]]
"""(images (B, 3, S, S), streams) -> tensors with a row an image: the encoders' outputs for a draw of noise."""


class EncoderCache:
    """A folder of encoded images, bounded in size; keyed by image, encoders and augmentation.

    Once full it takes nothing more: a data set is read in random order, where throwing out what is old only makes
    room for what is as unlikely to be next. Several processes may share the folder; each writes its share of the bound.

    Args:
      folder: made if it is not there.
      limit_bytes: bound for this process.
      variants: draws of noise an image.
      settings: text that tells the augmentation's settings.
      encoders: module whose weights belong to the key.
    """

    def __init__(self, folder: str | Path, limit_bytes: float, variants: int, settings: str, encoders: torch.nn.Module):
        self.folder, self.limit_bytes, self.variants = Path(folder), limit_bytes, variants
        self._prefix = hashlib.sha256(f"{settings} {fingerprint(encoders)}".encode())
        self.folder.mkdir(parents=True, exist_ok=True)
        self.bytes = sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))
        self.found = self.made = 0

    def encode(self, images: torch.Tensor, streams: Streams, encode: Encode) -> dict[str, torch.Tensor]:
        """What `encode` gives for the images, each with one of its fixed draws of noise, chosen by `streams`."""
        choice = (streams.uniform() * self.variants).long().tolist()
        keys = [self._key(image, variant) for image, variant in zip(images, choice, strict=True)]
        rows = [self._read(key) for key in keys]
        missing = [index for index, row in enumerate(rows) if row is None]
        self.found += len(rows) - len(missing)
        self.made += len(missing)
        if missing:
            # The noise of a variant follows from its key, so that it is the same whoever makes it.
            own = Streams.of([int(keys[index][:15], 16) for index in missing], streams.device)
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
        size = sum(value.numel() * value.element_size() for value in row.values())
        if self.bytes + size > self.limit_bytes:
            return
        with atomic_path(self._path(key)) as partial:
            save_file({name: value.detach().cpu().contiguous() for name, value in row.items()}, partial)
        self.bytes += size


def fingerprint(module: torch.nn.Module) -> str:
    """SHA-256 of a module's weights, names and types included."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
