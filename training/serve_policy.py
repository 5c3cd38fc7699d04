"""A resident policy that holds the network and answers OpenAI-compatible chat requests on a loopback port.

POST /v1/chat/completions (also with "stream": true), GET /v1/models, GET /health. Requests are answered one at a time
by the sampler that PPO and sample_completions use, so what is served is the policy itself.
"""

import asyncio
import hmac
import json
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal
from uuid import uuid4

import torch
import uvicorn
from pydantic import BaseModel, BeforeValidator, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from training.contract.configs import ServeConfig
from training.contract.events import Progress, Started
from training.contract.records import SERVING_ADDRESS, Message
from training.networks import trial
from training.run.command import main
from training.run.optimization import device
from training.run.run_folder import RunFolder, finite
from training.text.formatting import Refused, decode_completion, encode_prompt
from training.text.policy import forbidden_token_ids, load_policy, max_positions, stop_ids
from training.text.sampler import sample, stream

KEY_VARIABLE = "SERVE_POLICY_KEY"  # environment variable; if set, requests need its value as their bearer token
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MAX_BODY_BYTES = 4_000_000
MAX_CHOICES = 32
BACKLOG = 128  # waiting connections
KEEP_ALIVE_SECONDS = 60  # that a silent client may keep its connection


class BadRequest(Exception):
    """A request that cannot be answered, with the HTTP status and the reason."""

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def _text(content: object) -> object:
    """Join message content that is given as a list of text parts."""
    if isinstance(content, list) and all(isinstance(part, dict) and part.get("type") == "text" for part in content):
        return "".join(str(part.get("text", "")) for part in content)
    return content


class ChatMessage(BaseModel):
    """One message of a request."""

    role: Literal["system", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_text)] = Field(min_length=1)


class ChatRequest(BaseModel):
    """The keys of OpenAI's protocol that affect our answer; other keys are ignored."""

    messages: list[ChatMessage] = Field(min_length=1)
    model: str = ""
    n: int = Field(1, ge=1, le=MAX_CHOICES)
    stream: bool = False
    temperature: float | None = Field(None, ge=0)
    top_p: Literal[1] | None = Field(None, description="a policy is sampled by temperature alone")
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    seed: int | None = Field(None, ge=0, lt=2**63)
    logprobs: bool | None = Field(None, description="of each token written, at the temperature it was sampled at")
    return_token_ids: bool | None = Field(None, description="as vLLM and SGLang tell them, the end-of-text token too")


class Resident:
    """A loaded policy; its callers take turns."""

    def __init__(self, config: ServeConfig):
        self.config = config
        dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        self.policy, self.tokenizer = load_policy(config.init_from, dtype, config)
        self.policy.to(device()).eval()
        self.stop_ids = stop_ids(self.policy, self.tokenizer)
        self.forbidden = forbidden_token_ids(self.policy, self.tokenizer)
        self.generator = torch.Generator().manual_seed(config.seed)

    def prepare(self, request: ChatRequest) -> tuple[list[int], dict[str, Any]]:
        """Return the prompt's token ids and the sampler's keyword arguments; raises BadRequest."""
        if request.model not in ("", self.config.name):
            raise BadRequest(404, f"model: there is no {request.model!r} here; ask for {self.config.name!r}")
        limit = self.config.max_prompt_tokens
        messages = [Message(role=message.role, text=message.content) for message in request.messages]
        try:
            ids = encode_prompt(self.tokenizer, messages)
        except Refused as error:
            raise BadRequest(400, f"messages: the network's chat template does not take them: {error}") from error
        if len(ids) > limit:
            raise BadRequest(400, f"messages: longer than {limit} tokens; leave the oldest out (max_prompt_tokens)")
        room = (max_positions(self.policy) or len(ids) + self.config.max_completion_tokens) - len(ids)
        if room < 1:
            raise BadRequest(400, f"messages: {len(ids)} tokens leave the network no position to write at; send less")
        asked = request.max_completion_tokens or request.max_tokens or self.config.max_completion_tokens
        generator = self.generator if request.seed is None else torch.Generator().manual_seed(request.seed)
        return ids, {
            "max_new_tokens": min(asked, self.config.max_completion_tokens, room),
            "eos_token_id": self.stop_ids,
            "forbidden": self.forbidden,
            "generator": generator,
            "temperature": self.config.temperature if request.temperature is None else request.temperature,
        }

    def complete(self, request: ChatRequest) -> dict[str, Any]:
        """Return the whole answer to a request; raises BadRequest."""
        ids, keywords = self.prepare(request)
        sampled = sample(self.policy, [ids] * request.n, **keywords)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": decode_completion(self.tokenizer, written)},
                "logprobs": self._logprobs(written, sampled.logprobs[index]) if request.logprobs else None,
                "finish_reason": "stop" if finished else "length",
                **({"token_ids": written} if request.return_token_ids else {}),
            }
            for index, (written, finished) in enumerate(zip(sampled.texts(), sampled.finished.tolist(), strict=True))
        ]
        written = int(sampled.mask.sum())
        usage = {"prompt_tokens": len(ids), "completion_tokens": written, "total_tokens": len(ids) + written}
        return self._head("chat.completion") | {"choices": choices, "usage": usage}

    def _logprobs(self, ids: list[int], logprobs: torch.Tensor) -> dict[str, Any]:
        return {
            "content": [
                {"token": token, "logprob": logprob, "bytes": list(token.encode()), "top_logprobs": []}
                for token, logprob in zip(map(self.tokenizer.decode, ids), logprobs[: len(ids)].tolist(), strict=True)
            ]
        }

    def stream(self, request: ChatRequest) -> Iterator[dict[str, Any]]:
        """Return the answer piece by piece, as protocol chunks; raises BadRequest before the first."""
        if request.n != 1:
            raise BadRequest(400, "n: a stream carries one answer; ask for 1, or without stream")
        return self._chunks(*self.prepare(request))

    def _chunks(self, ids: list[int], keywords: dict[str, Any]) -> Iterator[dict[str, Any]]:
        head = self._head("chat.completion.chunk")

        def chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
            return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

        written: list[int] = []
        told = ""
        for token in stream(self.policy, ids, **keywords):
            written.append(token)
            text = decode_completion(self.tokenizer, written)
            if text.startswith(told) and text != told and not text.endswith("\ufffd"):  # not half a character
                yield chunk({"content": text[len(told) :]} if told else {"role": "assistant", "content": text})
                told = text
        text = decode_completion(self.tokenizer, written)
        if text != told:
            yield chunk({"content": text[len(told) :]})
        yield chunk({}, "stop" if written[-1] in self.stop_ids else "length")

    def _head(self, kind: str) -> dict[str, Any]:
        name = self.config.name
        return {"id": f"chatcmpl-{uuid4().hex}", "object": kind, "created": int(time.time()), "model": name}


def application(resident: Resident, key: str) -> Starlette:
    """Return the HTTP application of one resident policy, which answers one request at a time."""
    turn = asyncio.Lock()  # not a lock between threads: those who wait would hold the threads that the first one needs

    def checked(request: Request) -> None:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if key and not hmac.compare_digest(given.encode(), key.encode()):
            raise BadRequest(401, f"send the bearer token that {KEY_VARIABLE} holds")

    async def health(_request: Request) -> Response:
        return _answer({"status": "ok"})

    async def models(request: Request) -> Response:
        checked(request)
        model = {"id": resident.config.name, "object": "model", "owned_by": "plumbline"}
        return _answer({"object": "list", "data": [model]})

    async def chat(request: Request) -> Response:
        checked(request)
        asked = await _read(request)
        if not asked.stream:
            async with turn:
                return _answer(await run_in_threadpool(resident.complete, asked))
        chunks = resident.stream(asked)

        async def events() -> AsyncIterator[str]:
            async with turn:
                async for chunk in iterate_in_threadpool(chunks):
                    yield f"data: {json.dumps(finite(chunk), allow_nan=False)}\n\n"
            yield "data: [DONE]\n\n"

        return StreamingResponse(events(), headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})

    async def elsewhere(request: Request) -> Response:
        checked(request)
        raise BadRequest(404, f"{request.url.path}: there are /v1/chat/completions, /v1/models and /health")

    async def refuse(_request: Request, error: Exception) -> Response:
        status = error.status if isinstance(error, BadRequest) else 500
        kind = "authentication_error" if status == 401 else "invalid_request_error"
        return _answer({"error": {"message": str(error), "type": kind, "param": None, "code": None}}, status)

    routes = [
        Route("/health", health),
        Route("/v1/models", models),
        Route("/v1/chat/completions", chat, methods=["POST"]),
        Route("/{path:path}", elsewhere, methods=["GET", "POST"]),
    ]
    return Starlette(routes=routes, exception_handlers={BadRequest: refuse})


async def _read(request: Request) -> ChatRequest:
    """Read a chat request; raise BadRequest if it is none, or too large to be one."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise BadRequest(413, f"the body is larger than {MAX_BODY_BYTES} bytes; send less")
    # Any page in a browser on this machine may post plain text to a loopback port, but not JSON.
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise BadRequest(415, "the body must be sent as Content-Type: application/json")
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        raise BadRequest(400, f"{where}: {first['msg']}") from error


def _answer(body: dict[str, Any], status: int = 200) -> Response:
    return Response(json.dumps(finite(body), allow_nan=False), status, media_type="application/json")


class Server(uvicorn.Server):
    """The HTTP server of one resident policy; it listens once it is made."""

    def __init__(self, resident: Resident, key: str):
        config = resident.config
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        self.socket = socket.create_server((config.host, config.port), family=family, backlog=BACKLOG)
        host = f"[{config.host}]" if ":" in config.host else config.host
        self.url = f"http://{host}:{self.socket.getsockname()[1]}/v1"
        # No log: what people wrote does not belong in one, and the rest is of no use.
        super().__init__(
            uvicorn.Config(
                application(resident, key), log_config=None, access_log=False, lifespan="off",
                timeout_keep_alive=KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=1,
            )
        )  # fmt: skip

    def answer(self) -> None:
        """Answer requests until the process is told to end, or `should_exit` is set."""
        self.run(sockets=[self.socket])


def run(config: ServeConfig, run_folder: RunFolder) -> None:
    """Load the policy, listen, and answer until the process is ended."""
    key = os.environ.get(KEY_VARIABLE, "")
    if config.host not in LOOPBACK and not key:
        raise ValueError(f"host: {config.host} can be reached from elsewhere; set {KEY_VARIABLE} to a key of requests")
    (run_folder.path / SERVING_ADDRESS).unlink(missing_ok=True)
    run_folder.report(Started(verb=config.verb))
    resident = Resident(config)
    trial.report(run_folder, "init_from", config.init_from, trial.findings(resident.policy, resident.tokenizer))
    # The first pass through a network is slow, and no client should wait for it.
    resident.complete(ChatRequest(messages=[ChatMessage(role="user", content="Hello")], max_tokens=2, seed=0))
    server = Server(resident, key)
    run_folder.write_text(SERVING_ADDRESS, server.url + "\n")
    run_folder.report(Progress(step=0, note=f"answers at {server.url}"))
    server.answer()


if __name__ == "__main__":
    main("serve_policy")
