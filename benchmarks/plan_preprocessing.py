"""Core-hours, disk and machines for preprocessing many meshes, calculated from the manifest of a sample of them.

    python benchmarks/plan_preprocessing.py --data_root D [--meshes 80000 800000 10000000] [--cores 16] [--nodes 8]

D has been made by the two commands of preprocess/ from a sample of the meshes: its `manifest.csv` tells the seconds of
every X-Ray, `images/render.csv` those of the pictures, and the files their sizes. All are measured on one core, each
worker being one, so what is calculated here is a rate a core times a number; it holds for machines of the same kind.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from xray.common.cli import entry
from xray.common.errors import InputError
from xray.data.manifest import MANIFEST, read_manifest

MESHES = (80_000, 800_000, 10_000_000)
VIEWS_A_SHARD = 1000
"""Of `scripts/pack_shards.py`."""

USED = 0.9
"""Share of the cores' time that is work: starts of processes, waiting for the last objects of a part."""

FRACTION_OF_LIMIT = 0.5
"""A task of a SLURM array is planned to need this share of its time limit: meshes differ."""


FIND_S = 1e-5
"""Seconds to find a mesh file on a local disk (benchmarks/README.md); a network's file system takes longer."""


@dataclass(frozen=True)
class Sample:
    """What the sample tells of an object. `*_seconds`: of one core; `*_bytes`: of files.

    Attributes:
      objects: meshes in the manifest; failed: those without a view.
      views: written views an object that did not fail.
    """

    objects: int
    failed: int
    views: float
    picture_seconds: float
    xray_seconds: float
    picture_bytes: float
    xray_bytes: float

    @property
    def seconds(self) -> float:
        """Core seconds an object, pictures and X-Rays."""
        return self.picture_seconds + self.xray_seconds


@dataclass(frozen=True)
class Plan:
    """For a number of meshes on a number of equal machines.

    Attributes:
      terabytes, files: of pictures and X-Rays; shards: tar files, where they are packed.
      array: tasks of the SLURM array, each on a whole machine for `hours_a_task`.
      find_seconds: what each task, or the driver of Ray, takes to list all mesh files.
    """

    meshes: int
    core_hours_pictures: float
    core_hours_xrays: float
    days: float
    terabytes: float
    files: int
    shards: int
    array: int
    hours_a_task: float
    find_seconds: float


def read_sample(data_root: Path) -> Sample:
    """Measure a data set.

    Raises:
      InputError: no manifest, no seconds in it, or files that it names are not there.
    """
    path = data_root / MANIFEST
    rows = read_manifest(path)
    written = [row for row in rows if row.status != "failed"]
    seconds = [row.seconds for row in written if row.seconds is not None]
    if not seconds:
        raise InputError(f"{path}: no view with its seconds; expected the manifest of preprocess/get_xray/get_xray.py")
    objects = {row.object for row in rows}
    made = {row.object for row in written}
    pictures = [_size(data_root / "images" / row.object / f"{row.view}.png") for row in written]
    xrays = [_size(data_root / "xrays" / row.object / f"{row.view}.npz") for row in written]
    return Sample(
        objects=len(objects),
        failed=len(objects) - len(made),
        views=len(written) / len(made),
        picture_seconds=picture_seconds(data_root / "images/render.csv", len(written) / len(made)),
        # A failed view took time too; where it is not known it counts as the others.
        xray_seconds=sum(seconds) / len(seconds) * len(written) / len(made),
        picture_bytes=sum(pictures) / len(made),
        xray_bytes=sum(xrays) / len(made),
    )


def picture_seconds(path: Path, views: float) -> float:
    """Core seconds of an object's pictures, from render.csv; 0 where there is none (pictures from elsewhere)."""
    if not path.exists():
        return 0.0
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = [row for row in csv.DictReader(stream) if row.get("status") == "rendered"]
    try:
        made = [(int(row["made"]), float(row["seconds"])) for row in rows]
    except (KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a record of rendering ({type(error).__name__}: {error})") from None
    pictures = sum(count for count, _ in made)
    if not pictures:
        raise InputError(f"{path}: no picture was made in the last run; expected the record of a first run")
    return sum(spent for _, spent in made) / pictures * views


def plan(sample: Sample, meshes: int, cores: int, nodes: int, limit_hours: float) -> Plan:
    """Scale the sample up to `meshes` objects."""
    pictures, xrays = (meshes * each / 3600 for each in (sample.picture_seconds, sample.xray_seconds))
    hours = (pictures + xrays) / (cores * USED)
    made = meshes * (1 - sample.failed / sample.objects)
    views = round(made * sample.views)
    array = max(nodes, math.ceil(hours / (limit_hours * FRACTION_OF_LIMIT)))
    return Plan(
        meshes=meshes,
        core_hours_pictures=pictures,
        core_hours_xrays=xrays,
        days=hours / 24 / nodes,
        terabytes=made * (sample.picture_bytes + sample.xray_bytes) / 1e12,
        # beside each object's views: transforms.json and rows.csv
        files=2 * views + 2 * round(made),
        shards=math.ceil(views / VIEWS_A_SHARD),
        array=array,
        hours_a_task=hours / array,
        find_seconds=meshes * FIND_S,
    )


def report(sample: Sample, plans: list[Plan], options: argparse.Namespace) -> str:
    """The sample and a table, as text."""
    lines = [
        f"sample: {sample.objects} objects, {sample.failed} failed, {sample.views:.1f} views each; an object takes "
        f"{sample.picture_seconds:.2f} core s for pictures, {sample.xray_seconds:.2f} for X-Rays, "
        f"{(sample.picture_bytes + sample.xray_bytes) / 1e6:.2f} MB",
        f"engine: {options.nodes} machines of {options.cores} cores, {USED:.0%} of their time used",
        "",
        "| meshes | core-hours, pictures | core-hours, X-Rays | days | TB | files | shards | SLURM array |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in plans:
        lines.append(
            f"| {each.meshes:,} | {each.core_hours_pictures:,.0f} | {each.core_hours_xrays:,.0f} | {each.days:.1f} | "
            f"{each.terabytes:.2f} | {each.files:,} | {each.shards:,} | {each.array} x {each.hours_a_task:.1f} h |"
        )
    advice = [engine(each, options.nodes) for each in plans]
    lines += ["", *(f"{each.meshes:,} meshes: {text}" for each, text in zip(plans, advice, strict=True))]
    return "\n".join(lines) + "\n"


def engine(plan: Plan, nodes: int) -> str:
    """Which way to run it."""
    finding = f"each lists the mesh files for {plan.find_seconds:.0f} s first"
    if nodes == 1 and plan.array == 1:
        return "this one machine with --workers"
    array = f"a SLURM array of {plan.array} parts (--array=0-{plan.array - 1}), {finding}"
    if plan.array <= nodes:
        return f"Ray (one command, one manifest, balanced by itself), or {array}"
    return f"{array}; with Ray one driver must live for {plan.days:.1f} days"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; the manifest names it") from None


@entry
def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_root", type=Path, required=True, help="a data set made from a sample of the meshes")
    parser.add_argument("--meshes", type=int, nargs="+", default=MESHES)
    parser.add_argument("--cores", type=int, default=os.cpu_count(), help="of a machine; each takes a worker")
    parser.add_argument("--nodes", type=int, default=1, help="machines at once")
    parser.add_argument("--limit_hours", type=float, default=24.0, help="time limit of a task of a SLURM array")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there as well")
    options = parser.parse_args(arguments)
    if options.json and not options.json.parent.is_dir():
        raise InputError(f"--json {options.json}: no folder {options.json.parent}")
    for name in ("cores", "nodes"):
        if getattr(options, name) <= 0:
            raise InputError(f"--{name} {getattr(options, name)}: expected more than 0")
    if not 0.1 <= options.limit_hours < math.inf:
        raise InputError(f"--limit_hours {options.limit_hours}: expected at least 0.1")
    if min(options.meshes) < 1:
        raise InputError(f"--meshes {min(options.meshes)}: expected at least 1")
    sample = read_sample(options.data_root)
    plans = [plan(sample, count, options.cores, options.nodes, options.limit_hours) for count in options.meshes]
    sys.stdout.write(report(sample, plans, options))
    if options.json:
        content = {"sample": asdict(sample), "plans": [asdict(each) for each in plans]}
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
