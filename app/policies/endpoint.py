"""Asking an OpenAI-compatible chat server for completions: one request, a deadline, no redirects, no surprises.

Never call this inside a transaction: an answer may take a minute.
"""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import orjson

from app.errors import PlumblineError
from app.i18n import N_
from app.i18n import gettext as _

CONNECT_SECONDS = 5
ANSWER_SECONDS = 60
MAX_ANSWER_BYTES = 4_000_000
SHOWN_CHARACTERS = 300  # of what a server says about an error


class NoAnswer(PlumblineError):
    """A policy could not be asked, or did not answer as it should."""

    status = 502
    title = N_("The policy did not answer")


@dataclass(frozen=True)
class Endpoint:
    """Where a policy is asked; the key is looked up only when a request is sent, and shown nowhere."""

    url: str
    model: str = ""
    key_variable: str = ""
    key: str = ""  # of a server of our own


@dataclass(frozen=True)
class Written:
    """One completion."""

    text: str
    tokens: int | None
    finished: bool


def chat(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, str]],
    *,
    n: int = 1,
    temperature: float = 1.0,
    max_tokens: int = 1024,
    seconds: float = ANSWER_SECONDS,
) -> list[Written]:
    """At least one and at most `n` completions of messages {role, text}; raises NoAnswer with what to do."""
    body = {
        "model": endpoint.model,
        "messages": [{"role": message["role"], "content": message["text"]} for message in messages],
        "temperature": temperature,
        "max_tokens": max_tokens,
        "n": n,
    }
    headers = {"Authorization": f"Bearer {key}"} if (key := _key(endpoint)) else {}
    address = f"{endpoint.url}/chat/completions"
    try:
        status, content, location = _post(address, body, headers, seconds)
    except httpx.ConnectError as error:
        raise NoAnswer(
            _("Nothing answers at %(url)s (%(reason)s). Start the server, or add a policy with the right address.")
            % {"url": endpoint.url, "reason": error}
        ) from error
    except httpx.TimeoutException as error:
        raise NoAnswer(
            _("%(url)s did not answer within %(n)d seconds; it may be busy or still loading. Try again.")
            % {"url": endpoint.url, "n": seconds}
        ) from error
    except httpx.HTTPError as error:
        raise NoAnswer(_("%(url)s: %(reason)s.") % {"url": endpoint.url, "reason": error}) from error
    if status in (400, 422) and n > 1:  # some servers write one text at a time and refuse to be asked for more
        return chat(endpoint, messages, temperature=temperature, max_tokens=max_tokens, seconds=seconds)
    if status != 200:
        raise NoAnswer(_refusal(endpoint, status, content, location))
    return _written(endpoint, content, n)


def _key(endpoint: Endpoint) -> str:
    if not endpoint.key_variable:
        return endpoint.key
    if not (key := os.environ.get(endpoint.key_variable, "")):
        raise NoAnswer(
            _("The variable %(name)s, which holds the endpoint's key, is not set here; set it for web and workers.")
            % {"name": endpoint.key_variable}
        )
    return key


def _post(address: str, body: dict, headers: dict[str, str], seconds: float) -> tuple[int, bytes, str]:
    """Status, body and redirect's target of a post; the whole answer must be there within the seconds."""
    until = time.monotonic() + seconds
    limits = httpx.Timeout(seconds, connect=min(CONNECT_SECONDS, seconds))
    # No proxy and no .netrc of the environment: what is sent goes to the address that an admin named, and nowhere else.
    with (
        httpx.Client(timeout=limits, follow_redirects=False, trust_env=False) as client,
        client.stream("POST", address, json=body, headers=headers) as reply,
    ):
        content = bytearray()
        for chunk in reply.iter_bytes():
            content += chunk
            if len(content) > MAX_ANSWER_BYTES:
                raise httpx.DecodingError(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > until:
                raise httpx.ReadTimeout("its answer does not end")
        return reply.status_code, bytes(content), reply.headers.get("location", "")


def _refusal(endpoint: Endpoint, status: int, content: bytes, location: str) -> str:
    words = {"url": endpoint.url, "status": status, "model": endpoint.model, "said": _said(content)}
    if 300 <= status < 400:
        return _("%(url)s leads elsewhere (to %(location)s), and redirects are not followed; name that address.") % {
            **words,
            "location": location[:SHOWN_CHARACTERS],
        }
    if status in (401, 403):
        return (
            _("%(url)s refused the key (%(status)d); set its variable for web and workers. It said: %(said)s") % words
        )
    if status == 404:
        return (
            _("%(url)s has no model “%(model)s”, or the address does not end in /v1 (404). It said: %(said)s") % words
        )
    if status == 429:
        return _("%(url)s has too much to do, or a limit is reached (429); try later. It said: %(said)s") % words
    if status >= 500:
        return _("%(url)s broke (%(status)d); see its own log. It said: %(said)s") % words
    return _("%(url)s refused the request (%(status)d). It said: %(said)s") % words


def _said(content: bytes) -> str:
    try:
        told = orjson.loads(content)
        told = told.get("error", told) if isinstance(told, dict) else told
        text = told.get("message", "") if isinstance(told, dict) else str(told)
    except orjson.JSONDecodeError:
        text = content.decode(errors="replace")
    return " ".join(str(text).split())[:SHOWN_CHARACTERS] or "–"


def _written(endpoint: Endpoint, content: bytes, n: int) -> list[Written]:
    try:
        answer = orjson.loads(content)
        made = []
        for choice in answer["choices"][:n]:
            text = choice["message"]["content"]
            # PostgreSQL stores no NUL, and an empty text is nothing to show.
            if isinstance(text, str) and (text := text.replace("\x00", "")).strip():
                made.append(Written(text.strip("\n").rstrip(), None, choice.get("finish_reason") != "length"))
        if len(answer["choices"]) == 1 and made:
            tokens = (answer.get("usage") or {}).get("completion_tokens")
            made = [Written(made[0].text, tokens if isinstance(tokens, int) else None, made[0].finished)]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise NoAnswer(
            _("%(url)s answered with something else than a chat completion: %(said)s")
            % {"url": endpoint.url, "said": _said(content)}
        ) from error
    if not made:
        raise NoAnswer(_("%(url)s wrote an empty text; ask again.") % {"url": endpoint.url})
    return made
