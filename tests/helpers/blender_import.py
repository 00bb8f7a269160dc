"""Run with bpy: mesh files as Blender's own importers read them, to compare our readers with.

python blender_import.py FILE ...           prints the triangles in the z-up world as JSON
python blender_import.py --look FILE        how its one mesh would be lit, as JSON
python blender_import.py --render JOB FILE  pictures of the unlit base colours, for a job of `xray/blender.py`
"""

import json
import sys
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / "preprocess/get_image"))
import blender_scene


def load(path: Path) -> None:
    kinds = {".ply": bpy.ops.wm.ply_import, ".stl": bpy.ops.wm.stl_import, ".obj": bpy.ops.wm.obj_import}
    kinds |= dict.fromkeys((".glb", ".gltf"), bpy.ops.import_scene.gltf)
    kinds[path.suffix](filepath=str(path))


def triangles() -> list:
    graph = bpy.context.evaluated_depsgraph_get()
    found = []
    for instance in graph.object_instances:
        item = instance.object
        if item.type != "MESH":
            continue
        mesh, matrix = item.to_mesh(), np.array(instance.matrix_world)
        mesh.calc_loop_triangles()
        points = np.array([vertex.co for vertex in mesh.vertices]) @ matrix[:3, :3].T + matrix[:3, 3]
        turn = -1 if np.linalg.det(matrix[:3, :3]) < 0 else 1
        found += [points[list(triangle.vertices)[::turn]].tolist() for triangle in mesh.loop_triangles]
    return found


def look() -> dict:
    """Material, colours and normals of the only mesh; normals and points are of the z-up world."""
    (item,) = (one for one in bpy.data.objects if one.type == "MESH")
    mesh, (material,) = item.data, item.data.materials
    (surface,) = (node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    values = {name: surface.inputs[name].default_value for name in ("Metallic", "Roughness")}
    (link,) = surface.inputs["Base Color"].links
    attribute = mesh.color_attributes[link.from_node.layer_name or 0]
    turn, move = np.array(item.matrix_world)[:3, :3], np.array(item.matrix_world)[:3, 3]
    corners = [loop.vertex_index for loop in mesh.loops]
    points = np.array([vertex.co for vertex in mesh.vertices]) @ turn.T + move
    colors = [data.color_srgb[:3] for data in attribute.data]
    return values | {
        "culled": material.use_backface_culling,
        "points": points[corners].tolist(),
        "normals": (np.array([one.vector for one in mesh.corner_normals]) @ turn.T).tolist(),
        "colors": [list(color) for color in colors],
        "per_corner": attribute.domain == "CORNER",
    }


def into_unit_box() -> None:
    """Move and scale everything by an empty above all roots."""
    points = np.array(triangles()).reshape(-1, 3)
    low, high = points.min(0), points.max(0)
    size = (high - low).max()
    frame = bpy.data.objects.new("frame", None)
    bpy.context.scene.collection.objects.link(frame)
    for item in list(bpy.data.objects):
        if item.parent is None and item is not frame:
            item.parent = frame
    frame.scale = (1 / size,) * 3
    frame.location = (-(low + high) / 2 / size).tolist()
    bpy.context.view_layer.update()


def emit_base_colors() -> None:
    for material in bpy.data.materials:
        tree = material.node_tree
        surface = next((node for node in tree.nodes if node.type == "BSDF_PRINCIPLED"), None)
        if surface is None:
            continue
        glow = tree.nodes.new("ShaderNodeEmission")
        color = surface.inputs["Base Color"]
        if color.is_linked:
            tree.links.new(color.links[0].from_socket, glow.inputs["Color"])
        else:
            glow.inputs["Color"].default_value = color.default_value
        output = next(node for node in tree.nodes if node.type == "OUTPUT_MATERIAL")
        tree.links.new(glow.outputs[0], output.inputs["Surface"])


def render(folder: Path, path: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    load(path)
    into_unit_box()
    emit_base_colors()
    blender_scene.set_up(scene, job)
    camera = blender_scene.add_camera(scene, job)
    for view in job["views"]:
        camera.matrix_world = np.array(view["pose"]).T.tolist()
        scene.render.filepath = str(folder / view["name"])
        bpy.ops.render.render(write_still=True)


if sys.argv[1] == "--render":
    render(Path(sys.argv[2]), Path(sys.argv[3]))
elif sys.argv[1] == "--look":
    bpy.ops.wm.read_factory_settings(use_empty=True)
    load(Path(sys.argv[2]))
    print(json.dumps(look()))  # noqa: T201  the result is this output
else:
    read = {}
    for name in sys.argv[1:]:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        load(Path(name))
        read[name] = triangles()
    print(json.dumps(read))  # noqa: T201  the result is this output
