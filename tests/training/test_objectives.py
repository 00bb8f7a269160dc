"""The second stage's low-res input: each sample's numbers depend on that sample alone."""

import itertools

import pytest
import torch

from xray.training.objectives import Denoising, Regression, noisy_low
from xray.training.random_streams import RandomStreams

TASKS = {
    "decoder": Regression(conditioner=None, factor=2, own_fraction=0.5),
    "unet": Denoising(conditioner=None, factor=2, own_fraction=0.5),
}
XRAYS = torch.randn(4, 3, 8, 6, 6, generator=torch.Generator().manual_seed(0))
RESULTS = torch.randn(4, 3, 8, 3, 3, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", TASKS)
def test_a_sample_draws_the_same_whatever_else_is_in_its_batch(kind):
    def low(rows, having):
        own = [RESULTS[row] if row in having else None for row in rows]
        return noisy_low(XRAYS[list(rows)], TASKS[kind], RandomStreams(0, rows), own)

    for having in itertools.chain.from_iterable(itertools.combinations(range(4), count) for count in range(5)):
        together = low(range(4), having)
        for row in range(4):
            assert torch.equal(low([row], having)[0], together[row])


@pytest.mark.parametrize("kind", TASKS)
def test_without_results_the_draws_are_a_strength_and_then_the_noise(kind):
    task, streams = TASKS[kind], RandomStreams(0, range(4))
    strength = task.low_max * streams.uniform()
    expected = XRAYS[..., ::2, ::2] + strength[:, None, None, None, None] * streams.normal(3, 8, 3, 3)
    for own in ((), [None] * 4):
        assert torch.equal(noisy_low(XRAYS, task, RandomStreams(0, range(4)), own), expected)


def test_a_result_takes_the_truths_place_with_its_chance():
    xrays, results = torch.zeros(2000, 1, 8, 2, 2), list(torch.ones(2000, 1, 8, 1, 1))
    task = Regression(conditioner=None, factor=2, low_max=0.0, own_fraction=0.3)
    low = noisy_low(xrays, task, RandomStreams(0, range(2000)), results)
    assert set(low.unique().tolist()) == {0.0, 1.0}
    assert low.mean().item() == pytest.approx(0.3, abs=0.03)
    assert torch.equal(xrays, torch.zeros_like(xrays))  # the truth itself stays
