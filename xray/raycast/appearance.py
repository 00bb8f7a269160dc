"""Colour and normal of surface points, and the light that they send to the camera: Warp kernels for the CPU.

Colours and normals are those of `Mesh.colors` and `Mesh.normals`, which say what they mean; a test holds both equal.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np

from ..common import srgb
from ..common.warp_setup import OPTIONS, wp
from ..mesh.mesh import Mesh
from ..mesh.texture import WRAPS
from .light_grid import LightGrid, is_hidden
from .nearest import Nearest, face_of_first, side_of_first
from .ray_triangle import Casting, barycentric_weights, face_from

wp.set_module_options(OPTIONS)

STEPS = 4096
"""Steps of the tables of the sRGB curve. Between them a straight line is within 3e-8 of the curve to linear light."""

_STEPS = wp.constant(STEPS)
_MIRROR, _CLAMP = wp.constant(WRAPS.index("mirror")), wp.constant(WRAPS.index("clamp"))

AMBIENT, SKY, SUN = 0.25, 0.6, 0.45
"""Shares of light from everywhere, from above, and from the sun, on a surface that faces each."""

_AMBIENT, _SKY, _SUN = (wp.constant(wp.float64(share)) for share in (AMBIENT, SKY, SUN))

SHADOW_BIAS = 2e-3
"""Objects this near to a surface do not shade it."""

_BIAS = wp.constant(wp.float64(SHADOW_BIAS))

UNKNOWN = wp.constant(wp.int8(-1))
"""Of the sun: it is not known whether anything hides it. Else 1 where it is seen, 0 where it is hidden."""


@wp.struct
class Paint:
    """A `Material`; its texture begins at the address `pixels`, 0 where it has none."""

    pixels: wp.uint64
    width: wp.int32
    height: wp.int32
    wrap_across: wp.int32  # place in `WRAPS`
    wrap_down: wp.int32
    nearest: wp.bool
    across: wp.vec3d  # rows of the transform
    down: wp.vec3d
    factor: wp.vec3


@wp.struct
class Surface:
    """What a mesh looks like, and the tables of the sRGB curve. Fields that the mesh lacks are empty."""

    vertices: wp.array(dtype=wp.vec3d)  # (V,)
    smooth: wp.array(dtype=wp.vec3d)  # (V,)
    uv: wp.array(dtype=wp.vec2d)  # (V,)
    vertex_colors: wp.array(dtype=wp.vec3)  # (V,)
    face_colors: wp.array(dtype=wp.vec3)  # (F,)
    material: wp.array(dtype=wp.int32)  # (F,)
    paints: wp.array(dtype=Paint)
    linear: wp.array(dtype=wp.float32)  # (STEPS + 1,) linear light of evenly spaced sRGB values
    level: wp.array(dtype=wp.int32)  # (STEPS + 1,) of 0 to 255, at most that of evenly spaced linear values
    border: wp.array(dtype=wp.float32)  # (257,) least linear value of each level, then one that no light reaches


@wp.struct
class Sample:
    """What a ray sees: linear light, normal turned to the viewer, the sun."""

    light: wp.vec3
    normal: wp.vec3d
    sun: wp.int8


_surfaces: WeakKeyDictionary[Mesh, Surface] = WeakKeyDictionary()
"""Of meshes that were seen, so that all views of one share it."""


def surface_of(mesh: Mesh) -> Surface:
    """What kernels need of a mesh; it stands in the mesh's own arrays wherever they have the form."""
    if mesh not in _surfaces:
        _surfaces[mesh] = _made_surface(mesh)
    return _surfaces[mesh]


def _made_surface(mesh: Mesh) -> Surface:
    surface = Surface()
    surface.vertices = _shared(mesh.vertices, wp.vec3d)
    surface.smooth = _shared(mesh.vertex_normals if mesh.has("normals") else np.zeros((0, 3)), wp.vec3d)
    textured = any(material.texture is not None for material in mesh.materials)
    surface.uv = _shared(mesh.uv if textured else np.zeros((0, 2)), wp.vec2d)
    none = np.zeros((0, 3), np.float32)
    surface.vertex_colors = _shared(mesh.vertex_colors if mesh.has("vertex_colors") else none, wp.vec3)
    surface.face_colors = _shared(mesh.face_colors if mesh.has("face_colors") else none, wp.vec3)
    surface.material = _shared(mesh.material, wp.int32)
    surface.paints = wp.array([_paint(material) for material in mesh.materials], dtype=Paint, device="cpu")
    even = np.linspace(0, 1, STEPS + 1, dtype=np.float32)
    border = np.concatenate([[-1], srgb.to_linear((np.arange(255) + 0.5) / 255), [np.inf]]).astype(np.float32)
    surface.linear = _shared(srgb.to_linear(even), wp.float32)
    surface.level = _shared((np.searchsorted(border, even, side="right") - 1).astype(np.int32), wp.int32)
    surface.border = _shared(border, wp.float32)
    return surface


def _shared(values: np.ndarray, dtype) -> wp.array:
    return wp.array(np.ascontiguousarray(values), dtype=dtype, device="cpu", copy=False)


def _paint(material) -> Paint:
    """Kernels read the pixels where they are; whoever holds the mesh holds them."""
    paint, texture = Paint(), material.texture
    paint.factor = wp.vec3(*map(float, material.factor))
    if texture is None:
        return paint
    paint.pixels = texture.pixels.ctypes.data
    paint.height, paint.width = texture.pixels.shape[:2]
    paint.wrap_across, paint.wrap_down = (WRAPS.index(wrap) for wrap in texture.wrap)
    paint.nearest = texture.nearest
    rows = np.eye(3)[:2] if texture.transform is None else texture.transform
    paint.across, paint.down = (wp.vec3d(*map(float, row)) for row in rows)
    return paint


@wp.func
def wrapped(place: wp.float64, size: wp.int32, wrap: wp.int32) -> wp.int32:
    """The pixel of a whole number, perhaps outside of the texture."""
    index = wp.int64(place)
    count = wp.int64(size)
    if wrap == _CLAMP:
        return wp.int32(wp.clamp(index, wp.int64(0), count - wp.int64(1)))
    if index >= wp.int64(0) and index < count:
        return wp.int32(index)
    if wrap == _MIRROR:
        count = count + count
    index = index % count
    if index < wp.int64(0):
        index = index + count
    if wrap == _MIRROR:
        index = wp.min(index, count - wp.int64(1) - index)
    return wp.int32(index)


@wp.func
def pixel_at(paint: Paint, column: wp.int32, row: wp.int32) -> wp.vec3:
    """Levels of a texture's pixel."""
    pixels = wp.array(ptr=paint.pixels, shape=(paint.width * paint.height * 3,), dtype=wp.uint8)
    place = (row * paint.width + column) * 3
    return wp.vec3(float(pixels[place]), float(pixels[place + 1]), float(pixels[place + 2]))


@wp.func
def looked_up(paint: Paint, uv: wp.vec2d) -> wp.vec3:
    """sRGB of a texture, as `Texture.sample`."""
    at = wp.vec3d(uv[0], uv[1], wp.float64(1.0))
    x = wp.dot(paint.across, at) * wp.float64(paint.width)
    y = wp.dot(paint.down, at) * wp.float64(paint.height)
    if paint.nearest:
        column = wrapped(wp.floor(x), paint.width, paint.wrap_across)
        return pixel_at(paint, column, wrapped(wp.floor(y), paint.height, paint.wrap_down)) / 255.0
    x -= wp.float64(0.5)
    y -= wp.float64(0.5)
    left = wp.floor(x)
    top = wp.floor(y)
    right_share = wp.float32(x - left)
    lower_share = wp.float32(y - top)
    one = wrapped(left, paint.width, paint.wrap_across)
    two = wrapped(left + wp.float64(1.0), paint.width, paint.wrap_across)
    row = wrapped(top, paint.height, paint.wrap_down)
    first = pixel_at(paint, one, row)
    upper = first + (pixel_at(paint, two, row) - first) * right_share
    row = wrapped(top + wp.float64(1.0), paint.height, paint.wrap_down)
    first = pixel_at(paint, one, row)
    lower = first + (pixel_at(paint, two, row) - first) * right_share
    return (upper + (lower - upper) * lower_share) / 255.0


@wp.kernel
def _look_up(
    surface: Surface,
    casting_faces: wp.array(dtype=wp.vec3i),
    face: wp.array(dtype=wp.int32),
    weights: wp.array(dtype=wp.vec3d),
    plain: wp.array(dtype=wp.vec3),
    color: wp.array(dtype=wp.vec3),
):
    """sRGB of points whose material has a texture and nothing else, or one of the `plain` colours."""
    item = wp.tid()
    index = face[item]
    material = surface.material[index]
    paint = surface.paints[material]
    color[item] = plain[material]
    if paint.pixels != wp.uint64(0):
        corner = casting_faces[index]
        weight = weights[item]
        uv = surface.uv[corner[0]] * weight[0] + surface.uv[corner[1]] * weight[1]
        color[item] = looked_up(paint, uv + surface.uv[corner[2]] * weight[2])


def hit_colors(mesh: Mesh, faces: wp.array, face: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
    """`Mesh.colors` by texture, to the bit, in one pass where no texture is tinted or transformed.

    Args:
      faces: those of the mesh, on the CPU.
    """
    tinted = mesh.has("vertex_colors") or mesh.has("face_colors")
    for material in mesh.materials:
        if material.texture is not None:
            moved = material.texture.transform is not None
            tinted = tinted or moved or bool(np.abs(material.factor - 1).max() > 1e-5)
    if tinted or not len(face):
        return mesh.colors(face, barycentric)
    plain = np.stack([np.clip(srgb.from_linear(material.factor), 0, 1) for material in mesh.materials])
    color = wp.empty(len(face), dtype=wp.vec3, device="cpu")
    given = [_shared(face, wp.int32), _shared(barycentric, wp.vec3d), _shared(plain.astype(np.float32), wp.vec3)]
    wp.launch(_look_up, dim=len(face), inputs=[surface_of(mesh), faces, *given, color], device="cpu")
    return color.numpy()


@wp.func
def linear_of(surface: Surface, value: wp.float32) -> wp.float32:
    """Linear light of an sRGB value in [0, 1]."""
    place = value * float(_STEPS)
    step = wp.min(int(place), _STEPS - 1)
    low = surface.linear[step]
    return low + (surface.linear[step + 1] - low) * (place - float(step))


@wp.func
def level_of(surface: Surface, linear: wp.float32) -> wp.uint8:
    """The nearest level, 0 to 255, of linear light."""
    level = surface.level[int(wp.clamp(linear, 0.0, 1.0) * float(_STEPS))]
    while linear >= surface.border[level + 1]:
        level += 1
    return wp.uint8(level)


@wp.func
def color_of(surface: Surface, corner: wp.vec3i, index: wp.int32, weights: wp.vec3d) -> wp.vec3:
    """Linear light of a point, as `Mesh.colors` by texture."""
    paint = surface.paints[surface.material[index]]
    factor = paint.factor
    if surface.face_colors.shape[0] > 0:
        factor = wp.cw_mul(factor, surface.face_colors[index])
    if surface.vertex_colors.shape[0] > 0:
        one = surface.vertex_colors[corner[0]] * wp.float32(weights[0])
        two = surface.vertex_colors[corner[1]] * wp.float32(weights[1])
        factor = wp.cw_mul(factor, one + two + surface.vertex_colors[corner[2]] * wp.float32(weights[2]))
    if paint.pixels != wp.uint64(0):
        uv = surface.uv[corner[0]] * weights[0] + surface.uv[corner[1]] * weights[1]
        color = looked_up(paint, uv + surface.uv[corner[2]] * weights[2])
        light = wp.vec3(linear_of(surface, color[0]), linear_of(surface, color[1]), linear_of(surface, color[2]))
        factor = wp.cw_mul(light, factor)
    return wp.vec3(wp.clamp(factor[0], 0.0, 1.0), wp.clamp(factor[1], 0.0, 1.0), wp.clamp(factor[2], 0.0, 1.0))


@wp.func
def flat_normal(surface: Surface, corner: wp.vec3i) -> wp.vec3d:
    """The normal of a face, as `Mesh.face_normals`."""
    first = surface.vertices[corner[0]]
    normal = wp.cross(surface.vertices[corner[1]] - first, surface.vertices[corner[2]] - first)
    return normal / wp.length(normal)


@wp.func
def normal_of(surface: Surface, corner: wp.vec3i, flat: wp.vec3d, weights: wp.vec3d) -> wp.vec3d:
    """The normal of a point in a face with the normal `flat`, as `Mesh.normals` by vertices."""
    if surface.smooth.shape[0] == 0:
        return flat
    smooth = surface.smooth[corner[0]] * weights[0] + surface.smooth[corner[1]] * weights[1]
    smooth = smooth + surface.smooth[corner[2]] * weights[2]
    length = wp.length(smooth)
    if length <= wp.float64(1e-6):
        return flat
    if wp.dot(smooth, flat) < wp.float64(0.0):
        length = -length
    return smooth / length


@wp.func
def sample_at(
    casting: Casting, near: Nearest, surface: Surface, sun: LightGrid, lit: int, ray: wp.int32, known: wp.int8
) -> Sample:
    """What a ray that meets a surface sees.

    Args:
      lit: 0 for the surface's colour alone; known: of the sun, where it is known from around.
    """
    seen = side_of_first(near, ray)
    index = face_of_first(near, ray, seen)
    corner = casting.faces[index]
    d = casting.directions[ray]
    weights = barycentric_weights(d, face_from(casting, index), seen)
    sample = Sample()
    sample.sun = UNKNOWN
    sample.light = color_of(surface, corner, index, weights)
    flat = flat_normal(surface, corner)
    normal = normal_of(surface, corner, flat, weights)
    if wp.dot(flat, d) > wp.float64(0.0):
        normal = -normal
        flat = -flat
    sample.normal = normal
    if lit == 0:
        return sample
    point = casting.origin + d * wp.min(near.depth[0, ray], near.depth[1, ray])
    to_sun = wp.normalize(sun.casting.origin - point)
    cosine = wp.dot(normal, to_sun)
    light = _AMBIENT + _SKY * (wp.float64(1.0) + normal[2]) / wp.float64(2.0)
    if cosine > wp.float64(0.0) and wp.dot(flat, to_sun) > wp.float64(0.0):
        sample.sun = known
        if known == UNKNOWN:
            sample.sun = wp.int8(1)
            if is_hidden(sun, point, _BIAS):
                sample.sun = wp.int8(0)
        if sample.sun == wp.int8(1):
            light += _SUN * cosine
    sample.light = sample.light * wp.float32(light)
    return sample
