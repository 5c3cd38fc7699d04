"""Reading Argilla's exports of ranking questions: records with fields and responses, as 1.x and 2.x write them.

Shapes: `responses` by question with {value, user_id} each (2.x, to_json), by user with {values, user_id, status} each
(1.x), or columns "<question>.responses" and "<question>.responses.users" (2.x, to_datasets). A value is a list of field
names, best first, or of {value, rank}, where equal ranks tie.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from app.comparisons.rankings import Order
from app.errors import BadInput
from app.kit.given import Given
from app.kit.i18n import gettext as _
from app.kit.text import require_text
from app.prompts.shapes import prompts_of

SUBMITTED = ("submitted", None, "")
PROMPTS = ("prompt", "messages", "instruction", "input", "conversations")
NO_TEXTS = ("id", "status", "_server_id")


class _Response(NamedTuple):
    question: str
    value: list  # empty if it is not one
    user: str
    status: str | None


def orders(values: Given) -> list[Order]:
    """Return every ranking of a record; raise BadInput if it has responses but none ranks its fields."""
    given = values.structured("fields")
    answered = list(_responses(values))
    if not answered:
        values.used.update(values)
        return [_no_order("", _("Nobody has answered the record yet."))]
    fields = values.within("fields", given) if isinstance(given, Mapping) else values
    found = [one for one in answered if _names(one.value) and set(_names(one.value)) <= fields.keys()]
    if not found:
        raise BadInput(
            _("No ranking found: no response ranks fields of the record. The record has: %(keys)s.")
            % {"keys": values.named()},
            field="responses",
        )
    questions = {one.question for one in found}
    # Other answers to a ranking's question are unreadable rankings; answers to other questions are not rankings.
    broken = [one for one in answered if one.question in questions and one not in found]
    unread = [_no_order(one.user, _("The response does not rank fields of the record.")) for one in broken]
    return [_order(fields, one) for one in found] + unread


def _no_order(labeler: str, why: str) -> Order:
    return Order((), (), (), labeler, why)


def _responses(values: Given) -> Iterator[_Response]:
    given = values.structured("responses")
    if isinstance(given, Mapping):  # by question
        for question, answers in given.items():
            for one in answers if isinstance(answers, list) else []:
                if isinstance(one, Mapping):
                    yield _response(question, one.get("value"), one.get("user_id"), one.get("status"))
    for one in given if isinstance(given, list) else []:  # by user
        answers = one.get("values") if isinstance(one, Mapping) else None
        for question, answer in answers.items() if isinstance(answers, Mapping) else []:
            value = answer.get("value") if isinstance(answer, Mapping) else answer
            yield _response(question, value, one.get("user_id"), one.get("status"))
    for name in values:
        if name.endswith(".responses"):
            answers = _listed(values.structured(name))
            users = _listed(values.structured(f"{name}.users")) or [""] * len(answers)
            states = _listed(values.structured(f"{name}.status")) or [None] * len(answers)
            for answer, user, state in zip(answers, users, states, strict=False):
                yield _response(name.removesuffix(".responses"), answer, user, state)


def _response(question: str, value: object, user: object, status: str | None) -> _Response:
    return _Response(question, value if isinstance(value, list) else [], str(user or ""), status)


def _listed(value: object) -> list:
    """Return a column's value as a list: a lone value as a list of one, nothing as an empty list."""
    if not value:
        return []
    return value if isinstance(value, list) else [value]


def _names(value: list) -> list[str]:
    """Return the fields that a value orders; none if it is not an order of fields."""
    given = [one.get("value") if isinstance(one, Mapping) else one for one in value]
    names = [name for name in given if isinstance(name, str)]
    return names if len(names) > 1 and len(set(names)) == len(given) else []


def _order(fields: Given, one: _Response) -> Order:
    names = _names(one.value)
    ranks = [answer.get("rank") if isinstance(answer, Mapping) else place for place, answer in enumerate(one.value, 1)]
    if not all(rank is None or isinstance(rank, int) for rank in ranks):
        raise BadInput(_("A rank in %(question)s is not a number.") % {"question": one.question}, field=one.question)
    asked = Given(_asked(fields, names))
    messages = prompts_of(asked)[0]
    fields.used.update(asked.used, NO_TEXTS)
    return Order(
        messages=messages,
        texts=[require_text(fields[name], name, may_be_empty=True) for name in names],
        tiers=ranks,
        labeler=one.user,
        left_out=""
        if one.status in SUBMITTED
        else _("The response has the status “%(status)s”.") % {"status": one.status},
    )


def _asked(fields: Given, ranked: list[str]) -> dict[str, object]:
    """Return the fields that hold the prompt: those with our names, else the only one that is not ranked."""
    names = [name for name in fields if name not in ranked and "." not in name and fields.peek(name)]
    rest = {name: fields.peek(name) for name in names}
    if known := {name: value for name, value in rest.items() if name in PROMPTS}:
        return known
    texts = {name: value for name, value in rest.items() if isinstance(value, str | list) and name not in NO_TEXTS}
    if len(texts) != 1:
        raise BadInput(
            _("Cannot tell which field is the prompt; name it “prompt”. Fields that are not ranked: %(names)s.")
            % {"names": ", ".join(texts) or _("none")},
            field="fields",
        )
    fields.used.update(texts)
    return {"prompt": next(iter(texts.values()))}
