"""Meshes from X-Rays, and their files: .glb, .obj and .ply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from ..common.axes import to_y_up
from ..common.errors import InputError
from ..common.files import atomic_path
from ..core.camera import Camera
from ..core.points import PointCloud, check_frame, fit_camera, to_points
from ..core.xray import XRay
from ..mesh.write import glb, write_glb, write_obj
from .connect import Connected, connect
from .fit import connect_fitted, fit

if TYPE_CHECKING:
    import trimesh

METHODS = ("auto", "rays", "fitted", "field", "poisson")
"""How a surface is made. "rays": by connecting the hits of neighbouring rays, which keeps open surfaces open. "fitted":
the same after the depths of a prediction have been fitted to its normals. "field": around what the order of the hits
says is inside, which is always closed. "poisson": by screened Poisson reconstruction. "auto": "fitted" for predictions,
"rays" for exact X-Rays."""

EMPTY = {
    "glb": glb({"asset": {"version": "2.0", "generator": "xray"}, "scene": 0, "scenes": [{}]}),
    "obj": b"# no faces\n",
    "ply": b"ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nproperty float y\nproperty float z\n"
    b"element face 0\nproperty list uchar int vertex_indices\nend_header\n",
}
"""Files of meshes without faces."""

LONE_PX = 1.0
"""A hit without neighbours gets a patch of its own where it is farther than this, in pixels, from the mesh."""


@dataclass(frozen=True)
class Surface:
    """Triangles with a normal and a colour at every vertex.

    Attributes:
      vertices: (V, 3) float64, object units; normals: (V, 3) float64, unit; colors: (V, 3) float32, sRGB in [0, 1].
      faces: (F, 3) int64, wound so that face normals look out of the object.
    """

    vertices: np.ndarray
    faces: np.ndarray
    normals: np.ndarray
    colors: np.ndarray

    def piece_shares(self) -> np.ndarray:
        """(P,) share of the area of each piece that hangs together by its vertices, the largest first."""
        if not len(self.faces):
            return np.zeros(0)
        count = len(self.vertices)
        links = coo_matrix((np.ones(2 * len(self.faces)), self.faces[:, [0, 1, 1, 2]].reshape(-1, 2).T), (count, count))
        _, piece = connected_components(links, directed=False)
        corners = self.vertices[self.faces]
        areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        area = np.bincount(piece[self.faces[:, 0]], areas)
        return np.sort(area[area > 0])[::-1] / area.sum()

    def border_share(self) -> float:
        """Share of the edges that have one face alone: 0 where the surface is closed."""
        edges = np.sort(self.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        _, uses = np.unique(edges[:, 0] * len(self.vertices) + edges[:, 1], return_counts=True)
        return float((uses == 1).mean()) if len(uses) else 0.0

    def to_trimesh(self) -> trimesh.Trimesh:
        """The same as a trimesh object, vertices neither merged nor moved."""
        import trimesh  # not before: it takes most of a second to load

        rgba = np.full((len(self.vertices), 4), 255, np.uint8)
        rgba[:, :3] = np.rint(np.clip(self.colors, 0, 1) * 255)
        return trimesh.Trimesh(
            self.vertices,
            self.faces,
            vertex_normals=self.normals,
            vertex_colors=rgba,
            process=False,
        )


def to_surface(
    xray: XRay, camera: Camera, method: str = "auto", frame: str = "camera", predicted: bool = False
) -> Surface:
    """A mesh of the X-Ray's surfaces.

    Args:
      method: one of `METHODS`.
      frame: "camera", or "world" to apply the camera's pose.
      predicted: whether the X-Ray is a network's, for "auto"; else it is exact.
    Raises:
      InputError: unknown method or frame; "poisson" where its library is not installed.
    """
    if method not in METHODS:
        raise InputError(f"surface method {method!r}: expected one of {', '.join(METHODS)}")
    if method == "auto":
        method = "fitted" if predicted else "rays"
    check_frame(frame)
    if method == "poisson":
        from .poisson import poisson

        cloud = to_points(xray, camera, frame)
        return Surface(*poisson(cloud.points, cloud.normals, cloud.colors))
    camera = fit_camera(camera, xray)
    if method == "field":
        return _closed(xray, to_points(xray, camera, frame), camera, frame)
    if method == "fitted":
        fitted = fit(xray, camera)
        return trim(_sheet(to_points(fitted, camera, frame), connect_fitted(fitted, camera), camera, frame))
    return _from_rays(xray, to_points(xray, camera, frame), camera, frame)


def _from_rays(xray: XRay, cloud: PointCloud, camera: Camera, frame: str) -> Surface:
    """The connected hits, and a patch for each hit that has no neighbour."""
    connected = connect(xray, camera)
    lone = np.ones(len(cloud), bool)
    lone[connected.faces[connected.faces < len(cloud)]] = False
    sheet = trim(_sheet(cloud, connected, camera, frame))
    width = xray.depth[xray.hit].astype(np.float64) / camera.focal_px
    if len(sheet.vertices):
        lone[lone] = cKDTree(sheet.vertices).query(cloud.points[lone])[0] > LONE_PX * width[lone]
    return join(sheet, patches(cloud[lone], width[lone]))


def _sheet(cloud: PointCloud, connected: Connected, camera: Camera, frame: str) -> Surface:
    rims = _rims(cloud, connected, camera if frame == "world" else None)
    return Surface(
        np.concatenate([cloud.points, rims.points]),
        connected.faces,
        np.concatenate([cloud.normals, rims.normals]),
        np.concatenate([cloud.colors, rims.colors]),
    )


def _closed(xray: XRay, cloud: PointCloud, camera: Camera, frame: str) -> Surface:
    """The closed mesh, with the colours of the nearest hits, and their normals on the side that the faces have."""
    import trimesh  # not before: it takes most of a second to load, and Warp starts with the other

    from .closed import closed_field

    vertices, faces = closed_field(xray, camera)
    if not len(vertices):
        return Surface(vertices, faces, vertices, vertices.astype(np.float32))
    vertices = camera.to_world(vertices) if frame == "world" else vertices
    _, nearest = cKDTree(cloud.points).query(vertices)
    normals = cloud.normals[nearest]
    outward = trimesh.Trimesh(vertices, faces, process=False).vertex_normals
    turned = np.where((normals * outward).sum(1, keepdims=True) < 0, -normals, normals)
    return Surface(vertices, faces, turned, cloud.colors[nearest])


def _rims(cloud: PointCloud, connected: Connected, pose: Camera | None) -> PointCloud:
    """The vertices along rims, with the mean normal and colour of the hits on both sides."""
    one, other = connected.sides.T
    normals = cloud.normals[one] + cloud.normals[other]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > 1e-6, normals / np.maximum(length, 1e-6), cloud.normals[one])
    points = pose.to_world(connected.rims) if pose else connected.rims
    return PointCloud(points, normals, (cloud.colors[one] + cloud.colors[other]) / 2)


def trim(surface: Surface) -> Surface:
    """Without the vertices that no face uses."""
    used, faces = np.unique(surface.faces, return_inverse=True)
    return Surface(surface.vertices[used], faces.reshape(-1, 3), surface.normals[used], surface.colors[used])


def join(one: Surface, other: Surface) -> Surface:
    """Both meshes as one, their faces in turn."""
    return Surface(
        np.concatenate([one.vertices, other.vertices]),
        np.concatenate([one.faces, other.faces + len(one.vertices)]),
        np.concatenate([one.normals, other.normals]),
        np.concatenate([one.colors, other.colors]),
    )


def patches(cloud: PointCloud, widths: np.ndarray) -> Surface:
    """A square in the tangent plane of each point, for hits that have no neighbour to connect to.

    Without them whatever is thinner than the distance between two rays would be missing from the mesh.
    """
    normals = cloud.normals
    aside = np.where(np.abs(normals[:, :1]) < 0.6, (1.0, 0, 0), (0, 1.0, 0))
    first = np.cross(normals, aside)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    second = np.cross(normals, first)
    half = widths[:, None] / 2
    corners = [cloud.points + half * (a * first + b * second) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    count = len(cloud)
    number = np.arange(count)[:, None] + np.arange(4) * count
    faces = np.concatenate([number[:, [0, 1, 2]], number[:, [0, 2, 3]]])
    return Surface(np.concatenate(corners), faces, np.tile(normals, (4, 1)), np.tile(cloud.colors, (4, 1)))


def save_mesh(path: str | Path, surface: Surface) -> None:
    """Write a mesh in the world frame: .glb and .obj y-up as their readers expect, .ply z-up.

    Colours are of vertices: linear light in a .glb, as the format has it, and sRGB in the others. A .glb has a matt
    material as well; trimesh gives its colours as vertex colours when it is told `skip_materials=True`.

    Raises:
      InputError: another suffix.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("glb", "obj", "ply"):
        raise InputError(f"{path}: meshes are written as .glb, .obj or .ply")
    if kind != "ply":
        surface = Surface(to_y_up(surface.vertices), surface.faces, to_y_up(surface.normals), surface.colors)
    with atomic_path(path) as partial:
        if not len(surface.faces):
            partial.write_bytes(EMPTY[kind])
            return
        if kind == "glb":
            write_glb(partial, surface.vertices, surface.faces, surface.normals, surface.colors)
            return
        if kind == "obj":
            write_obj(partial, surface.vertices, surface.faces, surface.normals, np.clip(surface.colors, 0, 1))
            return
        surface.to_trimesh().export(partial, file_type="ply", vertex_normal=True)
