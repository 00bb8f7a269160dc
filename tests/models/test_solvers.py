"""Solvers reach the exact solution of a Gaussian's sampling equation, at the order that they claim."""

from __future__ import annotations

import math

import pytest
import torch

from xray.common.errors import InputError
from xray.inference.settings import SOLVER_NAMES
from xray.models.sampling import SOLVERS, solver

DEVIATION = 0.7


def gaussian(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """The best denoiser of N(0, DEVIATION^2), for which x / sqrt(DEVIATION^2 + sigma^2) stays constant."""
    share = DEVIATION**2 / (DEVIATION**2 + sigma**2)
    return x * share.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def error(name: str, steps: int) -> float:
    levels = torch.logspace(math.log10(20), math.log10(0.05), steps + 1, dtype=torch.float64)
    start = torch.tensor([[3.0], [-8.0]], dtype=torch.float64)
    exact = start * math.sqrt((DEVIATION**2 + 0.05**2) / (DEVIATION**2 + 20**2))
    return float((SOLVERS[name](gaussian, start, levels, None) - exact).abs().max())


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("dpmpp_2m", 2)])
def test_order(name, order):
    measured = math.log2(error(name, 100) / error(name, 200))
    assert measured == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("name", SOLVERS)
def test_oracle_gives_back_its_answer(name):
    truth = torch.randn(2, 3, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    seen: list[int] = []
    levels = torch.tensor([700.0, 30.0, 2.0, 0.1, 0.0])
    result = solver(name)(lambda x, sigma: truth, truth + 700 * torch.ones(()), levels, seen.append)
    assert torch.equal(result, truth)
    assert seen == [1, 2, 3, 4]


def test_unknown_solver():
    with pytest.raises(InputError, match="dpmpp_2m"):
        solver("rk45")


def test_command_lines_know_every_solver():
    assert tuple(SOLVERS) == SOLVER_NAMES
