"""Completions by a server that speaks OpenAI's chat protocol, such as vLLM or SGLang: many requests at once.

After a failure that may pass (overload, a restart, an answer that is none) a request is sent again: when the
server says, or after pauses that double and are drawn at random, so that those that wait do not come back together. A
request that waits keeps its place among those at once, so an overloaded server is asked less.
"""

import os
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import Any, NamedTuple

import httpx

from training.contract.records import Message

KEY_VARIABLE = "ENDPOINT_KEY"
ANSWER_SECONDS, CONNECT_SECONDS = 600, 10
PATIENCE_SECONDS = 15 * 60  # without any answer to any request, and the run fails
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0  # before the second try, and before any
TRIES = 8  # of a request that fails while others are answered
REQUESTS_AT_ONCE, CHOICES_AT_ONCE = 32, 32
SHOWN_CHARACTERS = 300  # of what a server says about an error
_LOOK_SECONDS = 0.5


class Request(NamedTuple):
    """A prompt, and the seed of its completion."""

    prompt: Sequence[Message]
    seed: int


class Answer(NamedTuple):
    """One completion: its text, whether it ended by itself; its tokens and their log-probs where the server tells."""

    text: str
    finished: bool
    ids: list[int] | None
    logprobs: list[float] | None


class Refused(ValueError):
    """The server does not answer this one request, and would not if it were asked again."""


class _Passing(ValueError):
    """A failure that may pass; `load` if the server is overloaded, `pause` is how many seconds it asked for."""

    def __init__(self, message: str, load: bool = False, pause: float = 0) -> None:
        super().__init__(message)
        self.load, self.pause = load, pause


class _Ended(Exception):
    """No request shall begin any more."""


@dataclass
class _Shared:
    """What the requests of one call know of one another; times are `time.monotonic()`."""

    answered_at: float = field(default_factory=time.monotonic)
    answers: int = 0
    quiet_until: float = 0.0  # no request begins before: the server said so to one of them
    ended: threading.Event = field(default_factory=threading.Event)
    notices: set[str] = field(default_factory=set)


def ask(
    url: str,
    model: str,
    requests: Sequence[Request],
    *,
    max_tokens: int,
    temperature: float,
    stopping: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, list[Answer] | Refused]]:
    """Yield (place of the first, completions) as they come; neighbours that are equal are asked for together.

    Where the server refuses a request, the reason stands in place of what it has not written. Raises ValueError where
    no request can be answered; what is on its way by then is yielded first. Once `stopping()`, no request begins, and
    what is on its way is the last.
    """
    key = os.environ.get(KEY_VARIABLE)
    shared = _Shared()
    came: queue.SimpleQueue[tuple[int, int, list[Answer] | BaseException]] = queue.SimpleQueue()
    failure: BaseException | None = None
    # No proxy, no .netrc, no redirects: prompts go to the address of the config and nowhere else.
    with (
        httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        ) as client,
        ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool,
    ):

        def several(place: int, request: Request, count: int) -> None:
            body = {
                "model": model,
                "messages": [{"role": message.role, "content": message.text} for message in request.prompt],
                "temperature": temperature,
                "top_p": 1,
                "max_tokens": max_tokens,
                "logprobs": True,
                "return_token_ids": True,  # vLLM from 0.10.2 on and SGLang know it; to encode a text may change it
            }
            done = 0
            try:
                while done < count:  # a server may give fewer than it was asked for
                    n = min(count - done, CHOICES_AT_ONCE)
                    answers = _patiently(client, {**body, "n": n, "seed": request.seed + done}, shared)[:n]
                    came.put((place + done, len(answers), answers))
                    done += len(answers)
            except BaseException as error:
                came.put((place + done, count - done, error))

        try:
            place = 0
            for request, alike in groupby(requests):
                count = len(list(alike))
                pool.submit(several, place, request, count)
                place += count
            left = place
            while left:
                if stopping():
                    shared.ended.set()
                with suppress(queue.Empty):
                    place, count, found = came.get(timeout=_LOOK_SECONDS)
                    left -= count
                    if isinstance(found, list | Refused):
                        yield place, found
                    elif not isinstance(found, _Ended):
                        failure = failure or found
                        shared.ended.set()
        finally:
            shared.ended.set()
    if failure is not None:
        raise failure


def _patiently(client: httpx.Client, body: dict[str, Any], shared: _Shared) -> list[Answer]:
    """The choices of one request, asked for until they come; raises Refused, or ValueError when patience is over."""
    tries, known = 0, None  # how many answers had come when it failed first
    while True:
        tries += 1
        _wait(shared, 0)
        try:
            answers = _post(client, body)
        except _Passing as error:
            known = shared.answers if known is None else known
            if tries >= TRIES and shared.answers > known and not error.load:
                raise Refused(str(error)) from error  # the server works, but not for this one
            left = shared.answered_at + PATIENCE_SECONDS - time.monotonic()
            if left <= error.pause:
                raise ValueError(str(error)) from error
            _notice(shared, error)
            if error.load:  # it is meant for all
                shared.quiet_until = max(shared.quiet_until, time.monotonic() + error.pause)
            _wait(shared, time.monotonic() + min(error.pause + _back_off(tries), left))
        else:
            shared.answered_at, shared.answers = time.monotonic(), shared.answers + 1
            return answers


def _back_off(tries: int) -> float:
    """Seconds to wait after so many tries, drawn from 0 to a limit that doubles each time."""
    return random.uniform(0, min(PAUSE_SECONDS * 2 ** min(tries - 1, 10), LONGEST_PAUSE_SECONDS))


def _wait(shared: _Shared, until: float) -> None:
    """Wait until then, and as long as the server asked all requests to; raises _Ended once none shall begin."""
    while (left := max(until, shared.quiet_until) - time.monotonic()) > 0 and not shared.ended.is_set():
        shared.ended.wait(left)
    if shared.ended.is_set():
        raise _Ended


def _notice(shared: _Shared, error: _Passing) -> None:
    """Say in the log why requests wait, once for each reason."""
    if str(error) not in shared.notices:
        shared.notices.add(str(error))
        print(f"asked again until {PATIENCE_SECONDS} seconds bring no answer: {error}", file=sys.stderr)


def _post(client: httpx.Client, body: dict[str, Any]) -> list[Answer]:
    """The choices of one request; raises _Passing, Refused or, where no other would fare better, ValueError."""
    url = str(client.base_url).rstrip("/")
    try:
        reply = _reply(client, body)
    except httpx.ConnectError as error:
        raise _Passing(f"endpoint: nothing answers at {url} ({error}); start the server or correct it") from error
    except httpx.TimeoutException as error:
        raise _Passing(f"endpoint: {url} did not answer within {ANSWER_SECONDS} seconds; see its log") from error
    except httpx.HTTPError as error:
        raise _Passing(f"endpoint: {url} broke off its answer ({error}); see its log") from error
    status = reply.status_code
    if status != 200:
        refusal = f"endpoint: {_refusal(url, reply, body['model'])} It said: {_said(reply)}"
        if status in (408, 409, 425, 429) or status >= 500:
            raise _Passing(refusal, load=status in (429, 503), pause=_asked_pause(reply))
        raise Refused(refusal) if status in (400, 413, 422) else ValueError(refusal)
    try:
        answer = reply.json()
        answers = [
            Answer(
                choice["message"]["content"] or "",
                choice["finish_reason"] == "stop",
                choice.get("token_ids"),
                _logprobs(choice),
            )
            for choice in answer["choices"]
        ]
        tokens = (answer.get("usage") or {}).get("completion_tokens")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _Passing(
            f"endpoint: {url} answered with something else than a chat completion: {_said(reply)}"
        ) from error
    if not answers:
        raise _Passing(f"endpoint: {url} answered without a completion; see its log")
    cut = sum(not each.finished for each in answers) * body["max_tokens"]
    if tokens is not None and tokens < cut:
        raise Refused(
            f"max_completion_tokens: {url} cut a completion before {body['max_tokens']} tokens; "
            "raise the server's own limit (vLLM: --max-model-len) or lower this one"
        )
    return answers


def _reply(client: httpx.Client, body: dict[str, Any]) -> httpx.Response:
    """The whole reply; raises httpx.ReadTimeout where it drips in for more than ANSWER_SECONDS."""
    until = time.monotonic() + ANSWER_SECONDS
    with client.stream("POST", "chat/completions", json=body) as reply:
        content = bytearray()
        for chunk in reply.iter_bytes():
            content += chunk
            if time.monotonic() > until:
                raise httpx.ReadTimeout("its answer does not end")
    return httpx.Response(
        reply.status_code, headers={"Retry-After": reply.headers.get("Retry-After", "")}, content=bytes(content)
    )


def _asked_pause(reply: httpx.Response) -> float:
    """How many seconds the server asks to wait, by Retry-After as a number or as a date; 0 where it does not say."""
    told = reply.headers["Retry-After"].strip()
    with suppress(ValueError):
        if told.isdecimal():
            return float(told)
        when = parsedate_to_datetime(told)
        return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return 0.0


def _logprobs(choice: dict[str, Any]) -> list[float] | None:
    told = (choice.get("logprobs") or {}).get("content")
    return None if told is None else [float(token["logprob"]) for token in told]


def _refusal(url: str, reply: httpx.Response, model: str) -> str:
    status = reply.status_code
    if status in (401, 403):
        return f"{url} refused the key ({status}); set {KEY_VARIABLE} in the environment."
    if status == 404:
        return f"{url} has no model {model!r}, or does not end in /v1 (404); GET {url}/models lists what it has."
    if status == 429:
        return f"{url} is overloaded, or a limit is reached (429); try again later."
    if status >= 500:
        return f"{url} broke ({status}); see its log."
    return f"{url} refused the request ({status})."


def _said(reply: httpx.Response) -> str:
    try:
        told = reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        told = reply.text
    return " ".join(str(told).split())[:SHOWN_CHARACTERS] or "nothing"
