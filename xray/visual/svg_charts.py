"""Small charts as SVG text, for a report that needs no files beside it."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np

COLORS = ("#3465a4", "#c4a000", "#75507b", "#4e9a06")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 360, 190, 46, 34, 26


def histogram(series: dict[str, Sequence[float]], title: str, bins: int = 20) -> str:
    """How often values occur, one colour a series, over a common range. Values: any numbers that are finite."""
    values = {name: np.asarray([v for v in numbers if math.isfinite(v)]) for name, numbers in series.items()}
    every = np.concatenate([*values.values(), np.zeros(0)])
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    if high <= low:
        high = low + max(abs(low) * 0.1, 1e-3)
    edges = np.linspace(low, high, bins + 1)
    counts = {name: np.histogram(numbers, edges)[0] for name, numbers in values.items()}
    top = max([int(count.max()) for count in counts.values()] + [1])
    step = (WIDTH - LEFT - 10) / bins
    bars = []
    for number, count in enumerate(counts.values()):
        for index, amount in enumerate(count):
            if amount:
                height = amount / top * (HEIGHT - TOP - BOTTOM)
                bars.append(
                    f'<rect x="{LEFT + index * step + 1:.1f}" y="{HEIGHT - BOTTOM - height:.1f}" '
                    f'width="{step - 2:.1f}" height="{height:.1f}" fill="{COLORS[number % 4]}" fill-opacity="0.6"/>'
                )
    axis = [_text(LEFT, HEIGHT - BOTTOM + 14, f"{low:.3g}"), _text(WIDTH - 10, HEIGHT - BOTTOM + 14, f"{high:.3g}", 1)]
    axis += [_text(LEFT - 5, TOP + 8, str(top), 1), _text(LEFT - 5, HEIGHT - BOTTOM, "0", 1)]
    return _frame(title, [*bars, *axis], list(series))


def lines(series: dict[str, Sequence[float | None]], title: str) -> str:
    """Values over the layers 1, 2, ..., one line a series, from 0; None leaves a gap."""
    known = [v for numbers in series.values() for v in numbers if v is not None]
    top = max([*known, 1e-9])
    count = max([len(numbers) for numbers in series.values()] + [2])
    step = (WIDTH - LEFT - 20) / (count - 1)
    marks = []
    for number, values in enumerate(series.values()):
        color, before = COLORS[number % 4], None
        for index, value in enumerate(values):
            if value is None:
                before = None
                continue
            place = (LEFT + 5 + index * step, HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM))
            marks.append(f'<circle cx="{place[0]:.1f}" cy="{place[1]:.1f}" r="2.5" fill="{color}"/>')
            if before:
                marks.append(
                    f'<line x1="{before[0]:.1f}" y1="{before[1]:.1f}" x2="{place[0]:.1f}" y2="{place[1]:.1f}" '
                    f'stroke="{color}" stroke-width="1.5"/>'
                )
            before = place
    axis = [_text(LEFT + 5 + index * step, HEIGHT - BOTTOM + 14, str(index + 1)) for index in range(count)]
    axis += [_text(LEFT - 5, TOP + 8, f"{top:.3g}", 1), _text(LEFT - 5, HEIGHT - BOTTOM, "0", 1)]
    return _frame(title, [*marks, *axis], list(series))


def _text(x: float, y: float, text: str, end: int = 0) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="10" fill="#555"{anchor}>{html.escape(text)}</text>'


def _frame(title: str, marks: list[str], names: list[str]) -> str:
    base = HEIGHT - BOTTOM
    legend = [
        f'<rect x="{LEFT + index * 100}" y="{HEIGHT - 12}" width="9" height="9" fill="{COLORS[index % 4]}"/>'
        + _text(LEFT + 13 + index * 100, HEIGHT - 4, name)
        for index, name in enumerate(names)
    ]
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">'
        f'<text x="{LEFT}" y="14" font-size="12">{html.escape(title)}</text>'
        f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - 10}" y2="{base}" stroke="#999"/>'
        f'<line x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{base}" stroke="#999"/>' + "".join(marks + legend) + "</svg>"
    )
