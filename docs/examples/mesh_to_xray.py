"""The X-Ray of a mesh, and its surfaces as points: python docs/examples/mesh_to_xray.py example/meshes/mug.obj mug"""

import sys

import xray

mesh = xray.load_mesh(sys.argv[1])
camera = xray.orbit_camera(azimuth_deg=30, elevation_deg=20)
shape = xray.cast_mesh(mesh, camera)
print("hits in each layer:", *shape.hit.sum(axis=(1, 2)))  # noqa: T201
xray.save_xray(f"{sys.argv[2]}.npz", shape)
xray.save_ply(f"{sys.argv[2]}.ply", xray.to_points(shape, camera, "world"))
