"""The data set as training and evaluation read it: accepted views, split by object, in sorted order."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from torch.utils.data import Dataset

from .camera import Camera, load_views
from .codec import Codec
from .errors import InputError
from .images import composite, load_rgba, to_array
from .representation import XRay
from .storage import load_sparse, load_xray

log = logging.getLogger(__name__)

SPLITS = ("train", "test", "all")

ON_ERROR = ("stop", "skip")
"""What a damaged file does: end the run, or be reported in the item that stands in for it."""


def is_test(object_id: str, eval_fraction: float) -> bool:
    """The split rule. It looks at the object alone: all of its views fall on one side, on every machine."""
    digest = hashlib.sha256(object_id.encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < eval_fraction


class XRayDataset(Dataset):
    """Views of a data set as pairs of picture and encoded X-Ray.

    `dataset[i]` is a dict:
      xray: (layers, 8, r, r) float32, `codec.encode`.
      image: (3, image_size, image_size) float32 in [-1, 1], over the background.
      object, view: str; index: int, the sample that was read.
      skipped: str, empty, or (with on_error "skip") the files that were passed over and why.

    Args:
      root: folder with `images/<object>/<view>.png` and `xrays/<object>/<view>.npz`.
      codec: near, far, layers, resolution.
      split: "train", "test" or "all"; see `is_test`.
      image_size: pixels on each side.
      eval_fraction: share of the objects that are for testing, in [0, 1].
      background: grey in [0, 1] under the object.
      on_error: "stop" raises InputError at a damaged file; "skip" reads the next sample in its place,
        logs a warning and says so in the item's `skipped`.
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
        on_error: str = "stop",
    ) -> None:
        if split not in SPLITS:
            raise InputError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
        if on_error not in ON_ERROR:
            raise InputError(f"on_error {on_error!r}: expected one of {', '.join(ON_ERROR)}")
        if not 0 <= eval_fraction <= 1:
            raise InputError(f"eval_fraction {eval_fraction}: expected between 0 and 1")
        if image_size < 1:
            raise InputError(f"image_size {image_size}: expected at least 1")
        self.root, self.codec, self.split = Path(root), codec, split
        self.image_size, self.background, self.on_error = image_size, background, on_error
        accepted = _accepted(self.root)
        self.rows = [
            row for row in accepted if split == "all" or is_test(row["object"], eval_fraction) == (split == "test")
        ]
        if not self.rows:
            objects = len({row["object"] for row in accepted})
            raise InputError(
                f"{self.root}: the {split} split is empty: {len(accepted)} views of {objects} objects, "
                f"eval_fraction {eval_fraction}"
            )

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict:
        if self.on_error == "stop":
            return self._read(index)
        skipped = []
        for step in range(len(self)):
            try:
                item = self._read((index + step) % len(self))
            except InputError as error:
                log.warning("skipped: %s", error)
                skipped.append(str(error))
            else:
                return item | {"skipped": "; ".join(skipped)}
        raise InputError(f"{self.root}: no sample is readable; the first: {skipped[0]}")

    def _read(self, index: int) -> dict:
        row = self.rows[index]
        return {
            "xray": self._encoded(index),
            "image": self.image(index),
            "object": row["object"],
            "view": row["view"],
            "index": index,
            "skipped": "",
        }

    def row(self, index: int) -> dict:
        """The manifest's row of a sample."""
        return self.rows[index]

    def image(self, index: int) -> torch.Tensor:
        """(3, image_size, image_size) float32 in [-1, 1]."""
        path = self._path("images", index, ".png")
        try:
            return torch.from_numpy(to_array(composite(load_rgba(path), self.background), self.image_size))
        except InputError as error:
            raise _naming(path, error) from None

    def _encoded(self, index: int) -> torch.Tensor:
        path = self._path("xrays", index, ".npz")
        sparse = load_sparse(path)
        try:
            fitted = self.codec.fit(sparse)
        except InputError as error:
            raise _naming(path, error) from None
        return self.codec.encode(fitted.to_xray().validate(str(path)))

    def xray(self, index: int, layers: int | None = None) -> XRay:
        """The stored X-Ray of a sample, not scaled: all layers by default, or the first ones."""
        return load_xray(self._path("xrays", index, ".npz"), layers)

    def camera(self, index: int, resolution: int) -> Camera:
        """The camera of a sample at `resolution` x `resolution` pixels.

        From the object's `transforms.json`; where the data set has none, the default lens at the origin.
        Raises InputError where the file is there and does not have the view.
        """
        row = self.rows[index]
        path = self.root / "images" / row["object"] / "transforms.json"
        if not path.is_file():
            return Camera(resolution, resolution)
        views = load_views(path)
        if row["view"] not in views.stems:
            raise InputError(f"{path}: no frame of view {row['view']}")
        return views.camera(views.stems.index(row["view"]), resolution)

    def _path(self, kind: str, index: int, suffix: str) -> Path:
        row = self.rows[index]
        return self.root / kind / row["object"] / f"{row['view']}{suffix}"


def _naming(path: Path, error: InputError) -> InputError:
    """The error, with the file's name where it does not have it yet."""
    return error if str(path) in str(error) else InputError(f"{path}: {error}")


def _accepted(root: Path) -> list[dict]:
    """The accepted rows, sorted."""
    if not root.is_dir():
        raise InputError(f"{root}: no such folder")
    pairs = sorted((path.parent.name, path.stem) for path in root.glob("xrays/*/*.npz"))
    if not pairs:
        raise InputError(f"{root}: no xrays/<object>/<view>.npz in it; expected the layout of a data set")
    return [{"object": object_id, "view": view, "status": "accepted"} for object_id, view in pairs]
