"""XRay <-> .npz: a CSR matrix of the array reshaped to (layers, 7 * height * width)."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from .errors import InputError
from .representation import RESOLUTION, XRay

KEYS = ("data", "indices", "indptr", "shape")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary file beside `path` that takes its place only when the block ends well.

    A reader, or a run that starts again after a kill, sees the old file or the whole new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial-{os.getpid()}{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def save_xray(path: str | Path, xray: XRay) -> None:
    """Write an X-Ray. The bytes depend on the X-Ray alone (no time stamps), so equal runs give equal files."""
    layers, height, width = xray.shape
    flat = xray.to_array().reshape(layers, 7 * height * width)
    flat += 0.0  # -0.0 becomes 0.0, which the sparse form cannot tell apart
    rows, columns = np.nonzero(flat)
    indptr = np.zeros(layers + 1, np.int32)
    indptr[1:] = np.cumsum(np.bincount(rows, minlength=layers))
    arrays = {
        "data": flat[rows, columns],
        "indices": columns.astype(np.int32),
        "indptr": indptr,
        "shape": np.array(flat.shape, np.int64),
        "size": np.array([height, width], np.int64),  # beyond the four CSR keys: tells non-square rays
    }
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            # A fixed date: zipfile stamps the clock otherwise. Level 1: 5 % larger, 70 % of the time saved.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)


def load_xray(path: str | Path, layers: int | None = None, stride: int = 1) -> XRay:
    """Read an X-Ray, the released files included.

    Args:
      layers: read only the first layers; all by default.
      stride: read every stride-th ray of both axes.
    Raises:
      InputError: no such file, cut short, keys or shapes that are not an X-Ray's.
    """
    path = Path(path)
    data, indices, indptr, shape, size = _read_csr(path)
    total, (height, width) = int(shape[0]), size
    layers = total if layers is None else layers
    if not 1 <= layers <= total:
        raise InputError(f"{path}: {layers} layers asked for, the file has {total}")
    if stride < 1 or height % stride or width % stride:
        raise InputError(f"{path}: {height} x {width} rays cannot be read with stride {stride}")
    end = int(indptr[layers])
    row = np.repeat(np.arange(layers), np.diff(indptr[: layers + 1]))
    channel, pixel = np.divmod(indices[:end], height * width)
    i, j = np.divmod(pixel, width)
    values = data[:end]
    if stride > 1:
        keep = (i % stride == 0) & (j % stride == 0)
        row, channel, i, j, values = row[keep], channel[keep], i[keep] // stride, j[keep] // stride, values[keep]
    array = np.zeros((layers, 7, height // stride, width // stride), np.float32)
    array[row, channel, i, j] = values
    return XRay.from_array(array)


def _read_csr(path: Path):
    """The checked CSR members of a file and its (height, width)."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError(f"{path}: not an .npz archive")
            missing = [key for key in KEYS if key not in archive.files]
            if missing:
                raise InputError(f"{path}: lacks {', '.join(missing)}; expected the CSR keys {', '.join(KEYS)}")
            data, indices, indptr, shape = (archive[key] for key in KEYS)
            size = archive["size"] if "size" in archive.files else None
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except InputError:
        raise
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise InputError(f"{path}: not readable as .npz ({type(error).__name__}: {str(error)[:80]})") from None
    for key, array in (("indices", indices), ("indptr", indptr), ("shape", shape)):
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise InputError(f"{path}: {key} is {array.dtype} {array.shape}, expected a list of whole numbers")
    if data.dtype.kind != "f" or data.ndim != 1 or shape.shape != (2,) or shape.min() < 1:
        raise InputError(f"{path}: data is {data.dtype} {data.shape}, shape is {shape}; not an X-Ray's")
    size = _size(path, shape, size)
    if shape[0] * shape[1] > 2**29:
        raise InputError(f"{path}: shape {tuple(shape.tolist())} is larger than any X-Ray")
    counts_agree = len(indptr) == shape[0] + 1 and indptr[0] == 0 and indptr[-1] == len(data) == len(indices)
    if not counts_agree or (np.diff(indptr) < 0).any():
        raise InputError(f"{path}: indptr, indices and data do not belong together")
    if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < shape[1]):
        raise InputError(f"{path}: indices reach outside shape {tuple(shape.tolist())}")
    return data.astype(np.float32, copy=False), indices, indptr, shape, size


def _size(path: Path, shape: np.ndarray, size: np.ndarray | None) -> tuple[int, int]:
    """(height, width): as stored, or square as in the released files, which do not store it."""
    pixels, remainder = divmod(int(shape[1]), 7)
    if size is None:
        side = round(pixels**0.5)
        size = np.array([side, side])
    if (
        remainder
        or size.shape != (2,)
        or size.dtype.kind not in "iu"
        or int(size[0]) * int(size[1]) != pixels
        or pixels < 1
    ):
        raise InputError(
            f"{path}: shape {tuple(shape.tolist())} is not (layers, 7 * height * width), "
            f"as (16, {7 * RESOLUTION * RESOLUTION}) of 16 layers of {RESOLUTION} x {RESOLUTION} rays"
        )
    return int(size[0]), int(size[1])
