"""A server that treats each connection as it is told, for the tests of connecting again."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio

from anyio_ws import ReconnectPolicy, Request, Response, WebSocket, WebSocketServer, open_server


@dataclass(frozen=True)
class Reject:
    """Answer the request with this status."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Accept:
    """Send a word, and close with *code* after so many seconds; None: break the connection."""

    code: int | None = 1001
    after: float = 0


STAY = Accept(after=1e9)


class Door:
    """Opens to connections as the list of fates says; to all that come later as its last one does."""

    def __init__(self, *fates: Reject | Accept) -> None:
        self._fates = list(fates)
        self.times: list[float] = []
        """When somebody asked."""
        self.codes: list[int | None] = []
        """What connections were closed with, by whoever did; None for a broken one."""
        self.port = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[WebSocketServer]:
        """Listen, on the same port each time."""
        # Made here: looking an address up takes a thread, for which virtual time doesn't wait.
        listener = socket.create_server(("127.0.0.1", self.port))
        async with open_server(
            self._handle, listeners=[listener], process_request=self.decide
        ) as server:
            self.port = server.port
            yield server

    async def decide(self, ws: WebSocket, request: Request) -> Response | None:
        """The server's hook."""
        self.times.append(anyio.current_time())
        fate = self._fates.pop(0) if len(self._fates) > 1 else self._fates[0]
        if isinstance(fate, Reject):
            return Response.text(fate.status, "no\n", fate.headers)
        ws.user_data.fate = fate
        return None

    async def _handle(self, ws: WebSocket) -> None:
        fate: Accept = ws.user_data.fate
        try:
            await ws.send(f"number {len(self.times)}")
            with anyio.move_on_after(fate.after):
                await ws.wait_closed()
            if ws.close_code is None:
                if fate.code is None:
                    await ws.flush()
                    await anyio.aclose_forcefully(ws)
                else:
                    await ws.aclose(fate.code)
        finally:
            self.codes.append(ws.close_code)

    def pauses(self) -> list[float]:
        """Seconds between one request and the next."""
        return [
            round(later - earlier, 6)
            for earlier, later in zip(self.times, self.times[1:], strict=False)
        ]


def always(drawn: float) -> Callable[[], float]:
    """A source of numbers that aren't random."""
    return lambda: drawn


EXACT = ReconnectPolicy(random=always(1.0))
"""1, 2, 4, ... seconds."""

AT_ONCE = EXACT.immediately()
