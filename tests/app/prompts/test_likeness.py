"""Prompts that say nearly the same: found at admission, named, linked, and put in one split."""

import json
import random
import string

import pytest
from sqlalchemy import func, select

from app.database import reading, transaction
from app.errors import BadInput
from app.prompts import rules
from app.prompts.imports import PromptDefaults, import_prompts
from app.prompts.schemas import PromptDraft, Verdict
from app.prompts.similar import BAND_HOLDS
from app.prompts.tables import NearPrompts, Prompt, PromptBand, PromptSource
from training.contract.records import Message, Split

FRANCE = "Explain to me in a few sentences why the French Revolution began in the year 1789."
AGAIN = "Please explain to me, in a few sentences, why the French revolution began in the year 1789!"
OTHER_YEAR = FRANCE.replace("1789", "1798")


def draft(text: str, **fields) -> PromptDraft:
    return PromptDraft(messages=(Message(role="user", text=text),), source=PromptSource.CUSTOMER, **fields)


def take(drafts, **how):
    with transaction() as session:
        return rules.Admission(session, **how).take(drafts)


def test_what_says_nearly_the_same_is_left_out_and_the_kept_one_is_named(database):
    kept, again, other = take([draft(FRANCE), draft(AGAIN), draft(OTHER_YEAR)])
    assert [one.verdict for one in (kept, again, other)] == [Verdict.ADDED, Verdict.SIMILAR, Verdict.ADDED]
    (later,) = take([draft(AGAIN.upper())])  # by the bank, where the first was by the batch
    assert later.verdict is Verdict.SIMILAR
    with transaction() as session:
        stored = session.scalar(select(Prompt).where(Prompt.id == kept.prompt_id))
        with pytest.raises(BadInput, match=stored.public_id) as refused:
            rules.add(session, messages=[{"role": "user", "text": AGAIN}], source=PromptSource.CUSTOMER, filters=True)
    assert "“Explain to me in a few sentences why the French Revolution" in refused.value.message


def test_a_kept_near_duplicate_is_linked_and_takes_the_split_of_the_other(database):
    first, second, third = take(
        [draft(FRANCE, split=Split.TEST), draft(AGAIN), draft(AGAIN + " Thanks", owner="somebody", split=Split.TRAIN)],
        keep_similar=True,
    )
    assert [one.verdict for one in (first, second, third)] == [Verdict.ADDED] * 3
    (fourth,) = take([draft("Explain, " + FRANCE[8:])], filters=False)
    with reading() as session:
        splits = dict(session.execute(select(Prompt.id, Prompt.split)).all())
        links = {tuple(row) for row in session.execute(select(NearPrompts.prompt_id, NearPrompts.near_id))}
    assert [splits[one.prompt_id] for one in (first, second, third, fourth)] == [
        Split.TEST,
        Split.TEST,  # nobody said which
        Split.TRAIN,  # its owner's; snapshots take the stricter one
        Split.TEST,
    ]
    a, b, c, d = (one.prompt_id for one in (first, second, third, fourth))
    assert links == {(b, a), (c, a), (c, b), (d, a), (d, b), (d, c)}


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ([("system", "Be terse."), ("user", FRANCE)], [("system", "Be terse."), ("user", AGAIN)], True),
        ([("system", "Be terse."), ("user", FRANCE)], [("system", "Be a pirate."), ("user", AGAIN)], False),
        ([("user", FRANCE)], [("system", "Be terse."), ("user", AGAIN)], False),
        (
            [("user", FRANCE), ("assistant", "The state was bankrupt."), ("user", "Is that all there was to it?")],
            [("user", AGAIN), ("assistant", "The state was bankrupt"), ("user", "is that all there was to it?")],
            True,
        ),
        ([("user", FRANCE), ("assistant", "Hunger."), ("user", "Go on.")], [("user", FRANCE)], False),
    ],
)
def test_turns_and_the_system_message_count(database, one, other, alike):
    drafts = [
        PromptDraft(tuple(Message(role=role, text=text) for role, text in turns), PromptSource.CUSTOMER)
        for turns in (one, other)
    ]
    verdicts = [decision.verdict for decision in take(drafts)]
    assert verdicts == [Verdict.ADDED, Verdict.SIMILAR if alike else Verdict.ADDED]


def test_few_shot_prompts_and_descriptions_of_uses_are_alike_on_purpose(database):
    for source in (PromptSource.LABELER_FEW_SHOT, PromptSource.USE_CASE):
        drafts = [PromptDraft((Message(role="user", text=text),), source) for text in (FRANCE + source, AGAIN + source)]
        assert [one.verdict for one in take(drafts)] == [Verdict.ADDED] * 2
    with reading() as session:
        assert session.scalar(select(func.count()).select_from(PromptBand)) == 0


def test_a_template_fills_no_band_and_its_repeats_are_still_found(database):
    """Thousands of prompts of one template must not make each other slow."""
    template = "Write a friendly letter to the customer {} {} about the late delivery of the order that was placed."
    dice = random.Random(7)
    names = ["".join(dice.choices(string.ascii_lowercase, k=9)).capitalize() for _ in range(800)]
    drafts = [draft(template.format(a, b)) for a, b in zip(names[::2], names[1::2], strict=True)]
    assert {one.verdict for one in take(drafts)} == {Verdict.ADDED}
    with reading() as session:
        fullest = select(func.count()).select_from(PromptBand).group_by(PromptBand.band)
        assert max(session.scalars(fullest)) == BAND_HOLDS
    repeats = [draft(one.messages[0].text.replace("Write", "Please write").rstrip(".") + "!") for one in drafts]
    found = [one.verdict for one in take(repeats)]
    assert found.count(Verdict.SIMILAR) >= 0.98 * len(found)


def test_a_dry_run_says_of_every_row_what_the_import_does(database, tmp_path):
    """Chunks of a file know of each other, whether it is stored or not."""
    dice = random.Random(3)
    words = [line.split()[0] for line in FRANCE.split()] + ["river", "engine", "purple", "window", "seven", "quiet"]
    texts = [" ".join(dice.choices(words, k=14)).capitalize() + "?" for _ in range(700)]
    texts += ["Please " + text.lower() for text in dice.sample(texts, 300)]
    texts += [text.replace(" ", "  ") + "!" for text in dice.sample(texts, 100)]
    dice.shuffle(texts)
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    told = import_prompts(path, as_csv=False, defaults=PromptDefaults(), dry_run=True)
    done = import_prompts(path, as_csv=False, defaults=PromptDefaults())
    assert done.left_out_rows > 350
    for name in ("rows", "added", "known", "left_out_rows", "reasons", "remarks"):
        assert getattr(told, name) == getattr(done, name), name
    assert [problem.line for problem in told.left_out] == [problem.line for problem in done.left_out]


def test_the_other_order_keeps_the_other_one(database):
    first, second = take([draft(AGAIN), draft(FRANCE)])
    assert (first.verdict, second.verdict) == (Verdict.ADDED, Verdict.SIMILAR)
