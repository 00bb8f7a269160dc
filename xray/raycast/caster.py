"""All surfaces along every ray, on the CPU or on CUDA by the same kernels: which face, how far, where in the face."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ..common.errors import InputError
from ..common.warp_setup import BLOCK, OPTIONS, wp
from ..core.camera import Camera
from ..mesh.mesh import Mesh
from .appearance import hit_colors
from .hit_lists import LIMIT, Found, decide, record, scatter, sort_and_merge
from .light_grid import LightGrid, light_grid
from .nearest import Around, Nearest, aim, choose_first, decide_nearest, sweep_around, sweep_pixels
from .raster import project, sweep
from .ray_triangle import Casting, face_from

wp.set_module_options(OPTIONS)

CAPACITY = 1 << 20
"""Crossings for which room is made at first; it grows when a view has more."""


@dataclass(frozen=True)
class Crossings:
    """The kept hits of many rays, sorted by layer, then ray.

    Attributes:
      total: (N,) int32, hits of every ray, those beyond `max_hits` included.
      layer, ray, face: (M,) int32.
      depth: (M,) float64, distance along the unit ray.
      barycentric: (M, 3) float64 weights of the face's corners.
    """

    total: np.ndarray
    layer: np.ndarray
    ray: np.ndarray
    face: np.ndarray
    depth: np.ndarray
    barycentric: np.ndarray


@dataclass(frozen=True)
class Hits:
    """The kept hits of many rays as tables.

    Attributes:
      total: (N,) int32, hits of every ray, those beyond `max_hits` included.
      depth: (N, max_hits) float64, distance along the unit ray, 0 where there is no hit.
      face: (N, max_hits) int32, -1 where there is no hit.
      barycentric: (N, max_hits, 3) float64 weights of the face's corners.
    """

    total: np.ndarray
    depth: np.ndarray
    face: np.ndarray
    barycentric: np.ndarray


@dataclass(frozen=True)
class FirstHits:
    """The first hits of rays as kernels leave them: the rays, the places of the vertices in the picture, the hits."""

    casting: Casting
    pixel: wp.array
    near: Nearest

    def crossings(self) -> Crossings:
        """As a list, sorted by ray."""
        count, device = len(self.casting.directions), self.casting.directions.device
        face = wp.empty(count, dtype=wp.int32, device=device)
        depth = wp.empty(count, dtype=wp.float64, device=device)
        barycentric = wp.empty(count, dtype=wp.vec3d, device=device)
        inputs, outputs = [self.casting, self.near], [face, depth, barycentric]
        wp.launch(choose_first, dim=count, inputs=inputs, outputs=outputs, device=device)
        hit = face.numpy() >= 0
        ray = np.flatnonzero(hit).astype(np.int32)
        layer = np.zeros(len(ray), np.int32)
        return Crossings(
            hit.astype(np.int32), layer, ray, face.numpy()[ray], depth.numpy()[ray], barycentric.numpy()[ray]
        )


class RayCaster:
    """A triangle mesh that rays are cast at. Closed surfaces are crossed an even number of times by every ray.

    Hits nearer to each other than 1e-6 that face the same way are one surface (coincident faces count once: the
    nearer, then the lower face index, stays), unless the ray meets them where they join, at a corner or edge of both.
    Surfaces that face opposite ways both stay, however near; at one depth (nearer than 1e-9, which is rounding) the
    one that faces the ray's origin comes first, then the one that faces away: entering before leaving. So a sheet
    whose two sides are given as faces of their own shows the side that is looked at.

    Args:
      vertices: (V, 3) float64; coordinates near 1 are meant (the merging distance is absolute).
      faces: (F, 3) int, corners; faces that share positions need not share indices.
      device: "cpu", "cuda" or "cuda:<n>".
    Raises:
      InputError: no faces, wrong shapes, values that are not finite, indices out of range, no such device.
    """

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, device: str = "cpu") -> None:
        vertices, faces = _checked(vertices, faces)
        self._device = _device(device)
        self._size = float(np.abs(vertices).max()) * 3**0.5
        self._vertices = wp.array(vertices, dtype=wp.vec3d, device=self._device, copy=False)
        self._faces = wp.array(faces, dtype=wp.vec3i, device=self._device, copy=False)
        self._block = 1 if self._device.is_cuda else BLOCK
        self._blocks = -(-len(faces) // self._block)
        self._capacity = CAPACITY
        self._reach = 0.0
        self._bvh = None
        self._lights: dict[tuple[float, ...], LightGrid] = {}

    def cast(self, origin: np.ndarray, directions: np.ndarray, max_hits: int = 16) -> Hits:
        """All hits along rays from one point.

        Args:
          origin: (3,) float64.
          directions: (N, 3) float64, unit.
          max_hits: hits kept a ray, from the front; all are counted.
        """
        found = self.crossings(origin, directions, max_hits)
        shape = (len(found.total), max_hits)
        depth, barycentric = np.zeros(shape), np.zeros((*shape, 3))
        face = np.full(shape, -1, np.int32)
        depth[found.ray, found.layer] = found.depth
        face[found.ray, found.layer] = found.face
        barycentric[found.ray, found.layer] = found.barycentric
        return Hits(found.total, depth, face, barycentric)

    def crossings(self, origin: np.ndarray, directions: np.ndarray, max_hits: int = 16) -> Crossings:
        """As `cast`, as one list without the empty places.

        Raises InputError for rays that are not finite, and for more than `hit_lists.LIMIT` crossings.
        """
        origin = np.asarray(origin, np.float64)
        directions = np.ascontiguousarray(directions, np.float64)
        if origin.shape != (3,) or directions.ndim != 2 or directions.shape[1] != 3:
            raise InputError(f"rays {origin.shape}, {directions.shape}: expected an origin (3,), directions (N, 3)")
        if not (np.isfinite(origin).all() and np.isfinite(directions).all()):
            raise InputError("rays must be finite")
        self._prepare(float(np.linalg.norm(origin)))
        casting = self._casting(origin, directions)

        def traverse(found: Found) -> None:
            wp.launch(_traverse, dim=len(directions), inputs=[self._bvh.id, casting, found], device=self._device)

        return self._sorted_hits(self._find(casting, traverse), casting, max_hits)

    def view(self, camera: Camera, max_hits: int = 16) -> Crossings:
        """The crossings of a camera's rays, row by row: what `crossings` gives for them, several times faster."""
        directions = camera.rays_world().reshape(-1, 3)
        casting = self._casting(camera.origin, directions)
        pixel = self._projected(camera, casting)

        def sweep_faces(found: Found) -> None:
            inputs = [pixel, casting, camera.width, camera.height, found, self._block]
            wp.launch(sweep, dim=self._blocks, inputs=inputs, device=self._device)

        return self._sorted_hits(self._find(casting, sweep_faces), casting, max_hits)

    def first_hits(self, camera: Camera) -> Crossings:
        """The first hit of every ray of a camera, row by row.

        It is the hit that `view` gives with `max_hits` 1, to the bit, several times faster. `total` is 0 or 1: what
        lies behind is not counted.
        """
        if self._device.is_cuda:  # the short way is for the CPU, where pictures are made
            found = self.view(camera, 1)
            return replace(found, total=np.minimum(found.total, 1))
        return self.nearest(camera).crossings()

    def nearest(self, camera: Camera) -> FirstHits:
        """As `first_hits`, left where kernels can take it up. On the CPU alone."""
        casting = self._casting(camera.origin, camera.rays_world().reshape(-1, 3))
        pixel = self._projected(camera, casting)

        def sweep_faces(near: Nearest) -> None:
            inputs = [pixel, casting, camera.width, camera.height, near, self._block]
            wp.launch(sweep_pixels, dim=self._blocks, inputs=inputs, device=self._device)

        return FirstHits(casting, pixel, self._find_nearest(camera, casting, sweep_faces))

    def nearest_around(
        self, first: FirstHits, camera: Camera, pixel: np.ndarray, offsets: np.ndarray
    ) -> tuple[FirstHits, Around]:
        """The first hits of rays around some pixels of a camera.

        Args:
          first: of the same camera, by `nearest`.
          pixel: (P,) int32, row * width + column, each once; offsets: (K, 2) column and row, within half a pixel.
        """
        around = Around()
        around.width, around.height, around.farthest = camera.width, camera.height, float(np.abs(offsets).max())
        place = np.full(camera.width * camera.height, -1, np.int32)
        place[pixel] = np.arange(len(pixel), dtype=np.int32)
        around.place = wp.array(place, dtype=wp.int32, device=self._device)
        around.offset = wp.array(offsets.astype(np.float32), dtype=wp.vec2, device=self._device)
        casting = self._casting(camera.origin, np.empty((len(pixel) * len(offsets), 3)))
        pixels = wp.array(pixel, dtype=wp.int32, device=self._device)
        pose = wp.mat33d(camera.world_from_camera[:3, :3])
        inputs = [pixels, around, pose, math.tan(camera.fov_rad / 2), casting.directions]
        wp.launch(aim, dim=len(pixel), inputs=inputs, device=self._device)

        def sweep_faces(near: Nearest) -> None:
            inputs = [first.pixel, casting, around, near, self._block]
            wp.launch(sweep_around, dim=self._blocks, inputs=inputs, device=self._device)

        return FirstHits(casting, first.pixel, self._find_nearest(camera, casting, sweep_faces)), around

    def colors(self, mesh: Mesh, found: Crossings, mode: str = "texture") -> np.ndarray:
        """`Mesh.colors` of hits on this caster's mesh, (M, 3) float32; on the CPU faster."""
        if mode != "texture" or self._device.is_cuda:
            return mesh.colors(found.face, found.barycentric, mode)
        return hit_colors(mesh, self._faces, found.face, found.barycentric)

    def light(self, position: np.ndarray) -> LightGrid:
        """What a light at a position (3,), away from the mesh, reaches; made once. On the CPU alone."""
        key = tuple(map(float, position))
        if key not in self._lights:
            grid = light_grid(self._casting(position, np.empty((0, 3))))
            if grid is None:
                raise InputError(f"light at {key}: expected outside of the ball around the mesh")
            self._lights[key] = grid
        return self._lights[key]

    def _projected(self, camera: Camera, casting: Casting):
        """Place of every vertex in a camera's picture, see `raster.project`."""
        pixel = wp.empty(len(self._vertices), dtype=wp.vec3, device=self._device)
        camera_from_world = wp.mat33d(camera.world_from_camera[:3, :3].T)
        sizes = (float(camera.width), float(camera.height))
        inputs = [casting, camera_from_world, camera.focal_px, *sizes, pixel]
        wp.launch(project, dim=len(self._vertices), inputs=inputs, device=self._device)
        return pixel

    def _casting(self, origin: np.ndarray, directions: np.ndarray) -> Casting:
        """The mesh and rays as kernels take them."""
        casting = Casting()
        casting.vertices, casting.faces = self._vertices, self._faces
        casting.origin = wp.vec3d(*origin)
        directions = np.ascontiguousarray(directions)
        casting.directions = wp.array(directions, dtype=wp.vec3d, device=self._device, copy=False)
        # Above the rounding error, 6 u |a| |b| with |a| and |b| below the mesh's size and the distance.
        casting.tolerance = 4e-15 * (self._size + float(np.linalg.norm(origin))) ** 2
        return casting

    def _prepare(self, distance: float) -> None:
        """Build the tree, with boxes padded for the rounding of rays that start as far as this one."""
        if self._bvh is not None and self._size + distance <= self._reach:
            return
        self._reach = 2 * (self._size + distance)
        corners = self._vertices.numpy()[self._faces.numpy()]
        lower, upper = corners.min(1), corners.max(1)
        pad = 16 * 2.0**-24 * self._reach  # traversal is float32: about 4 roundings of start, box and quotient
        lower = wp.array((lower - pad).astype(np.float32), dtype=wp.vec3, device=self._device)
        upper = wp.array((upper + pad).astype(np.float32), dtype=wp.vec3, device=self._device)
        self._bvh = wp.Bvh(lower, upper)

    def _find(self, casting: Casting, launch: Callable[[Found], None]) -> Found:
        """The crossings that a launch records, launched again with more room where it was short."""
        while True:
            found = self._room(len(casting.directions))
            launch(found)
            doubts = int(found.doubts.numpy()[0])
            if 0 < doubts <= self._capacity:
                wp.launch(decide, dim=doubts, inputs=[casting, found], device=self._device)
            asked = max(doubts, int(found.count.numpy()[0]))
            if asked > LIMIT:
                raise InputError(f"more than {LIMIT} crossings of rays and faces in one picture")
            if asked <= self._capacity:
                return found
            self._capacity = min(asked + asked // 4, LIMIT)

    def _room(self, rays: int) -> Found:
        def made(size: int, dtype=wp.int32):
            return wp.empty(size, dtype=dtype, device=self._device)

        found = Found()
        found.count, found.doubts, found.per_ray = made(1), made(1), made(rays)
        for array in (found.count, found.doubts, found.per_ray):
            array.zero_()
        found.ray, found.face, found.depth = (made(self._capacity, kind) for kind in (wp.int32, wp.int32, wp.float64))
        found.doubtful_ray, found.doubtful_face = made(self._capacity), made(self._capacity)
        found.capacity = self._capacity
        return found

    def _find_nearest(self, camera: Camera, casting: Casting, launch: Callable[[Nearest], None]) -> Nearest:
        """What a launch keeps, launched again where there was no room for all doubts."""
        rays, room = len(casting.directions), CAPACITY
        while True:
            near = Nearest()
            near.depth = wp.full((2, rays), wp.inf, dtype=wp.float64, device=self._device)
            near.face = wp.full((2, rays), -1, dtype=wp.int32, device=self._device)
            near.reach = wp.full(rays, wp.inf, dtype=wp.float32, device=self._device)
            near.axis = wp.vec3d(*-camera.world_from_camera[:3, 2])
            near.doubts = wp.zeros(1, dtype=wp.int32, device=self._device)
            near.doubtful_ray = wp.empty(room, dtype=wp.int32, device=self._device)
            near.doubtful_face = wp.empty(room, dtype=wp.int32, device=self._device)
            launch(near)
            doubts = int(near.doubts.numpy()[0])
            if doubts > LIMIT:
                raise InputError(f"more than {LIMIT} crossings of rays and faces in one picture")
            if doubts <= room:
                wp.launch(decide_nearest, dim=doubts, inputs=[casting, near], device=self._device)
                return near
            room = doubts

    def _sorted_hits(self, found: Found, casting: Casting, max_hits: int) -> Crossings:
        """The first `max_hits` crossings of each ray, equal ones merged: layer by layer, in each by the ray."""
        if max_hits < 1:
            raise InputError(f"{max_hits} hits to keep: expected at least 1")
        count, size = int(found.count.numpy()[0]), len(found.per_ray)
        begin = np.zeros(size + 1, np.int32)
        np.cumsum(found.per_ray.numpy(), out=begin[1:])
        cursor = wp.array(begin[:-1], dtype=wp.int32, device=self._device, copy=True)
        stretch = wp.array(begin, dtype=wp.int32, device=self._device)
        face = wp.empty(count, dtype=wp.int32, device=self._device)
        depth = wp.empty(count, dtype=wp.float64, device=self._device)
        total = wp.zeros(size, dtype=wp.int32, device=self._device)
        barycentric = wp.empty(count, dtype=wp.vec3d, device=self._device)
        wp.launch(scatter, dim=count, inputs=[found, cursor, face, depth], device=self._device)
        inputs, outputs = [casting, max_hits, stretch], [face, depth, total, barycentric]
        wp.launch(sort_and_merge, dim=size, inputs=inputs, outputs=outputs, device=self._device)
        total = total.numpy()
        rays_of_layer = []
        for number in range(min(max_hits, int(total.max(initial=0)))):
            rays_of_layer.append(np.flatnonzero(total > number).astype(np.int32))
        ray = np.concatenate(rays_of_layer) if rays_of_layer else np.zeros(0, np.int32)
        lengths = [len(part) for part in rays_of_layer]
        layer = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        slot = begin[ray] + layer
        return Crossings(total, layer, ray, face.numpy()[slot], depth.numpy()[slot], barycentric.numpy()[slot])


@wp.kernel
def _traverse(tree: wp.uint64, casting: Casting, found: Found):
    ray = wp.tid()
    query = wp.bvh_query_ray(tree, wp.vec3(casting.origin), wp.vec3(casting.directions[ray]))
    face = wp.int32(0)
    while wp.bvh_query_next(query, face):
        record(found, casting, ray, face_from(casting, face))


def _checked(vertices: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    vertices = np.ascontiguousarray(vertices, np.float64)
    faces = np.asarray(faces)
    if vertices.ndim != 2 or vertices.shape[1] != 3 or faces.ndim != 2 or faces.shape[1] != 3:
        raise InputError(f"mesh of vertices {vertices.shape}, faces {faces.shape}: expected (V, 3) and (F, 3)")
    if faces.dtype.kind not in "iu" or not len(faces):
        raise InputError(f"mesh of {len(faces)} faces ({faces.dtype}): expected at least one, of whole numbers")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(f"mesh with face corners {faces.min()} to {faces.max()}: it has {len(vertices)} vertices")
    if not np.isfinite(vertices).all():
        raise InputError("mesh with vertices that are not finite")
    return vertices, np.ascontiguousarray(faces, np.int32)


def _device(name: str):
    try:
        return wp.get_device(name)
    except (ValueError, RuntimeError):  # of a name that is none, of "cuda" without a driver
        available = ", ".join(str(device) for device in wp.get_devices())
        raise InputError(f"device {name!r}: not on this machine, which has {available}") from None
