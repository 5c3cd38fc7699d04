"""Every text that a request can bring: of one type, and refused with its field where no database could keep it."""

import dataclasses
import json
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import pytest
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel

from app.accounts.tables import Scope
from app.kit.text import JsonObject, Text, TypedText
from app.main import create_app
from app.web.security import SAFE_METHODS
from tests.desk import make_round

HALF = "\ud83d"  # half of an emoji
CHECKED = [get_args(kind)[-1] for kind in (Text, TypedText, JsonObject)]


def parameters() -> Iterator[tuple[str, str, object, Any]]:
    """Method, path, and what may be sent there: query, body and header fields with their types."""

    def fields(dependant):
        yield from (*dependant.query_params, *dependant.body_params, *dependant.header_params)
        for inner in dependant.dependencies:
            yield from fields(inner)

    for context in iter_route_contexts(create_app().routes):
        if dependant := getattr(context, "dependant", None):
            for field in fields(dependant):
                for method in context.methods:
                    yield method, context.path, field, annotated(field.field_info)


def annotated(field) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def bare(kind: Any, where: str, seen: set) -> Iterator[str]:
    """Where in a type a text is not of our type."""
    if get_origin(kind) is Annotated:
        inner, *notes = get_args(kind)
        if not any(note in CHECKED for note in notes):
            yield from bare(inner, where, seen)
    elif kind in (str, dict, list, Any, object):
        yield f"{where}: {kind}"
    elif isinstance(kind, type) and issubclass(kind, BaseModel):
        if kind not in seen:
            seen.add(kind)
            for name, field in kind.model_fields.items():
                yield from bare(annotated(field), f"{kind.__name__}.{name}", seen)
    elif dataclasses.is_dataclass(kind):
        for name, hint in get_type_hints(kind, include_extras=True).items():
            yield from bare(hint, f"{kind.__name__}.{name}", seen)
    elif get_origin(kind) in (Union, UnionType, list, dict, tuple, set):
        for inner in get_args(kind):
            yield from bare(inner, where, seen)


def test_no_text_of_any_request_is_a_bare_str():
    seen: set = set()
    found = [
        one for method, path, field, kind in parameters() for one in bare(kind, f"{method} {path} {field.name}", seen)
    ]
    assert len(seen) > 40
    assert found == []


def of_bad_texts(kind: Any, depth: int = 0) -> Any:
    """A value of the type's shape whose every text, keys too, holds half a character."""
    if get_origin(kind) is Annotated:
        return of_bad_texts(get_args(kind)[0], depth)
    if isinstance(kind, type) and issubclass(kind, BaseModel) and depth < 6:
        return {name: of_bad_texts(field.annotation, depth + 1) for name, field in kind.model_fields.items()} | {
            HALF: 1
        }
    if get_origin(kind) in (Union, UnionType):
        return of_bad_texts(next(one for one in get_args(kind) if one is not type(None)), depth)
    if get_origin(kind) in (list, tuple, set):
        return [of_bad_texts(get_args(kind)[0], depth + 1)]
    if get_origin(kind) is dict:
        return {HALF: of_bad_texts(get_args(kind)[1], depth + 1)}
    return HALF


def test_half_a_character_is_refused_at_every_address(client, people):
    """All fields at once and each by itself: a refusal that names it, never an error of ours and never stored."""
    headers = people.bearer(people.admin(), *Scope)
    tried = 0
    for method, path, _field, kind in parameters():
        if method in SAFE_METHODS or not path.startswith("/api/v1/") or "import" in path:
            continue
        whole = of_bad_texts(kind)
        if not isinstance(whole, dict):
            continue
        for body in (whole, *({name: value} for name, value in whole.items())):
            response = client.request(
                method,
                path.replace("{id}", "0123456789abcdef").replace("{number}", "1"),
                content=json.dumps(body),
                headers=headers | {"Content-Type": "application/json"},
            )
            assert response.status_code in (404, 409, 422), (method, path, body, response.status_code, response.text)
            tried += 1
    assert tried > 150


@pytest.mark.parametrize("bad", [HALF, "a\x00b", "\udc00\ud800"])
def test_a_draft_that_cannot_be_stored_leaves_the_desk_open(client, people, bad):
    make_round(2)
    me = people.bearer(people.labeler())
    given = client.post("/api/v1/assignments/next", headers=me).json()
    path = f"/api/v1/assignments/{given['id']}"
    body = {"content": {"completions": {}, "notes": bad}, "active_seconds": 1}
    headers = me | {"If-Match": '"0"', "Content-Type": "application/json"}
    refused = client.post(f"{path}/draft", content=json.dumps(body), headers=headers)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"].endswith("content.comparison.notes")
    assert "position" in refused.json()["errors"][0]["detail"]
    skipped = client.post(f"{path}/skip", content=json.dumps({"reason": "other", "note": bad}), headers=headers)
    assert skipped.status_code == 422
    assert client.post("/api/v1/assignments/next", headers=me).status_code == 200
    assert client.get(path, headers=me).status_code == 200


@pytest.mark.parametrize("charset", ["unicode_escape", "utf-7", "utf-16", "latin-1", "nonsense"])
def test_a_form_in_another_charset_breaks_nothing(client, people, charset):
    make_round(1)
    ana = people.labeler()
    people.sign_in(client, ana)
    me = people.bearer(ana)
    given = client.post("/api/v1/assignments/next", headers=me).json()
    fields = {
        **people.csrf(client),
        "notes": "\\ud800 +2AA-",
        "version": "0",
        "reason": "other",
        "note": "\\ud800 +2AA-",
    }
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items())
    headers = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    for act in ("draft", "skip"):
        response = client.post(f"/assignments/{given['id']}/{act}", content=parts + "--b--\r\n", headers=headers)
        assert response.status_code < 500, response.text
    assert client.get(f"/api/v1/assignments/{given['id']}", headers=me).status_code == 200
