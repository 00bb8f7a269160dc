"""Warp, started once and without its messages. Import `wp` from here."""

from __future__ import annotations

import os
import sys
import tempfile
import threading

import warp as wp

_NO_GPU = "Could not find or load the NVIDIA CUDA driver"


def _start() -> None:
    """Start Warp without the line that its native part prints to stderr on every machine without a GPU."""
    wp.config.log_level = wp.LOG_ERROR
    sys.stderr.flush()
    stderr_copy = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            wp.init()
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
        caught.seek(0)
        rest = [line for line in caught.read().decode(errors="replace").splitlines() if _NO_GPU not in line]
    if rest:
        sys.stderr.write("\n".join(rest) + "\n")


_start()

OPTIONS = {"enable_backward": False, "fuse_fp": False}
"""For `wp.set_module_options`: no gradients, and no fused multiply-adds, which differ between devices."""

BLOCK = 256
"""Items that a thread takes one after the other where it runs on the CPU, on which each start of a thread costs as much
as the work on a small face."""

KERNELS = threading.Lock()
"""Held while a thread launches Warp kernels: Warp does not promise that several threads may load and start them."""
