"""The configuration: what is known, what is refused, and the published recipe to the number."""

import re
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from accelerate.tracking import LOGGER_TYPE_TO_CLASS

from xray.commands.train import train
from xray.common.errors import InputError
from xray.config import KEYS, TRACKERS, flatten, from_dict, load_config, to_yaml
from xray.core.codec import MISSES, Codec

CONFIGS = Path(__file__).parents[1] / "configs"
DEFAULTS = flatten(load_config(CONFIGS / "diffusion.yaml"))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_loads_and_its_resolved_form_reads_back_equal(path, tmp_path):
    config = load_config(path)
    (tmp_path / "resolved.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "resolved.yaml") == config
    assert tuple(flatten(config)) == KEYS


def test_published_first_stage():
    values = flatten(load_config(CONFIGS / "diffusion.yaml"))
    published = {
        "codec.layers": 8,
        "codec.resolution": 64,
        "codec.near": 0.6,
        "codec.miss": "zero",
        "data.image_size": 512,
        "model.pretrained": "stabilityai/stable-video-diffusion-img2vid",
        "model.init": "random",
        "model.block_out_channels": [64, 128, 256, 256],
        "model.num_attention_heads": [4, 8, 16, 16],
        "model.layers_per_block": 1,
        "model.transformer_layers_per_block": 1,
        "model.cross_attention_dim": 1024,
        "model.addition_time_embed_dim": 256,
        "noise.p_mean": 0.7,
        "noise.p_std": 1.6,
        "noise.mixture_fraction": 0.0,
        "noise.image_mean": -3.0,
        "noise.image_std": 0.5,
        "noise.dropout": 0.1,
        "noise.fps": 7,
        "noise.motion_bucket": 127,
        "loss.weighting": "published",
        "loss.miss_weight": 1.0,
        "train.batch_size": 14,
        "train.optimizer": "adamw",
        "train.learning_rate": 1e-4,
        "train.beta1": 0.9,
        "train.beta2": 0.999,
        "train.weight_decay": 1e-2,
        "train.epsilon": 1e-8,
        "train.schedule": "constant",
        "train.max_grad_norm": 1.0,
        "train.max_steps": 1_000_000,
        "train.first_stage": "",
        "sample.steps": 25,
        "sample.guidance_min": 1.0,
        "sample.guidance_max": 3.0,
        "sample.fps": 6,
    }
    assert {name: values[name] for name in published} == published


def test_published_second_stage():
    values = flatten(load_config(CONFIGS / "upsampler.yaml"))
    published = {
        "codec.resolution": 256,
        "model.kind": "decoder",
        "model.vae": "madebyollin/sdxl-vae-fp16-fix",
        "model.block_out_channels": [128, 256, 512],
        "model.factor": 4,
        "noise.low_max": 0.2,
        "noise.image_max": 0.2,
        "loss.hit_loss": 1.0,
        "loss.value_loss": 1.0,
        "train.learning_rate": 1e-4,
        "train.batch_size": 2,
        "train.first_stage": "",
    }
    assert {name: values[name] for name in published} == published
    earlier = flatten(load_config(CONFIGS / "upsampler_unet.yaml"))
    assert earlier["model.block_out_channels"] == [64, 128]
    assert earlier["model.num_attention_heads"] == [4, 8]
    assert earlier["noise.low_max"] == 0.1
    assert earlier["model.kind"] == "unet"
    assert earlier["codec.resolution"] == 256


REFUSED = {
    "train.max_step=5": "unknown key train.max_step; the nearest known key is train.max_steps",
    "learning_rate=1": "the nearest known key is train.learning_rate",
    "trane.seed=1": "the nearest known key is train.seed",
    "train.max_steps=abc": "train.max_steps: Value 'abc'",
    "train.max_steps=1.5": "train.max_steps: Value '1.5'",
    "train.max_steps=": "train.max_steps: Value ''",
    "train.max_steps=null": "train.max_steps: Incompatible value 'None'",
    "train.max_steps=???": "train.max_steps is '???', expected a value",
    "train.max_steps=0": "train.max_steps is 0, expected at least 1",
    "train.learning_rate=0": "train.learning_rate is 0.0, expected more than 0",
    "train.learning_rate=nan": "train.learning_rate is nan, expected a finite number",
    "train.max_grad_norm=inf": "train.max_grad_norm is inf, expected a finite number",
    "train.beta2=1": "train.beta2 is 1.0, expected at least 0 and less than 1",
    "train.seed=9223372036854775808": "expected a whole number from 0 to 2**63 - 1",
    "train.trackers=[tensorbord]": "train.trackers is ['tensorbord'], expected some of tensorboard, wandb",
    "train.first_stage=Output/a": "train.first_stage is 'Output/a', expected nothing: it is for the upsampler stage",
    "train=3": "train is a group of keys",
    "data.root.x=3": "data.root is a single value",
    "output_dir=": "output_dir is '', expected a text",
    "output_dir=${home}": "output_dir: Interpolation key 'home' not found",
    "stage=third": "stage is 'third', expected one of diffusion, upsampler",
    "train.precision=no": "expected one of fp32, fp16, bf16",
    "noise.dropout=0.5": "at most 1/3",
    "noise.p_mean=nan": "noise.p_mean is nan, expected a finite number",
    "sample.guidance_max=-inf": "sample.guidance_max is -inf, expected a finite number",
    "codec.near=3": "codec.far is 2.4, expected more than codec.near 3.0",
    "codec.near=-1": "codec.near is -1.0, expected 0 or more",
    "codec.far=0.6": "codec.far is 0.6, expected more than codec.near 0.6",
    "codec.miss=foo": "codec.miss is 'foo', expected one of zero, far, last",
    "codec.hit_threshold=1": "codec.hit_threshold is 1.0, expected at least -1 and less than 1",
    "codec.layers=0": "codec.layers is 0, expected at least 1",
    "codec.resolution=60": "codec.resolution is 60, expected a multiple of 8",
    "model.kind=decoder": "unet in the diffusion stage",
    "model.block_out_channels=[30, 64]": "multiples of 32",
    "model.block_out_channels=64": "model.block_out_channels: Invalid value assigned",
    "model.block_out_channels=[]": "at least one number",
    "model.num_attention_heads=[3, 3, 3, 3]": "one divisor for each",
    "model.attention=[true]": "empty, or 4 of true and false",
    "loss.channel_weights=[1, 1, 1]": "4 numbers of 0 or more",
    "loss.channel_weights=[1, 1, 1, -1]": "4 numbers of 0 or more",
    "loss.channel_weights=[0, 0, 0, 0]": "not all 0",
    "loss.channel_weights=[1, 1, 1, nan]": "expected a finite number",
    "train.max_steps": "expected key=value",
    "data.root=[": "not YAML",
    "train={seed: 1, seed: 2}": "the key seed stands twice",
}
UPSAMPLER_REFUSED = {
    "model.factor=3": "model.factor is 3, expected a power of 2, at least 2",
    "model.factor=1": "a power of 2, at least 2",
    "model.factor=2": "model.block_out_channels is [128, 256, 512], expected 2 numbers for a factor of 2",
    "codec.resolution=250": "codec.resolution is 250, expected a multiple of model.factor 4",
    "model.init=pretrained": "model.init is 'pretrained', expected random for the decoder",
    "train.attention=xformers": "train.attention is 'xformers', expected sdpa for the decoder",
}
CASES = [("diffusion", *case) for case in REFUSED.items()] + [
    ("upsampler", *case) for case in UPSAMPLER_REFUSED.items()
]


@pytest.mark.parametrize(("stage", "override", "reason"), CASES, ids=[case[1] for case in CASES])
def test_what_cannot_be_used_is_refused_with_the_key(stage, override, reason):
    with pytest.raises(InputError, match=re.escape(reason)) as caught:
        load_config(CONFIGS / f"{stage}.yaml", [override])
    assert "\n" not in str(caught.value)


FREE_TEXTS = {"data.root", "model.vae", "train.init_from", "train.first_stage", "train.cache_dir"}


@pytest.mark.parametrize("key", [key for key, value in DEFAULTS.items() if not isinstance(value, bool)])
def test_every_key_has_a_range(key):
    bad = {float: "nan", int: str(-(2**70)), str: "", list: "[]"}[type(DEFAULTS[key])]
    if key in FREE_TEXTS:
        assert flatten(load_config(CONFIGS / "upsampler.yaml", [f"{key}=any"]))[key] == "any"
    elif key not in ("train.trackers", "model.attention"):  # lists that may be empty
        with pytest.raises(InputError, match=f"{key} is ") as caught:
            load_config(CONFIGS / "diffusion.yaml", [f"{key}={bad}"])
        assert "expected" in str(caught.value)


def test_the_trackers_are_those_of_accelerate():
    assert set(TRACKERS) == set(map(str, LOGGER_TYPE_TO_CLASS))


@pytest.mark.parametrize("miss", MISSES)
def test_every_depth_of_a_miss_can_be_configured(miss):
    assert load_config(CONFIGS / "diffusion.yaml", [f"codec.miss={miss}"]).codec.miss == miss
    assert Codec() == Codec(**asdict(load_config(CONFIGS / "diffusion.yaml").codec))


TEXTS = ["2024", "1e3", "1.0e+3", "007", "0x10", "1_000", "on", "no", "2024-01-31", "12:30:45", "nan", ".5", "1e-4"]


@pytest.mark.parametrize("written", TEXTS)
def test_a_text_stays_as_it_was_written(written, tmp_path):
    keys = ("output_dir", "data.root", "model.pretrained", "train.cache_dir")
    config = load_config(CONFIGS / "diffusion.yaml", [f"{key}={written}" for key in keys])
    assert [flatten(config)[key] for key in keys] == [written] * 4
    (tmp_path / "a.yaml").write_text(f"output_dir: {written}\ndata: {{root: {written}}}\n")
    config = load_config(tmp_path / "a.yaml")
    assert (config.output_dir, config.data.root) == (written, written)
    (tmp_path / "b.yaml").write_text(to_yaml(config))
    assert load_config(tmp_path / "b.yaml") == config
    assert from_dict({"output_dir": written}, "here").output_dir == written


def test_the_type_of_a_key_reads_its_text():
    written = {
        "train.learning_rate": ("1e-4", 1e-4),
        "train.max_steps": ("1_000", 1000),
        "train.seed": ("007", 7),
        "data.background": ("1", 1.0),
        "train.compile": ("yes", True),
        "model.block_out_channels": ("[064, 128]", [64, 128]),
        "model.num_attention_heads": ("[4, 8]", [4, 8]),
        "model.attention": ("[true, off]", [True, False]),
        "loss.channel_weights": ("[1, 1e-1, .5, 2]", [1.0, 0.1, 0.5, 2.0]),
        "model.vae": ("", ""),
        "train.trackers": ("[]", []),
    }
    values = flatten(load_config(CONFIGS / "diffusion.yaml", [f"{key}={text}" for key, (text, _) in written.items()]))
    for key, (_, expected) in written.items():
        assert values[key] == expected
        assert type(values[key]) is type(expected)


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path):
    content = (CONFIGS / "example_diffusion.yaml").read_text()
    (tmp_path / "config.yaml").write_bytes(b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode())
    assert load_config(tmp_path / "config.yaml") == load_config(CONFIGS / "example_diffusion.yaml")


def test_overrides_win_in_their_order_and_read_scientific_notation():
    config = load_config(CONFIGS / "diffusion.yaml", ["train.seed=3", "train.learning_rate=4e-5", "train.seed=4"])
    assert (config.train.seed, config.train.learning_rate) == (4, 4e-5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "expected keys and values"),
        ("[1, 2]", "expected keys and values"),
        ("a: [", "not YAML"),
        ("[" * 5000, "not YAML .*recursion"),
        (None, "no such"),
        ("train: {seed: 1}\nmodel: {factor: 4}\ntrain: {compile: true}", "the key train stands twice"),
        ("data:\n", "data is a group of keys, got None"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path, content, reason):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=reason) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_flags_may_stand_anywhere_between_the_keys(capsys, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("stage: diffusion\n")
    train("diffusion", ["train.seed=9", "--config", str(path), "train.max_steps=7", "--dry_run", "train.batch_size=3"])
    shown = yaml.safe_load(capsys.readouterr().out)["train"]
    assert (shown["seed"], shown["max_steps"], shown["batch_size"]) == (9, 7, 3)


def test_a_dry_run_prints_the_resolved_configuration(capsys, tmp_path):
    path = CONFIGS / "example_diffusion.yaml"
    train("diffusion", ["--config", str(path), "--dry_run", "train.seed=9", f"output_dir={tmp_path}/out"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert load_config(tmp_path / "printed.yaml") == load_config(path, ["train.seed=9", f"output_dir={tmp_path}/out"])
    assert not (tmp_path / "out").exists()


def test_a_config_of_the_other_stage_is_refused():
    with pytest.raises(InputError, match=r"stage is upsampler, expected diffusion; use train_upsampler\.py"):
        train("diffusion", ["--config", str(CONFIGS / "upsampler.yaml")])
