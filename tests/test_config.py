"""The configuration: what is known, what is refused, and the published recipe to the number."""

from pathlib import Path

import pytest

from xray.config import KEYS, flatten, load_config, to_yaml
from xray.errors import InputError
from xray.launch import train

CONFIGS = Path(__file__).parents[1] / "configs"


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
    "train.max_steps=0": "train.max_steps is 0, expected at least 1",
    "train.learning_rate=0": "train.learning_rate is 0.0, expected more than 0",
    "train.learning_rate=.nan": "train.learning_rate is nan, expected more than 0",
    "train=3": "train is a group of keys",
    "data.root.x=3": "data.root is a single value",
    "stage=third": "stage is 'third', expected one of diffusion, upsampler",
    "train.precision=no": "expected one of fp32, fp16, bf16",
    "noise.dropout=0.5": "at most 1/3",
    "model.kind=decoder": "unet in the diffusion stage",
    "model.block_out_channels=[30, 64]": "multiples of 32",
    "model.num_attention_heads=[3, 3, 3, 3]": "one divisor for each",
    "train.max_steps": "expected key=value",
    "data.root=[": "not YAML",
}


@pytest.mark.parametrize("override", REFUSED)
def test_what_cannot_be_used_is_refused_with_the_key(override):
    with pytest.raises(InputError, match="") as caught:
        load_config(CONFIGS / "diffusion.yaml", [override])
    assert REFUSED[override] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_overrides_win_in_their_order_and_read_scientific_notation():
    config = load_config(CONFIGS / "diffusion.yaml", ["train.seed=3", "train.learning_rate=4e-5", "train.seed=4"])
    assert (config.train.seed, config.train.learning_rate) == (4, 4e-5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("", "expected keys and values"), ("[1, 2]", "expected keys and values"), ("a: [", "not YAML"), (None, "no such")],
)
def test_a_file_that_is_no_configuration(tmp_path, content, reason):
    path = tmp_path / "config.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=reason) as caught:
        load_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dry_run_prints_the_resolved_configuration(capsys, tmp_path):
    path = CONFIGS / "example_diffusion.yaml"
    train("diffusion", ["--config", str(path), "--dry_run", "train.seed=9", f"output_dir={tmp_path}/out"])
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert load_config(tmp_path / "printed.yaml") == load_config(path, ["train.seed=9", f"output_dir={tmp_path}/out"])
    assert not (tmp_path / "out").exists()


def test_a_config_of_the_other_stage_is_refused():
    with pytest.raises(InputError, match=r"stage is upsampler, expected diffusion; use train_upsampler\.py"):
        train("diffusion", ["--config", str(CONFIGS / "upsampler.yaml")])
