"""Simulated labelers: same key same answer, agreement as asked for, flags wrong as often as stated."""

import math
import random
from collections import Counter
from itertools import combinations

import pytest
from scipy import stats

from app.simulation import agreement, chance
from app.simulation.labelers import FLAG_ERRORS, Labeler, crew, tiers
from training.contract.records import Flag, Pool
from training.miniature.__main__ import candidates
from training.miniature.rubric import judge
from training.miniature.world import tasks

ITEMS = {task.prompt: [text for text, _ in candidates(task.prompt, 5)] for task in tasks(5, 60)}


def test_chance_depends_on_its_key_alone():
    assert chance.uniform(1, "a") == chance.uniform(1, "a")
    assert chance.uniform(1, "a") != chance.uniform(1, "b")
    assert chance.uniform(1, "1a") != chance.uniform(11, "a")  # parts do not run together


def test_uniform_and_gumbel_follow_their_distributions():
    uniforms = [chance.uniform("uniform", index) for index in range(4000)]
    noises = [chance.gumbel("gumbel", index) for index in range(4000)]
    assert stats.kstest(uniforms, "uniform").pvalue > 0.01
    assert stats.kstest(noises, "gumbel_r").pvalue > 0.01
    assert all(map(math.isfinite, noises))


def test_tiers_count_from_the_best_and_tie_what_is_near():
    assert tiers({"A": 0.1, "B": 0.9, "C": 0.85, "D": -0.5}) == {"B": 1, "C": 1, "A": 2, "D": 3}


def test_agreement_counts_pairs_that_neither_ties():
    rankings = [{"a": 1, "b": 2, "c": 3}, {"a": 2, "b": 1, "c": 3}, {"a": 1, "b": 1, "c": 1}]
    # Of three pairs the first two labelers order (a, c) and (b, c) alike; the third ties all of its own.
    assert sorted(agreement.alike(rankings)) == [False, True, True]
    found = agreement.agreement([rankings, rankings])
    assert (found.value, found.count, found.clusters) == (pytest.approx(2 / 3), 6, 2)
    assert agreement.agreement([]) is None
    assert agreement.agreement([[{"a": 1, "b": 1}, {"a": 1, "b": 2}]]) is None


def test_agreement_on_few_items_is_as_uncertain_as_items_are_few():
    """Eight labelers and five completions make 280 pairs of each item, and still it is one item."""
    crew_ = crew(3, 8, 0.4)

    def found(count):
        return agreement.agreement(
            [tiers({text: one.felt(prompt, text) for text in texts}) for one in crew_]
            for prompt, texts in list(ITEMS.items())[:count]
        )

    one, six, sixty = found(1), found(6), found(60)
    assert one.low < 0.1 and one.high > 0.9 and one.count > 100
    assert six.count > 1000 and six.high - six.low > 0.1  # of as many independent pairs it would be 0.05
    assert sixty.high - sixty.low < 0.1
    # By drawing whole items again, without the code under test.
    rng = random.Random(0)
    by_item = [
        agreement.alike([tiers({text: one.felt(prompt, text) for text in texts}) for one in crew_])
        for prompt, texts in ITEMS.items()
    ]
    shares = sorted(
        sum(map(sum, drawn)) / sum(map(len, drawn)) for drawn in (rng.choices(by_item, k=60) for _ in range(2000))
    )
    assert (sixty.low, sixty.high) == (pytest.approx(shares[50], abs=0.02), pytest.approx(shares[1949], abs=0.02))


def test_calibration_reaches_the_paper_and_holds_for_other_prompts():
    noise = agreement.calibrate(crew(1, 8), ITEMS)
    noisy = crew(1, 8, noise)

    def share(items):
        rankings = [
            [tiers({text: one.felt(prompt, text) for text in texts}) for one in noisy] for prompt, texts in items
        ]
        # Counted here by hand, pair by pair, and not by the code under test.
        same = [
            (x[a] < x[b]) == (y[a] < y[b])
            for several in rankings
            for x, y in combinations(several, 2)
            for a, b in combinations(x, 2)
            if x[a] != x[b] and y[a] != y[b]
        ]
        return sum(same) / len(same)

    assert share(ITEMS.items()) == pytest.approx(0.726, abs=0.003)
    others = {task.prompt: [text for text, _ in candidates(task.prompt, 6)] for task in tasks(6, 200)}
    assert share(others.items()) == pytest.approx(0.726, abs=0.03)


def test_calibration_says_when_there_is_nothing_to_tell_apart():
    with pytest.raises(ValueError, match="items"):
        agreement.calibrate(crew(1, 3), {})


def test_same_seed_same_answers_whatever_the_letters():
    (prompt, texts), asked = next(iter(ITEMS.items())), [Flag.FAILS_TASK, Flag.OPINION]
    labeler = Labeler(1, 3, Pool.TRAIN, 0.3)
    forward = labeler.compare(prompt, dict(zip("ABCDEF", texts, strict=False)), asked)
    backward = labeler.compare(prompt, dict(zip("ABCDEF", texts[::-1], strict=False)), asked)
    assert [forward[letter] for letter in "ABCDEF"[: len(texts)]] == [
        backward[letter] for letter in reversed("ABCDEF"[: len(texts)])
    ]
    assert labeler.demonstrate(prompt) == labeler.demonstrate(prompt)
    assert judge(prompt, labeler.demonstrate(prompt)).solved


def test_flags_are_wrong_as_often_as_stated():
    wrong, asked = Counter(), Counter()
    for labeler in crew(2, 8):
        for prompt, texts in ITEMS.items():
            for text in texts:
                right = judge(prompt, text).flags
                for flag, answer in labeler.flags(prompt, text, list(Flag)).items():
                    asked[flag] += 1
                    wrong[flag] += answer != right[flag]
    for flag, error in FLAG_ERRORS.items():
        assert stats.binomtest(wrong[flag], asked[flag], error).pvalue > 1e-4, flag


def test_what_the_rubric_cannot_decide_is_not_stored_as_a_no():
    prompt = next(task.prompt for task in tasks(5, 60) if task.family == "list")  # no passage, so no hallucination
    labeler = Labeler(1, 1, Pool.TRAIN)
    answer = labeler.compare(prompt, {"A": "one.", "B": "two."}, [Flag.HALLUCINATION, Flag.FAILS_TASK])["A"]
    assert Flag.HALLUCINATION not in answer["flags"]
    assert not answer["flags_complete"]
    assert labeler.compare(prompt, {"A": "one."}, [Flag.FAILS_TASK])["A"]["flags_complete"]


def test_a_crew_has_both_pools():
    assert Counter(one.pool for one in crew(1, 8)) == {Pool.TRAIN: 6, Pool.HELD_OUT: 2}
    assert Counter(one.pool for one in crew(1, 2)) == {Pool.TRAIN: 1, Pool.HELD_OUT: 1}
    assert [one.pool for one in crew(1, 1)] == [Pool.TRAIN]
