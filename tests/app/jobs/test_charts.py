"""What a curve looks like: it rises where its values do, and only there."""

import re

import pytest

from app.jobs.charts import HEIGHT, draw


def heights(values: list[float]) -> list[float]:
    (chart,) = draw({"loss": list(enumerate(values))})
    return [HEIGHT - float(y) for y in re.findall(r",([\d.]+)", chart.path)]


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e-5, 1e9, 0.1])
@pytest.mark.parametrize("noise", [0.0, 1e-16, 1e-9, 4e-4])
def test_what_its_labels_cannot_tell_apart_is_flat(value, noise):
    drawn = heights([value * (1 + noise * (-1) ** step) for step in range(9)])
    assert max(drawn) - min(drawn) < 0.2
    assert 30 < drawn[0] < 90, "in the middle"


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_values_that_differ_are_drawn_in_proportion(scale):
    low, middle, high = heights([0.0, scale, 4 * scale])
    assert (middle - low) / (high - low) == pytest.approx(0.25, abs=0.01)
    falling = heights([1.01 * scale, 1.0 * scale])
    assert falling[0] - falling[1] > 50


def test_one_value_is_a_dash():
    (chart,) = draw({"loss": [(3, 0.5)], "none": []})
    assert chart.path.count(",") == 2 and chart.low == chart.high == 0.5
