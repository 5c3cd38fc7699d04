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
    help="Rounds: choose prompts and completions, open the round for labelers, close it.\n\n"
    "To compare everything that was imported: plumbline round create Look --collection mine --comparisons 0 --k 8\n\n"
    "and then: plumbline round open 1",
)
Checked = TypeVar("Checked", bound=BaseModel)
Priority = Annotated[RoundPriority, typer.Option(help="Tasks with a higher priority are handed out first.")]
Reserved = Annotated[
    float, typer.Option(min=0, max=1, help="Share of the items that simulated labelers leave to people, such as 0.1.")
]
Number = Annotated[int, typer.Argument(help="The round's number, as `round list` shows it.")]


def _found(session, number: int) -> Round:
    found = queries.by_number(session, number)
    if found is None:
        raise NotFound(f"There is no round {number}; run `plumbline round list` to see all rounds.")
    return found


def _share(text: str) -> PolicyShare:
    """Read NAME or NAME:COUNT. A name may contain colons: without a number at its end, the whole text is the name."""
    counted = re.fullmatch(r"(.+):([0-9]+)", text)
    if counted is None:
        return PolicyShare(policy=text)
    return _checked(PolicyShare, {"policy": counted[1], "count": counted[2]}, f"--policy {text}")


@rounds.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Name of the round.")],
    comparisons: Annotated[int | None, typer.Option(help="Number of prompts for comparisons; 0 for all.")] = None,
    demonstrations: Annotated[int | None, typer.Option(help="Number of prompts for demonstrations; 0 for all.")] = None,
    conversations: Annotated[
        int | None, typer.Option(help="Number of prompts that open a conversation; 0 for all.")
    ] = None,
    topic: Annotated[list[str] | None, typer.Option(help="Use-case description to start a conversation from.")] = None,
    suggests: Annotated[str, typer.Option(help="Policy that suggests messages. Default: the newest available.")] = "",
    alternatives: Annotated[
        int,
        typer.Option(
            help="K, the number of alternatives sampled for one model-written message: 4 to 9, or 0 for none."
        ),
    ] = 4,
    collection: Annotated[list[str] | None, typer.Option(help="Only prompts in these collections.")] = None,
    split: Annotated[list[Split] | None, typer.Option(help="Only prompts in these splits.")] = None,
    use_case: Annotated[list[UseCase] | None, typer.Option(help="Only prompts with these use cases.")] = None,
    source: Annotated[list[PromptSource] | None, typer.Option(help="Only prompts from these sources.")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Only prompts that no other round uses for the same kind of task.")
    ] = False,
    policy: Annotated[
        list[str] | None,
        typer.Option(help="Policy to compare; NAME:3 takes at most 3 completions. Default: all but people."),
    ] = None,
    k: Annotated[int, typer.Option(min=2, max=9, help="Completions per item; fewer if texts are the same.")] = 4,
    overlap: Annotated[int, typer.Option(min=1, max=50, help="Number of labelers per item.")] = 1,
    pool: Annotated[list[Pool] | None, typer.Option(help="Pools that can work on the round. Default: all.")] = None,
    purpose: Annotated[RoundPurpose, typer.Option(help="What the answers are used for.")] = RoundPurpose.TRAINING,
    guideline: Annotated[str, typer.Option(help="Name of the guideline. Default: the one for this purpose.")] = "",
    priority: Priority = RoundPriority.NORMAL,
    reserved_for_people: Reserved = 0.0,
    seed: Annotated[int, typer.Option(help="Seed that chooses prompts and completions.")] = 0,
    plan: Annotated[
        Path | None, typer.Option(help="JSON file with the whole plan, in place of the options above.")
    ] = None,
    open_it: Annotated[bool, typer.Option("--open", help="Open the round at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Create a draft round with its items and print it."""
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
        rules.resample_items(session, round)
        if open_it:
            assigning.open_round(session, round)
            accounts.record(session, None, "round.open", subject=round.public_id)
    _tell(round.number, as_json)


def _reserved(share: float) -> float:
    _checked(RoundChange, {"reserved_for_people": share}, "--reserved-for-people")
    return share


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
    """Resample a draft's items, for example after prompts or completions were added."""
    with transaction() as session:
        rules.resample_items(session, _found(session, number))
    _tell(number, as_json)


@rounds.command("open")
def open_(number: Number, as_json: AsJson = False) -> None:
    """Open a draft round for labelers."""
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
    """Change how a round's tasks are handed out. Omitted options stay unchanged."""
    share = None if reserved_for_people is None else _reserved(reserved_for_people)
    with transaction() as session:
        handing_out.change(session, _found(session, number), None, priority=priority, reserved_for_people=share)
    _tell(number, as_json)


@rounds.command("close")
def close(
    number: Number,
    yes: Annotated[bool, typer.Option("--yes", help="Close even if there are unsubmitted drafts.")] = False,
    as_json: AsJson = False,
) -> None:
    """Close an open round; its answers can then be frozen in a snapshot."""
    with transaction() as session:
        round = _found(session, number)
        try:
            closing.close(session, round, confirmed=yes)
        except closing.Unfinished as error:
            error.message += " Use --yes to close the round anyway."
            raise
        accounts.record(session, None, "round.close", subject=round.public_id)
    _tell(number, as_json)


@rounds.command("reopen")
def reopen(number: Number, as_json: AsJson = False) -> None:
    """Reopen a closed round; existing snapshots of it stay as they are."""
    with transaction() as session:
        round = _found(session, number)
        reopen_round(session, round)
        accounts.record(session, None, "round.reopen", subject=round.public_id)
    _tell(number, as_json)


@rounds.command("list")
def list_(as_json: AsJson = False) -> None:
    """List rounds, newest first."""
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
    show(rows, as_json, "No rounds yet; create one with `plumbline round create`.")


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
