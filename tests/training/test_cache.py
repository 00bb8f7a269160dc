"""The cache of the encoders' outputs: found again, bounded, keyed, and without a say in what is drawn."""

import pytest
import torch

from xray.common.errors import InputError
from xray.models.conditioner import load_conditioner
from xray.training.encoder_cache import EncoderCache
from xray.training.objectives import Denoising, Regression
from xray.training.random_streams import RandomStreams


@pytest.fixture(scope="module")
def conditioner():
    return load_conditioner("example/encoders")


@pytest.fixture
def images():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def make(folder, conditioner, limit=1e9, variants=2, settings="a"):
    return EncoderCache(folder, limit, variants, settings, conditioner)


def test_each_image_is_encoded_once_a_variant_and_equal_when_found(tmp_path, conditioner, images):
    cache = make(tmp_path, conditioner)
    task = Denoising(conditioner, dropout=0.0, cache=cache)
    seen = []
    for step in range(12):
        condition = task.condition(images, RandomStreams(0, range(3 * step, 3 * step + 3)))
        seen += [
            (row, strength, condition.latent[row])
            for row, strength in enumerate(condition.added_time_ids[:, 2].tolist())
        ]
    assert cache.made == len(list(tmp_path.rglob("*.safetensors"))) == 6  # 3 images x 2 variants
    assert cache.found == 30
    by_key = {}
    for row, strength, latent in seen:
        assert torch.equal(by_key.setdefault((row, strength), latent), latent)
    assert len(by_key) == 6
    again = Denoising(conditioner, dropout=0.0, cache=make(tmp_path, conditioner))
    first = again.condition(images, RandomStreams(0, range(3)))
    assert again.cache.made == 0
    assert torch.equal(first.latent[0], seen[0][2])


def test_another_encoder_setting_or_image_is_another_key(tmp_path, conditioner, images):
    for settings in ("a", "b"):
        cache = make(tmp_path, conditioner, variants=1, settings=settings)
        Regression(conditioner, factor=2, cache=cache).cache.encode(
            images, RandomStreams(0, range(3)), Regression(conditioner).encode
        )
        assert cache.made == 3
    other = load_conditioner("example/encoders")
    with torch.no_grad():
        other.vae.quant_conv.weight.mul_(1.0001)
    cache = make(tmp_path, other, variants=1)
    cache.encode(images, RandomStreams(0, range(3)), Regression(other).encode)
    cache.encode(images + 1e-3, RandomStreams(0, range(3)), Regression(other).encode)
    assert cache.made == 6


def encode(cache, conditioner, images):
    return cache.encode(images, RandomStreams(0, range(len(images))), Regression(conditioner).encode)["latent"]


def sizes(folder):
    return [path.stat().st_size for path in folder.rglob("*.safetensors")]


def size_of_one(folder, conditioner, images):
    encode(make(folder, conditioner, variants=1), conditioner, images[:1])
    return sizes(folder)[0]


def test_the_bound_holds_and_what_does_not_fit_is_still_encoded(tmp_path, conditioner, images):
    size = size_of_one(tmp_path / "one", conditioner, images)
    cache = make(tmp_path / "cache", conditioner, limit=2 * size + 10, variants=1)
    for _ in range(2):
        assert encode(cache, conditioner, images).shape == (3, 4, 4, 4)
    assert sizes(tmp_path / "cache") == [size] * 2
    assert (cache.made, cache.found) == (4, 2)
    again = make(tmp_path / "cache", conditioner, limit=2 * size + 10, variants=1)  # the folder is full
    encode(again, conditioner, images)
    assert sizes(tmp_path / "cache") == [size] * 2


def test_processes_that_start_again_fill_the_folder_and_never_exceed_it(tmp_path, conditioner):
    images = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    size = size_of_one(tmp_path / "one", conditioner, images)
    folder, limit = tmp_path / "cache", 8 * size

    def start():
        return [EncoderCache(folder, limit, 1, "a", conditioner, processes=2) for _ in range(2)]

    first, _ = start()
    encode(first, conditioner, images[:6])  # the other process ends before it has written
    assert sum(sizes(folder)) == limit / 2
    for _ in range(2):
        one, other = start()
        encode(one, conditioner, images[:6])
        encode(other, conditioner, images[6:])
        assert sum(sizes(folder)) == limit


def test_a_damaged_entry_is_named_and_made_again(tmp_path, conditioner, images, caplog):
    cache = make(tmp_path, conditioner, variants=1)
    whole = cache.encode(images, RandomStreams(0, range(3)), Regression(conditioner).encode)
    path = sorted(tmp_path.rglob("*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:50])
    again = cache.encode(images, RandomStreams(0, range(3)), Regression(conditioner).encode)
    assert torch.allclose(whole["latent"], again["latent"], atol=1e-5)  # alone instead of in a batch
    assert f"{path}: damaged, made again" in caplog.text


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, conditioner):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file: cannot be made a folder of .*train.cache_dir.* \(File exists\)"):
        make(tmp_path / "file", conditioner)
