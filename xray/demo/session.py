"""What the demo does with visitors' pictures: checks them, makes one after the other, keeps results for a while."""

from __future__ import annotations

import logging
import math
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..common.errors import InputError
from ..common.images import check_picture
from ..inference.image_to_mesh import GeneratedShape, GenerationSettings, ShapeGenerator, save
from ..inference.photo import METHODS as CUTOUTS
from ..inference.photo import CutOut
from .limits import MAX_GUIDANCE, Limits

log = logging.getLogger(__name__)

KEPT = 8
"""Finished works whose shapes stay in memory, to be shown again."""

UNWATCHED_S = 120
"""Work that nobody looks at for so long ends: its visitor has gone."""


@dataclass
class DemoShape:
    """One shape of a picture: what has been made of it, and the files written so far.

    Attributes:
      layers: the sheet with all layers; files: the results by suffix ("npz", "ply", "glb").
    """

    made: GeneratedShape
    folder: Path
    layers: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)


@dataclass(eq=False)
class DemoJob:
    """A visitor's picture on its way.

    Attributes:
      token: its name, which cannot be guessed; upload: the picture.
      shapes: as many as are begun; count: as many as are asked for; looked_at: the number of the one that the visitor
        has chosen, None for the latest.
      step: sampling steps of the present shape done; stage: goes up whenever there is something new to show.
      error: one line for the visitor, where it failed; whole: all is made; done: no more will come.
      meshes: the mesh that each open page (by its session) shows.
    """

    token: str
    upload: Path
    settings: GenerationSettings
    cutout: CutOut
    count: int
    shapes: list[DemoShape] = field(default_factory=list)
    looked_at: int | None = None
    picture: Path | None = None
    step: int = 0
    stage: int = 0
    error: str = ""
    whole: bool = False
    done: bool = False
    watched: float = field(default_factory=time.monotonic)
    meshes: dict[str, str | None] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def shown(self) -> int:
        """Number of the shape that the visitor looks at, from 1: what comes later does not push it away."""
        return self.looked_at or len(self.shapes)

    def show(self) -> None:
        """There is something new."""
        self.stage += 1

    def is_new_mesh(self, session: str, path: str | None) -> bool:
        """Whether a page, which begins with none, does not show this mesh yet; from now on it does. Of two calls at
        once, one is told so."""
        with self.lock:
            before = self.meshes.get(session)
            self.meshes[session] = path
        return before != path

    def check_watched(self) -> None:
        """Raises InputError where nobody waits for it any more."""
        if time.monotonic() - self.watched > UNWATCHED_S:
            raise InputError("stopped, since its page was closed")


class DemoJobs:
    """The networks, the limits, and the folder (an absolute path) that holds uploads and results.

    Pictures are worked on one after the other, in a thread that goes on when a page is reloaded.
    """

    def __init__(self, generator: ShapeGenerator, folder: Path, limits: Limits) -> None:
        self.generator, self.limits = generator, limits
        self.folder, self.results = folder, folder / "results"
        self.results.mkdir(parents=True)
        self._jobs: dict[str, DemoJob] = {}
        self._lock = threading.Lock()
        self._worker = ThreadPoolExecutor(1, "shapes")

    def close(self) -> None:
        """Begin nothing more, and wait until the picture at work has come to the end of its step: what it writes later
        would lie in a folder that is gone."""
        for job in list(self._jobs.values()):
            job.watched = -math.inf
        self._worker.shutdown(wait=True, cancel_futures=True)

    def settings(self, steps: float, first: float, last: float, seed: float, surface: str) -> GenerationSettings:
        """What a visitor chose, checked: a form can be sent without its page.

        Raises:
          InputError: beyond the limits.
        """
        self._check_number("steps", steps, 1, self.limits.steps)
        self._check_number("seed", seed, 0, 2**31 - 1)
        for name, value in (("first", first), ("last", last)):
            self._check_number(f"guidance of the {name} layer", value, 0, MAX_GUIDANCE)
        return GenerationSettings(int(seed), int(steps), (float(first), float(last)), surface=str(surface))

    def _check_number(self, name: str, value, low: float, high: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise InputError(f"{name}: {value!r:.40}, expected a number from {low:g} to {high:g}")

    def begin(self, upload: Path, settings: GenerationSettings, count: float = 1, cutout: str = "auto") -> DemoJob:
        """Take a picture on.

        Raises:
          InputError: a picture that cannot be used, in words for its owner: the file is called by its name; a choice
            beyond the limits; too many pictures wait.
        """
        self._check_number("shapes", count, 1, self.limits.samples)
        if cutout not in CUTOUTS or cutout == "mask":
            raise InputError(f"cut-out {cutout!r:.40}: expected one of {', '.join(CUTOUTS)}")
        self.check(upload)
        chosen = replace(self.generator.cutout, method=cutout, max_pixels=self.limits.megapixels * 10**6)
        job = DemoJob(secrets.token_urlsafe(18), upload, settings, chosen, int(count))
        with self._lock:
            self.sweep()
            if sum(not other.done for other in self._jobs.values()) > self.limits.waiting:
                raise InputError("too many pictures wait already; come again later")
            self._forget()
            self._jobs[job.token] = job
        self._worker.submit(self._work, job).add_done_callback(_tell)
        return job

    def find(self, token: str | None) -> DemoJob | None:
        """A picture's work by its name, as long as its results are kept."""
        job = self._jobs.get(token) if isinstance(token, str) else None
        return job if job is not None and (job.picture is None or job.picture.exists()) else None

    def before(self, job: DemoJob) -> int:
        """How many pictures are worked on before this one begins."""
        waiting = [other for other in list(self._jobs.values()) if not other.done]
        return waiting.index(job) if job in waiting and not job.shapes else 0

    def follow(self, job: DemoJob, pause_s: float = 0.1) -> Iterator[bool]:
        """Until the work is done; yields about every `pause_s` whether there is something new to show.

        Raises:
          InputError: the work has failed.
        """
        shown = -1
        while True:
            done, stage = job.done, job.stage
            job.watched = time.monotonic()
            yield stage != shown
            shown = stage
            if done:
                break
            time.sleep(pause_s)
        if job.error:
            raise InputError(job.error)

    def check(self, upload: Path) -> None:
        """Refuse a picture by its header, before it is decoded."""
        if not (self.folder in upload.resolve().parents and upload.is_file()):
            raise InputError("the picture is no longer here; choose it again")
        try:
            check_picture(upload, self.limits.megapixels * 10**6)
        except InputError as error:
            raise InputError(_for_owner(error, upload)) from None

    def sweep(self) -> None:
        """Remove the folders of results that are older than the limit."""
        oldest = time.time() - 60 * self.limits.keep_minutes
        for folder in self.results.iterdir():
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder)
                if folder.name in self._jobs and self._jobs[folder.name].done:
                    del self._jobs[folder.name]

    def _forget(self) -> None:
        """Keep the shapes of the last `KEPT` finished works; of others the files alone, as long as those stay."""
        done = [token for token, job in self._jobs.items() if job.done]
        for token in done[: max(len(done) - KEPT, 0)]:
            del self._jobs[token]

    def _work(self, job: DemoJob) -> None:
        """Make all shapes of a picture, in the worker's thread."""
        try:
            job.check_watched()
            (self.results / job.token).mkdir()
            for number in range(job.count):
                self._make_shape(job, number)
        except InputError as error:
            job.error = _for_owner(error, job.upload)
        except OSError as error:
            job.error = f"the results cannot be written ({error.strerror or 'no room'})"
        else:
            job.whole = True
        finally:
            job.error = job.error or ("" if job.whole else "a mistake of this page; its owner finds it in the log")
            job.done = True
            job.show()

    def _make_shape(self, job: DemoJob, number: int) -> None:
        def tick(step: int) -> None:
            job.step = step
            job.check_watched()

        settings = replace(job.settings, seed=job.settings.seed + number)
        shape, stem = None, job.upload.stem if job.count == 1 else f"{job.upload.stem}_sample{number + 1}"
        job.step = 0
        for made in self.generator.make(job.upload, None, settings, tick, job.cutout):
            job.check_watched()
            if shape is None:
                shape = DemoShape(made, self.results / job.token)
                job.shapes.append(shape)
            if job.picture is None:
                job.picture = shape.folder / f"{job.upload.stem}_cutout.png"
                made.picture.save(job.picture)
            self._write(shape, stem)
            job.show()

    def _write(self, shape: DemoShape, stem: str) -> None:
        """The files of the last stage done."""
        if shape.made.cloud is not None and shape.layers is None:
            shape.made.check(stem)
            layers = shape.folder / f"{stem}_layers.png"
            with shape.made.timed("layers"):
                self.generator.layers(shape.made, stem).save(layers)
            shape.layers = layers
        if shape.made.surface is not None:
            shape.files = {path.suffix[1:]: path for path in save(shape.made, stem, shape.folder)}


def _tell(work: Future) -> None:
    """Defects of the worker's thread go to the log, as those of any other."""
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("defect while a picture was worked on", exc_info=error)


def _for_owner(error: InputError, upload: Path) -> str:
    """An error's line without the place of the picture on the server."""
    return str(error).replace(str(upload), upload.name)
