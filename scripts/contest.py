"""Compare training recipes fairly: python scripts/contest.py --config configs/contest/shapes.yaml.

Makes the data, trains every recipe for the same optimizer time, scores all of them and the baselines on the same
held-out objects, and writes table.md. Stopped and started again, it goes on. With --ship FIRST SECOND DIR the two
named recipes of a finished contest are saved as pipelines.
"""

import argparse
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait take the cores of others

from xray import cli  # noqa: E402
from xray.contest.course import hold, ship  # noqa: E402
from xray.contest.rules import read_rules  # noqa: E402


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--config", type=Path, default=ROOT / "configs/contest/shapes.yaml")
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help="recipes at a time, one thread each")
    add("--ship", nargs=3, metavar=("FIRST", "SECOND", "DIR"), help="save a first stage and an upsampler as pipelines")
    options = parser.parse_args(arguments)
    rules = read_rules(options.config)
    if options.ship:
        ship(rules, *options.ship[:2], Path(options.ship[2]))
    else:
        sys.stdout.write(hold(rules, options.workers))
    return cli.OK


if __name__ == "__main__":
    sys.exit(main())
