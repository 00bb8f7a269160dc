"""Run with bpy: reads mesh files by Blender's own importers, and prints their triangles in its z-up world as JSON.

python blender_import.py FILE ...
"""

import json
import sys
from pathlib import Path

import bpy
import numpy as np


def read(path: Path) -> list:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    kinds = {".ply": bpy.ops.wm.ply_import, ".stl": bpy.ops.wm.stl_import, ".obj": bpy.ops.wm.obj_import}
    kinds |= dict.fromkeys((".glb", ".gltf"), bpy.ops.import_scene.gltf)
    kinds[path.suffix](filepath=str(path))
    graph = bpy.context.evaluated_depsgraph_get()
    triangles = []
    for instance in graph.object_instances:
        item = instance.object
        if item.type != "MESH":
            continue
        mesh, matrix = item.to_mesh(), np.array(instance.matrix_world)
        mesh.calc_loop_triangles()
        points = np.array([vertex.co for vertex in mesh.vertices]) @ matrix[:3, :3].T + matrix[:3, 3]
        turn = -1 if np.linalg.det(matrix[:3, :3]) < 0 else 1
        triangles += [points[list(triangle.vertices)[::turn]].tolist() for triangle in mesh.loop_triangles]
    return triangles


print(json.dumps({name: read(Path(name)) for name in sys.argv[1:]}))  # noqa: T201  the result is this output
