"""What one training step costs, counted on tensors that have shapes and no data: no GPU and no memory are needed.

The step is the project's own: its network, its loss, its optimizer and its average of the weights, on PyTorch's meta
device. Floating-point operations are PyTorch's own count (`FlopCounterMode`: a multiplication and an addition are two;
convolutions, matrix products and attention count, the rest is small). Memory is the sum of the storages that are alive
after every operation, as PyTorch's allocator would hold them, without its rounding and its gaps.

Two things differ between a GPU and meta tensors, and are put right here: attention runs in a fused kernel that never
holds the matrix of scores, and mixed precision casts by operation (`Autocast`).
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from published_encoders import make_encoders
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from xray.config import Config
from xray.core.codec import MODEL_CHANNELS
from xray.models.build import make_conditioner, make_model
from xray.models.conditioner import Conditioner
from xray.training import acceleration
from xray.training.checkpoint import Ema
from xray.training.optimizer import Muon
from xray.training.setup import make_task

PHASES = ("encoders", "forward", "backward")
CONVOLUTION, MATRIX = "convolution", "matrix product"


@dataclass(frozen=True)
class Work:
    """Operations and traffic of one phase, for a whole batch.

    Attributes:
      flops: floating-point operations, {CONVOLUTION or MATRIX: count}; attention is a matrix product.
      moved: bytes that operations read and write when none is fused with another.
    """

    flops: dict[str, int] = field(default_factory=dict)
    moved: int = 0

    @property
    def total(self) -> int:
        """All floating-point operations."""
        return sum(self.flops.values())


@dataclass(frozen=True)
class Cost:
    """What a step of one batch takes; sizes in bytes.

    Attributes:
      parameters: numbers in the network; encoder_parameters: in the frozen encoders.
      weights, optimizer, average, encoders: what stays in memory all the time.
      gradients: there from the backward pass to the optimizer's step.
      saved: activations kept for the backward pass at the end of the forward pass, each storage once.
      working: the most that is alive in forward and backward pass beside what stays: activations, temporary results
        and the gradients made so far.
      update: the most that is alive in the optimizer's step beside what stays: gradients and temporary results.
      work: {phase: Work}.
    """

    batch: int
    parameters: int
    encoder_parameters: int
    weights: int
    gradients: int
    optimizer: int
    average: int
    encoders: int
    saved: int
    working: int
    update: int
    work: dict[str, Work]

    @property
    def resident(self) -> int:
        """What stays in memory all the time."""
        return self.weights + self.optimizer + self.average + self.encoders

    def peak(self, batch: int | None = None) -> int:
        """The most that is alive at any time of a step, of this batch or of another: activations grow with it."""
        working = self.working if batch is None else self.working * batch / self.batch
        return round(self.resident + max(working, self.update))


def measure(config: Config, batch: int, checkpointing: bool | None = None, precision: str | None = None) -> Cost:
    """The cost of a training step of `config` for a batch on one device.

    Args:
      checkpointing, precision: instead of the configuration's.
    Raises:
      InputError: pretrained parts whose shapes are not known (see `published_encoders`).
    """
    train = config.train
    fused = Fused(autocast_of(precision or train.precision))
    ledger = Ledger()
    with ledger:
        with torch.device("meta"):
            conditioner = encoders_of(config).to("meta")  # diffusers makes single numbers on the CPU whatever is said
            encoders = ledger.live
            model = make_model(config).to("meta")
        weights = ledger.live - encoders
        on = train.gradient_checkpointing if checkpointing is None else checkpointing
        set_gradient_checkpointing(model, on, fused)
        average = Ema(model, train.ema_decay)
        stays = ledger.peak = ledger.live
        steps = Steps(ledger, make_task(config, conditioner), model)
        with fused:
            saved = steps.forward_and_backward(*example_batch(config, batch, "meta"))
        fused.forget()
        working = ledger.peak - stays
        trained = [value for value in model.parameters() if value.grad is not None]  # an unused one has no gradient
        optimizer, update = optimize(trained, train.optimizer)
    return Cost(
        batch=batch,
        parameters=sum(value.numel() for value in model.parameters()),
        encoder_parameters=sum(value.numel() for value in conditioner.parameters()),
        weights=weights,
        gradients=sum(map(_bytes, trained)),
        optimizer=optimizer,
        average=sum(map(_bytes, average.shadow.values())),
        encoders=encoders,
        saved=saved,
        working=working,
        update=update,
        work=steps.work,
    )


def set_gradient_checkpointing(model: nn.Module, on: bool, recompute: TorchFunctionMode) -> None:
    """As the trainer does it; `recompute` is active as well when the backward pass computes again.

    PyTorch switches function modes off while `backward` runs.
    """
    acceleration.set_gradient_checkpointing(model, on)
    contexts = functools.partial(checkpoint, use_reentrant=False, context_fn=lambda: (nullcontext(), recompute))
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module._gradient_checkpointing_func = contexts


def encoders_of(config: Config) -> Conditioner:
    """The frozen encoders of a configuration, random, on the default device."""
    model = config.model
    if model.image == "pixels":
        return make_conditioner(config)  # there are none
    return make_encoders(model.pretrained, model.vae, with_embedding=model.kind == "unet")


def example_batch(config: Config, batch: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """X-Rays (B, L, 8, r, r) and images (B, 3 or 4, S, S) of the configuration's sizes, without content."""
    codec, size = config.codec, config.data.image_size
    channels = 4 if config.model.image == "pixels" else 3
    xray = torch.empty(batch, codec.layers, MODEL_CHANNELS, codec.resolution, codec.resolution, device=device)
    return xray, torch.empty(batch, channels, size, size, device=device)


class Draws:
    """Stands for `RandomStreams`: random numbers' shapes."""

    def __init__(self, batch: int, device: str):
        self.batch, self.device = batch, torch.device(device)

    def normal(self, *shape: int) -> torch.Tensor:
        """(B, *shape)."""
        return torch.empty(self.batch, *shape, device=self.device)

    uniform = normal


class Steps:
    """Runs a step and books its work by phase."""

    def __init__(self, ledger: Ledger, task: object, model: nn.Module):
        self.ledger, self.task, self.model = ledger, task, model
        self.work: dict[str, Work] = {}
        self._flops = FlopCounterMode(display=False)
        self._last: tuple[dict[str, int], int] = ({}, 0)

    def forward_and_backward(self, xray: torch.Tensor, images: torch.Tensor) -> int:
        """Loss and gradients; the bytes saved for the backward pass."""
        hooks = [
            # What comes before the network is the encoders' (and a few noises, which are nothing beside them).
            self.model.register_forward_pre_hook(lambda *_: self._book("encoders")),
            self.model.register_forward_hook(lambda *_: self._book("forward")),
        ]
        with self._flops:
            with saved_storages(self.model) as saved:
                loss = self.task.loss(self.model, xray, images, Draws(len(xray), xray.device.type)).mean()
            kept = sum(storage.nbytes() for storage in saved.values())
            saved.clear()
            self._book("forward")
            for hook in hooks:
                hook.remove()
            loss.backward()
            self._book("backward")
        return kept

    def _book(self, phase: str) -> None:
        """Credit what was done since the last call to a phase."""
        flops: dict[str, int] = {}
        for operation, count in self._flops.get_flop_counts().get("Global", {}).items():
            kind = CONVOLUTION if "conv" in str(operation) else MATRIX
            flops[kind] = flops.get(kind, 0) + count
        before, moved = self._last
        known = self.work.get(phase, Work())
        gained = {kind: count - before.get(kind, 0) + known.flops.get(kind, 0) for kind, count in flops.items()}
        self.work[phase] = Work(gained, self.ledger.moved - moved + known.moved)
        self._last = flops, self.ledger.moved


class Ledger(TorchDispatchMode):
    """Bytes of the storages that are alive, the most there were, and the traffic of operations."""

    def __init__(self):
        super().__init__()
        self.live = self.peak = self.moved = 0
        self._known: dict[int, int] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        results = _tensors(out)
        self.enter(results)
        # A view reads and writes nothing.
        if not any(value.alias_info is not None and not value.alias_info.is_write for value in func._schema.returns):
            self.moved += sum(map(_bytes, [*_tensors((args, kwargs)), *results]))
        return out

    def enter(self, tensors: Sequence[torch.Tensor]) -> None:
        """Count the storages of tensors that are not known yet, until they are freed."""
        for storage in (tensor.untyped_storage() for tensor in tensors):
            key = id(storage)  # the Python object of a storage lives as long as the storage
            if key not in self._known:
                self._known[key] = storage.nbytes()
                self.live += storage.nbytes()
                self.peak = max(self.peak, self.live)
                weakref.finalize(storage, self._leave, key)

    def _leave(self, key: int) -> None:
        self.live -= self._known.pop(key)


@contextmanager
def saved_storages(model: nn.Module) -> Iterator[dict[int, torch.UntypedStorage]]:
    """Collects the storages saved for the backward pass of what runs inside, the network's own weights left out."""
    own = {id(value.untyped_storage()) for value in [*model.parameters(), *model.buffers()]}
    found: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if id(storage) not in own:
            found[id(storage)] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


@dataclass(frozen=True)
class Autocast:
    """Mixed precision by operation, as `torch.autocast` does it for real tensors.

    Attributes:
      low: type of convolutions and matrix products.
      single: operations that run in float32. `CUDA` has the list of CUDA, `CPU` that of the CPU
        (docs.pytorch.org/docs/stable/amp.html, "Autocast Op Reference"), of what the networks here use.
    """

    low: torch.dtype
    single: frozenset[Callable]


LOW = frozenset({F.linear, F.conv1d, F.conv2d, F.conv3d, torch.matmul, torch.bmm, torch.baddbmm, torch.Tensor.matmul})
CUDA_SINGLE = frozenset({F.layer_norm, F.group_norm, F.softmax, torch.softmax, torch.Tensor.softmax, F.mse_loss})
CPU_SINGLE = frozenset({F.mse_loss, F.binary_cross_entropy_with_logits})
TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast_of(precision: str, single: frozenset[Callable] = CUDA_SINGLE) -> Autocast | None:
    """The casts of a precision of `train.precision`; None for fp32."""
    return None if precision == "fp32" else Autocast(TYPES[precision], single)


class Fused(TorchFunctionMode):
    """Attention in one kernel and, within the network, casts of mixed precision."""

    def __init__(self, autocast: Autocast | None):
        super().__init__()
        self.autocast = autocast
        self._cast: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        # The encoders run as they are, outside of autocast; there no gradient is taken.
        casts = self.autocast if torch.is_grad_enabled() else None
        if func is F.scaled_dot_product_attention:
            return self._attend(casts, *args, **kwargs)
        if casts and func in LOW:
            args, kwargs = tree_map(self._to_low, (args, kwargs))
        elif casts and func in casts.single:
            args, kwargs = tree_map(_to_single, (args, kwargs))
        return func(*args, **kwargs)

    def forget(self) -> None:
        """Let go of the weights that were cast, as autocast does at the end of its block."""
        self._cast.clear()

    def _to_low(self, value: object) -> object:
        if not isinstance(value, torch.Tensor) or value.dtype != torch.float32:
            return value
        if not (value.is_leaf and value.requires_grad):
            return value.to(self.autocast.low)
        if id(value) not in self._cast:  # a weight is cast once a step
            self._cast[id(value)] = value, value.to(self.autocast.low)
        return self._cast[id(value)][1]

    def _attend(self, casts: Autocast | None, query, key, value, attn_mask=None, dropout_p=0.0, **options):
        if casts:
            query, key, value = map(self._to_low, (query, key, value))
        if attn_mask is not None or not query.is_meta:
            return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, **options)
        options.pop("enable_gqa", None)
        return torch.ops.aten._scaled_dot_product_flash_attention(query, key, value, dropout_p, **options)[0]


def optimize(parameters: list[nn.Parameter], kind: str) -> tuple[int, int]:
    """One step of the optimizer: bytes of its state, and the most that the step needs beside it, gradients included."""
    gradients = sum(map(_bytes, parameters))
    if kind == "adamw8bit":  # bitsandbytes runs on CUDA only; one kernel a parameter, nothing temporary
        return adamw8bit_bytes(value.numel() for value in parameters), gradients
    if kind == "muon":
        optimizer = Muon(parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    else:
        optimizer = torch.optim.AdamW(parameters, foreach=True)  # what PyTorch takes by itself for CUDA tensors
    optimizer.step()  # makes the state
    state = [value for values in optimizer.state.values() for value in values.values() if value.ndim]
    with Ledger() as ledger:
        ledger.enter([*parameters, *(value.grad for value in parameters), *state])
        before = ledger.live
        optimizer.step()
    return sum(map(_bytes, state)), gradients + ledger.peak - before


def adamw8bit_bytes(sizes: Iterator[int]) -> int:
    """Two moments of 8 bits with a float32 scale a block of 256; float32 moments below 4096 numbers (bitsandbytes)."""
    return sum(8 * size if size < 4096 else 2 * (size + 4 * -(-size // 256)) for size in sizes)


def _tensors(values: object) -> list[torch.Tensor]:
    return [value for value in tree_leaves(values) if isinstance(value, torch.Tensor)]


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _to_single(value: object) -> object:
    half = isinstance(value, torch.Tensor) and value.dtype in TYPES.values()
    return value.float() if half else value
