"""Families of example objects made of boards: furniture, a house, a car."""

from __future__ import annotations

import numpy as np
from primitives import Part, box, paint, swept, turned

Rng = np.random.Generator


def hollow(size, center, wall: float, texture: np.ndarray, open_side: str | None = "front") -> list[Part]:
    """Six boards that leave a space inside, or five where the side at -y is left open."""
    (x, y, z), center = size, np.asarray(center, float)
    boards = [((x, y, wall), (0, 0, side * (z - wall) / 2)) for side in (-1, 1)]
    boards += [((wall, y, z - 2 * wall), (side * (x - wall) / 2, 0, 0)) for side in (-1, 1)]
    boards += [((x - 2 * wall, wall, z - 2 * wall), (0, (y - wall) / 2, 0))]
    if open_side is None:
        boards += [((x - 2 * wall, wall, z - 2 * wall), (0, -(y - wall) / 2, 0))]
    return [box(board, center + offset, texture) for board, offset in boards]


def table(rng: Rng) -> list[Part]:
    """A top on four legs or a foot, some with a drawer that holds a box."""
    top, leg = paint(rng, "wood"), paint(rng)
    width, depth, height, thick = (
        rng.uniform(0.8, 1.4),
        rng.uniform(0.5, 1),
        rng.uniform(0.4, 0.9),
        rng.uniform(0.04, 0.1),
    )
    parts = [box((width, depth, thick), (0, 0, height), top)]
    if rng.uniform() < 0.3:
        parts += [swept([(0, 0, 0), (0, 0, height)], rng.uniform(0.04, 0.1), leg)]
        parts += [turned([(0, 0), (0.35, 0), (0.3, 0.05), (0, 0.05)], leg)]
        return parts
    thin = rng.uniform(0.04, 0.1)
    for x in (-1, 1):
        for y in (-1, 1):
            at = (x * (width - thin) / 2, y * (depth - thin) / 2, height / 2)
            parts.append(box((thin, thin, height), at, leg))
    if rng.uniform() < 0.5:
        parts += hollow((width * 0.5, depth * 0.7, 0.18), (0, 0, height - 0.16), 0.02, paint(rng), open_side=None)
        parts.append(box((width * 0.2, depth * 0.3, 0.08), (0, 0, height - 0.17), paint(rng)))
    return parts


def chair(rng: Rng) -> list[Part]:
    """Seat, back of boards or bars, four legs."""
    frame, seat = paint(rng, rng.choice(["wood", "plain"])), paint(rng)
    width, height, back, thin = (
        rng.uniform(0.45, 0.65),
        rng.uniform(0.4, 0.55),
        rng.uniform(0.4, 0.75),
        rng.uniform(0.035, 0.07),
    )
    parts = [box((width, width, rng.uniform(0.05, 0.12)), (0, 0, height), seat)]
    for x in (-1, 1):
        for y in (-1, 1):
            parts.append(box((thin, thin, height), (x * (width - thin) / 2, y * (width - thin) / 2, height / 2), frame))
        parts.append(box((thin, thin, back), (x * (width - thin) / 2, (width - thin) / 2, height + back / 2), frame))
    bars = int(rng.integers(1, 5))
    for bar in range(bars):
        z = height + back * (bar + 1) / (bars + 0.5)
        parts.append(box((width - thin, thin * 0.6, 0.7 * back / (bars + 0.5)), (0, (width - thin) / 2, z), seat))
    return parts


def shelf(rng: Rng) -> list[Part]:
    """An open case of boards with books on them."""
    width, depth, height, wall = (
        rng.uniform(0.6, 1.1),
        rng.uniform(0.25, 0.45),
        rng.uniform(0.7, 1.3),
        rng.uniform(0.025, 0.05),
    )
    wood, rows = paint(rng, "wood"), int(rng.integers(2, 5))
    parts = hollow((width, depth, height), (0, 0, height / 2), wall, wood)
    space = (height - wall) / rows
    for row in range(rows):
        floor = row * space + wall / 2
        if row:
            parts.append(box((width - 2 * wall, depth - wall, wall), (0, -wall / 2, floor), wood))
        x = -width / 2 + wall
        while x < rng.uniform(-0.2, 0.9) * width / 2:
            thick, tall = rng.uniform(0.05, 0.12), rng.uniform(0.5, 0.85) * (space - wall)
            if x + thick > width / 2 - wall:
                break
            parts.append(
                box((thick * 0.95, depth * 0.7, tall), (x + thick / 2, 0, floor + wall / 2 + tall / 2), paint(rng))
            )
            x += thick
    return parts


def bed(rng: Rng) -> list[Part]:
    """A frame with feet, a mattress, pillows, and a box below it."""
    length, width, low, thick = (
        rng.uniform(1.1, 1.5),
        rng.uniform(0.6, 1.1),
        rng.uniform(0.18, 0.32),
        rng.uniform(0.1, 0.2),
    )
    wood, cloth = paint(rng, "wood"), paint(rng)
    parts = [
        box((length, width, 0.06), (0, 0, low), wood),
        box((length * 0.96, width * 0.94, thick), (0, 0, low + thick / 2 + 0.03), cloth),
    ]
    parts.append(box((0.06, width, rng.uniform(0.45, 0.8)), (-length / 2, 0, low + 0.15), wood))
    for x in (-0.46, 0.46):
        for y in (-0.45, 0.45):
            parts.append(box((0.07, 0.07, low), (x * length, y * width, low / 2), wood))
    pillows = int(rng.integers(1, 3))
    for pillow in range(pillows):
        y = (pillow - (pillows - 1) / 2) * width / pillows
        parts.append(box((0.22, width / pillows * 0.75, 0.09), (-length * 0.36, y, low + thick + 0.07), paint(rng)))
    return [*parts, box((length * 0.3, width * 0.5, low * 0.6), (length * 0.1, 0, low * 0.3), paint(rng))]


def house(rng: Rng) -> list[Part]:
    """Four walls with a doorway, a gable roof, and furniture inside."""
    width, depth, height, wall = (
        rng.uniform(0.8, 1.2),
        rng.uniform(0.7, 1.1),
        rng.uniform(0.45, 0.8),
        rng.uniform(0.03, 0.06),
    )
    brick, roof = paint(rng, rng.choice(["checks", "stripes", "plain"])), paint(rng)
    door = rng.uniform(0.2, 0.35)
    parts = [box((width, depth, 0.03), (0, 0, 0.015), paint(rng, "wood"))]
    parts += [box((wall, depth, height), (side * (width - wall) / 2, 0, height / 2), brick) for side in (-1, 1)]
    parts += [box((width - 2 * wall, wall, height), (0, (depth - wall) / 2, height / 2), brick)]
    for side in (-1, 1):
        board = (width - 2 * wall - door) / 2
        parts.append(box((board, wall, height), (side * (door + board) / 2, -(depth - wall) / 2, height / 2), brick))
    pitch = rng.uniform(28, 45)
    slope = depth / 2 / np.cos(np.radians(pitch)) + 0.05
    for side in (-1, 1):
        plank = box((width * 1.08, slope, 0.04), (0, 0, 0), roof).moved(tilt_deg=-side * pitch)
        parts.append(plank.moved((0, side * depth / 4, height + depth / 4 * np.tan(np.radians(pitch)))))
    parts.append(box((width * 0.3, depth * 0.25, height * 0.4), (-width * 0.2, depth * 0.15, height * 0.2), paint(rng)))
    return parts


def car(rng: Rng) -> list[Part]:
    """Body, cabin with open windows and two seats in it, four wheels."""
    length, width, height, wheel = (
        rng.uniform(1.2, 1.8),
        rng.uniform(0.6, 0.8),
        rng.uniform(0.25, 0.35),
        rng.uniform(0.14, 0.22),
    )
    body, roof, tyre, seat = paint(rng), paint(rng), paint(rng, "plain"), paint(rng)
    cabin, middle, rise = length * rng.uniform(0.4, 0.65), rng.uniform(-0.15, 0.1) * length, rng.uniform(0.22, 0.38)
    parts = [box((length, width, height), (0, 0, wheel + height / 2), body)]
    top = wheel + height
    parts.append(box((cabin, width * 0.92, 0.04), (middle, 0, top + rise), roof))
    for x in (-1, 1):
        for y in (-1, 1):
            at = (middle + x * (cabin / 2 - 0.03), y * (width * 0.46 - 0.03), top + rise / 2)
            parts.append(box((0.06, 0.06, rise), at, body))
            rim = [(0, -0.05), (wheel, -0.05), (wheel, 0.05), (0, 0.05)]
            parts.append(turned(rim, tyre, 24).moved(tilt_deg=90).moved((x * length * 0.32, y * width * 0.5, wheel)))
        parts.append(box((0.15, 0.2, rise * 0.7), (middle, x * width * 0.22, top + rise * 0.35), seat))
    return parts
