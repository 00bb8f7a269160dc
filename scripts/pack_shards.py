"""Pack a data set into WebDataset tar shards: few large files instead of millions of small ones.

Reads <data_root>/images, xrays and manifest.csv; writes <shard_root>/shards/*.tar with their index, and the
manifest. Training and evaluation read <shard_root> as they read <data_root>: the same samples, the same split.
The same command again goes on where the last run ended. Exit status: 0 every accepted view was packed, 2 the
input cannot be used, 3 there were failures.
"""

import argparse
import os
import sys
from pathlib import Path

from xray.common import cli
from xray.preprocess.pack import pack_dataset


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data_root", type=Path, required=True, help="data set of files")
    add("--shard_root", type=Path, required=True, help="folder for the shards")
    add("--views_per_shard", type=int, default=1000, help="about 1 GB at 256 rays and 16 layers")
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes; 0 works in this one")
    add("--overwrite", action="store_true", help="make every shard again")
    flags = parser.parse_args(arguments)
    return pack_dataset(
        flags.data_root.resolve(), flags.shard_root, flags.views_per_shard, flags.workers, flags.overwrite
    )


if __name__ == "__main__":
    sys.exit(main())
