"""Write the manifest of a data set that came without one, as the released data do.

Reads every <data_root>/xrays/<object>/<view>.npz and its picture, and writes <data_root>/manifest.csv: training
then leaves damaged views out, and those whose picture does not agree with the X-Ray. Exit status: 0 every view
could be read, 2 the input cannot be used, 3 there were failures.
"""

import argparse
import os
import sys
from pathlib import Path

from xray.common import cli
from xray.data.object_shard import ObjectShard
from xray.preprocess.scan import ScanJob, scan_dataset
from xray.preprocess.xray_object import XRaySettings


@cli.entry
def main(arguments: list[str] | None = None) -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add, default = parser.add_argument, XRaySettings()
    add("--data_root", type=Path, required=True)
    add("--min_iou", type=float, default=default.min_iou, help="agreement with the picture for a view to be accepted")
    add("--near", type=float, default=default.near, help="depth range, for the counts in the manifest")
    add("--far", type=float, default=default.far)
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes; 0 works in this one")
    add("--shard", default="0/1", help="i/n: only the i-th of n parts; merge_manifests.py joins them")
    add("--overwrite", action="store_true", help="replace a manifest that is there")
    flags = parser.parse_args(arguments)
    job = ScanJob(flags.data_root.resolve(), XRaySettings(near=flags.near, far=flags.far, min_iou=flags.min_iou))
    return scan_dataset(job, flags.workers, ObjectShard.parse(flags.shard), flags.overwrite)


if __name__ == "__main__":
    sys.exit(main())
