"""HTTP/1.1 with limits on the head of each request; uvicorn itself waits forever, and reads without end."""

from asyncio import TimerHandle, Transport
from typing import cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS, HEAD_BYTES = 20, 65_536


class ImpatientProtocol(HttpToolsProtocol):
    """Closes a connection whose request head is not complete within HEAD_SECONDS, and refuses one over HEAD_BYTES."""

    _late: TimerHandle | None = None
    _in_head, _head_bytes = True, 0

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("Invalid HTTP request received.")
        self._watch()

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if not self._in_head:
            self._stop()
        elif self._late is None:
            self._late = cast(TimerHandle, self.loop.call_later(HEAD_SECONDS, self.transport.close))

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
