"""Pictures and numbers of a running training, made with the averaged weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..common.files import atomic_path
from ..core.camera import Camera
from ..core.codec import Codec
from ..core.points import to_points
from ..core.xray import XRay
from ..data.dataset import XRayDataset
from ..metrics.clouds import chamfer
from .objectives import Denoising, Regression
from .random_streams import RandomStreams

VALIDATION = 2**31
"""Samples of validation have numbers from here on, so that their random numbers are none of the training's."""

SampleFn = Callable[[nn.Module, torch.Tensor, torch.Tensor], torch.Tensor]
"""(network, images (B, 3 or 4, S, S), truth (B, L, 8, r, r)) -> sampled X-Rays, the truth's shape, on the CPU."""


class Validation:
    """The same views with the same random numbers every time, so that values can be compared between steps.

    Args:
      dataset: `views` of its samples, evenly spread, are used.
    """

    def __init__(self, task: Denoising | Regression, sample: SampleFn, dataset: XRayDataset, codec: Codec, views: int):
        self.task, self.sample, self.codec = task, sample, codec
        picks = np.unique(np.linspace(0, len(dataset) - 1, min(views, len(dataset))).round().astype(int))
        items = [dataset[int(pick)] for pick in picks]
        self.xray = torch.stack([item["xray"] for item in items])
        self.images = torch.stack([item["image"] for item in items])
        self.cameras = [dataset.camera(int(pick), codec.resolution) for pick in picks]

    @torch.no_grad()
    def __call__(self, model: nn.Module, seed: int, device: torch.device) -> tuple[dict[str, float], np.ndarray]:
        """Numbers and a picture (H, W, 3) uint8.

        Of the numbers, "depth_error" and "chamfer" are in object units; "chamfer" is `clouds.chamfer` between the
        points of the sampled X-Ray and those of the true one at the codec's layers and rays, mean over the views.
        Each row of the picture is a view: image, depth of the true layers, depth of the sampled layers.
        """
        streams = RandomStreams(seed, range(VALIDATION, VALIDATION + len(self.xray)), device)
        xray, images = self.xray.to(device), self.images.to(device)
        loss = self.task.loss(model, xray, images, streams).mean()
        sampled = self.sample(model, images, xray)
        truths = [self.codec.decode(rows) for rows in self.xray]
        guesses = [self.codec.decode(rows) for rows in sampled]
        truth, guess = (np.stack([xray.depth for xray in xrays]) for xrays in (truths, guesses))
        both, either = (truth > 0) & (guess > 0), (truth > 0) | (guess > 0)
        values = {
            "loss": float(loss),
            "hit_iou": float(both.sum() / max(either.sum(), 1)),
            "depth_error": float(np.abs(truth - guess)[both].mean()) if both.any() else float("nan"),
            "chamfer": float(
                np.mean([self._chamfer(*pair) for pair in zip(guesses, truths, self.cameras, strict=True)])
            ),
        }
        return values, self._picture(truth, guess)

    @staticmethod
    def _chamfer(guess: XRay, truth: XRay, camera: Camera) -> float:
        return chamfer(to_points(guess, camera).points, to_points(truth, camera).points)

    def _picture(self, truth: np.ndarray, guess: np.ndarray) -> np.ndarray:
        side = max(64, truth.shape[-1])
        photos = torch.nn.functional.interpolate(self.images[:, :3], (side, side), mode="area")
        photos = ((photos + 1) * 127.5).clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()
        rows = []
        for photo, *layers in zip(photos, truth, guess, strict=True):
            tiles = [photo, *(self._tile(depth, side) for depths in layers for depth in depths)]
            rows.append(np.concatenate(tiles, axis=1))
        return np.concatenate(rows, axis=0)

    def _tile(self, depth: np.ndarray, side: int) -> np.ndarray:
        """Near is bright, a miss is black."""
        near = 1 - (depth - self.codec.near) / (self.codec.far - self.codec.near)
        grey = np.where(depth > 0, 55 + 200 * near, 0).astype(np.uint8)
        tile = Image.fromarray(grey).resize((side, side), Image.Resampling.NEAREST)
        return np.repeat(np.array(tile)[..., None], 3, axis=-1)


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write a picture (H, W, 3) uint8, whole or not at all."""
    with atomic_path(path) as partial:
        Image.fromarray(picture).save(partial)
