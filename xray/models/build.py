"""Builds the parts of a run from its configuration: codec, data set, encoders, network."""

from __future__ import annotations

from dataclasses import asdict

import torch
from torch import nn

from ..common.errors import InputError
from ..config import Config
from ..core.codec import Codec
from ..data.dataset import XRayDataset
from .conditioner import Conditioner, load_conditioner
from .denoiser import Denoiser
from .patch_unet import PatchUNet
from .pixel_shuffle import PixelShuffleUpsampler
from .unet import UNetShape, make_unet
from .upsampler import Upsampler


def make_codec(config: Config) -> Codec:
    """The codec of a configuration."""
    return Codec(**asdict(config.codec))


def open_dataset(config: Config, split: str = "train") -> XRayDataset:
    """The data set of a configuration; reading a damaged file raises InputError."""
    data = config.data
    alpha = config.model.image == "pixels"
    if not data.root.strip():
        raise InputError("data.root is empty, expected the folder of a data set")
    return XRayDataset(
        data.root,
        make_codec(config),
        split,
        data.image_size,
        data.eval_fraction,
        data.background,
        alpha,
        data.camera_distance,
    )


def make_conditioner(config: Config) -> Conditioner:
    """The frozen encoders: none where the network reads pixels, no image embedding for the decoder."""
    model = config.model
    if model.image == "pixels":
        return Conditioner(None, None)
    conditioner = load_conditioner(model.pretrained, model.vae, with_embedding=model.kind == "unet")
    if model.kind == "unet":
        length = conditioner.image_encoder.config.projection_dim
        if length != model.cross_attention_dim:
            raise InputError(
                f"model.cross_attention_dim is {model.cross_attention_dim}, expected {length}, "
                f"the length of the image embedding of {model.pretrained}",
            )
    return conditioner


def make_model(config: Config) -> Denoiser | Upsampler | PixelShuffleUpsampler:
    """The network with random weights, the same for the same `train.seed`."""
    model = config.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        if model.kind == "decoder":
            return Upsampler(model.block_out_channels, model.layers_per_block, model.residual)
        if model.kind == "pixel_shuffle":
            return PixelShuffleUpsampler(
                width=model.block_out_channels[0],
                blocks=model.layers_per_block,
                layers=config.codec.layers,
                factor=model.factor,
                picture_patch=config.data.image_size * model.factor // config.codec.resolution,
                background=config.data.background,
            )
        size = dict(
            block_out_channels=model.block_out_channels,
            num_attention_heads=model.num_attention_heads,
            layers_per_block=model.layers_per_block,
            transformer_layers_per_block=model.transformer_layers_per_block,
            cross_attention_dim=model.cross_attention_dim,
            addition_time_embed_dim=model.addition_time_embed_dim,
            layers=config.codec.layers,
            low_res=config.stage == "upsampler",
            attention=tuple(model.attention),
        )
        pixels = model.image == "pixels"
        if model.patch == 1 and not pixels and not model.place:
            return make_denoiser(config, make_unet(UNetShape(**size)))
        unet = PatchUNet(
            **size,
            patch=model.patch,
            picture_patch=config.data.image_size * model.patch // config.codec.resolution if pixels else 0,
            picture_width=model.picture_width,
            silhouette_distance=model.silhouette_distance,
            place=model.place,
            color_lookup=model.color_lookup,
            background=config.data.background,
        )
        return make_denoiser(config, unet)


def make_denoiser(config: Config, unet: nn.Module) -> Denoiser:
    """The denoiser around a U-Net of a configuration."""
    model = config.model
    return Denoiser(unet, model.prediction, model.color_prior, model.hit_prior, config.data.background)
