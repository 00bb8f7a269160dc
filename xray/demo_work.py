"""What the demo does with a visitor's picture: checks it, runs the networks, writes files into a folder of its own."""

from __future__ import annotations

import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from .errors import InputError
from .images import UNREADABLE
from .imagined import Imagined, Settings
from .inference import Imaginer, save

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
"""Pillow opens others by programs that it finds, PostScript among them: not for strangers' files."""

MAX_GUIDANCE = 10.0


@dataclass(frozen=True)
class Limits:
    """What one visitor may ask for.

    Attributes:
      upload_mb: size of a file; megapixels: of the picture in it; least_px: of its shorter side.
      steps: of sampling; waiting: requests in the queue; keep_minutes: until results are removed.
    """

    upload_mb: int = 20
    megapixels: int = 25
    least_px: int = 32
    steps: int = 50
    waiting: int = 8
    keep_minutes: int = 60

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise InputError(f"limit of {name.replace('_', ' ')} {value}: expected at least 1")


@dataclass
class Work:
    """A picture on its way: what has been made of it, and the files that are written so far.

    Attributes:
      folder: of this work alone, with a name that cannot be guessed.
      files: the results by suffix ("npz", "ply", "glb").
    """

    made: Imagined
    folder: Path
    cutout: Path | None = None
    layers: Path | None = None
    files: dict[str, Path] = field(default_factory=dict)


class Workshop:
    """The networks, the limits, and the folder (an absolute path) that holds uploads and results."""

    def __init__(self, imaginer: Imaginer, folder: Path, limits: Limits) -> None:
        self.imaginer, self.limits = imaginer, limits
        self.folder, self.results = folder, folder / "results"
        self.results.mkdir(parents=True)

    def settings(self, steps: float, first: float, last: float, seed: float, surface: str) -> Settings:
        """What a visitor chose, checked: a form can be sent without its page.

        Raises:
          InputError: beyond the limits.
        """
        numbers = (("steps", steps, 1, self.limits.steps), ("seed", seed, 0, 2**31 - 1))
        scales = tuple((f"guidance of the {name} layer", value, 0, MAX_GUIDANCE) for name, value in _ends(first, last))
        for name, value, low, high in numbers + scales:
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise InputError(f"{name}: {value!r:.40}, expected a number from {low:g} to {high:g}")
        return Settings(int(seed), int(steps), (float(first), float(last)), surface=str(surface))

    def make(self, upload: Path, settings: Settings, tick: Callable[[int], None] | None = None) -> Iterator[Work]:
        """Everything of one picture, yielded again after every stage.

        Raises:
          InputError: a picture that cannot be used, in words for its owner: the file is called by its name.
        """
        self.sweep()
        try:
            self.check(upload)
            work = None
            for made in self.imaginer.make(upload, None, settings, tick):
                work = work or self._begin(made, upload.stem)
                yield self._write(work, upload.stem)
        except InputError as error:
            raise InputError(str(error).replace(str(upload), upload.name)) from None

    def check(self, upload: Path) -> None:
        """Refuse a picture by its header, before it is decoded."""
        inside = self.folder in upload.resolve().parents
        if not (inside and upload.is_file()):
            raise InputError("the picture is no longer here; choose it again")
        try:
            with Image.open(upload, formats=FORMATS) as picture:
                width, height = picture.size
        except Image.DecompressionBombError:
            raise InputError(
                f"{upload.name}: too large, expected at most {self.limits.megapixels} megapixels"
            ) from None
        except UNREADABLE:
            raise InputError(f"{upload.name}: not a picture that can be read ({', '.join(FORMATS)})") from None
        size = f"{upload.name}: {width} x {height} pixels"
        if width * height > self.limits.megapixels * 10**6:
            raise InputError(f"{size}, too large: expected at most {self.limits.megapixels} megapixels")
        if min(width, height) < self.limits.least_px:
            raise InputError(f"{size}, too small: expected at least {self.limits.least_px} on each side")

    def sweep(self) -> None:
        """Remove the folders of results that are older than the limit."""
        oldest = time.time() - 60 * self.limits.keep_minutes
        for folder in self.results.iterdir():
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder)

    def _begin(self, made: Imagined, stem: str) -> Work:
        work = Work(made, self.results / secrets.token_urlsafe(18))
        work.folder.mkdir()
        work.cutout = work.folder / f"{stem}_cutout.png"
        made.picture.save(work.cutout)
        return work

    def _write(self, work: Work, stem: str) -> Work:
        """The files of the last stage done."""
        if work.made.cloud is not None and work.layers is None:
            work.made.check(stem)
            work.layers = work.folder / f"{stem}_layers.png"
            with work.made.timed("layers"):
                self.imaginer.layers(work.made, stem).save(work.layers)
        if work.made.surface is not None:
            work.files = {path.suffix[1:]: path for path in save(work.made, stem, work.folder)}
        return work


def _ends(first: float, last: float) -> tuple[tuple[str, float], tuple[str, float]]:
    return ("first", first), ("last", last)
