"""From the crossings that a traversal finds, in any order, to the ordered hits of every ray: Warp kernels."""

from __future__ import annotations

from ..common.warp_setup import OPTIONS, wp
from .ray_triangle import (
    BACK,
    DOUBT,
    FRONT,
    MISS,
    Casting,
    Face,
    barycentric_weights,
    distance,
    exact_side,
    face_from,
    side,
)

wp.set_module_options(OPTIONS)

MERGE_DISTANCE = wp.constant(wp.float64(1e-6))
"""Two hits nearer than this that face the same way are one surface, given twice; but see `folds`."""

LIMIT = 1 << 26
"""Most crossings of one picture: a thousand a ray at 256 x 256. It bounds the memory, and keeps counts in 32 bits."""

_LIMIT = wp.constant(LIMIT)

BORDER = wp.constant(wp.float64(1e-5))
"""A ray nearer than this to a corner or edge meets it, for `folds`."""

SAME_DEPTH = wp.constant(wp.float64(1e-9))
"""Two hits nearer than this are at one depth: above the rounding of a distance to a small face seen at a flat angle."""


@wp.struct
class Found:
    """Crossings in the order of discovery; `count` of them were met, the first `capacity` are stored.

    A face index is stored as it is where the face looks at the ray's start, else as ~index. What float64 cannot
    decide is put aside as pairs of ray and face, for `decide`.
    """

    count: wp.array(dtype=wp.int32)  # (1,)
    per_ray: wp.array(dtype=wp.int32)  # (N,)
    ray: wp.array(dtype=wp.int32)
    face: wp.array(dtype=wp.int32)
    depth: wp.array(dtype=wp.float64)
    doubts: wp.array(dtype=wp.int32)  # (1,)
    doubtful_ray: wp.array(dtype=wp.int32)
    doubtful_face: wp.array(dtype=wp.int32)
    capacity: wp.int32


@wp.func
def store(found: Found, ray: wp.int32, d: wp.vec3d, face: Face, sign: wp.int32):
    """Add the crossing of a ray with a face, if it is ahead of the ray's start."""
    depth = distance(d, face, barycentric_weights(d, face, sign))
    if depth > wp.float64(0.0) and found.count[0] <= _LIMIT:
        slot = wp.atomic_add(found.count, 0, 1)
        if slot < found.capacity:
            wp.atomic_add(found.per_ray, ray, 1)
            found.ray[slot] = ray
            found.depth[slot] = depth
            if sign == BACK:
                found.face[slot] = ~face.index
            else:
                found.face[slot] = face.index


@wp.func
def record(found: Found, casting: Casting, ray: wp.int32, face: Face):
    """Test one ray against one face; add the crossing, or put the pair aside."""
    d = casting.directions[ray]
    sign = side(d, face, casting.tolerance)
    if sign == MISS:
        return
    if sign == DOUBT:
        if found.doubts[0] > _LIMIT:
            return
        slot = wp.atomic_add(found.doubts, 0, 1)
        if slot < found.capacity:
            found.doubtful_ray[slot] = ray
            found.doubtful_face[slot] = face.index
    else:
        store(found, ray, d, face, sign)


@wp.kernel
def decide(casting: Casting, found: Found):
    """Settle the pairs that were put aside, exactly."""
    item = wp.tid()
    ray = found.doubtful_ray[item]
    face = face_from(casting, found.doubtful_face[item])
    sign = exact_side(casting.directions[ray], face, casting.tolerance)
    if sign != MISS:
        store(found, ray, casting.directions[ray], face, sign)


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
def side_of(code: wp.int32) -> wp.int32:
    """`FRONT` or `BACK` of a stored code."""
    if code < 0:
        return BACK
    return FRONT


@wp.func
def shared_corners(vertices: wp.array(dtype=wp.vec3d), corners: wp.vec3i, others: wp.vec3i) -> wp.vec3d:
    """1 for every corner of a face that is, by position, a corner of another face; else 0."""
    shared = wp.vec3d()
    for corner in range(3):
        for other in range(3):
            if vertices[corners[corner]] == vertices[others[other]]:
                shared[corner] = wp.float64(1.0)
    return shared


@wp.func
def from_shared(d: wp.vec3d, face: Face, sign: wp.int32, shared: wp.vec3d) -> wp.float64:
    """Bound of the distance, within a face, between a crossing and the corner or edge of its shared corners."""
    longest = wp.max(wp.length(face.a - face.b), wp.max(wp.length(face.b - face.c), wp.length(face.c - face.a)))
    return (wp.float64(1.0) - wp.dot(barycentric_weights(d, face, sign), shared)) * longest


@wp.func
def folds(casting: Casting, ray: wp.int32, one: wp.int32, two: wp.int32) -> bool:
    """Whether a ray meets two different faces (codes) at a corner or edge that both have: one sheet, crossed twice."""
    d = casting.directions[ray]
    here = index_of(one)
    there = index_of(two)
    shared = shared_corners(casting.vertices, casting.faces[here], casting.faces[there])
    if shared[0] + shared[1] + shared[2] > wp.float64(2.5):
        return False  # the same face, given twice
    if from_shared(d, face_from(casting, here), side_of(one), shared) > BORDER:
        return False
    shared = shared_corners(casting.vertices, casting.faces[there], casting.faces[here])
    return from_shared(d, face_from(casting, there), side_of(two), shared) <= BORDER


@wp.kernel
def sort_and_merge(
    casting: Casting,
    max_hits: int,
    start: wp.array(dtype=wp.int32),
    face: wp.array(dtype=wp.int32),
    depth: wp.array(dtype=wp.float64),
    total: wp.array(dtype=wp.int32),
    barycentric: wp.array(dtype=wp.vec3d),
):
    """Per ray: sort by depth, then face; merge what is one surface; of opposite faces at one depth let the one that
    looks at the ray's start come first; weigh the corners of the first hits."""
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
        merged = wp.bool(False)
        back = kept - 1
        while back >= begin and depth[item] - depth[back] < MERGE_DISTANCE and not merged:
            if side_of(face[back]) == side_of(face[item]):
                merged = not folds(casting, ray, face[item], face[back])
            back -= 1
        if not merged:
            depth[kept] = depth[item]
            face[kept] = face[item]
            kept += 1
    for item in range(begin + 1, kept):
        place = item
        while place > begin and (
            side_of(face[place]) == FRONT
            and side_of(face[place - 1]) == BACK
            and depth[place] - depth[place - 1] < SAME_DEPTH
        ):
            hold_face = face[place]  # the depths, equal but for rounding, stay in order
            face[place] = face[place - 1]
            face[place - 1] = hold_face
            place -= 1
    total[ray] = kept - begin
    for item in range(begin, wp.min(kept, begin + max_hits)):
        hit = face_from(casting, index_of(face[item]))
        barycentric[item] = barycentric_weights(casting.directions[ray], hit, side_of(face[item]))
        face[item] = hit.index
