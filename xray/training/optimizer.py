"""The optimizers of both trainings."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.optim.adamw import adamw

from ..common.errors import InputError

LEAST_SIDE = 16
"""A weight is a matrix to Muon where both of its sides are at least so long."""

MUON_MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the quintic iteration; five rounds bring all singular values near 1 (Jordan et al. 2024)."""
NEWTON_SCHULZ_ROUNDS = 5
ADAMW_RMS = 0.2
"""Root mean square of an update of AdamW, at a learning rate of 1; Muon's is scaled to it (Liu et al. 2025, arXiv
2502.16982, section 2.2), so that learning rates and weight decay keep their meaning."""


class Muon(torch.optim.Optimizer):
    """Muon for the weights that are matrices, AdamW for all others.

    An update of a matrix is its momentum with all singular values near 1 (Jordan et al. 2024, "Muon: an optimizer for
    hidden layers in neural networks"). Convolutions count as matrices of (output channels, all other sides). PyTorch's
    own class takes no convolutions, and computes in bfloat16, which processors without such units do very slowly.

    Args:
      parameters: of the network, each whole in this process.
      lr, betas, eps, weight_decay: as of AdamW; betas and eps are for the others alone.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: float,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
    ):
        matrices, others = [], []
        for parameter in parameters:
            (matrices if is_matrix(parameter) else others).append(parameter)
        groups = [{"params": matrices, "matrices": True}, {"params": others, "matrices": False}]
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__([group for group in groups if group["params"]], defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], torch.Tensor] | None = None) -> torch.Tensor | None:
        """One step. Parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            (self._step_matrices if group["matrices"] else self._step_others)(parameters, group)
        return loss

    def _step_matrices(self, parameters: list[torch.nn.Parameter], group: dict) -> None:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - MUON_MOMENTUM)
            ahead = parameter.grad.lerp(state["momentum"], MUON_MOMENTUM)  # Nesterov's
            update = orthogonalize(ahead.flatten(1)).view_as(parameter)
            rate = group["lr"] * ADAMW_RMS * max(len(parameter), parameter[0].numel()) ** 0.5
            parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(update, alpha=rate)

    def _step_others(self, parameters: list[torch.nn.Parameter], group: dict) -> None:
        for parameter in parameters:
            if not self.state[parameter]:
                zeros = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
                self.state[parameter] = {"step": torch.zeros(()), **zeros}
        if not parameters:
            return
        states = [self.state[parameter] for parameter in parameters]
        adamw(
            parameters,
            [parameter.grad for parameter in parameters],
            *([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq")),
            [],
            [state["step"] for state in states],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def is_matrix(parameter: torch.Tensor) -> bool:
    """Whether Muon takes a weight as a matrix."""
    return parameter.ndim >= 2 and min(len(parameter), parameter[0].numel()) >= LEAST_SIDE


def orthogonalize(matrix: torch.Tensor) -> torch.Tensor:
    """(N, M) -> (N, M): U V^T of the singular value decomposition U S V^T, nearly (singular values of .7 to 1.2)."""
    turned = len(matrix) > matrix.shape[1]
    x = matrix.T if turned else matrix
    x = x / x.norm().clamp(min=1e-7)
    first, second, third = NEWTON_SCHULZ
    for _ in range(NEWTON_SCHULZ_ROUNDS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=second, alpha=third), x, beta=first)
    return x.T if turned else x


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter],
    kind: str,
    learning_rate: float,
    betas: tuple[float, float],
    weight_decay: float,
    epsilon: float,
) -> torch.optim.Optimizer:
    """AdamW, its 8-bit form, or `Muon`; InputError where that cannot run."""
    options = {"lr": learning_rate, "betas": betas, "weight_decay": weight_decay, "eps": epsilon}
    if kind == "adamw":
        return torch.optim.AdamW(parameters, **options)
    if kind == "muon":
        return Muon(parameters, **options)
    if not torch.cuda.is_available():
        raise InputError("train.optimizer adamw8bit needs a CUDA device; here adamw and muon run")
    try:
        import bitsandbytes
    except ImportError:
        raise InputError(
            "train.optimizer adamw8bit needs bitsandbytes: pip install -r requirements-gpu.txt",
        ) from None
    return bitsandbytes.optim.AdamW8bit(parameters, **options)
