"""Versions of guidelines and forms as values: a version never changes, so each process reads it once."""

from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Pool
from sqlalchemy.orm import Session

from app.guidelines.schemas import Question
from app.guidelines.tables import Form, Guideline

T = TypeVar("T")
_known: WeakKeyDictionary[Pool, dict[tuple[type, int], Any]] = WeakKeyDictionary()  # by database


@dataclass(frozen=True, slots=True)
class GuidelineVersion:
    """One version of a guideline."""

    id: int
    public_id: str
    name: str
    version: int
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class FormVersion:
    """One version of a form, with its questions as they are stored and as they are read."""

    id: int
    version: int
    questions: tuple[dict, ...]
    asked: tuple[Question, ...]


def guideline(session: Session, id: int) -> GuidelineVersion:
    """Return a committed version of a guideline by its row's id."""
    found = _cached(session, GuidelineVersion, id)
    if found is None:
        row = session.get_one(Guideline, id)
        found = GuidelineVersion(row.id, row.public_id, row.name, row.version, row.title, row.body)
        _keep(session, found)
    return found


def form(session: Session, id: int) -> FormVersion:
    """Return a committed version of a form by its row's id."""
    found = _cached(session, FormVersion, id)
    if found is None:
        row = session.get_one(Form, id)
        asked = tuple(Question.model_validate(question) for question in row.questions)
        found = FormVersion(row.id, row.version, tuple(row.questions), asked)
        _keep(session, found)
    return found


def _pool(session: Session) -> Pool:
    return session.get_bind().engine.pool


def _cached(session: Session, kind: type[T], id: int) -> T | None:
    return _known.get(_pool(session), {}).get((kind, id))


def _keep(session: Session, version: GuidelineVersion | FormVersion) -> None:
    _known.setdefault(_pool(session), {})[type(version), version.id] = version
