"""Where a ray crosses a triangle: an exact, gap-free sign test, as Warp functions.

A ray from the origin along d crosses the triangle a, b, c where the three edge functions d . (b x c),
d . (c x a), d . (a x b) have one sign. The signs are exact: where float64 cannot tell, twice its precision does, and
where that cannot, a sum without error. What is truly 0 takes the sign of the first component of the cross product
that is not, as though the ray were shifted by an infinitesimal (e, e^2, e^3), after Edelsbrunner and Muecke,
"Simulation of Simplicity" (1990). So every ray behaves as one that meets no edge and no corner: it never slips
between two faces that share an edge, nor crosses both, and crosses a closed surface an even number of times. All of
this is about positions, so it holds across vertices that are not merged.
"""

from __future__ import annotations

from ..common.warp_setup import OPTIONS, wp
from .exact_arithmetic import add, determinant, exact_triple, scale

wp.set_module_options(OPTIONS)

MISS = wp.constant(wp.int32(0))
FRONT = wp.constant(wp.int32(-1))
BACK = wp.constant(wp.int32(1))
DOUBT = wp.constant(wp.int32(2))

FINER = wp.constant(wp.float64(1e-15))
"""How much smaller the rounding error is in twice the precision, with a margin."""


@wp.struct
class Casting:
    """A mesh, and the rays from one point that are cast at it."""

    vertices: wp.array(dtype=wp.vec3d)
    faces: wp.array(dtype=wp.vec3i)
    origin: wp.vec3d
    directions: wp.array(dtype=wp.vec3d)  # (N,) unit
    tolerance: wp.float64  # above the rounding error of an edge function


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
def face_from(casting: Casting, index: wp.int32) -> Face:
    """One face of a mesh, seen from the rays' start."""
    corner = casting.faces[index]
    face = Face()
    face.index = index
    face.a = casting.vertices[corner[0]] - casting.origin
    face.b = casting.vertices[corner[1]] - casting.origin
    face.c = casting.vertices[corner[2]] - casting.origin
    face.bc = wp.cross(face.b, face.c)
    face.ca = wp.cross(face.c, face.a)
    face.ab = wp.cross(face.a, face.b)
    return face


@wp.func
def side(d: wp.vec3d, face: Face, tolerance: wp.float64) -> wp.int32:
    """Whether a ray crosses a face, in float64: `MISS`, `FRONT` (it looks at the ray's start), `BACK` or `DOUBT`.

    Args:
      tolerance: bound of the rounding error of an edge function.
    """
    wa = wp.dot(d, face.bc)
    wb = wp.dot(d, face.ca)
    if wp.min(wa, wb) < -tolerance and wp.max(wa, wb) > tolerance:
        return MISS
    wc = wp.dot(d, face.ab)
    low = wp.min(wa, wp.min(wb, wc))
    high = wp.max(wa, wp.max(wb, wc))
    if low < -tolerance and high > tolerance:
        return MISS
    if low > tolerance:
        return BACK
    if high < -tolerance:
        return FRONT
    return DOUBT


@wp.func
def exact_edge(d: wp.vec3d, a: wp.vec3d, b: wp.vec3d, tolerance: wp.float64) -> wp.int32:
    """Sign of d . (a x b); 0 only where a and b are in line with the origin."""
    x = determinant(a[1], b[2], a[2], b[1])
    y = determinant(a[2], b[0], a[0], b[2])
    z = determinant(a[0], b[1], a[1], b[0])
    finer = add(add(scale(x, d[0]), scale(y, d[1])), scale(z, d[2]))
    value = finer[0]
    if wp.abs(value) <= tolerance * FINER:
        value = exact_triple(d, a, b)
    for item in range(3):
        if value == wp.float64(0.0):
            value = wp.vec3d(x[0], y[0], z[0])[item]
    return wp.int32(wp.sign(value)) * wp.int32(value != wp.float64(0.0))


@wp.func
def exact_side(d: wp.vec3d, face: Face, tolerance: wp.float64) -> wp.int32:
    """As `side`, and never in doubt. Kept out of the loop over all rays and faces: its many numbers would slow it."""
    first = exact_edge(d, face.b, face.c, tolerance)
    if exact_edge(d, face.c, face.a, tolerance) != first or exact_edge(d, face.a, face.b, tolerance) != first:
        return MISS
    return first


@wp.func
def barycentric_weights(d: wp.vec3d, face: Face, sign: wp.int32) -> wp.vec3d:
    """Barycentric weights of a crossing with a face, by the side that it crosses from."""
    turn = wp.float64(sign)
    zero = wp.float64(0.0)
    wa = wp.max(turn * wp.dot(d, face.bc), zero)
    wb = wp.max(turn * wp.dot(d, face.ca), zero)
    wc = wp.max(turn * wp.dot(d, face.ab), zero)
    total = wa + wb + wc
    if total == zero:  # the ray lies in the face's plane
        return wp.vec3d(wp.float64(1.0 / 3.0))
    return wp.vec3d(wa / total, wb / total, wc / total)


@wp.func
def distance(d: wp.vec3d, face: Face, weights: wp.vec3d) -> wp.float64:
    """Distance of the crossing along the unit ray; a mean of the corners' distances, so it never leaves the face."""
    return weights[0] * wp.dot(d, face.a) + weights[1] * wp.dot(d, face.b) + weights[2] * wp.dot(d, face.c)
