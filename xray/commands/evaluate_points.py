"""Score any method's .ply, .obj or .glb files against true shapes of the same names, under both protocols."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..common.axes import UP
from ..common.cli import FAILURES, OK, entry
from ..common.errors import InputError
from ..common.files import check_writable, write_json
from ..evaluate.files import FORMS, PairScoring, score_files
from ..evaluate.results import comparison
from ..metrics.alignment import ALIGNMENTS
from ..metrics.protocols import SURFACE_POINTS


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--pred", required=True, metavar="DIR", help="predicted meshes (sampled) or point clouds (as they are)")
    add("--gt", required=True, metavar="DIR", help="true meshes or point clouds of the same names")
    add("--pred_up", choices=UP, default="auto", help="axis up in predictions (auto: .glb .gltf .obj y, others z)")
    add("--gt_up", choices=UP, default="auto", help="axis up in truths (auto: the same)")
    add("--form", choices=FORMS, default="points", help="of own results, which have both (default: points)")
    add("--alignment", choices=ALIGNMENTS, default="none", help="of each prediction to its truth (default: none)")
    add("--points", type=int, default=SURFACE_POINTS, metavar="N", help="points sampled on a mesh")
    add("--workers", type=int, default=0, metavar="N", help="processes (default: this one alone)")
    add("--output", metavar="FILE.json", help="where the means and every file's numbers go")
    return parser.parse_args(arguments)


@entry
def main(arguments: list[str] | None = None) -> int:
    """Score and print the means; status 3 where predictions are missing or files cannot be used."""
    options = parse(arguments)
    scoring = PairScoring(options.alignment, options.points, options.pred_up, options.gt_up)
    if options.output:
        check_writable(Path(options.output))
    result = score_files(options.pred, options.gt, scoring, options.workers, options.form)
    if not result["files"]:
        name, reason = next(iter(result["failed"].items()))
        raise InputError(f"{options.gt}: no truth can be used ({name}: {reason})")
    sys.stdout.write(comparison({"mean": result}) + "\n")
    problems = [f"{name}: {reason}" for name, reason in result["failed"].items()]
    problems += [f"{row['name']}: {row['remark']}; scored as no points" for row in result["files"] if row["remark"]]
    problems += [f"{name}: a prediction without a truth" for name in result["unpaired"]]
    notes = [row["hint"] for row in result["files"] if row["hint"]] + _axes(result["files"])
    if result["left_out"]:
        examples = ", ".join(Path(path).name for path in result["left_out"][:3])
        notes.append(f"{len(result['left_out'])} files of own results left out, as {examples}; --form chooses")
    notes += _degenerate(result) + result["unread"]
    sys.stdout.write("".join(f"{line}\n" for line in problems + notes))
    if options.output:
        write_json(Path(options.output), result)
        sys.stdout.write(f"written: {options.output}\n")
    return FAILURES if problems else OK


def _degenerate(result: dict) -> list[str]:
    """A line for every pair, of those that could be read, whose numbers hold distances that stand for missing ones."""
    known = {row["name"] for row in result["files"] if row["remark"]}
    rows = result["protocols"]["surface"]["rows"]
    return [f"{row['name']}: {row['degenerate']}" for row in rows if row["degenerate"] and row["name"] not in known]


def _axes(files: list[dict]) -> list[str]:
    """A line where the two sides of pairs have different axes up and were turned."""
    mixed = [row["name"] for row in files if row["prediction"] and len(set(row["up"])) == 2]
    if not mixed:
        return []
    return [
        f"{len(mixed)} pairs have other axes up, as {mixed[0]}, and were turned; --pred_up and --gt_up say otherwise"
    ]
