"""Join the manifests of the parts of a data set into its manifest.csv.

Reads <data_root>/manifest.<i>-of-<n>.csv, as `get_xray.py --shard i/n` writes them, or the files that are named.
Where a view stands in several, one that was written replaces a failure, and otherwise the later file counts.
"""

import argparse
import logging
import sys
from pathlib import Path

from xray.common import cli
from xray.data.manifest import MANIFEST, find_parts, iterate_manifest, merge_manifests, write_manifest

log = logging.getLogger("merge_manifests")


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns 0, or 3 where failures are among the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_root", type=Path, required=True, help="folder that gets the manifest.csv")
    parser.add_argument("manifests", type=Path, nargs="*", help="files to join, instead of those of the parts")
    flags = parser.parse_args(arguments)
    paths = flags.manifests or find_parts(flags.data_root)
    rows = merge_manifests(iterate_manifest(path) for path in paths)
    write_manifest(flags.data_root / MANIFEST, rows)
    failed = sum(row.status == "failed" for row in rows)
    log.info(
        "%s: %d rows of %d manifests, %d of them failed", flags.data_root / MANIFEST, len(rows), len(paths), failed
    )
    return cli.FAILURES if failed else cli.OK


if __name__ == "__main__":
    sys.exit(main())
