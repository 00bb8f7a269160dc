"""Stanford .ply: elements of rows, text or binary; meshes and point clouds in it.

The format: http://paulbourke.net/dataformats/ply/
Our own reader: plyfile is GPL, and trimesh 5.2 drops strips, face colours beside vertex colours and the normals of
point clouds, and refuses comments that are not UTF-8 (tests/mesh/test_trimesh.py). Text holds one row a line, as the
format says; files that do otherwise are refused.
"""

from __future__ import annotations

import codecs
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..common import srgb
from ..common.errors import InputError
from ..common.files import atomic_path
from ..core.points import PointCloud
from .part import Material, Part
from .polygons import strips, triangles_of, triangulate
from .text import Rows, as_text, decode, find_beside, read_rows, shown
from .texture import Texture, read_pixels

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
"""numpy's names of the format's types."""

ORDERS = {b"ascii": "", b"binary_little_endian": "<", b"binary_big_endian": ">"}

COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
COORDINATES += (("tx", "ty"), ("tu", "tv"), ("s0", "t0"), ("u0", "v0"), ("texcoord_u", "texcoord_v"))
"""Names that programs give to texture coordinates of vertices."""

INDICES = ("vertex_indices", "vertex_index")


@dataclass(frozen=True)
class Lists:
    """A property that is a list in every row: sizes (N,) int64, and the values of all rows one after another.

    The values are (M,), or (N, size) where all rows have the same size.
    """

    sizes: np.ndarray
    values: np.ndarray


@dataclass
class Element:
    """Rows of one kind.

    Attributes:
      count: how many rows; types: property -> (numpy type of a list's size, or None for a single number, of a value).
      data: property -> (count,) array, or Lists.
    """

    count: int
    types: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    data: dict[str, np.ndarray | Lists] = field(default_factory=dict)

    def columns(self, *names: str) -> np.ndarray | None:
        """(N, len(names)) float64 of properties; None where one is not there. ValueError where one is a list."""
        if not all(name in self.data for name in names):
            return None
        if any(isinstance(self.data[name], Lists) for name in names):
            raise ValueError(f"a list where each row has one number ({', '.join(names)})")
        table = np.empty((self.count, len(names)))
        with np.errstate(invalid="ignore"):  # a damaged file may hold NaNs that signal
            for column, name in enumerate(names):
                table[:, column] = self.data[name]
        return table

    def colors(self) -> np.ndarray | None:
        """(N, 3) float64, sRGB in [0, 1]; None where there are none. Types of more than 8 bits: see `unit_colors`."""
        names = next((names for names in COLORS if all(name in self.data for name in names)), None)
        if names is None:
            return None
        values, kind = self.columns(*names), self.data[names[0]].dtype
        if kind == np.uint8:
            return values / 255
        return srgb.unit_colors(values, kind.kind in "iu")

    def lists(self, *names: str) -> Lists | None:
        """The first of the properties that is there as lists."""
        return next((self.data[name] for name in names if isinstance(self.data.get(name), Lists)), None)


COLORS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))
"""What programs call the colour; the first that is there counts."""

NOTHING = Element(0)


def read_ply(path: Path, shape_only: bool = False) -> list[Part]:
    """The parts of a .ply file, one for each picture in use: polygons and strips, colours (sRGB), normals.

    A picture that the header names counts as it is, without vertex and face colours; face colours as they are, without
    vertex colours. A face without texture coordinates or of texnumber -1 shows no picture, and one that none shows is
    not read.

    Args:
      shape_only: leave materials and pictures out, unread.
    Raises:
      InputError: content that cannot be used, or a picture that is missing.
    """
    elements, comments = read_elements(path)
    vertex, face = elements.get("vertex", NOTHING), elements.get("face", NOTHING)
    try:
        vertices, normals = vertex.columns("x", "y", "z"), vertex.columns("nx", "ny", "nz")
        found = {"vertex_colors": vertex.colors(), "face_colors": face.colors()}
        uv = next((pair for names in COORDINATES if (pair := vertex.columns(*names)) is not None), None)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    indices = face.lists(*INDICES) or Lists(np.zeros(0, np.int64), np.zeros(0, np.int64))
    stripped = _strip_faces(elements.get("tristrips", NOTHING))
    if vertices is None or not len(indices.sizes) + len(stripped):
        raise InputError(f"{path}: no triangles (expected vertex x y z, face vertex_indices or tristrips)")
    values = indices.values.astype(np.int64).reshape(-1)
    if len(values) and not (values.min() >= 0 and values.max() < len(vertices)):
        raise InputError(f"{path}: faces name vertices {values.min()} to {values.max()}, there are {len(vertices)}")
    corner, polygon = triangulate(indices.sizes, values, vertices)
    colors = {name: None if table is None else srgb.to_linear(table) for name, table in found.items()}
    if colors["face_colors"] is not None and not len(stripped):  # strips have no colours of their own
        colors = {"vertex_colors": None, "face_colors": _of_faces(colors["face_colors"], polygon)}
    else:
        colors["face_colors"] = None
    pictures = [] if shape_only else _pictures(comments)
    coordinates = face.lists("texcoord") if uv is None else None
    bare = np.zeros(len(indices.sizes), bool) if coordinates is None else coordinates.sizes == 0
    if pictures and coordinates is not None and not bare.all():
        if len(stripped) or not np.array_equal(coordinates.sizes, np.where(bare, 0, 2 * indices.sizes)):
            name = shown(pictures[0])
            raise InputError(f"{path}: names the picture {name} but has not two texture coordinates for each corner")
        # Coordinates of corners: every corner becomes a vertex of its own.
        uv = np.zeros((len(values), 2))
        uv[np.repeat(~bare, indices.sizes)] = coordinates.values.reshape(-1, 2)
        vertices, normals = vertices[values], None if normals is None else normals[values]
        if colors["vertex_colors"] is not None:
            colors["vertex_colors"] = colors["vertex_colors"][values]
        faces = triangles_of(corner, np.arange(len(values)))
    else:
        faces = triangles_of(corner, values)
        faces = np.concatenate([faces, stripped]) if len(stripped) else faces
    if not pictures or uv is None:
        return [Part(vertices, faces, normals=normals, **colors)]
    part = Part(vertices, faces, normals=normals, uv=uv * (1, -1) + (0, 1))  # a .ply counts v from the bottom
    number = face.data.get("texnumber") if not len(stripped) else None
    number = number.astype(np.float64) if isinstance(number, np.ndarray) else np.zeros(len(indices.sizes))
    if len(pictures) == 1:
        number = np.minimum(number, 0)
    number[bare] = -1
    if not number.any():
        return [replace(part, material=_material(path, pictures[0]))]
    return list(_parts_by_picture(path, part, _of_faces(number, polygon), pictures, colors))


def _of_faces(rows: np.ndarray, polygon: np.ndarray | None) -> np.ndarray:
    """The rows of polygons for the triangles that `triangulate` made of them."""
    return rows if polygon is None else rows[polygon]


def _parts_by_picture(
    path: Path, part: Part, number: np.ndarray, pictures: list[str], colors: dict[str, np.ndarray | None]
) -> Iterator[Part]:
    """The faces (F, 3) of a part by their pictures' numbers (F,); a number without a picture is an error.

    Faces of number -1 have no picture, and the `colors` of their vertices or their own.
    """
    for picture in np.unique(number).tolist():
        chosen = number == picture
        if picture == -1:
            of_faces, of_vertices = colors["face_colors"], colors["vertex_colors"]
            own = None if of_faces is None else of_faces[chosen]
            yield replace(part, faces=part.faces[chosen], uv=None, vertex_colors=of_vertices, face_colors=own)
            continue
        if not 0 <= picture < len(pictures) or picture != int(picture):
            raise InputError(f"{path}: a face with texnumber {picture:g}, there are {len(pictures)} pictures")
        material = _material(path, pictures[int(picture)])
        yield replace(part, faces=part.faces[chosen], material=material)


def _material(path: Path, picture: str) -> Material:
    file = find_beside(path.parent, picture)
    if file is None:
        raise InputError(f"{path}: picture {shown(picture)}: no such file")
    return Material(texture=Texture(read_pixels(file, f"{path}: picture {shown(picture)}")))


def _pictures(comments: list[bytes]) -> list[str]:
    """The file names in comments that begin with TextureFile."""
    words = [comment.split(None, 1) for comment in comments]
    return [decode(word[1].strip()) for word in words if len(word) == 2 and word[0].lower() == b"texturefile"]


def _strip_faces(element: Element) -> np.ndarray:
    """(F, 3) int64 triangles of the element tristrips; a negative index ends a strip."""
    lists = element.lists(*INDICES)
    if lists is None:
        return np.zeros((0, 3), np.int64)
    values = lists.values.astype(np.int64).reshape(-1)
    strip = np.repeat(np.arange(len(lists.sizes)), lists.sizes) + np.cumsum(values < 0)
    kept = values >= 0
    values, strip = values[kept], strip[kept]
    return strips(values, np.flatnonzero(np.diff(strip, prepend=-1)))


def read_elements(path: Path) -> tuple[dict[str, Element], list[bytes]]:
    """The elements of a .ply, text or binary, by their names, and the comments of its header.

    Raises:
      InputError: no such file, not a .ply, cut short, or more rows announced than the file has bytes.
    """
    try:
        content = path.read_bytes().removeprefix(codecs.BOM_UTF8)
        if not content.startswith(b"ply"):
            as_text(content[:4096], str(path))  # says so where it is UTF-16
            raise ValueError("it does not begin with 'ply'")
        order, elements, comments, body = _read_header(content)
        if order:
            _read_binary(content, body, order, elements)
        else:
            _read_lines(as_text(content[body:], str(path)), elements)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    except InputError:
        raise
    except (ValueError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path}: not readable as .ply ({reason or type(error).__name__})") from None
    return elements, comments


def _read_header(content: bytes) -> tuple[str, dict[str, Element], list[bytes], int]:
    """The order of bytes ("" for text), the elements without data, the comments, the place where the rows begin."""
    # CR before LF goes with the white space of its line, so that each line may end in its own way.
    newline = b"\r" if content[3:4] == b"\r" and content[4:5] != b"\n" else b"\n"
    order, elements, comments, place = None, {}, [], 0
    while True:
        end = content.find(newline, place)
        if end < 0:
            raise ValueError("cut short: no end_header")
        line, place = content[place:end], end + len(newline)
        key, rest = (line.split(None, 1) + [b"", b""])[:2]
        words = rest.split()
        if key == b"comment":
            comments.append(rest)
        elif key == b"end_header":
            break
        elif key == b"format" and words and words[0] in ORDERS:
            order = ORDERS[words[0]]
        elif key == b"element" and len(words) == 2 and re.fullmatch(rb"\d{1,18}", words[1]):
            count = int(words[1])
            if count > len(content) - place:
                raise ValueError(f"cut short: {count} rows in {len(content) - place} bytes")
            element = elements.setdefault(decode(words[0]), Element(count))
        elif key == b"property" and elements and _is_property(words):
            kinds = [TYPES[word.decode()] for word in words[words[0] == b"list" : -1]]
            element.types[decode(words[-1])] = (kinds[0] if len(kinds) == 2 else None, kinds[-1])
        elif key not in (b"ply", b"obj_info", b""):
            raise ValueError(f"the header has {shown(decode(line))!r}")
    if order is None:
        raise ValueError("the header names no format")
    return order, elements, comments, place


def _is_property(words: list[bytes]) -> bool:
    """Whether these words are a type and a name, or list, two types, and a name."""
    is_list = words[:1] == [b"list"]
    kinds = words[is_list:-1]
    return len(kinds) == 1 + is_list and all(kind.decode("latin-1") in TYPES for kind in kinds)


def _read_lines(text: bytes, elements: dict[str, Element]) -> None:
    """Fill elements with the rows of a text, one a line."""
    filled = [element for element in elements.values() if element.types]
    rows = read_rows(text, sum(element.count for element in filled))
    line = place = 0
    for element in filled:
        counts = rows.counts[line : line + element.count]
        stop = place + int(counts.sum())
        _fill(element, Rows(rows.values[place:stop], counts, rows.dotted[place:stop]))
        line, place = line + element.count, stop


def _fill(element: Element, rows: Rows) -> None:
    """Fill an element with the numbers of its lines. ValueError where a line has more or fewer than it should."""
    at = rows.starts
    ends = at + rows.counts
    for name, (size_type, kind) in element.types.items():
        if (at >= ends).any():
            raise ValueError(f"a line that ends before {name}")
        first = _cast(rows.values[at], size_type or kind)
        at = at + 1
        if size_type is None:
            element.data[name] = first
            continue
        sizes = first.astype(np.int64)
        if (sizes < 0).any() or (at + sizes > ends).any():
            raise ValueError(f"a line with fewer values of {name} than it says")
        places = np.repeat(at - (np.cumsum(sizes) - sizes), sizes) + np.arange(sizes.sum())
        element.data[name] = Lists(sizes, _cast(rows.values[places], kind))
        at = at + sizes
    if (at != ends).any():
        raise ValueError("a line with more numbers than its element has properties")


def _cast(values: np.ndarray, kind: str) -> np.ndarray:
    """float64 as a type of the file. ValueError where a whole number is none or out of range."""
    dtype = np.dtype(kind)
    with np.errstate(over="ignore", invalid="ignore"):
        cast = values.astype(dtype)
    if dtype.kind in "iu" and not (cast == values).all():
        raise ValueError(f"{values[cast != values][0]:g} is not a whole number of {8 * dtype.itemsize} bits")
    return cast


def _read_binary(content: bytes, place: int, order: str, elements: dict[str, Element]) -> None:
    """Fill elements with the rows of binary content that begin at `place`."""
    for element in elements.values():
        if not element.types:
            continue
        sizes = [0] * sum(size_type is not None for size_type, _ in element.types.values())
        if sizes and element.count:
            sizes = _first_sizes(content, place, order, element)
        end = _fill_even(content, place, order, element, sizes)
        place = _fill_uneven(content, place, order, element) if end is None else end


def _first_sizes(content: bytes, place: int, order: str, element: Element) -> list[int]:
    """The sizes of the lists of the first row."""
    sizes = []
    for size_type, kind in element.types.values():
        if size_type is not None:
            sizes.append(int(_number(content, place, order + size_type)))
            place += np.dtype(size_type).itemsize
        place += np.dtype(kind).itemsize * (1 if size_type is None else sizes[-1])
    return sizes


def _number(content: bytes, place: int, kind: str) -> float:
    if place < 0 or place + np.dtype(kind).itemsize > len(content):
        raise ValueError("cut short")
    return np.frombuffer(content, kind, 1, place)[0]


def _fill_even(content: bytes, place: int, order: str, element: Element, sizes: list[int]) -> int | None:
    """Fill an element whose lists have the same sizes in every row, without a copy; None where they have not.

    Returns the place behind the rows.
    """
    fields, sizes = [], list(sizes)
    for number, (size_type, kind) in enumerate(element.types.values()):
        if size_type is None:
            fields.append((str(number), order + kind))
            continue
        size = sizes.pop(0)
        if not 0 <= size <= len(content):
            return None
        fields += [(f"size {number}", order + size_type), (str(number), order + kind, (size,))]
    row = np.dtype(fields)
    end = place + element.count * row.itemsize
    if end > len(content):
        if len(row.fields) == len(element.types):
            raise ValueError(f"cut short: {element.count} rows of {row.itemsize} bytes in {len(content) - place} bytes")
        return None
    table = np.frombuffer(content, row, element.count, place)
    for number in range(len(element.types)):
        if f"size {number}" in row.fields and (table[f"size {number}"] != row.fields[str(number)][0].shape[0]).any():
            return None
    for number, name in enumerate(element.types):
        values = table[str(number)]
        if values.ndim == 2:
            values = Lists(np.full(element.count, values.shape[1]), values)
        element.data[name] = values
    return end


def _fill_uneven(content: bytes, place: int, order: str, element: Element) -> int:
    """Fill an element whose lists differ in size: their places row by row, their values at once.

    Returns the place behind the rows.
    """
    steps, gap = [], 0
    for size_type, kind in element.types.values():
        if size_type is None:
            gap += np.dtype(kind).itemsize
        else:
            steps.append(
                (gap, np.dtype(size_type).itemsize, np.dtype(kind).itemsize, _reader(content, order + size_type))
            )
            gap = 0
    places, length = [], len(content)
    for _ in range(element.count):
        for before, size_length, item, read in steps:
            place += before
            if place + size_length > length:
                raise ValueError("cut short")
            places.append(place)
            size = read(place)
            place += size_length + item * size
            if size < 0 or place > length:
                raise ValueError(f"cut short: a list of {size} values")
        place += gap
    if place > length:
        raise ValueError("cut short")
    at = np.array(places, np.int64).reshape(element.count, len(steps))
    cursor = at[:, 0] - steps[0][0]
    column = 0
    for name, (size_type, kind) in element.types.items():
        if size_type is None:
            element.data[name] = _gathered(content, cursor, order + kind)
            cursor = cursor + np.dtype(kind).itemsize
            continue
        sizes = _gathered(content, at[:, column], order + size_type).astype(np.int64)
        item = np.dtype(kind).itemsize
        first = at[:, column] + np.dtype(size_type).itemsize
        each = np.repeat(first - (np.cumsum(sizes) - sizes) * item, sizes) + np.arange(sizes.sum()) * item
        element.data[name] = Lists(sizes, _gathered(content, each, order + kind))
        cursor, column = first + sizes * item, column + 1
    return place


def _reader(content: bytes, kind: str) -> Callable[[int], int]:
    """A function that reads the number at a place."""
    if np.dtype(kind) == np.uint8:
        return content.__getitem__
    letters = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "f4": "f", "f8": "d"}
    unpack = struct.Struct(kind[0] + letters[kind[1:]]).unpack_from
    return lambda place: int(unpack(content, place)[0])


def _gathered(content: bytes, places: np.ndarray, kind: str) -> np.ndarray:
    """(N,) numbers at places of any alignment."""
    dtype = np.dtype(kind)
    if not len(places):
        return np.zeros(0, dtype)
    windows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(content, np.uint8), dtype.itemsize)
    return windows[places].reshape(-1).view(dtype)


def save_ply(path: str | Path, cloud: PointCloud) -> None:
    """Write a binary little-endian .ply: x y z nx ny nz float32, red green blue uint8."""
    table = np.empty(len(cloud), _RECORD)
    for axis, letter in enumerate("xyz"):
        table[letter] = cloud.points[:, axis]
        table[f"n{letter}"] = cloud.normals[:, axis]
    for axis, name in enumerate(("red", "green", "blue")):
        table[name] = np.rint(np.clip(cloud.colors[:, axis], 0, 1) * 255)
    names = {"f4": "float", "u1": "uchar"}
    lines = [f"property {names[kind[-2:]]} {name}" for name, kind in _RECORD]
    head = "\n".join(["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}", *lines, "end_header\n"])
    with atomic_path(path) as partial, open(partial, "wb") as stream:
        stream.write(head.encode())
        stream.write(table.tobytes())


def load_ply(path: str | Path) -> PointCloud:
    """Read the vertices of a .ply, ours or another's: ascii or binary, normals and colours 0 where it has none.

    Raises:
      InputError: no such file, not a .ply, cut short, no x y z.
    """
    path = Path(path)
    vertex = read_elements(path)[0].get("vertex", NOTHING)
    try:
        points, normals = vertex.columns("x", "y", "z"), vertex.columns("nx", "ny", "nz")
        found = vertex.colors()
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if points is None:
        raise InputError(f"{path}: vertices without x, y, z")
    zero = np.zeros_like(points)
    return PointCloud(
        points, zero if normals is None else normals, (zero if found is None else found).astype(np.float32)
    )


_RECORD = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [
    (name, "u1") for name in ("red", "green", "blue")
]
