"""Views and colours are the same to the last bit on processors of every kind, so that machines can share the work."""

from __future__ import annotations

import math
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from xray.common import srgb
from xray.mesh.text import EXACT_POWERS

POSES = """
import numpy as np
from xray.core.camera import framed_pose, sample_views
random = np.random.default_rng(0)
points = random.uniform(-0.5, 0.5, (40, 3))
poses = sample_views(20, random)
print(poses.tobytes().hex(), np.stack([framed_pose(pose, points, 256) for pose in poses]).tobytes().hex())
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names kinds of x86 processors")
def test_poses_do_not_depend_on_the_kernels_of_blas():
    """Prescott has no fused multiply-add, Haswell has one, so that their products of matrices are rounded otherwise."""
    made = []
    for kind in ("Prescott", "Haswell"):
        environment = os.environ | {"OPENBLAS_CORETYPE": kind}
        done = subprocess.run(
            [sys.executable, "-c", POSES], env=environment, capture_output=True, text=True, check=True
        )
        made.append(done.stdout)
    assert made[0] == made[1] != ""


def test_colours_do_not_depend_on_the_processor():
    """NumPy's own float32 power for AVX-512 differs in a fifth of these."""
    values = np.linspace(0, 1, 20_001, dtype=np.float32)
    to, back = float(np.float32(2.4)), float(np.float32(1 / 2.4))
    curve = np.array([math.pow(value, to) for value in ((values + 0.055) / 1.055).tolist()], np.float32)
    assert np.array_equal(srgb.to_linear(values), np.where(values <= 0.04045, values / 12.92, curve))
    curve = np.float32(1.055) * np.array([math.pow(value, back) for value in values.tolist()], np.float32)
    expected = np.where(values <= 0.0031308, values * 12.92, curve - np.float32(0.055))
    assert np.array_equal(srgb.from_linear(values), expected)


def test_powers_of_ten_are_exact():
    assert [int(power) for power in EXACT_POWERS] == [10**place for place in range(23)]
