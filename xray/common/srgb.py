"""Colours: the sRGB transfer curve (IEC 61966-2-1), and the numbers of files as values in [0, 1]."""

from __future__ import annotations

import numpy as np


def to_linear(srgb: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values, element by element, float32."""
    srgb = np.asarray(srgb, dtype=np.float32)
    return np.where(srgb <= 0.04045, srgb / 12.92, _power((np.maximum(srgb, 0) + 0.055) / 1.055, 2.4))


def from_linear(linear: np.ndarray) -> np.ndarray:
    """sRGB values of linear light, element by element, float32. Inverse of `to_linear`."""
    linear = np.asarray(linear, dtype=np.float32)
    curved = np.float32(1.055) * _power(np.maximum(linear, 0), 1 / 2.4) - np.float32(0.055)
    return np.where(linear <= 0.0031308, linear * 12.92, curved)


def _power(base: np.ndarray, exponent: float) -> np.ndarray:
    """`base` to a power, float32, the same on every machine.

    NumPy has another float32 power for processors with AVX-512, which differs in the last bit; the float64 ones do too,
    but nowhere near what a float32 shows.
    """
    return (base.astype(np.float64) ** np.float64(np.float32(exponent))).astype(np.float32)


MOST_BRIGHT = 2
"""Colours of floats may shine above 1; from here on they count from 0 to 255."""


def unit_colors(values: np.ndarray, whole: bool) -> np.ndarray:
    """Colours of a file that does not say how far they count, clipped to [0, 1].

    They count from 0 to 1, to 255, to 65535 or over all 32 bits: to the first of these that none of them exceeds. So
    whole numbers up to 1 count to 1, and numbers of 16 bits of which none is above 255 to 255.

    Args:
      values: (N, 3) float64; whole: whether they are written as whole numbers.
    Raises:
      ValueError: values beyond all of these.
    """
    highest = float(np.nanmax(values)) if values.size and not np.isnan(values).all() else 0.0
    if highest <= (1 if whole else MOST_BRIGHT):
        most = 1
    else:
        most = next((top for top in (255, 65535, 2**32 - 1) if highest <= top), None)
        if most is None or (most > 65535 and not whole):
            raise ValueError(f"colours up to {highest:g}, expected at most 1, 255 or 65535")
    return np.clip(values / most, 0, 1)
