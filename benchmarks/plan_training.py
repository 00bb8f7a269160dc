"""What a training asks of GPUs, calculated from its configuration; no GPU is needed.

    python benchmarks/plan_training.py --config configs/diffusion.yaml --gpu h100 --count 8 [key=value ...]

Operations and memory are counted on tensors without data (`training_cost`). Seconds follow from them and from two
assumptions, printed beside the result: which share of the card's peak rates a network of convolutions and small
matrices reaches. They are not a measurement; `scripts/check_gpu.sh` measures.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from training_cost import CONVOLUTION, PHASES, Cost, Work, measure

from xray.common.cli import entry
from xray.common.errors import InputError
from xray.config import Config, load_config

GIB, TERA = 2**30, 1e12
CONTEXT_GIB = 2.0
"""CUDA context, libraries and workspaces of convolutions: not in the count of tensors."""
GAPS = 0.05
"""Share of the memory that the allocator's rounding and gaps take."""
SAMPLE_BYTES = 1.1e6
"""Files of a view of the released example: X-Ray 847 KB (median) and picture."""


@dataclass(frozen=True)
class Card:
    """Data sheet of a GPU, dense rates (without sparsity).

    Attributes:
      memory_gib: of the card; bandwidth: bytes a second to it; link: bytes a second to the other GPUs, one way.
      tflops: {type of arithmetic: 10^12 operations a second, summed in float32}.
    """

    name: str
    memory_gib: float
    bandwidth: float
    link: float
    tflops: dict[str, float]
    source: str


def _card(name: str, memory_gib: float, bandwidth: float, link: float, rates: tuple[float, ...], source: str) -> Card:
    single, tf32, half = rates
    rates = {"fp32": single, "tf32": tf32, "bf16": half, "fp16": half}
    return Card(name, memory_gib, bandwidth, link, rates, source)


CARDS = {
    "h100": _card("H100 SXM 80 GB", 79.6, 3.35e12, 450e9, (66.9, 494.7, 989.4), "nvidia.com/en-us/data-center/h100"),
    "h200": _card("H200 SXM 141 GB", 139.8, 4.8e12, 450e9, (66.9, 494.7, 989.4), "nvidia.com/en-us/data-center/h200"),
    "a100": _card("A100 SXM 80 GB", 79.2, 2.039e12, 300e9, (19.5, 156.0, 312.0), "nvidia.com/en-us/data-center/a100"),
    "4090": _card(
        "GeForce RTX 4090", 23.6, 1.008e12, 25e9, (82.6, 82.6, 165.2), "NVIDIA Ada GPU architecture, version 2, table 2"
    ),
}


@dataclass(frozen=True)
class Plan:
    """The answers, for one configuration on a number of equal cards. Sizes in bytes, times in seconds."""

    card: str
    count: int
    batch: int
    precision: str
    cached: bool
    parameters: int
    encoder_parameters: int
    flops_a_sample: dict[str, float]
    flops_backward_checkpointing: float
    resident: dict[str, int]
    activations_a_sample: float
    activations_a_sample_checkpointing: float
    peak: int
    peak_checkpointing: int
    usable: int
    largest_batch: int
    largest_batch_checkpointing: int
    seconds: dict[str, float]
    step_seconds: float
    samples_a_second: float
    days: float
    gpu_hours: float
    read_a_second: float


def plan(config: Config, card: Card, count: int, share: float, memory_share: float, sample_bytes: float) -> Plan:
    """Calculate everything for `config` on `count` cards of one kind (each with the whole network, as DDP)."""
    train = config.train
    can_checkpoint = config.model.kind != "pixel_shuffle"  # as the configuration's check says
    costs = {on: measure(config, 2, checkpointing=on and can_checkpoint) for on in (False, True)}
    usable = round((card.memory_gib * (1 - GAPS) - CONTEXT_GIB) * GIB)
    cost = costs[train.gradient_checkpointing]
    seconds = phase_seconds(config, card, cost, share, memory_share)
    # DDP sends each gradient to all during the backward pass; what is longer than that pass is waited for.
    seconds["waiting for other GPUs"] = max(0.0, all_reduce_seconds(cost, card, count) - seconds["backward"])
    step = sum(seconds.values()) * train.accumulation
    samples = train.batch_size * train.accumulation * count
    buckets = cost.gradients if count > 1 else 0
    peaks = {on: costs[on].peak(train.batch_size) + buckets for on in costs}
    return Plan(
        card=card.name,
        count=count,
        batch=train.batch_size,
        precision=arithmetic(config),
        cached=bool(train.cache_dir),
        parameters=cost.parameters,
        encoder_parameters=cost.encoder_parameters,
        flops_a_sample={phase: costs[False].work[phase].total / 2 for phase in PHASES},
        flops_backward_checkpointing=costs[True].work["backward"].total / 2,
        resident={
            "weights": cost.weights,
            "gradients": cost.gradients,
            "optimizer": cost.optimizer,
            "average of the weights": cost.average,
            "encoders": cost.encoders,
            "buckets of DDP": buckets,
        },
        activations_a_sample=costs[False].working / 2,
        activations_a_sample_checkpointing=costs[True].working / 2,
        peak=peaks[False],
        peak_checkpointing=peaks[True],
        usable=usable,
        largest_batch=largest_batch(costs[False], usable - buckets),
        largest_batch_checkpointing=largest_batch(costs[True], usable - buckets),
        seconds=seconds,
        step_seconds=step,
        samples_a_second=samples / step,
        days=step * train.max_steps / 86400,
        gpu_hours=step * train.max_steps / 3600 * count,
        read_a_second=samples / step * sample_bytes,
    )


def arithmetic(config: Config) -> str:
    """The type that the network's matrix products run in."""
    return "tf32" if config.train.precision == "fp32" and config.train.tf32 else config.train.precision


def phase_seconds(config: Config, card: Card, cost: Cost, share: float, memory_share: float) -> dict[str, float]:
    """{phase: seconds} of one micro-batch of the configuration's size.

    The longer of arithmetic and traffic counts. PyTorch lets convolutions of float32 run in TF32 by itself, and
    matrix products only where `train.tf32` says so; the encoders always run in float32.
    """
    single = "tf32" if config.train.tf32 else "fp32"
    seconds = {}
    for phase in PHASES:
        work = cost.work.get(phase, Work())
        half = config.train.precision if phase != "encoders" and config.train.precision != "fp32" else None
        rates = {kind: half or ("tf32" if kind == CONVOLUTION else single) for kind in work.flops}
        compute = sum(flops / (card.tflops[rates[kind]] * TERA * share) for kind, flops in work.flops.items())
        traffic = work.moved / (card.bandwidth * memory_share)
        seconds[phase] = max(compute, traffic) * config.train.batch_size / cost.batch
    if config.train.cache_dir:
        seconds["encoders"] = 0.0  # once every image and draw of noise is in the cache
    optimizer = cost.weights + cost.gradients + 2 * cost.optimizer + 3 * cost.average
    seconds["optimizer"] = optimizer / (card.bandwidth * memory_share)
    return seconds


def all_reduce_seconds(cost: Cost, card: Card, count: int) -> float:
    """A ring sends 2 (n - 1) / n of the gradients' bytes through every GPU's link."""
    return 2 * (count - 1) / count * cost.gradients / card.link


def largest_batch(cost: Cost, usable: int) -> int:
    """The largest number of samples whose peak is within `usable` bytes; 0 where not even one is."""
    free = usable - cost.resident
    if free < cost.update:
        return 0
    return int(free // (cost.working / cost.batch))


def sample_bytes(data_root: Path, most: int = 200) -> float:
    """Mean bytes of the files of a view, from at most `most` views of a data set."""
    sizes = []
    for xray in sorted(data_root.glob("xrays/*/*.npz"))[:most]:
        picture = data_root / "images" / xray.parent.name / f"{xray.stem}.png"
        sizes.append(xray.stat().st_size + (picture.stat().st_size if picture.exists() else 0))
    if not sizes:
        raise InputError(f"{data_root}: no xrays/<object>/<view>.npz; expected the layout of a data set")
    return sum(sizes) / len(sizes)


def report(plan: Plan, config: Config, share: float, memory_share: float) -> str:
    """The plan as text."""
    resident = ", ".join(f"{name} {size / GIB:.2f}" for name, size in plan.resident.items() if size)
    flops = plan.flops_a_sample
    cached = " (encoders from the cache)" if plan.cached else ""
    fits = fitting(plan, config.train.gradient_checkpointing)
    seconds = ", ".join(f"{name} {value:.4f}" for name, value in plan.seconds.items())
    lines = [
        f"{plan.count} x {plan.card}, batch {plan.batch} a GPU, {plan.precision}",
        f"parameters        network {plan.parameters:,}, frozen encoders {plan.encoder_parameters:,}",
        f"GFLOP a sample    encoders {flops['encoders'] / 1e9:.0f}, forward {flops['forward'] / 1e9:.0f}, backward "
        f"{flops['backward'] / 1e9:.0f} (with checkpointing {plan.flops_backward_checkpointing / 1e9:.0f})",
        f"memory, GiB       {resident}",
        f"activations, GiB  {plan.activations_a_sample / GIB:.2f} a sample, with checkpointing "
        f"{plan.activations_a_sample_checkpointing / GIB:.2f}",
        f"peak, GiB         {plan.peak / GIB:.1f}, with checkpointing {plan.peak_checkpointing / GIB:.1f}, "
        f"of {plan.usable / GIB:.1f} usable: batch {plan.batch} {fits}",
        f"largest batch     {plan.largest_batch}, with checkpointing {plan.largest_batch_checkpointing}",
        f"seconds a step    {plan.step_seconds:.3f}{cached}: {seconds}",
        f"                  assumed: {share:.0%} of the peak rate, {memory_share:.0%} of the memory's bandwidth",
        f"whole training    {config.train.max_steps:,} steps: {plan.days:.1f} days, {plan.gpu_hours:,.0f} GPU-hours, "
        f"{plan.samples_a_second:.0f} samples/s",
        f"data              {plan.read_a_second / 1e6:.0f} MB/s, {2 * plan.samples_a_second:.0f} files/s "
        f"({storage(plan)})",
    ]
    return "\n".join(lines) + "\n"


def fitting(plan: Plan, checkpointing: bool) -> str:
    """Whether the batch of a plan fits into the memory, and if not what does."""
    limit = plan.largest_batch_checkpointing if checkpointing else plan.largest_batch
    if plan.batch <= limit:
        return "fits"
    if not plan.largest_batch and not plan.largest_batch_checkpointing:
        return "DOES NOT FIT, nor does a single sample, with checkpointing or without"
    text = f"DOES NOT FIT: at most {limit}"
    return (
        text if checkpointing else f"{text}; with train.gradient_checkpointing=true {plan.largest_batch_checkpointing}"
    )


def storage(plan: Plan) -> str:
    """What the rate of reading asks for."""
    if plan.read_a_second < 100e6:
        return "any local or network disk"
    if plan.read_a_second < 500e6:
        return "a local SSD, or a parallel file system with the views packed into shards"
    return "local NVMe disks, or a parallel file system with shards; or enough RAM to keep the set in the file cache"


@entry
def main(arguments: list[str] | None = None) -> None:
    """Print the plan."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, metavar="FILE")
    parser.add_argument("--gpu", choices=CARDS, default="h100")
    parser.add_argument("--count", type=int, default=8, help="GPUs, each with the whole network")
    parser.add_argument("--share", type=float, default=0.35, help="of the card's peak rate that is reached")
    parser.add_argument("--memory_share", type=float, default=0.7, help="of its bandwidth to memory that is reached")
    parser.add_argument("--data_root", type=Path, help="measure the size of views there; else the released example's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as train.precision=bf16")
    options = parser.parse_intermixed_args(arguments)
    if options.json and not options.json.parent.is_dir():
        raise InputError(f"--json {options.json}: no folder {options.json.parent}")
    for name in ("share", "memory_share"):
        if not 0 < getattr(options, name) <= 1:
            raise InputError(f"--{name} {getattr(options, name)}: expected a share above 0 and at most 1")
    if options.count < 1:
        raise InputError(f"--count {options.count}: expected at least 1")
    config = load_config(options.config, options.overrides)
    size = sample_bytes(options.data_root) if options.data_root else SAMPLE_BYTES
    result = plan(config, CARDS[options.gpu], options.count, options.share, options.memory_share, size)
    sys.stdout.write(report(result, config, options.share, options.memory_share))
    if options.json:
        options.json.write_text(json.dumps(asdict(result), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
