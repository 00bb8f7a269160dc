"""Train a stage, in this process: python -m xray.training.launch runs the scripts on several GPUs."""

from __future__ import annotations

import sys

from ..common.cli import entry
from ..common.errors import InputError
from ..training.cli import train

STAGES = ("diffusion", "upsampler")


@entry
def main(arguments: list[str] | None = None) -> None:
    """xray train STAGE --config FILE [key=value ...]."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] not in STAGES:
        raise InputError(f"{' '.join(arguments[:1]) or 'nothing'}: expected `train {'|'.join(STAGES)}` and its flags")
    train(arguments[0], arguments[1:])
