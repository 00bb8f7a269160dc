"""One mesh of several views, against the mesh that the X-Rays were cast from."""

from pathlib import Path

import numpy as np
import pytest
import trimesh
from scipy.spatial import cKDTree

from xray.common.errors import InputError
from xray.core.camera import FOV_RAD, Camera, sample_views
from xray.mesh.load import load_mesh
from xray.raycast.capture import capture
from xray.raycast.caster import RayCaster
from xray.surface.fuse import fuse_views
from xray.surface.surface import to_surface

MESHES = Path(__file__).parents[2] / "example/meshes"
RAYS, POINTS = 64, 200_000


def views(name, count=6):
    mesh = load_mesh(MESHES / name)
    poses = sample_views(count, np.random.default_rng(0))
    cameras = [Camera(RAYS, RAYS, FOV_RAD, pose) for pose in poses]
    caster = RayCaster(mesh.vertices, mesh.faces)
    return mesh, [capture(mesh, caster, camera)[0] for camera in cameras], cameras


def apart(surface, mesh):
    """Mean distance from points of the mesh to a surface, and from points of the surface to the mesh; each surface
    stands for itself by so many points that their gaps are small beside a pixel."""
    found = trimesh.sample.sample_surface(surface.to_trimesh(), POINTS, seed=1)[0]
    truth = mesh.sample(POINTS, np.random.default_rng(0))[0]
    return [cKDTree(all_of).query(few[::50])[0].mean() for few, all_of in ((truth, found), (found, truth))]


@pytest.mark.parametrize("name", ["chest.obj", "mug.obj"])
def test_all_views_show_more_of_the_mesh_than_one_and_nothing_beside_it(name):
    mesh, xrays, cameras = views(name)
    alone = [to_surface(*view, "rays", "world") for view in zip(xrays, cameras, strict=True)]
    fused = fuse_views(xrays, cameras)
    missing, beside = apart(fused, mesh)
    each = np.array([apart(surface, mesh) for surface in alone[:3]])
    assert missing < each[:, 0].min()
    assert beside < 1.05 * each[:, 1].max()
    # Views that see a place less well are not kept beside the best.
    assert len(fused.faces) < 0.65 * sum(len(surface.faces) for surface in alone)


def test_one_view_is_its_own_mesh():
    _, xrays, cameras = views("chest.obj", 1)
    alone = to_surface(xrays[0], cameras[0], "rays", "world")
    fused = fuse_views(xrays, cameras)
    assert np.array_equal(fused.vertices[fused.faces], alone.vertices[alone.faces])


def test_the_same_view_twice_counts_once():
    _, xrays, cameras = views("chest.obj", 1)
    once, twice = (len(fuse_views(xrays * count, cameras * count).faces) for count in (1, 2))
    assert 0.95 * once < twice <= once  # but for rims that stand where neither has a hit


def test_views_without_cameras_are_refused():
    with pytest.raises(InputError, match="0 X-Rays and 0 cameras"):
        fuse_views([], [])
    _, xrays, cameras = views("chest.obj", 1)
    with pytest.raises(InputError, match="2 X-Rays and 1 cameras"):
        fuse_views(xrays * 2, cameras)
