"""Pictures by Blender's Cycles: a subprocess in an environment of its own, fed with the mesh as it was read here."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..common.errors import InputError
from ..common.files import ROOT
from ..core.camera import Views
from ..mesh.mesh import Mesh

SCENE_SCRIPT = ROOT / "preprocess/get_image/blender_scene.py"
REQUIREMENTS = ROOT / "requirements-blender.txt"
ENVIRONMENT = ROOT / ".venv-blender"
PYTHON = "python3.11"
"""Python version of the pinned bpy."""

LIBRARIES = "libx11-6 libxrender1 libxfixes3 libxi6 libxkbcommon0 libsm6 libice6"
"""Debian packages that bpy loads and a bare server lacks."""


def find_blender(path: str | None = None) -> list[str]:
    """The command that runs a scene script: an external Blender, or Python with bpy, installed where it is missing.

    Args:
      path: a Blender binary, or a Python that has bpy; by default the environment `.venv-blender` of this
        repository, which is made from requirements-blender.txt on first use (about 400 MB).
    Raises:
      InputError: a path that cannot be run, no Python of the version that bpy needs, a failed installation,
        system libraries that are missing; the message says what to do.
    """
    if path is not None:
        program = shutil.which(path)
        if program is None:
            raise InputError(f"--blender {path}: no such program")
        if Path(program).name.startswith("python"):
            return [_checked(program)]
        return [program, "--background", "--factory-startup", "--python-exit-code", "1", "--python"]
    python = ENVIRONMENT / "bin/python"
    complete = ENVIRONMENT / "complete"
    if not complete.exists() or complete.read_text() != REQUIREMENTS.read_text():
        _install(python)
        complete.write_text(REQUIREMENTS.read_text())
    return [_checked(str(python))]


def _install(python: Path) -> None:
    base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which(PYTHON)
    if base is None:
        raise InputError(f"--renderer blender needs {PYTHON} for bpy; install it, or give --blender PATH")
    sys.stderr.write(f"installing Blender (bpy) into {ENVIRONMENT}, once\n")
    for command in (
        [base, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(REQUIREMENTS)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise InputError(f"installing {REQUIREMENTS.name} failed ({' '.join(last)[:200]}); or give --blender PATH")


def _checked(python: str) -> str:
    """The Python, or InputError where it cannot import bpy."""
    done = subprocess.run([python, "-c", "import bpy"], capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:] or [f"status {done.returncode}"]
        hint = f"install the system's libraries: apt-get install {LIBRARIES}" if ".so" in last[0] else "see --blender"
        raise InputError(f"{python} cannot import bpy ({last[0][:160]}); {hint}")
    return python


def pictures(
    command: list[str],
    mesh: Mesh,
    views: Views,
    indices: list[int],
    size: int,
    light: str = "studio",
    threads: int = 0,
    gpu: bool = True,
) -> Iterator[np.ndarray]:
    """(size, size, 4) uint8 pictures of some views, sRGB with straight alpha, by one run of Blender.

    Cycles, 32 samples, transparent film, a wide area light above; surfaces are matte. Light "none" shows the surface
    colour through the middle of each pixel, as `render.picture` does.

    Args:
      command: of `find_blender`; threads: of the CPU, 0 for all; gpu: use one where there is one.
    Raises:
      RuntimeError: Blender failed; the message has its last words.
    """
    with tempfile.TemporaryDirectory(prefix="blender-") as name:
        folder = Path(name)
        _write_mesh(folder, mesh)
        job = {
            "size": size,
            "fov_rad": views.fov_rad,
            "light": light,
            "threads": threads,
            "gpu": gpu,
            "materials": _write_materials(folder, mesh),
            "views": [{"name": views.names[i], "pose": views.world_from_camera[i].tolist()} for i in indices],
        }
        (folder / "job.json").write_text(json.dumps(job))
        # Workers set one compute thread in the environment; Cycles gets its number of threads with the job.
        environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "OMP_NUM_THREADS")}
        done = subprocess.run(
            [*command, str(SCENE_SCRIPT), "--", name], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"Blender ended with status {done.returncode}: {_last_words(done.stdout + done.stderr)}")
        for index in indices:
            with Image.open(folder / views.names[index]) as image:
                yield np.asarray(image.convert("RGBA"))


def _last_words(output: str) -> str:
    """The line of an output that says what went wrong: the last line of a Python error, else the last line of all."""
    lines = [line.strip() for line in output.splitlines() if line.strip() and "script failed" not in line]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b", line) and "Traceback" not in line]
    return (errors or lines or ["it said nothing"])[-1][:300]


def _write_mesh(folder: Path, mesh: Mesh) -> None:
    """Everything by corners of faces: coordinates with v up and the sampler's transform applied, linear tints."""
    uv = mesh.uv[mesh.faces]
    for index, material in enumerate(mesh.materials):
        if material.texture is not None and material.texture.transform is not None:
            chosen, matrix = mesh.material == index, material.texture.transform
            uv[chosen] = uv[chosen] @ matrix[:, :2].T + matrix[:, 2]
    factor = np.stack([material.factor for material in mesh.materials])[mesh.material] * mesh.face_colors
    corners = np.zeros((len(mesh.faces), 3, 3))
    for corner in range(3):
        weights = np.broadcast_to(np.eye(3)[corner], (len(mesh.faces), 3))
        corners[:, corner] = mesh.normals(np.arange(len(mesh.faces)), weights, "vertex")
    np.savez(
        folder / "mesh.npz",
        vertices=mesh.vertices,
        faces=mesh.faces,
        material=mesh.material,
        uv=uv * (1, -1) + (0, 1),
        tint=mesh.vertex_colors[mesh.faces] * factor[:, None],
        normals=corners if mesh.vertex_normals.any() else np.zeros(0),
    )


def _write_materials(folder: Path, mesh: Mesh) -> list[dict | None]:
    files: dict[int, str] = {}
    found: list[dict | None] = []
    for material in mesh.materials:
        texture = material.texture
        if texture is None:
            found.append(None)
            continue
        if id(texture.pixels) not in files:
            files[id(texture.pixels)] = f"texture_{len(files)}.png"
            Image.fromarray(texture.pixels).save(folder / files[id(texture.pixels)], compress_level=1)
        file = files[id(texture.pixels)]
        found.append({"file": file, "wrap": list(texture.wrap), "nearest": texture.nearest})
    return found
