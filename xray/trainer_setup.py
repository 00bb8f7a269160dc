"""A trainer, ready to run, from a configuration and from how the processes were launched."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace

import torch
from accelerate import Accelerator, DistributedType
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from torch import nn

from .build import Stage, make_codec, make_conditioner, make_dataset, make_model, make_task, sample_diffusion, upsample
from .config import Config, flatten, to_yaml
from .dataset import XRayDataset
from .errors import InputError
from .models.conditioner import Conditioner, load_unet
from .models.denoiser import Denoiser
from .models.unet import adapt
from .training import acceleration, checkpoint
from .training.cache import EncoderCache
from .training.first_stage import WithFirstStage
from .training.trainer import Trainer
from .training.validation import SampleFn, Validation

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
    dataset = make_dataset(config)
    conditioner = make_conditioner(config)
    model = make_model(config)
    if config.model.init == "pretrained":
        start_from_pretrained(model, config.model.pretrained, accelerator.is_main_process)
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
      InputError: a tracker that is not known or not installed, processes that would not train together.
    """
    train = config.train
    for name in train.trackers:
        if name not in map(str, LOGGER_TYPE_TO_CLASS):
            raise InputError(
                f"train.trackers has {name!r}, expected some of {', '.join(map(str, LOGGER_TYPE_TO_CLASS))}"
            )
        if name not in map(str, get_available_trackers()):  # accelerate would leave it out in silence
            raise InputError(f"train.trackers has {name!r}, which is not installed: pip install {name}")
    use_deepspeed = os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true"
    # The launch file's value would silently win over the argument below.
    os.environ["ACCELERATE_GRADIENT_ACCUMULATION_STEPS"] = str(train.accumulation)
    accelerator = Accelerator(
        # Said outright, since accelerate joins processes without GPUs only when told that there are none.
        cpu=not torch.cuda.is_available() and not use_deepspeed,
        mixed_precision={"fp32": "no"}.get(train.precision, train.precision),
        gradient_accumulation_steps=train.accumulation,
        log_with=list(train.trackers) or None,
        project_dir=config.output_dir,
    )
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != started:  # they would train as many networks, each by itself, in silence
        raise InputError(
            f"{started} processes were started, accelerate sees {accelerator.num_processes}; "
            "expected a launch that joins them (DeepSpeed needs GPUs for more than one)"
        )
    if os.environ.get("ACCELERATE_USE_FSDP") == "true" and accelerator.distributed_type == DistributedType.MULTI_CPU:
        acceleration.shard_over_cpus(accelerator)
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        # DeepSpeed steps and clips by itself, and wants to know what accelerate would read from a loader.
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
    return EncoderCache(
        train.cache_dir, train.cache_gib * 2**30 / processes, train.cache_variants, settings, conditioner
    )


def start_from_pretrained(model: nn.Module, pretrained: str, report: bool) -> None:
    """Fill a U-Net from the one inside `pretrained`, and log which tensors were taken.

    Raises:
      InputError: the network is no U-Net, or there is none in `pretrained`, or no tensor of it fits.
    """
    if not isinstance(model, Denoiser):
        raise InputError("model.init is 'pretrained', expected random for the decoder: there is none to start from")
    taken, left = adapt(model.unet, load_unet(pretrained).state_dict())
    if not taken:
        raise InputError(f"{pretrained}/unet: no tensor has the name and shape of this network's")
    if report:
        log.info("%s/unet: %d of %d tensors taken", pretrained, len(taken), len(taken) + len(left))
        log.info("left at random: %s", ", ".join(left) or "none")


def with_first_stage(config: Config, dataset: XRayDataset) -> WithFirstStage:
    """The data set with the first stage's results beside the truth; InputError in the first stage."""
    if config.stage != "upsampler":
        raise InputError("train.first_stage is for the upsampler stage; expected it empty here")
    return WithFirstStage(dataset, config.train.first_stage, make_codec(config), config.model.factor)


def validation_views(config: Config, dataset: XRayDataset) -> XRayDataset:
    """The test split; where the configuration keeps nothing for testing, the training's own views."""
    return make_dataset(config, "test") if config.data.eval_fraction > 0 else dataset


def sampler_of(stage: Stage) -> SampleFn:
    """The sampling of the stage for any weights, with the settings of its configuration."""

    def sample(model: nn.Module, images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        now = replace(stage, model=model)
        if stage.config.stage == "diffusion":
            return sample_diffusion(now, images)
        factor = stage.config.model.factor
        return upsample(now, truth[..., ::factor, ::factor], images)

    return sample
