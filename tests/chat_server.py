"""A small server on loopback that speaks the chat protocol: its answers are scripted, what it was asked is kept."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer:
    """`answer(request) -> list of texts` decides; `reply` sends something else instead: (status, headers, body)."""

    def __init__(self) -> None:
        self.answer: Callable[[dict], list[str]] = lambda request: [f"answer to {request['messages'][-1]['content']}"]
        self.reply: tuple[int, dict[str, str], bytes] | None = None
        self.before: Callable[[], object] = lambda: None  # called before each answer
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append({"path": self.path, **request})
                outer.keys.append(self.headers.get("Authorization"))
                outer.before()
                status, headers, body = outer.reply or (200, {}, outer.completion(request))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def do_GET(self):
                outer.requests.append({"path": self.path})
                self.send_error(404)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def completion(self, request: dict) -> bytes:
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index, text in enumerate(self.answer(request))
        ]
        usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
        return json.dumps({"object": "chat.completion", "choices": choices, "usage": usage}).encode()


@contextmanager
def chat_server() -> Iterator[ChatServer]:
    """One that answers until the block ends."""
    server = ChatServer()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield server
    server.http.shutdown()
    server.http.server_close()
