"""Completions from a server that speaks OpenAI's chat protocol, such as vLLM or SGLang; requests run concurrently.

After a failure that may pass (overload, a restart, an invalid answer) a request is retried: when the server says, or
after random pauses whose limit doubles, so that waiting requests do not return together. A waiting request keeps its
slot among the concurrent ones, so an overloaded server gets fewer requests.
"""

import json
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
from itertools import groupby
from typing import Any, NamedTuple

import httpx

from training.contract.chat import asked_pause, may_pass, whole_reply
from training.contract.records import Message

KEY_VARIABLE = "ENDPOINT_KEY"
ANSWER_SECONDS, CONNECT_SECONDS = 600, 10
PATIENCE_SECONDS = 15 * 60  # the run fails after this long without an answer to any request
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0  # at most before the second try, and before any
TRIES = 8  # of a request that keeps failing while others are answered
REQUESTS_AT_ONCE, CHOICES_AT_ONCE = 32, 32
SHOWN_CHARACTERS = 300  # of a server's error message
_LOOK_SECONDS = 0.5


class Request(NamedTuple):
    """A prompt, and the seed of its completion."""

    prompt: Sequence[Message]
    seed: int


class EndpointCompletion(NamedTuple):
    """One completion: its text, whether it ended by itself, and its tokens and log-probs if the server returns them."""

    text: str
    finished: bool
    ids: list[int] | None
    logprobs: list[float] | None


class Refused(ValueError):
    """The server refuses this request, and a retry would not help."""


class _Passing(ValueError):
    """A failure that may pass; `load` if the server is overloaded, `pause` is the wait (seconds) it asked for."""

    def __init__(self, message: str, load: bool = False, pause: float = 0) -> None:
        super().__init__(message)
        self.load, self.pause = load, pause


class _Ended(Exception):
    """No further request may start."""


@dataclass
class _Shared:
    """State shared by the requests of one call; times are `time.monotonic()`."""

    answered_at: float = field(default_factory=time.monotonic)
    answers: int = 0
    quiet_until: float = 0.0  # no request starts earlier: the server asked one of them to wait
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
) -> Iterator[tuple[int, list[EndpointCompletion] | Refused]]:
    """Yield (index of the first, completions) as they arrive; equal neighbouring requests are sent together.

    If the server refuses a request, a Refused replaces the completions it has not written. Raise ValueError if no
    request can be answered, after yielding what is in flight. Once `stopping()` is true, no request starts, and those
    in flight are the last.
    """
    key = os.environ.get(KEY_VARIABLE)
    shared = _Shared()
    came: queue.SimpleQueue[tuple[int, int, list[EndpointCompletion] | BaseException]] = queue.SimpleQueue()
    failure: BaseException | None = None
    # No proxy, no .netrc, no redirects: prompts go to the configured address and nowhere else.
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
                "return_token_ids": True,  # vLLM >= 0.10.2 and SGLang; re-encoding a text may change its tokens
            }
            done = 0
            try:
                while done < count:  # a server may return fewer than requested
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


def _patiently(client: httpx.Client, body: dict[str, Any], shared: _Shared) -> list[EndpointCompletion]:
    """Retry one request until its choices arrive; raise Refused, or ValueError when patience runs out."""
    tries, known = 0, None  # known: how many requests were answered when this one first failed
    while True:
        tries += 1
        _wait(shared, 0)
        try:
            answers = _post(client, body)
        except _Passing as error:
            known = shared.answers if known is None else known
            if tries >= TRIES and shared.answers > known and not error.load:
                raise Refused(str(error)) from error  # the server works, but not for this request
            left = shared.answered_at + PATIENCE_SECONDS - time.monotonic()
            if left <= error.pause:
                raise ValueError(str(error)) from error
            _notice(shared, error)
            if error.load:  # the pause is meant for all requests
                shared.quiet_until = max(shared.quiet_until, time.monotonic() + error.pause)
            _wait(shared, time.monotonic() + min(error.pause + _back_off(tries), left))
        else:
            shared.answered_at, shared.answers = time.monotonic(), shared.answers + 1
            return answers


def _back_off(tries: int) -> float:
    """Draw the seconds to wait after so many tries, from 0 to a limit that doubles each time."""
    return random.uniform(0, min(PAUSE_SECONDS * 2 ** min(tries - 1, 10), LONGEST_PAUSE_SECONDS))


def _wait(shared: _Shared, until: float) -> None:
    """Wait until `until`, or longer if the server asked all requests to; raise _Ended once none may start."""
    while (left := max(until, shared.quiet_until) - time.monotonic()) > 0 and not shared.ended.is_set():
        shared.ended.wait(left)
    if shared.ended.is_set():
        raise _Ended


def _notice(shared: _Shared, error: _Passing) -> None:
    """Log why requests wait, once per reason."""
    if str(error) not in shared.notices:
        shared.notices.add(str(error))
        print(f"asked again until {PATIENCE_SECONDS} seconds bring no answer: {error}", file=sys.stderr)


def _post(client: httpx.Client, body: dict[str, Any]) -> list[EndpointCompletion]:
    """Return the choices of one request; raise _Passing, Refused, or ValueError if every request would fail."""
    url = str(client.base_url).rstrip("/")
    try:
        reply, content = whole_reply(client, "chat/completions", body, time.monotonic() + ANSWER_SECONDS)
    except httpx.ConnectError as error:
        raise _Passing(f"endpoint: nothing answers at {url} ({error}); start the server or correct it") from error
    except httpx.TimeoutException as error:
        raise _Passing(f"endpoint: {url} did not answer within {ANSWER_SECONDS} seconds; see its log") from error
    except httpx.HTTPError as error:
        raise _Passing(f"endpoint: {url} broke off its answer ({error}); see its log") from error
    status = reply.status_code
    if status != 200:
        refusal = f"endpoint: {_refusal(url, reply, body['model'])} It said: {_said(content)}"
        if may_pass(status):
            raise _Passing(refusal, load=status in (429, 503), pause=asked_pause(reply))
        raise Refused(refusal) if status in (400, 413, 422) else ValueError(refusal)
    try:
        answer = json.loads(content)
        answers = [
            EndpointCompletion(
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
            f"endpoint: {url} answered with something else than a chat completion: {_said(content)}"
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


def _said(content: bytes) -> str:
    try:
        told = json.loads(content)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        told = content.decode(errors="replace")
    return " ".join(str(told).split())[:SHOWN_CHARACTERS] or "nothing"
