"""Make X-Rays from meshes and the cameras beside their pictures, and a manifest of what came of every view."""

import sys

from xray.commands.cast import main

if __name__ == "__main__":
    sys.exit(main())
