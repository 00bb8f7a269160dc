"""Model space: the published mapping, its inverse, and a decoder that always makes a valid X-Ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.made_xrays import random_xray

from xray.common.errors import InputError
from xray.core.codec import MISSES, Codec
from xray.core.storage import load_sparse, load_xray
from xray.core.xray import XRay

RELEASED = Path(__file__).parents[3] / "shared/reference/dataset"
FILES = sorted(RELEASED.glob("xrays/*/*.npz"))


def within(xray: XRay, codec: Codec) -> XRay:
    """The X-Ray with every hit inside the codec's range and no two at one depth."""
    depth = xray.depth.astype(np.float64)
    low, high = codec.near + 0.01, codec.far - 0.01
    rank = np.arange(len(depth))[:, None, None]  # keeps the order where depths are squeezed together
    depth = np.where(xray.hit, low + (high - low) * (depth / 10 + rank / len(depth)) / 2, 0)
    return XRay(depth.astype(np.float32), xray.normal, xray.color).validate()


@pytest.mark.parametrize("miss", MISSES)
@pytest.mark.parametrize(("near", "far"), [(0.6, 1.8), (0.6, 2.4), (0.0, 5.0)])
@pytest.mark.parametrize("seed", range(3))
def test_decode_inverts_encode_inside_the_range(miss, near, far, seed):
    codec = Codec(near, far, layers=6, resolution=12, miss=miss)
    xray = within(random_xray(seed, 6, 12, 12), codec)
    again = codec.decode(codec.encode(xray))
    assert np.array_equal(again.hit, xray.hit)
    for part in ("depth", "normal", "color"):
        assert np.abs(getattr(again, part) - getattr(xray, part)).max() < 1e-6, part


@pytest.mark.parametrize("miss", MISSES)
@pytest.mark.parametrize("seed", range(40))
def test_any_tensor_decodes_to_a_valid_xray(miss, seed):
    rng = np.random.default_rng(seed)
    layers, height, width = rng.integers(1, 9), rng.integers(1, 9), rng.integers(1, 9)
    codec = Codec(miss=miss, layers=int(layers), hit_threshold=float(rng.choice([-1, 0, 0.5])))
    values = rng.normal(0, 10.0 ** rng.uniform(-3, 37), (layers, 8, height, width)).astype(np.float32)
    values[rng.uniform(size=values.shape) < 0.2] = 0
    xray = codec.decode(torch.from_numpy(values))  # validates, and says so by not raising
    assert xray.validate().shape == (layers, height, width)
    hit = xray.hit
    assert ((xray.depth > codec.near) & (xray.depth < codec.far))[hit].all()
    assert (np.diff(xray.depth, axis=0)[hit[1:]] > 0).all()
    assert hit.sum() <= (values[:, 7] > codec.hit_threshold).sum()


def test_values_of_model_space_are_the_published_ones():
    codec = Codec(0.6, 1.8, layers=2, resolution=1)
    xray = XRay(
        np.array([1.5, 0], np.float32).reshape(2, 1, 1),
        np.array([[0, 0.6, 0.8], [0, 0, 0]], np.float32).reshape(2, 1, 1, 3),
        np.array([[0, 0.5, 1], [0, 0, 0]], np.float32).reshape(2, 1, 1, 3),
    )
    hit, miss = codec.encode(xray)[:, :, 0, 0].tolist()
    assert hit == pytest.approx([0.5, 0, 0.6, 0.8, -1, 0, 1, 1], abs=1e-6)
    assert miss == pytest.approx([-2, 0, 0, 0, -1, -1, -1, -1], abs=1e-6)
    for rule, depth in (("far", 1.0), ("last", 0.5)):
        encoded = Codec(0.6, 1.8, 2, 1, rule).encode(xray)[1, :, 0, 0].tolist()
        assert encoded == pytest.approx([depth, 0, 0, 0, -1, -1, -1, -1], abs=1e-6)


def test_last_carries_the_depth_of_the_ray_and_leaves_empty_rays_far():
    codec = Codec(layers=5, resolution=12, miss="last")
    xray = within(random_xray(3, 5, 12, 12), codec)
    depth = codec.encode(xray)[:, 0].numpy()
    for i, j in np.ndindex(12, 12):
        hits = int(xray.hit[:, i, j].sum())
        expected = np.full(5, 1.0) if hits == 0 else depth[np.minimum(np.arange(5), hits - 1), i, j]
        assert np.array_equal(depth[:, i, j], expected)


def test_decode_drops_what_is_out_of_range_or_out_of_order_and_packs_the_rest():
    codec = Codec(1.0, 3.0, layers=6, resolution=1)
    depth = np.array([0.0, 1.2, 1.1, 3.5, 2.0, 2.5])  # before near, kept, before the kept one, beyond far, kept, no hit
    tensor = torch.zeros(6, 8, 1, 1)
    tensor[:, 0, 0, 0] = torch.from_numpy(depth - 2)
    tensor[:, 7] = 1
    tensor[5, 7] = -1
    tensor[4, 1] = 3.0
    xray = codec.decode(tensor)
    assert xray.depth[:, 0, 0].tolist() == pytest.approx([1.2, 2.0, 0, 0, 0, 0])
    assert xray.normal[:2, 0, 0].tolist() == [[0, 0, 1], [1, 0, 0]]  # no direction faces the camera
    assert xray.color[0, 0, 0].tolist() == [0.5, 0.5, 0.5]


@pytest.mark.skipif(not FILES, reason=f"the released example data are not at {RELEASED}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name[:6]}-{path.stem}")
def test_released_files_encode_and_decode(path):
    xray = load_xray(path)
    for codec in (Codec(), Codec(resolution=256, layers=16, miss="last")):
        tensor = codec.encode(xray)
        sparse = codec.fit(load_sparse(path)).to_xray()
        assert torch.equal(codec.encode(sparse), tensor)
        again, cut = codec.decode(tensor), codec.fit(xray)
        inside = cut.hit & (cut.depth > codec.near) & (cut.depth < codec.far)
        assert again.hit.sum() == inside.sum()  # the released hits increase strictly
        assert np.abs(again.depth[again.hit].sum() - cut.depth[inside].sum()) < 1e-3 * max(inside.sum(), 1)
        if inside.sum() == cut.hit.sum():
            for part in ("depth", "normal", "color"):
                assert np.abs(getattr(again, part) - getattr(cut, part)).max() < 1e-6


def test_codec_survives_its_dictionary_and_refuses_another():
    codec = Codec(0.5, 2.0, 4, 32, "last", 0.25)
    assert Codec.from_dict(codec.to_dict()) == codec
    for change in ({"extra": 1}, {"near": 3.0}, {"miss": "no"}, {"layers": 0}, {"resolution": 0}, {"near": -0.1}):
        with pytest.raises(InputError, match="codec"):
            Codec.from_dict(codec.to_dict() | change)


@pytest.mark.parametrize("shape", [(5, 8, 12), (2, 12, 12), (5, 15, 15)])
def test_what_does_not_fit_is_refused(shape):
    with pytest.raises(InputError, match=r"expected at least|whole multiple"):
        Codec(layers=3, resolution=6).encode(random_xray(0, *shape))


@pytest.mark.parametrize("tensor", [torch.zeros(3, 7, 4, 4), torch.zeros(8, 4, 4), torch.full((1, 8, 2, 2), torch.nan)])
def test_tensors_that_are_no_xray_are_refused(tensor):
    with pytest.raises(InputError, match="tensor"):
        Codec().decode(tensor)
