"""Train a stage, in this process: python -m xray.training.launch runs the scripts on several GPUs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..common.cli import choose_stage, entry, loading
from ..common.errors import InputError
from ..config import load_config, to_yaml


def parse(stage: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """--config FILE [--dry_run] [key=value ...]."""
    parser = argparse.ArgumentParser(description=f"Train the {stage} stage; the same command again goes on.")
    parser.add_argument("--config", required=True, metavar="FILE", help=f"as configs/{stage}.yaml")
    parser.add_argument("--dry_run", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as train.max_steps=100")
    return parser.parse_intermixed_args(arguments)  # a flag may stand between the keys


def train(stage: str, arguments: Sequence[str] | None = None) -> None:
    """Train as the command line says.

    Raises:
      InputError: a configuration of another stage, or anything else that cannot be used.
    """
    options = parse(stage, arguments)
    config = load_config(options.config, options.overrides)
    if config.stage != stage:
        raise InputError(f"{options.config}: stage is {config.stage}, expected {stage}; use train_{config.stage}.py")
    if options.dry_run:
        sys.stdout.write(to_yaml(config))
        return
    with loading():  # not before: a dry run and a mistyped key need no networks
        from ..training.setup import make_trainer

    make_trainer(config).run()


@entry
def main(arguments: list[str] | None = None) -> None:
    """xray train STAGE --config FILE [key=value ...]."""
    train(*choose_stage("train", sys.argv[1:] if arguments is None else arguments))
