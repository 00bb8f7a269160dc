"""The range of depth that the models work in."""

from __future__ import annotations

from .errors import InputError

NEAR, FAR = 0.6, 2.4
"""Default range of depth along a ray, in object units.

An object in a unit box reaches at most half a diagonal (0.866) from its centre. Seen from the default distance of
1.5 it lies between 0.634 and 2.366.
"""


def check_depth_range(near: float, far: float, name: str) -> None:
    """Check a range of depth that errors call `name`. Raises InputError unless 0 <= near < far."""
    if not 0 <= near < far:
        raise InputError(f"{name}: near {near}, far {far}, expected 0 <= near < far")
