"""Where a ray crosses a triangle: a gap-free sign test in float64, as Warp functions.

A ray from the origin along d crosses the triangle a, b, c where the three edge functions d . (b x c),
d . (c x a), d . (a x b) have one sign. Two faces that share an edge see it in opposite directions, and so exactly
opposite values: each component of a x b is the difference of two products, which without fused multiply-adds
(`kernels.OPTIONS`) is to the last bit the negative of that of b x a. A ray never slips between the two faces, nor
crosses both. Where the value is too near 0 for float64, the sign is that of the first non-zero component of the
cross product, as though the ray were shifted by an infinitesimal (e, e^2, e^3), after Edelsbrunner and Muecke,
"Simulation of Simplicity" (1990). The shift is the same for all edges, so the faces around a vertex that the ray
meets agree as well. All of this is about positions, so it holds across vertices that are not merged.
"""

from .kernels import OPTIONS, wp

wp.set_module_options(OPTIONS)


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
def edge(d: wp.vec3d, cross: wp.vec3d, tolerance: wp.float64) -> wp.float64:
    """d . cross; never 0 unless the edge is in line with the origin."""
    value = wp.dot(d, cross)
    if wp.abs(value) <= tolerance:
        value = shifted(cross)
    return value


@wp.func
def weigh(d: wp.vec3d, bc: wp.vec3d, ca: wp.vec3d, ab: wp.vec3d, tolerance: wp.float64) -> wp.vec3d:
    """Unnormalised barycentric weights of the crossing with a face, all of one sign; 0, 0, 0 where there is none.

    They are negative where the face looks at the ray's start (d . normal < 0).

    Args:
      bc, ca, ab: cross products of the corners, b x c and so on.
    """
    none = wp.vec3d(wp.float64(0.0), wp.float64(0.0), wp.float64(0.0))
    wa = edge(d, bc, tolerance)
    wb = edge(d, ca, tolerance)
    if wa * wp.sign(wb) <= wp.float64(0.0):
        return none
    wc = edge(d, ab, tolerance)
    if wc * wp.sign(wb) <= wp.float64(0.0):
        return none
    return wp.vec3d(wa, wb, wc)


@wp.func
def distance(d: wp.vec3d, a: wp.vec3d, b: wp.vec3d, c: wp.vec3d, weights: wp.vec3d) -> wp.float64:
    """Distance of the crossing along the unit ray; a mean of the corners' distances, so it never leaves the face."""
    total = weights[0] + weights[1] + weights[2]
    return (weights[0] * wp.dot(d, a) + weights[1] * wp.dot(d, b) + weights[2] * wp.dot(d, c)) / total
