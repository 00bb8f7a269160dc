"""Where a ray crosses a triangle: an exact, gap-free sign test in float64, as Warp functions.

A ray from the origin along d crosses the triangle a, b, c where the three edge functions d . (b x c),
d . (c x a), d . (a x b) have one sign. Every edge function is evaluated with the lower vertex (x, then y, then z)
first and negated for the other order, so two faces that share an edge see exactly opposite values: a ray never
slips between them, nor crosses both. Where the value is too near 0 for float64, the sign is that of the first
non-zero component of the cross product, as though the ray were shifted by an infinitesimal (e, e^2, e^3), after
Edelsbrunner and Muecke, "Simulation of Simplicity" (1990). The shift is the same for all edges, so the faces around
a vertex that the ray meets agree as well. Comparing positions, not indices, makes this hold across unmerged vertices.
"""

from .kernels import OPTIONS, wp

wp.set_module_options(OPTIONS)


@wp.func
def precedes(a: wp.vec3d, b: wp.vec3d) -> bool:
    """Lexicographic order of two positions."""
    if a[0] != b[0]:
        return a[0] < b[0]
    if a[1] != b[1]:
        return a[1] < b[1]
    return a[2] < b[2]


@wp.func
def shifted(cross: wp.vec3d) -> wp.float64:
    """Sign of the edge function of an infinitesimally shifted ray, times a number that no weight notices."""
    component = cross[0]
    if component == wp.float64(0.0):
        component = cross[1]
    if component == wp.float64(0.0):
        component = cross[2]
    if component > wp.float64(0.0):
        return wp.float64(1.0e-300)
    if component < wp.float64(0.0):
        return wp.float64(-1.0e-300)
    return wp.float64(0.0)


@wp.func
def edge(d: wp.vec3d, a: wp.vec3d, b: wp.vec3d, tolerance: wp.float64) -> wp.float64:
    """D . (a x b), antisymmetric to the last bit; never 0 unless a and b are in line with the origin."""
    swap = precedes(b, a)
    first = a
    second = b
    if swap:
        first = b
        second = a
    cross = wp.cross(first, second)
    value = wp.dot(d, cross)
    if wp.abs(value) <= tolerance:
        value = shifted(cross)
    if swap:
        value = -value
    return value


@wp.func
def weigh(d: wp.vec3d, a: wp.vec3d, b: wp.vec3d, c: wp.vec3d, tolerance: wp.float64) -> wp.vec3d:
    """Unnormalised barycentric weights of the crossing, all of one sign; 0, 0, 0 where there is none.

    They are negative where the face looks at the ray's start (d . normal < 0).
    """
    none = wp.vec3d(wp.float64(0.0), wp.float64(0.0), wp.float64(0.0))
    wc = edge(d, a, b, tolerance)
    wa = edge(d, b, c, tolerance)
    if wa * wp.sign(wc) <= wp.float64(0.0):
        return none
    wb = edge(d, c, a, tolerance)
    if wb * wp.sign(wc) <= wp.float64(0.0):
        return none
    return wp.vec3d(wa, wb, wc)


@wp.func
def distance(d: wp.vec3d, a: wp.vec3d, b: wp.vec3d, c: wp.vec3d, weights: wp.vec3d) -> wp.float64:
    """Distance of the crossing along the unit ray; a mean of the corners' distances, so it never leaves the face."""
    total = weights[0] + weights[1] + weights[2]
    return (weights[0] * wp.dot(d, a) + weights[1] * wp.dot(d, b) + weights[2] * wp.dot(d, c)) / total
