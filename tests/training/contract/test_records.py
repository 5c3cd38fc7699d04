"""Pairs of a ranking: how many there are, and which tie or open place removes some of them."""

from collections import Counter
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.contract.records import ComparisonRecord, Message, RankedCompletion


def ranking(*tiers: int | None) -> ComparisonRecord:
    completions = tuple(RankedCompletion(text=str(i), policy="x", tier=tier) for i, tier in enumerate(tiers))
    asked = (Message(role="user", text="a"),)
    return ComparisonRecord(
        prompt_key="p", prompt=asked, split="train", completions=completions, labeler="a", pool="train"
    )


@pytest.mark.parametrize(("k", "pairs"), [(4, 6), (5, 10), (6, 15), (7, 21), (8, 28), (9, 36)])
def test_k_completions_give_k_choose_two_pairs(k, pairs):
    assert len(ranking(*range(1, k + 1)).pairs()) == pairs


def test_the_papers_figure_gives_five_pairs():
    """D > C > A = B, in the order A, B, C, D [InstructGPT, Fig. 2]."""
    assert set(ranking(3, 3, 2, 1).pairs()) == {(3, 2), (3, 0), (3, 1), (2, 0), (2, 1)}


@given(st.lists(st.none() | st.integers(1, 5), min_size=2, max_size=9))
def test_ties_and_open_places_give_no_pair(tiers):
    pairs = ranking(*tiers).pairs()
    ranked = [tier for tier in tiers if tier is not None]
    assert len(pairs) == comb(len(ranked), 2) - sum(comb(size, 2) for size in Counter(ranked).values())
    assert all(tiers[chosen] < tiers[rejected] for chosen, rejected in pairs)
