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


def _train(stage: str, way: str, limit_s: float, *overrides: str, needs: tuple[str, ...] = ()) -> Step:
    arguments = {"stage": stage, "overrides": overrides, "way": way}
    return Step(f"train {stage} {way}", limit_s, "training", "measure", LIBRARIES + needs, arguments)


def _stage(stage: str) -> list[Step]:
    reference = Step(f"loss {stage} on the CPU", 240, "training", "reference", LIBRARIES, {"stage": stage})
    return [
        reference,
        _train(stage, "fp32", 120),
        _train(stage, "bf16", 120, "train.precision=bf16"),
        _train(stage, "tf32", 120, "train.tf32=true"),
        _train(stage, "fp16", 120, "train.precision=fp16"),
    ]


def _further(stage: str) -> list[Step]:
    steps = [
        _train(stage, "bf16 compile", 300, "train.precision=bf16", "train.compile=true"),
        _train(stage, "cache", 120, "train.cache_dir={out}/cache/{stage}"),
        _train(stage, "bf16 checkpointing", 120, "train.precision=bf16", "train.gradient_checkpointing=true"),
        _train(stage, "adamw8bit", 120, "train.optimizer=adamw8bit", needs=("bitsandbytes",)),
        _train(stage, "fp32 compile", 300, "train.compile=true"),
    ]
    if stage != "upsampler":  # the decoder has no attention to replace
        steps.insert(2, _train(stage, "bf16 xformers", 120, "train.precision=bf16", "train.attention=xformers",
                               needs=("xformers",)))  # fmt: skip
    return steps


STAGES = ("diffusion", "upsampler", "upsampler_unet")
STEPS = [
    Step("machine", 60, "machine", "describe"),
    Step("tests marked gpu", 300, "machine", "run_tests", ("pytest", *CASTING)),
    Step("casting", 180, "casting", "compare", CASTING),
    Step("encoders", 120, "training", "write_encoders", LIBRARIES),
    *_stage(STAGES[0]),
    *_stage(STAGES[1]),
    *_stage(STAGES[2]),
    *_further(STAGES[0]),
    *_further(STAGES[1]),
    *_further(STAGES[2]),
    Step("plan against measured", 240, "training", "compare_plan", LIBRARIES),
    Step("sampling", 180, "sampling", "compare", LIBRARIES),
    Step("kill -9 and resume", 240, "processes", "kill_and_resume", LIBRARIES),
    Step("two processes on one card", 180, "processes", "two_processes", LIBRARIES),
    Step("FSDP", 180, "processes", "launch", LIBRARIES, {"name": "fsdp"}),
    Step("DeepSpeed", 180, "processes", "launch", (*LIBRARIES, "deepspeed"), {"name": "deepspeed_zero2"}),
    Step("Blender", 240, "blender", "render", CASTING),
]
