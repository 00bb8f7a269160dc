"""Score any method's .ply, .obj or .glb files against true shapes of the same names, under both protocols."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from xray.alignment import ALIGNMENTS
from xray.cli import FAILURES, OK, entry
from xray.comparison import compare
from xray.errors import InputError
from xray.results import comparison, write_json
from xray.scoring import SURFACE_POINTS


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--pred", required=True, metavar="DIR", help="predicted meshes (sampled) or point clouds (as they are)")
    add("--gt", required=True, metavar="DIR", help="true meshes or point clouds of the same names")
    add("--alignment", choices=ALIGNMENTS, default="none", help="of each prediction to its truth (default: none)")
    add("--points", type=int, default=SURFACE_POINTS, metavar="N", help="points sampled on a mesh")
    add("--workers", type=int, default=0, metavar="N", help="processes (default: this one alone)")
    add("--output", metavar="FILE.json", help="where the means and every file's numbers go")
    return parser.parse_args(arguments)


@entry
def main(arguments: list[str] | None = None) -> int:
    """Score and print the means; status 3 where predictions are missing or files cannot be used."""
    options = parse(arguments)
    result = compare(options.pred, options.gt, options.alignment, options.points, options.workers)
    if not result["files"]:
        name, reason = next(iter(result["failed"].items()))
        raise InputError(f"{options.gt}: no truth can be used ({name}: {reason})")
    sys.stdout.write(comparison({"mean": result}) + "\n")
    problems = [f"{name}: {reason}" for name, reason in result["failed"].items()]
    problems += [f"{row['name']}: {row['remark']}; scored as no points" for row in result["files"] if row["remark"]]
    problems += [f"{name}: a prediction without a truth" for name in result["unpaired"]]
    sys.stdout.write("".join(f"{line}\n" for line in problems))
    if options.output:
        write_json(Path(options.output), result)
        sys.stdout.write(f"written: {options.output}\n")
    return FAILURES if problems else OK


if __name__ == "__main__":
    sys.exit(main())
