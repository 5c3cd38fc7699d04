"""The miniature world's instructions, splits, completions and base text."""

import os
import re
import subprocess
import sys
from collections import Counter

import pytest

from training.contract.records import Split, UseCase
from training.miniature import instructions
from training.miniature.rubric import judge
from training.miniature.world import FAMILIES, UnknownPrompt, corpus, demonstration, flawed, split, tasks

TOKEN = re.compile(r"[a-z']+|[^\w\s]")  # the tokens of a byte-pair tokenizer with so small a vocabulary


def test_families_take_turns_and_cover_the_ten_use_cases():
    drawn = tasks(1, 800)
    assert set(Counter(task.family for task in drawn).values()) == {100}
    assert {task.use_case for task in drawn} == set(UseCase)
    assert len({task.prompt for task in drawn}) == 800


def test_one_seed_gives_the_same_prompts_and_another_gives_others():
    first, second = tasks(1, 400), tasks(2, 400)
    assert first == tasks(1, 400)
    assert first[:80] == tasks(1, 80)
    assert len({task.prompt for task in first} & {task.prompt for task in second}) < 40


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_thousands_of_prompts(family):
    assert len(tasks(5, 3000, families=(family,))) == 3000


def test_a_count_beyond_a_familys_prompts_or_an_unknown_family_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="poems"):
        tasks(1, 4, families=("poems",))
    monkeypatch.setattr("training.miniature.world.draw", lambda rng, family: "list two metals.")
    with pytest.raises(ValueError, match="ask for fewer"):
        tasks(1, 2, families=("list",))


def test_a_prompt_is_read_back_from_its_text_whatever_the_layout():
    for task in tasks(3, 800):
        read = instructions.parse("  " + task.prompt.upper().replace(" ", "\n  ") + " ")
        assert (read.family, read.use_case) == (task.family, task.use_case)
        texts = [form.text for form in instructions.FORMS if (form.family, form.kind) == (read.family, read.kind)]
        assert task.prompt in {text.format(**read.slots) for text in texts if _slots(text) == set(read.slots)}


def _slots(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


@pytest.mark.parametrize("prompt", ["", "tell me a joke.", "list nine fruits.", "list two fruits. and more"])
def test_a_foreign_prompt_is_refused(prompt):
    for reader in (instructions.parse, lambda text: demonstration(text, 0), lambda text: judge(text, "yes.")):
        with pytest.raises(UnknownPrompt):
            reader(prompt)


def test_splits_are_by_prompt_disjoint_and_eight_to_one_to_one():
    drawn = tasks(7, 4000)
    shares = Counter(split(task.prompt) for task in drawn)
    assert 0.77 < shares[Split.TRAIN] / 4000 < 0.83
    assert 0.08 < shares[Split.VALIDATION] / 4000 < 0.12
    train = {task.prompt for task in tasks(1, 800, only=Split.TRAIN)}
    test = {task.prompt for task in tasks(1, 800, only=Split.TEST)}
    assert not train & test
    assert {split(prompt) for prompt in test} == {Split.TEST}


def test_demonstrations_vary_by_seed_and_fit_sixteen_tokens():
    for task in tasks(4, 400):
        texts = {demonstration(task.prompt, seed) for seed in range(6)}
        assert max(len(TOKEN.findall(text)) for text in texts) <= 15  # and the end-of-text token
        if task.family in ("list", "words", "style", "manners"):
            assert len(texts) > 1


def test_nothing_depends_on_the_process():
    code = (
        "from training.miniature.world import *\n"
        "for t in tasks(1, 80): print(t, demonstration(t.prompt, 1), flawed(t.prompt, 1), split(t.prompt))\n"
        "print(*corpus(1, 500))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("0", "1")
    }
    assert len(outputs) == 1


def test_base_text_is_long_enough_small_in_vocabulary_and_holds_every_word_of_the_world():
    documents = list(corpus(1, 200_000))
    text = " ".join(documents)
    assert len(text.split()) >= 200_000
    vocabulary = set(re.findall(r"[a-z']+", text))
    assert len(vocabulary) < 450
    drawn = tasks(1, 800)
    used = " ".join(f"{task.prompt} {demonstration(task.prompt, 1)} {flawed(task.prompt, 1)}" for task in drawn)
    assert set(re.findall(r"[a-z']+", used)) <= vocabulary
    assert not any("\n\n" in document for document in documents)


def test_base_text_does_not_show_instructions_followed():
    text = " ".join(" ".join(corpus(1, 100_000)).split())
    assert not any(
        f"{task.prompt} {demonstration(task.prompt, seed)}" in text for task in tasks(1, 800) for seed in (0, 1)
    )
