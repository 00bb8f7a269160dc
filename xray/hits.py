"""From the crossings that a traversal finds, in any order, to the ordered hits of every ray: Warp kernels."""

from .crossing import distance, weigh
from .kernels import OPTIONS, wp

wp.set_module_options(OPTIONS)

MERGE_DISTANCE = wp.constant(wp.float64(1e-6))
"""Two hits nearer than this that face the same way are one surface, given twice."""


@wp.struct
class Found:
    """Crossings in the order of discovery; `count` of them are asked for, the first `capacity` are stored.

    A face index is stored as it is where d . normal < 0 (the face looks at the ray's start), else as ~index.
    """

    count: wp.array(dtype=wp.int32)  # (1,)
    per_ray: wp.array(dtype=wp.int32)  # (N,)
    ray: wp.array(dtype=wp.int32)
    face: wp.array(dtype=wp.int32)
    depth: wp.array(dtype=wp.float64)
    capacity: wp.int32


@wp.struct
class Face:
    """A triangle relative to the rays' start: its corners and their cross products."""

    index: wp.int32
    a: wp.vec3d
    b: wp.vec3d
    c: wp.vec3d
    bc: wp.vec3d
    ca: wp.vec3d
    ab: wp.vec3d


@wp.func
def face_from(
    vertices: wp.array(dtype=wp.vec3d), faces: wp.array(dtype=wp.vec3i), index: wp.int32, origin: wp.vec3d
) -> Face:
    """One face of a mesh, seen from the rays' start."""
    corner = faces[index]
    face = Face()
    face.index = index
    face.a = vertices[corner[0]] - origin
    face.b = vertices[corner[1]] - origin
    face.c = vertices[corner[2]] - origin
    face.bc = wp.cross(face.b, face.c)
    face.ca = wp.cross(face.c, face.a)
    face.ab = wp.cross(face.a, face.b)
    return face


@wp.func
def record(found: Found, ray: wp.int32, d: wp.vec3d, face: Face, tolerance: wp.float64):
    """Test one ray against one face and store the crossing ahead of its start."""
    weights = weigh(d, face.bc, face.ca, face.ab, tolerance)
    if weights[0] == wp.float64(0.0):
        return
    depth = distance(d, face.a, face.b, face.c, weights)
    if depth > wp.float64(0.0):
        slot = wp.atomic_add(found.count, 0, 1)
        if slot < found.capacity:
            wp.atomic_add(found.per_ray, ray, 1)
            found.ray[slot] = ray
            found.depth[slot] = depth
            if weights[0] > wp.float64(0.0):
                found.face[slot] = ~face.index
            else:
                found.face[slot] = face.index


@wp.kernel
def scatter(
    found: Found,
    cursor: wp.array(dtype=wp.int32),
    face: wp.array(dtype=wp.int32),
    depth: wp.array(dtype=wp.float64),
):
    """Move every crossing into its ray's stretch; `cursor` holds where each stretch begins, and ends behind it."""
    item = wp.tid()
    slot = wp.atomic_add(cursor, found.ray[item], 1)
    face[slot] = found.face[item]
    depth[slot] = found.depth[item]


@wp.func
def index_of(code: wp.int32) -> wp.int32:
    """Face index of a stored code."""
    if code < 0:
        return ~code
    return code


@wp.func
def merges(depth: wp.array(dtype=wp.float64), face: wp.array(dtype=wp.int32), begin: int, end: int, item: int) -> bool:
    """Whether sorted hit `item` is the surface of a hit kept in begin..end: near, and facing the same way."""
    back = end - 1
    while back >= begin and depth[item] - depth[back] < MERGE_DISTANCE:
        if (face[back] < 0) == (face[item] < 0):
            return True
        back -= 1
    return False


@wp.kernel
def settle(
    vertices: wp.array(dtype=wp.vec3d),
    faces: wp.array(dtype=wp.vec3i),
    origin: wp.vec3d,
    directions: wp.array(dtype=wp.vec3d),
    tolerance: wp.float64,
    max_hits: int,
    start: wp.array(dtype=wp.int32),
    face: wp.array(dtype=wp.int32),
    depth: wp.array(dtype=wp.float64),
    total: wp.array(dtype=wp.int32),
    barycentric: wp.array(dtype=wp.vec3d),
):
    """Per ray: sort by depth, then face; merge what is one surface; weigh the corners of the first hits."""
    ray = wp.tid()
    begin = start[ray]
    end = start[ray + 1]
    for item in range(begin + 1, end):
        hold_depth = depth[item]
        hold_face = face[item]
        back = item - 1
        while back >= begin and (
            depth[back] > hold_depth or (depth[back] == hold_depth and index_of(face[back]) > index_of(hold_face))
        ):
            depth[back + 1] = depth[back]
            face[back + 1] = face[back]
            back -= 1
        depth[back + 1] = hold_depth
        face[back + 1] = hold_face
    kept = begin
    for item in range(begin, end):
        if not merges(depth, face, begin, kept, item):
            depth[kept] = depth[item]
            face[kept] = face[item]
            kept += 1
    total[ray] = kept - begin
    for item in range(begin, wp.min(kept, begin + max_hits)):
        face[item] = index_of(face[item])
        hit = face_from(vertices, faces, face[item], origin)
        weights = weigh(directions[ray], hit.bc, hit.ca, hit.ab, tolerance)
        barycentric[item] = weights / (weights[0] + weights[1] + weights[2])
