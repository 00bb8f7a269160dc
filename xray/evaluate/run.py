"""Runs a trained stage over a data set: X-Rays on disk, scored, continued where an earlier run was interrupted.

The network runs in this process; samples are written, drawn and scored in other processes beside it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from tqdm import tqdm

from ..common.errors import InputError, RunError
from ..common.files import NO_ROOM
from ..common.folder_lock import folder_lock
from ..common.jobs import Failure, run_jobs
from ..core.storage import load_xray
from ..data.dataset import XRayDataset
from ..data.mesh_files import find_meshes
from ..data.sample_names import XRAY_ENDING, sample_name
from ..inference.pipeline import load_pipeline_stage
from ..inference.stage import check_device, experiment_dir, is_pipeline, load_stage, weights_of
from ..metrics.alignment import ALIGNMENTS
from ..models.sampling import solver
from ..models.stage import Stage, sample_diffusion, upsample
from ..surface.surface import METHODS
from ..training.launch import launch_lock
from .results import Results
from .sample import Prediction, Scoring, finish_sample

log = logging.getLogger(__name__)

Predict = Callable[[torch.Tensor, list[str]], torch.Tensor]
"""(images (B, 3, S, S), names of the samples) -> (B, L, 8, r, r) in model space."""


@dataclass(frozen=True)
class Options:
    """The settings of an evaluation; all others are the checkpoint's.

    Attributes:
      data_root: data set; the checkpoint's own by default. split: "train", "test" or "all"; by default "test", or
        for an upsampler whatever the first stage evaluated.
      max_samples: the first ones only; all by default.
      step: checkpoint, the latest by default; trained: False takes the network at its random start instead.
      ema: averaged weights. seed, steps, solver: of the sampling. batch_size: samples at once.
      alignment: see `alignment.align`. mesh_root: true meshes, for the "surface" protocol.
      surface: how meshes are made; device: "cpu", "cuda", or "auto".
      scorers: processes that write, draw and score samples while the network makes the next ones; 0 for none but this
        one, None for as many as there are cores.
      output: folder of the results, in place of `evaluate` in the experiment's own; a saved pipeline needs one.
      evaluated: of an upsampler, the results of the first stage; its latest ones in its own folder by default.
    """

    data_root: str | None = None
    split: str | None = None
    max_samples: int | None = None
    step: int | None = None
    trained: bool = True
    ema: bool = True
    seed: int = 0
    steps: int | None = None
    solver: str = "euler"
    batch_size: int = 4
    alignment: str = "none"
    mesh_root: str | None = None
    surface: str = "auto"
    emd: bool = True
    device: str = "auto"
    scorers: int | None = None
    output: str | None = None
    evaluated: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_samples", 1), ("steps", 1), ("batch_size", 1), ("scorers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(f"{name} {value}: expected at least {least}")
        if self.surface not in METHODS:
            raise InputError(f"surface {self.surface!r}: expected one of {', '.join(METHODS)}")
        solver(self.solver)
        if self.alignment not in ALIGNMENTS:
            raise InputError(f"alignment {self.alignment!r}: expected one of {', '.join(ALIGNMENTS)}")


def evaluate(
    folder: Path,
    settings: dict,
    stage: Stage,
    predict: Predict,
    options: Options,
    known: set[str] | None = None,
    meshes: bool = False,
) -> tuple[Results, dict]:
    """Evaluate the chosen samples of a data set; finished ones in `folder` are not made again.

    Args:
      known: names of the samples that can be predicted; all by default.
      meshes: also write a mesh a sample.
    Returns:
      the results and the content of metrics.json, whose "failed" lists the samples that cannot be read, with reasons.
    Raises:
      InputError: another evaluation is at work in the folder, or it cannot be written; before anything is predicted.
      RunError: there is no room to write any more.
    """
    state = processes()
    dataset = open_dataset(stage, settings["data_root"], options.split or ("test" if known is None else "all"))
    samples = choose(dataset, options.max_samples, known)
    # Before results of other settings are moved aside: a mistyped folder may not hide them.
    mesh_paths = find_meshes(options.mesh_root) if options.mesh_root else {}
    # Of the folder that holds the results, since results of other settings are moved aside in it.
    with launch_lock(folder.parent, f"an evaluation of {folder.name}", folder.name):
        with state.main_process_first():
            results = Results.begin(folder, settings)
        todo = [item for item in samples.items() if not results.finished(item[0])]
        if len(todo) < len(samples):
            log.info("%d of %d samples are finished already", len(samples) - len(todo), len(samples))
        codec = stage.codec
        scoring = Scoring(results, codec.near, codec.far, options.alignment, options.emd, options.surface, meshes)
        mine = todo[state.process_index :: state.num_processes]
        if mine:
            _work(mine, Predictor(results, stage, dataset, options, predict, mesh_paths), scoring, options)
        state.wait_for_everyone()
        failures = {name: reason for name, reason in results.failures().items() if name in samples}
        if state.is_main_process:
            results.summarise(samples, failures)
        state.wait_for_everyone()
    return results, results.summary()


def _work(samples: list[tuple[str, int]], predictor: Predictor, scoring: Scoring, options: Options) -> None:
    """Predict and finish this process's share of the samples, and log where the time went."""
    start, results = time.perf_counter(), scoring.results
    scorers = scorer_count(options.scorers, len(samples))
    bar = tqdm(total=len(samples), desc=results.settings["kind"], unit="view", disable=not processes().is_main_process)
    with bar, predictor:
        jobs = ((scoring, prediction) for prediction in predictor.predictions(samples, bar))
        for (_, prediction), result in run_jobs(finish_sample, jobs, scorers):
            bar.update()
            if isinstance(result, Failure):
                if any(os.strerror(number) in result.reason for number in NO_ROOM):
                    raise RunError(f"{results.folder}: {result.reason}; what is finished stays")
                results.write_failure(prediction.name, result.reason)
    took, network = time.perf_counter() - start, predictor.network_seconds
    beside = f"beside it in {scorers} processes" if scorers else "between its batches"
    log.info(
        f"{len(samples)} views in {took:.1f} s: the network took {network:.1f} s ({100 * network / took:.0f} %), "
        f"writing, drawing and scoring ran {beside}"
    )


SAMPLES_A_SCORER = 4
"""A process takes about as long to start as two samples to finish: fewer samples are not worth another one."""


def scorer_count(asked: int | None, samples: int) -> int:
    """Processes that finish samples: as many as asked for, or the cores that the launch's processes on this machine
    have each, and no more than the samples keep busy."""
    if asked is not None:
        return min(asked, samples)
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return min(max(cores, 1), samples // SAMPLES_A_SCORER)


def processes() -> PartialState:
    """The processes that share an evaluation, as `accelerate launch` or `torchrun` started them."""
    return PartialState(cpu=not torch.cuda.is_available())


def open_dataset(stage: Stage, root: str, split: str) -> XRayDataset:
    """The data set to evaluate on, read with the settings of the checkpoint."""
    data, alpha = stage.config.data, stage.config.model.image == "pixels"
    picture = data.image_size, data.eval_fraction, data.background, alpha
    return XRayDataset(root, stage.codec, split, *picture, data.camera_distance)


def choose(dataset: XRayDataset, max_samples: int | None, known: set[str] | None) -> dict[str, int]:
    """name -> index in the data set of the samples to evaluate."""
    samples = {sample_name(row.object, row.view): index for index, row in enumerate(dataset.rows)}
    if known is not None:
        chosen = {name: index for name, index in samples.items() if name in known}
        if not chosen:
            raise InputError(f"{dataset.root}: the first stage evaluated none of the {dataset.split} samples")
        if len(chosen) < len(samples) and dataset.split != "all":
            log.info("%d of %d samples were evaluated by the first stage", len(chosen), len(samples))
        samples = chosen
    return dict(list(samples.items())[:max_samples])


class Predictor:
    """The network's part of an evaluation, always one batch ahead of the processes that finish the samples."""

    def __init__(
        self,
        results: Results,
        stage: Stage,
        dataset: XRayDataset,
        options: Options,
        predict: Predict,
        mesh_paths: dict[str, Path],
    ) -> None:
        self.results, self.codec, self.dataset = results, stage.codec, dataset
        self.options, self.predict = options, predict
        self.mesh_paths = mesh_paths
        self.network_seconds = 0.0
        self._ahead = ThreadPoolExecutor(1)

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self._ahead.shutdown(cancel_futures=True)

    def predictions(self, samples: list[tuple[str, int]], bar: tqdm) -> Iterator[Prediction]:
        """What the network makes of (name, index in the data set) samples; one that cannot be read is recorded, moves
        the bar, and is left out. The first batch begins with this call."""
        size = self.options.batch_size
        batches = [dict(samples[first : first + size]) for first in range(0, len(samples), size)]
        return self._predictions(batches, self._ahead.submit(self._batch, batches[0], bar), bar)

    def _predictions(self, batches: list[dict[str, int]], first, bar: tqdm) -> Iterator[Prediction]:
        following = first
        for batch in [*batches[1:], None]:
            done = following.result()
            if batch is not None:
                following = self._ahead.submit(self._batch, batch, bar)
            yield from done

    def _batch(self, samples: dict[str, int], bar: tqdm) -> list[Prediction]:
        items = {}
        for name, index in samples.items():
            try:
                self._check_mesh(self.dataset.rows[index].object)
                items[name] = (self.dataset[index], self.dataset.xray(index, self.codec.layers))
            except InputError as error:
                self.results.write_failure(name, str(error))
                bar.update()
        if not items:
            return []
        start = time.perf_counter()
        tensors = self.predict(torch.stack([item["image"] for item, _ in items.values()]), list(items))
        seconds = time.perf_counter() - start
        self.network_seconds += seconds
        return [
            self._prediction(name, item, stored, tensor, seconds / len(items))
            for (name, (item, stored)), tensor in zip(items.items(), tensors, strict=True)
        ]

    def _prediction(self, name: str, item: dict, stored, tensor: torch.Tensor, seconds: float) -> Prediction:
        return Prediction(
            name,
            item["object"],
            item["view"],
            _shown(item["image"].numpy()),
            self.codec.decode(_finite(tensor)),
            self.codec.decode(item["xray"]),
            stored,
            self.dataset.camera(item["index"], self.codec.resolution),
            self.mesh_paths.get(item["object"]),
            processes().process_index,
            seconds,
            int((~torch.isfinite(tensor)).sum()),
            self.dataset.scale(item["index"]),
        )

    def _check_mesh(self, object_id: str) -> None:
        if self.options.mesh_root and object_id not in self.mesh_paths:
            raise InputError(f"{self.options.mesh_root}: no mesh of object {object_id}")


def _shown(image: np.ndarray) -> np.ndarray:
    """(S, S, 3) uint8 of what a network sees, (3 or 4, S, S) in [-1, 1]; a fourth channel is the alpha."""
    return ((image[:3].transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)


def _finite(tensor: torch.Tensor) -> torch.Tensor:
    """Values that are not finite become misses; their number is in the sample's row."""
    broken = ~torch.isfinite(tensor).all(1, keepdim=True)
    return torch.where(broken, torch.full_like(tensor, -1.0), tensor)


def evaluate_diffusion(experiment: str | Path, options: Options) -> tuple[Results, dict]:
    """Predict X-Rays from images with the first stage and score them.

    Returns:
      the results' folder and the content of its metrics.json.
    """
    folder = experiment_dir(experiment)
    output = _output(folder, options)
    stage = _load(folder, "diffusion", options)

    def predict(images: torch.Tensor, names: list[str]) -> torch.Tensor:
        seeds = [sample_seed(options.seed, name) for name in names]
        return sample_diffusion(stage, images, options.steps, seeds=seeds, solver=options.solver)

    name = f"checkpoint-{stage.step}" if options.trained else "untrained"
    settings = {"kind": "diffusion", **_settings(folder, stage, options)}
    return evaluate(output / name, settings, stage, predict, options)


def evaluate_upsampler(diffusion: str | Path, upsampler: str | Path, options: Options) -> tuple[Results, dict]:
    """Upsample the first stage's evaluated X-Rays with the second stage and score them.

    Raises:
      InputError: the first stage was not evaluated yet or is being evaluated, or the two stages do not belong together.
    """
    source = _evaluated(diffusion, options)
    folder = experiment_dir(upsampler)
    output = _output(folder, options)
    stage = _load(folder, "upsampler", options)
    codec = stage.codec.smaller(stage.config.model.factor)

    def predict(images: torch.Tensor, names: list[str]) -> torch.Tensor:
        low = torch.stack([codec.encode(load_xray(source.path(name, XRAY_ENDING))) for name in names])
        seeds = [sample_seed(options.seed, name) for name in names]
        return upsample(stage, low, images, seeds, options.steps, solver=options.solver)

    name = f"checkpoint-{stage.step}" if options.trained else "untrained"
    name += f"_from_{source.settings['experiment']}_{source.folder.name}"
    if options.data_root is None:
        options = replace(options, data_root=source.settings["data_root"])
    settings = {"kind": "upsampler", **_settings(folder, stage, options), "source": source.settings}
    # Read by any number of these, and not replaced while they read.
    with folder_lock(source.folder.parent, "an evaluation that reads it", source.folder.name, reads=True):
        known = {row["sample"] for row in source.rows()}
        return evaluate(output / name, settings, stage, predict, options, known, meshes=True)


def _output(folder: Path, options: Options) -> Path:
    """Folder that holds the results of an experiment's checkpoints."""
    if options.output is not None:
        return Path(options.output)
    if is_pipeline(folder):
        raise InputError(f"{folder}: a saved pipeline; expected --output with a folder for its results")
    return folder / "evaluate"


def _evaluated(diffusion: str | Path, options: Options) -> Results:
    """The results of the first stage that an upsampler starts from."""
    command = f"evaluate_diffusion.py --exp_diffusion {diffusion}"
    if options.evaluated is None:
        return latest_results(experiment_dir(diffusion) / "evaluate", command)
    folder = Path(options.evaluated)
    if any((folder / "rows").glob("*.json")):
        return Results.open(folder)
    return latest_results(folder, f"{command} --output {folder}")


def latest_results(folder: Path, command: str) -> Results:
    """The results of an experiment's latest evaluated checkpoint, in a folder of results.

    Raises:
      InputError: there are none; `command` is what makes them.
    """
    finished = [
        (int(path.name.split("-")[1]), path)
        for path in folder.glob("checkpoint-*")
        if path.name.split("-")[1].isdigit() and any((path / "rows").glob("*.json"))
    ]
    if not finished:
        raise InputError(f"{folder}: no evaluated samples; run `python {command}` first")
    return Results.open(max(finished)[1])


def sample_seed(seed: int, name: str) -> int:
    """A sample's own seed: the same in every batch and process."""
    return int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:7], "big")


def _load(folder: Path, kind: str, options: Options) -> Stage:
    """The experiment's network, or InputError where it is of the other stage, or has no data set."""
    device = str(processes().device) if options.device == "auto" else options.device
    check_device(device)
    if is_pipeline(folder):
        if options.step is not None or not options.ema:
            raise InputError(
                f"{folder}: a saved pipeline, which holds one set of weights; expected neither step nor ema"
            )
        stage = load_pipeline_stage(folder, device, options.trained)
    else:
        stage = load_stage(folder, options.step, options.ema, device, options.trained)
    if stage.config.stage != kind:
        raise InputError(f"{folder}: its checkpoints are of the {stage.config.stage} stage, expected {kind}")
    if not (options.data_root or stage.config.data.root) and kind == "diffusion":
        raise InputError(f"{folder}: a saved pipeline, which names no data set; expected --data_root")
    return stage


def _settings(folder: Path, stage: Stage, options: Options) -> dict:
    """Everything that changes a sample or its score."""
    sample = stage.config.sample
    return {
        "experiment": folder.name,
        "step": stage.step,
        "weights": weights_of(folder, stage, options.ema)
        if options.trained
        else f"random start of seed {stage.config.train.seed}",
        "ema": options.trained and options.ema,
        "data_root": os.path.realpath(options.data_root or stage.config.data.root),
        "seed": options.seed,
        "steps": options.steps or sample.steps,
        "solver": options.solver,
        "guidance": [sample.guidance_min, sample.guidance_max],
        "alignment": options.alignment,
        "mesh_root": options.mesh_root and os.path.realpath(options.mesh_root),
        "surface": options.surface,
        "emd": options.emd,
        "codec": stage.codec.to_dict(),
    }
