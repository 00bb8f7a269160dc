"""The patch U-Net, what it knows of the picture without learning, and its losses, each against plain formulas."""

import numpy as np
import pytest
import torch
from helpers.tiny_networks import PATCH_UNET
from torch import nn
from torch.nn import functional as F

from xray.core.camera import Camera, look_at
from xray.core.codec import MISSES, Codec
from xray.mesh.mesh import Mesh
from xray.mesh.part import Material, Part
from xray.models.denoiser import Condition, Denoiser, scalings
from xray.models.losses import denoising_loss, depth_difference_loss, regression_loss
from xray.models.patch_unet import PatchUNet, at_rays, picture_channels, places, prior, silhouette_distance
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster
from xray.training.objectives import Denoising, Mirror
from xray.training.random_streams import RandomStreams


def made_pictures(count=2, size=16) -> torch.Tensor:
    """(count, 4, size, size): noise, with a disc of its own place as alpha."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(count, 4, size, size, generator=generator) * 2 - 1
    row, column = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    for index in range(count):
        inside = (row - 7 - index) ** 2 + (column - 6) ** 2 < 20
        images[index, 3] = torch.where(inside, 1.0, -1.0)
    return images


def condition(images, **options) -> Condition:
    return Condition(None, None, torch.zeros(len(images), 3), picture=images, **options)


class FirstChannels(nn.Module):
    """In the U-Net's place: gives back its first channels, which are those of the patches."""

    def forward(self, sample, timestep, encoder_hidden_states, added_time_ids, return_dict):
        return (sample[:, :, : 8 * 2**2],)


def test_patches_are_taken_apart_and_put_together_alike():
    unet = PatchUNet(**PATCH_UNET, patch=2, picture_patch=4, picture_width=32, place=True)
    unet.unet = FirstChannels()
    rays = torch.randn(2, 3, 8, 8, 8)
    out = unet(rays, torch.zeros(2), None, made_pictures(), None, torch.zeros(2, 3))
    assert torch.equal(out, rays)


@pytest.mark.parametrize("distance", [False, True])
def test_saved_and_loaded_it_is_the_same_network(tmp_path, distance):
    torch.manual_seed(0)
    unet = PatchUNet(
        **PATCH_UNET, patch=2, picture_patch=4, picture_width=32, silhouette_distance=distance, place=True
    ).eval()
    unet.save_pretrained(tmp_path)
    loaded = PatchUNet.from_pretrained(tmp_path).eval()
    images = picture_channels(made_pictures(), distance)
    rays = torch.randn(2, 3, 8, 8, 8)
    with torch.no_grad():
        known = torch.zeros(2), None, images, None, torch.zeros(2, 3)
        assert torch.equal(unet(rays, *known), loaded(rays, *known))
        other = unet(rays, torch.zeros(2), None, images.flip(-1), None, torch.zeros(2, 3))
        assert not torch.allclose(other, unet(rays, *known))  # it looks at the picture


def test_with_x_the_output_and_the_prior_are_the_estimate_and_with_v_it_is_scaled():
    unet = PatchUNet(**PATCH_UNET, patch=2, picture_patch=4, picture_width=32)
    unet.unet = FirstChannels()
    images, x, sigma = made_pictures(), torch.randn(2, 3, 8, 8, 8), torch.tensor([0.5, 100.0])
    scale = [row[:, None, None, None, None] for row in scalings(sigma)]
    network = scale[2] * x
    plain = Denoiser(unet, "x")(x, sigma, condition(images))
    assert torch.allclose(plain, network)
    led = Denoiser(unet, "x", True, True, 0.5)(x, sigma, condition(images))
    assert torch.allclose(led, network + prior(images, 3, 8, 0.5, True, True))
    published = Denoiser(unet)(x, sigma, condition(images))
    assert torch.allclose(published, scale[0] * x + scale[1] * network)


def test_the_prior_is_the_pixel_on_the_ray_without_the_background_under_it():
    images, background = made_pictures(), 0.75
    images[:, 3, 4, 4] = 0.2  # 60 % opaque
    base = prior(images, 3, 8, background, True, True)
    for index in range(2):
        for row in range(8):
            for column in range(8):
                red, green, blue, alpha = ((images[index, :, 2 * row, 2 * column] + 1) / 2).tolist()
                expected = [-1.0] * 3
                if alpha >= 0.5:
                    plain = [(value - (1 - alpha) * background) / alpha for value in (red, green, blue)]
                    expected = [2 * min(max(value, 0), 1) - 1 for value in plain]
                for layer in range(3):
                    assert base[index, layer, 4:7, row, column].tolist() == pytest.approx(expected, abs=1e-5)
                hit = 1 if alpha >= 0.5 else -1
                assert base[index, :, 7, row, column].tolist() == [hit, hit, 0]
    assert not base[:, :, :4].any()
    assert not prior(images, 3, 8, background, False, False).any()
    assert torch.equal(at_rays(images, 8), images[..., ::2, ::2])


def test_the_distance_is_that_to_the_nearest_pixel_outside():
    alpha = made_pictures()[:, 3]
    distance = silhouette_distance(alpha)
    for index in range(2):
        outside = np.argwhere(np.pad(alpha[index].numpy() <= 0, 1, constant_values=True)) - 1
        for row, column in np.argwhere(alpha[index].numpy() > 0):
            nearest = np.sqrt(((outside - (row, column)) ** 2).sum(1)).min()
            assert distance[index, row, column] == pytest.approx(nearest * 4 / 16, rel=1e-5)
    assert not distance[alpha <= 0].any()


def test_places_are_layer_column_and_row():
    place = places(3, 4, 5, torch.zeros(1))
    assert place.shape == (3, 3, 4, 5)
    assert place[2, 0].unique().tolist() == [1.0]
    assert place[0, 1, 0].tolist() == [-1, -0.5, 0, 0.5, 1]
    assert place[0, 2, :, 0].tolist() == pytest.approx([-1, -1 / 3, 1 / 3, 1])


def test_depth_difference_loss_is_the_mean_over_all_pairs_on_one_surface():
    generator = torch.Generator().manual_seed(3)
    truth = torch.rand(2, 3, 8, 6, 7, generator=generator) * 0.1
    truth[:, :, 7] = torch.rand(2, 3, 6, 7, generator=generator) - 0.3
    estimate = truth + 0.1 * torch.randn(truth.shape, generator=generator)
    expected = []
    for guess, rows in zip(estimate.numpy(), truth.numpy(), strict=True):
        errors = []
        for layer in range(3):
            for row in range(6):
                for column in range(7):
                    for apart in (1, 2, 4):
                        for other in ((row + apart, column), (row, column + apart)):
                            if other[0] >= 6 or other[1] >= 7:
                                continue
                            ends = (layer, slice(None), row, column), (layer, slice(None), *other)
                            (here, there), (mine, yours) = ([x[end] for end in ends] for x in (rows, guess))
                            if here[7] > 0 and there[7] > 0 and abs(there[0] - here[0]) < 0.02 * apart:
                                errors.append(abs((yours[0] - mine[0]) - (there[0] - here[0])))
        assert 0 < len(errors) < 3 * 6 * 7 * 6
        expected.append(np.mean(errors))
    assert depth_difference_loss(estimate, truth, 0.02).tolist() == pytest.approx(expected, rel=1e-5)
    empty = truth.clone()
    empty[:, :, 7] = -1
    assert depth_difference_loss(estimate, empty, 0.02).tolist() == [0, 0]


def plain_error(apart, depth_error, color_error):
    """Of one value, by its channel."""
    kinds = {0: depth_error, 4: color_error, 5: color_error, 6: color_error}
    channels = [apart[:, :, k].abs() if kinds.get(k) == "absolute" else apart[:, :, k] ** 2 for k in range(8)]
    return torch.stack(channels, 2)


@pytest.mark.parametrize("depth_error", ["squared", "absolute"])
@pytest.mark.parametrize("color_error", ["squared", "absolute"])
def test_absolute_errors_of_depth_and_colour_leave_the_other_channels_squared(depth_error, color_error):
    truth, estimate = torch.rand(2, 3, 8, 4, 4), torch.rand(2, 3, 8, 4, 4)
    weight, weights = torch.tensor([1.0, 2.0]), (5.0, 1.0, 3.0, 1.0)
    kinds = {"depth_error": depth_error, "color_error": color_error}
    error = plain_error(estimate - truth, depth_error, color_error)
    error[:, :, 0] *= 5
    error[:, :, 4:7] *= 3
    assert torch.allclose(
        denoising_loss(estimate, truth, weight, channel_weights=weights, **kinds), weight * error.flatten(1).mean(1)
    )
    truth[:, :, 7] = 1
    hits = F.binary_cross_entropy_with_logits(estimate[:, :, 7], torch.ones(2, 3, 4, 4), reduction="none")
    expected = hits.flatten(1).mean(1) + error[:, :, :7].mean(2).flatten(1).mean(1)
    assert torch.allclose(regression_loss(estimate, truth, channel_weights=weights, **kinds), expected)


def test_the_least_absolute_error_of_two_surfaces_is_on_one_of_them():
    depths = torch.tensor([-0.5, 0.5, 0.5])  # a third of the samples meet the near one

    def best(kind):
        guesses = torch.linspace(-1, 1, 41)
        losses = [
            sum(
                denoising_loss(
                    x.expand(1, 1, 8, 1, 1), d.expand(1, 1, 8, 1, 1), torch.ones(1), 1.0, (1.0, 0.0, 0.0, 0.0), kind
                ).item()
                for d in depths
            )
            for x in guesses
        ]
        return guesses[int(np.argmin(losses))].item()

    assert best("absolute") == pytest.approx(0.5)
    assert best("squared") == pytest.approx(1 / 6, abs=0.03)


def test_the_task_adds_the_depth_differences_at_the_weight_of_the_noise_level():
    class Guess(nn.Module):
        def forward(self, noisy, sigma, condition):
            return 0.9 * xray

    xray, images = torch.rand(2, 3, 8, 8, 8), made_pictures()
    task = Denoising(None, p_std=0.0, p_mean=0.0, dropout=0.0, depth_difference=3.0, depth_difference_step=0.5)
    loss = task.loss(Guess(), xray, images, RandomStreams(0, [0, 1]))
    weight = torch.full((2,), 2.0)  # at a noise level of 1
    expected = denoising_loss(0.9 * xray, xray, weight) + 2.0 * 3.0 * depth_difference_loss(0.9 * xray, xray, 0.5)
    assert torch.allclose(loss, expected)


@pytest.mark.parametrize("miss", MISSES)
def test_a_mirrored_sample_is_the_xray_of_the_mirrored_object(miss):
    codec = Codec(near=0.3, layers=4, resolution=32, miss=miss)
    camera = Camera(32, 32, world_from_camera=look_at((0.0, 1e-9, 1.4), up=(0.0, 1.0, 0.0)))
    encoded = []
    for mirrored in (False, True):
        vertices = np.array([[0.1, 0.0, -0.2], [0.5, 0.1, -0.1], [0.25, 0.45, 0.05], [0.3, 0.05, 0.4]])
        faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
        if mirrored:
            vertices, faces = vertices * (-1, 1, 1), faces[:, ::-1]
        part = Part(vertices, np.ascontiguousarray(faces), Material(np.array([0.2, 0.5, 0.8], np.float32)))
        mesh = Mesh([part], np.eye(3), "made")
        xray, _ = capture(mesh, RayCaster(mesh.vertices, mesh.faces), camera)
        assert xray.hit[1].sum() > 20
        encoded.append(codec.encode(xray))
    mirror = Mirror(1.0, codec.empty_ray(), 1.0)
    assert torch.allclose(mirror.xray(encoded[0]), encoded[1], atol=1e-4)
    images = made_pictures()
    turned = mirror.image(images)
    assert torch.equal(turned[..., 1:], images[..., 1:].flip(-1))
    assert turned[:, :, :, 0].unique(dim=-1).squeeze(-1).tolist() == [[1, 1, 1, -1]] * 2


def test_samples_are_mirrored_by_chance_with_their_pictures_and_nothing_is_drawn_without():
    codec = Codec(resolution=8, layers=3)
    xray, images = torch.randn(40, 3, 8, 8, 8), made_pictures(40)
    streams = RandomStreams(0, range(40))
    turned, pictures, low = Mirror(0.5, codec.empty_ray(), 1.0)(xray, images, streams, [row for row in xray])
    changed = (turned != xray).flatten(1).any(1)
    assert 8 < changed.sum() < 32
    assert torch.equal(changed, (pictures != images).flatten(1).any(1))
    assert torch.equal(torch.stack(low), turned)
    untouched = RandomStreams(0, range(40))
    Mirror(0.0, codec.empty_ray(), 1.0)(xray, images, untouched)
    assert torch.equal(untouched.uniform(), RandomStreams(0, range(40)).uniform())
