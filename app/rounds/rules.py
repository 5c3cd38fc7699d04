"""Rounds: a draft's prompts and completions are chosen here; opening the round makes the assignments."""

from collections.abc import Iterator, Sequence
from itertools import islice

from sqlalchemy import delete, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts import rules as accounts
from app.accounts.tables import Account
from app.completions import queries as completions
from app.completions.tables import Completion
from app.errors import BadInput, Conflict, NotFound
from app.guidelines import rules as guidelines
from app.guidelines.tables import FormKind
from app.kit.i18n import gettext as _
from app.kit.words import word
from app.policies import queries as policies
from app.policies import rules as policy_rules
from app.policies.tables import PolicyKind
from app.prompts import queries as prompt_queries
from app.prompts import rules as prompts
from app.prompts.tables import PromptSource
from app.rounds import queries
from app.rounds.mixing import by_prompt, choose, keyed
from app.rounds.queries import Candidate
from app.rounds.schemas import ConversationPlan, PolicyShare, PromptFilter, RoundPlan, percent
from app.rounds.tables import (
    ONBOARDING,
    Item,
    ItemCompletion,
    ItemKind,
    Round,
    RoundPriority,
    RoundPurpose,
    RoundState,
)
from training.contract.records import Pool

BATCH = 500
HELD_OUT_PEOPLE = policy_rules.PEOPLE[Pool.HELD_OUT]

# Why a prompt is left out, as stored; a page shows the reason in the reader's language.
WITHDRAWN = "withdrawn"
NO_COMPLETIONS = "no completion of the chosen policies"
ONE_TEXT = "fewer than two distinct texts among its completions"


def create(
    session: Session,
    *,
    name: str,
    plan: RoundPlan,
    purpose: RoundPurpose = RoundPurpose.TRAINING,
    overlap: int = 1,
    pools: Sequence[Pool] = (Pool.TRAIN, Pool.HELD_OUT),
    guideline: str | None = None,
    priority: RoundPriority = RoundPriority.NORMAL,
    reserved_for_people: float = 0.0,
    by: Account | None = None,
) -> Round:
    """Create a draft; `resample_items` makes its items."""
    if not name.strip():
        raise BadInput(_("A round needs a name."), field="name")
    if purpose in ONBOARDING:
        raise BadInput(
            _("Practice and screening cannot be created as rounds; write their exercises under Onboarding."),
            field="purpose",
        )
    if not pools:
        raise BadInput(_("Choose at least one pool of labelers."), field="pools")
    for share in plan.policies:
        if policy_rules.named(session, share.policy).name == HELD_OUT_PEOPLE and Pool.TRAIN in pools:
            raise BadInput(
                _("“%(name)s” is what held-out labelers wrote; leave it out, or choose only the held-out pool.")
                % {"name": share.policy},
                field="policies",
            )
    if plan.conversations:
        asked = [share.policy for share in plan.conversations.policies]
        for policy in [*asked, plan.conversations.suggests] if plan.conversations.suggests else asked:
            policy_rules.writer(session, policy)
    _check_choice(session, plan)
    evaluates = purpose is RoundPurpose.EVALUATION
    words = guidelines.current_guideline(
        session, guideline or (guidelines.EVALUATION if evaluates else guidelines.TRAINING)
    )
    made = Round(
        number=queries.next_number(session),
        name=name.strip(),
        purpose=purpose,
        plan=plan.model_dump(mode="json", exclude_defaults=True),
        overlap=overlap,
        pools=[Pool(pool).value for pool in pools],
        priority=priority,
        reserved_percent=percent(reserved_for_people),
        guideline=words,
        form=guidelines.current_form(session, FormKind.COMPLETION),
    )
    try:
        with session.begin_nested():
            session.add(made)
    except IntegrityError as error:
        raise Conflict(_("Another round was created at the same time; try again.")) from error
    accounts.record(session, by, "round.create", subject=made.public_id, number=made.number, name=made.name)
    return made


def _check_choice(session: Session, plan: RoundPlan) -> None:
    """Raise BadInput if the plan names a collection that does not exist, or if its filters together match no prompt."""
    talks = plan.conversations
    kinds = [(plan.demonstrations, ItemKind.DEMONSTRATION), (plan.comparisons, ItemKind.COMPARISON)]
    kinds += [(talks.starters, ItemKind.CONVERSATION)] if talks else []
    asked = [(wanted, kind) for wanted, kind in kinds if wanted]
    known = set(prompt_queries.collections(session))
    for wanted, _kind in asked:
        if unknown := set(wanted.collections) - known:
            raise BadInput(
                _("There is no collection “%(name)s”. Existing collections: %(known)s.")
                % {"name": min(unknown), "known": ", ".join(sorted(known)) or _("none")},
                field="collections",
            )
    if not (talks and talks.topics) and not any(choose_prompts(session, wanted, kind) for wanted, kind in asked):
        raise BadInput(
            _("No prompts match what the round asks for, so it would have no items. Choose other collections, splits, "
              "use cases or sources, include prompts that other rounds already use, or import some."),
            field="collections",
        )  # fmt: skip


def resample_items(session: Session, round: Round) -> int:
    """Resample a draft's items from its plan, and record what was left out and why; return the number of items."""
    session.flush()
    session.refresh(round, ["state"], with_for_update=True)
    if round.state is not RoundState.DRAFT:
        raise Conflict(_("Round %(number)d is %(state)s; only a draft's items can change.") % _words(round))
    plan = RoundPlan.model_validate(round.plan)
    session.execute(delete(Item).where(Item.round_id == round.id))
    left_out: list[dict] = []
    position = 0
    if plan.demonstrations:
        chosen = list(_in_order(session, round, plan.demonstrations, ItemKind.DEMONSTRATION, left_out))
        written: list[PromptAndCompletions] = [(one, []) for one in chosen[: plan.demonstrations.count]]
        position += _store(session, round, ItemKind.DEMONSTRATION, written, position)
    if plan.conversations:
        talked: list[PromptAndCompletions] = [
            (one, []) for one in _talked_about(session, round, plan.conversations, left_out)
        ]
        position += _store(session, round, ItemKind.CONVERSATION, talked, position)
    if plan.comparisons:
        compared = list(_compared(session, round, plan, plan.comparisons, left_out))
        position += _store(session, round, ItemKind.COMPARISON, compared, position)
    round.left_out = left_out
    session.flush()
    return position


def choose_prompts(
    session: Session, wanted: PromptFilter, kind: ItemKind, round: Round | None = None
) -> list[Candidate]:
    """Return all prompts of a filter, in the order of its seed; the caller applies `count`."""
    found = queries.candidates(
        session,
        prompts=wanted.prompts,
        collections=wanted.collections,
        splits=wanted.splits,
        use_cases=wanted.use_cases,
        sources=wanted.sources,
        but_source=None if kind is ItemKind.CONVERSATION else PromptSource.USE_CASE,
        unasked=kind if wanted.fresh else None,
        but_round=round.id if round else None,
    )
    if not wanted.prompts:
        return sorted(found, key=lambda one: keyed(wanted.seed, one.text_sha256))
    place = {public_id: number for number, public_id in enumerate(wanted.prompts)}
    missing = place.keys() - {one.public_id for one in found}
    if missing and (unknown := missing - {one.public_id for one in queries.candidates(session, prompts=list(missing))}):
        raise BadInput(_("There is no prompt %(id)s.") % {"id": min(unknown)}, field="prompts")
    return sorted(found, key=lambda one: place[one.public_id])


def _in_order(
    session: Session, round: Round, wanted: PromptFilter, kind: ItemKind, left_out: list[dict]
) -> Iterator[Candidate]:
    for one in choose_prompts(session, wanted, kind, round):
        if one.withdrawn:
            left_out.append({"prompt": one.public_id, "kind": kind.value, "reason": WITHDRAWN})
        else:
            yield one


def _talked_about(session: Session, round: Round, plan: ConversationPlan, left_out: list[dict]) -> Iterator[Candidate]:
    """Yield the prompts that open a conversation, then the plan's descriptions, which enter the bank as such."""
    chosen = {}
    if plan.starters:
        found = _in_order(session, round, plan.starters, ItemKind.CONVERSATION, left_out)
        chosen = {one.id: one for one in islice(found, plan.starters.count)}
    for topic in plan.topics:
        made = prompts.add(session, messages=[{"role": "user", "text": topic}], source=PromptSource.USE_CASE)
        if made.source is not PromptSource.USE_CASE:
            raise BadInput(
                _("“%(topic)s” is a prompt in the bank, not a use-case description; choose it as a prompt instead.")
                % {"topic": topic[:60]},
                field="topics",
            )
        chosen[made.id] = Candidate(made.id, made.public_id, made.text_sha256, made.split, False)
    yield from chosen.values()


PromptAndCompletions = tuple[Candidate, list[Completion]]  # a prompt and the completions to compare


def _compared(
    session: Session, round: Round, plan: RoundPlan, wanted: PromptFilter, left_out: list[dict]
) -> Iterator[PromptAndCompletions]:
    shares = plan.policies or [
        PolicyShare(policy=one.name) for one in policies.policies(session) if one.kind is not PolicyKind.PEOPLE
    ]
    names = {one.id: one.name for one in policies.named(session, [share.policy for share in shares]).values()}
    asked = list(_in_order(session, round, wanted, ItemKind.COMPARISON, left_out))
    made = 0
    for start in range(0, len(asked), BATCH):
        batch = asked[start : start + BATCH]
        found = by_prompt(completions.of_prompts(session, [one.id for one in batch], names), names)
        for prompt in batch:
            if made == wanted.count:
                return
            chosen = choose(found.get(prompt.id, {}), shares, plan.completions, plan.seed, prompt.text_sha256)
            if len(chosen) < 2:
                reason = ONE_TEXT if prompt.id in found else NO_COMPLETIONS
                left_out.append({"prompt": prompt.public_id, "kind": ItemKind.COMPARISON.value, "reason": reason})
                continue
            made += 1
            yield prompt, chosen


def _store(
    session: Session,
    round: Round,
    kind: ItemKind,
    asked: Sequence[PromptAndCompletions],
    first_position: int,
) -> int:
    if not asked:
        return 0
    rows = [
        {"round_id": round.id, "prompt_id": prompt.id, "kind": kind, "position": position, "overlap": round.overlap}
        for position, (prompt, _chosen) in enumerate(asked, first_position)
    ]
    stored = session.execute(insert(Item).returning(Item.prompt_id, Item.id), rows)
    ids = {prompt_id: id for prompt_id, id in stored}
    members = [
        {"item_id": ids[prompt.id], "completion_id": completion.id, "position": position}
        for prompt, chosen in asked
        for position, completion in enumerate(chosen)
    ]
    if members:
        session.execute(insert(ItemCompletion), members)
    return len(rows)


def discard(session: Session, round: Round, by: Account | None) -> None:
    """Delete a draft; raise Conflict if the round is open or closed."""
    if round.state is not RoundState.DRAFT:
        raise Conflict(_("Round %(number)d is %(state)s; only a draft can be deleted.") % _words(round))
    accounts.record(session, by, "round.discard", subject=round.public_id, number=round.number)
    session.execute(delete(Item).where(Item.round_id == round.id))
    session.delete(round)
    session.flush()


def round_(session: Session, public_id: str) -> Round:
    """Return a round; raise NotFound if the id is unknown."""
    found = queries.round_(session, public_id)
    if found is None:
        raise NotFound(_("Round not found."))
    return found


def left_out_reasons(round: Round) -> list[tuple[str, int]]:
    """Return (reason, number of prompts left out for it), the most frequent first."""
    counts: dict[str, int] = {}
    for one in round.left_out:
        counts[one["reason"]] = counts.get(one["reason"], 0) + 1
    return sorted(counts.items(), key=lambda pair: -pair[1])


def _words(round: Round) -> dict:
    return {"number": round.number, "state": word(round.state)}
