"""Rendering by Blender's Cycles, where there is a Python with bpy or a Blender program."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import FAILED, OK, ROOT, Absent, Result, Settings


def render(settings: Settings) -> Result:
    """Pictures of one example mesh, and on what Cycles makes them: it takes a GPU where it finds one."""
    own = ROOT / ".venv-blender/bin/python"
    program = str(own) if own.exists() else shutil.which("blender")
    if importlib.util.find_spec("bpy") is not None:
        program = sys.executable
    if program is None:
        raise Absent("bpy not installed, and no blender on PATH")
    folder, views = settings.out / "blender", 1 if settings.tiny else 4
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "list.json").write_text(json.dumps(["mug"]), encoding="utf-8")
    command = [sys.executable, "preprocess/get_image/render.py", "--mesh_root", "example/meshes", "--workers", "0"]
    command += ["--image_root", str(folder / "images"), "--mesh_list", str(folder / "list.json")]
    command += ["--renderer", "blender", "--blender", program, "--num_views", str(views)]
    command += ["--image_size", "32"] if settings.tiny else []
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, stdout=sys.stdout, stderr=sys.stderr, check=False)
    seconds = time.perf_counter() - began
    made = len(list((folder / "images/mug").glob("*.png")))
    backend = cycles_backend(program)
    where = "the CPU" if backend == "NONE" else backend
    reason = f"{made} of {views} pictures in {seconds:.1f} s, by {program}, Cycles on {where}"
    right = done.returncode == 0 and made == views and (settings.device == "cpu" or backend != "NONE")
    return Result(OK if right else FAILED, reason, values={"pictures": made, "seconds": seconds, "backend": backend})


BACKEND = """
import sys
sys.path.insert(0, "preprocess/get_image")
import blender_scene as scene
scene.bpy.ops.wm.read_factory_settings(use_empty=True)
scene.use_gpu()
kind = scene.bpy.context.preferences.addons["cycles"].preferences.compute_device_type
sys.stdout.write("\\ncycles backend: " + kind + "\\n")
"""


def cycles_backend(program: str) -> str:
    """What Cycles runs on in a Python with bpy or a Blender program: OPTIX, CUDA, ..., or NONE for the CPU."""
    python = "python" in Path(program).name
    options = ["-c"] if python else ["--background", "--factory-startup", "--python-expr"]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run([program, *options, BACKEND], cwd=ROOT, env=environment, capture_output=True, text=True)
    sys.stdout.write(done.stdout + done.stderr)
    found = re.search(r"^cycles backend: (\w+)$", done.stdout, re.MULTILINE)
    return found[1] if found else "no answer"
