"""`plumbline round`."""

import re
from pathlib import Path
from typing import Annotated, TypeVar

import orjson
import typer
from pydantic import BaseModel, ValidationError

from app.accounts import rules as accounts
from app.assignments import closing, handing_out
from app.assignments import rules as assigning
from app.assignments.progress import progress as progress_of
from app.assignments.progress import without_labeler
from app.database import reading, transaction
from app.errors import BadInput, NotFound
from app.kit.terminal import AsJson, show
from app.plans.rules import reopen_round
from app.prompts.tables import PromptSource
from app.rounds import queries, rules
from app.rounds.schemas import PolicyShare, PromptFilter, RoundChange, RoundPlan
from app.rounds.tables import Round, RoundPriority, RoundPurpose
from training.contract.records import Pool, Split, UseCase

rounds = typer.Typer(
    no_args_is_help=True,
    help="Rounds: choose prompts and completions, let labelers work on them, close.\n\n"
    "To compare all that was imported: plumbline round create Look --collection mine --comparisons 0 --k 8\n\n"
    "and then: plumbline round open 1",
)
Checked = TypeVar("Checked", bound=BaseModel)
Priority = Annotated[RoundPriority, typer.Option(help="Tasks of a higher one are handed out first.")]
Reserved = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the items that simulated labelers leave to people, such as 0.1.")
]
Number = Annotated[int, typer.Argument(help="The round's number, as `round list` shows it.")]


def _found(session, number: int) -> Round:
    found = queries.by_number(session, number)
    if found is None:
        raise NotFound(f"There is no round {number}; `plumbline round list` shows them.")
    return found


def _share(text: str) -> PolicyShare:
    """NAME or NAME:COUNT; a name may hold colons, so what ends in no number is a name and looked up as one."""
    counted = re.fullmatch(r"(.+):([0-9]+)", text)
    if counted is None:
        return PolicyShare(policy=text)
    return _checked(PolicyShare, {"policy": counted[1], "count": counted[2]}, f"--policy {text}")


@rounds.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the round is called.")],
    comparisons: Annotated[int | None, typer.Option(help="Prompts to compare completions of; 0 is all.")] = None,
    demonstrations: Annotated[int | None, typer.Option(help="Prompts to write completions for; 0 is all.")] = None,
    conversations: Annotated[int | None, typer.Option(help="Prompts that open a conversation; 0 is all.")] = None,
    topic: Annotated[list[str] | None, typer.Option(help="Description of a use to begin a conversation from.")] = None,
    suggests: Annotated[str, typer.Option(help="Policy that suggests messages; absent: the newest that writes.")] = "",
    alternatives: Annotated[
        int, typer.Option(help="K, completions sampled in place of one model-written message, 4 to 9; 0 is none.")
    ] = 4,
    collection: Annotated[list[str] | None, typer.Option(help="Only prompts of these collections.")] = None,
    split: Annotated[list[Split] | None, typer.Option(help="Only prompts of these splits.")] = None,
    use_case: Annotated[list[UseCase] | None, typer.Option(help="Only prompts of these use cases.")] = None,
    source: Annotated[list[PromptSource] | None, typer.Option(help="Only prompts of these sources.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Only prompts that no other round asks for this.")] = False,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="A policy that gives completions; NAME:3 takes at most 3. Absent: all but people."),
    ] = None,
    k: Annotated[int, typer.Option(min=2, max=9, help="Completions of an item; fewer where texts coincide.")] = 4,
    overlap: Annotated[int, typer.Option(min=1, max=50, help="Labelers asked for each item.")] = 1,
    pool: Annotated[list[Pool] | None, typer.Option(help="Who may work on it; all if not given.")] = None,
    purpose: Annotated[RoundPurpose, typer.Option(help="What its answers are for.")] = RoundPurpose.TRAINING,
    guideline: Annotated[str, typer.Option(help="Name of the guideline; else as the purpose has it.")] = "",
    priority: Priority = RoundPriority.NORMAL,
    reserved_for_people: Reserved = 0.0,
    seed: Annotated[int, typer.Option(help="Chooses prompts and completions.")] = 0,
    plan: Annotated[
        Path | None, typer.Option(help="A JSON file with a whole plan, instead of the options above.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Let labelers work on it at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a draft with its items, and print it."""
    made = _plan_file(plan) if plan else None
    if made is None:
        shared = {
            "collections": collection or [],
            "splits": split or [],
            "use_cases": use_case or [],
            "sources": source or [],
            "fresh": fresh,
            "seed": seed,
        }
        made = _checked(
            RoundPlan,
            {
                "comparisons": None if comparisons is None else PromptFilter(**shared, count=comparisons or None),
                "demonstrations": None
                if demonstrations is None
                else PromptFilter(**shared, count=demonstrations or None),
                "conversations": None
                if conversations is None and not topic
                else {
                    "starters": None if conversations is None else PromptFilter(**shared, count=conversations or None),
                    "topics": topic or [],
                    "suggests": suggests,
                    "alternatives": alternatives or None,
                },
                "policies": [_share(text) for text in policy or []],
                "completions": k,
                "seed": seed,
            },
        )
    with transaction() as session:
        round = rules.create(
            session,
            name=name,
            plan=made,
            purpose=purpose,
            overlap=overlap,
            pools=pool or list(Pool),
            guideline=guideline or None,
            priority=priority,
            reserved_for_people=_reserved(reserved_for_people),
        )
        rules.prepare(session, round)
        if open_it:
            assigning.open_round(session, round)
            accounts.record(session, None, "round.open", subject=round.public_id)
    _tell(round.number, as_json)


def _reserved(share: float) -> float:
    return _checked(RoundChange, {"reserved_for_people": share}, "--reserved-for-people").reserved_for_people


def _plan_file(path: Path) -> RoundPlan:
    try:
        return _checked(RoundPlan, orjson.loads(path.read_bytes()))
    except (OSError, orjson.JSONDecodeError) as error:
        raise BadInput(f"{path}: {error}", field="plan") from error


def _checked(kind: type[Checked], values: object, what: str = "") -> Checked:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        found = error.errors()[0]
        where = ".".join(map(str, found["loc"]))
        said = ": ".join(part for part in (what, where, found["msg"]) if part)
        raise BadInput(said, field=where or "plan") from error


@rounds.command("prepare")
def prepare(number: Number, as_json: AsJson = False) -> None:
    """Choose a draft's items anew, after prompts or completions were added."""
    with transaction() as session:
        rules.prepare(session, _found(session, number))
    _tell(number, as_json)


@rounds.command("open")
def open_(number: Number, as_json: AsJson = False) -> None:
    """Let labelers work on a draft."""
    with transaction() as session:
        round = _found(session, number)
        assigning.open_round(session, round)
        accounts.record(session, None, "round.open", subject=round.public_id)
    _tell(number, as_json)


@rounds.command("change")
def change(
    number: Number,
    priority: Priority | None = None,
    reserved_for_people: Reserved | None = None,
    as_json: AsJson = False,
) -> None:
    """Change how a round's tasks are handed out; what is left out stays."""
    share = None if reserved_for_people is None else _reserved(reserved_for_people)
    with transaction() as session:
        handing_out.change(session, _found(session, number), None, priority=priority, reserved_for_people=share)
    _tell(number, as_json)


@rounds.command("close")
def close(
    number: Number,
    yes: Annotated[bool, typer.Option("--yes", help="Close it over drafts that are begun and not submitted.")] = False,
    as_json: AsJson = False,
) -> None:
    """Close an open round; its answers can then be frozen in a snapshot."""
    with transaction() as session:
        round = _found(session, number)
        try:
            closing.close(session, round, confirmed=yes)
        except closing.Unfinished as error:
            error.message += " Close it all the same with --yes."
            raise
        accounts.record(session, None, "round.close", subject=round.public_id)
    _tell(number, as_json)


@rounds.command("reopen")
def reopen(number: Number, as_json: AsJson = False) -> None:
    """Open a closed round again; snapshots made from it stay as they are."""
    with transaction() as session:
        round = _found(session, number)
        reopen_round(session, round)
        accounts.record(session, None, "round.reopen", subject=round.public_id)
    _tell(number, as_json)


@rounds.command("list")
def list_(as_json: AsJson = False) -> None:
    """List rounds, the newest first."""
    with reading() as session:
        found, _cursor = queries.rounds(session, None, 100_000)
        items = queries.items_by_kind(session, [round.id for round in found])
        progress = progress_of(session, [round.id for round in found])
    rows = [
        {
            "number": round.number,
            "name": round.name,
            "purpose": round.purpose,
            "state": round.state,
            "items": sum(items.get(round.id, {}).values()),
            "submitted": progress[round.id].submitted,
            "of": progress[round.id].all,
        }
        for round in found
    ]
    show(rows, as_json, "No rounds yet; make one with `plumbline round create`.")


@rounds.command("show")
def show_(number: Number, as_json: AsJson = False) -> None:
    """Show one round: its plan, progress, and what was left out."""
    _tell(number, as_json)


def _tell(number: int, as_json: bool) -> None:
    with reading() as session:
        round = _found(session, number)
        items = queries.items_by_kind(session, [round.id]).get(round.id, {})
        sizes = queries.sizes(session, round)
        progress = progress_of(session, [round.id])[round.id]
        stuck = without_labeler(session, [round.id]).get(round.id, 0)
    facts = {
        "number": round.number,
        "id": round.public_id,
        "name": round.name,
        "purpose": round.purpose,
        "state": round.state,
        "guideline": f"{round.guideline.name} v{round.guideline.version}",
        "pools": round.pools,
        "overlap": round.overlap,
        "priority": round.priority,
        "reserved_for_people": round.reserved_percent / 100,
        "items": {str(kind): count for kind, count in items.items()},
        "completions_per_item": {str(k): count for k, count in sizes},
        "left_out": {reason: count for reason, count in rules.left_out_reasons(round)},
        "assignments": progress._asdict(),
        "without_labeler": stuck,
        "plan": round.plan,
    }
    if as_json:
        typer.echo(orjson.dumps(facts | {"left_out_prompts": round.left_out}, option=orjson.OPT_INDENT_2).decode())
        return
    for key, value in facts.items():
        said = ", ".join(f"{k}: {v}" for k, v in value.items()) if isinstance(value, dict) else value
        said = ", ".join(said) if isinstance(said, list) else said
        typer.echo(f"{key.replace('_', ' '):22}{said or '-'}")
