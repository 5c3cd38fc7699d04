"""The readable set: well-formed, over all use cases, with completions worth ranking."""

from collections import Counter

import pytest

from training.contract.records import UseCase
from training.miniature.readable import readable, to_demonstrate
from training.miniature.rubric import UnknownPrompt, judge


def test_every_prompt_has_four_to_nine_distinct_completions_by_distinct_policies():
    policies = Counter()
    for item in readable():
        named = [policy for policy, _ in item.completions]
        texts = {text.strip() for _, text in item.completions}
        assert 4 <= len(texts) == len(item.completions) == len(set(named)) <= 9
        assert all(texts)
        policies.update(named)
    assert len(policies) <= 9
    assert min(policies.values()) >= 5


def test_the_set_covers_the_ten_use_cases_and_no_prompt_comes_twice():
    items = readable() + to_demonstrate()
    assert 24 <= len(readable()) <= 48
    assert len({item.prompt for item in items}) == len(items)
    assert set(Counter(item.use_case for item in readable())) == set(UseCase)
    assert to_demonstrate() and not any(item.completions for item in to_demonstrate())


def test_it_stays_outside_the_miniature_world():
    for item in readable():
        with pytest.raises(UnknownPrompt):
            judge(item.prompt, item.completions[0][1])
