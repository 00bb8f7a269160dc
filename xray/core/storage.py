"""X-Rays as .npz files: a CSR matrix of the array reshaped to (layers, 7 * height * width)."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..common.errors import InputError
from ..common.files import atomic_path, reading
from .xray import RESOLUTION, SparseXRay, XRay

KEYS = ("data", "indices", "indptr", "shape")

MAX_VALUES = 2**29
"""Values of the largest array that is read: so that a damaged shape does not use up the memory."""

MAX_BYTES = 8 * MAX_VALUES + 2**20

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    TypeError,
    SyntaxError,
    NotImplementedError,
    RuntimeError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What `zipfile` and the .npy header's parser raise for damaged files."""


def save_xray(path: str | Path, xray: XRay) -> None:
    """Write an X-Ray. The bytes depend on the X-Ray alone (no time stamps), so equal runs give equal files."""
    save_sparse(path, SparseXRay.from_xray(xray))


def save_sparse(path: str | Path, sparse: SparseXRay) -> None:
    """As `save_xray`, from the stored values themselves, which must be in order and free of zeros."""
    layers, height, width = sparse.shape
    arrays = {
        "data": sparse.value,
        "indices": sparse.column.astype(np.int32, copy=False),
        "indptr": sparse.indptr.astype(np.int32, copy=False),
        "shape": np.array([layers, 7 * height * width], np.int64),
        "size": np.array([height, width], np.int64),  # beside the four CSR keys: for rays that are not square
    }
    with atomic_path(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            # A fixed date: zipfile stamps the clock otherwise. Level 1: 5 % larger, 70 % of the time saved.
            member = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(array), allow_pickle=False)
            archive.writestr(member, content.getbuffer(), zipfile.ZIP_DEFLATED, 1)


def load_xray(path: str | Path, layers: int | None = None, stride: int = 1) -> XRay:
    """Read an X-Ray, the released files included, and check it.

    Args:
      layers: read only the first layers; all by default.
      stride: read every stride-th ray of both axes.
    Raises:
      InputError: no such file, cut short, keys, shapes or values that are not an X-Ray's.
    """
    sparse = load_sparse(path)
    total, height, width = sparse.shape
    layers = total if layers is None else layers
    if not 1 <= layers <= total:
        raise InputError(f"{path}: {layers} layers asked for, the file has {total}")
    if stride < 1 or height % stride or width % stride:
        raise InputError(f"{path}: {height} x {width} rays cannot be read with stride {stride}")
    return sparse.keep(layers).subsample(stride).to_xray().validate(str(path))


def load_sparse(source: str | Path | bytes, name: str | Path | None = None) -> SparseXRay:
    """Read the stored values and check their form only; `XRay.validate` checks that they make an X-Ray.

    Args:
      source: a path, or the file's content; name: what errors call it (the path by default).
    Raises:
      InputError: no such file, cut short, keys or shapes that are not an X-Ray's.
    """
    name = source if name is None else name
    arrays = _read_members(source, name)
    data, indices, indptr, shape = (arrays[key] for key in KEYS)
    for key, array in (("indices", indices), ("indptr", indptr), ("shape", shape)):
        if array.dtype.kind not in "iu" or array.ndim != 1:
            raise InputError(f"{name}: {key} is {array.dtype} {array.shape}, expected a list of whole numbers")
    if data.dtype.kind != "f" or data.ndim != 1 or shape.shape != (2,) or shape.min() < 1:
        raise InputError(f"{name}: data is {data.dtype} {data.shape}, shape is {shape}; not an X-Ray's")
    height, width = _size(name, shape, arrays.get("size"))
    if int(shape[0]) * int(shape[1]) > MAX_VALUES:
        raise InputError(f"{name}: shape {tuple(shape.tolist())} is larger than any X-Ray")
    counts_agree = len(indptr) == shape[0] + 1 and indptr[0] == 0 and indptr[-1] == len(data) == len(indices)
    if not counts_agree or (indptr[1:] < indptr[:-1]).any():
        raise InputError(f"{name}: indptr, indices and data do not belong together")
    if len(indices) and not (int(indices.min()) >= 0 and int(indices.max()) < shape[1]):
        raise InputError(f"{name}: indices reach outside shape {tuple(shape.tolist())}")
    indptr, indices = indptr.astype(np.int64), indices.astype(np.int32, copy=False)  # in range, whatever they were
    sparse = SparseXRay((int(shape[0]), height, width), indptr, indices, data.astype(np.float32, copy=False))
    if sparse.has_repeats():
        raise InputError(f"{name}: a value is stored twice")
    return sparse


def _read_members(source: str | Path | bytes, name: str | Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, other arrays left out.

    `np.load` reads a member in small pieces; taking each whole is a quarter faster, with the same checks (CRC).
    """
    content = io.BytesIO(source) if isinstance(source, bytes) else source
    with reading(name, ".npz", UNREADABLE), zipfile.ZipFile(content) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        missing = [key for key in KEYS if key not in members]
        if missing:
            raise InputError(f"{name}: lacks {', '.join(missing)}; expected the CSR keys {', '.join(KEYS)}")
        wanted = [key for key in (*KEYS, "size") if key in members]
        if sum(members[key].file_size for key in wanted) > MAX_BYTES:
            raise InputError(f"{name}: larger than any X-Ray")
        return {key: _parse_npy(archive.read(members[key])) for key in wanted}


def _parse_npy(content: bytes) -> np.ndarray:
    """The array of an .npy file, without a copy."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read_header:
        raise ValueError(f"npy version {version}")
    shape, _, dtype = read_header[version](stream)
    if dtype.hasobject or len(shape) != 1:
        raise ValueError(f"npy array of {dtype} {shape}")
    return np.frombuffer(content, dtype, count=shape[0], offset=stream.tell())


def _size(name: str | Path, shape: np.ndarray, size: np.ndarray | None) -> tuple[int, int]:
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
            f"{name}: shape {tuple(shape.tolist())} is not (layers, 7 * height * width), "
            f"as (16, {7 * RESOLUTION * RESOLUTION}) of 16 layers of {RESOLUTION} x {RESOLUTION} rays"
        )
    return int(size[0]), int(size[1])
