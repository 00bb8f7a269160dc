"""Text files of numbers (.obj, .mtl, .off, .ply, .stl): their bytes, the numbers of their lines, the names in them.

A Python object for every line or number costs about 200 ns; the functions here work on arrays of bytes, piece by
piece, so that the memory they need does not grow with the file.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from ..common.errors import InputError

PIECE = 1 << 20
"""Bytes that are worked on at once: the arrays made of them stay in the processor's cache."""

OTHER_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
"""Marks at the beginning of a text; the longer ones first, since the mark of UTF-32 begins as that of UTF-16 does."""

LARGEST_EXACT = 2**53
"""Whole numbers below it are exact as float64."""

EXACT_POWERS = np.array([float(10**power) for power in range(23)])
"""The powers of ten that are exact as float64."""

NO_NUMBER = re.compile(rb"(?<![^\s+-])1\.#(?:QNAN|SNAN|IND|INF)\d*")
"""What Microsoft's C library wrote for numbers that are none: 1.#QNAN, -1.#IND00, 1.#INF."""

NUMBER = re.compile(rb"(?i)[+-]?(?:\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|nan(?:\(\w*\))?|inf|infinity)")

LONGEST_PATH = 8
"""Parts of a path, at most, by whose end a file is looked for."""

LONGEST_NAME = 16
"""Words of a file name, at most, where a line has several names."""


def read_text(path: Path) -> bytes:
    """The content of a text file, see `as_text`.

    Raises:
      InputError: no such file, not readable, another encoding.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    return as_text(content, str(path))


def as_text(content: bytes, name: str) -> bytes:
    """Text in UTF-8, or in another encoding that has ASCII's letters, without a byte order mark, lines ended by LF.

    Raises:
      InputError: UTF-16 or UTF-32; the message begins with `name`.
    """
    for mark, encoding in OTHER_ENCODINGS:
        if content.startswith(mark):
            raise InputError(f"{name}: the text is {encoding}, expected UTF-8; save it as UTF-8")
    content = content.removeprefix(codecs.BOM_UTF8)
    head = content[:256]
    if len(head) >= 4 and not (any(head[::2]) and any(head[1::2])):
        raise InputError(f"{name}: the text is UTF-16 (every second byte is 0), expected UTF-8; save it as UTF-8")
    if b"\r" in content:
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if content[-1:] in (b"\0", b"\x1a"):  # the end of a text under DOS, and of one that fills a block
        content = content.rstrip(b"\0\x1a")
    return NO_NUMBER.sub(b"nan", content) if b"1.#" in content else content


def joined_lines(content: bytes) -> bytes:
    """A text whose lines that end with a backslash are one with the next.

    Comments and names of objects and groups do not go on: they may end with the backslash of a folder.
    """

    def end(found: re.Match) -> bytes:
        key = content[content.rfind(b"\n", 0, found.start()) + 1 : found.start()].lstrip()[:2]
        return found[0] if key[:1] == b"#" or key.expandtabs(1) in (b"o ", b"g ") else b" "

    return re.sub(rb"\\[ \t]*\n", end, content) if b"\\" in content else content


def decode(name: bytes) -> str:
    """A name in a text: UTF-8; bytes that are not are kept in the way of `os.fsdecode`, so that files are found."""
    return name.decode("utf-8", "surrogateescape")


def shown(name: str) -> str:
    """A name for a message: at most 120 characters, what cannot be printed escaped."""
    text = name[:120].encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def find_beside(folders: Path | Sequence[Path], name: str, also: Sequence[str] = ()) -> Path | None:
    """The file that a text in a folder names, or None; of several folders the first that has it counts.

    Names may have quotes and backslashes, be escaped as in an address (%20), and be followed by a comment. A full path
    of the machine that wrote the text is looked for by as much of its end as is here, at last by its last part alone,
    also in the folders `also`; but only where no folder has a file by any form of the whole name.
    """
    plain = without_comment(name)
    forms = [unquote(form, errors="surrogateescape") for form in (plain, name)]
    candidates = [slashes(form) for form in (name, plain, *forms)]
    for form in (plain, name, *forms):
        parts = [part for part in slashes(form).split("/") if part]
        candidates += ["/".join(parts[start:]) for start in range(min(len(parts), LONGEST_PATH))]
        candidates += [f"{other}/{parts[-1]}" for other in also if parts]
    folders = [folders] if isinstance(folders, Path) else folders
    found = (find_file(folder, candidate) for candidate in dict.fromkeys(candidates) for folder in folders)
    return next((file for file in found if file is not None), None)


def slashes(name: str) -> str:
    """A name without the quotes and with the slashes that it may have on another system."""
    name = name.strip()
    if len(name) > 1 and name[0] == name[-1] == "'":
        name = name[1:-1]
    return name.strip('"').replace("\\", "/")


def without_comment(text: str) -> str:
    """What stands before # and white space; names may hold a # (Material #25), so they are tried as they are first."""
    return re.split(r"\s#", text, maxsplit=1)[0].strip()


def find_file(folder: Path, name: str) -> Path | None:
    """The file of a name relative to a folder, or None.

    A name that is not found as it is written is tried in Latin-1 (either may be: the text's or the disk's), and then
    without regard to upper and lower case and to the way accents are written, if one file alone fits.
    """
    names = [name]
    try:
        names.append(name.encode("utf-8", "surrogateescape").decode("latin-1"))
        names.append(os.fsdecode(name.encode("latin-1")))
    except UnicodeError:
        pass
    for candidate in names:
        if _is_file(folder / candidate):
            return folder / candidate
    for candidate in names[:2]:
        found = folder
        for part in candidate.split("/"):
            found = found and _entry_alike(found, part)
        if found is not None and _is_file(found):
            return found
    return None


def _entry_alike(folder: Path, name: str) -> Path | None:
    """What has this name in a folder, or alone has one like it; None where nothing has."""
    if name in ("", ".", ".."):
        return folder / name
    try:
        entries = os.listdir(folder)
    except (OSError, ValueError):
        return None
    alike = [name] if name in entries else [entry for entry in entries if _folded(entry) == _folded(name)]
    return folder / alike[0] if len(alike) == 1 else None


def _is_file(path: Path) -> bool:
    return os.path.isfile(path)  # False, too, for names that the file system refuses


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def split_names(rest: str, is_file: Callable[[str], bool]) -> list[str]:
    """The file names of a line that may hold several: quoted, or the longest runs of words that are files."""
    if is_file(rest):
        return [rest]
    if '"' in rest:
        return [quoted or plain for quoted, plain in re.findall(r'"([^"]+)"|([^\s"]+)', rest)]
    words = list(re.finditer(r"\S+", rest))
    names = []
    while words:
        runs = [rest[words[0].start() : word.end()] for word in words[:LONGEST_NAME]]
        count = next((size for size in range(len(runs), 1, -1) if is_file(runs[size - 1])), 1)
        names.append(runs[count - 1])
        words = words[count:]
    return names


def pieces(text: bytes) -> Iterator[bytes]:
    """A text in pieces of whole lines, each ended by LF."""
    start = 0
    while start < len(text):
        end = text.find(b"\n", start + PIECE) + 1
        piece = text[start : end or len(text)]
        start += len(piece)
        yield piece if piece.endswith(b"\n") else piece + b"\n"


@dataclass(frozen=True)
class Rows:
    """The numbers of lines.

    Attributes:
      values: (N,) float64, of all lines, one after another.
      counts: (L,) int64, how many of them each line has.
      dotted: (N,) bool, which are written with a decimal point.
    """

    values: np.ndarray
    counts: np.ndarray
    dotted: np.ndarray

    @property
    def starts(self) -> np.ndarray:
        """(L,) int64, the place of each line's first number."""
        return np.cumsum(self.counts) - self.counts

    def table(self, columns: int) -> np.ndarray:
        """(L, columns) float64, the first numbers of each line. ValueError where one has fewer."""
        if len(self.counts) and self.counts.min() < columns:
            raise ValueError(f"a line of {self.counts.min()} numbers, expected {columns}")
        if (self.counts == columns).all():
            return self.values.reshape(-1, columns)
        return self.values[self.starts[:, None] + np.arange(columns)]


def joined_rows(rows: list[Rows]) -> Rows:
    """The lines of several pieces in a row."""
    if not rows:
        return Rows(np.zeros(0), np.zeros(0, np.int64), np.zeros(0, bool))
    fields = ("values", "counts", "dotted")
    return Rows(*(np.concatenate([getattr(piece, name) for piece in rows]) for name in fields))


def read_rows(text: bytes, lines: int) -> Rows:
    """The numbers of the first `lines` lines that are not blank; what stands behind them is not looked at.

    Raises:
      ValueError: a word that is not a number, fewer lines.
    """
    found, missing = [], lines
    for piece in pieces(text):
        if missing <= 0:
            break
        ends = line_ends(piece)
        starts, stops = words(piece)
        counts = words_a_line(starts, ends)
        filled = np.flatnonzero(counts)
        if len(filled) > missing:
            end = int(ends[filled[missing - 1]]) + 1
            piece, used = piece[:end], int(counts[: filled[missing - 1] + 1].sum())
            starts, stops = starts[:used], stops[:used]
        filled = filled[:missing]
        missing -= len(filled)
        found.append(_numbers(piece, starts, stops, counts[filled]))
    if missing > 0:
        raise ValueError(f"cut short: {lines - missing} lines of numbers, expected {lines}")
    return joined_rows(found)


def rows_of(piece: bytes) -> Rows:
    """The numbers of every line of one piece, blank lines too. ValueError where a word is not a number."""
    starts, stops = words(piece)
    return _numbers(piece, starts, stops, words_a_line(starts, line_ends(piece)))


def line_ends(piece: bytes) -> np.ndarray:
    """(L,) int64, the places of LF."""
    return np.flatnonzero(np.frombuffer(piece, np.uint8) == ord("\n"))


def words(piece: bytes) -> tuple[np.ndarray, np.ndarray]:
    """(W,) int64, where words begin, and where they end."""
    filled = np.zeros(len(piece) + 2, bool)
    np.greater(np.frombuffer(piece, np.uint8), ord(" "), out=filled[1:-1])
    turns = np.flatnonzero(filled[1:] != filled[:-1])
    return turns[::2], turns[1::2]


def words_a_line(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """(L,) int64 of words at `starts` in lines that end at `ends`."""
    if len(ends) and len(starts) % len(ends) == 0 and len(starts):
        table = starts.reshape(len(ends), -1)
        if (table[:, -1] < ends).all() and (table[1:, 0] > ends[:-1]).all():
            return np.full(len(ends), table.shape[1])
    return np.diff(np.searchsorted(starts, ends), prepend=0)


def _numbers(piece: bytes, starts: np.ndarray, stops: np.ndarray, counts: np.ndarray) -> Rows:
    letters = np.frombuffer(piece, np.uint8)
    try:
        values, dotted = decimals(piece, letters, starts, stops)
    except ValueError:
        for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
            if not NUMBER.fullmatch(piece, start, stop):
                raise ValueError(f"{shown(decode(piece[start:stop][:60]))!r} in place of a number") from None
        raise
    return Rows(values, counts, dotted)


def decimals(text: bytes, letters: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(W,) float64 of words, each rounded as `float` does, and (W,) bool, which have a decimal point.

    A number such as -0.125 is the whole number -125 divided by 10**3. Both are exact as long as they have few digits,
    so the quotient is the float64 nearest to what is written (W. D. Clinger, How to read floating point numbers
    accurately, PLDI 1990). Whole numbers are parsed five times faster than decimal ones; others are parsed as they
    are.

    Raises:
      ValueError: a word that is not a number.
    """
    dotted = np.zeros(len(starts), bool)
    if not len(starts):
        return np.zeros(0), dotted
    dots = np.flatnonzero(letters == ord("."))
    owner = _owners(dots, starts)
    dotted[owner] = True
    if np.count_nonzero(dotted) != len(dots):
        raise ValueError("a number with two decimal points")
    odd = np.zeros(len(starts), bool)
    odd[_owners(np.flatnonzero(letters > ord("9")), starts)] = True  # exponents, and words such as nan
    if np.count_nonzero(odd) > len(starts) // 8:
        return _parsed(text, np.float64, len(starts)), dotted
    places = np.zeros(len(starts), np.int64)
    places[owner] = stops[owner] - dots - 1
    minus = letters[starts] == ord("-")
    marks = (minus | (letters[starts] == ord("+"))).view(np.int8) + dotted.view(np.int8)
    if (stops - starts <= marks).any():
        raise ValueError("a number without digits")
    if odd.any():
        text = _blanked(text, starts[odd], stops[odd])
    whole = _parsed(text.translate(None, b".") if len(dots) else text, np.int64, len(starts))
    odd |= (np.abs(whole) >= LARGEST_EXACT) | (whole == np.iinfo(np.int64).min) | (places >= len(EXACT_POWERS))
    values = whole.astype(np.float64)
    places[odd] = 0
    if len(dots):
        values /= EXACT_POWERS[places]
    values[(whole == 0) & minus] = -0.0
    if np.count_nonzero(odd) > len(starts) // 8:
        return _parsed(letters.tobytes(), np.float64, len(starts)), dotted
    for word in np.flatnonzero(odd):
        values[word] = _parsed(letters[starts[word] : stops[word]].tobytes(), np.float64, 1)[0]
    return values, dotted


def integers(text: bytes, count: int) -> np.ndarray:
    """(count,) int64 of a text of whole numbers and white space. ValueError where it is not that."""
    return _parsed(text, np.int64, count)


def _owners(places: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """The number of the word in which each place lies."""
    if len(places) == len(starts) and (places >= starts).all() and (places[:-1] < starts[1:]).all():
        return np.arange(len(starts))
    return np.searchsorted(starts, places, "right") - 1


def _blanked(text: bytes, starts: np.ndarray, stops: np.ndarray) -> bytes:
    """The text with some of its words replaced by zeros."""
    content = bytearray(text)
    for start, stop in zip(starts.tolist(), stops.tolist(), strict=True):
        content[start:stop] = b"0" * (stop - start)
    return bytes(content)


def _parsed(text: bytes, dtype: type, count: int) -> np.ndarray:
    values = np.fromstring(text, dtype, sep=" ") if count else np.zeros(0, dtype)
    if len(values) != count:
        raise ValueError(f"{count} words hold {len(values)} numbers")
    return values
