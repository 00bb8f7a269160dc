"""The data set as training and evaluation read it: accepted views, split by object, in sorted order."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch.utils.data import Dataset

from .camera import Camera
from .codec import Codec
from .errors import InputError
from .folder import Folder
from .images import composite, load_rgba, to_array
from .representation import XRay
from .shards import Shards
from .storage import load_sparse

SPLITS = ("train", "test", "all")


def is_test(object_id: str, eval_fraction: float) -> bool:
    """The split rule. It looks at the object alone: all of its views fall on one side, on every machine."""
    digest = hashlib.sha256(object_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < eval_fraction


class XRayDataset(Dataset):
    """Views of a data set as pairs of picture and encoded X-Ray.

    `dataset[i]` is a dict, or InputError naming the file that is damaged:
      xray: (layers, 8, r, r) float32, `codec.encode`.
      image: (3, image_size, image_size) float32 in [-1, 1], over the background.
      object, view: str; index: int, i.

    Args:
      root: folder of files (`folder.Folder`) or of shards (`shards.Shards`); its manifest says which views count,
        and without a manifest every X-Ray with a picture does.
      codec: near, far, layers, resolution.
      split: "train", "test" or "all"; see `is_test`.
      image_size: pixels on each side.
      eval_fraction: share of the objects that are for testing, in [0, 1].
      background: grey in [0, 1] under the object.
    `rows` are the samples' `manifest.View`s, sorted.

    Raises:
      InputError: no such folder, another layout, no accepted view, an empty split.
    """

    def __init__(
        self,
        root: str | Path,
        codec: Codec,
        split: str = "train",
        image_size: int = 512,
        eval_fraction: float = 0.1,
        background: float = 1.0,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
        for name, value in (("eval_fraction", eval_fraction), ("background", background)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} {value}: expected between 0 and 1")
        if image_size < 1:
            raise InputError(f"image_size {image_size}: expected at least 1")
        self.root, self.codec, self.split = Path(root), codec, split
        self.image_size, self.background = image_size, background
        self._parts = Shards(root) if Shards.are_at(root) else Folder(root)
        accepted, total = self._parts.views()
        if not accepted:
            raise InputError(f"{self.root}: none of {total} views is accepted, see its manifest")
        self.rows = accepted
        objects = {view.object for view in accepted}
        if split != "all":
            chosen = {name for name in objects if is_test(name, eval_fraction) == (split == "test")}
            self.rows = [view for view in accepted if view.object in chosen]
        if not self.rows:
            raise InputError(
                f"{self.root}: the {split} split is empty, {len(accepted)} views of {len(objects)} objects "
                f"at eval_fraction {eval_fraction}; the split all takes every view"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        object_id, view = self.rows[index]
        return {
            "xray": self._encoded(index),
            "image": self.image(index),
            "object": object_id,
            "view": view,
            "index": index,
        }

    def image(self, index: int) -> torch.Tensor:
        """(3, image_size, image_size) float32 in [-1, 1]."""
        source, name = self._parts.picture(*self.rows[index])
        picture = composite(load_rgba(source, name), self.background)
        try:
            return torch.from_numpy(to_array(picture, self.image_size))
        except InputError as error:
            raise InputError(f"{name}: {error}") from None

    def _encoded(self, index: int) -> torch.Tensor:
        source, name = self._parts.xray(*self.rows[index])
        sparse = load_sparse(source, name)
        try:
            fitted = self.codec.fit(sparse)  # before anything is expanded
        except InputError as error:
            raise InputError(f"{name}: {error}") from None
        return self.codec.encode(fitted.to_xray().validate(name))

    def xray(self, index: int, layers: int | None = None) -> XRay:
        """The stored X-Ray of a sample, not scaled: all layers by default, or the first ones."""
        source, name = self._parts.xray(*self.rows[index])
        sparse = load_sparse(source, name)
        layers = sparse.shape[0] if layers is None else layers
        if not 1 <= layers <= sparse.shape[0]:
            raise InputError(f"{name}: {layers} layers asked for, the file has {sparse.shape[0]}")
        return sparse.keep(layers).to_xray().validate(name)

    def camera(self, index: int, resolution: int) -> Camera:
        """The camera of a sample at `resolution` x `resolution` pixels; the default lens at the origin where the
        data set does not have the object's cameras.
        """
        return self._parts.camera(*self.rows[index], resolution)
