"""Sampling the alternatives of one message. The leased row is the source of truth, so duplicate messages are harmless.

Alternatives become completions of the bank, so any later round may compare them; a round that is still open gets them
at once. The message as the model wrote it is not among them: the conversation's labeler would recognize it.
"""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from app import queue
from app.assignments import order, own
from app.assignments.tables import Assignment
from app.completions.queries import by_ids
from app.completions.rules import CompletionDraft, add_all
from app.conversations import queries
from app.conversations.rules import RESEND_SECONDS, plan_of
from app.conversations.suggesting import MAX_TOKENS, TEMPERATURE
from app.conversations.tables import Alternatives, AlternativesState
from app.database import public_id, reading, transaction, utc_now
from app.errors import BadInput
from app.kit import leases
from app.kit.i18n import gettext as _
from app.kit.leases import LeaseLost, every
from app.policies import rules as policies
from app.policies.tables import Policy
from app.rounds.mixing import choose
from app.rounds.schemas import ConversationPlan, PolicyShare
from app.rounds.tables import Item, ItemCompletion, ItemKind, Round, RoundState
from app.serving import rules as serving
from app.serving.endpoint import NoAnswer, ServedCompletion

LEASE_SECONDS = 60
RENEW_SECONDS = 15
ATTEMPTS = 3
TRIES = 3  # texts requested from a policy for each distinct one wanted

log = logging.getLogger(__name__)


def sample(id: int) -> None:
    """Sample alternatives `id`, unless another worker is sampling them or has."""
    with transaction() as session:
        attempt = _claim(session, id)
    if attempt is None:
        return
    try:
        _sample(id, attempt)
    except LeaseLost:
        log.warning("alternatives %s: the lease of attempt %s was lost", id, attempt)
    except (NoAnswer, BadInput) as error:
        log.warning("alternatives %s, attempt %s: %s", id, attempt, error.message)
        again = isinstance(error, NoAnswer) and attempt < ATTEMPTS
        state = AlternativesState.QUEUED if again else AlternativesState.FAILED
        with transaction() as session:  # the reconciler sends queued ones again, after RESEND_SECONDS
            until = utc_now(RESEND_SECONDS) if again else None
            with suppress(LeaseLost):
                _mine(session, id, attempt, state=state, error=error.message, lease_until=until)


def _sample(id: int, attempt: int) -> None:
    def renew() -> None:
        with transaction() as session:
            _mine(session, id, attempt, lease_until=utc_now(LEASE_SECONDS))

    alive = every(RENEW_SECONDS, renew)
    with reading() as session:
        row = queries.alternatives(session, id)
        plan = plan_of(row.conversation.item)
        shares = plan.policies or [PolicyShare(policy=policies.writer(session, plan.suggests).name)]
        asked = {share.policy: policies.writer(session, share.policy) for share in shares}
    found: dict[str, tuple[Policy, ServedCompletion]] = {}  # by text
    for name, wanted in quotas(plan, shares).items():
        _distinct(asked[name], wanted, row.prompt.messages, found, alive)
    if len(found) < 2:
        raise BadInput(_("The policies wrote fewer than two distinct texts, so there is nothing to rank."))
    drafts = [
        CompletionDraft(
            row.prompt_id,
            policy.id,
            written.text,
            {"temperature": TEMPERATURE, "max_tokens": MAX_TOKENS},
            tokens=written.tokens,
            finished=written.finished,
        )
        for policy, written in found.values()
    ]
    with transaction() as session:
        _mine(session, id, attempt, sampled=len(found), error="")  # from here on no other worker can take the row
        item_id = _join_round(session, row, shares, plan, add_all(session, drafts))
        _mine(session, id, attempt, state=AlternativesState.READY, item_id=item_id, lease_until=None)


def quotas(plan: ConversationPlan, shares: Sequence[PolicyShare]) -> dict[str, int]:
    """Return how many texts to request from each policy: its count, or for policies without one a share of the rest."""
    counts = {share.policy: share.count or 0 for share in shares}
    left = (plan.alternatives or 0) - sum(counts.values())
    filling = [share.policy for share in shares if share.count is None]
    for turn in range(left if filling else 0):
        counts[filling[turn % len(filling)]] += 1
    return {policy: count for policy, count in counts.items() if count}


def _distinct(policy: Policy, wanted: int, messages: Sequence[Mapping[str, str]], found: dict, alive) -> None:
    """Add `wanted` distinct texts of a policy to `found`, or fewer if it repeats itself or others."""
    before, written_in_all = len(found), 0
    while (missing := wanted - (len(found) - before)) > 0 and written_in_all < TRIES * wanted:
        alive()
        written = serving.write(
            policy, messages, n=missing, temperature=TEMPERATURE, max_tokens=MAX_TOKENS, alive=alive
        )
        written_in_all += len(written)  # some servers write one text whatever n says
        for one in written:
            found.setdefault(one.text.strip(), (policy, one))
        alive()


def _join_round(
    session: Session, row: Alternatives, shares: Sequence[PolicyShare], plan: ConversationPlan, ids: Sequence[int]
) -> int | None:
    """Add the comparison at the end of its conversation's round if that is still open; return the item's id or None."""
    item = row.conversation.item
    # Shared lock: closing the round waits for this transaction, so a closed round never gains an item.
    round = session.execute(
        select(Round.state, Round.priority).where(Round.id == item.round_id).with_for_update(read=True)
    ).one()
    if round.state is not RoundState.OPEN:
        return None
    same = (Item.round_id == item.round_id, Item.prompt_id == row.prompt_id, Item.kind == ItemKind.COMPARISON)
    if (known := session.scalar(select(Item.id).where(*same))) is not None:
        return known  # another conversation of the round is the same up to this message
    by_policy: dict[str, list] = {}
    for one in by_ids(session, ids).values():
        by_policy.setdefault(one.policy.name, []).append(one)
    chosen = choose(by_policy, shares, plan.alternatives or len(ids), 0, row.prompt.text_sha256)
    last = session.execute(select(func.max(Item.position)).where(Item.round_id == item.round_id)).scalar_one()
    made = Item(
        round_id=item.round_id,
        prompt_id=row.prompt_id,
        kind=ItemKind.COMPARISON,
        position=last + 1,
        overlap=item.overlap,
    )
    session.add(made)
    session.flush()
    session.execute(
        insert(ItemCompletion),
        [{"item_id": made.id, "completion_id": one.id, "position": place} for place, one in enumerate(chosen)],
    )
    position = order.position(round.priority, item.round.number, made.position)
    session.execute(
        insert(Assignment),
        [
            {"public_id": public_id(), "item_id": made.id, "slot": slot, "position": position}
            for slot in range(item.overlap)
        ],
    )
    own.find(session, Item.id == made.id)
    return made.id


# --- The lease ---


def _claim(session: Session, id: int) -> int | None:
    """Lease queued alternatives for this worker; return the number of the attempt, or None."""
    return session.scalar(
        update(Alternatives)
        .where(Alternatives.id == id, Alternatives.state == AlternativesState.QUEUED)
        .values(state=AlternativesState.SAMPLING, attempt=Alternatives.attempt + 1, lease_until=utc_now(LEASE_SECONDS))
        .returning(Alternatives.attempt)
    )


def _mine(session: Session, id: int, attempt: int, **values: object) -> None:
    held = (
        Alternatives.id == id,
        Alternatives.state == AlternativesState.SAMPLING,
        Alternatives.attempt == attempt,
    )
    leases.change(session, Alternatives, *held, **values)


def reconcile(session: Session) -> None:
    """Requeue what a dead worker left, and resend what was lost in the queue or waits for its policy."""
    stale = select(Alternatives).where(
        Alternatives.state.in_([AlternativesState.QUEUED, AlternativesState.SAMPLING]),
        Alternatives.lease_until < utc_now(),
    )
    for row in session.scalars(stale.with_for_update(skip_locked=True)):
        if row.state is AlternativesState.SAMPLING and row.attempt >= ATTEMPTS:
            row.state, row.lease_until = AlternativesState.FAILED, None
            row.error = _("The worker died %(count)s times while sampling; see the worker's log.") % {
                "count": row.attempt
            }
            continue
        row.state, row.lease_until = AlternativesState.QUEUED, utc_now(RESEND_SECONDS)
        queue.send(session, "conversations.sample", row.id)
