"""Upsample the evaluated X-Rays of a diffusion model, make meshes of them, and score them against the truth."""

from __future__ import annotations

import sys

from xray.commands.evaluate import evaluate
from xray.common.cli import entry


@entry
def main(arguments: list[str] | None = None) -> int:
    """Parse the command line and evaluate; status 3 where samples could not be made."""
    return evaluate("upsampler", arguments)


if __name__ == "__main__":
    sys.exit(main())
