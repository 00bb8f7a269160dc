"""Score a trained stage over a data set: its predictions, their pictures, a table and a report."""

from __future__ import annotations

import argparse
import sys

from ..common.cli import choose_stage, entry, loading


@entry
def main(arguments: list[str] | None = None) -> int:
    """xray evaluate STAGE ...; status 3 where samples could not be made."""
    return evaluate(*choose_stage("evaluate", sys.argv[1:] if arguments is None else arguments))


def evaluate(stage: str, arguments: list[str] | None) -> int:
    """Parse the flags of one stage's evaluation and run it."""
    with loading():  # not before: the networks' libraries take seconds
        from ..evaluate import cli, run

    second = stage == "upsampler"
    what = (
        "Upsample the evaluated X-Rays of a diffusion model, make meshes of them, and score them against the truth."
        if second
        else "Predict X-Rays with a trained diffusion model and score them against the truth."
    )
    parser = argparse.ArgumentParser(description=what)
    add = parser.add_argument
    name = "experiment below Output/, or a folder of a training or a saved pipeline"
    add(
        "--exp_diffusion",
        required=True,
        metavar="A",
        help=f"first stage, already evaluated: {name}" if second else name,
    )
    if second:
        add("--exp_upsampler", required=True, metavar="B", help=f"second stage: {name}")
        add("--evaluated", metavar="DIR", help="results of A (default: the latest in its own folder)")
    cli.add_options(parser)
    parsed = parser.parse_args(arguments)
    options = cli.to_options(parsed)
    cli.check_beside(parsed.beside)
    if second:
        return cli.write_reports(
            *run.evaluate_upsampler(parsed.exp_diffusion, parsed.exp_upsampler, options), parsed.beside
        )
    return cli.write_reports(*run.evaluate_diffusion(parsed.exp_diffusion, options), parsed.beside)
