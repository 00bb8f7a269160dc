"""Meshes to a data set in one pass: pictures, cameras, X-Rays and the manifest."""

import sys

from xray.commands.dataset import main

if __name__ == "__main__":
    sys.exit(main())
