"""All views of one object: pictures and cameras in, X-Rays and rows for the manifest out."""

from __future__ import annotations

import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ..common.depth_range import FAR, NEAR, check_depth_range
from ..common.errors import InputError
from ..common.images import foreground_at_rays, load_rgba
from ..common.jobs import describe
from ..core.camera import Camera, Views, load_views
from ..core.storage import MAX_VALUES, load_sparse, save_sparse
from ..core.xray import RESOLUTION, STORED_LAYERS, SparseXRay
from ..data.manifest import Row, read_manifest, write_manifest
from ..mesh.mesh import COLORS, NORMALS
from .mesh_source import MeshSource

ROWS = "rows.csv"
"""File in an object's folder of X-Rays with its rows of the manifest. It is written last: its views are finished."""

MIN_IOU = 0.9
"""Least agreement of picture and first layer for a view to be accepted."""


@dataclass(frozen=True)
class XRaySettings:
    """How X-Rays are made.

    Attributes:
      layers, resolution: stored layers, rays on each side.
      color, normals, up: see `Mesh.colors`, `Mesh.normals`, `axes.world_from_file`.
      near, far: depth range for the counts in the manifest.
      min_iou: a view whose picture agrees less with the first layer is rejected.
      device: "cpu" or "cuda"; the result is the same.
    """

    layers: int = STORED_LAYERS
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
        if 7 * self.layers * self.resolution**2 > MAX_VALUES:
            most = math.isqrt(MAX_VALUES // (7 * self.layers))
            raise InputError(f"resolution {self.resolution}: expected at most {most} for {self.layers} layers")
        if self.color not in COLORS or self.normals not in NORMALS:
            raise InputError(f"color {self.color!r}, normals {self.normals!r}: expected one of {COLORS}, {NORMALS}")
        check_depth_range(self.near, self.far, "depth range")
        if not 0 <= self.min_iou <= 1:
            raise InputError(f"min_iou {self.min_iou}: expected between 0 and 1")

    def hash(self, camera: Camera) -> str:
        """Twelve hex digits of everything but the mesh that a file and its row depend on."""
        from ..raycast.capture import VERSION

        values = asdict(self)
        # Neither changes the file, and a row is compared with min_iou again whenever it is read.
        del values["device"], values["min_iou"]
        values |= {"version": VERSION, "fov_rad": camera.fov_rad, "pose": camera.world_from_camera.tolist()}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]

    def classify(self, row: Row) -> Row:
        """The row of a written view with its status by `min_iou`."""
        if row.mask_iou is None:
            return replace(row, status="no picture", reason="no picture to compare it with")
        if row.mask_iou >= self.min_iou:
            return replace(row, status="accepted", reason="")
        return replace(row, status="rejected", reason=f"mask IoU {row.mask_iou:.6g} is below {self.min_iou:g}")


@dataclass(frozen=True)
class ViewCounts:
    """The result of one object, or of several.

    Attributes:
      accepted, rejected, no_picture, failed: views by status; reused: those among them that were there already.
      hits, hits_beyond_layers, hits_outside: sums over the written views.
      cut: views in which the object reaches over the border.
      reason: the first failure, empty without one.
      peak_mib: largest memory of the process so far.
    """

    accepted: int = 0
    rejected: int = 0
    no_picture: int = 0
    failed: int = 0
    reused: int = 0
    hits: int = 0
    hits_beyond_layers: int = 0
    hits_outside: int = 0
    cut: int = 0
    reason: str = ""
    peak_mib: float = 0.0

    def joined(self, other: ViewCounts) -> ViewCounts:
        """The counts of both; the reason is this one's where it has one."""
        counts = {name: value + getattr(other, name) for name, value in vars(self).items() if type(value) is int}
        peak_mib = max(self.peak_mib, other.peak_mib)
        return ViewCounts(**counts, reason=self.reason or other.reason, peak_mib=peak_mib)


@dataclass(frozen=True)
class ObjectJob:
    """Callable for (object id, mesh file), for `run_jobs`: makes what is missing and keeps valid files.

    Attributes:
      failures: object id -> why its pictures could not be made, for the row of an object without pictures.
    """

    settings: XRaySettings
    image_root: Path
    xray_root: Path
    overwrite: bool = False
    failures: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        """Compile or load the kernels; InputError where the device is not there."""
        from ..raycast.caster import RayCaster

        RayCaster(np.eye(3), np.array([[0, 1, 2]]), self.settings.device).crossings(np.zeros(3), np.eye(3))

    def __call__(self, item: tuple[str, Path], source: MeshSource | None = None) -> ViewCounts:
        uid, mesh_path = item
        source = source or MeshSource(mesh_path, self.settings.up)
        folder = self.xray_root / uid
        if folder.is_dir():
            for partial in folder.glob(".*.partial-*"):  # of a run that was killed
                partial.unlink(missing_ok=True)
        try:
            views = self._views(uid)
        except InputError as error:
            return self._finish(uid, [Row(uid, "", "failed", self._why_no_views(uid, source, error))], {}, 0)
        previous = {} if self.overwrite else self._previous(uid)
        rows: dict[str, Row] = {}
        mesh_hash = self._mesh_hash(uid, source) if previous else ""
        for index, view in enumerate(views.stems):
            row = previous.get(view)
            if row is not None and row.mesh == mesh_hash != "" and self._is_sound(row, self._camera(views, index)):
                rows[view] = row
        missing = [index for index, view in enumerate(views.stems) if view not in rows]
        rows = {view: self._compared(row) for view, row in rows.items()}
        for row in self._make(uid, source, views, missing):
            rows[row.view] = row
        counts = self._finish(uid, [rows[view] for view in sorted(rows)], previous, len(views.stems) - len(missing))
        source.write_record(folder)
        return counts

    def fail(self, uid: str, reason: str) -> ViewCounts:
        """Record that the object as a whole has failed."""
        try:
            views = self._views(uid).stems
        except InputError:
            views = ("",)
        return self._finish(uid, [Row(uid, view, "failed", reason) for view in sorted(views)], {}, 0)

    def _views(self, uid: str) -> Views:
        return load_views(self.image_root / uid / "transforms.json")

    def _why_no_views(self, uid: str, source: MeshSource, error: InputError) -> str:
        """The reason at the root: without cameras since the pictures failed, since the mesh cannot be used."""
        if (self.image_root / uid / "transforms.json").exists():
            return str(error)
        try:
            source.mesh()
        except Exception as cause:  # noqa: BLE001  recorded as the object's failure
            return describe(cause)
        if uid in self.failures:
            return f"its pictures failed: {self.failures[uid]}"
        return str(error)

    def _mesh_hash(self, uid: str, source: MeshSource) -> str:
        """The hash of the mesh's files; empty where it cannot be read, which `_make` will put on record."""
        try:
            return source.hash(self.xray_root / uid)
        except Exception:  # noqa: BLE001
            return ""

    def _camera(self, views: Views, index: int) -> Camera:
        return views.camera(index, self.settings.resolution)

    def _path(self, uid: str, view: str) -> Path:
        return self.xray_root / uid / f"{view}.npz"

    def _previous(self, uid: str) -> dict[str, Row]:
        """Rows of an earlier run. Without the file, or with one that cannot be read, everything is made again."""
        try:
            return {row.view: row for row in read_manifest(self.xray_root / uid / ROWS)}
        except InputError:
            return {}

    def _is_sound(self, row: Row, camera: Camera) -> bool:
        """Whether the file of an earlier run was made by the same settings, is whole, and agrees with its row."""
        if row.status == "failed" or row.settings != self.settings.hash(camera):
            return False
        try:
            sparse = load_sparse(self._path(row.object, row.view))
        except InputError:
            return False
        shape = (self.settings.layers, camera.height, camera.width)
        return sparse.shape == shape and row.hits == _hits(sparse)

    def _compared(self, row: Row) -> Row:
        """A row of an earlier run, compared again with its picture where the picture has changed."""
        path = self.image_root / row.object / f"{row.view}.png"
        try:
            content = _content(path)
            if row.picture != _hash(content):
                foreground = self._foreground(path, content)
                mask = hit_mask(load_sparse(self._path(row.object, row.view)))
                row = _with_picture(row, content, foreground, mask)
        except InputError as error:
            return Row(row.object, row.view, "failed", str(error), faces=row.faces)
        return self.settings.classify(row)

    def _foreground(self, path: Path, content: bytes | None) -> np.ndarray | None:
        """(R, R) bool, the foreground of a picture at the rays; None without a picture."""
        if content is None:
            return None
        return foreground_at_rays(load_rgba(content, path), self.settings.resolution, path)

    def _make(self, uid: str, source: MeshSource, views: Views, missing: list[int]) -> list[Row]:
        if not missing:
            return []
        began = time.perf_counter()
        try:
            faces = len(source.mesh().faces)
            source.caster(self.settings.device)
        except Exception as error:  # noqa: BLE001  recorded as the failure of every view; the other objects go on
            return [Row(uid, views.stems[index], "failed", describe(error)) for index in missing]
        share = (time.perf_counter() - began) / len(missing)
        rows = []
        for index in missing:
            view, camera = views.stems[index], self._camera(views, index)
            began = time.perf_counter()
            try:
                row = self._view(Row(uid, view, "failed", settings=self.settings.hash(camera)), source, camera)
                row = replace(row, seconds=share + time.perf_counter() - began)
            except Exception as error:  # noqa: BLE001  recorded as the failure of this view; the other views go on
                row = Row(uid, view, "failed", describe(error), faces=faces)
            rows.append(row)
        return rows

    def _view(self, row: Row, source: MeshSource, camera: Camera) -> Row:
        from ..raycast.capture import capture_sparse

        settings, mesh = self.settings, source.mesh()
        path = self.image_root / row.object / f"{row.view}.png"
        content = _content(path)
        foreground = self._foreground(path, content)
        sparse, stats = capture_sparse(
            mesh,
            source.caster(settings.device),
            *(camera, settings.layers, settings.color, settings.normals, settings.near, settings.far),
        )
        mask = hit_mask(sparse)
        row = _with_picture(row, content, foreground, mask)
        save_sparse(self._path(row.object, row.view), sparse)
        row = replace(
            row,
            faces=len(mesh.faces),
            camera_distance=float(np.linalg.norm(camera.origin)),
            mesh=source.hash(self.xray_root / row.object),
            cut=on_border(mask),
            **asdict(stats),
        )
        return settings.classify(row)

    def _finish(self, uid: str, rows: list[Row], previous: dict[str, Row], reused: int) -> ViewCounts:
        if rows != list(previous.values()):
            write_manifest(self.xray_root / uid / ROWS, rows)
        written = [row for row in rows if row.status != "failed"]
        return ViewCounts(
            accepted=sum(row.status == "accepted" for row in rows),
            rejected=sum(row.status == "rejected" for row in rows),
            no_picture=sum(row.status == "no picture" for row in rows),
            failed=len(rows) - len(written),
            reused=reused,
            hits=sum(sum(row.hits) for row in written),
            hits_beyond_layers=sum(row.hits_beyond_layers for row in written),
            hits_outside=sum(row.hits_before_near + row.hits_beyond_far for row in written),
            cut=sum((row.cut or 0) > 0 for row in written),
            reason=next((f"{row.view}: {row.reason}".removeprefix(": ") for row in rows if row.status == "failed"), ""),
            peak_mib=peak_mib(),
        )


def _with_picture(row: Row, content: bytes | None, foreground: np.ndarray | None, mask: np.ndarray) -> Row:
    """A row with its picture and its agreement with the first layer's mask; both are unknown without a picture."""
    return replace(row, picture=_hash(content), mask_iou=None if foreground is None else iou(foreground, mask))


def _content(path: Path) -> bytes | None:
    """A file's bytes; None where there is no such file, InputError where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None


def _hash(content: bytes | None) -> str:
    """Twelve hex digits; empty without a file."""
    return "" if content is None else hashlib.sha256(content).hexdigest()[:12]


def on_border(mask: np.ndarray) -> int:
    """Number of pixels set in the outermost rows and columns of an (H, W) mask."""
    return int(mask.sum()) - int(mask[1:-1, 1:-1].sum())


def hit_mask(sparse: SparseXRay) -> np.ndarray:
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


def peak_mib() -> float:
    """Largest memory of this process so far. `getrusage` would count the parent's."""
    for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
