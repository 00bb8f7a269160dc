"""The pictures to work on, the names of their results, and a check that results can be written."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from ..common.errors import InputError
from ..common.files import check_writable, files_below, some_of
from ..common.images import SUFFIXES

LAYERS = "_layers.png"
"""End of the name of the sheet of layers, of which there is one for all samples of a picture."""

RESULTS = ("_xray.npz", "_points.ply", ".glb", ".obj", LAYERS, "_turntable.gif")
"""Ends of the names of a picture's results."""

NAMED = 5
"""Files of a kind that are named; of more, their number."""


@dataclass(frozen=True)
class PictureFile:
    """A picture to work on. name: of its results, below the output folder, as "mug" or "folder/mug"."""

    path: Path
    name: str

    def sample_names(self, samples: int) -> list[str]:
        """Name of each sample's results: its own for one, NAME_sample1 to NAME_sampleN for several."""
        return [self.name] if samples == 1 else [f"{self.name}_sample{number}" for number in range(1, samples + 1)]

    def results(self, output: Path, samples: int = 1) -> list[Path]:
        """The files that are made of it."""
        ends = [end for end in RESULTS if end != LAYERS]
        return [
            *(output / f"{name}{end}" for name in self.sample_names(samples) for end in ends),
            output / f"{self.name}{LAYERS}",
        ]


@dataclass(frozen=True)
class FoundPictures:
    """Pictures among files and folders, and a line for every kind of files that are left out."""

    pictures: tuple[PictureFile, ...]
    left_out: tuple[str, ...]


def find_pictures(inputs: list[str]) -> FoundPictures:
    """The picture files among files and folders; of a folder, all below it, sorted, links followed.

    A file that is given by itself is taken whatever it is called. In a folder, hidden files are passed over, and other
    kinds of files and the results of earlier runs are named in `left_out`.

    Raises:
      InputError: nothing there, a folder without pictures, pictures whose results would have the same name.
    """
    pictures: list[PictureFile] = []
    left_out: list[str] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            inside, others = _in_folder(path)
            left_out += others
            if not inside:
                also = "".join(f"; {line}" for line in others)
                raise InputError(f"{path}: no pictures in it ({', '.join(SUFFIXES)}){also}")
            pictures += inside
        elif path.is_file():
            pictures.append(PictureFile(path, path.stem))
        else:
            raise InputError(f"{path}: no such file or folder")
    _check_names(pictures)
    return FoundPictures(tuple(pictures), tuple(left_out))


def _check_names(pictures: list[PictureFile]) -> None:
    count = Counter(picture.name for picture in pictures)
    clashes = [str(picture.path) for picture in pictures if count[picture.name] > 1]
    if clashes:
        raise InputError(f"{', '.join(clashes)} have the same name; results are named after the picture")


def _in_folder(folder: Path) -> tuple[list[PictureFile], list[str]]:
    """The pictures below a folder, and a line for every kind of files that are none."""
    pictures, earlier, others, unreadable = [], [], [], []
    for path in files_below(folder, unreadable):
        if path.suffix.lower() not in SUFFIXES:
            others.append(path)
        elif _is_result(path):
            earlier.append(path)
        else:
            pictures.append(PictureFile(path, str(path.relative_to(folder).with_suffix(""))))
    others = [path for path in others if not _is_result(path)]
    lines = [f"{folder}: left out {some_of(earlier, folder, NAMED)}, results of an earlier run"] if earlier else []
    lines += [f"{folder}: left out {some_of(others, folder, NAMED)}, not read as pictures"] if others else []
    lines += [f"{folder}: left out {place}, cannot be listed" for place in unreadable]
    return pictures, lines


def _is_result(path: Path) -> bool:
    """Whether a file is a result: named like one, beside the X-Ray of its picture, or of its first sample."""
    stems = [path.name.removesuffix(end) for end in RESULTS if path.name.endswith(end)]
    xrays = [path.with_name(f"{stem}{sample}{RESULTS[0]}") for stem in stems if stem for sample in ("", "_sample1")]
    return any(xray.is_file() for xray in xrays)


def find_mask(mask: Path | None, picture: PictureFile) -> Path | None:
    """The mask of a picture: the file given, or the one of its name in the folder given.

    Raises InputError where there is none, no such mask at all, or several of that name.
    """
    if mask is None or mask.is_file():
        return mask
    place = mask / picture.name
    if not place.parent.is_dir():
        raise InputError(f"{place.parent}: no such mask")
    pictures = sorted(path for path in place.parent.iterdir() if path.suffix.lower() in SUFFIXES)
    found = [path for path in pictures if path.stem == place.name] or [
        path for path in pictures if normalize("NFC", path.stem) == normalize("NFC", place.name)
    ]
    if not found:
        raise InputError(f"{mask}: no mask named {picture.name} in it")
    if len(found) > 1:
        raise InputError(f"{found[0]} and {found[1]}: two masks of one name; keep one of them")
    return found[0]


def check_output(output: Path) -> None:
    """Raises InputError where nothing can be written into a folder, which is made if it is not there."""
    check_writable(output / "picture")


def check_sample_names(pictures: Sequence[PictureFile], samples: int) -> None:
    """Raises InputError where a sample of one picture would have the name of another picture's results."""
    owners = {picture.name: picture for picture in pictures}
    for picture in pictures:
        for name in picture.sample_names(samples):
            if owners.get(name, picture) != picture:
                raise InputError(
                    f"{owners[name].path}: has the name of a sample of {picture.path.name}; rename one of them"
                )


def check_results(output: Path, picture: PictureFile, samples: int = 1) -> None:
    """Raises InputError where a picture's results cannot be written: too long a name, a folder in their place, ...

    A file in the place of a result that no earlier run wrote, as a mesh or another picture of the user's own, is not
    replaced.
    """
    results = picture.results(output, samples)
    for path in results:
        if os.path.isdir(path):  # Path.is_dir raises where the name is too long
            raise InputError(f"{path}: a folder is in the place of a result")
        if os.path.lexists(path) and not _is_result(path):
            raise InputError(
                f"{path}: is in the place of a result and of no earlier run, which leaves an X-Ray beside it; "
                "give another --output, or move it"
            )
    check_writable(max(results, key=lambda path: len(path.name)))
