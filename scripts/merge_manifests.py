"""Join the records of the parts of a data set into those of the whole.

Reads <data_root>/manifest.<i>-of-<n>.csv, as `get_xray.py`, `make_dataset.py` and `scan_dataset.py` write them with
`--shard i/n`, and <image_root>/render.<i>-of-<n>.csv, as `render.py` and `make_dataset.py` do; writes manifest.csv and
render.csv beside them. Either kind may be absent; of a kind all parts must be there. Where a view or an object stands
in several, one that was written replaces a failure, and otherwise the later file counts. Rows of a manifest.csv that is
there stay where their object is in no part and has X-Rays.
"""

import argparse
import logging
import sys
from pathlib import Path

from xray.common import cli
from xray.common.errors import InputError
from xray.data.manifest import MANIFEST, RENDER_RECORD, iterate_manifest, merge_manifests, write_manifest
from xray.data.object_shard import find_parts, parts_of
from xray.preprocess.render_run import join_records

log = logging.getLogger("merge_manifests")


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns 0, or 3 where failures are among the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_root", type=Path, required=True, help="folder that gets the manifest.csv")
    parser.add_argument("--image_root", type=Path, help="folder of the pictures; default <data_root>/images")
    parser.add_argument("manifests", type=Path, nargs="*", help="files to join, instead of those of the parts")
    flags = parser.parse_intermixed_args(arguments)  # a flag may stand between the files
    root, image_root = flags.data_root, flags.image_root or flags.data_root / "images"
    records = [] if flags.manifests else _all_parts(image_root, RENDER_RECORD)
    paths = flags.manifests or _all_parts(root, MANIFEST)
    if not records and not paths:
        raise InputError(f"{root}: no manifest.<i>-of-<n>.csv in it, and no render.<i>-of-<n>.csv in {image_root}")
    failed = _join_rendered(image_root, records) if records else 0
    failed += _join_manifests(root / MANIFEST, paths) if paths else 0
    return cli.FAILURES if failed else cli.OK


def _all_parts(folder: Path, file_name: str) -> list[Path]:
    """The records of all parts; none where no part stands there. InputError where some are missing."""
    return find_parts(folder, file_name) if parts_of(folder, file_name) else []


def _join_rendered(image_root: Path, paths: list[Path]) -> int:
    rows, failed = join_records(image_root, paths)
    log.info("%s: %d objects of %d records, %d of them failed", image_root / RENDER_RECORD, rows, len(paths), failed)
    return failed


def _join_manifests(manifest: Path, paths: list[Path]) -> int:
    rows = merge_manifests(iterate_manifest(path) for path in paths)
    if manifest.is_file() and manifest not in paths:
        joined = {row.object for row in rows}
        others = [row for row in iterate_manifest(manifest) if row.view and row.object not in joined]
        there = {uid for uid in {row.object for row in others} if (manifest.parent / "xrays" / uid).is_dir()}
        rows = merge_manifests(([row for row in others if row.object in there], rows))
    failed = sum(row.status == "failed" for row in rows)
    write_manifest(manifest, rows)
    log.info("%s: %d rows of %d manifests, %d of them failed", manifest, len(rows), len(paths), failed)
    return failed


if __name__ == "__main__":
    sys.exit(main())
