"""Pinhole camera: axes, pixel rule, rays, view sampling and `transforms.json`.

The camera looks down -z, y is up, x is right; the world is z-up. All rules about pixels are in this module.
"""

from __future__ import annotations

import functools
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np

from ..common.errors import InputError
from ..common.files import json_of, text_of

FOV_RAD = 0.8575560450553894
"""Horizontal field of view of a 35 mm lens on a 32 mm sensor, 2 atan(16 / 35)."""

DISTANCE = 1.5
"""Default distance of the camera from the origin, for objects in a unit box."""

ELEVATION_DEG = (0.0, 45.0)
"""Default range of the camera's elevation."""

EXTENT = 0.8
"""Longest side of a framed object's box as a share of the picture: what an object of the unit box has, seen from the
default distance (measured on rendered views: 0.57 to 0.96)."""

FRAMING_STEPS = 40
"""Corrections of a camera that frames an object; each leaves at most about half of the error."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera with its pose.

    Attributes:
      width, height: image size in pixels.
      fov_rad: horizontal field of view in radians.
      world_from_camera: (4, 4) float64, rigid.
    """

    width: int
    height: int
    fov_rad: float = FOV_RAD
    world_from_camera: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InputError(f"camera of {self.width} x {self.height} pixels: both must be at least 1")
        if not 0 < self.fov_rad < math.pi:
            raise InputError(f"field of view {self.fov_rad} rad: expected between 0 and pi")
        pose = np.eye(4) if self.world_from_camera is None else self.world_from_camera
        object.__setattr__(self, "world_from_camera", check_pose(pose, "camera"))

    @property
    def focal_px(self) -> float:
        """Focal length in pixels, W / (2 tan(fov / 2))."""
        return self.width / (2 * math.tan(self.fov_rad / 2))

    @property
    def origin(self) -> np.ndarray:
        """(3,) float64, the camera centre in the world."""
        return self.world_from_camera[:3, 3]

    @property
    def distance(self) -> float:
        """From the world's origin, which is the object's centre."""
        return float(np.linalg.norm(self.origin))

    def scaled(self, factor: float) -> Camera:
        """The same view of a world made `factor` times as large about its origin."""
        pose = self.world_from_camera.copy()
        pose[:3, 3] *= factor
        return replace(self, world_from_camera=pose)

    def at(self, width: int) -> Camera:
        """The same view with another number of columns; rows follow in proportion.

        Raises InputError where the rows would not be a whole number.
        """
        height, remainder = divmod(self.height * width, self.width)
        if remainder:
            raise InputError(f"{self.width} x {self.height} pixels cannot become {width} columns: rows not whole")
        return replace(self, width=width, height=height)

    def rays(self) -> np.ndarray:
        """(H, W, 3) float64 unit directions in the camera frame.

        Pixel (column i, row j) looks along ((i - W/2) / f, -(j - H/2) / f, -1): integer corners, without
        half a pixel added, so that every k-th ray of a view is exactly a ray of the view k times smaller.
        The division by W comes last over whole numbers, which makes that equality hold to the last bit.
        """
        return _grid(self.width, self.height, self.fov_rad).copy()

    def rays_at(self, column: np.ndarray, row: np.ndarray) -> np.ndarray:
        """(..., 3) float64 unit directions in the camera frame at pixel positions; the only place that makes pixels.

        Args:
          column, row: of shapes that broadcast; whole numbers are the rays of `rays`, others lie between them.
        """
        tangent = math.tan(self.fov_rad / 2)
        x, y = np.broadcast_arrays(
            (2 * column - self.width) / self.width * tangent,
            -(2 * row - self.height) / self.width * tangent,
        )
        directions = np.stack([x, y, np.full(x.shape, -1.0)], axis=-1)
        return directions / np.sqrt((directions * directions).sum(-1, keepdims=True))

    def rays_world(self) -> np.ndarray:
        """(H, W, 3) float64 unit directions in the world frame; all start at `origin`."""
        return _grid(self.width, self.height, self.fov_rad) @ self.world_from_camera[:3, :3].T

    def unproject(self, depth: np.ndarray) -> np.ndarray:
        """Points of a depth map, in the camera frame.

        Args:
          depth: (..., H, W) distance along the unit ray (Euclidean, not z).
        Returns:
          (..., H, W, 3) float64.
        """
        if depth.shape[-2:] != (self.height, self.width):
            raise InputError(f"depth of shape {depth.shape}: expected (..., {self.height}, {self.width})")
        return depth[..., None] * self.rays()

    def to_world(self, points: np.ndarray) -> np.ndarray:
        """(..., 3) points of the camera frame in the world frame."""
        return points @ self.world_from_camera[:3, :3].T + self.origin


@functools.lru_cache(maxsize=8)
def _grid(width: int, height: int, fov_rad: float) -> np.ndarray:
    """(H, W, 3), the rays of all views of one lens and size. Read-only: it is shared."""
    rays = Camera(width, height, fov_rad).rays_at(np.arange(width), np.arange(height)[:, None])
    rays.setflags(write=False)
    return rays


def check_pose(matrix, name: str) -> np.ndarray:
    """(4, 4) float64 rigid transform, or InputError naming `name`."""
    try:
        pose = np.array(matrix, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: the pose is not a matrix of numbers") from None
    if pose.shape != (4, 4):
        raise InputError(f"{name}: pose of shape {pose.shape}, expected (4, 4)")
    rotation = pose[:3, :3]
    if not np.isfinite(pose).all() or not np.array_equal(pose[3], (0, 0, 0, 1)):
        raise InputError(f"{name}: the pose must be finite with last row 0 0 0 1")
    if (
        np.abs(rotation).max() > 1.001
        or np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-4
        or np.linalg.det(rotation) < 0
    ):
        raise InputError(f"{name}: the pose's 3 x 3 part is not a rotation")
    return pose


def look_at(position, target=(0.0, 0.0, 0.0), up=(0.0, 0.0, 1.0)) -> np.ndarray:
    """(4, 4) float64 world_from_camera of a camera at `position` that looks at `target`."""
    position = np.asarray(position, dtype=np.float64)
    back = position - np.asarray(target, dtype=np.float64)
    length = _length(back)
    if not length > 0:
        raise InputError("a camera cannot look at its own position")
    back /= length
    right = np.cross(up, back)
    if _length(right) < 1e-9:  # straight down or up: any right vector does, this one is fixed
        right = np.cross((0.0, 1.0, 0.0), back)
    right /= _length(right)
    pose = np.eye(4)
    pose[:3] = np.stack([right, np.cross(back, right), back, position], axis=1)
    return pose


def orbit_camera(
    azimuth_deg: float, elevation_deg: float, distance: float = DISTANCE, width: int = 256, fov_rad: float = FOV_RAD
) -> Camera:
    """A square camera on a sphere around the origin that looks at it; azimuth 0 is on the x axis, 90 on the y axis.

    Args:
      distance: in object units (an object's longest side is 1). width: pixels on each side.
    """
    azimuth, elevation = math.radians(azimuth_deg), math.radians(elevation_deg)
    flat = math.cos(elevation)
    direction = np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)])
    return Camera(width, width, fov_rad, look_at(distance * direction))


def sample_views(
    num_views: int,
    rng: np.random.Generator,
    distance: float = DISTANCE,
    elevation_deg: tuple[float, float] = ELEVATION_DEG,
) -> np.ndarray:
    """Random views of the origin: azimuth uniform over the circle, elevation uniform over its range.

    Returns:
      (num_views, 4, 4) float64 world_from_camera.
    """
    if num_views < 1:
        raise InputError(f"{num_views} views: expected at least 1")
    if not distance > 0 or not math.isfinite(distance):
        raise InputError(f"camera distance {distance}: expected a positive number")
    low, high = elevation_deg
    if not -90 <= low <= high <= 90:
        raise InputError(f"elevation range {low} to {high} degrees: expected -90 <= low <= high <= 90")
    poses = []
    for _ in range(num_views):  # two draws a view, so that a longer sequence begins with the shorter one
        azimuth = rng.uniform(0, 2 * math.pi)
        elevation = math.radians(rng.uniform(low, high))
        flat = math.cos(elevation)
        direction = np.array([flat * math.cos(azimuth), flat * math.sin(azimuth), math.sin(elevation)])
        poses.append(look_at(distance * direction))
    return np.stack(poses)


def framed_pose(pose: np.ndarray, points: np.ndarray, width: int, fov_rad: float = FOV_RAD) -> np.ndarray:
    """A view of an object as a picture of it looks after it was framed: the box of its silhouette in the middle,
    with `EXTENT` of the picture as its longest side.

    The camera stays on its line through the origin. It moves along the line until the size is right and turns until
    the box's centre is that of a picture of `width` pixels. Its pixel i covers i - 1/2 to i + 1/2 of the rays' columns.

    Args:
      pose: (4, 4) world_from_camera to begin with, away from the origin.
      points: (N, 3) world; the object lies within their hull.
      width: pixels on each side of the picture.
    Returns:
      (4, 4) float64 world_from_camera.
    Raises:
      InputError: points that no distance frames, as a single one.
    """
    tangent = math.tan(fov_rad / 2)
    position, looking = pose[:3, 3], -pose[:3, 2]
    for _ in range(FRAMING_STEPS):
        pose = look_at(position, position + looking)
        seen = _product(points - position, pose[:3, :3])
        ahead = -seen[:, 2]
        if not ahead.min() > 0:  # too near: the object reaches behind the camera
            position = 1.5 * position
            continue
        place = seen[:, :2] / ahead[:, None] / (2 * tangent)  # shares of the picture, from its middle
        low, high = place.min(0), place.max(0)
        half_pixel = np.array([0.5, -0.5]) / width
        center = ((low + high) / 2 + half_pixel) * 2 * tangent
        looking = _product(np.array([[*center, -1.0]]), pose[:3, :3].T)[0]
        size = (high - low).max()
        if not size > 0:
            raise InputError("the object has no extent in the picture, so that no camera frames it")
        position = position * (size / EXTENT) ** 0.6  # below 1, since perspective makes near objects grow faster
    return look_at(position, position + looking)


def _length(vector: np.ndarray) -> float:
    """Of (3,), rounded alike on every machine, as BLAS's is not."""
    x, y, z = vector.tolist()
    return math.sqrt(x * x + y * y + z * z)


def _product(vectors: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """(N, 3) times (3, 3), rounded alike on every machine, as BLAS's product is not."""
    first, second, third = vectors[:, :1] * matrix[0], vectors[:, 1:2] * matrix[1], vectors[:, 2:] * matrix[2]
    return first + second + third


FRAME_SHARE = 1 - 1 / 16
"""Part of the picture, from its middle to its border, that `whole_distance` fills at most."""


def whole_distance(
    vertices: np.ndarray, elevation_deg: tuple[float, float] = ELEVATION_DEG, fov_rad: float = FOV_RAD
) -> float:
    """Least distance of a camera from the origin at which an object is whole in its square picture.

    It holds for every azimuth and every elevation of a range, so it depends on the object alone and not on the views
    that were drawn. For a point at radius r and height z and a camera at elevation e, |x| / t + (depth towards the
    camera) is largest at r sqrt(1 / t^2 + cos^2 e) + z sin e over all azimuths, with t the tangent of the half
    field of view; the same for |y| with r |cos e -+ sin e / t| + z (sin e +- cos e / t).

    Args:
      vertices: (V, 3), world, z up.
    """
    tangent = math.tan(fov_rad / 2) * FRAME_SHARE
    radius, height = np.hypot(vertices[:, 0], vertices[:, 1]), vertices[:, 2]
    step = max((height.max() - height.min()) / 512, 1e-9)
    level = ((height - height.min()) / step).astype(np.int64)
    outline = np.full(level.max() + 1, -np.inf)
    np.maximum.at(outline, level, radius)  # the widest of each of 512 levels, for meshes of millions of vertices
    levels = np.flatnonzero(np.isfinite(outline))
    radius, low = outline[levels], height.min() + levels * step
    needed = 0.0
    for elevation in np.radians(np.linspace(*elevation_deg, 1 + math.ceil(2 * (elevation_deg[1] - elevation_deg[0])))):
        sine, cosine = math.sin(elevation), math.cos(elevation)
        for z in (low, low + step):
            across = radius * math.hypot(1 / tangent, cosine) + z * sine
            above = radius * abs(cosine - sine / tangent) + z * (sine + cosine / tangent)
            below = radius * abs(cosine + sine / tangent) + z * (sine - cosine / tangent)
            needed = max(needed, across.max(), above.max(), below.max())
    return float(needed)


@dataclass(frozen=True)
class Views:
    """The content of a `transforms.json`: one lens, several poses.

    Attributes:
      fov_rad: horizontal field of view in radians (`camera_angle_x`).
      names: picture file of each view, as "000.png".
      world_from_camera: (V, 4, 4) float64.
    """

    fov_rad: float
    names: tuple[str, ...]
    world_from_camera: np.ndarray

    @property
    def stems(self) -> tuple[str, ...]:
        """Name of each view without folder and suffix, as "000"."""
        return tuple(PurePosixPath(name.replace("\\", "/")).stem for name in self.names)

    def camera(self, index: int, width: int, height: int | None = None) -> Camera:
        """The camera of one view at a size in pixels (square where no height is given)."""
        return Camera(width, height or width, self.fov_rad, self.world_from_camera[index])

    def to_json(self) -> str:
        """The text of `transforms.json`: poses are camera to world, under both names that readers use."""
        frames = [
            {"file_path": name, "transform_matrix": pose.tolist(), "c2w": pose.tolist()}
            for name, pose in zip(self.names, self.world_from_camera, strict=True)
        ]
        return json.dumps({"camera_angle_x": self.fov_rad, "frames": frames}, indent=1) + "\n"


def load_views(path: str | Path) -> Views:
    """Read a `transforms.json`.

    Raises:
      InputError: no such file, not JSON, no frames, a pose that is not rigid, two frames of one name.
    """
    path = Path(path)
    try:
        return parse_views(path.read_bytes(), path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; render the images first, or give the views' poses there") from None
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None


def parse_views(content: bytes, path: str | Path) -> Views:
    """The views of a `transforms.json`'s content; errors call it `path`."""
    content = json_of(text_of(content, path), path)
    frames = content.get("frames") if isinstance(content, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f"{path}: no frames; expected a non-empty list under 'frames'")
    fov = content.get("camera_angle_x")
    if not isinstance(fov, (int, float)) or isinstance(fov, bool) or not 0 < fov < math.pi:
        raise InputError(f"{path}: camera_angle_x is {fov!r}, expected radians between 0 and pi")
    names, poses = [], []
    for number, frame in enumerate(frames):
        where = f"{path}: frame {number}"
        if not isinstance(frame, dict) or not isinstance(frame.get("file_path"), str):
            raise InputError(f"{where} has no file_path")
        if not frame["file_path"].isprintable():
            raise InputError(f"{where}: file_path {frame['file_path']!a} holds a character that cannot be printed")
        pose = frame.get("transform_matrix", frame.get("c2w"))
        if pose is None:
            raise InputError(f"{where} has neither transform_matrix nor c2w")
        names.append(frame["file_path"])
        poses.append(check_pose(pose, where))
    views = Views(float(fov), tuple(names), np.stack(poses))
    if len(set(views.stems)) != len(names) or "" in views.stems:
        raise InputError(f"{path}: every frame needs a file name of its own, got {', '.join(names[:4])} ...")
    return views
