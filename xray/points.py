"""XRay -> point cloud, and point clouds as .ply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .camera import Camera
from .errors import InputError
from .representation import XRay
from .storage import atomic_path

FRAMES = ("camera", "world")
"""Frames that points may be asked in; "world" is the object's frame, z-up."""


@dataclass(frozen=True)
class PointCloud:
    """Points with normals and colours.

    Attributes:
      points: (N, 3) float64, object units.
      normals: (N, 3) float64, unit.
      colors: (N, 3) float32, sRGB in [0, 1].
    """

    points: np.ndarray
    normals: np.ndarray
    colors: np.ndarray

    def __post_init__(self) -> None:
        for name in ("points", "normals", "colors"):
            shape = getattr(self, name).shape
            if shape != (len(self.points), 3):
                raise InputError(f"{name} of shape {shape}: expected ({len(self.points)}, 3)")

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, rows) -> PointCloud:
        """The chosen points: a slice, a mask or a list of numbers."""
        return PointCloud(self.points[rows], self.normals[rows], self.colors[rows])


def check_frame(frame: str) -> str:
    """`frame`, or InputError where it is none of `FRAMES`."""
    if frame not in FRAMES:
        raise InputError(f"frame {frame!r}: expected one of {', '.join(FRAMES)}")
    return frame


def to_points(xray: XRay, camera: Camera, frame: str = "camera") -> PointCloud:
    """Every hit as a point, o + depth * ray, layer by layer and row by row.

    Which hits there are was decided when the X-Ray was made or decoded (`Codec.decode`); nothing is dropped here.

    Args:
      camera: any size whose columns and rows are in the X-Ray's proportion.
      frame: "camera", or "world" to apply the camera's pose.
    """
    check_frame(frame)
    camera = fit_camera(camera, xray)
    hit = xray.hit
    points = camera.unproject(xray.depth.astype(np.float64))[hit]
    normals = xray.normal[hit].astype(np.float64)
    if frame == "world":
        points = camera.to_world(points)
        normals = normals @ camera.world_from_camera[:3, :3].T
    return PointCloud(points, normals, xray.color[hit])


def fit_camera(camera: Camera, xray: XRay) -> Camera:
    """The camera at the X-Ray's number of rays."""
    height, width = xray.shape[1:]
    fitted = camera.at(width)
    if fitted.height != height:
        raise InputError(f"camera of {fitted.width} x {fitted.height} pixels for {width} x {height} rays")
    return fitted


PLY_TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8",
}  # fmt: skip
"""Names of the PLY format's scalar types (http://paulbourke.net/dataformats/ply/) and numpy's."""

_RECORD = [(name, "<f4") for name in ("x", "y", "z", "nx", "ny", "nz")] + [
    (name, "u1") for name in ("red", "green", "blue")
]


def save_ply(path: str | Path, cloud: PointCloud) -> None:
    """Write a binary little-endian .ply: x y z nx ny nz float32, red green blue uint8."""
    table = np.empty(len(cloud), _RECORD)
    for axis, letter in enumerate("xyz"):
        table[letter] = cloud.points[:, axis]
        table[f"n{letter}"] = cloud.normals[:, axis]
    for axis, name in enumerate(("red", "green", "blue")):
        table[name] = np.rint(np.clip(cloud.colors[:, axis], 0, 1) * 255)
    names = {"<f4": "float", "u1": "uchar"}
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(cloud)}"]
    lines += [f"property {names[kind]} {name}" for name, kind in _RECORD]
    with atomic_path(path) as partial:
        partial.write_bytes("\n".join([*lines, "end_header", ""]).encode() + table.tobytes())


def load_ply(path: str | Path) -> PointCloud:
    """Read the vertices of a .ply, ours or another's: ascii or binary, normals and colours 0 where it has none.

    Raises:
      InputError: no such file, not a .ply, cut short, no x y z.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    head, found, body = content.partition(b"end_header")
    if not content.startswith(b"ply") or not found:
        raise InputError(f"{path}: not a .ply (no header)")
    body = body[2:] if body.startswith(b"\r\n") else body[1:]
    form, count, record = _header(path, head.decode("ascii", "replace"))
    table = _rows(path, body, form, count, record)
    missing = [letter for letter in "xyz" if letter not in table]
    if missing:
        raise InputError(f"{path}: vertices without {', '.join(missing)}")
    zero = np.zeros(count)
    points, normals, colors = (
        np.stack([table.get(name, zero).astype(np.float64) for name in names], axis=1)
        for names in (("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue"))
    )
    integer = table.get("red", zero).dtype.kind in "iu"
    return PointCloud(points, normals, (colors / 255 if integer else colors).astype(np.float32))


def _header(path: Path, text: str) -> tuple[str, int, list[tuple[str, str]]]:
    """Format, number of vertices, and (name, numpy type) of each property of a vertex."""
    form, count, record, element = "", None, [], ""
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["format"] and len(words) == 3:
            form = words[1]
        elif words[:1] == ["element"] and len(words) == 3:
            if element == "":
                first = words[1]
            element = words[1]
            if element == "vertex":
                if first != "vertex" or not words[2].isdigit():
                    raise InputError(f"{path}: expected the vertices first in the file, with their number")
                count = int(words[2])
        elif words[:1] == ["property"] and element == "vertex":
            if len(words) != 3 or words[1] not in PLY_TYPES:
                raise InputError(f"{path}: vertex property {' '.join(words[1:])!r} is not a scalar")
            record.append((words[2], PLY_TYPES[words[1]]))
    if form not in ("ascii", "binary_little_endian", "binary_big_endian") or count is None or not record:
        raise InputError(f"{path}: header without a known format and vertices")
    return form, count, record


def _rows(path: Path, body: bytes, form: str, count: int, record: list[tuple[str, str]]) -> dict[str, np.ndarray]:
    """Name -> (count,) values of each property."""
    if form == "ascii":
        words = body.split(maxsplit=count * len(record))[: count * len(record)]
        try:
            values = np.array(words, dtype=np.float64)
        except ValueError:
            raise InputError(f"{path}: a vertex is not made of numbers") from None
        if len(values) != count * len(record):
            raise InputError(f"{path}: cut short, {len(values) // len(record)} of {count} vertices")
        columns = values.reshape(count, len(record)).T
        return {name: column.astype(kind) for (name, kind), column in zip(record, columns, strict=True)}
    order = "<" if form == "binary_little_endian" else ">"
    kind = np.dtype([(name, order + code) for name, code in record])
    if len(body) < count * kind.itemsize:
        raise InputError(f"{path}: cut short, {len(body) // kind.itemsize} of {count} vertices")
    table = np.frombuffer(body, kind, count)
    return {name: table[name] for name, _ in record}
