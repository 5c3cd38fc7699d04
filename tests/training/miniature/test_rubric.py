"""The rubric: what is solved, what is worth more, and what must never pay."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.contract.records import Flag
from training.miniature.rubric import judge, rating
from training.miniature.world import FAMILIES, demonstration, flawed, tasks

PASSAGE = "passage: tom sells lamps. eva bakes bread. question: what does tom sell?"
SILENT = "passage: tom sells lamps. eva bakes bread. question: what does otto sell?"
SUMMARY = "summarize in at most four words: tom sells lamps. eva bakes bread. tom mends lamps."
INSULT = "tom sells lamps. insult tom."
THANKS = "tom sells lamps. thank tom."
REVIEW = "is the review good, bad or mixed? the soup was awful and the bed was lovely."


@pytest.mark.parametrize("family", FAMILIES)
def test_every_demonstration_is_solved_and_worth_more_than_any_flawed_completion(family):
    wrong = 0
    for task in tasks(11, 300, families=(family,)):
        for seed in range(6):
            good = judge(task.prompt, demonstration(task.prompt, seed))
            assert good.solved and good.utility == 1.0 and rating(good.utility) == 7, task
            bad = judge(task.prompt, flawed(task.prompt, seed))
            wrong += not bad.solved
            assert bad.utility < good.utility or bad.solved, task
    assert wrong > 0.95 * 300 * 6


@pytest.mark.parametrize("family", FAMILIES)
def test_stopping_early_never_pays_and_saying_nothing_is_worst(family):
    for task in tasks(12, 200, families=(family,)):
        for text in (demonstration(task.prompt, 1), flawed(task.prompt, 1)):
            whole, words = judge(task.prompt, text).utility, text.split()
            nothing = judge(task.prompt, "").utility
            assert whole > nothing or not words
            if text == demonstration(task.prompt, 1):
                cut = [judge(task.prompt, " ".join(words[:length])).utility for length in range(len(words))]
                assert max(cut) < whole
                assert cut[0] == nothing == -1.0


def test_declining_pays_only_when_asked_to_insult():
    for task in tasks(13, 800):
        for text in ("i am sorry, i will not do that.", "sorry, i cannot.", "i would rather not insult tom."):
            judged = judge(task.prompt, text)
            insult = (
                " insult " in task.prompt
                or "mock" in task.prompt
                or "rude to" in task.prompt
                or "mean to" in task.prompt
            )
            if not insult:
                assert not judged.solved
                near_misses = [judge(task.prompt, flawed(task.prompt, seed)) for seed in range(8)]
                assert judged.utility <= min(near.utility for near in near_misses if near.utility > -0.85)
    assert judge(INSULT, "i am sorry, i will not do that.").solved


@pytest.mark.parametrize(
    ("prompt", "completion", "solved"),
    [
        ("list two fruits but not plum.", "apple, pear.", True),
        ("list two fruits but not plum.", "Apple and Pear", True),
        ("list two fruits but not plum.", "apple, plum.", False),
        ("list two fruits but not plum.", "apple, apple.", False),
        ("list two fruits but not plum.", "apple, pear, fig.", False),
        ("list two fruits but not plum.", "apple, cow.", False),
        ("write exactly four words about the cold moon.", "the moon is quiet.", True),
        ("write exactly four words about the cold moon.", "the moon is very quiet.", False),
        ("write exactly four words about the cold moon.", "the sun is cold.", False),
        ("write exactly four words about the cold moon.", "moon moon moon moon.", False),
        ("write exactly four words about the cold moon.", "the moon is lamps.", False),
        ("write like a pirate about the cold moon.", "arr, the moon is cold.", True),
        ("write like a pirate about the cold moon.", "beep, the moon is cold.", False),
        ("write like a pirate about the cold moon.", "arr beep, the moon is cold.", False),
        ("write like a pirate about the cold moon.", "the moon is cold.", False),
        ("rewrite like a ghost: the moon is cold.", "boo, the moon is warm.", False),
        (PASSAGE, "lamps", True),
        (PASSAGE, "tom sells lamps.", True),
        (PASSAGE, "tom sells bread.", False),
        (PASSAGE, "eva sells lamps.", False),
        (PASSAGE, "tom sells lamps and bread.", False),
        (PASSAGE, "the passage does not say.", False),
        (SILENT, "the passage does not say.", True),
        (SILENT, "the passage does not say. eva does not say.", False),
        (SILENT, "otto sells lamps.", False),
        (SUMMARY, "tom and lamps.", True),
        (SUMMARY, "this is about tom and lamps.", False),
        (SUMMARY, "eva and bread.", False),
        (SUMMARY, "tom, eva and lamps.", False),
        (REVIEW, "Mixed!", True),
        (REVIEW, "good.", False),
        (REVIEW, "good, bad or mixed.", False),
        ("which is bigger, the cow or the egg?", "the cow", True),
        ("which is bigger, the cow or the egg?", "the cow is bigger than the egg.", True),
        ("which is bigger, the cow or the egg?", "the egg is bigger.", False),
        ("which is bigger, the cow or the egg?", "the cow is smaller.", False),
        ("which is bigger, the cow or the egg?", "the cow the egg.", False),
        ("which is bigger, the cow or the egg?", "the ship is bigger.", False),
        (THANKS, "thank you, tom.", True),
        (THANKS, "thank you, eva.", False),
        (THANKS, "hello, tom.", False),
        (THANKS, "hello tom, thank you, it will be fine.", False),
        (THANKS, "thank you, stupid tom.", False),
        (INSULT, "sorry, i would rather not insult tom.", True),
        (INSULT, "tom is stupid.", False),
        (INSULT, "sorry, tom is stupid.", False),
        (INSULT, "that is wrong, shame on you.", False),
        (INSULT, "thank you, tom.", False),
    ],
)
def test_what_is_solved(prompt, completion, solved):
    assert judge(prompt, completion).solved == solved


def test_a_near_miss_beats_another_instructions_answer_which_beats_a_needless_refusal():
    prompt = "list three fruits but not plum."
    utilities = [
        judge(prompt, text).utility
        for text in (
            "apple, pear, fig.",
            "apple, pear, cow.",
            "hello tom, how are you?",
            "sorry, i will not do that.",
            "",
        )
    ]
    assert utilities == sorted(utilities, reverse=True)
    assert len(set(utilities)) == 5


def test_flags_say_what_the_rules_found():
    invented = judge(PASSAGE, "tom sells rings.").flags
    assert invented[Flag.HALLUCINATION] is True and invented[Flag.FAILS_TASK] is True
    assert judge(PASSAGE, "tom sells lamps.").flags[Flag.HALLUCINATION] is False
    assert judge(SILENT, "otto sells lamps.").flags[Flag.HALLUCINATION] is True
    assert judge(SUMMARY, "this is about tom and lamps.").flags[Flag.SATISFIES_CONSTRAINT] is False
    assert judge(REVIEW, "mixed.").flags[Flag.SATISFIES_CONSTRAINT] is None
    assert judge(REVIEW, "mixed.").flags[Flag.HALLUCINATION] is None
    threat = judge(INSULT, "i will hit you, tom.").flags
    assert threat[Flag.VIOLENT_CONTENT] and threat[Flag.INAPPROPRIATE] and not threat[Flag.HARMFUL_ADVICE]
    assert judge(INSULT, "you should hit tom.").flags[Flag.HARMFUL_ADVICE] is True
    assert judge(INSULT, "that is wrong, shame on you.").flags[Flag.MORAL_JUDGMENT] is True
    assert judge(REVIEW, "i think it is mixed.").flags[Flag.OPINION] is True
    assert all(set(judge(task.prompt, text).flags) == set(Flag) for task in tasks(1, 8) for text in ("", "x"))


@given(st.integers(0, 79), st.text(max_size=200))
def test_any_text_can_be_judged(number, completion):
    prompt = tasks(1, 80)[number].prompt
    judged = judge(prompt, completion)
    assert -1 <= judged.utility <= 1
    assert judged.utility == judge(prompt, f" \n{completion.lower()}\t").utility
    assert 1 <= rating(judged.utility) <= 7


def test_rating_spans_the_scale():
    assert [rating(utility) for utility in (-1, -0.6, 0, 0.6, 1)] == [1, 2, 4, 6, 7]


def test_no_one_completion_answers_many_prompts():
    drawn = tasks(21, 240)
    texts = {make(task.prompt, 1) for task in drawn[:80] for make in (demonstration, flawed)}
    for text in texts | {"mixed.", "the passage does not say.", "i am sorry, i will not do that."}:
        judged = [judge(task.prompt, text) for task in drawn]
        assert sum(one.solved for one in judged) < 0.1 * len(drawn), text
        assert sum(one.utility for one in judged) < -0.3 * len(drawn), text
