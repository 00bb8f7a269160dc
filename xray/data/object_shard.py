"""One of several disjoint parts of a set of objects, for machines that work side by side; and the records of parts."""

from __future__ import annotations

import fnmatch
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

from ..common.errors import InputError

Value = TypeVar("Value")


@dataclass(frozen=True)
class ObjectShard:
    """One of `count` disjoint parts of a set of objects, told by a hash of the id: machines need not agree on the
    whole set, only on the number of parts."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise InputError(f"shard {self.index}/{self.count}: expected i/n with 0 <= i < n")

    @classmethod
    def parse(cls, text: str) -> ObjectShard:
        """From "i/n"."""
        index, slash, count = text.partition("/")
        if not (slash and index.isdecimal() and count.isdecimal()):
            raise InputError(f"shard {text!r}: expected i/n, as 0/8")
        return cls(int(index), int(count))

    def has(self, uid: str) -> bool:
        """Whether an object belongs to this part."""
        if self.count == 1:
            return True
        return int.from_bytes(hashlib.sha256(uid.encode()).digest()[8:16], "big") % self.count == self.index

    def of(self, objects: dict[str, Value]) -> dict[str, Value]:
        """The objects of this part."""
        return {uid: value for uid, value in objects.items() if self.has(uid)}

    @property
    def name(self) -> str:
        """As "0-of-8"; empty for the whole."""
        return "" if self.count == 1 else f"{self.index}-of-{self.count}"

    def part_of(self, file_name: str) -> str:
        """File name of this part of a record: manifest.csv becomes manifest.0-of-8.csv."""
        path = PurePath(file_name)
        return f"{path.stem}.{self.name}{path.suffix}" if self.name else file_name

    def check_division(self, folder: Path, file_name: str) -> None:
        """InputError where records of parts of another number stand in a folder: no command could join them."""
        others = [path.name for (_, count), path in parts_of(folder, file_name).items() if count != self.count]
        if self.name and others:
            raise InputError(
                f"{folder}: shard {self.index}/{self.count} beside parts of another number ({some(others)});"
                f" give the shards that number, or remove those files, or take another folder"
            )


def parts_of(folder: Path, file_name: str) -> dict[tuple[int, int], Path]:
    """(index, count) -> record of a part that stands in a folder, sorted; see `ObjectShard.part_of`."""
    path, found = PurePath(file_name), {}
    pattern = f"{path.stem}.*-of-*{path.suffix}"
    names = os.listdir(folder) if folder.is_dir() else []
    for name in fnmatch.filter(names, pattern):
        index, _, count = name[len(path.stem) + 1 : len(name) - len(path.suffix)].partition("-of-")
        if index.isdecimal() and count.isdecimal():
            found[int(index), int(count)] = folder / name
    return dict(sorted(found.items()))


def find_parts(folder: Path, file_name: str) -> list[Path]:
    """The records of all parts, in order.

    Raises:
      InputError: none, parts of different divisions, or some missing; they are named.
    """
    found = parts_of(folder, file_name)
    counts = sorted({count for _, count in found})
    if len(counts) != 1:
        divisions = f"parts of {' and of '.join(map(str, counts))}" if counts else "no parts"
        path = PurePath(file_name)
        raise InputError(f"{folder}: {divisions}; expected {path.stem}.<i>-of-<n>{path.suffix} for every i of one n")
    parts = [ObjectShard(index, counts[0]) for index in range(counts[0])]
    missing = [part.part_of(file_name) for part in parts if (part.index, part.count) not in found]
    if missing:
        raise InputError(f"{folder}: {len(missing)} of {counts[0]} parts are missing: {some(missing, 5)}")
    return list(found.values())


def some(names: list[str], count: int = 3) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:count]) + ", ..." * (len(names) > count)
