"""The loop of an evaluation: predict, write, score, one sample after another, over one or several processes."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import PartialState
from tqdm import tqdm

from .alignment import ALIGNMENTS
from .build import Stage
from .camera import Camera
from .dataset import XRayDataset
from .errors import InputError
from .mesh import find_meshes, load_mesh
from .pictures import sheet
from .points import PointCloud, save_ply, to_points
from .representation import XRay
from .results import Results
from .scoring import sample_mesh, score_xray
from .solvers import solver
from .storage import atomic_path, save_xray
from .surface import METHODS, save_mesh, to_surface
from .visibility import is_hidden

log = logging.getLogger(__name__)

Predict = Callable[[torch.Tensor, list[str]], torch.Tensor]
"""(images (B, 3, S, S), names of the samples) -> (B, L, 8, r, r) in model space."""


@dataclass(frozen=True)
class Options:
    """What an evaluation may change; the rest is the checkpoint's.

    Attributes:
      data_root: data set; the checkpoint's own by default. split: "train", "test" or "all"; by default "test", or
        for an upsampler whatever the first stage evaluated.
      max_samples: the first ones only; all by default.
      step: checkpoint, the latest by default; trained: False takes the network at its random start instead.
      ema: averaged weights. seed, steps, solver: of the sampling. batch_size: samples at once.
      alignment: see `alignment.align`. mesh_root: true meshes, for the "surface" protocol.
      surface: how meshes are made; device: "cpu", "cuda", or "auto".
      scorers: threads that write and score samples while the network makes the next ones.
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
    surface: str = "rays"
    emd: bool = True
    device: str = "auto"
    scorers: int = 2

    def __post_init__(self) -> None:
        for name in ("max_samples", "steps", "batch_size", "scorers"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} {value}: expected at least 1")
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
    """Evaluate the chosen samples of a data set; those that are finished in `folder` are left as they are.

    Args:
      known: names of the samples that can be predicted; all by default.
      meshes: also write a mesh a sample.
    Returns:
      the results and the content of metrics.json. Samples that cannot be read are in its "failed", with the reason.
    """
    state = processes()
    dataset = open_dataset(stage, settings["data_root"], options.split or ("test" if known is None else "all"))
    samples = choose(dataset, options.max_samples, known)
    with state.main_process_first():
        results = Results.begin(folder, settings)
    todo = [item for item in samples.items() if not results.finished(item[0])]
    if len(todo) < len(samples):
        log.info("%d of %d samples are finished already", len(samples) - len(todo), len(samples))
    mine = todo[state.process_index :: state.num_processes]
    start = time.perf_counter()
    with _Writer(results, stage, dataset, options, meshes) as writer:
        bar = tqdm(total=len(mine), desc=settings["kind"], unit="view", disable=not state.is_main_process)
        for first in range(0, len(mine), options.batch_size):
            writer.batch(dict(mine[first : first + options.batch_size]), predict)
            bar.update(len(mine[first : first + options.batch_size]))
        bar.close()
    if mine:
        share = writer.network_seconds / (time.perf_counter() - start)
        log.info("%.0f %% of the time was the network's", 100 * share)
    state.wait_for_everyone()
    failures = {name: reason for name, reason in results.failures().items() if name in samples}
    if state.is_main_process:
        results.summarise(samples, failures)
    state.wait_for_everyone()
    return results, results.summary()


def processes() -> PartialState:
    """The processes that share an evaluation, as `accelerate launch` or `torchrun` started them."""
    return PartialState(cpu=not torch.cuda.is_available())


def open_dataset(stage: Stage, root: str, split: str) -> XRayDataset:
    """The data set to evaluate on, read as the checkpoint says."""
    data = stage.config.data
    return XRayDataset(root, stage.codec, split, data.image_size, data.eval_fraction, data.background)


def choose(dataset: XRayDataset, max_samples: int | None, known: set[str] | None) -> dict[str, int]:
    """name -> index in the data set of the samples to evaluate."""
    samples = {f"{row.object}_{row.view}": index for index, row in enumerate(dataset.rows)}
    if known is not None:
        chosen = {name: index for name, index in samples.items() if name in known}
        if not chosen:
            raise InputError(f"{dataset.root}: the first stage evaluated none of the {dataset.split} samples")
        if len(chosen) < len(samples) and dataset.split != "all":
            log.info("%d of %d samples were evaluated by the first stage", len(chosen), len(samples))
        samples = chosen
    return dict(list(samples.items())[:max_samples])


class _Writer:
    """Makes samples, and writes and scores them in threads of its own, so that the network does not wait."""

    def __init__(self, results: Results, stage: Stage, dataset: XRayDataset, options: Options, meshes: bool) -> None:
        self.results, self.codec, self.dataset = results, stage.codec, dataset
        self.options, self.meshes = options, meshes
        self.mesh_paths = find_meshes(options.mesh_root) if options.mesh_root else {}
        self.network_seconds = 0.0
        self._threads = ThreadPoolExecutor(options.scorers)
        self._pending: deque[Future] = deque()

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, kind, *_) -> None:
        self._threads.shutdown(cancel_futures=kind is not None)
        if kind is None:
            self._collect(0)

    def batch(self, samples: dict[str, int], predict: Predict) -> None:
        """Predict some samples together; one that cannot be read is recorded and left out."""
        items = {}
        for name, index in samples.items():
            try:
                self._check_mesh(self.dataset.rows[index].object)
                items[name] = self.dataset[index]
            except InputError as error:
                self.results.write_failure(name, str(error))
        if not items:
            return
        start = time.perf_counter()
        tensors = predict(torch.stack([item["image"] for item in items.values()]), list(items))
        seconds = time.perf_counter() - start
        self.network_seconds += seconds
        self._collect(2 * self.options.scorers)
        for (name, item), tensor in zip(items.items(), tensors, strict=True):
            self._pending.append(self._threads.submit(self._attempt, name, item, tensor, seconds / len(items)))

    def _collect(self, most: int) -> None:
        """Wait until at most so many samples are unfinished; errors that are not an input's are raised here."""
        while len(self._pending) > most:
            self._pending.popleft().result()

    def _attempt(self, name: str, item: dict, tensor: torch.Tensor, seconds: float) -> None:
        try:
            self._finish(name, item, tensor, seconds)
        except InputError as error:
            self.results.write_failure(name, str(error))

    def _finish(self, name: str, item: dict, tensor: torch.Tensor, seconds: float) -> None:
        """Write the files of a sample, and its row last."""
        start = time.perf_counter()
        index = item["index"]
        camera = self.dataset.camera(index, self.codec.resolution)
        prediction, fitted = (self.codec.decode(values) for values in (_finite(tensor), item["xray"]))
        stored = self.dataset.xray(index, self.codec.layers)
        save_xray(self.results.path(name, "_xray.npz"), prediction)
        save_ply(self.results.path(name, "_prd.ply"), to_points(prediction, camera, "world"))
        save_ply(self.results.path(name, "_gt.ply"), to_points(stored, camera, "world"))
        if self.meshes:
            surface = to_surface(prediction, camera, self.options.surface, "world")
            save_mesh(self.results.path(name, ".glb"), surface)
        self._save_sheet(name, item, prediction, fitted, stored, camera)
        truth = self._surface(item["object"], camera)
        scores = score_xray(
            prediction, fitted, stored, camera, truth[0], self.options.alignment, self.options.emd, truth[1]
        )
        row = {
            "sample": name,
            "object": item["object"],
            "view": item["view"],
            "process": processes().process_index,
            "points": int(prediction.hit.sum()),
            "not_finite": int((~torch.isfinite(tensor)).sum()),
            "seconds_network": seconds,
            "seconds_rest": time.perf_counter() - start,
            "scores": scores,
        }
        self.results.write_row(name, row)

    def _save_sheet(self, name: str, item: dict, prediction: XRay, fitted: XRay, stored: XRay, camera) -> None:
        image = ((item["image"].numpy().transpose(1, 2, 0) + 1) * 127.5).round().astype(np.uint8)
        xrays = {"predicted": prediction, "truth": fitted}
        clouds = {"predicted": to_points(prediction, camera), "truth": to_points(stored, camera)}
        picture = sheet(image, xrays, clouds, self.codec.near, self.codec.far, name)
        with atomic_path(self.results.path(name, ".png")) as partial:
            picture.save(partial)

    def _check_mesh(self, object_id: str) -> None:
        if self.options.mesh_root and object_id not in self.mesh_paths:
            raise InputError(f"{self.options.mesh_root}: no mesh of object {object_id}")

    def _surface(self, object_id: str, camera: Camera) -> tuple[PointCloud, np.ndarray] | tuple[None, None]:
        """Points of the true mesh and which of them the camera does not see, where meshes were given."""
        if not self.options.mesh_root:
            return None, None
        mesh = load_mesh(self.mesh_paths[object_id])
        cloud = sample_mesh(mesh)
        return cloud, is_hidden(mesh, camera, cloud.points)


def _finite(tensor: torch.Tensor) -> torch.Tensor:
    """Values that are not finite become misses; their number is in the sample's row."""
    broken = ~torch.isfinite(tensor).all(1, keepdim=True)
    return torch.where(broken, torch.full_like(tensor, -1.0), tensor)
