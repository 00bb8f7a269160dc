"""Wavefront .obj: polygons that index positions, texture coordinates and normals apart.

The format: https://paulbourke.net/dataformats/obj/
trimesh 5.2 drops without a warning: vertex colours beside a material, every mtllib but the first or that is missing,
texture coordinates of a material where one face has none, and takes index 0 for a vertex; of .mtl, a picture that is
missing, whose path has backslashes, or whose map_Kd has an option such as -s, -o or -clamp, and it turns Kd into 8 bits
(tests/mesh/test_trimesh.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from ..common import srgb
from ..common.errors import InputError
from .part import GREY, Material, Part
from .polygons import distinct_corners, triangulate
from .text import (
    Rows,
    decode,
    find_beside,
    find_file,
    integers,
    joined_lines,
    joined_rows,
    line_ends,
    pieces,
    read_text,
    rows_of,
    shown,
    slashes,
    split_names,
    without_comment,
    words,
    words_a_line,
)
from .texture import LARGEST_TRANSFORM, Texture, read_pixels

KEYS = {"v": (b"v", 3), "vt": (b"vt", 1), "vn": (b"vn", 3)}
"""How lines of numbers begin, and how many numbers they have at least."""

DIGITS = b"0123456789"

BLANKS = np.isin(np.arange(256), list(b" \t\v\f"))
"""(256,) bool, which bytes may stand before the key of a line."""

FORMS = {
    b"  " + b" ".join([form] * corners) + b"\n": (corners, form) for corners in (3, 4) for form in (b"", b"/", b"//")
}
"""What is left of the commonest lines of faces without digits and the letter f, the number of corners, the slashes."""


OPTION_VALUES = {"-s": 3, "-o": 3, "-t": 3, "-mm": 2}
"""How many numbers follow an option of map_Kd, at most; every other option has one value."""

PICTURE_FOLDERS = ("../materials/textures",)
"""Where Google Scanned Objects keep their pictures, seen from the .mtl that names them by the last part alone."""


def read_obj(path: Path, shape_only: bool = False) -> list[Part]:
    """One part for each material of an .obj file.

    Colours behind the coordinates (x y z r g b, x y z w r g b) are sRGB, and vertices without one are grey where others
    have one; a picture counts as it is, without them. Faces whose material the libraries lack have none. A textured
    material on faces without texture coordinates takes the colour at (0, 0), as graphics hardware does. Indices of
    texture coordinates or normals count as left out where the file has none at all. Polygons of one or two corners are
    passed over.

    Args:
      shape_only: leave materials and pictures out, unread.
    Raises:
      InputError: content that cannot be used, a material file or a picture that is missing.
    """
    content = joined_lines(read_text(path))
    lines = _Lines(path)
    for piece in pieces(content):
        lines.add(piece)
    del content
    positions, colors = lines.vertices()
    coordinates, normals = (lines.table(key) for key in ("vt", "vn"))
    tables = (positions, coordinates, normals)
    polygons = lines.polygons(tables)
    wanted = set() if shape_only else {name for name, *_ in polygons if name is not None}
    materials = read_materials(path, lines.libraries, wanted)
    return [_part(materials.get(name), sizes, corners, tables, colors) for name, sizes, corners in polygons]


def _shows_picture(material: Material | None) -> bool:
    return material is not None and material.texture is not None


def _part(material: Material | None, sizes, corners, tables, colors) -> Part:
    """A part of polygons with `sizes` corners; corners are 0-based v, vt, vn, -1 is none, None where all are -1."""
    positions, coordinates, normals = tables
    places, _ = triangulate(sizes, corners[0], positions)
    if places is not None:
        corners = [None if column is None else column[places.reshape(-1)] for column in corners]
    chosen, faces = distinct_corners(corners)
    vertex, texture, normal = (None if column is None else column[chosen] for column in corners)
    textured = _shows_picture(material)
    uv = None
    if texture is not None or textured:
        uv = np.tile((0.0, 1.0), (len(vertex), 1))
    if texture is not None:
        given = texture >= 0
        uv[given] = coordinates[texture[given], :2] * (1, -1) + (0, 1)  # an .obj counts v from the bottom
    vertex_normals = None
    if normal is not None:
        vertex_normals = np.where((normal >= 0)[:, None], normals[np.maximum(normal, 0), :3], 0.0)
    return Part(
        positions[vertex],
        faces.reshape(-1, 3),
        material=material,
        uv=uv,
        normals=vertex_normals,
        vertex_colors=None if colors is None or textured else colors[vertex],
    )


class _Lines:
    """The lines of an .obj sorted by what they say; `add` takes them piece by piece."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.libraries: list[str] = []
        self._rows: dict[str, list[Rows]] = {key: [] for key in KEYS}
        self._counts = dict.fromkeys(KEYS, 0)  # lines so far
        self._materials: dict[str | None, int] = {None: 0}
        self._current = 0
        self._sizes: list[np.ndarray] = []
        self._owners: list[np.ndarray] = []  # the material of each polygon
        self._corners: list[list[np.ndarray | None]] = []

    def add(self, piece: bytes) -> None:
        """Sort the lines of a piece."""
        letters, ends = np.frombuffer(piece, np.uint8), line_ends(piece)
        starts = np.concatenate([[0], ends[:-1] + 1])
        first = letters[starts]
        if BLANKS[first].any():
            self.add(re.sub(rb"(?m)^[ \t\v\f]+", b"", piece))
            return
        second, third = (letters[np.minimum(starts + step, len(letters) - 1)] for step in (1, 2))
        short, blank = second <= ord(" "), third <= ord(" ")
        lines = _Piece(letters, starts, ends)
        is_vertex = first == ord("v")
        chosen = {
            "v": is_vertex & short,
            "vt": is_vertex & (second == ord("t")) & blank,
            "vn": is_vertex & (second == ord("n")) & blank,
        }
        faces = (first == ord("f")) & short
        named = np.flatnonzero(((first == ord("u")) | (first == ord("m"))) & ~short)
        changes = self._names(named, [piece[starts[line] : ends[line]] for line in named])
        if faces.any():
            self._faces(lines, faces, changes, chosen)
        self._current = changes[-1][1] if changes else self._current
        for key, mask in chosen.items():
            if mask.any():
                self._numbers(key, lines.text(mask, len(key)))

    def _names(self, numbers: np.ndarray, lines: list[bytes]) -> list[tuple[int, int]]:
        """Remembers the libraries. (number of the line, number of the material) of each usemtl."""
        changes = []
        for number, line in zip(numbers.tolist(), lines, strict=True):
            key, rest = (line.split(None, 1) + [b"", b""])[:2]
            if key == b"usemtl":
                name = decode(rest.strip())
                changes.append((number, self._materials.setdefault(name, len(self._materials))))
            elif key == b"mtllib":
                self.libraries.append(decode(rest.strip()))
        return changes

    def _numbers(self, key: str, text: bytes) -> None:
        try:
            rows = rows_of(text)
            if rows.counts.min() < KEYS[key][1]:
                raise ValueError
        except ValueError:
            wanted = "two" if key == "vt" else "three"
            line = _unlike_numbers(text, KEYS[key][1])
            raise InputError(f"{self.path}: a line of '{key}' that is not {wanted} numbers ({line})") from None
        self._rows[key].append(rows)
        self._counts[key] += len(rows.counts)

    def _faces(self, lines: _Piece, faces: np.ndarray, changes: list, chosen: dict[str, np.ndarray]) -> None:
        text = lines.text(faces, 1)
        try:
            sizes, corners = _uniform_corners(text) or _corners(text)
        except ValueError:
            line = next((line for line in text.split(b"\n") if not re.fullmatch(rb"[\d\s/+-]*", line)), b"")
            reason = f"a face with an index that is not a whole number ({shown(decode(line.strip()))})"
            raise InputError(f"{self.path}: {reason}") from None
        if b"-" in text:
            numbers = np.flatnonzero(faces)
            for column, (key, mask) in zip(corners, chosen.items(), strict=True):
                if column is not None and (column < 0).any():  # counted back from the line before
                    before = np.repeat(self._counts[key] + np.cumsum(mask)[numbers], sizes)
                    column[column < 0] += before[column < 0] + 1
                    np.maximum(column, 0, out=column)
        if changes or self._current or self._owners:
            number, material = np.array([(-1, self._current), *changes]).T
            owner = material[np.searchsorted(number, np.flatnonzero(faces), "right") - 1]
        else:
            owner = np.zeros(len(sizes), np.int64)
        self._owners.append(owner)
        self._sizes.append(sizes)
        self._corners.append([None if column is None else column - 1 for column in corners])

    def vertices(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Positions (N, 3) float64, and colours (N, 3) in linear light; None where no vertex has one."""
        rows, self._rows["v"] = joined_rows(self._rows["v"]), []
        if not len(rows.counts):
            return np.zeros((0, 3)), None
        positions = rows.table(int(rows.counts.min()))[:, :3]
        colored = rows.counts >= 6
        if not colored.any():
            return positions, None
        places = rows.starts[colored][:, None] + np.arange(3, 6)
        if rows.counts[colored].min() >= 7:  # with a weight before the colour, or alpha behind it
            weights, last = rows.values[places[:, 0]], rows.values[places[:, 2] + 1]
            places += bool((weights == 1).all() and not (last == 1).all())
        colors = np.full((len(rows.counts), 3), GREY)
        try:
            colors[colored] = srgb.unit_colors(rows.values[places], not rows.dotted[places].any())
        except ValueError as error:
            raise InputError(f"{self.path}: {error}") from None
        return positions, srgb.to_linear(colors)

    def table(self, key: str) -> np.ndarray:
        """(N, K) float64 of the lines of one key; K is that of the shortest line (0 rows: 3)."""
        rows, self._rows[key] = joined_rows(self._rows[key]), []
        if not len(rows.counts):
            return np.zeros((0, 3))
        columns = int(rows.counts.min())
        table = rows.table(columns)
        return np.column_stack([table, np.zeros(len(table))]) if columns == 1 else table

    def polygons(self, tables: Sequence[np.ndarray]) -> list[tuple[str | None, np.ndarray, list]]:
        """(material name, sizes (P,), corners [v, vt, vn], each (C,) int64, 0-based, -1 none) of each material.

        Args:
          tables: of v, vt and vn; a column whose table is empty is left out.
        """
        sizes = np.concatenate([*self._sizes, np.zeros(0, np.int64)])
        owners = np.concatenate([*self._owners, np.zeros(0, np.int64)])
        lengths = [len(corners[0]) for corners in self._corners]
        columns = [_joined_column([corners[slot] for corners in self._corners], lengths) for slot in range(3)]
        columns[1:] = [column if len(table) else None for column, table in zip(columns[1:], tables[1:], strict=True)]
        if (sizes < 3).any():  # edges and points are no surface
            solid = sizes >= 3
            columns = [None if column is None else column[np.repeat(solid, sizes)] for column in columns]
            sizes, owners = sizes[solid], owners[solid]
        if not len(sizes):
            raise InputError(f"{self.path}: no faces")
        for column, table, key in zip(columns, tables, KEYS, strict=True):
            if column is not None and column.max() >= len(table):
                raise InputError(f"{self.path}: a face names {key} {column.max() + 1}, there are {len(table)}")
        if columns[0].min() < 0:
            raise InputError(f"{self.path}: a face names v 0, or counts back beyond the first of {len(tables[0])}")
        return list(self._apart(sizes, owners, columns))

    def _apart(self, sizes: np.ndarray, owners: np.ndarray, columns: list) -> Iterator[tuple]:
        """The polygons of each material, the materials in the order in which the file names them first."""
        counts = np.bincount(owners, minlength=len(self._materials))
        if np.count_nonzero(counts) > 1:
            order = np.argsort(owners, kind="stable")
            starts, sizes = (np.cumsum(sizes) - sizes)[order], sizes[order]
            moved = np.repeat(starts - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
            columns = [None if column is None else column[moved] for column in columns]
        polygon = corner = 0
        for name, count in zip(self._materials, counts.tolist(), strict=True):
            if count:
                mine = sizes[polygon : polygon + count]
                corners = slice(corner, corner + int(mine.sum()))
                parts = [None if column is None else column[corners] for column in columns]
                yield name, mine, [None if part is None or part.max() < 0 else part for part in parts]
                polygon, corner = polygon + count, corners.stop


def _unlike_numbers(text: bytes, count: int) -> str:
    """The first line that has not so many numbers, for a message."""
    for line in text.split(b"\n")[:-1]:
        try:
            if len([float(word) for word in line.split()]) < count:
                break
        except ValueError:
            break
    return shown(decode(line.strip()))


def _joined_column(columns: list[np.ndarray | None], lengths: list[int]) -> np.ndarray | None:
    """One column of indices of all pieces; None where no piece has it."""
    if all(column is None for column in columns):
        return None if columns else np.zeros(0, np.int64)
    given = [np.full(length, -1) if column is None else column for column, length in zip(columns, lengths, strict=True)]
    return np.concatenate(given)


class _Piece:
    """Lines of a text as (N,) uint8, with the places where they begin and end."""

    def __init__(self, letters: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self.letters, self.starts, self.ends = letters, starts, ends

    def text(self, chosen: np.ndarray, key_length: int) -> bytes:
        """The chosen lines, their keys blank, without comments."""
        numbers = np.flatnonzero(chosen)
        starts = self.starts[numbers]
        if numbers[-1] - numbers[0] + 1 == len(numbers):
            letters = self.letters[starts[0] : self.ends[numbers[-1]] + 1].copy()
            starts = starts - starts[0]
        else:
            lengths = self.ends - self.starts + 1
            letters = self.letters[np.repeat(chosen, lengths)]
            starts = np.cumsum(lengths[numbers]) - lengths[numbers]
        for step in range(key_length):
            letters[starts + step] = ord(" ")
        text = letters.tobytes()
        return re.sub(rb"#[^\n]*", b"", text) if b"#" in text else text


def _uniform_corners(text: bytes) -> tuple[np.ndarray, list[np.ndarray | None]] | None:
    """As `_corners`, of lines that are all of one of `FORMS`; else None."""
    left = text.translate(None, DIGITS)
    line = left[: left.find(b"\n") + 1]
    if line not in FORMS or left != line * (len(left) // len(line)):
        return None
    size, slashes = FORMS[line]
    count = size * (len(left) // len(line))
    values = np.fromstring(text.replace(b"/", b" "), np.int64, sep=" ")
    # As many numbers as there is room for: then each stands in its own place.
    if len(values) == count * (len(slashes) + 1):
        columns = [*np.ascontiguousarray(values.reshape(count, -1).T), None, None][:3]
    elif slashes == b"//" and len(values) == 2 * count and text.count(b"//") == count:
        columns = [values[::2], None, values[1::2]]
    else:
        return None
    return np.full(count // size, size), columns


def _corners(text: bytes) -> tuple[np.ndarray, list[np.ndarray | None]]:
    """Corners of each line (L,), and v, vt, vn of each corner (C,) int64 as they are written, 0 for what is left out.

    Corners are such as 3, 3/1, 3//2 and 3/1/2. ValueError where an index is not a whole number.
    """
    starts = words(text)[0]
    sizes = words_a_line(starts, line_ends(text))
    spaced = text.replace(b"/", b" ")
    places = words(spaced)[0]
    values = integers(spaced, len(places))
    if len(spaced) == len(text) and b"/" not in text:
        return sizes, [values, None, None]
    corner = np.searchsorted(starts, places, "right") - 1
    slashes = np.cumsum(np.frombuffer(text, np.uint8) == ord("/"), dtype=np.int32)
    slot = slashes[places] - slashes[starts][corner]
    columns: list[np.ndarray | None] = []
    for number in range(3):
        mine = slot == number
        column = None
        if mine.any() or number == 0:
            column = np.zeros(len(starts), np.int64)
            column[corner[mine]] = values[mine]
        columns.append(column)
    return sizes, columns


def read_materials(obj_path: Path, libraries: Iterable[str], wanted: set[str]) -> dict[str, Material]:
    """Those of the wanted materials that the libraries have; other ones, and their pictures, are not looked at.

    Kd is the sRGB colour as displayed. Where there is a picture (map_Kd), it stands in place of Kd, as Blender
    and trimesh read it; many exporters leave Kd grey or black beside a picture.

    Args:
      libraries: what stands behind each mtllib: one file name, which may have spaces, or several.
    Raises:
      InputError: a library that is missing while a wanted material is in none of the others; a picture of a wanted
        material that is missing or not readable.
    """
    if not wanted:
        return {}
    found: dict[str, tuple[Path, dict[str, str]]] = {}
    missing = []
    for rest in dict.fromkeys(libraries):
        of_line: dict[str, tuple[Path, dict[str, str]]] = {}
        for name in _library_names(obj_path, rest):
            path = find_beside(obj_path.parent, name)
            if path is None:
                missing.append(name)
                continue
            # By the format, the first library of a line that has a material counts.
            of_line = {material: (path, values) for material, values in _entries(path).items()} | of_line
        found |= of_line
    plain = {without_comment(material): entry for material, entry in found.items()} | found
    names = {material: material if material in plain else without_comment(material) for material in wanted}
    entries = {material: plain[name] for material, name in names.items() if name in plain}
    if missing and len(entries) < len(wanted):
        name = shown(missing[0])
        raise InputError(f"{obj_path}: its material file {name} is missing; add it, or remove the mtllib line")
    textures: dict[tuple[Path, str], Texture] = {}
    return {
        material: _material(path, obj_path, material, values, textures) for material, (path, values) in entries.items()
    }


def _library_names(obj_path: Path, rest: str) -> list[str]:
    # One name is looked for in other folders too, by its last part: of several names that would be the last alone.
    if rest.lower().count(".mtl") <= 1:
        return [rest]
    return split_names(rest, lambda name: find_file(obj_path.parent, slashes(name)) is not None)


def _entries(path: Path) -> dict[str, dict[str, str]]:
    """Material name -> its statements, the key in lower case."""
    entries: dict[str, dict[str, str]] = {}
    current: dict[str, str] = {}
    for line in decode(joined_lines(read_text(path))).split("\n"):
        key, rest = (line.split(None, 1) + ["", ""])[:2]
        if key.lower() == "newmtl":
            current = entries.setdefault(rest.strip(), {})
        else:
            current[key.lower()] = rest.strip()
    return entries


def _material(
    path: Path, obj_path: Path, name: str, values: dict[str, str], textures: dict[tuple[Path, str], Texture]
) -> Material:
    if values.get("map_kd"):
        statement = values["map_kd"]
        if (path, statement) not in textures:
            textures[path, statement] = _texture(path, obj_path, statement)
        return Material(texture=textures[path, statement])
    stated = values.get("kd", "").partition("#")[0].split()
    try:
        color = [float(value) for value in stated[:3]] or [GREY]
        color += color[-1:] * (3 - len(color))  # by the format, what is left out is as what stands before it
        color = srgb.unit_colors(np.array([color]), not any("." in value for value in stated))[0]
    except ValueError:
        raise InputError(
            f"{path}: material {shown(name)} has Kd {shown(values['kd'])[:60]!r}, expected three numbers from 0 to 1"
        ) from None
    return Material(srgb.to_linear(color))


def _texture(path: Path, obj_path: Path, statement: str) -> Texture:
    """The texture of a map_Kd statement: options, then the file name, which may have spaces.

    The name is relative to the library, or else to the .obj, as other programs read it.
    """
    scale, offset, wrap = [1.0, 1.0], [0.0, 0.0], "repeat"
    words, name = statement.split(), statement
    while len(words) > 1 and words[0].startswith("-"):
        option, words = words[0].lower(), words[1:]
        most = OPTION_VALUES.get(option, 1)
        given = []
        while len(given) < most and len(words) > 1 and (most == 1 or _is_number(words[0])):
            given.append(words.pop(0))
        name = (statement.split(None, len(statement.split()) - len(words)) or [""])[-1]  # runs of spaces stay
        if option == "-s" and given:
            scale[: len(given[:2])] = map(float, given[:2])
        elif option == "-o" and given:
            offset[: len(given[:2])] = map(float, given[:2])
        elif option == "-clamp" and given == ["on"]:
            wrap = "clamp"
    file = find_beside(list(dict.fromkeys((path.parent, obj_path.parent))), name, PICTURE_FOLDERS)
    if file is None:
        raise InputError(f"{path}: the picture {shown(name)} is missing")
    transform = None
    if scale != [1.0, 1.0] or offset != [0.0, 0.0]:
        # v counts from the bottom in the file and from the top here: v' = 1 - (s (1 - v) + o).
        transform = np.array([[scale[0], 0, offset[0]], [0, scale[1], 1 - scale[1] - offset[1]]])
        if not (np.abs(transform) <= LARGEST_TRANSFORM).all():
            raise InputError(f"{path}: map_Kd {shown(statement)}, expected numbers up to {LARGEST_TRANSFORM:g}")
    return Texture(read_pixels(file, f"{path}: picture {shown(name)}"), (wrap, wrap), transform=transform)


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
