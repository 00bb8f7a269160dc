"""The data set as training and evaluation read it: accepted views, split by object, in sorted order."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch.utils.data import Dataset

from ..common.errors import InputError
from ..common.images import composite, load_rgba, to_array, to_pixels
from ..core.camera import Camera
from ..core.codec import Codec
from ..core.storage import load_sparse
from ..core.xray import XRay
from .folder import Folder
from .shards import TarShards

SPLITS = ("train", "test", "all")


def is_test(object_id: str, eval_fraction: float) -> bool:
    """Whether an object is in the test split: a hash of its id, so that all of its views are on one side everywhere."""
    digest = hashlib.sha256(object_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < eval_fraction


class XRayDataset(Dataset):
    """Views of a data set as pairs of picture and encoded X-Ray.

    `dataset[i]` is a dict, or InputError naming the file that is damaged:
      xray: (layers, 8, r, r) float32, `codec.encode`.
      image: (3, image_size, image_size) float32 in [-1, 1], over the background; with `alpha` (4, ...), see
        `images.to_pixels`.
      object, view: str; index: int, i.

    Args:
      root: folder of files (`folder.Folder`) or of shards (`shards.TarShards`); only accepted views of its manifest are
        used; without a manifest, every X-Ray with a picture.
      codec: near, far, layers, resolution.
      split: "train", "test" or "all"; see `is_test`.
      image_size: pixels on each side.
      eval_fraction: share of the objects that are for testing, in [0, 1].
      background: grey in [0, 1] under the object.
      alpha: images have their transparency as a fourth channel.
      camera_distance: where it is above 0, the world of each view is scaled about the object's centre so that the
        camera stands at this distance; X-Rays and cameras are then those of the scaled world.
    Attributes:
      rows: `manifest.ViewName` of each sample, sorted.

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
        alpha: bool = False,
        camera_distance: float = 0.0,
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
        for name, value in (("eval_fraction", eval_fraction), ("background", background)):
            if not 0 <= value <= 1:
                raise InputError(f"{name} {value}: expected between 0 and 1")
        if image_size < 1:
            raise InputError(f"image_size {image_size}: expected at least 1")
        self.root, self.codec, self.split = Path(root), codec, split
        self.image_size, self.background, self.alpha = image_size, background, alpha
        self.camera_distance = camera_distance
        self._parts = TarShards(root) if TarShards.are_at(root) else Folder(root)
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
        """(3 or 4, image_size, image_size) float32 in [-1, 1]."""
        source, name = self._parts.picture(*self.rows[index])
        picture = load_rgba(source, name)
        try:
            if self.alpha:
                return torch.from_numpy(to_pixels(picture, self.background, self.image_size))
            picture = composite(picture, self.background)
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
        return self.codec.encode(fitted.to_xray().validate(name).scaled(self.scale(index)))

    def xray(self, index: int, layers: int | None = None) -> XRay:
        """The stored X-Ray of a sample, before the codec: all layers by default, or the first ones."""
        source, name = self._parts.xray(*self.rows[index])
        sparse = load_sparse(source, name)
        layers = sparse.shape[0] if layers is None else layers
        if not 1 <= layers <= sparse.shape[0]:
            raise InputError(f"{name}: {layers} layers asked for, the file has {sparse.shape[0]}")
        return sparse.keep(layers).to_xray().validate(name).scaled(self.scale(index))

    def scale(self, index: int) -> float:
        """Size of a sample's world over that of its mesh in the unit box: 1 unless `camera_distance` is set.

        Raises InputError where the camera stands at the object's centre, as one that is not known does.
        """
        if not self.camera_distance:
            return 1.0
        object_id, view = self.rows[index]
        distance = self._parts.camera(object_id, view, 1).distance
        if not distance > 0:
            raise InputError(f"{self.root}: {object_id}/{view} has no camera, by which camera_distance could scale it")
        return self.camera_distance / distance

    def camera(self, index: int, resolution: int) -> Camera:
        """The camera of a sample at `resolution` x `resolution` pixels; the default lens at the origin where the
        data set does not have the object's cameras.
        """
        camera = self._parts.camera(*self.rows[index], resolution)
        return camera if not self.camera_distance else camera.scaled(self.scale(index))
