"""Which steps there are, most worthwhile first."""

from __future__ import annotations

from dataclasses import dataclass, field

LIBRARIES = ("diffusers", "transformers", "accelerate", "omegaconf", "safetensors")
CASTING = ("warp", "numpy", "trimesh", "scipy")


@dataclass(frozen=True)
class Step:
    """A function of one of the modules beside this file, called in a process of its own.

    Attributes:
      limit_s: it is stopped after this time.
      needs: packages; without one of them the step is absent.
    """

    name: str
    limit_s: float
    module: str
    function: str
    needs: tuple[str, ...] = ()
    arguments: dict = field(default_factory=dict)


PRECISIONS = {
    "fp32": (),
    "tf32": ("train.tf32=true",),
    "bf16": ("train.precision=bf16",),
    "fp16": ("train.precision=fp16",),
}
"""The arithmetic of a training, by its keys."""

COMPILE = "train.compile=true"


def _train(stage: str, way: str, limit_s: float, *overrides: str, needs: tuple[str, ...] = ()) -> Step:
    arguments = {"stage": stage, "overrides": overrides, "way": way}
    return Step(f"train {stage} {way}", limit_s, "training", "measure", LIBRARIES + needs, arguments)


def _first(stage: str) -> list[Step]:
    """The loss on the CPU, and the two ways of training that come first."""
    reference = Step(f"loss {stage} on the CPU", 240, "training", "reference", LIBRARIES, {"stage": stage})
    return [reference, *(_train(stage, name, 120, *PRECISIONS[name]) for name in ("fp32", "bf16"))]


def _further(stage: str) -> list[Step]:
    bf16 = PRECISIONS["bf16"]
    steps = [
        _train(stage, "bf16 compile", 300, *bf16, COMPILE),
        _train(stage, "cache", 120, "train.cache_dir={out}/cache/{stage}"),
        _train(stage, "tf32", 120, *PRECISIONS["tf32"]),
        _train(stage, "fp16", 120, *PRECISIONS["fp16"]),
        _train(stage, "bf16 checkpointing", 120, *bf16, "train.gradient_checkpointing=true"),
        _train(stage, "adamw8bit", 120, "train.optimizer=adamw8bit", needs=("bitsandbytes",)),
    ]
    if stage != "upsampler":  # the decoder has no attention to replace
        xformers = _train(stage, "bf16 xformers", 120, *bf16, "train.attention=xformers", needs=("xformers",))
        steps.insert(2, xformers)
    return steps


def _compiled(stage: str) -> list[Step]:
    """What is compiled and not yet in `_further`: minutes each."""
    return [_train(stage, f"{name} compile", 300, *PRECISIONS[name], COMPILE) for name in ("fp32", "tf32", "fp16")]


STAGES = ("diffusion", "upsampler", "upsampler_unet")
STEPS = [
    Step("machine", 60, "machine", "describe"),
    Step("tests marked gpu", 300, "machine", "run_tests", ("pytest", *CASTING)),
    Step("casting", 180, "casting", "compare", CASTING),
    Step("encoders", 120, "training", "write_encoders", LIBRARIES),
    *_first("diffusion"),
    *_first("upsampler"),
    # Whether everything runs and is right comes before how fast the further ways are.
    Step("kill -9 and resume", 240, "processes", "kill_and_resume", LIBRARIES),
    Step("two processes on one card", 180, "processes", "two_processes", LIBRARIES),
    Step("sampling", 180, "sampling", "compare", LIBRARIES),
    *_first("upsampler_unet"),
    *_further("diffusion"),
    Step("FSDP", 180, "processes", "launch", LIBRARIES, {"name": "fsdp"}),
    Step("DeepSpeed", 180, "processes", "launch", (*LIBRARIES, "deepspeed"), {"name": "deepspeed_zero2"}),
    Step("Blender", 240, "blender", "render", CASTING),
    *_further("upsampler"),
    *_further("upsampler_unet"),
    *(step for stage in STAGES for step in _compiled(stage)),
    Step("plan against measured", 240, "training", "compare_plan", LIBRARIES),  # takes no GPU
]
