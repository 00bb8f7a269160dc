"""A folder of meshes to a data set: python docs/examples/meshes_to_dataset.py example/meshes Data/mine"""

import sys

from xray.commands.dataset import main

if __name__ == "__main__":  # needed: the command starts processes
    sys.exit(main(["--mesh_root", sys.argv[1], "--root", sys.argv[2], "--num_views", "2"]))
