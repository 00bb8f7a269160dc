"""npz files: the published loader reads ours, ours reads the published files, and damaged ones are named."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.made_xrays import random_xray
from scipy.sparse import csr_matrix

from xray.common.errors import InputError
from xray.common.files import atomic_path
from xray.core.storage import load_sparse, load_xray, save_xray

RELEASED = Path(__file__).parents[3] / "shared/reference/dataset"
FILES = sorted(RELEASED.glob("xrays/*/*.npz"))
needs_released = pytest.mark.skipif(not FILES, reason=f"the released example data are not at {RELEASED}")


def published_load_xray(xray_path):
    """The loader that users of the released data have in their scripts, as its README gives it."""
    loaded_data = np.load(xray_path)
    loaded_sparse_matrix = csr_matrix(
        (loaded_data["data"], loaded_data["indices"], loaded_data["indptr"]), shape=loaded_data["shape"]
    )
    original_shape = (16, 1 + 3 + 3, 256, 256)
    return loaded_sparse_matrix.toarray().reshape(original_shape)


@pytest.mark.parametrize("seed", range(2))
def test_published_loader_reads_our_files_bit_for_bit(tmp_path, seed):
    xray = random_xray(seed, 16, 256, 256)
    save_xray(tmp_path / "000.npz", xray)
    assert published_load_xray(tmp_path / "000.npz").tobytes() == xray.to_array().tobytes()


@needs_released
@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name[:6]}-{path.stem}")
def test_released_files_both_ways(tmp_path, path):
    theirs = published_load_xray(path)
    xray = load_xray(path)
    assert xray.to_array().tobytes() == theirs.tobytes()
    save_xray(tmp_path / "again.npz", xray)
    assert published_load_xray(tmp_path / "again.npz").tobytes() == theirs.tobytes()
    with np.load(path) as old, np.load(tmp_path / "again.npz") as new:
        for key in old.files:
            assert (new[key].dtype, new[key].tobytes()) == (old[key].dtype, old[key].tobytes()), key


@pytest.mark.parametrize("shape", [(4, 6, 10), (1, 1, 1), (3, 12, 4), (16, 8, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_round_trip_and_partial_reads(tmp_path, shape, seed):
    xray = random_xray(seed, *shape)
    path = tmp_path / "object" / "000.npz"
    save_xray(path, xray)
    assert load_xray(path).to_array().tobytes() == xray.to_array().tobytes()
    for layers in range(1, shape[0] + 1):
        for stride in (s for s in range(1, 13) if shape[1] % s == 0 and shape[2] % s == 0):
            expected = xray.keep(layers).subsample(stride).to_array()
            assert load_xray(path, layers, stride).to_array().tobytes() == expected.tobytes()
    assert load_sparse(path.read_bytes(), "memory").to_xray().to_array().tobytes() == xray.to_array().tobytes()


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint32, np.int64, np.uint64, ">i4"])
def test_any_whole_numbers_will_do(tmp_path, dtype):
    xray = random_xray(2, 3, 8, 32)
    save_xray(tmp_path / "000.npz", xray)
    content = members(tmp_path / "000.npz")
    np.savez(tmp_path / "000.npz", **{key: a if key == "data" else a.astype(dtype) for key, a in content.items()})
    for stride in (1, 4):
        read = load_xray(tmp_path / "000.npz", 2, stride)
        assert read.to_array().tobytes() == xray.keep(2).subsample(stride).to_array().tobytes()


def test_files_depend_on_the_xray_alone(tmp_path):
    for name in ("a.npz", "b.npz"):
        save_xray(tmp_path / name, random_xray(7))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "000.npz"
    path.write_bytes(b"old")

    def write_half():
        with atomic_path(path) as partial:
            partial.write_bytes(b"half of the n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("000.npz", b"old")]


def members(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


DAMAGES = {
    "lacks indptr": lambda m: m.pop("indptr"),
    "not an X-Ray's": lambda m: m.update(data=m["data"].astype(np.int32)),
    "expected a list of whole numbers": lambda m: m.update(indices=m["indices"].astype(np.float32)),
    "is not (layers, 7 * height * width)": lambda m: m.update(shape=m["shape"] + 1),
    "larger than any X-Ray": lambda m: m.update(shape=np.array([2**40, 420]), size=np.array([6, 10])),
    "do not belong together": lambda m: m.update(data=m["data"][:-1]),
    "indices reach outside": lambda m: m["indices"].__setitem__(3, 420),
    "a value is stored twice": lambda m: m["indices"].__setitem__(3, m["indices"][2]),
    "must be finite": lambda m: m["data"].__setitem__(3, np.nan),
    "must not be negative": lambda m: m["data"].__setitem__(0, -1),
    "must have length 1": lambda m: m["data"].__setitem__(slice(None), 0.5),
}


@pytest.mark.parametrize("reason", DAMAGES)
def test_damaged_content_is_named(tmp_path, reason):
    path = tmp_path / "000.npz"
    save_xray(path, random_xray(1))
    content = members(path)
    DAMAGES[reason](content)
    np.savez(path, **content)
    with pytest.raises(InputError) as error:
        load_xray(path)
    assert str(path) in str(error.value)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_unreadable_files_are_named(tmp_path):
    path = tmp_path / "000.npz"
    save_xray(path, random_xray(1))
    whole = path.read_bytes()
    for content in (b"", b"not a zip", whole[: len(whole) // 2], whole[:-40]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"000\.npz: not readable as \.npz"):
            load_xray(path)
    with zipfile.ZipFile(path, "w") as archive:
        for key in ("data", "indices", "indptr", "shape"):
            archive.writestr(f"{key}.npy", b"\x93NUMPY\x01\x00junk")
    with pytest.raises(InputError, match=r"000\.npz: not readable"):
        load_xray(path)
    with pytest.raises(InputError, match=r"missing\.npz: no such file"):
        load_xray(tmp_path / "missing.npz")
    with pytest.raises(InputError, match="not readable"):
        load_xray(tmp_path)


def test_impossible_parts_are_named(tmp_path):
    path = tmp_path / "000.npz"
    save_xray(path, random_xray(1))
    for layers, stride, expected in ((0, 1, "0 layers"), (5, 1, "5 layers"), (1, 4, "stride 4"), (1, 0, "stride 0")):
        with pytest.raises(InputError, match=rf"000\.npz: .*{expected}"):
            load_xray(path, layers, stride)
