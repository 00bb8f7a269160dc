"""Rendering by Blender's Cycles, where there is a Python with bpy or a Blender program."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import time

from . import FAILED, OK, ROOT, Absent, Result, Settings


def render(settings: Settings) -> Result:
    """Pictures of one example mesh; Cycles takes a GPU where it finds one."""
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
    reason = f"{made} of {views} pictures in {seconds:.1f} s, by {program}"
    status = OK if done.returncode == 0 and made == views else FAILED
    return Result(status, reason, values={"pictures": made, "seconds": seconds})
