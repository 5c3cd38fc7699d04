"""Curves as the server draws them: one small SVG for each metric, whose numbers a table gives too."""

from dataclasses import dataclass

WIDTH, HEIGHT = 320, 120
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 8, 20  # margins for the labels of the axes


@dataclass(frozen=True)
class Chart:
    """One curve with its labels; coordinates are SVG user units."""

    name: str
    path: str
    first: tuple[int, float]
    last: tuple[int, float]
    low: float
    high: float


def draw(curves: dict[str, list[tuple[int, float]]]) -> list[Chart]:
    """A chart for each metric that has a value."""
    return [_draw(name, points) for name, points in curves.items() if points]


def _draw(name: str, points: list[tuple[int, float]]) -> Chart:
    low, high = min(value for _step, value in points), max(value for _step, value in points)
    first, last = points[0][0], points[-1][0]
    across = (WIDTH - LEFT - RIGHT) / max(1, last - first)
    up = (HEIGHT - TOP - BOTTOM) / ((high - low) or 1)
    middle = 0 if high > low else (HEIGHT - TOP - BOTTOM) / 2  # a constant runs through the middle
    places = [
        f"{LEFT + (step - first) * across:.1f},{HEIGHT - BOTTOM - middle - (value - low) * up:.1f}"
        for step, value in points
    ]
    if len(places) == 1:  # one value is a short dash
        places.append(f"{LEFT + 6:.1f},{places[0].split(',')[1]}")
    return Chart(name, "M" + " L".join(places), points[0], points[-1], low, high)
