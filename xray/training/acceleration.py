"""Settings that make training faster or smaller. Each raises InputError where it cannot work."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil

import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.utils import FullyShardedDataParallelPlugin
from torch import nn
from torch.utils.checkpoint import checkpoint

from ..common.errors import InputError


def check_precision(precision: str) -> None:
    """InputError where the hardware cannot train in that precision."""
    cuda = torch.cuda.is_available()
    if precision == "fp16" and not cuda:
        raise InputError("train.precision fp16 needs a CUDA device (loss scaling); here fp32 and bf16 run")
    if precision == "bf16" and cuda and not torch.cuda.is_bf16_supported():
        raise InputError("train.precision bf16 is not supported by this GPU; expected fp16 or fp32")


def allow_tf32(allow: bool) -> None:
    """Let CUDA multiply float32 matrices with 10 bits of mantissa; InputError where there is no CUDA device."""
    if not allow:
        return
    if not torch.cuda.is_available():
        raise InputError("train.tf32 needs a CUDA device; expected false here")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def set_attention(model: nn.Module, kind: str) -> None:
    """`sdpa` is the default of diffusers' attention; `xformers` replaces it. Raises InputError where it cannot run."""
    if kind == "sdpa":
        return
    if not torch.cuda.is_available():
        raise InputError("train.attention xformers needs a CUDA device; expected sdpa here")
    if importlib.util.find_spec("xformers") is None:
        raise InputError("train.attention xformers is not installed: pip install -r requirements-gpu.txt")
    model.unet.enable_xformers_memory_efficient_attention()


def set_gradient_checkpointing(model: nn.Module, on: bool) -> None:
    """Keep fewer activations and compute them again in the backward pass: the same gradients, less memory."""
    if not on:
        return
    if hasattr(model, "unet"):
        getattr(model.unet, "unet", model.unet).enable_gradient_checkpointing()  # a PatchUNet has one inside
    else:  # diffusers switches whole autoencoders only; the decoder alone takes the same two attributes
        model.decoder.gradient_checkpointing = True
        model.decoder._gradient_checkpointing_func = functools.partial(checkpoint, use_reentrant=False)


def set_compile(model: nn.Module, on: bool) -> None:
    """Compile the network in place, so that its weights keep their names; InputError where that cannot be done."""
    if not on:
        return
    compiler = os.environ.get("CXX", "g++")  # the one that PyTorch calls for code of a CPU
    if not torch.cuda.is_available() and shutil.which(compiler) is None:
        raise InputError(f"train.compile needs a C++ compiler and there is no {compiler}; expected one, or false here")
    next((getattr(model, name) for name in ("unet", "decoder") if hasattr(model, name)), model).compile()


def shard_over_cpus(accelerator: Accelerator) -> None:
    """Turn FSDP on for CPU processes: accelerate shards GPU launches only, and runs others as DDP without a warning.

    Raises:
      InputError: the launch file asks for FSDP 1, which PyTorch runs on GPUs only.
    """
    plugin = FullyShardedDataParallelPlugin()  # from the launch's environment
    if plugin.fsdp_version != 2:
        raise InputError(
            f"fsdp_version {plugin.fsdp_version} needs GPUs; expected 2, as in configs/accelerate/fsdp.yaml"
        )
    if accelerator.mixed_precision != "no":
        plugin.set_mixed_precision(accelerator.mixed_precision)
    accelerator.state.fsdp_plugin = plugin
    accelerator.state.distributed_type = DistributedType.FSDP
    PartialState().distributed_type = DistributedType.FSDP
