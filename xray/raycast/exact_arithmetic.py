"""Arithmetic beyond float64, as Warp functions: pairs (about 106 bits), and sums without error.

After Dekker, "A floating-point technique for extending the available precision" (1971), Knuth, TAOCP vol. 2, 4.2.2,
and Shewchuk, "Adaptive Precision Floating-Point Arithmetic" (1997), theorem 10. All
rely on every operation being rounded on its own: no fused multiply-adds (`warp_setup.OPTIONS`), no fast-math.
"""

from __future__ import annotations

from ..common.warp_setup import OPTIONS, wp

wp.set_module_options(OPTIONS)

Parts = wp.types.vector(length=24, dtype=wp.float64)
"""Terms of a sum without error."""

SPLITTER = wp.constant(wp.float64(134217729.0))
"""2^27 + 1, which cuts 53 bits into two halves."""


@wp.func
def normalized(high: wp.float64, low: wp.float64) -> wp.vec2d:
    """The pair of the same sum whose first part is that sum, rounded. |high| must not be below |low|."""
    total = high + low
    return wp.vec2d(total, low - (total - high))


@wp.func
def sum_of(a: wp.float64, b: wp.float64) -> wp.vec2d:
    """a + b without error."""
    total = a + b
    b_part = total - a
    return wp.vec2d(total, (a - (total - b_part)) + (b - b_part))


@wp.func
def product_of(a: wp.float64, b: wp.float64) -> wp.vec2d:
    """a b without error."""
    product = a * b
    carry = SPLITTER * a
    a_high = carry - (carry - a)
    a_low = a - a_high
    carry = SPLITTER * b
    b_high = carry - (carry - b)
    b_low = b - b_high
    return wp.vec2d(product, ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low)


@wp.func
def add(x: wp.vec2d, y: wp.vec2d) -> wp.vec2d:
    """x + y."""
    high = sum_of(x[0], y[0])
    low = sum_of(x[1], y[1])
    high = normalized(high[0], high[1] + low[0])
    return normalized(high[0], high[1] + low[1])


@wp.func
def scale(x: wp.vec2d, factor: wp.float64) -> wp.vec2d:
    """x factor."""
    product = product_of(x[0], factor)
    return normalized(product[0], product[1] + x[1] * factor)


@wp.func
def determinant(a: wp.float64, b: wp.float64, c: wp.float64, d: wp.float64) -> wp.vec2d:
    """a b - c d, with a relative error: its sign is exact."""
    return add(product_of(a, b), -product_of(c, d))


@wp.func
def grown(parts: Parts, count: wp.int32, number: wp.float64) -> Parts:
    """`count` parts and one number as count + 1 parts of the same sum; parts do not overlap, the largest is last."""
    carry = number
    for item in range(count):
        total = sum_of(carry, parts[item])
        carry = total[0]
        parts[item] = total[1]
    parts[count] = carry
    return parts


@wp.func
def with_product(parts: Parts, count: wp.int32, a: wp.float64, b: wp.float64, c: wp.float64) -> Parts:
    """The parts of the sum and a b c: four more."""
    product = product_of(a, b)
    high = product_of(product[0], c)
    low = product_of(product[1], c)
    parts = grown(parts, count, low[1])
    parts = grown(parts, count + 1, low[0])
    parts = grown(parts, count + 2, high[1])
    return grown(parts, count + 3, high[0])


@wp.func
def exact_triple(a: wp.vec3d, b: wp.vec3d, c: wp.vec3d) -> wp.float64:
    """a . (b x c), rounded once: its sign is exact, and it is 0 only where the three lie in a plane."""
    parts = Parts()
    parts = with_product(parts, 0, b[1], c[2], a[0])
    parts = with_product(parts, 4, -b[2], c[1], a[0])
    parts = with_product(parts, 8, b[2], c[0], a[1])
    parts = with_product(parts, 12, -b[0], c[2], a[1])
    parts = with_product(parts, 16, b[0], c[1], a[2])
    parts = with_product(parts, 20, -b[1], c[0], a[2])
    total = wp.float64(0.0)
    for item in range(24):  # from the smallest: the largest that is not 0 decides the sign
        total += parts[item]
    return total
