"""Pictures and cameras of meshes: `<image_root>/<object>/<view>.png` and `transforms.json`."""

import sys

from xray.commands.render import main

if __name__ == "__main__":
    sys.exit(main())
