"""Compare training recipes fairly: python scripts/compare_recipes.py --config configs/recipes/shapes.yaml.

Makes the data, trains every recipe for the same optimizer time, scores all of them and the baselines on the same
held-out objects, and writes table.md. Stopped and started again, it goes on. With --ship FIRST SECOND DIR the two
named recipes of a finished comparison are saved as pipelines.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait take the cores of others

from xray.common import cli
from xray.recipes.config import read_comparison
from xray.recipes.run import compare_recipes, ship

ROOT = Path(__file__).resolve().parents[1]


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", type=Path, default=ROOT / "configs/recipes/shapes.yaml")
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help="recipes at a time, one thread each")
    add("--ship", nargs=3, metavar=("FIRST", "SECOND", "DIR"), help="save a first stage and an upsampler as pipelines")
    options = parser.parse_args(arguments)
    comparison = read_comparison(options.config)
    if options.ship:
        ship(comparison, *options.ship[:2], Path(options.ship[2]))
    else:
        sys.stdout.write(compare_recipes(comparison, options.workers))
    return cli.OK


if __name__ == "__main__":
    sys.exit(main())
