"""The first stage's own results as inputs of the second, which otherwise only ever sees subsampled truth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch.utils.data import Dataset

from ..codec import Codec
from ..errors import InputError
from ..storage import load_xray


class WithFirstStage(Dataset):
    """A data set whose items also have `low` (L, 8, r, r): the first stage's result, or None for a view without one.

    Args:
      dataset: items as `XRayDataset` gives them.
      folder: results of `evaluate_diffusion.py --split train`, <object>_<view>_xray.npz.
      codec: of the second stage; the results are encoded with it at resolution / factor.
    Raises:
      InputError: no such folder, or no result in it.
    """

    def __init__(self, dataset: Dataset, folder: str | Path, codec: Codec, factor: int):
        self.dataset, self.folder = dataset, Path(folder)
        self.codec = replace(codec, resolution=codec.resolution // factor)
        if next(self.folder.glob("*_xray.npz"), None) is None:
            raise InputError(
                f"{self.folder}: no <object>_<view>_xray.npz; expected the results of "
                "evaluate_diffusion.py --split train, as Output/NAME/evaluate/checkpoint-<step>"
            )

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict:
        item = self.dataset[index]
        path = self.folder / f"{item['object']}_{item['view']}_xray.npz"
        return {**item, "low": self.codec.encode(load_xray(path)) if path.exists() else None}
