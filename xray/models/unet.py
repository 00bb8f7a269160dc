"""The video U-Net of both denoising stages, built at random or from Stable Video Diffusion's weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from diffusers import UNetSpatioTemporalConditionModel
from torch import nn

from ..core.codec import MODEL_CHANNELS
from .conditioner import LATENT_CHANNELS

CROSS = "CrossAttn"


@dataclass(frozen=True)
class UNetShape:
    """Size of a U-Net.

    Attributes:
      low_res: it also reads the 8 channels of a low-res X-Ray.
      attention: which levels attend, outermost first; empty for all but the innermost.
    """

    block_out_channels: Sequence[int]
    num_attention_heads: Sequence[int]
    layers_per_block: int
    transformer_layers_per_block: int
    cross_attention_dim: int
    addition_time_embed_dim: int
    layers: int
    low_res: bool = False
    attention: Sequence[bool] = ()

    @property
    def in_channels(self) -> int:
        """Noisy X-Ray, image latent, and the low-res X-Ray where there is one."""
        return MODEL_CHANNELS + LATENT_CHANNELS + (MODEL_CHANNELS if self.low_res else 0)


def make_unet(
    shape: UNetShape, in_channels: int | None = None, out_channels: int = MODEL_CHANNELS
) -> UNetSpatioTemporalConditionModel:
    """A U-Net with random weights; its channels are those of single rays unless given."""
    levels = len(shape.block_out_channels)
    attention = shape.attention or (True,) * (levels - 1) + (False,)
    return UNetSpatioTemporalConditionModel(
        in_channels=in_channels or shape.in_channels,
        out_channels=out_channels,
        down_block_types=tuple(f"{CROSS if attends else ''}DownBlockSpatioTemporal" for attends in attention),
        up_block_types=tuple(f"{CROSS if attends else ''}UpBlockSpatioTemporal" for attends in attention[::-1]),
        block_out_channels=tuple(shape.block_out_channels),
        num_attention_heads=tuple(shape.num_attention_heads),
        layers_per_block=shape.layers_per_block,
        transformer_layers_per_block=shape.transformer_layers_per_block,
        cross_attention_dim=shape.cross_attention_dim,
        addition_time_embed_dim=shape.addition_time_embed_dim,
        projection_class_embeddings_input_dim=3 * shape.addition_time_embed_dim,
        num_frames=shape.layers,
    )


def adapt(network: nn.Module, source: dict[str, torch.Tensor]) -> tuple[list[str], list[str]]:
    """Fill a network, mostly a U-Net, from the weights of another one of the same family.

    A tensor of the same name and shape is copied. The first and the last convolution differ in channels by
    design: there the shared output (input) filters are copied, and channels beyond the source's keep their
    random start for the output and become zero for the input, so that at first they change nothing.

    Args:
      source: state dict.
    Returns:
      names of the tensors taken (whole or in part), and of those left at their random start.
    """
    taken, left = [], []
    state = network.state_dict()
    for name, target in state.items():
        value = source.get(name)
        if value is not None and value.shape == target.shape:
            target.copy_(value)
        elif value is not None and name.endswith("conv_in.weight") and len(value) == len(target):
            shared = min(value.shape[1], target.shape[1])
            target.zero_()
            target[:, :shared] = value[:, :shared]
        elif value is not None and "conv_out." in name and value.shape[1:] == target.shape[1:]:
            shared = min(len(value), len(target))
            target[:shared] = value[:shared]
        else:
            left.append(name)
            continue
        taken.append(name)
    network.load_state_dict(state)
    return taken, left
