"""The X-Ray: for every pixel's ray, the surfaces that it crosses, front to back.

`XRay` holds dense arrays; `SparseXRay` holds the values that are not zero, in the order in which files store them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from ..common.errors import InputError

STORED_LAYERS = 16
"""Layers that are stored by default."""

RESOLUTION = 256
"""Rays on each side that are stored by default."""

CHANNEL_NAMES = ("depth", "normal_x", "normal_y", "normal_z", "red", "green", "blue")
"""Order of the channels of the array form."""


@dataclass(frozen=True)
class XRay:
    """Ordered surface hits of every camera ray.

    Hits are packed to the front of the layer axis in increasing depth; a depth of 0 means no hit, and
    there normal and colour are 0 too.

    Attributes:
      depth: (L, H, W) float32, distance from the camera centre along the unit ray, in object units.
      normal: (L, H, W, 3) float32, unit, camera frame, by the winding of the face (not turned to the viewer).
      color: (L, H, W, 3) float32, sRGB in [0, 1].
    """

    depth: np.ndarray
    normal: np.ndarray
    color: np.ndarray

    def __post_init__(self) -> None:
        if self.depth.ndim != 3:
            raise InputError(f"depth of shape {self.depth.shape}: expected (layers, height, width)")
        for name in ("normal", "color"):
            shape = getattr(self, name).shape
            if shape != (*self.depth.shape, 3):
                raise InputError(f"{name} of shape {shape}: expected {(*self.depth.shape, 3)}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(layers, height, width)."""
        return self.depth.shape

    @property
    def hit(self) -> np.ndarray:
        """(L, H, W) bool."""
        return self.depth > 0

    def to_array(self) -> np.ndarray:
        """(L, 7, H, W) float32 in the order of `CHANNEL_NAMES`."""
        array = np.empty((self.shape[0], 7, *self.shape[1:]), np.float32)
        array[:, 0] = self.depth
        array[:, 1:4] = self.normal.transpose(0, 3, 1, 2)
        array[:, 4:7] = self.color.transpose(0, 3, 1, 2)
        return array

    @classmethod
    def from_array(cls, array: np.ndarray) -> XRay:
        """Inverse of `to_array`; the parts are views of a float32 `array`."""
        if array.ndim != 4 or array.shape[1] != 7:
            raise InputError(f"X-Ray array of shape {array.shape}: expected (layers, 7, height, width)")
        array = np.asarray(array, dtype=np.float32)
        return cls(array[:, 0], array[:, 1:4].transpose(0, 2, 3, 1), array[:, 4:7].transpose(0, 2, 3, 1))

    def keep(self, layers: int) -> XRay:
        """The first `layers` layers."""
        return XRay(self.depth[:layers], self.normal[:layers], self.color[:layers])

    def subsample(self, factor: int) -> XRay:
        """Every `factor`-th ray, which is exactly the X-Ray of the same view `factor` times smaller."""
        if factor < 1 or self.shape[1] % factor or self.shape[2] % factor:
            raise InputError(f"{self.shape[1]} x {self.shape[2]} rays cannot be subsampled by {factor}")
        step = slice(None, None, factor)
        return XRay(self.depth[:, step, step], self.normal[:, step, step], self.color[:, step, step])

    def scaled(self, factor: float) -> XRay:
        """The X-Ray of the world made `factor` times as large about the camera."""
        if not 0 < factor < np.inf:
            raise InputError(f"an X-Ray cannot be scaled by {factor}: expected a number above 0")
        return self if factor == 1 else XRay(self.depth * np.float32(factor), self.normal, self.color)

    def validate(self, name: str = "X-Ray") -> XRay:
        """Self, or InputError naming the first rule that is broken."""
        with np.errstate(over="ignore"):  # a normal of length 1e30 breaks its rule, not the arithmetic
            for rule, holds in self._rules():
                if not holds:
                    raise InputError(f"{name}: {rule}")
        return self

    def _rules(self):
        # Plane by plane, without masked copies: every file that is read is checked here, so it must be fast.
        depth, hit = self.depth, self.hit
        normal, color = (np.moveaxis(values, -1, 0) for values in (self.normal, self.color))
        yield (
            "depth, normal and colour must be finite",
            all(np.isfinite(values).all() for values in (depth, normal, color)),
        )
        yield "depth must not be negative", bool(depth.min(initial=0) >= 0)
        yield "hits must be packed to the front", not (hit[1:] > hit[:-1]).any()
        yield "depth must not decrease along a ray", not (hit[1:] & (depth[1:] < depth[:-1])).any()
        squared = normal[0] * normal[0]
        filled = (normal[0] != 0) | (color[0] != 0)
        for plane in (1, 2):
            squared += normal[plane] * normal[plane]
            filled |= (normal[plane] != 0) | (color[plane] != 0)
        yield "normal and colour must be 0 where there is no hit", not (filled > hit).any()
        yield "normals must have length 1", bool((np.abs(np.sqrt(squared) - hit) < 1e-3).all())
        yield "colour must lie in [0, 1]", bool(color.min(initial=0) >= 0 and color.max(initial=0) <= 1)


def pack_hits(depth: np.ndarray, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order in which kept hits move to the front of their ray, keeping their sequence.

    Args:
      depth: (L, H, W); keep: (L, H, W) bool.
    Returns:
      order (L, H, W) int64 for `np.take_along_axis` on axis 0, and valid (L, H, W) bool after the move.
    """
    if keep.shape != depth.shape:
        raise InputError(f"mask of shape {keep.shape}: expected {depth.shape}")
    order = np.argsort(~keep, axis=0, kind="stable")
    return order, np.take_along_axis(keep, order, axis=0)


@dataclass(frozen=True)
class SparseXRay:
    """An X-Ray as a CSR matrix with a row a layer. Cutting it down is cheap: dropped values are never made dense.

    Attributes:
      shape: (layers, height, width).
      indptr: (layers + 1,) whole numbers, where each layer begins in the two lists below.
      column: (N,) whole numbers, (channel * height + row) * width + column; each at most once in a layer.
      value: (N,) float32.
    """

    shape: tuple[int, int, int]
    indptr: np.ndarray
    column: np.ndarray
    value: np.ndarray

    @classmethod
    def from_xray(cls, xray: XRay) -> SparseXRay:
        """The values that are not 0, in order."""
        layers = xray.shape[0]
        flat = xray.to_array().reshape(layers, -1)
        rows, columns = np.nonzero(flat)
        indptr = np.searchsorted(rows, np.arange(layers + 1)).astype(np.int32)
        return cls(xray.shape, indptr, columns.astype(np.int32), flat[rows, columns])

    def keep(self, layers: int) -> SparseXRay:
        """The first `layers` layers."""
        layers = min(layers, self.shape[0])
        end = int(self.indptr[layers])
        return SparseXRay((layers, *self.shape[1:]), self.indptr[: layers + 1], self.column[:end], self.value[:end])

    def subsample(self, factor: int) -> SparseXRay:
        """Every `factor`-th ray, as `XRay.subsample`."""
        layers, height, width = self.shape
        if factor < 1 or height % factor or width % factor:
            raise InputError(f"{height} x {width} rays cannot be subsampled by {factor}")
        if factor == 1:
            return self
        target = _targets(height, width, factor)
        if width & (width - 1) or factor & (factor - 1):
            kept = np.flatnonzero(target.take(self.column) >= 0)
        else:  # row and column stand in bits of their own, whose lowest must be 0: three times as fast as the table
            kept = np.flatnonzero((self.column & ((factor - 1) * (width + 1))) == 0)
        indptr = np.searchsorted(kept, self.indptr)
        return SparseXRay(
            (layers, height // factor, width // factor), indptr, target.take(self.column[kept]), self.value[kept]
        )

    def scatter(self, array: np.ndarray) -> None:
        """Write the values into a C-ordered (layers, 7 or more, height, width) array; the rest stays."""
        stride = array[0].size
        start = np.repeat(np.arange(self.shape[0]) * stride, np.diff(self.indptr))
        array.reshape(-1)[start + self.column] = self.value

    def to_xray(self) -> XRay:
        """The dense form."""
        layers, height, width = self.shape
        array = np.zeros((layers, 7, height, width), np.float32)
        self.scatter(array)
        return XRay.from_array(array)

    def has_repeats(self) -> bool:
        """Whether a place is given twice. Files are written in order, for which one pass is enough."""
        descents = np.flatnonzero(self.column[1:] <= self.column[:-1]) + 1
        if np.isin(descents, self.indptr).all():
            return False
        layer = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        place = layer * np.int64(7 * self.shape[1] * self.shape[2]) + self.column
        return len(np.unique(place)) < len(place)


@functools.lru_cache(maxsize=8)
def _targets(height: int, width: int, factor: int) -> np.ndarray:
    """(7 * height * width,) int32: where each column moves when every `factor`-th ray is kept; -1 is dropped."""
    small = (7, height // factor, width // factor)
    table = np.full((7, height, width), -1, np.int32)
    table[:, ::factor, ::factor] = np.arange(np.prod(small), dtype=np.int32).reshape(small)
    table.setflags(write=False)
    return table.reshape(-1)
