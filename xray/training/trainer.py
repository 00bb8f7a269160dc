"""The one training loop, for both stages, on one process or many."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ..codec import CHANNELS
from ..errors import RunError
from . import checkpoint
from .ema import Ema
from .loader import Loader
from .optimization import learning_rate, make_optimizer
from .resume import take_up
from .signals import StopWish
from .state import State
from .streams import Collate, Numbers, OrderedSamples, Streams
from .tasks import Denoising, Regression
from .validation import Validation, save_picture

if TYPE_CHECKING:
    from ..schema import Config

log = logging.getLogger(__name__)


class Trainer:
    """Trains one network.

    Args:
      accelerator: made by the caller, who knows the launch.
      task: gives the loss.
      model: the network, whole, on any device.
      dataset: items as `XRayDataset` gives them.
      config: the run's configuration; `texts`: files that go into every checkpoint.
      settings: {dotted key: value} of the configuration, for the trackers and for going on.
      validation: what is made every `validate_every` steps.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        task: Denoising | Regression,
        model: nn.Module,
        dataset: Dataset,
        config: Config,
        texts: dict[str, str],
        settings: dict[str, object],
        validation: Validation | None = None,
    ):
        self.accelerator, self.task, self.dataset, self.config = accelerator, task, dataset, config
        self.train, self.settings, self.validation = config.train, settings, validation
        self.directory = Path(config.output_dir)
        task.conditioner.to(accelerator.device)
        options = self.train
        optimizer = make_optimizer(
            (p for p in model.parameters() if p.requires_grad),
            options.optimizer,
            options.learning_rate,
            (options.beta1, options.beta2),
            options.weight_decay,
            options.epsilon,
        )
        self.model, self.optimizer = accelerator.prepare(model, optimizer)
        self.state = State(accelerator, self.model, self.optimizer, Ema(self.model, options.ema_decay), texts)

    @property
    def global_batch(self) -> int:
        """Samples an optimizer step, over all processes and micro-batches."""
        return self.train.batch_size * self.train.accumulation * self.accelerator.num_processes

    def run(self) -> int:
        """Train from the latest checkpoint to `max_steps`, or until a signal asks to stop; the last step.

        Raises:
          InputError: the output folder belongs to another run, a sample is damaged.
          RunError: a loss that is not finite, a full disk, a lost worker.
        """
        progress = take_up(self.state, self.directory, self.train.on_damaged, self.settings)
        if progress.step >= self.train.max_steps:
            self._say(f"{self.directory}: at step {progress.step} of {self.train.max_steps} already; nothing to train")
            return progress.step
        self.accelerator.init_trackers("logs", config=_flat_values(self.settings))
        self.model.train()
        bar = tqdm(
            total=self.train.max_steps,
            initial=progress.step,
            desc=self.config.stage,
            disable=not self.accelerator.is_main_process,
            mininterval=0.5 if sys.stderr.isatty() else 10,  # a log file wants few lines
        )
        with StopWish() as wish, bar:
            self._say(
                f"from step {progress.step} to {self.train.max_steps}: {self.accelerator.num_processes} processes x "
                f"batch {self.train.batch_size} x {self.train.accumulation} micro-batches, {len(self.dataset)} views"
            )
            batches = iter(self._loader())
            saved = progress.step
            while progress.step < self.train.max_steps:
                began = time.perf_counter()
                loss, stop = self._step(batches, wish)
                self._report(bar, loss, time.perf_counter() - began)
                if self.validation and progress.step % self.train.validate_every == 0:
                    self._validate()
                if stop or progress.step % self.train.checkpoint_every == 0 or progress.step == self.train.max_steps:
                    self._save()
                    saved = progress.step
                if stop:
                    self._say(f"stopped by a signal after step {saved}, saved; the same command goes on from there")
                    break
        self.accelerator.end_training()
        return progress.step

    def _step(self, batches: Iterator[dict], wish: StopWish) -> tuple[float, bool]:
        """One optimizer step: its loss over all processes, and whether any process was asked to stop."""
        train, progress = self.train, self.state.progress
        rate = learning_rate(progress.step, train.learning_rate, train.schedule, train.warmup_steps, train.max_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        total, stop = 0.0, False
        for _ in range(train.accumulation):
            batch = next(batches)
            with self.accelerator.accumulate(self.model):
                losses = self._losses(batch)
                loss, asked = self._agree(losses, batch, wish)
                total, stop = total + loss / train.accumulation, stop or asked
                self.accelerator.backward(_mean(losses, batch["valid"]))
                if self.accelerator.sync_gradients and train.max_grad_norm:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), train.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
        progress.step += 1
        progress.samples += self.global_batch
        self.state.ema.update(progress.step)
        return total, stop

    def _losses(self, batch: dict) -> torch.Tensor:
        device = self.accelerator.device
        xray = batch["xray"].to(device, non_blocking=True)
        image = batch["image"].to(device, non_blocking=True)
        streams = Streams(self.train.seed, batch["numbers"], device)
        return self.task.loss(self.model, xray, image, streams, batch["low"])

    def _agree(self, losses: torch.Tensor, batch: dict, wish: StopWish) -> tuple[float, bool]:
        """Loss and wish to stop over all processes; a loss that is not finite anywhere ends the run everywhere."""
        valid = batch["valid"].to(losses.device)
        bad = (~losses.detach().isfinite()) & valid
        mine = torch.stack(
            [
                torch.where(valid & ~bad, losses.detach(), 0).sum().float(),
                valid.sum().float(),
                bad.sum().float(),
                torch.tensor(float(wish.received is not None), device=losses.device),
            ],
        )
        loss, count, failures, stop = self.accelerator.reduce(mine, reduction="sum").tolist()
        if failures:
            names = [name for name, is_bad in zip(batch["names"], bad.tolist(), strict=True) if is_bad]
            step = self.state.progress.step + 1
            path = self.directory / f"failed-step-{step}"
            names = gather_object(names)
            self.state.save(path)
            raise RunError(
                f"step {step}: the loss is not finite for {', '.join(names)}; "
                f"the state before this step is in {path}, checkpoints are as they were",
            )
        return loss / max(count, 1), stop > 0

    def _report(self, bar: tqdm, loss: float, seconds: float) -> None:
        bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
        bar.update()
        step = self.state.progress.step
        if step % self.train.log_every == 0 or step == self.train.max_steps:
            values = {
                "loss": loss,
                "learning_rate": self.optimizer.param_groups[0]["lr"],
                "samples_per_second": self.global_batch / seconds,
                "unreadable": self.loader.unreadable,
            }
            self.accelerator.log(values, step=step)

    def _validate(self) -> None:
        """Every process takes part, since a sharded network needs them all; the main one logs."""
        self.model.eval()
        with self.state.ema.applied():
            values, picture = self.validation(self.model, self.train.seed, self.accelerator.device)
        self.model.train()
        step = self.state.progress.step
        self.accelerator.log({f"validation/{name}": value for name, value in values.items()}, step=step)
        if self.accelerator.is_main_process:
            save_picture(self.directory / "validation" / f"step-{step}.png", picture)
            for tracker in self.accelerator.trackers:
                if hasattr(tracker, "log_images"):
                    tracker.log_images({"validation": picture[None]}, step=step, **_layout(tracker))

    def _save(self) -> None:
        self.state.save(checkpoint.path_of(self.directory, self.state.progress.step))
        if self.accelerator.is_main_process:
            checkpoint.prune(self.directory, self.train.keep_checkpoints)

    def _loader(self) -> Loader:
        progress, train, codec, data = self.state.progress, self.train, self.config.codec, self.config.data
        xray_shape = (codec.layers, CHANNELS, codec.resolution, codec.resolution)
        numbers = Numbers(
            progress.samples,
            (train.max_steps - progress.step) * train.accumulation,
            train.batch_size,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        self.loader = Loader(
            OrderedSamples(self.dataset, train.seed),
            numbers,
            Collate(xray_shape, (3, data.image_size, data.image_size)),
            data.num_workers,
            data.on_error,
            pin_memory=self.accelerator.device.type == "cuda",
        )
        return self.loader

    def _say(self, text: str) -> None:
        if self.accelerator.is_main_process:
            log.info(text)


def _mean(losses: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Mean over the samples that could be read; 0, with a gradient of 0, where there is none."""
    valid = valid.to(losses.device)
    return torch.where(valid, losses, 0).sum() / valid.sum().clamp(min=1)


def _layout(tracker: object) -> dict[str, str]:
    return {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}


def _flat_values(settings: dict[str, object]) -> dict[str, object]:
    plain = (int, float, str, bool)
    return {name: value if isinstance(value, plain) else str(value) for name, value in settings.items()}
