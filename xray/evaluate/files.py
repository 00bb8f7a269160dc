"""Scores the files of any method against true shapes, under the protocols by which our own results are scored.

A mesh is sampled on its surface; a point cloud is taken as it is.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from ..common.axes import UP, UP_OF_SUFFIX, WORLD_FROM_UP
from ..common.errors import InputError
from ..common.files import files_below, some_of
from ..common.jobs import Failure, run_jobs
from ..core.camera import orbit_camera
from ..core.points import PointCloud
from ..core.xray import RESOLUTION
from ..data.mesh_files import UNREAD_MESHES
from ..mesh.load import read_parts
from ..mesh.mesh import sample_by_area
from ..mesh.ply import load_ply
from ..metrics.clouds import chamfer
from ..metrics.protocols import SURFACE_POINTS, score_clouds
from .results import NOTES, summarise

SUFFIXES = tuple(UP_OF_SUFFIX)

FORMS = ("points", "mesh")
"""Of one's own results, which hold both: the points, or the mesh that was made of them."""

XRAY, PREDICTED, TRUE = "_xray.npz", "_prd", "_gt"
"""Endings of own results: beside <name>_xray.npz lie points (<name>_prd.ply, of infer.py <name>_points.ply), often a
mesh (<name>.glb, .obj), and of an evaluation the truth (<name>_gt.ply)."""

POINTS = (PREDICTED, "_points")

UNREAD = UNREAD_MESHES | {".xyz", ".pcd", ".pts", ".las", ".npy", ".npz"}
"""Types of files that hold meshes or points and have no reader here."""

LARGEST = 1e100
"""Coordinates are less: distances of larger ones have no squares among the numbers of 64 bits."""

NEIGHBOURS = 16
"""Neighbours of a point from which its normal is estimated, in a cloud without normals."""

UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError, NotImplementedError, EOFError)
"""What trimesh raises for a damaged file."""


@dataclass(frozen=True)
class Triangles:
    """A mesh's vertices (V, 3) float64 and faces (F, 3) int64, the parts of a scene in one."""

    vertices: np.ndarray
    faces: np.ndarray

    def normals(self, faces: np.ndarray) -> np.ndarray:
        """(N, 3) unit normals of some faces, 0 where they have no area."""
        a, b, c = self.vertices[self.faces[faces]].transpose(1, 0, 2)
        cross = np.cross(b - a, c - a)
        return cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-300)


Shape = Triangles | PointCloud


@dataclass(frozen=True)
class ShapeFiles:
    """The shapes of a folder.

    Attributes:
      paths: name -> file. left_out: files that are of one's own results and not what was asked for.
      unread: a line where files of types without a reader, or folders that cannot be listed, are passed over.
    """

    paths: dict[str, Path]
    left_out: list[Path]
    unread: list[str]


def find_shapes(folder: str | Path, truths: bool, form: str = "points") -> ShapeFiles:
    """Path below the folder, without suffix and the endings of own results -> file, sorted. Links are followed.

    Args:
      truths: find true shapes: what is named as a prediction is none; else predictions, and the other way round.
      form: of `FORMS`, of one's own results.
    Raises:
      InputError: no such folder, no shape in it, two files of one name.
    """
    folder = Path(folder)
    if form not in FORMS:
        raise InputError(f"form {form!r}: expected one of {', '.join(FORMS)}")
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    unlisted: list[str] = []
    files = [path for path in files_below(folder, unlisted) if path.is_file()]
    own: dict[Path, list[Path]] = {
        path.with_name(path.name.removesuffix(XRAY)): [] for path in files if path.name.endswith(XRAY)
    }
    shapes = [path for path in files if path.suffix.lower() in SUFFIXES]
    for path in shapes:
        if _base(path) in own:
            own[_base(path)].append(path)
    chosen = _choose_own(own, truths, form)
    others = [path for path in shapes if _base(path) not in own]
    unwanted = PREDICTED if truths else TRUE
    left_out = [path for path in others if path.stem.endswith(unwanted)]
    found: dict[str, Path] = {}
    for path in sorted({*chosen, *others} - set(left_out)):
        # Accents are one letter or two, by the system that wrote the name.
        name = unicodedata.normalize("NFC", _base(path).relative_to(folder).as_posix())
        if name in found:
            raise InputError(f"{found[name]} and {path}: two shapes of one name; files are paired by name")
        found[name] = path
    left_out += [path for path in shapes if _base(path) in own and path not in chosen]
    if not found:
        what = "true shapes" if truths else "shapes"
        hint = f"; {len(left_out)} files are of predictions" if truths and left_out else ""
        hint += "".join(f"; {line}" for line in _unread(folder, files, unlisted))
        raise InputError(f"{folder}: no {what} in it ({', '.join(SUFFIXES)}){hint}")
    return ShapeFiles(found, sorted(left_out), _unread(folder, files, unlisted))


def _unread(folder: Path, files: list[Path], unlisted: list[str]) -> list[str]:
    """Lines about what may hold shapes below a folder and is passed over."""
    unread = [path for path in files if path.suffix.lower() in UNREAD and not path.name.endswith(XRAY)]
    named = some_of(unread, folder, 3)
    lines = [f"{folder}: left out {named}, not read as shapes ({', '.join(SUFFIXES)})"] if unread else []
    return lines + [f"{folder}: left out {place}, cannot be listed" for place in unlisted]


def _base(path: Path) -> Path:
    """The file's path without suffix and without an ending of own results."""
    stem = path.with_suffix("")
    for ending in (*POINTS, TRUE):
        if stem.name.endswith(ending) and stem.name != ending:
            return stem.with_name(stem.name.removesuffix(ending))
    return stem


def _choose_own(results: dict[Path, list[Path]], truths: bool, form: str) -> set[Path]:
    """The wanted file of each of our own results, base -> files. A mesh is written both as .glb and as .obj."""
    chosen = set()
    for files in results.values():
        if truths:
            wanted = [path for path in files if path.stem.endswith(TRUE)]
        elif form == "points":
            wanted = [path for path in files if path.stem.endswith(POINTS)]
        else:
            wanted = [path for path in files if not path.stem.endswith((*POINTS, TRUE))]
            wanted.sort(key=lambda path: path.suffix != ".glb")
        chosen |= set(wanted[:1])
    return chosen


def load_shape(path: Path, up: str = "auto") -> Shape:
    """A mesh or a cloud, in the z-up world.

    Args:
      up: axis that is up in the file; "auto" goes by the file type (`axes.UP_OF_SUFFIX`).
    Raises:
      InputError: not readable, neither faces nor points in it, or coordinates of `LARGEST` and more.
    """
    shape = _read(path)
    values = shape.points if isinstance(shape, PointCloud) else shape.vertices
    if not len(values):
        raise InputError(f"{path}: neither faces nor points in it")
    largest = float(np.abs(values[np.isfinite(values)]).max(initial=0))
    if largest >= LARGEST:
        raise InputError(f"{path}: coordinates up to {largest:.0e}, expected less than {LARGEST:.0e}")
    return turned(shape, up_of(path, up), "z")


def _points_of(shape: Shape) -> np.ndarray:
    """(N, 3) points of a cloud, or corners of a mesh's faces."""
    return shape.points if isinstance(shape, PointCloud) else shape.vertices[shape.faces].reshape(-1, 3)


def up_of(path: Path, up: str) -> str:
    """ "y" or "z": the axis that is up in a file."""
    if up not in UP:
        raise InputError(f"up axis {up!r}: expected one of {', '.join(UP)}")
    return UP_OF_SUFFIX[path.suffix.lower()] if up == "auto" else up


def turned(shape: Shape, source: str, target: str) -> Shape:
    """A shape of the axes `source` ("y" or "z" up) in the axes `target`."""
    turn = WORLD_FROM_UP[target].T @ WORLD_FROM_UP[source]
    if source == target:
        return shape
    if isinstance(shape, PointCloud):
        return PointCloud(shape.points @ turn.T, shape.normals @ turn.T, shape.colors)
    return replace(shape, vertices=shape.vertices @ turn.T)


def _read(path: Path) -> Shape:
    """A shape in its file's own axes: a mesh by the readers that preprocessing uses, its instances in place."""
    if path.suffix.lower() == ".ply" and not _has_faces(path):
        return load_ply(path)
    try:
        parts = [part for part in read_parts(path, shape_only=True) if len(part.faces)]
        if not parts:
            raise InputError(f"{path}: neither faces nor points in it")
    except InputError:
        cloud = _read_points(path)
        if cloud is None:
            raise
        return cloud
    first = np.cumsum([0, *(len(part.vertices) for part in parts)])
    faces = [part.faces + start for part, start in zip(parts, first[:-1], strict=True)]
    return Triangles(np.concatenate([part.vertices for part in parts]), np.concatenate(faces))


def _read_points(path: Path) -> PointCloud | None:
    """The points of a file that has no faces, which the readers of meshes refuse; None where it is not such a file."""
    import trimesh  # not before: it takes a second to load, and few files need it

    try:
        loaded = trimesh.load(path, process=False)
        if isinstance(loaded, trimesh.Scene):
            loaded = loaded.to_geometry() if loaded.geometry else None
    except UNREADABLE:
        return None
    points = np.asarray(getattr(loaded, "vertices", np.zeros((0, 3))), np.float64).reshape(-1, 3)
    return None if len(getattr(loaded, "faces", ())) or not len(points) else _bare(points)


def _has_faces(path: Path) -> bool:
    """Whether a .ply announces faces (or strips of them) in its header."""
    try:
        with path.open("rb") as stream:
            head = stream.read(1 << 16).partition(b"end_header")[0]
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None
    return re.search(rb"element\s+(face|tristrips)\s+0*[1-9]", head) is not None


def to_cloud(shape: Shape, count: int, seed: int = 0) -> PointCloud:
    """`count` points spread evenly over a mesh, or all of a cloud's; normals are estimated where there are none.

    Faces that are not finite or have no area are left out; a mesh of nothing else is the cloud of its vertices.
    """
    if isinstance(shape, PointCloud):
        return shape if shape.normals.any() else PointCloud(shape.points, estimate_normals(shape.points), shape.colors)
    triangles = shape.vertices[shape.faces]
    finite = triangles[np.isfinite(triangles).all((1, 2))]
    cross = np.cross(finite[:, 1] - finite[:, 0], finite[:, 2] - finite[:, 0])
    area = np.linalg.norm(cross, axis=1)
    if not area.sum() > 0:
        return to_cloud(_bare(shape.vertices), count, seed)
    face, barycentric = sample_by_area(area, count, np.random.default_rng(seed))
    points = (finite[face] * barycentric[:, :, None]).sum(1)
    return PointCloud(points, cross[face] / area[face, None], np.full((count, 3), 0.5, np.float32))


def estimate_normals(points: np.ndarray) -> np.ndarray:
    """(N, 3) unit normals up to their sign: where the points around each spread least. NaN rows stay 0."""
    normals = np.zeros_like(points)
    rows = np.flatnonzero(np.isfinite(points).all(1))
    if len(rows) < 3:
        return normals
    known = points[rows]
    _, near = cKDTree(known).query(known, k=min(NEIGHBOURS, len(rows)))
    offsets = known[near] - known[near].mean(1, keepdims=True)
    _, axes = np.linalg.eigh(offsets.transpose(0, 2, 1) @ offsets)
    normals[rows] = axes[:, :, 0]
    return normals


def _bare(points: np.ndarray) -> PointCloud:
    return PointCloud(points, np.zeros_like(points), np.full(points.shape, 0.5, np.float32))


SCORED_LAYERS = 8
"""Layers of the truth X-Ray in the "author" protocol."""

VIEW_DEG = (30.0, 20.0)
"""Azimuth and elevation from which a true mesh is cast for the "author" protocol: the middle of the data's range."""


def load_truth(path: Path, count: int = SURFACE_POINTS, up: str = "auto") -> dict[str, PointCloud]:
    """The truth's points by protocol, in the z-up world.

    A mesh is sampled ("surface") and cast from one view ("author"); a cloud, as the `_gt.ply` of an evaluation, stands
    for itself in both.
    """
    shape = load_shape(path, up)
    points = _points_of(shape)
    if not np.isfinite(points).all():
        raise InputError(f"{path}: the truth has points that are not finite")
    if isinstance(shape, Triangles) and not np.ptp(points, axis=0).any():
        raise InputError(f"{path}: all corners of the true mesh are at one place; expected a mesh of some size")
    cloud = to_cloud(shape, count)
    return {"author": cast(shape) if isinstance(shape, Triangles) else cloud, "surface": cloud}


def cast(mesh: Triangles) -> PointCloud:
    """Points of a mesh's X-Ray of 256 x 256 rays and 8 layers, in the mesh's own coordinates.

    The camera is that of the data set: the box around the mesh has its centre at the origin and 1 as longest side.
    """
    from ..raycast.caster import RayCaster  # not before: Warp takes a second to start

    corners = mesh.vertices[mesh.faces].reshape(-1, 3)
    low, high = corners.min(0), corners.max(0)
    centre, size = (low + high) / 2, float((high - low).max())
    vertices = (mesh.vertices - centre) / size
    camera = orbit_camera(*VIEW_DEG, width=RESOLUTION)
    rays = camera.rays_world().reshape(-1, 3)
    found = RayCaster(vertices, mesh.faces).crossings(camera.origin, rays, SCORED_LAYERS)
    points = (camera.origin + found.depth[:, None] * rays[found.ray]) * size + centre
    return PointCloud(points, mesh.normals(found.face), np.full((len(points), 3), 0.5, np.float32))


@dataclass(frozen=True)
class PairScoring:
    """How each pair of files is scored.

    Attributes:
      alignment: of `alignment.ALIGNMENTS`; count: points sampled on a mesh.
      pred_up, gt_up: axis that is up in the files; "auto" goes by the file type.
    """

    alignment: str = "none"
    count: int = SURFACE_POINTS
    pred_up: str = "auto"
    gt_up: str = "auto"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise InputError(f"{self.count} points: expected at least 1")
        for up in (self.pred_up, self.gt_up):
            if up not in UP:
                raise InputError(f"up axis {up!r}: expected one of {', '.join(UP)}")


TURN_GAIN = 0.5
"""Where the other axis brings a prediction this much nearer to its truth, in Chamfer distance, it is pointed out."""


def score_pair(prediction: Path | None, truth: Path, scoring: PairScoring | None = None) -> dict:
    """One row: scores by protocol. A prediction that is absent or unreadable scores as one without points.

    Raises:
      InputError: the truth cannot be used.
    """
    scoring = scoring or PairScoring()
    remark, hint = "" if prediction else "no prediction", ""
    cloud = PointCloud(np.zeros((0, 3)), np.zeros((0, 3)), np.zeros((0, 3), np.float32))
    truths = load_truth(truth, scoring.count, scoring.gt_up)
    if prediction:
        try:
            cloud = to_cloud(load_shape(prediction, scoring.pred_up), scoring.count, seed=1)
            hint = _other_axis(cloud, truths["surface"], prediction, scoring.pred_up)
        except InputError as error:
            remark = str(error)
    scores = {"surface": score_clouds(cloud, truths["surface"], scoring.alignment)}
    same = truths["author"] is truths["surface"]
    scores["author"] = scores["surface"] if same else score_clouds(cloud, truths["author"], scoring.alignment)
    return {
        "prediction": prediction and str(prediction),
        "truth": str(truth),
        "up": [prediction and up_of(prediction, scoring.pred_up), up_of(truth, scoring.gt_up)],
        "points": len(cloud),
        "remark": remark,
        "hint": hint,
        "scores": {name: scores[name] for name in ("author", "surface")},
    }


def _other_axis(cloud: PointCloud, truth: PointCloud, path: Path, up: str) -> str:
    """A line about a prediction that lies far nearer to its truth when the other axis of its file is up."""
    own = up_of(path, up)
    other = "z" if own == "y" else "y"
    rng = np.random.default_rng(0)
    few, true = (points[rng.permutation(len(points))[:2000]] for points in (cloud.points, truth.points))
    distances = [chamfer(few @ turn.T, true) for turn in (np.eye(3), WORLD_FROM_UP[other] @ WORLD_FROM_UP[own].T)]
    if not distances[1] < TURN_GAIN * distances[0]:
        return ""
    return (
        f"{path}: taken as {own}-up, its chamfer is {distances[0]:.3f}; as {other}-up it were {distances[1]:.3f}: "
        f"--pred_up {other} says so"
    )


def pair(
    predictions: str | Path, truths: str | Path, form: str = "points"
) -> tuple[dict[str, tuple[Path | None, Path]], list[str], list[Path], list[str]]:
    """Files of both folders by name, the names of predictions without a truth, the files of own results left out, and
    lines about files that have no reader.

    A `_prd`, `_points` or `_gt` at the end of a name, as own results have it, does not count.

    Raises:
      InputError: nothing to pair.
    """
    predicted, true = find_shapes(predictions, False, form), find_shapes(truths, True)
    if not predicted.paths.keys() & true.paths.keys():
        example = f"{next(iter(predicted.paths))!r} and {next(iter(true.paths))!r}"
        raise InputError(f"{predictions} and {truths}: no two files of the same name, as {example}")
    pairs = {name: (predicted.paths.get(name), path) for name, path in true.paths.items()}
    used = {*predicted.paths.values(), *true.paths.values()}
    left_out = sorted({*predicted.left_out, *true.left_out} - used)
    unread = list(dict.fromkeys(predicted.unread + true.unread))
    return pairs, sorted(predicted.paths.keys() - true.paths.keys()), left_out, unread


def score_files(
    predictions: str | Path,
    truths: str | Path,
    scoring: PairScoring | None = None,
    workers: int = 0,
    form: str = "points",
) -> dict:
    """Score every true shape's prediction.

    Args:
      workers: processes, 0 for this one alone; form: of `FORMS`.
    Returns:
      {"protocols": {"author" | "surface": {"truth", "samples", "degenerate", "mean": {metric: value}, "median",
      "missing", "rows": [{"name", metric: value}]}}, "alignment", "definitions", "files", "failed", "unpaired",
      "left_out", "unread"}. A truth without prediction counts as a prediction without points; a truth that cannot be
      used is in "failed".
    """
    scoring = scoring or PairScoring()
    pairs, unpaired, left_out, unread = pair(predictions, truths, form)
    items = [(name, *paths, scoring) for name, paths in pairs.items()]
    rows, failed = {}, {}
    for item, result in run_jobs(_score, items, workers, progress="scored"):
        if isinstance(result, Failure):
            failed[item[0]] = result.reason
        else:
            rows[item[0]] = result
    rows = dict(sorted(rows.items()))
    means = summarise(list(rows.values()))
    for name, values in means["protocols"].items():
        values["rows"] = [{"name": key, **row["scores"][name]} for key, row in rows.items()]
    kept = ("prediction", "truth", "up", "points", "remark", "hint")
    return {
        **means,
        "alignment": scoring.alignment,
        "definitions": NOTES,
        "files": [{"name": name, **{key: row[key] for key in kept}} for name, row in rows.items()],
        "failed": dict(sorted(failed.items())),
        "unpaired": unpaired,
        "left_out": [str(path) for path in left_out],
        "unread": unread,
    }


def _score(item: tuple[str, Path | None, Path, PairScoring]) -> dict:
    return score_pair(*item[1:])
