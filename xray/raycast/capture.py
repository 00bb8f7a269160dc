"""A mesh seen by a camera, as an X-Ray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..common.depth_range import FAR, NEAR
from ..core.camera import Camera
from ..core.xray import STORED_LAYERS, SparseXRay, XRay
from ..mesh.mesh import Mesh
from .caster import Crossings, RayCaster

VERSION = 2
"""Changes whenever the same mesh and camera give another X-Ray, so that files of earlier versions are made again."""


@dataclass(frozen=True)
class CaptureStats:
    """What an X-Ray holds, and what it had no room for.

    Attributes:
      hits: number of hits in each layer.
      hits_beyond_layers: surfaces behind the last layer, which are not in the X-Ray.
      hits_before_near, hits_beyond_far: hits in the X-Ray at or outside the depth range, which decoding drops.
    """

    hits: tuple[int, ...]
    hits_beyond_layers: int
    hits_before_near: int
    hits_beyond_far: int


def cast_mesh(mesh: Mesh, camera: Camera, layers: int = STORED_LAYERS) -> XRay:
    """The X-Ray of a mesh from a camera, in one call; for many views of one mesh, `capture` shares its caster."""
    return capture(mesh, RayCaster(mesh.vertices, mesh.faces), camera, layers)[0]


def capture(mesh: Mesh, caster: RayCaster, camera: Camera, layers: int = STORED_LAYERS) -> tuple[XRay, CaptureStats]:
    """`capture_sparse` with its defaults, as the dense array."""
    sparse, stats = capture_sparse(mesh, caster, camera, layers)
    return sparse.to_xray(), stats


def capture_sparse(
    mesh: Mesh,
    caster: RayCaster,
    camera: Camera,
    layers: int = STORED_LAYERS,
    color: str = "texture",
    normals: str = "face",
    near: float = NEAR,
    far: float = FAR,
) -> tuple[SparseXRay, CaptureStats]:
    """The X-Ray of a mesh from a camera, without ever making the dense array, nine tenths of which are zeros.

    Args:
      caster: of the mesh's vertices and faces; one serves all views of an object.
      layers: hits kept a ray, from the front.
      color, normals: how both are looked up, see `Mesh.colors` and `Mesh.normals`.
      near, far: depth range for the statistics alone.
    """
    found = caster.view(camera, layers)
    values = np.empty((len(found.ray), 7), np.float32)
    values[:, 0] = found.depth
    world_from_camera = camera.world_from_camera[:3, :3]
    values[:, 1:4] = mesh.normals(found.face, found.barycentric, normals) @ world_from_camera
    values[:, 4:7] = caster.colors(mesh, found, color)
    sparse = _assemble(found, values, (layers, camera.height, camera.width))
    hits = np.bincount(found.layer, minlength=layers)
    stats = CaptureStats(
        hits=tuple(hits.tolist()),
        hits_beyond_layers=int(found.total.sum(dtype=np.int64)) - len(found.ray),
        hits_before_near=int((values[:, 0] <= near).sum()),
        hits_beyond_far=int((values[:, 0] >= far).sum()),
    )
    return sparse, stats


def _assemble(found: Crossings, values: np.ndarray, shape: tuple[int, int, int]) -> SparseXRay:
    """Hits sorted by layer and ray, with (M, 7) values, as the stored list: by layer, channel, ray."""
    layers, pixels = shape[0], shape[1] * shape[2]
    ends = np.cumsum(np.bincount(found.layer, minlength=layers))
    columns, kept, counts = [], [], []
    for begin, end in zip(ends - np.diff(ends, prepend=0), ends, strict=True):
        block = values[begin:end].T
        column = np.arange(7, dtype=np.int32)[:, None] * np.int32(pixels) + found.ray[begin:end]
        stored = block != 0
        columns.append(column[stored])
        kept.append(block[stored])
        counts.append(len(kept[-1]))
    indptr = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return SparseXRay(shape, indptr, np.concatenate(columns), np.concatenate(kept))
