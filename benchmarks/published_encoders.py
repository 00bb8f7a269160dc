"""The frozen encoders of the published recipe with random weights, for measurements without the real ones.

Time and memory of a step do not depend on the values of the weights. Shapes of the published parts are those of
their public configuration files; a local folder's are read there.
"""

from __future__ import annotations

from pathlib import Path

from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModelWithProjection

from xray.common.errors import InputError
from xray.models.conditioner import Conditioner, find_pretrained
from xray.models.example_encoders import make_scheduler

SVD = "stabilityai/stable-video-diffusion-img2vid"
SDXL_VAE = "madebyollin/sdxl-vae-fp16-fix"

CLIP = {
    SVD: {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "projection_dim": 1024,
        "hidden_act": "gelu",
    }
}
"""huggingface.co/<name>/blob/main/image_encoder/config.json"""

_VAE = {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4}
_VAE["down_block_types"] = ("DownEncoderBlock2D",) * 4
VAES = {
    SVD: (AutoencoderKLTemporalDecoder, {**_VAE, "sample_size": 768}),
    SDXL_VAE: (AutoencoderKL, {**_VAE, "up_block_types": ("UpDecoderBlock2D",) * 4, "sample_size": 512}),
}
"""huggingface.co/<name>/blob/main/vae/config.json, or config.json of a VAE by itself."""


def make_encoders(pretrained: str, vae: str = "", with_embedding: bool = True) -> Conditioner:
    """The conditioner that `load_conditioner` would load with the same arguments, with random weights.

    It is made on the default device: `with torch.device("meta")` makes shapes alone, in no memory.

    Raises:
      InputError: neither a local folder nor one of the published names.
    """
    encoder = processor = None
    if with_embedding:
        encoder, processor = CLIPVisionModelWithProjection(_clip_config(pretrained)), CLIPImageProcessorPil()
    cls, shape = _vae_config(vae or pretrained, None if vae else "vae")
    return Conditioner(encoder, cls.from_config(shape), processor)


def write_published(folder: Path) -> Path:
    """Write both published parts with random weights in the layout of Stable Video Diffusion (3 GB); `folder`."""
    conditioner = make_encoders(SVD)
    conditioner.image_encoder.save_pretrained(folder / "image_encoder")
    conditioner.vae.save_pretrained(folder / "vae")
    conditioner.image_processor.save_pretrained(folder / "feature_extractor")
    make_scheduler().save_pretrained(folder / "scheduler")
    return folder


def _clip_config(name: str) -> CLIPVisionConfig:
    folder = find_pretrained(name)
    if Path(folder).is_dir():
        try:
            return CLIPVisionConfig.from_pretrained(folder, subfolder="image_encoder")
        except (OSError, ValueError) as error:
            raise InputError(f"{name}/image_encoder: no configuration ({' '.join(str(error).split())[:160]})") from None
    if name not in CLIP:
        raise _unknown(name, CLIP)
    return CLIPVisionConfig(**CLIP[name])


def _vae_config(name: str, subfolder: str | None) -> tuple[type, dict]:
    folder = find_pretrained(name)
    if not Path(folder).is_dir():
        if name not in VAES:
            raise _unknown(name, VAES)
        return VAES[name]
    options = {"subfolder": subfolder} if subfolder else {}
    try:
        shape = AutoencoderKL.load_config(folder, **options)
    except (OSError, ValueError) as error:
        raise InputError(f"{name}: no configuration of a VAE ({' '.join(str(error).split())[:160]})") from None
    classes = {"AutoencoderKL": AutoencoderKL, "AutoencoderKLTemporalDecoder": AutoencoderKLTemporalDecoder}
    return classes[shape["_class_name"]], shape


def _unknown(name: str, known: dict) -> InputError:
    return InputError(f"model.pretrained or model.vae {name}: expected a local folder or one of {', '.join(known)}")
