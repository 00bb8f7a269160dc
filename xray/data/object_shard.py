"""One of several disjoint parts of a set of objects, for machines that work side by side."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePath
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
