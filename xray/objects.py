"""All views of one object: pictures and cameras in, X-Rays and rows for the manifest out."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from .camera import Camera, Views, load_views
from .capture import FAR, NEAR, VERSION, capture_sparse
from .errors import InputError
from .images import foreground_at_rays, load_rgba
from .jobs import describe
from .manifest import Row, read_manifest, write_manifest
from .mesh import COLORS, NORMALS, load_mesh
from .raycast import RayCaster
from .representation import LAYERS, RESOLUTION
from .sparse import SparseXRay
from .storage import load_sparse, save_sparse

ROWS = "rows.csv"
"""File in an object's folder of X-Rays with its rows of the manifest. It is written last: what it names is done."""

MIN_IOU = 0.9
"""Least agreement of picture and first layer for a view to be accepted."""


@dataclass(frozen=True)
class Settings:
    """How X-Rays are made.

    Attributes:
      layers, resolution: stored layers, rays on each side.
      color, normals, up: see `Mesh.colors`, `Mesh.normals`, `axes.world_from_file`.
      near, far: depth range for the counts in the manifest.
      min_iou: a view whose picture agrees less with the first layer is rejected.
      device: "cpu" or "cuda"; the result is the same.
    """

    layers: int = LAYERS
    resolution: int = RESOLUTION
    color: str = "texture"
    normals: str = "face"
    up: str = "auto"
    near: float = NEAR
    far: float = FAR
    min_iou: float = MIN_IOU
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.layers < 1 or self.resolution < 1:
            raise InputError(f"{self.layers} layers, resolution {self.resolution}: both must be at least 1")
        if self.color not in COLORS or self.normals not in NORMALS:
            raise InputError(f"color {self.color!r}, normals {self.normals!r}: expected one of {COLORS}, {NORMALS}")
        if not 0 <= self.near < self.far:
            raise InputError(f"near {self.near}, far {self.far}: expected 0 <= near < far")
        if not 0 <= self.min_iou <= 1:
            raise InputError(f"min_iou {self.min_iou}: expected between 0 and 1")

    def hash(self, camera: Camera) -> str:
        """Twelve hex digits of everything but the mesh that a file and its row depend on."""
        values = asdict(self)
        # Neither changes the file, and a row is judged anew against min_iou whenever it is read.
        del values["device"], values["min_iou"]
        values |= {"version": VERSION, "fov_rad": camera.fov_rad, "pose": camera.world_from_camera.tolist()}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]

    def judge(self, row: Row) -> Row:
        """The row of a written view with its status by `min_iou`."""
        if row.mask_iou >= self.min_iou:
            return replace(row, status="accepted", reason="")
        return replace(row, status="rejected", reason=f"mask IoU {row.mask_iou:.6g} is below {self.min_iou:g}")


@dataclass(frozen=True)
class Tally:
    """What came of one object.

    Attributes:
      accepted, rejected, failed: views by status; reused: those among them that were there already.
      hits, hits_beyond_layers, hits_outside: sums over the written views.
      reason: the first failure, empty without one.
      peak_mib: largest memory of the process so far.
    """

    accepted: int
    rejected: int
    failed: int
    reused: int
    hits: int
    hits_beyond_layers: int
    hits_outside: int
    reason: str
    peak_mib: float


@dataclass(frozen=True)
class ObjectJob:
    """Callable for (object id, mesh file), for `run_jobs`: makes what is missing, keeps what is there and sound."""

    settings: Settings
    image_root: Path
    xray_root: Path
    overwrite: bool = False

    def prepare(self) -> None:
        """Compile or load the kernels; InputError where the device is not there."""
        RayCaster(np.eye(3), np.array([[0, 1, 2]]), self.settings.device).crossings(np.zeros(3), np.eye(3))

    def __call__(self, item: tuple[str, Path]) -> Tally:
        uid, mesh_path = item
        folder = self.xray_root / uid
        if folder.is_dir():
            for partial in folder.glob(".*.partial-*"):  # of a run that was killed
                partial.unlink(missing_ok=True)
        try:
            views = self._views(uid)
        except InputError as error:
            return self._finish(uid, [Row(uid, "", "failed", str(error))], {}, 0)
        previous = {} if self.overwrite else self._previous(uid)
        rows: dict[str, Row] = {}
        for index, view in enumerate(views.stems):
            row = previous.get(view)
            if row is not None and self._is_sound(row, self._camera(views, index)):
                rows[view] = self.settings.judge(row)
        missing = [index for index, view in enumerate(views.stems) if view not in rows]
        for row in self._make(uid, mesh_path, views, missing):
            rows[row.view] = row
        return self._finish(uid, [rows[view] for view in sorted(rows)], previous, len(views.stems) - len(missing))

    def fail(self, uid: str, reason: str) -> Tally:
        """Record that the object as a whole has failed."""
        try:
            views = self._views(uid).stems
        except InputError:
            views = ("",)
        return self._finish(uid, [Row(uid, view, "failed", reason) for view in sorted(views)], {}, 0)

    def _views(self, uid: str) -> Views:
        return load_views(self.image_root / uid / "transforms.json")

    def _camera(self, views: Views, index: int) -> Camera:
        return views.camera(index, self.settings.resolution)

    def _path(self, uid: str, view: str) -> Path:
        return self.xray_root / uid / f"{view}.npz"

    def _previous(self, uid: str) -> dict[str, Row]:
        """Rows of an earlier run. Without the file, or with one that cannot be read, everything is made anew."""
        try:
            return {row.view: row for row in read_manifest(self.xray_root / uid / ROWS)}
        except InputError:
            return {}

    def _is_sound(self, row: Row, camera: Camera) -> bool:
        """Whether the file of an earlier run was made by the same settings, is whole, and holds what the row says."""
        if row.status == "failed" or row.mask_iou is None or row.settings != self.settings.hash(camera):
            return False
        try:
            sparse = load_sparse(self._path(row.object, row.view))
        except InputError:
            return False
        shape = (self.settings.layers, camera.height, camera.width)
        return sparse.shape == shape and row.hits == _hits(sparse)

    def _make(self, uid: str, mesh_path: Path, views: Views, missing: list[int]) -> list[Row]:
        if not missing:
            return []
        began = time.perf_counter()
        try:
            mesh = load_mesh(mesh_path, self.settings.up)
            caster = RayCaster(mesh.vertices, mesh.faces, self.settings.device)
        except Exception as error:  # noqa: BLE001  recorded as the failure of every view; the other objects go on
            return [Row(uid, views.stems[index], "failed", describe(error)) for index in missing]
        share = (time.perf_counter() - began) / len(missing)
        rows = []
        for index in missing:
            view, camera = views.stems[index], self._camera(views, index)
            began = time.perf_counter()
            try:
                row = self._view(Row(uid, view, "failed", settings=self.settings.hash(camera)), mesh, caster, camera)
                row = replace(row, seconds=share + time.perf_counter() - began)
            except Exception as error:  # noqa: BLE001  recorded as the failure of this view; the other views go on
                row = Row(uid, view, "failed", describe(error), faces=len(mesh.faces))
            rows.append(row)
        return rows

    def _view(self, row: Row, mesh, caster: RayCaster, camera: Camera) -> Row:
        settings = self.settings
        path = self.image_root / row.object / f"{row.view}.png"
        picture = foreground_at_rays(load_rgba(path), settings.resolution, path)
        sparse, stats = capture_sparse(
            mesh, caster, camera, settings.layers, settings.color, settings.normals, settings.near, settings.far
        )
        save_sparse(self._path(row.object, row.view), sparse)
        row = replace(
            row,
            faces=len(mesh.faces),
            mask_iou=iou(picture, first_layer(sparse)),
            camera_distance=float(np.linalg.norm(camera.origin)),
            **asdict(stats),
        )
        return settings.judge(row)

    def _finish(self, uid: str, rows: list[Row], previous: dict[str, Row], reused: int) -> Tally:
        if rows != list(previous.values()):
            write_manifest(self.xray_root / uid / ROWS, rows)
        written = [row for row in rows if row.status != "failed"]
        return Tally(
            accepted=sum(row.status == "accepted" for row in rows),
            rejected=sum(row.status == "rejected" for row in rows),
            failed=len(rows) - len(written),
            reused=reused,
            hits=sum(sum(row.hits) for row in written),
            hits_beyond_layers=sum(row.hits_beyond_layers for row in written),
            hits_outside=sum(row.hits_before_near + row.hits_beyond_far for row in written),
            reason=next((f"{row.view}: {row.reason}".removeprefix(": ") for row in rows if row.status == "failed"), ""),
            peak_mib=_peak_mib(),
        )


def first_layer(sparse: SparseXRay) -> np.ndarray:
    """(H, W) bool, the rays that hit anything."""
    _, height, width = sparse.shape
    column = sparse.column[: sparse.indptr[1]]
    mask = np.zeros(height * width, bool)
    mask[column[column < height * width]] = True
    return mask.reshape(height, width)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks; 0 where both are empty."""
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 0.0


def _hits(sparse: SparseXRay) -> tuple[int, ...]:
    """Number of hits in each layer."""
    pixels = sparse.shape[1] * sparse.shape[2]
    is_depth = np.concatenate([[0], np.cumsum(sparse.column < pixels)])
    return tuple(np.diff(is_depth[sparse.indptr]).tolist())


def _peak_mib() -> float:
    """Largest memory of this process so far. `getrusage` would count the parent's."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
