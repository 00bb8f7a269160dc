"""Upsample the evaluated X-Rays of a diffusion model, make meshes of them, and score them against the truth."""

from __future__ import annotations

import argparse
import sys

from xray.cli import entry
from xray.evaluation import evaluate_upsampler
from xray.evaluation_cli import add_options, finish, to_options


@entry
def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and evaluate; status 3 where samples could not be made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exp_diffusion", required=True, metavar="A", help="evaluated first stage, name or folder")
    parser.add_argument("--exp_upsampler", required=True, metavar="B", help="second stage, name or folder")
    add_options(parser)
    parsed = parser.parse_args(arguments)
    return finish(*evaluate_upsampler(parsed.exp_diffusion, parsed.exp_upsampler, to_options(parsed)))


if __name__ == "__main__":
    sys.exit(main())
