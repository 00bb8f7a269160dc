"""The X-Ray's array form, its rules and its cuts."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.made_xrays import random_xray

from xray.common.errors import InputError
from xray.core.xray import CHANNEL_NAMES, XRay, pack_hits


@pytest.mark.parametrize("seed", range(4))
def test_array_form_holds_everything_in_the_documented_order(seed):
    xray = random_xray(seed, 5, 6, 9)
    array = xray.to_array()
    assert array.shape == (5, 7, 6, 9)
    by_name = dict(zip(CHANNEL_NAMES, array.transpose(1, 0, 2, 3), strict=True))
    assert np.array_equal(by_name["depth"], xray.depth)
    assert np.array_equal(by_name["normal_z"], xray.normal[..., 2])
    assert np.array_equal(by_name["green"], xray.color[..., 1])
    again = XRay.from_array(array)
    assert all(np.array_equal(getattr(again, part), getattr(xray, part)) for part in ("depth", "normal", "color"))


@pytest.mark.parametrize("seed", range(4))
def test_cuts_commute_and_stay_valid(seed):
    xray = random_xray(seed, 5, 6, 9)
    assert xray.hit.sum() == (xray.depth > 0).sum()
    for layers in (1, 3, 5):
        one, other = xray.keep(layers).subsample(3), xray.subsample(3).keep(layers)
        assert one.shape == (layers, 2, 3)
        assert one.validate().to_array().tobytes() == other.to_array().tobytes()
        assert one.to_array().tobytes() == xray.to_array()[:layers, :, ::3, ::3].tobytes()
    for factor in (0, 2, 4):
        with pytest.raises(InputError, match="cannot be subsampled"):
            xray.subsample(factor)


def broken(part: str, where, value) -> XRay:
    """A valid X-Ray of one ray with hits at 1 and 2 and a miss, with one value replaced."""
    parts = {
        "depth": np.array([1, 2, 0], np.float32).reshape(3, 1, 1),
        "normal": np.array([[0, 0, 1], [0, -1, 0], [0, 0, 0]], np.float32).reshape(3, 1, 1, 3),
        "color": np.array([[0, 0.5, 1], [1, 1, 1], [0, 0, 0]], np.float32).reshape(3, 1, 1, 3),
    }
    XRay(**parts).validate()
    parts[part][where] = value
    return XRay(**parts)


@pytest.mark.parametrize(
    ("part", "where", "value", "rule"),
    [
        ("depth", 0, np.nan, "finite"),
        ("normal", 1, np.inf, "finite"),
        ("color", 2, -np.inf, "finite"),
        ("depth", 2, -1e-6, "negative"),
        ("depth", 0, 0, "packed"),
        ("depth", 1, 0.999, "decrease"),
        ("normal", (2, 0, 0, 1), 1e-30, "0 where there is no hit"),
        ("color", (2, 0, 0, 2), 0.2, "0 where there is no hit"),
        ("normal", 1, 0, "length 1"),
        ("normal", 1, 1, "length 1"),
        ("normal", 1, 1e30, "length 1"),
        ("color", (0, 0, 0, 0), -0.01, "colour"),
        ("color", (0, 0, 0, 1), 1.01, "colour"),
    ],
)
def test_validate_names_the_rule_that_is_broken(part, where, value, rule):
    with pytest.raises(InputError, match=rf"^file\.npz: .*{rule}"):
        broken(part, where, value).validate("file.npz")


def test_equal_depths_are_two_surfaces():
    assert broken("depth", 1, 1).validate().hit[:, 0, 0].tolist() == [True, True, False]


@pytest.mark.parametrize("seed", range(4))
def test_pack_moves_what_is_kept_to_the_front_in_order(seed):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1, 2, (5, 3, 4))
    keep = rng.uniform(size=depth.shape) < 0.5
    order, valid = pack_hits(depth, keep)
    moved = np.take_along_axis(depth, order, 0)
    for i, j in np.ndindex(3, 4):
        assert moved[valid[:, i, j], i, j].tolist() == depth[keep[:, i, j], i, j].tolist()
        assert (np.diff(valid[:, i, j].astype(int)) <= 0).all()


def test_shapes_that_do_not_belong_together_are_refused():
    depth = np.zeros((2, 3, 4), np.float32)
    three = np.zeros((2, 3, 4, 3), np.float32)
    for arguments in ((depth[0], three, three), (depth, three[:1], three), (depth, three, depth)):
        with pytest.raises(InputError, match="of shape"):
            XRay(*arguments)
    with pytest.raises(InputError, match="of shape"):
        XRay.from_array(np.zeros((2, 8, 3, 4)))
    with pytest.raises(InputError, match="of shape"):
        pack_hits(depth, np.zeros((2, 3, 5), bool))
