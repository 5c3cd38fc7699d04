"""Agreement of labelers whose mistakes are known."""

import random

import pytest

from app.onboarding.agreement import Count, order_count, pairs


@pytest.mark.parametrize(("flips", "agree"), [(0.164, 0.726), (0.131, 0.773), (0.0, 1.0)])
def test_two_labelers_who_each_flip_a_share_agree_as_often_as_derived(flips, agree):
    """(1 - p)^2 + p^2: the paper's 72.6 % of training and 77.3 % of held-out labelers."""
    rng = random.Random(0)

    def order() -> dict[int, int]:
        return {1: 2, 2: 1} if rng.random() < flips else {1: 1, 2: 2}

    counted = sum((order_count(pairs(order(), order())) for _ in range(20_000)), Count())
    assert counted.compared == 20_000
    assert counted.share == pytest.approx(agree, abs=0.01)
