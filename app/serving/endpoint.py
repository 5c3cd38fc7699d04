"""Client for an OpenAI-compatible chat server: a few tries, one deadline, no redirects.

Never call this inside a transaction: an answer may take a minute.
"""

import os
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import httpx
import orjson

from app.errors import PlumblineError
from app.kit.i18n import N_
from app.kit.i18n import gettext as _
from app.kit.places import check_address
from training.contract.chat import asked_pause, may_pass, whole_reply

CONNECT_SECONDS = 5
ANSWER_SECONDS = 60  # for all tries together: a person may be waiting
TRIES = 3
PAUSE_SECONDS = 0.5  # longest random pause before the second try; doubles with each try
MAX_ANSWER_BYTES = 4_000_000
SHOWN_CHARACTERS = 300  # of a server's error message


class NoAnswer(PlumblineError):
    """A policy could not be reached, or its answer was not valid."""

    status = 502
    title = N_("The policy did not answer")


class _Passing(NoAnswer):
    """A transient failure; `pause` is the wait in seconds that the server asked for."""

    def __init__(self, message: str, pause: float = 0) -> None:
        super().__init__(message)
        self.pause = pause


@dataclass(frozen=True)
class Endpoint:
    """Address of a policy; the key is looked up only when a request is sent, and shown nowhere."""

    url: str
    model: str = ""
    key_variable: str = ""
    key: str = ""  # for our own sampler


@dataclass(frozen=True)
class ServedCompletion:
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
) -> list[ServedCompletion]:
    """Return between 1 and `n` completions of messages {role, text}; raises NoAnswer, which says what to do.

    Retries transient failures while time remains, after the wait that the server asks for.
    """
    body = {
        "model": endpoint.model,
        "messages": [{"role": message["role"], "content": message["text"]} for message in messages],
        "temperature": temperature,
        "max_tokens": max_tokens,
        "n": n,
    }
    headers = {"Authorization": f"Bearer {key}"} if (key := _key(endpoint)) else {}
    if not endpoint.key:  # a host name may resolve to a different address by now
        check_address(endpoint.url, "endpoint_url")
    until = time.monotonic() + seconds
    tries = 0
    while True:
        tries += 1
        try:
            return _ask(endpoint, body, headers, seconds, until)
        except _Passing as error:
            # Jitter, so that clients hit by the same failure do not retry together.
            pause = error.pause + random.uniform(0, PAUSE_SECONDS * 2 ** (tries - 1))
            if tries == TRIES or time.monotonic() + pause >= until:
                raise
        time.sleep(pause)


def _ask(
    endpoint: Endpoint, body: dict, headers: dict[str, str], seconds: float, until: float
) -> list[ServedCompletion]:
    """Return the completions of one try; the deadline `until` (monotonic) is `seconds` after the first try began."""
    try:
        reply, content = _post(f"{endpoint.url}/chat/completions", body, headers, until)
    except httpx.ConnectError as error:
        raise _Passing(
            _("Could not connect to %(url)s (%(reason)s). Start the server, or correct the policy's address.")
            % {"url": endpoint.url, "reason": error}
        ) from error
    except httpx.TimeoutException as error:
        raise _Passing(
            _("%(url)s did not answer within %(n)d seconds; it may be busy or still loading. Try again.")
            % {"url": endpoint.url, "n": seconds}
        ) from error
    except httpx.DecodingError as error:
        raise NoAnswer(_("%(url)s: %(reason)s.") % {"url": endpoint.url, "reason": error}) from error
    except httpx.HTTPError as error:
        raise _Passing(_("%(url)s: %(reason)s.") % {"url": endpoint.url, "reason": error}) from error
    status = reply.status_code
    if status in (400, 422) and body["n"] > 1:  # some servers reject requests for more than one text
        return _ask(endpoint, {**body, "n": 1}, headers, seconds, until)
    if status != 200:
        refusal = _refusal(endpoint, status, content, reply.headers.get("Location", ""))
        if may_pass(status):
            raise _Passing(refusal, asked_pause(reply))
        raise NoAnswer(refusal)
    return _written(endpoint, content, body["n"])


def _key(endpoint: Endpoint) -> str:
    if not endpoint.key_variable:
        return endpoint.key
    if not (key := os.environ.get(endpoint.key_variable, "")):
        raise NoAnswer(
            _("The variable %(name)s, which holds the endpoint's key, is not set; set it for web and workers.")
            % {"name": endpoint.key_variable}
        )
    return key


def _post(address: str, body: dict, headers: dict[str, str], until: float) -> tuple[httpx.Response, bytes]:
    """Post and return the reply and its whole body, which must arrive before `until` (monotonic)."""
    left = max(until - time.monotonic(), 0.001)
    limits = httpx.Timeout(left, connect=min(CONNECT_SECONDS, left))
    # No proxy or .netrc from the environment: requests go only to the address that an admin entered.
    with httpx.Client(timeout=limits, follow_redirects=False, trust_env=False) as client:
        return whole_reply(client, address, body, until, headers=headers, at_most=MAX_ANSWER_BYTES)


def _refusal(endpoint: Endpoint, status: int, content: bytes, location: str) -> str:
    words = {"url": endpoint.url, "status": status, "model": endpoint.model, "said": _said(content)}
    if 300 <= status < 400:
        return _("%(url)s redirects to %(location)s, and redirects are not followed; use that address instead.") % {
            **words,
            "location": location[:SHOWN_CHARACTERS],
        }
    if status in (401, 403):
        return (
            _("%(url)s refused the key (%(status)d); check its variable for web and workers. The server said: %(said)s")
            % words
        )
    if status == 404:
        return (
            _("%(url)s has no model “%(model)s”, or the address does not end in /v1 (404). The server said: %(said)s")
            % words
        )
    if status == 429:
        return (
            _("%(url)s is overloaded, or a rate limit was reached (429); try again later. The server said: %(said)s")
            % words
        )
    if status >= 500:
        return _("%(url)s failed (%(status)d); check the server's log. The server said: %(said)s") % words
    return _("%(url)s refused the request (%(status)d). The server said: %(said)s") % words


def _said(content: bytes) -> str:
    """Return the message of an OpenAI-style error and no other content, which may be from an unrelated page."""
    try:
        told = orjson.loads(content)
    except orjson.JSONDecodeError:
        told = None
    told = told if isinstance(told, dict) else None
    for key in ("error", "message", "detail"):
        told = told.get(key, told) if isinstance(told, dict) else told
    return " ".join(told.split())[:SHOWN_CHARACTERS] if isinstance(told, str) and told.strip() else _("nothing")


def _written(endpoint: Endpoint, content: bytes, n: int) -> list[ServedCompletion]:
    try:
        answer = orjson.loads(content)
        made = []
        for choice in answer["choices"][:n]:
            text = choice["message"]["content"]
            # PostgreSQL cannot store NUL; empty texts are dropped.
            if isinstance(text, str) and (text := text.replace("\x00", "")).strip():
                made.append(ServedCompletion(text.strip("\n").rstrip(), None, choice.get("finish_reason") != "length"))
        if len(answer["choices"]) == 1 and made:
            tokens = (answer.get("usage") or {}).get("completion_tokens")
            made = [ServedCompletion(made[0].text, tokens if isinstance(tokens, int) else None, made[0].finished)]
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise _Passing(
            _("%(url)s did not return a chat completion; does its address end in /v1? The server said: %(said)s")
            % {"url": endpoint.url, "said": _said(content)}
        ) from error
    if not made:
        raise _Passing(_("%(url)s returned an empty text; try again.") % {"url": endpoint.url})
    return made
