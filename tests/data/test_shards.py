"""Tar shards: the same samples and the same split as the files, whoever reads which part."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.made_xrays import make_dataset
from torch.utils.data import DataLoader

from xray.common.errors import InputError
from xray.core.codec import Codec
from xray.data.dataset import XRayDataset
from xray.data.manifest import read_manifest
from xray.data.shards import TarShards
from xray.preprocess.pack import pack_dataset
from xray.training.batches import OrderedSamples, SampleNumbers, collate

ROOT = Path(__file__).parents[2]
CODEC = Codec(layers=3, resolution=8)
SIZE = 20


def read(root: Path, split: str = "all") -> XRayDataset:
    return XRayDataset(root, CODEC, split, SIZE, eval_fraction=0.4)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """12 views of 4 objects."""
    return make_dataset(tmp_path_factory.mktemp("files"))


@pytest.fixture(scope="module")
def packed(files, tmp_path_factory):
    """By views a shard: 1 shard of all, 3 shards with an uneven last one, a shard a view."""
    roots = {}
    for views in (100, 5, 1):
        roots[views] = tmp_path_factory.mktemp(f"shards{views}")
        assert pack_dataset(files, roots[views], views, workers=0) == 0
    return roots


@pytest.mark.parametrize("views", [100, 5, 1])
def test_samples_and_splits_are_those_of_the_files(files, packed, views):
    assert len(list((packed[views] / "shards").glob("*.tar"))) == -(-12 // views)
    for split in ("all", "train", "test"):
        plain, sharded = read(files, split), read(packed[views], split)
        assert sharded.rows == plain.rows
        for index in range(len(plain)):
            one, other = plain[index], sharded[index]
            assert one.keys() == other.keys()
            assert all(torch.equal(one[key], other[key]) for key in ("xray", "image"))
            assert all(one[key] == other[key] for key in ("object", "view", "index"))
            assert sharded.xray(index).to_array().tobytes() == plain.xray(index).to_array().tobytes()
            cameras = [dataset.camera(index, 16) for dataset in (plain, sharded)]
            assert cameras[0].fov_rad == cameras[1].fov_rad
            assert np.array_equal(cameras[0].world_from_camera, cameras[1].world_from_camera)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than cores, on purpose
@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_sample_is_read_once_an_epoch_by_any_ranks_and_workers(files, packed, ranks, workers):
    """Batches of 2, two epochs, from 1 and 3 shards: fewer than the workers, and with borders within batches."""
    plain = read(files)
    expected = {f"{item['object']}/{item['view']}": item for item in (plain[index] for index in range(12))}
    for views in (100, 5):
        seen = []
        for rank in range(ranks):
            loader = DataLoader(
                OrderedSamples(read(packed[views]), seed=7),
                batch_sampler=SampleNumbers(0, 2 * 12 // (2 * ranks), 2, rank, ranks),
                collate_fn=collate,
                num_workers=workers,
            )
            for batch in loader:
                assert not batch["skipped"]
                for place, name in enumerate(batch["names"]):
                    assert torch.equal(batch["xray"][place], expected[name]["xray"])
                    assert torch.equal(batch["image"][place], expected[name]["image"])
                seen += zip(batch["numbers"], batch["names"], strict=True)
        seen.sort()
        assert [number for number, _ in seen] == list(range(24))
        for epoch in (seen[:12], seen[12:]):
            assert sorted(name for _, name in epoch) == sorted(expected)


def test_shards_are_web_datasets(packed):
    """Members of one key stand together, and keys are whole: what programs that stream the tars rely on."""
    keys = []
    for path in sorted((packed[5] / "shards").glob("*.tar")):
        with tarfile.open(path) as archive:
            names = [member.name for member in archive]
        groups = [(key, list(group)) for key, group in itertools.groupby(names, lambda name: name.split(".")[0])]
        for key, group in groups:
            suffixes = [".npz", ".png"] + ([] if key.startswith("object00") else [".json"])
            assert group == [key + suffix for suffix in suffixes]
        keys += [key for key, _ in groups]
    assert len(keys) == len(set(keys)) == 12
    assert keys != sorted(keys)  # shuffled once and for all


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_packing_again_keeps_what_is_whole_and_makes_the_rest(files, packed, tmp_path):
    pack_dataset(files, tmp_path, 5, workers=0)
    whole = snapshot(tmp_path)
    assert whole == snapshot(packed[5])
    shards = tmp_path / "shards"
    kept = (shards / "000000.tar").stat().st_mtime_ns
    (shards / "index.csv").unlink()
    (shards / "000001.csv").unlink()
    (shards / "000002.tar").write_bytes((shards / "000002.tar").read_bytes()[:2000])
    (shards / ".000002.partial-17.tar").write_bytes(b"of a run that was killed")
    pack_dataset(files, tmp_path, 5, workers=0)
    assert snapshot(tmp_path) == whole
    assert (shards / "000000.tar").stat().st_mtime_ns == kept
    pack_dataset(files, tmp_path, 100, workers=0)
    assert snapshot(tmp_path) == snapshot(packed[100])


def test_a_view_that_cannot_be_packed_is_a_failed_row(tmp_path):
    root = make_dataset(tmp_path / "files", objects=3, views=2)
    damaged = root / "xrays/object01/001.npz"
    damaged.write_bytes(damaged.read_bytes()[:50])
    command = [sys.executable, ROOT / "scripts/pack_shards.py", "--workers", "2", "--views_per_shard", "4"]
    command += ["--data_root", root, "--shard_root", tmp_path / "packed"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert f"failed: {damaged}: not readable as .npz" in done.stderr
    rows = read_manifest(tmp_path / "packed/manifest.csv")
    assert [(row.object, row.view) for row in rows if row.status == "failed"] == [("object01", "001")]
    dataset = read(tmp_path / "packed")
    assert len([dataset[index] for index in range(len(dataset))]) == 5


def test_input_that_cannot_be_packed_is_one_line(files, tmp_path):
    for options in (["--data_root", "nowhere"], ["--data_root", files, "--views_per_shard", "0"]):
        command = [sys.executable, ROOT / "scripts/pack_shards.py", "--shard_root", tmp_path / "x", *options]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert done.stderr.startswith("error: ")
    with pytest.raises(InputError, match="folder of their own"):
        pack_dataset(files, files, 5, workers=0)


def test_a_data_set_of_one_kind_is_not_taken_for_the_other(files, packed, tmp_path):
    """Packing shards again would find no file of them; and neither kind's manifest may replace the other's."""
    with pytest.raises(InputError, match=r"packed already \(shards/index.csv\); expected one of files"):
        pack_dataset(packed[5], tmp_path / "again", 5, workers=0)
    assert not (tmp_path / "again").exists()
    other = make_dataset(tmp_path / "other", objects=1, views=1)
    before = snapshot(other)
    with pytest.raises(InputError, match="a data set of files; the shards need a folder of their own"):
        pack_dataset(files, other, 5, workers=0)
    assert snapshot(other) == before


def test_damaged_shards_are_named(files, tmp_path):
    pack_dataset(files, tmp_path, 100, workers=0)
    shards = tmp_path / "shards"
    tar, index = shards / "000000.tar", shards / "index.csv"
    whole, table = tar.read_bytes(), index.read_text()
    dataset = read(tmp_path)
    member = r"000000\.tar:object00/000\.npz: "
    tar.write_bytes(whole[512:])
    with pytest.raises(InputError, match=member + "the shard has .* index and shard differ|" + member + "not readable"):
        dataset[0]
    tar.write_bytes(b"")
    with pytest.raises(InputError, match=member):
        dataset[0]
    tar.unlink()
    with pytest.raises(InputError, match=member + ".*FileNotFoundError"):
        dataset[0]
    for content, reason in (
        ("", "not an index of shards"),
        (table.replace("xray_at", "at"), "not an index of shards"),
        (table.replace("000000.tar,", "000000.tar,x", 1), "line 2: not an entry"),
        (table.replace("000000.tar", "../secret.tar", 1), "line 2: shard"),
        ("\n".join(table.splitlines()[:-1]), "is accepted, but not in"),
    ):
        index.write_text(content)
        with pytest.raises(InputError, match=reason):
            TarShards(tmp_path).views()
