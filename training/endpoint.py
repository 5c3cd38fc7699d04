"""Completions by a server that speaks OpenAI's chat protocol, such as vLLM or SGLang: many requests at once."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple

import httpx
import torch

from training.records import Message

KEY_VARIABLE = "ENDPOINT_KEY"
ANSWER_SECONDS, CONNECT_SECONDS = 600, 10
REQUESTS_AT_ONCE, CHOICES_AT_ONCE = 32, 32
SHOWN_CHARACTERS = 300  # of what a server says about an error


class Answer(NamedTuple):
    """One completion: its text, whether it ended by itself; its tokens and their log-probs where the server tells."""

    text: str
    finished: bool
    ids: list[int] | None
    logprobs: list[float] | None


def ask(
    url: str,
    model: str,
    prompts: Sequence[Sequence[Message]],
    *,
    max_tokens: int,
    temperature: float,
    generator: torch.Generator,
) -> list[Answer]:
    """One completion for each entry of `prompts`; neighbours that are equal are asked for in one request."""
    alike = [(prompt, len(list(group))) for prompt, group in groupby(prompts)]
    seeds = torch.randint(2**31, (len(alike),), generator=generator).tolist()
    key = os.environ.get(KEY_VARIABLE)
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

        def several(prompt: Sequence[Message], count: int, seed: int) -> list[Answer]:
            body = {
                "model": model,
                "messages": [{"role": message.role, "content": message.text} for message in prompt],
                "temperature": temperature,
                "top_p": 1,
                "max_tokens": max_tokens,
                "logprobs": True,
                "return_token_ids": True,  # vLLM from 0.10.2 on and SGLang know it; to encode a text may change it
            }
            answers: list[Answer] = []
            while len(answers) < count:  # a server may give fewer than it was asked for
                n = min(count - len(answers), CHOICES_AT_ONCE)
                answers += _post(client, {**body, "n": n, "seed": seed + len(answers)})[:n]
            return answers

        asked = [pool.submit(several, prompt, count, seed) for (prompt, count), seed in zip(alike, seeds, strict=True)]
        try:
            return [answer for future in asked for answer in future.result()]
        except BaseException:
            pool.shutdown(cancel_futures=True)  # one that failed is enough
            raise


def _post(client: httpx.Client, body: dict[str, Any]) -> list[Answer]:
    """The choices of one request; raises ValueError with what to do."""
    url = str(client.base_url).rstrip("/")
    try:
        reply = client.post("chat/completions", json=body)
    except httpx.ConnectError as error:
        raise ValueError(f"endpoint: nothing answers at {url} ({error}); start the server or correct it") from error
    except httpx.TimeoutException as error:
        raise ValueError(f"endpoint: {url} did not answer within {ANSWER_SECONDS} seconds; see its log") from error
    except httpx.HTTPError as error:
        raise ValueError(f"endpoint: {url} broke off its answer ({error}); see its log") from error
    if reply.status_code != 200:
        raise ValueError(f"endpoint: {_refusal(url, reply, body['model'])} It said: {_said(reply)}")
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
        raise ValueError(
            f"endpoint: {url} answered with something else than a chat completion: {_said(reply)}"
        ) from error
    if not answers:
        raise ValueError(f"endpoint: {url} answered without a completion; see its log")
    cut = sum(not each.finished for each in answers) * body["max_tokens"]
    if tokens is not None and tokens < cut:
        raise ValueError(
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
        return f"{url} has too much to do, or a limit is reached (429); try later."
    if status >= 500:
        return f"{url} broke ({status}); see its log."
    return f"{url} refused the request ({status})."


def _said(reply: httpx.Response) -> str:
    try:
        told = reply.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        told = reply.text
    return " ".join(str(told).split())[:SHOWN_CHARACTERS] or "nothing"
