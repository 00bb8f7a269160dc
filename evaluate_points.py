"""Score any method's .ply, .obj or .glb files against true shapes of the same names, under both protocols."""

import sys

from xray.commands.evaluate_points import main

if __name__ == "__main__":
    sys.exit(main())
