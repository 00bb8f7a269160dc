"""Colours that hidden layers look up in the picture, against plain loops."""

import math

import pytest
import torch
from helpers.tiny_networks import PATCH_UNET

from xray.common.errors import InputError
from xray.config import load_config
from xray.models.build import make_model
from xray.models.denoiser import Condition, Denoiser
from xray.models.patch_unet import FIRST_WIDTH, ColorLookup, PatchUNet, patch_colors, picture_channels, prior

BACKGROUND = 0.75


def made_picture(size: int = 16) -> torch.Tensor:
    """(2, 4, size, size): colours over the background, in discs with a soft edge."""
    generator = torch.Generator().manual_seed(1)
    color = torch.rand(2, 3, size, size, generator=generator)
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    alpha = torch.stack([(6 - ((row - 7 - k) ** 2 + (column - 6) ** 2).sqrt()).clamp(0, 1) for k in range(2)])[:, None]
    return 2 * torch.cat([color * alpha + BACKGROUND * (1 - alpha), alpha], 1) - 1


def test_the_colour_of_a_patch_is_the_mean_of_what_covers_it_without_the_background():
    picture = made_picture()
    color, cover = patch_colors(picture, 4, BACKGROUND)
    values = (picture + 1) / 2
    for index in range(2):
        for row in range(4):
            for column in range(4):
                block = values[index, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].flatten(1)
                alpha = block[3]
                assert cover[index, row, column] == pytest.approx(alpha.mean().item(), abs=1e-6)
                if alpha.sum() < 0.1:
                    continue
                for channel in range(3):
                    own = (block[channel] - (1 - alpha) * BACKGROUND).sum() / alpha.sum()
                    assert (color[index, channel, row, column] + 1) / 2 == pytest.approx(own.item(), abs=1e-5)


CLOSED, OPEN = -99.0, 99.0
"""Gates before their sigmoid."""


def test_found_colours_are_the_weighted_mean_of_the_patches_colours_and_gates_let_the_pixel_through():
    torch.manual_seed(0)
    lookup, picture = ColorLookup(3, 5, 4, BACKGROUND), made_picture()
    with torch.no_grad():
        lookup.log_width.copy_(torch.tensor([0.2, 1.0]))
    asked = torch.randn(2, 3, lookup.outputs, 4, 4)
    colors = lookup(asked, picture, 8)
    assert colors.shape == (2, 2, 3, 8, 8)
    color, cover = patch_colors(picture, 4, BACKGROUND)
    places = [(row, column) for row in range(4) for column in range(4)]
    for index, layer, row, column in [(0, 0, 1, 2), (1, 1, 3, 0), (1, 0, 0, 0), (0, 1, 2, 1)]:
        query, weights = asked[index, layer + 1, :5, row, column], []
        for y, x in places:
            score = float(query @ asked[index, 0, 5:10, y, x]) / math.sqrt(5)
            score -= ((row - y) ** 2 + (column - x) ** 2) / (2 * math.exp(lookup.log_width[layer].item()) ** 2)
            weights.append(math.exp(score) * max(float(cover[index, y, x]), 1e-4))
        gate = 1 / (1 + math.exp(-float(asked[index, layer + 1, 10, row, column])))
        for channel in range(3):
            values = [float(color[index, channel, y, x]) for y, x in places]
            mean = sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)
            for y, x in [(2 * row, 2 * column), (2 * row + 1, 2 * column)]:
                value, alpha = ((picture[index, [channel, 3], 2 * y, 2 * x] + 1) / 2).tolist()
                expected = mean
                if alpha >= 0.5:
                    pixel = 2 * min(max((value - (1 - alpha) * BACKGROUND) / alpha, 0), 1) - 1
                    expected = gate * pixel + (1 - gate) * mean
                assert colors[index, layer, channel, y, x].item() == pytest.approx(expected, abs=1e-5)


def halves() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(1, 4, 8, 8) a square whose left half is red and whose right half is blue, and the two colours."""
    picture = torch.full((1, 4, 8, 8), -1.0)
    picture[:, :3] = 2 * BACKGROUND - 1
    left, right = torch.tensor([1.0, -1, -1]), torch.tensor([-1.0, -1, 1])
    for color, columns in ((left, slice(2, 4)), (right, slice(4, 6))):
        picture[0, :3, 2:6, columns], picture[0, 3, 2:6, columns] = color[:, None, None], 1
    return picture, left, right


def test_unasked_it_is_a_blur_within_the_silhouette_and_asked_it_is_the_patch_that_was_asked_for():
    lookup, (picture, _, right) = ColorLookup(2, 4, 2, BACKGROUND), halves()
    asked = torch.zeros(1, 2, 9, 4, 4)
    asked[:, :, 8] = CLOSED
    found = lookup(asked, picture, 4)[0, 0]
    nearer, farther = (math.exp(-(apart**2) / (2 * FIRST_WIDTH**2)) for apart in (0, 1))
    expected = (nearer - farther) / (nearer + farther)  # of the two halves' columns
    assert found[0, 1, 1].item() == pytest.approx(expected, abs=1e-3)
    assert torch.allclose(found[1], torch.tensor(-1.0), atol=1e-3)  # and no background, which has green
    asked[0, 0, 4:8, 1:3, 2] = 10  # keys of the right half
    asked[0, 1, :4] = 10
    assert torch.allclose(lookup(asked, picture, 4)[0, 0], right[:, None, None], atol=1e-3)


def test_an_open_gate_gives_the_pixel_on_the_ray_within_the_silhouette_alone():
    lookup, (picture, left, right) = ColorLookup(2, 4, 2, BACKGROUND), halves()
    asked = torch.zeros(1, 2, 9, 4, 4)
    asked[:, :, 8] = CLOSED
    closed = lookup(asked, picture, 8)[0, 0]
    asked[:, :, 8] = OPEN
    opened = lookup(asked, picture, 8)[0, 0]
    assert torch.allclose(opened[:, 2:6, 2:4], left[:, None, None])
    assert torch.allclose(opened[:, 2:6, 4:6], right[:, None, None])
    opened[:, 2:6, 2:6] = closed[:, 2:6, 2:6]
    assert torch.equal(opened, closed)


def test_a_picture_of_nothing_has_finite_colours_and_gradients():
    lookup = ColorLookup(2, 4, 2, BACKGROUND)
    asked = torch.randn(1, 2, 9, 4, 4, requires_grad=True)
    picture = torch.full((1, 4, 8, 8), -1.0)
    picture[:, :3] = 2 * BACKGROUND - 1
    found = lookup(asked, picture, 8)
    found.sum().backward()
    assert found.abs().max() <= 1  # nor is any NaN
    assert asked.grad.isfinite().all()
    assert lookup.log_width.grad.isfinite().all()


def test_the_network_adds_these_colours_to_hidden_layers_whose_prior_then_has_none(tmp_path):
    torch.manual_seed(0)
    network = PatchUNet(**PATCH_UNET, patch=2, picture_patch=4, color_lookup=8, background=BACKGROUND).eval()
    picture, x, sigma = picture_channels(made_picture(), False), torch.randn(2, 3, 8, 8, 8), torch.tensor([9.0, 99.0])
    known = Condition(None, None, torch.zeros(2, 3), picture=picture)
    with torch.no_grad():
        bare = Denoiser(network, "x", background=BACKGROUND)(x, sigma, known)
        full = Denoiser(network, "x", True, True, BACKGROUND)(x, sigma, known)
        first = prior(picture, 3, 8, BACKGROUND, True, True)
        first[:, 1:, 4:7] = 0
        assert torch.allclose(full, bare + first, atol=1e-5)
        lookup, network.lookup = network.lookup, None
        without = Denoiser(network, "x", background=BACKGROUND)(x, sigma, known)
        network.lookup = lookup
    difference = bare - without
    assert difference[:, 1:, 4:7].abs().min() > 0
    difference[:, 1:, 4:7] = 0
    assert not difference.any()
    network.save_pretrained(tmp_path)
    loaded = PatchUNet.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        assert torch.equal(Denoiser(loaded, "x", True, True, BACKGROUND)(x, sigma, known), full)


def test_the_key_makes_the_lookup_and_needs_the_pictures_pixels():
    keys = ["data.root=.", "data.background=0.5", "model.color_lookup=6"]
    network = make_model(load_config("configs/pretrained_diffusion.yaml", keys)).unet
    assert (network.lookup.channels, network.lookup.background) == (6, 0.5)
    off = load_config("configs/pretrained_diffusion.yaml", [*keys[:1], "model.color_lookup=0"])
    assert make_model(off).unet.lookup is None
    with pytest.raises(InputError, match=r"model\.color_lookup is 6, expected 0, or model\.image pixels"):
        load_config("configs/diffusion.yaml", keys)
