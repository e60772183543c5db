"""Where connections in memory come from: what `serve_in_memory` and `scripted_server` have in common.

Before it dials, `open_websocket` looks for the URL's scheme, host and port in one context variable,
`anyio_ws.dialling.instead_of_dialling`. A listener puts itself there, for the length of a block: it is
reachable in the task that entered the block and in the tasks that are started within, and for nobody
else. What is found there gives a pair of streams in memory; from then on everything is as over any
stream.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import Token
from typing import Final
from weakref import WeakSet

import anyio
from anyio.lowlevel import EventLoopToken, current_token

from ..dialling import Nearby, Origin, instead_of_dialling
from ..sansio import parse_uri
from .streams import MemoryByteStream, memory_stream_pair

__all__ = ["BUFFER", "MemoryListener"]

BUFFER: Final = 2**16
"""Bytes that a connection holds in each direction where nothing is said: about what a socket does."""


class MemoryListener:
    """Gives connections to whoever accepts them: a server, or a script."""

    def __init__(
        self, url: str, *, has_tls: bool, buffer: int | None, chunk: int | None, backlog: int
    ) -> None:
        """
        :raises ValueError: *url* isn't the address of a server, or *buffer* or *chunk* make no sense
        """
        uri = parse_uri(url)
        if uri.resource_name != "/" or uri.username is not None or uri.unix_path is not None:
            raise ValueError(
                f'url must be a scheme, a host and a port, as "wss://feed.example" is, not {str(uri)!r}'
            )
        memory_stream_pair(buffer=buffer, chunk=chunk)  # raises what is wrong with them
        self.origin: Final = uri.origin
        self.url: Final = str(uri).removesuffix("/")
        self.address: Final = uri.host, uri.port
        self._has_tls = has_tls
        self._buffer = buffer
        self._chunk = chunk
        self._backlog = backlog
        self._arrived: deque[MemoryByteStream] = deque()
        self._arrival: anyio.Event | None = None
        self._connections: WeakSet[MemoryByteStream] = WeakSet()
        self._announced: list[Token[Mapping[Origin, Nearby]]] = []
        self._loop: EventLoopToken | None = None
        self._closed = False
        self._outages = 0

    def announce(self) -> None:
        """Make it reachable by its URL, from here on."""
        self._loop = current_token()
        nearby = Nearby(self.connect, self._has_tls)
        self._announced.append(
            instead_of_dialling.set({**instead_of_dialling.get(), self.origin: nearby})
        )

    def withdraw(self) -> None:
        """Undo the last `announce`, in the same task."""
        instead_of_dialling.reset(self._announced.pop())

    def connect(self) -> MemoryByteStream:
        """Return the client's end of a new connection.

        :raises ConnectionRefusedError: it is closed, or unreachable, or as many wait as may
        :raises RuntimeError: called in another event loop, as a thread's own, which has the context of the
            task that started it, but can't share a stream with it
        """
        if current_token() != self._loop:
            raise RuntimeError(
                f"{self.url} is served in memory, and reached only from the event loop in which it is; "
                "open_server serves any"
            )
        if self._closed or self._outages or len(self._arrived) >= self._backlog:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused, in memory")
        ours, theirs = memory_stream_pair(buffer=self._buffer, chunk=self._chunk)
        self._connections.add(ours)
        self._arrived.append(theirs)
        if self._arrival is not None:
            self._arrival.set()
        return ours

    async def accept(
        self,
        serve: Callable[[MemoryByteStream], object],
        exhausted: Callable[[OSError], object] = lambda exc: None,
        room: Callable[[], Awaitable[object] | None] = lambda: None,
    ) -> None:
        """As that of a listening socket, which may run out of something."""
        while True:
            while (waiting := room()) is not None:
                await waiting
            if self._arrived:
                serve(self._arrived.popleft())
            else:
                self._arrival = anyio.Event()
                await self._arrival.wait()

    def close(self) -> None:
        """Refuse connections, also those that were made and not accepted."""
        self._closed = True
        while self._arrived:
            self._arrived.popleft().reset()

    def unreachable(self) -> AbstractContextManager[None]:
        """See `MemoryServer.unreachable`."""
        return _Outage(self)

    def begin_outage(self) -> None:
        """Break all connections, and refuse further ones."""
        self._outages += 1
        for stream in list(self._connections):
            stream.sever()

    def end_outage(self) -> None:
        """Undo one `begin_outage`: several may overlap."""
        self._outages -= 1


class _Outage(AbstractContextManager[None]):
    def __init__(self, listener: MemoryListener) -> None:
        self._listener = listener

    def __enter__(self) -> None:
        self._listener.begin_outage()

    def __exit__(self, *exc: object) -> None:
        self._listener.end_outage()
