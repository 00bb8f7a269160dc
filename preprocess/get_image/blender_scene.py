"""Renders one object in Blender: run by Blender's own Python, or by a Python that has the `bpy` package.

    python blender_scene.py -- JOB          (with bpy)
    blender --background --factory-startup --python blender_scene.py -- JOB

JOB is a folder with job.json and mesh.npz, as `xray/blender.py` writes it; pictures go to JOB/<view>. Nothing of
this project is imported, since Blender brings a Python of its own.
"""

import json
import sys
from pathlib import Path

import bpy
import numpy as np

SAMPLES = 32
LIGHT_ENERGY, LIGHT_HEIGHT, LIGHT_SCALE = 30000, 0.5, 100
SENSOR_MM = 32
GPU_BACKENDS = ("OPTIX", "CUDA", "HIP", "METAL", "ONEAPI")
EXTENSION = {"repeat": "REPEAT", "mirror": "MIRROR", "clamp": "EXTEND"}


def main(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    set_up(scene, job)
    add_mesh(scene, folder, job)
    if job["light"] == "studio":
        add_light(scene)
    camera = add_camera(scene, job)
    for view in job["views"]:
        camera.matrix_world = np.array(view["pose"]).T.tolist()  # Blender takes the columns
        scene.render.filepath = str(folder / view["name"])
        bpy.ops.render.render(write_still=True)


def set_up(scene, job: dict) -> None:
    """Cycles on a GPU where there is one; transparent film, 8-bit sRGB RGBA without a film look."""
    render, cycles = scene.render, scene.cycles
    render.engine = "CYCLES"
    cycles.device = "GPU" if job["gpu"] and use_gpu() else "CPU"
    if job["threads"]:
        render.threads_mode, render.threads = "FIXED", job["threads"]
    render.film_transparent = True
    render.resolution_x = render.resolution_y = job["size"]
    render.resolution_percentage = 100
    settings = render.image_settings
    settings.file_format, settings.color_mode, settings.color_depth = "PNG", "RGBA", "8"
    scene.display_settings.display_device = "sRGB"
    scene.view_settings.view_transform, scene.view_settings.look = "Standard", "None"
    render.dither_intensity = 0
    cycles.use_denoising = False
    cycles.use_adaptive_sampling = False
    if job["light"] == "studio":
        cycles.samples = SAMPLES
    else:  # one ray through the middle of each pixel
        cycles.samples, cycles.max_bounces = 1, 0
        cycles.pixel_filter_type, cycles.filter_width = "BOX", 0.01
    cycles.transparent_max_bounces = 0


def use_gpu() -> bool:
    preferences = bpy.context.preferences.addons["cycles"].preferences
    for backend in GPU_BACKENDS:
        try:
            preferences.compute_device_type = backend
        except TypeError:  # this build of Blender does not have it
            continue
        preferences.get_devices()
        devices = [device for device in preferences.devices if device.type == backend]
        for device in preferences.devices:
            device.use = device in devices
        if devices:
            return True
    preferences.compute_device_type = "NONE"
    return False


def add_light(scene) -> None:
    """A wide plane of light that just touches the top of the object, and a dim grey world."""
    light = bpy.data.lights.new("above", "AREA")
    light.energy, light.size = LIGHT_ENERGY, 1.0
    lamp = bpy.data.objects.new("above", light)
    lamp.location, lamp.scale = (0, 0, LIGHT_HEIGHT), (LIGHT_SCALE,) * 3
    scene.collection.objects.link(lamp)
    scene.world = bpy.data.worlds.new("grey")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.05, 0.05, 0.05, 1)


def add_camera(scene, job: dict):
    data = bpy.data.cameras.new("camera")
    data.sensor_fit, data.sensor_width = "HORIZONTAL", SENSOR_MM
    data.lens = SENSOR_MM / 2 / np.tan(job["fov_rad"] / 2)
    # Half a pixel, so that the middle of a pixel is the ray of the X-Ray's pixel rule.
    data.shift_x, data.shift_y = -0.5 / job["size"], 0.5 / job["size"]
    data.clip_start, data.clip_end = 0.01, 1000
    camera = bpy.data.objects.new("camera", data)
    scene.collection.objects.link(camera)
    scene.camera = camera
    return camera


def add_mesh(scene, folder: Path, job: dict) -> None:
    arrays = np.load(folder / "mesh.npz")
    faces = arrays["faces"]
    mesh = bpy.data.meshes.new("object")
    mesh.vertices.add(len(arrays["vertices"]))
    mesh.vertices.foreach_set("co", arrays["vertices"].astype(np.float32).ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.astype(np.int32).ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(0, faces.size, 3, dtype=np.int32))
    if bpy.app.version < (4, 1, 0):  # later ones know the lengths from the starts, and normals without being asked
        mesh.polygons.foreach_set("loop_total", np.full(len(faces), 3, np.int32))
        mesh.use_auto_smooth = True
    mesh.polygons.foreach_set("material_index", arrays["material"].astype(np.int32))
    mesh.uv_layers.new(name="uv").data.foreach_set("uv", arrays["uv"].astype(np.float32).ravel())
    tint = mesh.attributes.new("tint", "FLOAT_COLOR", "CORNER")
    rgba = np.ones((faces.size, 4), np.float32)
    rgba[:, :3] = arrays["tint"].reshape(-1, 3)
    tint.data.foreach_set("color", rgba.ravel())
    for number, texture in enumerate(job["materials"]):
        mesh.materials.append(make_material(f"material {number}", texture, folder, job["light"]))
    mesh.update(calc_edges=True)
    normals = arrays["normals"]
    if normals.any():
        mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
        mesh.normals_split_custom_set(normals.reshape(-1, 3).tolist())
    scene.collection.objects.link(bpy.data.objects.new("object", mesh))


def make_material(name: str, texture: dict | None, folder: Path, light: str):
    """Texture times tint, as a matte surface or, unlit, as what it emits."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    nodes, links = material.node_tree.nodes, material.node_tree.links
    nodes.clear()
    tint = nodes.new("ShaderNodeAttribute")
    tint.attribute_name = "tint"
    color = tint.outputs["Color"]
    if texture is not None:
        product = nodes.new("ShaderNodeMix")
        product.data_type, product.blend_type = "RGBA", "MULTIPLY"
        product.clamp_result = False
        product.inputs["Factor"].default_value = 1
        sockets = [socket for socket in product.inputs if socket.type == "RGBA"]
        links.new(color, sockets[0])
        links.new(add_texture(nodes, links, texture, folder), sockets[1])
        color = next(socket for socket in product.outputs if socket.type == "RGBA")
    surface = nodes.new("ShaderNodeBsdfDiffuse" if light == "studio" else "ShaderNodeEmission")
    links.new(color, surface.inputs["Color"])
    output = nodes.new("ShaderNodeOutputMaterial")
    links.new(surface.outputs[0], output.inputs["Surface"])
    return material


def add_texture(nodes, links, texture: dict, folder: Path):
    """Socket of a picture's colour at the coordinates `uv`, under the sampler's rules."""
    coordinates = nodes.new("ShaderNodeUVMap")
    coordinates.uv_map = "uv"
    vector = coordinates.outputs["UV"]
    image = bpy.data.images.load(str(folder / texture["file"]), check_existing=True)
    image.colorspace_settings.name = "sRGB"
    node = nodes.new("ShaderNodeTexImage")
    node.image = image
    node.interpolation = "Closest" if texture["nearest"] else "Linear"
    wrap = texture["wrap"]
    if wrap[0] == wrap[1]:
        node.extension = EXTENSION[wrap[0]]
    else:  # an image node has one rule for both directions
        node.extension = "REPEAT" if "repeat" in wrap else "EXTEND"
        vector = wrapped(nodes, links, vector, wrap, image.size)
    links.new(vector, node.inputs["Vector"])
    return node.outputs["Color"]


def wrapped(nodes, links, vector, wrap: list, size):
    """The coordinates with the rules of both directions applied, but for "repeat"."""
    split, join = nodes.new("ShaderNodeSeparateXYZ"), nodes.new("ShaderNodeCombineXYZ")
    links.new(vector, split.inputs[0])
    for axis in (0, 1):
        value = split.outputs[axis]
        if wrap[axis] == "mirror":
            bounce = nodes.new("ShaderNodeMath")
            bounce.operation = "PINGPONG"
            bounce.inputs[1].default_value = 1
            links.new(value, bounce.inputs[0])
            value = bounce.outputs[0]
        if wrap[axis] != "repeat":  # to the middles of the outer pixels, beyond which both rules are constant
            limit = nodes.new("ShaderNodeClamp")
            limit.inputs["Min"].default_value = 0.5 / size[axis]
            limit.inputs["Max"].default_value = 1 - 0.5 / size[axis]
            links.new(value, limit.inputs["Value"])
            value = limit.outputs[0]
        links.new(value, join.inputs[axis])
    return join.outputs[0]


if __name__ == "__main__":
    main(Path(sys.argv[sys.argv.index("--") + 1]))
