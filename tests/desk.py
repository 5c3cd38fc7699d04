"""Rounds for tests of the desk, made from rows, so that each test states what it needs and nothing else."""

import hashlib
from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.assignments import rules
from app.assignments.tables import Draft
from app.completions.tables import Completion
from app.database import transaction
from app.guidelines.rules import current_form, current_guideline
from app.guidelines.tables import FormKind
from app.policies.tables import Policy, PolicyKind
from app.prompts.tables import Prompt, PromptSource
from app.rounds.tables import Item, ItemCompletion, ItemKind, Round
from training.contract.records import Split

SECRET_POLICY = "zz-secret-policy"  # must never be seen by a labeler


def make_round(
    items: int = 3,
    *,
    k: int = 4,
    overlap: int = 1,
    number: int = 1,
    kind: ItemKind = ItemKind.COMPARISON,
    pools: tuple[str, ...] = ("train", "held-out"),
    answers: dict | None = None,
    text: str = "completion",
    opened: bool = True,
) -> Round:
    """Create an open round with so many items of K completions each."""
    with transaction() as session:
        round = Round(
            number=number,
            name=f"Round {number} of {SECRET_POLICY}",
            overlap=overlap,
            pools=list(pools),
            guideline_id=current_guideline(session, "training").id,
            form_id=current_form(session, FormKind.COMPLETION).id,
        )
        session.add(round)
        session.flush()
        for position in range(items):
            _item(session, round, position, kind, k, answers or {}, text)
        session.flush()
        if opened:
            rules.open_round(session, round)
        return round


def _item(session: Session, round: Round, position: int, kind: ItemKind, k: int, answers: dict, text: str) -> None:
    words = f"prompt {position} of round {round.number}"
    prompt = Prompt(
        messages=[{"role": "user", "text": words}],
        text_sha256=_sha256(words),
        folded_sha256=_sha256(words),
        language="en",
        prefix_sha256=_sha256(words),
        source=PromptSource.CUSTOMER,
        owner="tests",
        split=Split.TRAIN,
        answers=answers,
    )
    item = Item(round_id=round.id, prompt=prompt, kind=kind, position=position, overlap=round.overlap)
    session.add(item)
    session.flush()
    for place in range(k if kind is ItemKind.COMPARISON else 0):
        name = f"{SECRET_POLICY}-{place}"
        policy = session.query(Policy).filter_by(name=name).one_or_none()
        if policy is None:
            policy = Policy(name=name, kind=PolicyKind.IMPORTED)
            session.add(policy)
            session.flush()
        said = f"{text} {place} for {words}"
        completion = Completion(prompt_id=prompt.id, policy_id=policy.id, text=said, text_sha256=_sha256(said))
        session.add(completion)
        session.flush()
        session.add(ItemCompletion(item_id=item.id, completion_id=completion.id, position=place))


def given_earlier(seconds: float) -> None:
    """Move the time at which each assignment was given so many seconds into the past."""
    with transaction() as session:
        for draft in session.scalars(select(Draft)):
            draft.given_at -= timedelta(seconds=seconds)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
