"""A trainer, ready to run, from a configuration and from how the processes were launched."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator, DistributedType
from accelerate.tracking import get_available_trackers
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..common.errors import InputError
from ..config import Config, flatten, to_yaml
from ..data.dataset import XRayDataset
from ..models.build import make_codec, make_conditioner, make_model, open_dataset
from ..models.conditioner import Conditioner, find_pretrained, load_unet
from ..models.denoiser import Denoiser
from ..models.stage import Stage, sample_diffusion, upsample
from ..models.unet import adapt
from . import acceleration, checkpoint
from .batches import WithFirstStage
from .encoder_cache import EncoderCache
from .loop import Trainer
from .objectives import Denoising, Mirror, Regression
from .validation import SampleFn, Validation

log = logging.getLogger(__name__)


def make_trainer(config: Config) -> Trainer:
    """Everything that a training needs.

    Raises:
      InputError: a setting that cannot run here, data or pretrained parts that are not there.
    """
    train = config.train
    acceleration.check_precision(train.precision)
    acceleration.allow_tf32(train.tf32)
    accelerator = make_accelerator(config)
    dataset = open_dataset(config)
    conditioner = make_conditioner(config)
    model = make_model(config)
    if config.model.init == "pretrained":
        start_from_pretrained(model, config.model.pretrained, accelerator.is_main_process)
    if train.init_from:
        start_from(model, train.init_from, accelerator.is_main_process)
    acceleration.set_attention(model, train.attention)
    acceleration.set_gradient_checkpointing(model, train.gradient_checkpointing)
    acceleration.set_compile(model, train.compile)
    task = make_task(config, conditioner, make_cache(config, conditioner, accelerator.num_processes))
    validation = None
    if train.validate_every:
        stage = Stage(config, make_codec(config), 0, model, conditioner, accelerator.device)
        views = validation_views(config, dataset)
        validation = Validation(task, sampler_of(stage), views, stage.codec, train.validate_views)
    texts = {
        checkpoint.CONFIG: to_yaml(config),
        checkpoint.CODEC: json.dumps(make_codec(config).to_dict(), indent=1) + "\n",
    }
    if train.first_stage:
        dataset = with_first_stage(config, dataset)
    return Trainer(accelerator, task, model, dataset, config, texts, flatten(config), validation)


def make_accelerator(config: Config) -> Accelerator:
    """Accelerate's view of the launch.

    Raises:
      InputError: a tracker that is not installed, processes that would not train together.
    """
    train = config.train
    for name in train.trackers:
        if name not in map(str, get_available_trackers()):  # accelerate would leave it out without a warning
            raise InputError(
                f"train.trackers has {name!r}, which is not installed: pip install "
                f"{'-r requirements-train.txt' if name == 'tensorboard' else name}"
            )
    use_deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    # The launch file's value would silently win over the argument below.
    os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = str(train.accumulation)
    accelerator = Accelerator(
        # accelerate joins processes without GPUs only where `cpu` is given.
        cpu=not torch.cuda.is_available() and not use_deepspeed,
        mixed_precision={"fp32": "no"}.get(train.precision, train.precision),
        gradient_accumulation_steps=train.accumulation,
        log_with=list(train.trackers) or None,
        project_dir=config.output_dir,
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:  # each process would train a network of its own, without a warning
        raise InputError(
            f"{started} processes were started, accelerate sees {accelerator.num_processes}; "
            "expected a launch that joins them (DeepSpeed needs GPUs for more than one)"
        )
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and accelerator.distributed_type == DistributedType.MULTI_CPU:
        acceleration.shard_over_cpus(accelerator)
    if train.optimizer == "muon" and accelerator.distributed_type in checkpoint.SHARDED:
        raise InputError(
            "train.optimizer muon needs whole matrices in every process; expected adamw with FSDP or DeepSpeed"
        )
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # DeepSpeed steps and clips itself, and needs the values that accelerate would read from a loader.
        accelerator.state.deepspeed_plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": train.batch_size,
            "gradient_accumulation_steps": train.accumulation,
            "gradient_clipping": train.max_grad_norm,
        }
    return accelerator


def make_cache(config: Config, conditioner: Conditioner, processes: int) -> EncoderCache | None:
    """The cache of the encoders' outputs, where the configuration names a folder for it."""
    train, noise = config.train, config.noise
    if not train.cache_dir:
        return None
    settings = f"{config.model.kind} {noise.image_mean} {noise.image_std} {noise.image_max}"
    limit = train.cache_gib * 2**30
    return EncoderCache(train.cache_dir, limit, train.cache_variants, settings, conditioner, processes)


def start_from_pretrained(model: Denoiser, pretrained: str, report: bool) -> None:
    """Fill a U-Net from the one inside `pretrained`, and log which tensors were taken.

    Raises:
      InputError: there is no U-Net in `pretrained`, or no tensor of it fits.
    """
    taken, left = adapt(model.unet, load_unet(pretrained).state_dict())
    if not taken:
        raise InputError(f"{pretrained}/unet: no tensor has the name and shape of this network's")
    if report:
        log.info("%s/unet: %d of %d tensors taken", pretrained, len(taken), len(taken) + len(left))
        log.info("left at random: %s", ", ".join(left) or "none")


def start_from(model: nn.Module, source: str, report: bool) -> None:
    """Fill a network from a saved pipeline or a training (`train.init_from`), and log which tensors were taken.

    A training's folder gives the averaged weights of its latest checkpoint. A run that goes on from a checkpoint of its
    own has that one's weights instead.

    Raises:
      InputError: no pipeline or checkpoint there, or none of its tensors fits.
    """
    network = model.unet if isinstance(model, Denoiser) else model
    taken, left = adapt(network, load_network_weights(find_pretrained(source)))
    if not taken:
        raise InputError(f"train.init_from {source}: no tensor has the name and shape of this network's")
    if report:
        log.info("%s: %d of %d tensors taken", source, len(taken), len(taken) + len(left))
        log.info("left at random: %s", ", ".join(left) or "none")


def load_network_weights(folder: str | Path) -> dict[str, torch.Tensor]:
    """Tensors of the network in a saved pipeline, in a training's folder or in one of its checkpoints.

    Raises:
      InputError: neither of them, or the file is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"train.init_from {folder}: no such folder")
    if (folder / "model_index.json").is_file():
        path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    elif (folder / checkpoint.EMA).is_file():
        path = folder / checkpoint.EMA
    else:
        path = checkpoint.find(folder) / checkpoint.EMA
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"train.init_from {path}: not readable as safetensors ({' '.join(str(error).split())[:120]})"
        ) from None
    prefix = "unet."  # a checkpoint holds the denoiser around the U-Net, which a pipeline leaves out
    whole = all(name.startswith(prefix) for name in weights) and path.name == checkpoint.EMA
    return {name.removeprefix(prefix) if whole else name: value for name, value in weights.items()}


def with_first_stage(config: Config, dataset: XRayDataset) -> WithFirstStage:
    """The data set with the first stage's results beside the truth."""
    return WithFirstStage(dataset, config.train.first_stage, make_codec(config), config.model.factor)


def validation_views(config: Config, dataset: XRayDataset) -> XRayDataset:
    """The test split; where the configuration keeps nothing for testing, the training's own views."""
    return open_dataset(config, "test") if config.data.eval_fraction > 0 else dataset


def sampler_of(stage: Stage) -> SampleFn:
    """The sampling of the stage for any weights, with the settings of its configuration."""

    def sample(model: nn.Module, images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        now = replace(stage, model=model)
        if stage.config.stage == "diffusion":
            return sample_diffusion(now, images)
        factor = stage.config.model.factor
        return upsample(now, truth[..., ::factor, ::factor], images)

    return sample


def make_task(config: Config, conditioner: Conditioner, cache: EncoderCache | None = None) -> Denoising | Regression:
    """What the network is trained to do."""
    noise, loss = config.noise, config.loss
    factor = config.model.factor if config.stage == "upsampler" else 1
    shared = {
        "channel_weights": loss.channel_weights,
        "depth_error": loss.depth_error,
        "color_error": loss.color_error,
        "depth_difference": loss.depth_difference,
        "depth_difference_step": loss.depth_difference_step,
        "own_fraction": config.train.first_stage_fraction,
        "cache": cache,
        "mirror": Mirror(config.data.flip, make_codec(config).empty_ray(), config.data.background),
    }
    if config.model.kind != "unet":
        return Regression(conditioner, factor, noise.low_max, noise.image_max, loss.hit_loss, loss.value_loss, **shared)
    values = {key: value for key, value in asdict(noise).items() if key != "image_max"}
    return Denoising(
        conditioner,
        factor,
        **values,
        weighting=loss.weighting,
        min_snr_gamma=loss.min_snr_gamma,
        miss_weight=loss.miss_weight,
        silhouette_distance=config.model.silhouette_distance,
        **shared,
    )
