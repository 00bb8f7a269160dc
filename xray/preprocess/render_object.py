"""The pictures and cameras of objects on disk: `<image_root>/<object>/<view>.png` and `transforms.json`."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, PngImagePlugin

from ..common.axes import UP
from ..common.errors import InputError
from ..common.files import atomic_path, json_of, read_text
from ..core.camera import DISTANCE, ELEVATION_DEG, FOV_RAD, Views, framed_pose, sample_views, whole_distance
from ..data.mesh_files import MeshFolder, list_meshes
from .mesh_source import MeshSource

if TYPE_CHECKING:
    from ..mesh.mesh import Mesh

RENDERERS = ("raycast", "blender")
LIGHTS = ("studio", "none")
"""Lit as `shading.picture` describes, or the bare surface colour."""

IMAGE_SIZE = 512
FRAMINGS = ("fixed", "whole", "object")
"""The camera stands at its distance and looks at the origin, as published; the same, but as much farther away as an
object needs to be whole in every view (`camera.whole_distance`); or it frames the object, as a picture is framed before
the models see it (`camera.framed_pose`)."""
SETTINGS_KEY = "render"
"""Text chunk of every picture: the settings that it was made with, which a later run compares."""

MESH_KEY = "mesh"
"""Text chunk of every picture: hash of the mesh that it shows, see `MeshSource.hash`."""

COMPRESSION = 1
"""Of the .png files, 0 to 9: level 4 takes twice the time for a tenth of the size."""


@dataclass(frozen=True)
class RenderSettings:
    """What the pictures of an object depend on, besides its mesh and its id.

    Attributes:
      num_views: pictures an object; the first k of more views are the k views of fewer.
      camera_distance: from the origin, in object units.
      elevation_deg: lowest and highest elevation of the camera.
      image_size: pixels on each side.
      seed: of the views.
      renderer, light, up, framing: of `RENDERERS`, `LIGHTS`, `axes.UP`, `FRAMINGS`.
    """

    num_views: int = 8
    camera_distance: float = DISTANCE
    elevation_deg: tuple[float, float] = ELEVATION_DEG
    image_size: int = IMAGE_SIZE
    seed: int = 0
    renderer: str = "raycast"
    light: str = "studio"
    up: str = "auto"
    framing: str = "fixed"

    def __post_init__(self) -> None:
        for name, allowed in (("renderer", RENDERERS), ("light", LIGHTS), ("up", UP), ("framing", FRAMINGS)):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} {getattr(self, name)!r}: expected one of {', '.join(allowed)}")
        if not 1 <= self.image_size <= 8192:
            raise InputError(f"image size {self.image_size}: expected 1 to 8192 pixels")
        if self.seed < 0:
            raise InputError(f"seed {self.seed}: expected 0 or more")
        self.views("")  # refuses a number, distance or elevation out of range

    def views(self, uid: str, mesh: Mesh | None = None) -> Views:
        """The views of one object; they depend on the seed and on its id, not on the objects beside it.

        Where the framing is not fixed they depend on its mesh too; without it they are those before the framing.
        """
        distance = self.camera_distance
        if self.framing == "whole" and mesh is not None:
            distance = max(distance, whole_distance(mesh.vertices, self.elevation_deg))
        digest = hashlib.sha256(uid.encode()).digest()
        rng = np.random.default_rng([self.seed, int.from_bytes(digest[:8], "big")])
        poses = sample_views(self.num_views, rng, distance, self.elevation_deg)
        if self.framing == "object" and mesh is not None:
            points = mesh.vertices[np.unique(mesh.faces)]
            poses = np.stack([framed_pose(pose, points, self.image_size) for pose in poses])
        return Views(FOV_RAD, tuple(f"{index:03d}.png" for index in range(self.num_views)), poses)

    def describe(self) -> str:
        """One line that is equal for settings that give equal pictures of one view."""
        values = asdict(self)
        del values["num_views"]
        if self.framing == "fixed":  # pictures made before there was a choice do not name it
            del values["framing"]
        return json.dumps(values)


@dataclass(frozen=True)
class RenderTask:
    """One object to render.

    Attributes:
      uid: the object's id; mesh: its file; folder: of its pictures.
      overwrite: make the pictures that are there again.
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
    """The result of a task: pictures made now, pictures that existed before, seconds."""

    made: int
    kept: int
    seconds: float


def render_object(task: RenderTask, source: MeshSource | None = None) -> Rendered:
    """Make the pictures that are missing; `transforms.json` comes last, so it marks a complete object.

    Pictures of a mesh whose files have changed since are missing too.

    Args:
      source: the mesh, where others use it as well.
    Raises:
      InputError: a mesh that cannot be used, or pictures with other settings that are not to be overwritten.
    """
    start = time.perf_counter()
    source = source or MeshSource(task.mesh, task.settings.up)
    names, transforms = task.settings.views(task.uid).names, task.folder / "transforms.json"
    for partial in task.folder.glob(".*.partial-*") if task.folder.is_dir() else ():  # of a run that was killed
        partial.unlink(missing_ok=True)
    made_of = {} if task.overwrite else {name: found for name in names if (found := _made_of(task, name)) is not None}
    missing = [index for index, name in enumerate(names) if not _is_current(task, source, name, made_of)]
    if task.overwrite or len(missing) > len(names) - len(made_of):  # some show another mesh
        transforms.unlink(missing_ok=True)
    if missing or not transforms.exists():
        views = task.settings.views(task.uid, None if task.settings.framing == "fixed" else source.mesh())
        text = PngImagePlugin.PngInfo()
        text.add_text(SETTINGS_KEY, task.settings.describe())
        if missing:
            text.add_text(MESH_KEY, source.hash(task.folder))
        for index, image in zip(missing, _pictures(task, source, views, missing), strict=True):
            with atomic_path(task.folder / views.names[index]) as partial:
                Image.fromarray(image).save(partial, compress_level=COMPRESSION, pnginfo=text)
        with atomic_path(transforms) as partial:
            partial.write_text(views.to_json(), encoding="utf-8")
    if task.folder.is_dir():
        source.write_record(task.folder)
    return Rendered(len(missing), len(names) - len(missing), time.perf_counter() - start)


def _pictures(task: RenderTask, source: MeshSource, views: Views, indices: list[int]) -> Iterator[np.ndarray]:
    if not indices:
        return
    mesh, size, light = source.mesh(), task.settings.image_size, task.settings.light
    if task.settings.renderer == "blender":
        from . import blender

        yield from blender.pictures(list(task.blender), mesh, views, indices, size, light, task.threads)
        return
    from ..raycast.shading import picture

    caster = source.caster()
    for index in indices:
        yield picture(mesh, caster, views.camera(index, size), light)


def _made_of(task: RenderTask, name: str) -> str | None:
    """Hash of the mesh that an existing picture shows: empty where it has none, None where there is no picture."""
    path = task.folder / name
    if not path.exists():
        return None
    try:
        with Image.open(path) as image:
            made_with, mesh = image.info.get(SETTINGS_KEY), image.info.get(MESH_KEY, "")
    except (OSError, SyntaxError):
        raise InputError(f"{path}: not readable as an image; --overwrite makes it again") from None
    if made_with != task.settings.describe():
        raise InputError(
            f"{path}: made with {made_with or 'settings that it does not name'}, "
            f"asked for are {task.settings.describe()}; --overwrite makes it again"
        )
    return mesh


def _is_current(task: RenderTask, source: MeshSource, name: str, made_of: dict[str, str]) -> bool:
    """Whether a picture is there and shows the mesh as it is today.

    Pictures of earlier versions do not say what they show: those younger than the mesh's files stay.
    """
    if name not in made_of:
        return False
    if made_of[name]:
        return made_of[name] == source.hash(task.folder)
    return (task.folder / name).stat().st_mtime_ns >= source.changed_ns(task.folder)


def select_meshes(mesh_root: Path, mesh_list: Path | None, id_rule: str = "name") -> MeshFolder:
    """As `list_meshes`, only those of a JSON list of ids where one is given.

    Raises:
      InputError: as `list_meshes`; a list that is not readable, or that names an object which is not there.
    """
    found = list_meshes(mesh_root, id_rule)
    if mesh_list is None:
        return found
    wanted = json_of(read_text(mesh_list), mesh_list)
    if not isinstance(wanted, list) or not wanted or not all(isinstance(uid, str) for uid in wanted):
        raise InputError(f"{mesh_list}: expected a list of object ids")
    absent = sorted(set(wanted) - set(found.meshes) - set(found.unfit))
    if absent:
        raise InputError(f"{mesh_list}: {', '.join(absent[:5])} not among the meshes of {mesh_root}")
    return replace(
        found,
        meshes={uid: found.meshes[uid] for uid in sorted(set(wanted) & set(found.meshes))},
        unfit={uid: found.unfit[uid] for uid in sorted(set(wanted) & set(found.unfit))},
    )
