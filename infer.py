"""One image -> points, a mesh and pictures: python infer.py --image photo.png --output out/."""

import sys

from xray.commands.infer import main

if __name__ == "__main__":
    sys.exit(main())
