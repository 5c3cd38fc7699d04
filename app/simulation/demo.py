"""The demo: accounts that can sign in on this machine, readable texts to rank, and a prepared miniature loop."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.accounts.passwords import DEMO_PASSWORD, hash_password
from app.accounts.rules import create_account
from app.accounts.tables import Account, AccountKind, Role
from app.assignments.rules import open_round
from app.checkpoints.rules import create_job
from app.completions import rules as completions
from app.config import settings
from app.database import reading, transaction
from app.errors import Conflict
from app.jobs.tables import JobVerb
from app.onboarding import exercises
from app.onboarding.schemas import ExerciseIn
from app.policies.rules import get_or_create
from app.policies.tables import PolicyKind
from app.prompts import rules as prompts
from app.prompts.admission import Admission
from app.prompts.messages import canonical
from app.prompts.schemas import PromptDraft
from app.prompts.tables import Prompt, PromptSource
from app.rounds import rules as rounds
from app.rounds.schemas import PromptFilter, RoundPlan
from app.rounds.tables import Round, RoundPurpose
from app.simulation import miniature
from app.simulation.miniature import FOR_PEOPLE
from app.tables import metadata
from training.contract.records import Pool, Split
from training.miniature.readable import ReadablePrompt, readable, to_demonstrate

SEED = 1
TRAIN_PROMPTS, VALIDATION_PROMPTS, DEMONSTRATIONS = 2000, 200, 300
PRACTICE = Path(__file__).with_name("practice.json")
OVERLAP = 5  # enough tasks for everyone who tries the demo


@dataclass(frozen=True)
class Person:
    """A demo account; it can sign in only while Plumbline listens on loopback."""

    username: str
    name: str
    what: str
    role: Role = Role.LABELER
    pool: Pool = Pool.TRAIN
    password: str = DEMO_PASSWORD


PEOPLE = (
    Person("ada", "Ada", "labeler: ranks completions and writes demonstrations"),
    Person("ben", "Ben", "labeler in the held-out pool, whose work is only for testing", pool=Pool.HELD_OUT),
    Person("carla", "Carla", "admin: rounds, jobs, policies, people", role=Role.ADMIN),
)


def is_loaded() -> bool:
    """Return whether the demo is in this database."""
    with reading() as session:
        return session.scalar(select(Account.id).where(Account.kind == AccountKind.DEMO).limit(1)) is not None


def load(say: Callable[[str], object] = print) -> None:
    """Load the demo in one transaction unless it is already loaded."""
    if is_loaded():
        return
    say("Loading the demo ...")
    password = hash_password(DEMO_PASSWORD)
    with transaction() as session:
        accounts = [
            create_account(
                session,
                username=person.username,
                name=person.name,
                password=password,
                role=person.role,
                pool=person.pool,
                kind=AccountKind.DEMO,
            )
            for person in PEOPLE
        ]
        admin = accounts[-1]
        for exercise in json.loads(PRACTICE.read_text(encoding="utf-8")):
            exercises.write(session, ExerciseIn(part=RoundPurpose.PRACTICE, **exercise), admin)
        _readable_rounds(session, admin)
        _miniature_round(session, admin)
        create_job(session, JobVerb.TRAIN_BASE, {"recipe": "miniature_base"}, name="Miniature base model", by=admin)


def _readable_rounds(session: Session, by: Account) -> None:
    """Create a round to rank and a round to write, with texts written for people; no training uses them."""
    compared = readable()
    asked = _add_readable(session, compared)
    for prompt, task in zip(asked, compared, strict=True):
        for style, text in task.completions:
            policy = get_or_create(
                session, f"example: {style}", PolicyKind.IMPORTED, description="Written for the demo."
            )
            completions.add(session, prompt, policy, text)
    _open(session, "Something to rank", RoundPlan(comparisons=_these(asked), completions=9), by)
    written = _add_readable(session, to_demonstrate())
    _open(session, "Something to write", RoundPlan(demonstrations=_these(written)), by)


def _add_readable(session: Session, tasks: Sequence[ReadablePrompt]) -> list[Prompt]:
    return [
        prompts.add(
            session,
            messages=[{"role": "user", "text": task.prompt}],
            source=PromptSource.LABELER_PLAIN,
            use_case=task.use_case,
            owner="plumbline demo",
            split=Split.TRAIN,
            collection="demo",
        )
        for task in tasks
    ]


def _these(asked: Sequence[Prompt]) -> PromptFilter:
    return PromptFilter(prompts=[prompt.public_id for prompt in asked])


def _open(session: Session, name: str, plan: RoundPlan, by: Account) -> Round:
    round = rounds.create(session, name=name, plan=plan, purpose=RoundPurpose.DEMO, overlap=OVERLAP, by=by)
    rounds.resample_items(session, round)
    open_round(session, round)
    return round


def _miniature_round(session: Session, by: Account) -> None:
    """Add the miniature prompts and open the round of demonstrations with which the loop begins."""
    drafts = [
        PromptDraft(
            messages=canonical([{"role": "user", "text": given.prompt}]),
            source=given.source,
            use_case=given.use_case,
            owner=given.owner,
            split=given.split,
            collection=given.collection,
        )
        for given in miniature.prompts(SEED, train=TRAIN_PROMPTS, validation=VALIDATION_PROMPTS)
    ]
    Admission(session, filters=False).take(drafts)
    asked = PromptFilter(collections=[miniature.COLLECTION], splits=[Split.TRAIN], count=DEMONSTRATIONS)
    round = rounds.create(
        session,
        name="Miniature demonstrations",
        plan=RoundPlan(demonstrations=asked),
        pools=[Pool.TRAIN],
        reserved_for_people=FOR_PEOPLE,
        by=by,
    )
    rounds.resample_items(session, round)
    open_round(session, round)


def reset() -> None:
    """Empty the database and the folders of runs and snapshots; raise Conflict if it has accounts of real people."""
    with transaction() as session:
        people = session.scalar(select(func.count()).where(Account.kind == AccountKind.PERSON))
        if people:
            raise Conflict(
                f"a reset would delete the accounts and the work of people ({people} here); "
                "set PLUMBLINE_DATA_DIR to another folder for the demo"
            )
        for table in reversed(metadata.sorted_tables):
            session.execute(delete(table))
    for name in ("runs", "snapshots"):
        shutil.rmtree(settings().data_dir / name, ignore_errors=True)
