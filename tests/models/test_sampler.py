"""Sampling: exact on an oracle, equal to diffusers' scheduler, guided by layer."""

import pytest
import torch

from xray.models.denoiser import Condition
from xray.models.example_encoders import make_scheduler
from xray.models.sampling import euler, guided, layer_scales, noise_levels, starting_noise


def test_an_oracle_denoiser_is_returned_to_the_bit():
    clean = torch.randn(2, 3, 8, 4, 4)
    sigmas, deviation = noise_levels(make_scheduler(), 25)
    x = starting_noise((3, 8, 4, 4), [1, 2], deviation)
    assert torch.equal(euler(lambda x, sigma: clean, x, sigmas), clean)


def test_the_levels_are_those_of_stable_video_diffusion():
    sigmas, deviation = noise_levels(make_scheduler(), 25)
    ramp = torch.linspace(0, 1, 25, dtype=torch.float64)
    karras = (700.0 ** (1 / 7) + ramp * (0.002 ** (1 / 7) - 700.0 ** (1 / 7))) ** 7
    assert len(sigmas) == 26
    assert sigmas[-1] == 0
    assert torch.allclose(sigmas[:-1].double(), karras, rtol=1e-5)
    assert deviation == pytest.approx((700.0**2 + 1) ** 0.5)


def test_euler_equals_diffusers_step_by_step():
    scheduler = make_scheduler()
    sigmas, deviation = noise_levels(scheduler, 10)
    x = theirs = starting_noise((3, 8, 4, 4), [5], deviation).double()

    def network(scaled, sigma):
        return torch.sin(scaled) * 0.5 + 0.1 * sigma / (1 + sigma)

    def denoise(x, sigma):
        s = sigma[:, None, None, None, None].double()
        return x / (s**2 + 1) - s / (s**2 + 1).sqrt() * network(x / (s**2 + 1).sqrt(), s)

    for index, time in enumerate(scheduler.timesteps):
        scaled = scheduler.scale_model_input(theirs, time)
        theirs = scheduler.step(network(scaled, sigmas[index].double()), time, theirs).prev_sample
    assert torch.allclose(euler(denoise, x, sigmas), theirs, atol=1e-5, rtol=1e-4)


def test_guidance_rises_by_layer_and_is_skipped_where_it_does_nothing():
    calls = []

    def denoiser(x, sigma, condition):
        calls.extend(condition.embedding.flatten(1).any(1).tolist())
        means = condition.embedding.mean((1, 2)) + condition.latent.mean((1, 2, 3))
        return x * 0 + means[:, None, None, None, None]

    condition = Condition(torch.full((1, 1, 2), 2.0), torch.full((1, 4, 1, 1), 3.0), torch.zeros(1, 3))
    x, sigma = torch.zeros(1, 3, 8, 2, 2), torch.ones(1)
    out = guided(denoiser, condition, layer_scales(1.0, 3.0, 3))(x, sigma)
    assert calls == [False, True]
    assert [float(layer.unique()) for layer in out[0]] == [5.0, 10.0, 15.0]
    calls.clear()
    assert float(guided(denoiser, condition, layer_scales(1.0, 1.0, 3))(x, sigma).unique()) == 5.0
    assert calls == [True]


def test_a_samples_noise_depends_on_its_own_seed_alone():
    both, one = starting_noise((2, 8, 4, 4), [3, 4], 2.0), starting_noise((2, 8, 4, 4), [4], 2.0)
    assert torch.equal(both[1], one[0])
    assert not torch.equal(both[0], both[1])
