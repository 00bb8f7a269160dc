"""Locks that modules share."""

import threading

KERNELS = threading.Lock()
"""Held while Warp kernels are launched from threads, as evaluation scores in: that they may load and start in several
is nowhere promised."""
