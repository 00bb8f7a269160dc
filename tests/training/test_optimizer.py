"""The optimizers of the trainings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import DistributedType
from torch import nn

from xray.common.errors import InputError
from xray.common.files import ROOT
from xray.config import load_config
from xray.training import checkpoint
from xray.training.optimizer import Muon, is_matrix, make_optimizer, orthogonalize
from xray.training.setup import make_accelerator


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (40, 40)])
def test_orthogonalized_matrices_keep_their_singular_vectors_with_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vt = np.linalg.svd(matrix.numpy(), full_matrices=False)
    values = u.T @ orthogonalize(matrix).numpy() @ vt.T
    assert np.abs(values - np.diag(np.diag(values))).max() < 1e-3
    assert 0.6 < np.diag(values).min() <= np.diag(values).max() < 1.3


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.GroupNorm(4, 16), nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 3, 1))


def test_matrices_are_weights_with_two_long_sides():
    named = {name: is_matrix(parameter) for name, parameter in network().named_parameters()}
    assert [name for name, matrix in named.items() if matrix] == ["0.weight", "2.weight"]


def test_weights_that_are_no_matrices_get_the_steps_of_adamw():
    ours, theirs = network(), network()
    options = {"lr": 1e-2, "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}
    muon, adamw = Muon(ours.parameters(), **options), torch.optim.AdamW(theirs.parameters(), **options)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            one.grad = torch.randn(one.shape, generator=generator)
            other.grad = one.grad.clone()
        muon.step()
        adamw.step()
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-7) != is_matrix(one), name


def test_an_update_of_a_matrix_has_the_size_of_adamws():
    weight = nn.Parameter(torch.zeros(64, 32, 3, 3))
    weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    make_optimizer([weight], "muon", 1e-3, (0.9, 0.999), 0.0, 1e-8).step()
    assert weight.pow(2).mean().sqrt().item() == pytest.approx(0.2e-3, rel=0.2)  # singular values of .7 to 1.2


def test_muon_learns_and_goes_on_from_its_state_to_the_bit(tmp_path):
    def run(steps, kept=None):
        model = network()
        optimizer = make_optimizer(model.parameters(), "muon", 3e-3, (0.9, 0.999), 0.01, 1e-8)
        if kept:
            state = torch.load(kept, weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
        losses = []
        for step in steps:
            x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step))
            loss = (model(x) - x[:, :, 1:-1, 1:-1].cumsum(1)).pow(2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return model, optimizer, losses

    whole, _, losses = run(range(60))
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:5])
    first, optimizer, _ = run(range(30))
    torch.save({"model": first.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "kept.pt")
    second, _, _ = run(range(30, 60), tmp_path / "kept.pt")
    for one, other in zip(whole.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_muon_is_refused_where_processes_hold_parts_of_matrices(tmp_path, monkeypatch):
    config = load_config(ROOT / "configs/example_diffusion.yaml", [f"output_dir={tmp_path}", "train.optimizer=muon"])
    make_accelerator(config)
    monkeypatch.setattr(checkpoint, "SHARDED", (DistributedType.NO,))
    with pytest.raises(InputError, match=r"train\.optimizer muon needs whole matrices"):
        make_accelerator(config)
