"""Queries for completions."""

from collections.abc import Iterable, Sequence

from sqlalchemy import Exists, Select, exists, func, select
from sqlalchemy.orm import Session, joinedload

from app.completions.tables import Completion
from app.kit import cursors
from app.policies.tables import Policy
from app.prompts.tables import Prompt


def completion(session: Session, public_id: str) -> Completion | None:
    """Return a completion with its prompt and policy, or None."""
    return session.scalar(_whole().where(Completion.public_id == public_id))


def _whole() -> Select[Completion]:
    return select(Completion).options(joinedload(Completion.prompt), joinedload(Completion.policy))


def by_ids(session: Session, ids: Iterable[int]) -> dict[int, Completion]:
    """Return completions with their prompts and policies, by id."""
    return {one.id: one for one in session.scalars(_whole().where(Completion.id.in_(list(ids))))}


def of_prompt(session: Session, prompt: Prompt) -> Sequence[Completion]:
    """Return every completion of a prompt, ordered by policy name."""
    return session.scalars(
        _whole().join(Completion.policy).where(Completion.prompt_id == prompt.id).order_by(Policy.name, Completion.id)
    ).all()


def newest_of_policy(session: Session, policy: Policy, limit: int) -> Sequence[Completion]:
    """Return a policy's newest completions."""
    return session.scalars(
        _whole().where(Completion.policy_id == policy.id).order_by(Completion.id.desc()).limit(limit)
    ).all()


def page(
    session: Session, cursor: str | None, limit: int, *, prompt: str | None = None, policy: str | None = None
) -> tuple[Sequence[Completion], str | None]:
    """Return a page of completions, newest first, and the next cursor; `prompt` is a public id, `policy` a name."""
    found = _whole()
    if prompt:
        found = found.where(Completion.prompt.has(Prompt.public_id == prompt))
    if policy:
        found = found.where(Completion.policy.has(Policy.name == policy))
    return cursors.page(session, found, Completion, cursor, limit)


def count_by_policy(session: Session) -> dict[int, tuple[int, int]]:
    """Return each policy's number of completions and of distinct prompts, by policy id."""
    rows = session.execute(
        select(Completion.policy_id, func.count(), func.count(Completion.prompt_id.distinct())).group_by(
            Completion.policy_id
        )
    )
    return {policy_id: (completions, prompts) for policy_id, completions, prompts in rows}


def stored(session: Session, keys: Iterable[tuple[int, int, str]]) -> dict[tuple[int, int, str], int]:
    """Return the completion ids of those keys (prompt id, policy id, text hash) that are stored."""
    wanted = set(keys)
    rows = session.execute(
        select(Completion.prompt_id, Completion.policy_id, Completion.text_sha256, Completion.id).where(
            Completion.prompt_id.in_({prompt for prompt, _, _ in wanted}),
            Completion.policy_id.in_({policy for _, policy, _ in wanted}),
        )
    )
    return {(prompt, policy, digest): id for prompt, policy, digest, id in rows if (prompt, policy, digest) in wanted}


def of_prompts(session: Session, prompt_ids: Iterable[int], policy_ids: Iterable[int]) -> Sequence[Completion]:
    """Return the completions of these policies for these prompts."""
    return session.scalars(
        select(Completion)
        .where(Completion.prompt_id.in_(list(prompt_ids)), Completion.policy_id.in_(list(policy_ids)))
        .order_by(Completion.id)
    ).all()


def has_any(policy_ids: Iterable[int]) -> Exists:
    """Return a condition for queries of prompts: the prompt has a completion of one of these policies."""
    return exists().where(Completion.prompt_id == Prompt.id, Completion.policy_id.in_(list(policy_ids)))
