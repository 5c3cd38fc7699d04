"""Curves drawn on the server: one small SVG per metric, with the numbers also given in a table."""

from dataclasses import dataclass

WIDTH, HEIGHT = 320, 120
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 8, 20  # margins for the axis labels


TOLD_APART = 1e-3  # relative: the smallest change that a three-digit label shows; a curve within it is drawn flat


@dataclass(frozen=True)
class Chart:
    """One curve with its labels; coordinates are SVG user units. `low` is `high` where the curve is flat."""

    name: str
    path: str
    first: tuple[int, float]
    last: tuple[int, float]
    low: float
    high: float


def draw(curves: dict[str, list[tuple[int, float]]]) -> list[Chart]:
    """Return a chart for each metric that has a value."""
    return [_draw(name, points) for name, points in curves.items() if points]


def _draw(name: str, points: list[tuple[int, float]]) -> Chart:
    low, high = min(value for _step, value in points), max(value for _step, value in points)
    first, last = points[0][0], points[-1][0]
    across = (WIDTH - LEFT - RIGHT) / max(1, last - first)
    if high - low <= TOLD_APART * max(abs(low), abs(high)):
        low = high = points[-1][1]
    up = (HEIGHT - TOP - BOTTOM) / (high - low) if high > low else 0
    floor = HEIGHT - BOTTOM if high > low else (TOP + HEIGHT - BOTTOM) / 2  # a flat curve runs through the middle
    places = [f"{LEFT + (step - first) * across:.1f},{floor - (value - low) * up:.1f}" for step, value in points]
    if len(places) == 1:  # a single value becomes a short dash
        places.append(f"{LEFT + 6:.1f},{places[0].split(',')[1]}")
    return Chart(name, "M" + " L".join(places), points[0], points[-1], low, high)
