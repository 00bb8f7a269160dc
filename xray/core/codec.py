"""Model space, the tensor that the networks read and write: encoding of X-Rays into it and decoding out of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch

from ..common.depth_range import FAR, NEAR, check_depth_range
from ..common.errors import InputError
from .xray import SparseXRay, XRay, pack_hits

MODEL_CHANNELS = 8
"""Depth, normal x y z, red, green, blue, hit."""

MISSES = ("zero", "far", "last")
"""Value of the depth channel where there is no hit."""


@dataclass(frozen=True)
class Codec:
    """The mapping between an X-Ray and a (layers, 8, resolution, resolution) tensor.

    Model space: depth 2 (d - near) / (far - near) - 1, normal as it is, colour 2 c - 1, hit -1 or +1.
    A miss has normal 0, colour -1, hit -1; its depth is set by `miss`: "zero" as published (depth 0 before
    scaling: -2 at 0.6 to 1.8), "far" (+1), or "last" (the last hit on the ray carried on; +1 on empty rays).

    Attributes:
      near, far: range of depth in object units, mapped to [-1, 1]; decoding keeps what lies strictly between.
      layers: layers kept, from the front.
      resolution: rays on each side; encoding subsamples to it by a whole factor (nearest, exact).
      miss: one of `MISSES`.
      hit_threshold: decoding takes a value of the hit channel above this for a hit.
    """

    near: float = NEAR
    far: float = FAR
    layers: int = 8
    resolution: int = 64
    miss: str = "zero"
    hit_threshold: float = 0.0

    def __post_init__(self) -> None:
        check_depth_range(self.near, self.far, "codec")
        if self.layers < 1 or self.resolution < 1:
            raise InputError(f"codec layers {self.layers}, resolution {self.resolution}: both must be at least 1")
        if self.miss not in MISSES:
            raise InputError(f"codec miss {self.miss!r}: expected one of {', '.join(MISSES)}")

    def to_dict(self) -> dict:
        """Plain values, as saved with every checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Codec:
        """Inverse of `to_dict`; unknown or missing keys are an InputError."""
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise InputError(f"codec keys {sorted(values)}: expected {sorted(names)}")
        return cls(**values)

    def smaller(self, factor: int) -> Codec:
        """The same with `factor` times fewer rays on each side: the codec of an upsampler's input."""
        return replace(self, resolution=self.resolution // factor)

    def stride(self, size: int) -> int:
        """Whole factor between `size` rays and `resolution`; InputError where there is none."""
        if size % self.resolution:
            raise InputError(f"{size} rays are not a whole multiple of the codec's resolution {self.resolution}")
        return size // self.resolution

    def fit(self, xray: XRay | SparseXRay) -> XRay | SparseXRay:
        """The X-Ray at the codec's layers and resolution, before any scaling."""
        layers, height, width = xray.shape
        if height != width or layers < self.layers:
            raise InputError(
                f"X-Ray of shape {xray.shape}: expected at least {self.layers} layers and as many rows as columns"
            )
        return xray.keep(self.layers).subsample(self.stride(height))

    def encode(self, xray: XRay) -> torch.Tensor:
        """(layers, 8, resolution, resolution) float32 in model space. `xray` may be larger by a whole factor."""
        xray = self.fit(xray)
        hit = xray.hit
        depth = 2 * (xray.depth - self.near) / (self.far - self.near) - 1
        tensor = np.empty((self.layers, MODEL_CHANNELS, self.resolution, self.resolution), np.float32)
        tensor[:, 0] = self._fill_misses(depth, hit)
        tensor[:, 1:4] = xray.normal.transpose(0, 3, 1, 2)
        tensor[:, 4:7] = 2 * xray.color.transpose(0, 3, 1, 2) - 1
        tensor[:, 7] = np.where(hit, 1.0, -1.0)
        return torch.from_numpy(tensor)

    def _fill_misses(self, depth: np.ndarray, hit: np.ndarray) -> np.ndarray:
        if self.miss == "zero":
            return depth
        if self.miss == "far":
            return np.where(hit, depth, np.float32(1))
        filled = np.where(hit, depth, np.float32(1))
        for layer in range(1, len(filled)):
            # An empty ray keeps +1: its layer 0 is a miss, and every layer copies the one before.
            filled[layer] = np.where(hit[layer], depth[layer], filled[layer - 1])
        return filled

    def empty_ray(self) -> torch.Tensor:
        """(8,) float32, what `encode` gives for every layer of a ray without any hit."""
        depth = 1.0 if self.miss != "zero" else 2 * (0 - self.near) / (self.far - self.near) - 1
        return torch.tensor([depth, 0, 0, 0, -1, -1, -1, -1], dtype=torch.float32)

    def decode(self, tensor: torch.Tensor) -> XRay:
        """The valid X-Ray of a tensor in model space.

        A value is a surface where its hit channel is above the threshold, its depth lies strictly between near
        and far, and its depth is beyond that of every surface kept before it on the ray. What is kept moves to
        the front. Normals are scaled to length 1 (a zero one faces the camera), colours are clamped.

        Args:
          tensor: (layers, 8, h, w), any size and device.
        Raises:
          InputError: another shape, or values that are not finite.
        """
        if tensor.ndim != 4 or tensor.shape[1] != MODEL_CHANNELS:
            raise InputError(
                f"tensor of shape {tuple(tensor.shape)}: expected (layers, {MODEL_CHANNELS}, height, width)"
            )
        array = tensor.detach().to("cpu", torch.float32).numpy()
        if not np.isfinite(array).all():
            raise InputError("the tensor to decode has values that are not finite")
        array = np.clip(array, -1e18, 1e18)  # no change to what is kept; the squares below stay finite
        depth = (array[:, 0] + 1) / 2 * (self.far - self.near) + self.near
        keep = (array[:, 7] > self.hit_threshold) & (depth > self.near) & (depth < self.far)
        nearest = np.zeros(depth.shape[1:], np.float32)
        for layer in range(len(depth)):
            keep[layer] &= depth[layer] > nearest
            nearest = np.where(keep[layer], depth[layer], nearest)
        normal = _unit(array[:, 1:4].transpose(0, 2, 3, 1))
        color = np.clip((array[:, 4:7].transpose(0, 2, 3, 1) + 1) / 2, 0, 1)
        order, valid = pack_hits(depth, keep)
        depth = np.take_along_axis(depth, order, 0) * valid
        normal = np.take_along_axis(normal, order[..., None], 0) * valid[..., None]
        color = np.take_along_axis(color, order[..., None], 0) * valid[..., None]
        return XRay(depth, normal.astype(np.float32), color.astype(np.float32)).validate("decoded X-Ray")


def _unit(normal: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    toward_camera = np.array([0, 0, 1], np.float32)
    return np.where(length > 1e-6, normal / np.maximum(length, 1e-6), toward_camera)
