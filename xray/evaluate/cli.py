"""Command-line options that the evaluations share, and how they end."""

from __future__ import annotations

import argparse
import dataclasses
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ..common.cli import FAILURES, OK
from ..common.errors import InputError
from ..common.folder_lock import folder_lock
from ..inference.settings import SOLVER_NAMES
from ..metrics.alignment import ALIGNMENTS
from ..surface.surface import METHODS
from .report import comparable, side_by_side, write_report
from .results import SUMMARY, Results, headline, summarise
from .run import Options, processes

log = logging.getLogger(__name__)


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
    add("--solver", choices=SOLVER_NAMES, default="euler", help="of the sampling (default: euler)")
    add("--batch_size", type=int, default=4, metavar="N", help="views sampled together (default: 4)")
    add("--alignment", choices=ALIGNMENTS, default="none", help="applied to predictions before scoring")
    add("--mesh_root", metavar="M", help="true meshes: adds the protocol `surface`")
    add("--surface", choices=METHODS, default="auto", help="how meshes are made (default: auto, which is fitted)")
    add("--no_emd", dest="emd", action="store_false", help="leave out the earth mover's distance")
    add("--scorers", type=int, metavar="N", help="processes that write and score, 0 for none (default: all cores)")
    add("--output", metavar="DIR", help="folder for the results (default: evaluate/ in the experiment's own)")
    add("--beside", nargs="+", default=(), metavar="DIR", help="folders of results to show beside these")
    add("--device", default="auto", help="cpu, cuda, ... (default: auto)")


def to_options(parsed: argparse.Namespace) -> Options:
    """The options of a parsed command line."""
    given = vars(parsed)
    return Options(**{field.name: given[field.name] for field in dataclasses.fields(Options) if field.name in given})


def check_beside(folders: Sequence[str]) -> None:
    """InputError, before anything is evaluated, for a folder of `--beside` that holds no results."""
    for folder in folders:
        if not (Path(folder) / SUMMARY).is_file():
            raise InputError(f"--beside {folder}: no finished evaluation ({SUMMARY}) in it")


def write_reports(results: Results, summary: dict, beside: Sequence[str] = ()) -> int:
    """Write the reports and print the most important numbers, on the main process.

    Args:
      beside: folders of other results to show.
    Returns:
      exit status: `FAILURES` where samples could not be made.
    """
    state = processes()
    if state.is_main_process:
        if not summary["samples"]:
            reason = next(iter(summary["failed"].values()), "none was chosen")
            raise InputError(f"{results.folder}: no sample could be made ({reason})")
        path = write_report(results, beside)
        for other in list(comparable(results).values())[1:]:
            _renew_report(other)
        failed = len(summary["failed"])
        summaries = {label: summarise(rows) for label, rows in side_by_side(results, beside).items()}
        sys.stdout.write(f"{headline(summaries)}\n")
        if failed:
            sys.stdout.write(f"{failed} samples could not be made; the reasons are in {results.folder}/metrics.json\n")
        sys.stdout.write(f"every number: {results.folder}/metrics.json\nreport: {path}\n")
    state.destroy_process_group()
    return FAILURES if summary["failed"] else OK


def _renew_report(other: Results) -> None:
    """Write the report of other results again, which shows the new ones beside its own."""
    folder = other.folder
    try:
        with folder_lock(folder.parent, f"a report of {folder.name}", folder.name):
            write_report(other)
    except InputError as error:  # it is being evaluated just now, and has its report written then
        log.info("report of %s left as it is: %s", folder.name, error)
