"""The scalings, the losses and the training tasks against plain formulas."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from xray.models.conditioner import load_conditioner
from xray.models.denoiser import Condition, Denoiser, loss_weight, min_snr_weight, scalings
from xray.models.losses import denoising_loss, regression_loss
from xray.models.unet import UNetShape, adapt, make_unet
from xray.models.upsampler import Upsampler, to_model_space
from xray.training.objectives import Denoising, Regression
from xray.training.random_streams import RandomStreams

SIGMAS = torch.tensor([0.002, 0.3, 1.0, 40.0, 700.0], dtype=torch.float64)
SHAPE = UNetShape([32, 32], [2, 2], 1, 1, 16, 32, layers=3)


def test_the_scalings_are_those_of_edm():
    for sigma, *scale in zip(SIGMAS.tolist(), *(s.tolist() for s in scalings(SIGMAS)), strict=True):
        root = math.sqrt(sigma**2 + 1)
        expected = [1 / (sigma**2 + 1), -sigma / root, 1 / root, math.log(sigma) / 4]
        assert scale == pytest.approx(expected, rel=1e-12)
    # Equation 8's purpose: the weighted error of x0 is the plain error of the network, at every level.
    assert torch.allclose(loss_weight(SIGMAS) * scalings(SIGMAS).c_out ** 2, torch.ones(5, dtype=torch.float64))
    assert torch.equal(min_snr_weight(SIGMAS, 5.0), (1 / SIGMAS**2).clamp(max=5))


class Oracle(nn.Module):
    """Returns what a network would have to return for the denoiser to give `clean`."""

    def __init__(self, clean: torch.Tensor):
        super().__init__()
        self.clean = clean

    def forward(self, sample, timestep, encoder_hidden_states, added_time_ids, return_dict):
        sigma = (4 * timestep)[:, None, None, None, None].exp()
        x = sample[:, :, :8] * (sigma**2 + 1).sqrt()
        return ((self.clean - x / (sigma**2 + 1)) / (-sigma / (sigma**2 + 1).sqrt()),)


def test_an_oracle_network_makes_the_denoiser_return_the_clean_xray():
    clean = torch.randn(2, 3, 8, 4, 6, dtype=torch.float64)
    sigma = torch.tensor([0.5, 20.0], dtype=torch.float64)
    condition = Condition(torch.zeros(2, 1, 16), torch.zeros(2, 4, 4, 6, dtype=torch.float64), torch.zeros(2, 3))
    x = clean + sigma[:, None, None, None, None] * torch.randn_like(clean)
    assert torch.allclose(Denoiser(Oracle(clean))(x, sigma, condition), clean, atol=1e-6)


def test_denoising_loss_is_the_weighted_mean_and_the_mask_leaves_out_misses():
    estimate, truth = torch.randn(2, 3, 8, 4, 4), torch.randn(2, 3, 8, 4, 4)
    weight = torch.tensor([2.0, 0.5])
    plain = torch.stack([w * ((e - t) ** 2).mean() for w, e, t in zip(weight, estimate, truth, strict=True)])
    assert torch.allclose(denoising_loss(estimate, truth, weight), plain)
    masked = denoising_loss(estimate, truth, weight, miss_weight=0.0)
    for row in range(2):
        hit = truth[row, :, 7] > 0
        error = (estimate[row] - truth[row]) ** 2
        total = error[:, 7].sum() + sum(error[:, channel][hit].sum() for channel in range(7))
        assert torch.allclose(masked[row], weight[row] * total / (hit.numel() + 7 * hit.sum()))


def test_regression_loss_is_cross_entropy_plus_the_error_of_the_hits():
    prediction, truth = torch.randn(2, 3, 8, 4, 4), torch.randn(2, 3, 8, 4, 4)
    truth[1, :, 7] = -1  # a sample without any surface
    losses = regression_loss(prediction, truth, hit_loss=2.0, value_loss=3.0)
    for row in range(2):
        hit = truth[row, :, 7] > 0
        chance = torch.sigmoid(prediction[row, :, 7])
        entropy = -torch.where(hit, chance.log(), (1 - chance).log()).mean()
        error = ((prediction[row, :, :7] - truth[row, :, :7]) ** 2).permute(0, 2, 3, 1)[hit]
        expected = 2 * entropy + (3 * error.mean() if hit.any() else 0)
        assert torch.allclose(losses[row], expected, atol=1e-6)


def test_the_loss_of_a_published_batch_equals_a_plain_implementation():
    """The recipe written down again, without a line of ours but the random numbers, in float64 where it matters."""
    conditioner = load_conditioner("example/encoders")
    unet = make_unet(SHAPE)
    xray, images = torch.randn(2, 3, 8, 8, 8), torch.rand(2, 3, 64, 64) * 2 - 1
    task = Denoising(conditioner)
    losses = task.loss(Denoiser(unet), xray, images, RandomStreams(5, [11, 12]))

    streams = RandomStreams(5, [11, 12])
    normal, _, noise = streams.normal(), streams.uniform(), streams.normal(3, 8, 8, 8)
    sigma = torch.exp(0.7 + 1.6 * normal)
    strength = torch.exp(-3.0 + 0.5 * streams.normal())
    image_noise, u = streams.normal(3, 64, 64), streams.uniform()
    for row in range(2):
        s = float(sigma[row])
        noisy = xray[row] + s * noise[row]
        small = nn.functional.interpolate(images[row][None], (224, 224), mode="bicubic", antialias=True)
        mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[None, :, None, None]
        std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[None, :, None, None]
        token = conditioner.image_encoder(((small + 1) / 2 - mean) / std).image_embeds[:, None]
        latent = conditioner.vae.encode((images[row] + strength[row] * image_noise[row])[None]).latent_dist.mean
        if u[row] < 0.2:
            token = token * 0
        if 0.1 <= u[row] < 0.3:
            latent = latent * 0
        sample = torch.cat([noisy / math.sqrt(s * s + 1), latent[0].expand(3, 4, 8, 8)], dim=1)[None]
        ids = torch.tensor([[7.0, 127.0, float(strength[row])]])
        v = unet(sample, torch.tensor([math.log(s) / 4]), token, ids).sample[0]
        x0 = noisy / (s * s + 1) - v * s / math.sqrt(s * s + 1)
        expected = (1 + s * s) / (s * s) * ((x0 - xray[row]).double() ** 2).mean()
        assert float(losses[row]) == pytest.approx(float(expected), rel=1e-6)


def test_the_loss_of_an_upsampler_batch_equals_a_plain_implementation():
    conditioner = load_conditioner("example/encoders", with_embedding=False)
    model = Upsampler([32, 32], layers_per_block=1)
    xray, images = torch.randn(2, 3, 8, 16, 16), torch.rand(2, 3, 64, 64) * 2 - 1
    losses = Regression(conditioner, factor=2).loss(model, xray, images, RandomStreams(5, [3, 4]))

    streams = RandomStreams(5, [3, 4])
    low_strength, low_noise = 0.2 * streams.uniform(), streams.normal(3, 8, 8, 8)
    strength, noise = 0.2 * streams.uniform(), streams.normal(3, 64, 64)
    for row in range(2):
        low = xray[row, :, :, ::2, ::2] + low_strength[row] * low_noise[row]
        latent = conditioner.vae.encode((images[row] + strength[row] * noise[row])[None]).latent_dist.mean
        flat = torch.cat([low, latent[0].expand(3, 4, 8, 8)], dim=1)
        out = model.decoder(flat, torch.zeros(1, 3), num_frames=3)
        hit = xray[row, :, 7] > 0
        entropy = nn.functional.softplus(torch.where(hit, -out[:, 7], out[:, 7])).double().mean()
        error = ((out[:, :7] - xray[row, :, :7]) ** 2).permute(0, 2, 3, 1)[hit].double().mean()
        assert float(losses[row].detach()) == pytest.approx(float(entropy + error), rel=1e-6)


def test_attention_can_be_left_out_of_a_level():
    shape = UNetShape([32, 64], [2, 4], 1, 1, 16, 32, 3)
    published, inner = make_unet(shape), make_unet(replace(shape, attention=(False, True)))
    assert published.config.down_block_types == ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal")
    assert inner.config.up_block_types == ("CrossAttnUpBlockSpatioTemporal", "UpBlockSpatioTemporal")
    out = inner(torch.randn(1, 3, 12, 8, 8), torch.zeros(1), torch.randn(1, 1, 16), torch.zeros(1, 3)).sample
    assert out.shape == (1, 3, 8, 8, 8)


def test_channel_weights_weigh_depth_normal_colour_and_hit():
    estimate, truth, weight = torch.randn(2, 3, 8, 4, 5), torch.randn(2, 3, 8, 4, 5), torch.tensor([1.0, 3.0])
    parts = ((estimate - truth) ** 2).mean((1, 3, 4))
    plain = weight * (20 * parts[:, 0] + parts[:, 1:4].sum(1) + 0.5 * parts[:, 4:7].sum(1) + 2 * parts[:, 7]) / 8
    assert torch.allclose(denoising_loss(estimate, truth, weight, channel_weights=[20, 1, 0.5, 2]), plain)
    hits = regression_loss(estimate, truth, value_loss=0.0, channel_weights=[20, 1, 0.5, 2])
    assert torch.allclose(hits, 2 * regression_loss(estimate, truth, value_loss=0.0))
    depth = regression_loss(estimate, truth, hit_loss=0.0, channel_weights=[7, 0, 0, 1])
    hit = truth[:, :, 7] > 0
    expected = [((estimate - truth)[row, :, 0][hit[row]] ** 2).mean() for row in range(2)]
    assert torch.allclose(depth, torch.stack(expected))


def test_a_residual_upsampler_starts_from_the_low_res_xray():
    low, latent = torch.randn(2, 3, 8, 4, 5), torch.randn(2, 4, 4, 5)
    condition = Condition(embedding=None, latent=latent)
    plain, residual = (Upsampler([32, 32], 1, residual=flag) for flag in (False, True))
    residual.load_state_dict(plain.state_dict())
    difference = residual(low, condition) - plain(low, condition)
    assert torch.allclose(difference[:, :, :7, ::2, ::2], low[:, :, :7], atol=1e-5)
    assert torch.allclose(difference[:, :, 7, 1::2, 1::2], 2 * low[:, :, 7], atol=1e-5)


def test_every_sample_has_its_own_noise_level_and_streams_differ_by_number_and_seed():
    streams = RandomStreams(0, range(2000))
    levels = Denoising(conditioner=None).noise_level(streams)
    assert len(set(levels.tolist())) == 2000
    assert levels.log().mean() == pytest.approx(0.7, abs=0.15)
    assert levels.log().std() == pytest.approx(1.6, abs=0.1)
    mixed = Denoising(conditioner=None, mixture_fraction=1.0).noise_level(RandomStreams(0, range(2000)))
    assert mixed.log().mean() == pytest.approx(-1.2, abs=0.12)
    rows = torch.cat(
        [
            RandomStreams(0, [7, 8]).normal(4),
            RandomStreams(1, [7]).normal(4),
            RandomStreams(0, [7], purpose=3).normal(4),
        ]
    )
    assert len({tuple(row) for row in rows.tolist()}) == 4
    assert torch.equal(RandomStreams(0, [8]).normal(4)[0], rows[1])


def test_dropout_zeroes_each_condition_at_its_rate():
    conditioner = load_conditioner("example/encoders")
    task = Denoising(conditioner, dropout=0.1)
    condition = task.condition(torch.rand(1, 3, 32, 32).expand(150, -1, -1, -1), RandomStreams(0, range(150)))
    token = condition.embedding.flatten(1).abs().sum(1) == 0
    latent = condition.latent.flatten(1).abs().sum(1) == 0
    shares = [float(kept.float().mean()) for kept in (token & ~latent, token & latent, ~token & latent)]
    assert shares == pytest.approx([0.1, 0.1, 0.1], abs=0.07)
    assert len(set(condition.added_time_ids[:, 2].tolist())) == 150


def test_published_sizes():
    def millions(model):
        return round(sum(p.numel() for p in model.parameters()) / 1e6, 1)

    with torch.device("meta"):
        first = make_unet(UNetShape([64, 128, 256, 256], [4, 8, 16, 16], 1, 1, 1024, 256, layers=8))
        assert (first.config.in_channels, first.config.out_channels, millions(first)) == (12, 8, 46.1)
        assert first.config.projection_class_embeddings_input_dim == 768
        assert first.config.num_frames == 8
        second = make_unet(UNetShape([64, 128], [4, 8], 1, 1, 1024, 256, layers=8, low_res=True))
        assert second.config.in_channels == 20
        assert millions(Upsampler([128, 256, 512])) == 42.4
        assert millions(Upsampler([256, 512, 1024])) == 169.2


def test_a_unet_starts_from_anothers_weights_and_says_which():
    source = make_unet(UNetShape([32, 32], [2, 2], 1, 1, 16, 32, layers=3))
    target = make_unet(UNetShape([32, 32], [2, 2], 1, 1, 24, 32, layers=3, low_res=True))
    before = {name: value.clone() for name, value in target.state_dict().items()}
    taken, left = adapt(target, source.state_dict())
    after, given = target.state_dict(), source.state_dict()
    assert sorted(taken + left) == sorted(after)
    assert left
    assert all("attn2" in name and after[name].shape != given[name].shape for name in left)  # another embedding
    assert all(torch.equal(after[name], before[name]) for name in left)
    whole = [name for name in taken if after[name].shape == given[name].shape]
    assert len(whole) == len(taken) - 1
    assert all(torch.equal(after[name], given[name]) for name in whole)
    first = after["conv_in.weight"]
    assert torch.equal(first[:, :12], given["conv_in.weight"])
    assert not first[:, 12:].any()


def test_the_upsamplers_shapes_and_its_hit_in_model_space():
    model = Upsampler([32, 32, 32], layers_per_block=1)
    out = model(torch.randn(2, 3, 8, 4, 6), Condition(None, torch.randn(2, 4, 8, 12)))
    assert out.shape == (2, 3, 8, 16, 24)
    space = to_model_space(out)
    assert torch.equal(space[:, :, :7], out[:, :, :7])
    assert torch.allclose(space[:, :, 7], 2 * torch.sigmoid(out[:, :, 7]) - 1, atol=1e-6)
