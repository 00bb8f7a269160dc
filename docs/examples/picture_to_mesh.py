"""One picture to a mesh: python docs/examples/picture_to_mesh.py example/pictures/mug.png mug.glb"""

import sys
from pathlib import Path

import xray

generator = xray.ShapeGenerator()
made = generator.shape(sys.argv[1])
xray.save_mesh(Path(sys.argv[2]), made.surface)
