"""Answers, snapshots and networks for tests of the training side, made from the miniature world's words."""

import hashlib
import json
import random
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.accounts.tables import Account, AccountKind, Role
from app.comparisons.tables import ComparedCompletion, Comparison, ComparisonSource
from app.completions.tables import Completion
from app.database import transaction, utc_now
from app.demonstrations.tables import Demonstration
from app.guidelines.rules import current_form, current_guideline
from app.guidelines.tables import FormKind
from app.policies.tables import Policy, PolicyKind
from app.prompts.tables import Prompt, PromptSource
from app.rounds.tables import Item, ItemKind, Round, RoundPurpose, RoundState
from training.contract.records import Pool, Split
from training.miniature.__main__ import candidates
from training.miniature.rubric import judge
from training.miniature.world import Task, demonstration, split, tasks


def sha256(text: str) -> str:
    """Return the hex digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def prompts(count: int, seed: int = 1) -> list[Task]:
    """Return miniature prompts, three of four from the train split."""
    held = max(1, count // 4)
    return tasks(seed, count - held, only=Split.TRAIN) + tasks(seed, held, only=Split.VALIDATION)


def fill_round(
    asked: list[Task],
    *,
    number: int = 1,
    state: RoundState = RoundState.CLOSED,
    purpose: RoundPurpose = RoundPurpose.TRAINING,
    demonstrations: bool = True,
    comparisons: bool = True,
    held_out_every: int = 4,
    kind: AccountKind = AccountKind.PERSON,
    labelers: str = "labeler",
    order_seed: int = 0,
) -> Round:
    """Create a round in which every prompt has a demonstration and a ranking; `order_seed` changes only row order."""
    order = random.Random(order_seed).sample(range(len(asked)), len(asked))
    with transaction() as session:
        round = Round(
            number=number,
            name=f"Round {number}",
            state=state,
            purpose=purpose,
            closed_at=utc_now() if state is RoundState.CLOSED else None,
            guideline_id=current_guideline(session, "training").id,
            form_id=current_form(session, FormKind.COMPLETION).id,
        )
        session.add(round)
        session.flush()
        for place in order:
            labeler = _labeler(session, f"{labelers}-{place % 3}", Pool.TRAIN, kind)
            if place % held_out_every == held_out_every - 1:
                labeler = _labeler(session, f"{labelers}-held-out", Pool.HELD_OUT, kind)
            prompt = add_prompt(session, asked[place])
            if demonstrations:
                _demonstrate(session, round, prompt, asked[place], labeler, place)
            if comparisons:
                _compare(session, round, prompt, asked[place], labeler, place)
        return round


def add_prompt(session: Session, task: Task, collection: str = "miniature") -> Prompt:
    """Return the prompt of a task, creating it if missing."""
    digest = sha256(task.prompt)
    found = session.scalar(select(Prompt).where(Prompt.text_sha256 == digest))
    if found is None:
        found = Prompt(
            messages=[{"role": "user", "text": task.prompt}],
            text_sha256=digest,
            folded_sha256=digest,
            language="en",
            prefix_sha256=digest,
            source=PromptSource.CUSTOMER,
            use_case=task.use_case,
            owner=f"owner {digest}",
            split=split(task.prompt),
            collections=[collection],
        )
        session.add(found)
        session.flush()
    return found


def _labeler(session: Session, username: str, pool: Pool, kind: AccountKind) -> Account:
    found = session.scalar(select(Account).where(Account.username == username))
    if found is None:
        found = Account(
            username=username, name=username, password_hash="", role=Role.LABELER, pool=pool, kind=kind, language="en"
        )
        session.add(found)
        session.flush()
    return found


def _policy(session: Session, name: str, kind: PolicyKind) -> Policy:
    found = session.scalar(select(Policy).where(Policy.name == name))
    if found is None:
        found = Policy(name=name, kind=kind)
        session.add(found)
        session.flush()
    return found


def _completion(session: Session, prompt: Prompt, policy: Policy, text: str) -> Completion:
    made = Completion(prompt_id=prompt.id, policy_id=policy.id, text=text, text_sha256=sha256(text))
    session.add(made)
    session.flush()
    return made


def _demonstrate(session: Session, round: Round, prompt: Prompt, task: Task, labeler: Account, place: int) -> None:
    item = Item(round_id=round.id, prompt_id=prompt.id, kind=ItemKind.DEMONSTRATION, position=place, overlap=1)
    people = _policy(session, "people", PolicyKind.PEOPLE)
    text = demonstration(task.prompt, round.number)
    session.add(item)
    session.flush()
    session.add(
        Demonstration(
            item_id=item.id,
            labeler_id=labeler.id,
            pool=labeler.pool,
            completion_id=_completion(session, prompt, people, text).id,
            guideline_id=round.guideline_id,
            idempotency_key="k",
        )
    )


def _compare(session: Session, round: Round, prompt: Prompt, task: Task, labeler: Account, place: int) -> None:
    item = Item(round_id=round.id, prompt_id=prompt.id, kind=ItemKind.COMPARISON, position=1000 + place, overlap=1)
    session.add(item)
    session.flush()
    comparison = Comparison(
        source=ComparisonSource.PERSON,
        prompt_id=prompt.id,
        item_id=item.id,
        labeler_id=labeler.id,
        pool=labeler.pool,
        guideline_id=round.guideline_id,
        form_id=round.form_id,
    )
    session.add(comparison)
    session.flush()
    for shown, (text, name) in enumerate(candidates(task.prompt, round.number)):
        policy = _policy(session, f"{name} {round.number}", PolicyKind.IMPORTED)
        solved = judge(task.prompt, text).solved
        session.add(
            ComparedCompletion(
                comparison_id=comparison.id,
                completion_id=_completion(session, prompt, policy, text).id,
                shown_position=shown,
                tier=1 if solved else 2,
                rating=7 if solved else 2,
                flags={"fails_task": not solved},
            )
        )


def lines(path: Path) -> list[dict]:
    """Return the objects of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
