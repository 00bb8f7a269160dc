"""The command line of both trainings."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from ..common.errors import InputError
from ..config import load_config, to_yaml


def parse(stage: str, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """--config FILE [--dry_run] [key=value ...]."""
    parser = argparse.ArgumentParser(description=f"Train the {stage} stage; the same command again goes on.")
    parser.add_argument("--config", required=True, metavar="FILE", help=f"as configs/{stage}.yaml")
    parser.add_argument("--dry_run", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="as train.max_steps=100")
    return parser.parse_args(arguments)


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
    from .setup import make_trainer  # not before: a dry run and a mistyped key need no networks

    make_trainer(config).run()
