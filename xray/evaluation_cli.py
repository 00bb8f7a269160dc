"""Command-line options that the evaluations share, and how they end."""

from __future__ import annotations

import argparse
import dataclasses
import sys

from .alignment import ALIGNMENTS
from .cli import FAILURES, OK
from .errors import InputError
from .evaluator import Options, processes
from .report import comparable, side_by_side, write_report
from .results import Results, comparison, summarise
from .solvers import SOLVERS
from .surface import METHODS


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add a flag for each field of `Options`. There is none for near, far or size: the checkpoint has them."""
    add = parser.add_argument
    add("--data_root", "--date_root", metavar="D", help="data set (default: the checkpoint's)")
    add("--split", choices=("train", "test", "all"), help="objects (default: test, or those of the first stage)")
    add("--max_samples", type=int, metavar="N", help="evaluate the first N views only")
    add("--step", type=int, metavar="N", help="checkpoint (default: the latest)")
    add("--untrained", dest="trained", action="store_false", help="the network at its random start, to compare with")
    add("--no_ema", dest="ema", action="store_false", help="the last weights instead of the averaged ones")
    add("--seed", type=int, default=0, help="seed of the sampling (default: 0)")
    add("--steps", type=int, metavar="N", help="sampling steps (default: the checkpoint's)")
    add("--solver", choices=SOLVERS, default="euler", help="of the sampling (default: euler)")
    add("--batch_size", type=int, default=4, metavar="N", help="views sampled together (default: 4)")
    add("--alignment", choices=ALIGNMENTS, default="none", help="applied to predictions before scoring")
    add("--mesh_root", metavar="M", help="true meshes: adds the protocol `surface`")
    add("--surface", choices=METHODS, default="rays", help="how meshes are made (default: rays)")
    add("--no_emd", dest="emd", action="store_false", help="leave out the earth mover's distance")
    add("--scorers", type=int, default=2, metavar="N", help="threads that write and score (default: 2)")
    add("--device", default="auto", help="cpu, cuda, ... (default: auto)")


def to_options(parsed: argparse.Namespace) -> Options:
    """The options of a parsed command line."""
    return Options(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(Options)})


def finish(results: Results, summary: dict) -> int:
    """Write the reports and print the table, on the main process.

    Returns:
      exit status: `FAILURES` where samples could not be made.
    """
    state = processes()
    if state.is_main_process:
        if not summary["samples"]:
            reason = next(iter(summary["failed"].values()), "none was chosen")
            raise InputError(f"{results.folder}: no sample could be made ({reason})")
        path = write_report(results)
        for other in list(comparable(results).values())[1:]:
            write_report(other)  # they show these results beside their own
        failed = len(summary["failed"])
        summaries = {label: summarise(rows) for label, rows in side_by_side(results).items()}
        sys.stdout.write(f"{comparison(summaries)}\n")
        if failed:
            sys.stdout.write(f"{failed} samples could not be made; the reasons are in {results.folder}/metrics.json\n")
        sys.stdout.write(f"report: {path}\n")
    state.destroy_process_group()
    return FAILURES if summary["failed"] else OK
