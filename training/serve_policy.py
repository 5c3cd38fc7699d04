"""A resident policy that holds the network and answers OpenAI-compatible chat requests on a loopback port.

POST /v1/chat/completions (also with "stream": true), GET /v1/models, GET /health. Requests are answered one at a time
by the sampler that PPO and sample_completions use, so what is served is the policy itself.
"""

import hmac
import json
import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Annotated, Any, Literal
from uuid import uuid4

import torch
from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from training.contract.configs import ServeConfig
from training.contract.events import Progress, Started
from training.contract.records import SERVING_ADDRESS, Message
from training.networks import trial
from training.run.command import main
from training.run.optimization import device
from training.run.run_folder import RunFolder, finite
from training.text.formatting import Refused as TemplateRefused
from training.text.formatting import decode_completion, encode_prompt
from training.text.policy import forbidden_token_ids, load_policy, max_positions, stop_ids
from training.text.sampler import sample, stream

KEY_VARIABLE = "SERVE_POLICY_KEY"  # environment variable; if set, requests need its value as their bearer token
LOOPBACK = ("127.0.0.1", "::1", "localhost")
MAX_BODY_BYTES = 4_000_000
MAX_CHOICES = 32


class Refused(Exception):
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
    """A loaded policy that answers one request at a time."""

    def __init__(self, config: ServeConfig):
        self.config = config
        dtype = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        self.policy, self.tokenizer = load_policy(config.init_from, dtype, config)
        self.policy.to(device()).eval()
        self.stop_ids = stop_ids(self.policy, self.tokenizer)
        self.forbidden = forbidden_token_ids(self.policy, self.tokenizer)
        self.generator = torch.Generator().manual_seed(config.seed)
        self.lock = threading.Lock()

    def prepare(self, request: ChatRequest) -> tuple[list[int], dict[str, Any]]:
        """Return the prompt's token ids and the sampler's keyword arguments; raises Refused."""
        if request.model not in ("", self.config.name):
            raise Refused(404, f"model: there is no {request.model!r} here; ask for {self.config.name!r}")
        limit = self.config.max_prompt_tokens
        messages = [Message(role=message.role, text=message.content) for message in request.messages]
        try:
            ids = encode_prompt(self.tokenizer, messages)
        except TemplateRefused as error:
            raise Refused(400, f"messages: the network's chat template does not take them: {error}") from error
        if len(ids) > limit:
            raise Refused(400, f"messages: longer than {limit} tokens; leave the oldest out (max_prompt_tokens)")
        room = (max_positions(self.policy) or len(ids) + self.config.max_completion_tokens) - len(ids)
        if room < 1:
            raise Refused(400, f"messages: {len(ids)} tokens leave the network no position to write at; send less")
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
        """Return the whole answer to a request; raises Refused."""
        ids, keywords = self.prepare(request)
        with self.lock:
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
        """Return the answer piece by piece, as protocol chunks; raises Refused before the first."""
        if request.n != 1:
            raise Refused(400, "n: a stream carries one answer; ask for 1, or without stream")
        return self._chunks(*self.prepare(request))

    def _chunks(self, ids: list[int], keywords: dict[str, Any]) -> Iterator[dict[str, Any]]:
        head = self._head("chat.completion.chunk")

        def chunk(delta: dict[str, str], reason: str | None = None) -> dict[str, Any]:
            return head | {"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

        written: list[int] = []
        told = ""
        with self.lock:
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


class Server(ThreadingHTTPServer):
    """The HTTP server of one resident policy."""

    daemon_threads = True
    request_queue_size = 128  # waiting connections; the default of 5 turns away a client that asks for many at once

    def __init__(self, resident: Resident, key: str):
        self.resident, self.key = resident, key
        super().__init__((resident.config.host, resident.config.port), Handler)

    @property
    def url(self) -> str:
        """The base URL for clients."""
        return f"http://{self.resident.config.host}:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = 60  # seconds a silent client may keep its connection
    server: Server

    def do_GET(self) -> None:
        """Answer /health and the list of models."""
        if self.path == "/health":
            self._answer(200, {"status": "ok"})
        elif not self._known():
            self._refuse(401, f"send the bearer token that {KEY_VARIABLE} holds")
        elif self.path == "/v1/models":
            name = self.server.resident.config.name
            self._answer(200, {"object": "list", "data": [{"id": name, "object": "model", "owned_by": "plumbline"}]})
        else:
            self._refuse(404, f"{self.path}: there are /v1/chat/completions, /v1/models and /health")

    def do_POST(self) -> None:
        """Answer a chat request."""
        try:
            request = self._request()
            if not request.stream:
                self._answer(200, self.server.resident.complete(request))
            else:
                self._stream(self.server.resident.stream(request))
        except Refused as refused:
            self._refuse(refused.status, str(refused))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True  # the client went away; the rest need not be written

    def _request(self) -> ChatRequest:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            self.close_connection = True  # its body stays unread
            raise Refused(413, f"the body needs a Content-Length of at most {MAX_BODY_BYTES} bytes")
        body = self.rfile.read(int(length))
        if not self._known():
            raise Refused(401, f"send the bearer token that {KEY_VARIABLE} holds")
        if self.path != "/v1/chat/completions":
            raise Refused(404, f"{self.path}: there are /v1/chat/completions, /v1/models and /health")
        # Any page in a browser on this machine may post plain text to a loopback port, but not JSON.
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "the body must be sent as Content-Type: application/json")
        try:
            return ChatRequest.model_validate_json(body)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "body"
            raise Refused(400, f"{where}: {first['msg']}") from error

    def _known(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return not self.server.key or hmac.compare_digest(given.encode(), self.server.key.encode())

    def _stream(self, chunks: Iterator[dict[str, Any]]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        for chunk in chunks:
            self.wfile.write(f"data: {json.dumps(finite(chunk), allow_nan=False)}\n\n".encode())
        self.wfile.write(b"data: [DONE]\n\n")
        self.close_connection = True

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(finite(body), allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, message: str) -> None:
        kind = "authentication_error" if status == 401 else "invalid_request_error"
        self._answer(status, {"error": {"message": message, "type": kind, "param": None, "code": None}})

    def log_message(self, format: str, *values: Any) -> None:
        """Log nothing: what people wrote does not belong in a log, and the rest is of no use."""


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
    with Server(resident, key) as server:
        run_folder.write_text(SERVING_ADDRESS, server.url + "\n")
        run_folder.report(Progress(step=0, note=f"answers at {server.url}"))
        server.serve_forever()


if __name__ == "__main__":
    main("serve_policy")
