"""The training loop of both stages, on one process or many: data, loss, step, schedule, save."""

from __future__ import annotations

import logging
import math
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

from ..common.errors import RunError
from ..config import Config
from . import checkpoint
from .batches import BatchLoader, OrderedSamples, SampleNumbers
from .checkpoint import Ema, State, resume
from .launch import STOP_SIGNALS, launch_lock
from .objectives import Denoising, Regression
from .optimizer import make_optimizer
from .random_streams import RandomStreams
from .validation import Validation, save_picture

log = logging.getLogger(__name__)


class Trainer:
    """Trains one network. `run` is the loop; the methods below it stand in the order in which it calls them.

    Args:
      accelerator: accelerate's view of the launch.
      task: gives the loss.
      model: the network, whole, on any device.
      dataset: items as `XRayDataset` gives them.
      config: the run's configuration.
      texts: further files of every checkpoint, {name: content}.
      settings: {dotted key: value} of the configuration, for the trackers and to compare with a checkpoint's.
      validation: run every `validate_every` steps.
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
        self.retention = checkpoint.Retention(self.directory, options.keep_checkpoints)

    @property
    def global_batch(self) -> int:
        """Samples an optimizer step, over all processes and micro-batches."""
        return self.train.batch_size * self.train.accumulation * self.accelerator.num_processes

    def run(self) -> int:
        """Train from the latest checkpoint to `max_steps`, or until a signal asks to stop.

        Returns:
          the number of the last step.
        Raises:
          InputError: the output folder belongs to another run, or another process trains in it; a damaged sample.
          RunError: a loss that is not finite, a full disk, a lost worker.
        """
        with launch_lock(self.directory, "a training"), StopRequest() as stop_request:
            return self._run(stop_request)

    def _run(self, stop_request: StopRequest) -> int:
        progress = resume(self.state, self.directory, self.train.on_damaged, self.settings)
        if progress.step >= self.train.max_steps:
            self._log(f"{self.directory}: at step {progress.step} of {self.train.max_steps} already: nothing to train")
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
        self.accelerator.wait_for_everyone()  # from the next line on a signal to any process is heard
        with bar:
            self._log(
                f"from step {progress.step} to {self.train.max_steps}: {self.accelerator.num_processes} processes x "
                f"batch {self.train.batch_size} x {self.train.accumulation} micro-batches, {len(self.dataset)} views"
            )
            batches = self._batches()
            saved = progress.step
            while progress.step < self.train.max_steps:
                began = time.perf_counter()
                loss, stop = self._step(batches, stop_request)
                self._report(bar, loss, time.perf_counter() - began)
                if self.validation and progress.step % self.train.validate_every == 0:
                    self._validate()
                if stop or progress.step % self.train.checkpoint_every == 0 or progress.step == self.train.max_steps:
                    self._save()
                    saved = progress.step
                if stop:
                    break
        if stop:  # below the bar
            self._log(f"stopped by a signal after step {saved}, saved; the same command goes on from there")
        self.accelerator.end_training()
        return progress.step

    def _batches(self) -> Iterator[dict]:
        """The batches of this process that are left, from the first sample that no step has taken."""
        progress, train, data = self.state.progress, self.train, self.config.data
        numbers = SampleNumbers(
            progress.samples,
            (train.max_steps - progress.step) * train.accumulation,
            train.batch_size,
            self.accelerator.process_index,
            self.accelerator.num_processes,
        )
        samples = OrderedSamples(self.dataset, train.seed, data.on_error)
        pin_memory = self.accelerator.device.type == "cuda"
        self.loader = BatchLoader(samples, numbers, data.num_workers, pin_memory)
        return iter(self.loader)

    def _step(self, batches: Iterator[dict], stop_request: StopRequest) -> tuple[float, bool]:
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
                loss, asked = self._reduce(losses, batch, stop_request)
                total, stop = total + loss / train.accumulation, stop or asked
                self.accelerator.backward(losses.mean())
                if self.accelerator.sync_gradients and train.max_grad_norm:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), train.max_grad_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
        progress.step += 1
        progress.samples += self.global_batch
        self.state.ema.update(progress.step)
        return total, stop

    def _losses(self, batch: dict) -> torch.Tensor:
        """(B,) losses of a batch; each sample draws from its own random stream."""
        device = self.accelerator.device
        xray = batch["xray"].to(device, non_blocking=True)
        image = batch["image"].to(device, non_blocking=True)
        streams = RandomStreams(self.train.seed, batch["numbers"], device)
        return self.task.loss(self.model, xray, image, streams, batch["low"])

    def _reduce(self, losses: torch.Tensor, batch: dict, stop_request: StopRequest) -> tuple[float, bool]:
        """Mean loss over all processes, and whether any of them was asked to stop.

        Raises RunError in every process where the loss of one sample is not finite in any.
        """
        bad = ~losses.detach().isfinite()
        mine = torch.stack(
            [
                losses.detach().sum().float(),
                torch.tensor(float(len(losses)), device=losses.device),
                bad.sum().float(),
                torch.tensor(float(stop_request.received is not None), device=losses.device),
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
        return loss / count, stop > 0

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
        """Validate with the averaged weights. Every process takes part, as a sharded network needs; only one logs."""
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
            self.retention.prune(self.state.progress.step)

    def _log(self, text: str) -> None:
        if self.accelerator.is_main_process:
            log.info(text)


def learning_rate(step: int, base: float, schedule: str, warmup_steps: int, max_steps: int) -> float:
    """The rate of optimizer step `step` (from 0): a function of the step alone, so it has no state to save.

    Linear warm-up from base / warmup_steps, then `constant`, or `cosine` down to 0 at max_steps.
    """
    if step < warmup_steps:
        return base * (step + 1) / warmup_steps
    if schedule == "constant":
        return base
    done = (step - warmup_steps) / max(1, max_steps - warmup_steps)
    return base * (1 + math.cos(math.pi * min(done, 1))) / 2


class StopRequest:
    """The signals by which clusters announce the end of a job, as a request to save and stop.

    Inside the `with` block the signals only set `received`; the loop reads it between steps.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)


def _layout(tracker: object) -> dict[str, str]:
    return {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}


def _flat_values(settings: dict[str, object]) -> dict[str, object]:
    plain = (int, float, str, bool)
    return {name: value if isinstance(value, plain) else str(value) for name, value in settings.items()}
