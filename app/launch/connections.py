"""HTTP/1.1 with a time limit on the head of each request; uvicorn itself waits forever."""

from asyncio import TimerHandle

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 20


class ImpatientProtocol(H11Protocol):
    """Closes a connection whose request head is not complete within HEAD_SECONDS."""

    _late: TimerHandle | None = None

    def connection_made(self, transport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._stop()
        elif self._late is None:
            self._late = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _stop(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None
