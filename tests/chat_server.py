"""A small server on loopback that speaks the chat protocol: its answers are scripted, its requests recorded."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = tuple[int, dict[str, str], bytes | list[bytes]]  # status, headers, body, in parts with a pause after each
CLOSES: Reply = (0, {}, b"")  # closes the connection without an answer


class ChatServer:
    """Replies with `answer(request) -> list of texts`; `reply`, or `script(request, times asked)`, overrides it."""

    def __init__(self, port: int = 0) -> None:
        self.answer: Callable[[dict], list[str]] = lambda request: [f"answer to {request['messages'][-1]['content']}"]
        self.reply: Reply | None = None
        self.script: Callable[[dict, int], Reply | None] = lambda request, times: None
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
                scripted = outer.script(request, outer.asked()[request["messages"][-1]["content"]])
                status, headers, body = scripted or outer.reply or (200, {}, outer.completion(request))
                if not status:
                    return
                self.send_response(status)
                parts = [body] if isinstance(body, bytes) else body
                for name, value in {"Content-Length": str(sum(map(len, parts))), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in parts:
                    self.wfile.write(part)
                    time.sleep(0 if part is body else 0.2)

            def do_GET(self):
                outer.requests.append({"path": self.path})
                self.send_error(404)

            def log_message(self, *_):
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 64

        self.http = Server(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"

    def asked(self) -> Counter[str]:
        """Count how often each prompt was asked."""
        return Counter(request["messages"][-1]["content"] for request in list(self.requests) if "messages" in request)

    def completion(self, request: dict) -> bytes:
        choices = [
            {"index": index, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            for index, text in enumerate(self.answer(request))
        ]
        usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
        return json.dumps({"object": "chat.completion", "choices": choices, "usage": usage}).encode()


@contextmanager
def chat_server(port: int = 0) -> Iterator[ChatServer]:
    """Run a server that answers until the block ends."""
    server = ChatServer(port)
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
