"""Families of example objects that are turned or swept: vessels, a lamp, rings."""

from __future__ import annotations

import numpy as np
from primitives import Part, arc, paint, swept, turned

Rng = np.random.Generator


def mug(rng: Rng) -> list[Part]:
    """A cup with walls, a handle and something to drink."""
    radius, height, wall = rng.uniform(0.25, 0.45), rng.uniform(0.5, 0.9), rng.uniform(0.03, 0.07)
    flare = rng.uniform(0.8, 1.15)
    outside = [(0, 0), (radius * flare, 0), (radius, height)]
    inside = [(radius - wall, height), (radius * flare - wall, wall), (0, wall)]
    level = rng.uniform(0.3, 0.85) * height
    drink = [(0, level), (radius * min(1, flare) - wall, level)]
    handle = arc(height * rng.uniform(0.25, 0.34), -80, 80) * (rng.uniform(0.7, 1.2), 1, 1)
    grip = swept(handle + (radius * min(1, flare) - wall * 0.3, 0, height * 0.5), rng.uniform(0.03, 0.06), paint(rng))
    glaze = paint(rng)
    return [
        turned(outside + inside, glaze),
        turned(drink[::-1], paint(rng, "plain")),
        grip.moved(turn_deg=rng.uniform(0, 360)),
    ]


def lamp(rng: Rng) -> list[Part]:
    """Foot, post, an open shade of no thickness, and the bulb within it."""
    post, top, low, high = rng.uniform(0.6, 1.1), rng.uniform(0.12, 0.3), rng.uniform(0.25, 0.45), rng.uniform(0.3, 0.5)
    metal = paint(rng, "plain")
    parts = [
        turned([(0, 0), (rng.uniform(0.2, 0.35), 0), (0.15, 0.06), (0, 0.08)], metal),
        swept([(0, 0, 0.05), (0, 0, post)], rng.uniform(0.015, 0.04), metal),
        turned([(low, post - 0.1), (top, post - 0.1 + high)], paint(rng)),
    ]
    bulb = 0.09 * np.stack([np.sin(np.linspace(0, np.pi, 12)), -np.cos(np.linspace(0, np.pi, 12))], 1)
    bulb[[0, -1], 0] = 0
    return [*parts, turned(bulb + (0, post + 0.08), paint(rng, "plain"))]


def bowl(rng: Rng) -> list[Part]:
    """A bowl with a wall, and balls that lie in it."""
    radius, wall = rng.uniform(0.5, 0.7), rng.uniform(0.03, 0.08)
    angle = np.linspace(0, np.radians(rng.uniform(60, 95)), 16)
    outside = radius * np.stack([np.sin(angle), -np.cos(angle)], 1)
    parts = [turned(np.concatenate([outside, outside[::-1] * (1 - wall / radius)]), paint(rng))]
    for number in range(int(rng.integers(0, 5))):
        size = radius * rng.uniform(0.18, 0.3)
        half = np.linspace(0, np.pi, 14)
        ball = size * np.stack([np.sin(half), -np.cos(half)], 1)
        ball[[0, -1], 0] = 0
        place = (radius * 0.45, 0, -radius * 0.62 + size)
        parts.append(turned(ball, paint(rng)).moved(place).moved(turn_deg=90 * number + rng.uniform(0, 40)))
    return parts


def bottle(rng: Rng) -> list[Part]:
    """A bottle with a wall, a label round it, a cap or an open neck."""
    radius, height, neck = rng.uniform(0.18, 0.3), rng.uniform(0.55, 0.9), rng.uniform(0.06, 0.1)
    shoulder, wall = height + rng.uniform(0.08, 0.3), 0.025
    outside = [(0, 0), (radius, 0), (radius, height), (neck, shoulder), (neck, shoulder + 0.15)]
    inside = [
        (neck - wall, shoulder + 0.15),
        (neck - wall, shoulder),
        (radius - wall, height),
        (radius - wall, wall),
        (0, wall),
    ]
    low, high = rng.uniform(0.1, 0.3) * height, rng.uniform(0.6, 0.9) * height
    parts = [
        turned(outside + inside, paint(rng, "plain")),
        turned([(radius + 0.006, low), (radius + 0.006, high)], paint(rng)),
    ]
    if rng.uniform() < 0.5:
        cap = [(0, 0.1), (neck + 0.02, 0.1), (neck + 0.02, 0.18), (0, 0.18)]
        parts.append(turned(np.array(cap) + (0, shoulder), paint(rng)))
    return parts


def ring(rng: Rng) -> list[Part]:
    """A standing ring with a stone in a setting, sometimes two rings linked."""
    radius, thick = rng.uniform(0.35, 0.5), rng.uniform(0.04, 0.1)
    circle = arc(radius, 0, 360, 64)
    parts = [swept(circle, thick, paint(rng))]
    if rng.uniform() < 0.4:
        return [*parts, swept(circle, thick * 0.9, paint(rng)).moved((0, 0, 0), 90).moved((radius, 0, 0))]
    size, facets = rng.uniform(0.1, 0.2), int(rng.integers(5, 9))
    stone = [(0, 0), (size, size), (size * 0.7, size * 1.4), (0, size * 1.4)]
    return [*parts, turned(stone, paint(rng), facets).moved((0, 0, radius + thick * 0.5))]


def vase(rng: Rng) -> list[Part]:
    """A curved open vessel, thin as paper or with a wall, with stems in it."""
    height, z = rng.uniform(0.7, 1.1), np.linspace(0, 1, 24)
    curve = 0.28 + 0.12 * np.sin(2 * np.pi * (z * rng.uniform(0.5, 1.1) + rng.uniform())) + rng.uniform(-0.08, 0.08) * z
    outside = [(0, 0), *np.stack([curve, z * height], 1)]
    if rng.uniform() < 0.5:
        inside = np.stack([curve - 0.04, z * height + 0.0], 1)[::-1]
        inside[-1, 1] = 0.04
        outside = [*outside, *inside, (0, 0.04)]
    parts = [turned(outside, paint(rng))]
    stem = paint(rng, "plain")
    for number in range(int(rng.integers(0, 4))):
        lean = rng.uniform(0.05, 0.2)
        line = [(0.02, 0, 0.06), (lean * 0.4, 0, height * 0.7), (lean, 0, height * 1.25)]
        parts.append(swept(line, 0.02, stem, 8).moved(turn_deg=120 * number + rng.uniform(0, 60)))
    return parts
