"""A task as one statement brings it: the slot, the labeler's draft, and all that its page shows."""

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import pairwise
from typing import Any

import orjson
from sqlalchemy import Integer, Row, Select, String, Text, bindparam, case, insert, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session, aliased
from sqlalchemy.sql.functions import FunctionElement

from app.accounts.tables import Account
from app.assignments.tables import Assignment, AssignmentState, Draft
from app.completions.tables import Completion
from app.database import ONE, run
from app.errors import NotFound
from app.guidelines import versions
from app.guidelines.versions import FormVersion, GuidelineVersion
from app.kit.i18n import gettext as _
from app.prompts.tables import SENSITIVE, Prompt, PromptSource
from app.rounds.tables import Item, ItemCompletion, ItemKind, Round, RoundPurpose, RoundState


@dataclass(frozen=True, slots=True)
class TaskPrompt:
    """The prompt of a task."""

    id: int
    public_id: str
    source: PromptSource
    messages: list[dict]
    answers: dict

    @property
    def sensitive(self) -> bool:
        return bool(self.answers.get(SENSITIVE))


@dataclass(frozen=True, slots=True)
class TaskRound:
    """The round of a task."""

    id: int
    public_id: str
    number: int
    name: str
    state: RoundState
    purpose: RoundPurpose
    plan: dict
    pools: list[str]
    guideline: GuidelineVersion
    form: FormVersion

    @property
    def guideline_id(self) -> int:
        return self.guideline.id

    @property
    def form_id(self) -> int:
        return self.form.id


@dataclass(frozen=True, slots=True)
class TaskText:
    """One of a task's completions, without its source."""

    id: int
    public_id: str
    text: str


@dataclass(frozen=True, slots=True)
class TaskItem:
    """The item of a task; `texts` are in canonical order, never the order that labelers see."""

    id: int
    public_id: str
    kind: ItemKind
    prompt: TaskPrompt
    round: TaskRound
    texts: list[TaskText]

    @property
    def prompt_id(self) -> int:
        return self.prompt.id


@dataclass(frozen=True, slots=True)
class TaskDraft:
    """What the labeler has written so far."""

    version: int
    content: dict
    active_seconds: float
    updated_at: datetime
    submitted_at: datetime | None
    reopened_at: datetime | None
    warned_at: datetime | None


@dataclass(frozen=True, slots=True)
class Task:
    """A labeler's slot of an item, as it stood when it was read; see tables.Assignment for its fields."""

    id: int
    public_id: str
    slot: int
    state: AssignmentState
    labeler_id: int | None
    fence: int
    lease_until: datetime | None
    claimed_at: datetime | None
    ahead_for_id: int | None
    item: TaskItem
    draft: TaskDraft
    keeps_round: bool  # whether its round stays in its state until the end of the transaction

    @property
    def item_id(self) -> int:
        return self.item.id


AnyItem = Item | TaskItem
Given = Assignment | Task  # a slot that a labeler was given


class _json_row(FunctionElement):
    """A JSON array of its arguments."""

    type = Text()
    inherit_cache = True


class _json_rows(FunctionElement):
    """A JSON array, as text, of one value of each row."""

    type = Text()
    inherit_cache = True


@compiles(_json_row, "postgresql")
def _row_on_postgresql(element: _json_row, compiler: Any, **kw: Any) -> str:
    return f"json_build_array({compiler.process(element.clauses, **kw)})"


@compiles(_json_row, "sqlite")
def _row_on_sqlite(element: _json_row, compiler: Any, **kw: Any) -> str:
    return f"json_array({compiler.process(element.clauses, **kw)})"


@compiles(_json_rows, "postgresql")
def _rows_on_postgresql(element: _json_rows, compiler: Any, **kw: Any) -> str:
    return f"CAST(json_agg({compiler.process(element.clauses, **kw)}) AS TEXT)"


@compiles(_json_rows, "sqlite")
def _rows_on_sqlite(element: _json_rows, compiler: Any, **kw: Any) -> str:
    return f"json_group_array({compiler.process(element.clauses, **kw)})"


_asked = aliased(Assignment)
_me = bindparam("me", type_=Integer)
_TEXTS = (
    select(_json_rows(_json_row(ItemCompletion.position, Completion.id, Completion.public_id, Completion.text)))
    .join(Completion, Completion.id == ItemCompletion.completion_id)
    .where(ItemCompletion.item_id == Item.id)
    .correlate(Item)
    .scalar_subquery()
)
# The columns of each part, in the order of its fields.
_SLOT = (
    Assignment.id, Assignment.public_id, Assignment.slot, Assignment.state, Assignment.labeler_id, Assignment.fence,
    Assignment.lease_until, Assignment.claimed_at, Assignment.ahead_for_id,
)  # fmt: skip
_ITEM = (Item.id, Item.public_id, Item.kind)
_PROMPT = (Prompt.id, Prompt.public_id, Prompt.source, Prompt.messages, Prompt.answers)
_ROUND = (Round.id, Round.public_id, Round.number, Round.name, Round.state, Round.purpose, Round.plan, Round.pools)
_DRAFT = (
    Draft.version, Draft.content, Draft.active_seconds, Draft.updated_at, Draft.submitted_at, Draft.reopened_at,
    Draft.warned_at,
)  # fmt: skip
_PARTS = (_SLOT, _ITEM, _PROMPT, _ROUND, (Round.guideline_id, Round.form_id), _DRAFT, (_TEXTS,))
_STARTS = [sum(map(len, _PARTS[:place])) for place in range(len(_PARTS) + 1)]


_NEW_DRAFT = insert(Draft).returning(*_DRAFT)


@lru_cache
def _statement(keeps_round: bool) -> Select:
    mine_first = case((Assignment.labeler_id == _me, 0), (Assignment.public_id == _asked.public_id, 1), else_=2)
    found = (
        select(*(column for part in _PARTS for column in part))
        .select_from(Assignment)
        .join(_asked, _asked.item_id == Assignment.item_id)
        .join(Item, Item.id == Assignment.item_id)
        .join(Prompt, Prompt.id == Item.prompt_id)
        .join(Round, Round.id == Item.round_id)
        .outerjoin(Draft, (Draft.item_id == Assignment.item_id) & (Draft.labeler_id == _me))
        .where(_asked.public_id == bindparam("public_id", type_=String))
        .order_by(mine_first, Assignment.id)
        .limit(ONE)
    )
    return found.with_for_update(read=True, of=Round) if keeps_round else found


def read(
    session: Session, public_id: str, labeler: Account, *, keeps_round: bool = False, begins: bool = False
) -> Task:
    """Return the labeler's slot of the item behind this id; raise NotFound if the item was not given to the labeler.

    A labeler who lost a lease and returned through another slot of the item gets that slot. With `keeps_round`, the
    round stays in its state until the end of the transaction (a shared lock: closing the round waits). `begins` is for
    a slot just leased, whose draft may have to be made.
    """
    row = run(session, _statement(keeps_round), {"public_id": public_id, "me": labeler.id}).first()
    draft = row and row[_STARTS[5] : _STARTS[6]]
    if row and draft and draft[0] is None and begins:
        draft = run(session, _NEW_DRAFT, {"item_id": row[_STARTS[1]], "labeler_id": labeler.id}).one()
    if not row or not draft or draft[0] is None:
        raise NotFound(_("Assignment not found, or it is not yours."))
    return _task(session, row, TaskDraft(*draft), keeps_round)


def _task(session: Session, row: Row, draft: TaskDraft, keeps_round: bool) -> Task:
    parts: list[Any] = [row[start:end] for start, end in pairwise(_STARTS)]
    slot, item, prompt, round, versions_, _draft, texts = parts
    guideline, form = versions.guideline(session, versions_[0]), versions.form(session, versions_[1])
    shown = [TaskText(*text) for _position, *text in sorted(orjson.loads(texts[0] or "[]"))]
    # mypy counts what rows are unpacked into.
    made = TaskItem(*item, TaskPrompt(*prompt), TaskRound(*round, guideline, form), shown)  # type: ignore[call-arg]
    return Task(*slot, made, draft, keeps_round)  # type: ignore[call-arg]
