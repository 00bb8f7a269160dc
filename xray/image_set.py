"""The pictures and cameras of objects on disk: `<image_root>/<object>/<view>.png` and `transforms.json`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from . import blender
from .axes import UP
from .camera import DISTANCE, ELEVATION_DEG, FOV_RAD, Views, sample_views
from .errors import InputError
from .mesh import Mesh, find_meshes, load_mesh
from .raycast import RayCaster
from .render import LIGHTS, picture
from .storage import atomic_path

RENDERERS = ("raycast", "blender")
IMAGE_SIZE = 512
SETTINGS_KEY = "render"
"""Text chunk of every picture: the settings that it was made with, so that a later run can tell."""


@dataclass(frozen=True)
class RenderSettings:
    """What the pictures of an object depend on, besides its mesh and its id.

    Attributes:
      num_views: pictures an object; the first k of more views are the k views of fewer.
      camera_distance: from the origin, in object units.
      elevation_deg: lowest and highest elevation of the camera.
      image_size: pixels on each side.
      seed: of the views.
      renderer, light, up: of `RENDERERS`, `render.LIGHTS`, `axes.UP`.
    """

    num_views: int = 8
    camera_distance: float = DISTANCE
    elevation_deg: tuple[float, float] = ELEVATION_DEG
    image_size: int = IMAGE_SIZE
    seed: int = 0
    renderer: str = "raycast"
    light: str = "studio"
    up: str = "auto"

    def __post_init__(self) -> None:
        for name, allowed in (("renderer", RENDERERS), ("light", LIGHTS), ("up", UP)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(allowed)}")
        if not 1 <= self.image_size <= 8192:
            raise InputError(f"image size {self.image_size}: expected 1 to 8192 pixels")
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: expected 0 or more")
        self.views("")  # refuses a number, distance or elevation out of range

    def views(self, uid: str) -> Views:
        """The views of one object; they depend on the seed and on its id, not on the objects beside it."""
        digest = hashlib.sha256(uid.encode()).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(digest[:8], "big")])
        poses = sample_views(self.num_views, rng, self.camera_distance, self.elevation_deg)
        return Views(FOV_RAD, tuple(f"{index:03d}.png" for index in range(self.num_views)), poses)

    def describe(self) -> str:
        """One line that is equal for settings that give equal pictures of one view."""
        return json.dumps({name: value for name, value in asdict(self).items() if name != "num_views"})


@dataclass(frozen=True)
class RenderTask:
    """One object to render.

    Attributes:
      uid: the object's id; mesh: its file; folder: of its pictures.
      overwrite: make pictures anew that are there.
      blender: for that renderer, the command of `blender.find_blender`; threads: those of Blender, 0 for all.
    """

    uid: str
    mesh: Path
    folder: Path
    settings: RenderSettings
    overwrite: bool = False
    blender: tuple[str, ...] = ()
    threads: int = 0


@dataclass(frozen=True)
class Rendered:
    """What came of a task: pictures made now, pictures that were there, seconds."""

    made: int
    kept: int
    seconds: float


def render_object(task: RenderTask) -> Rendered:
    """Make the pictures that are missing; `transforms.json` comes last, so it stands for a complete object.

    Raises:
      InputError: a mesh that cannot be used, or pictures with other settings that are not to be overwritten.
    """
    start = time.perf_counter()
    views, transforms = task.settings.views(task.uid), task.folder / "transforms.json"
    if task.overwrite:
        transforms.unlink(missing_ok=True)
    missing = [index for index, name in enumerate(views.names) if not _is_kept(task, name)]
    if missing:
        mesh = load_mesh(task.mesh, task.settings.up)
        text = PngImagePlugin.PngInfo()
        text.add_text(SETTINGS_KEY, task.settings.describe())
        for index, image in zip(missing, _pictures(task, mesh, views, missing), strict=True):
            with atomic_path(task.folder / views.names[index]) as partial:
                Image.fromarray(image).save(partial, compress_level=4, pnginfo=text)
    if missing or not transforms.exists():
        with atomic_path(transforms) as partial:
            partial.write_text(views.to_json(), encoding="utf-8")
    return Rendered(len(missing), len(views.names) - len(missing), time.perf_counter() - start)


def _pictures(task: RenderTask, mesh: Mesh, views: Views, indices: list[int]) -> Iterator[np.ndarray]:
    size, light = task.settings.image_size, task.settings.light
    if task.settings.renderer == "blender":
        yield from blender.pictures(list(task.blender), mesh, views, indices, size, light, task.threads)
        return
    caster = RayCaster(mesh.vertices, mesh.faces)
    for index in indices:
        yield picture(mesh, caster, views.camera(index, size), light)


def _is_kept(task: RenderTask, name: str) -> bool:
    """Whether a picture is there already and stays."""
    path = task.folder / name
    if task.overwrite or not path.exists():
        return False
    try:
        with Image.open(path) as image:
            made_with = image.info.get(SETTINGS_KEY)
    except (OSError, SyntaxError):
        raise InputError(f"{path}: not readable as an image; --overwrite makes it anew") from None
    if made_with != task.settings.describe():
        raise InputError(
            f"{path}: made with {made_with or 'settings that it does not name'}, "
            f"asked for are {task.settings.describe()}; --overwrite makes it anew"
        )
    return True


def select_meshes(mesh_root: Path, mesh_list: Path | None) -> dict[str, Path]:
    """Object id -> mesh file, as `find_meshes`, only those of a JSON list of ids where one is given.

    Raises:
      InputError: as `find_meshes`; a list that is not readable, or that names an object which is not there.
    """
    meshes = find_meshes(mesh_root)
    if mesh_list is None:
        return meshes
    try:
        wanted = json.loads(mesh_list.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{mesh_list}: not readable as JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(wanted, list) or not wanted or not all(isinstance(uid, str) for uid in wanted):
        raise InputError(f"{mesh_list}: expected a list of object ids")
    absent = sorted(set(wanted) - set(meshes))
    if absent:
        raise InputError(f"{mesh_list}: {', '.join(absent[:5])} not among the meshes of {mesh_root}")
    return {uid: meshes[uid] for uid in sorted(set(wanted))}
