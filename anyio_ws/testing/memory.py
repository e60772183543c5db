"""Servers in this process, reached by their URL and without a network: `serve_in_memory`, `scripted_server`.

Before it dials, `open_websocket` looks for the URL's scheme, host and port in one context variable,
`anyio_ws.dialling.instead_of_dialling`. The blocks here put a server there and take it away again: it
is reachable in the task that entered the block and in the tasks that are started within, and for
nobody else. What is found there gives a pair of streams in memory; from then on everything is as over
any stream.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from contextvars import Token
from types import TracebackType
from typing import Final, TypeAlias, Unpack
from weakref import WeakSet

import anyio
from anyio.abc import TaskGroup

from ..contexts import exit_group
from ..dialling import Nearby, Origin, instead_of_dialling
from ..options import ServerConfig, ServerOptions, server_config
from ..sansio import Side, parse_uri
from ..server import ServerContext, WebSocketServer
from ..service import Handler, Service, check_handler
from ..websocket import WebSocket
from .peer import ScriptedPeer
from .streams import MemoryByteStream, memory_stream_pair

__all__ = ["MemoryServer", "scripted_server", "serve_in_memory"]

BUFFER: Final = 2**16
"""Bytes that a connection holds in each direction where nothing is said: about what a socket does."""

BACKLOG: Final = 1024
"""Connections that may wait until a script is called with them."""

_END_OF_STREAM: Final = (
    anyio.EndOfStream,
    anyio.BrokenResourceError,
    anyio.ClosedResourceError,
)

_Announced: TypeAlias = Token[Mapping[Origin, Nearby]]


class _Listener:
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
        self._closed = False
        self._outages = 0

    def announce(self) -> _Announced:
        """Make it reachable by its URL, until the context variable is reset."""
        nearby = Nearby(self.connect, self._has_tls)
        return instead_of_dialling.set({**instead_of_dialling.get(), self.origin: nearby})

    def connect(self) -> MemoryByteStream:
        """Return the client's end of a new connection.

        :raises ConnectionRefusedError: it is closed, or unreachable, or as many wait as may
        """
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

    def begin_outage(self) -> None:
        """Break all connections, and refuse further ones."""
        self._outages += 1
        for stream in list(self._connections):
            stream.sever()

    def end_outage(self) -> None:
        """Undo one `begin_outage`: several may overlap."""
        self._outages -= 1


class _Outage(AbstractContextManager[None]):
    def __init__(self, listener: _Listener) -> None:
        self._listener = listener

    def __enter__(self) -> None:
        self._listener.begin_outage()

    def __exit__(self, *exc: object) -> None:
        self._listener.end_outage()


class MemoryServer(WebSocketServer):
    """A running server without a network; made by `serve_in_memory`.

    It is a `WebSocketServer` in everything but that it has no listening sockets.
    """

    def __init__(self, service: Service, listener: _Listener) -> None:
        """Not for users: `serve_in_memory` makes it."""
        super().__init__(service, [listener], None)
        self._listener = listener

    @property
    def url(self) -> str:
        """Where `open_websocket` finds it, within the block."""
        return self._listener.url

    def connect(self) -> MemoryByteStream:
        """Connect, and return the client's end: for a `ScriptedPeer`, or to be given as ``stream``.

        :raises ConnectionRefusedError: the server is unreachable, or shuts down
        """
        return self._listener.connect()

    def unreachable(self) -> AbstractContextManager[None]:
        """Be cut off from the network: ``with server.unreachable()``.

        Entering the block breaks every connection, at both ends; within it, connecting raises
        `ConnectError`.
        """
        return _Outage(self._listener)


def serve_in_memory(
    handler: Handler,
    url: str | None = None,
    *,
    buffer: int | None = BUFFER,
    chunk: int | None = None,
    config: ServerConfig | None = None,
    **options: Unpack[ServerOptions],
) -> AbstractAsyncContextManager[MemoryServer]:
    """Serve without a network while in a block: ``async with serve_in_memory(handler) as server``.

    `open_websocket`, and what is made of it, reaches the server by *url*: ``open_websocket(server.url)``, or
    code of yours that connects to ``wss://feed.example`` by itself. That holds in the task that has
    entered the block, and in the tasks that are started within it; of several blocks for one address
    the innermost counts. No name is looked up, and no proxy is asked. The rest is as with `open_server`,
    leaving the block included, but there are no sockets: ``remote_address``, ``local_address`` and
    ``client_address`` are None, and a client's ``local_address`` and ``socket_options`` are for nothing.

    What a handler raises is logged, closes its connection with 1011, and comes out of the block in the
    end: as it is, or with what else comes out in a group of exactly these. If ``on_handler_error`` is
    among *options*, or ``"raise"`` in *config*, it decides instead.

    :param url: scheme, host and port; ``ws://app.test`` by default, or ``wss://app.test`` with ``ssl``. By a
        ``wss`` URL TLS is spoken if there is ``ssl`` among the options, and left out if there isn't: then
        nothing is encrypted, and the client's ``ssl`` isn't asked
    :param buffer: bytes that a connection holds in each direction, see `memory_stream_pair`
    :param chunk: bytes that arrive at once, at most
    :param config: all options at once; the others override it
    :param options: see `ServerConfig`
    :raises InvalidURI: *url* isn't a WebSocket URI
    :raises TypeError: there is no such option; *handler* isn't an async function
    :raises ValueError: an option's value makes no sense; *url* has a path or credentials, or is without TLS
        and ``ssl`` was given
    """
    check_handler(handler)
    merged = server_config(config, options)
    has_tls = merged.ssl is not None
    if url is None:
        url = "wss://app.test" if has_tls else "ws://app.test"
    listener = _Listener(url, has_tls=has_tls, buffer=buffer, chunk=chunk, backlog=merged.backlog)
    if has_tls and not parse_uri(url).secure:
        raise ValueError(f"ssl was given, but {url!r} is without TLS; use wss://")
    keep_failures = "on_handler_error" not in options and merged.on_handler_error != "raise"
    return _ServeInMemory(handler, listener, merged, keep_failures=keep_failures)


class _ServeInMemory(ServerContext[MemoryServer]):
    def __init__(
        self, handler: Handler, listener: _Listener, config: ServerConfig, *, keep_failures: bool
    ) -> None:
        super().__init__(self._make)
        self._handler = handler
        self._listener = listener
        self._given = config.on_handler_error
        if keep_failures:
            config = server_config(config, {"on_handler_error": self._handler_failed})
        self._config = config
        self._announced: _Announced | None = None

    async def _make(self) -> MemoryServer:
        return MemoryServer(Service(self._handler, self._config), self._listener)

    async def _handler_failed(self, ws: WebSocket, exc: Exception) -> None:
        self.failures.append(exc)
        if callable(self._given):
            await self._given(ws, exc)

    async def __aenter__(self) -> MemoryServer:
        announced = (
            self._listener.announce()
        )  # first: handlers find each other's server, and their own
        try:
            server = await super().__aenter__()
        except BaseException:
            instead_of_dialling.reset(announced)
            raise
        self._announced = announced
        return server

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._announced is not None
        try:
            return await super().__aexit__(exc_type, exc, traceback)
        finally:
            instead_of_dialling.reset(self._announced)


def scripted_server(
    script: Callable[[ScriptedPeer], Awaitable[object]],
    url: str = "ws://app.test",
    *,
    buffer: int | None = BUFFER,
    chunk: int | None = None,
) -> AbstractAsyncContextManager[str]:
    """Be a server that does exactly what a test says: ``async with scripted_server(script) as url``.

    It is reached by *url* as that of `serve_in_memory`; for ``wss``, too, without TLS. *script* is called
    with a `ScriptedPeer` for each connection, in a task of its own; when it ends, the connection is
    dropped. Leaving the block cancels those that haven't ended.

    What a script raises comes out of the block in the end: as it is, or with what else comes out in
    a group of exactly these. That the client has left while the script waited for it is such an error,
    unless the block raises one itself.

    :param url: scheme, host and port
    :param buffer: bytes that a connection holds in each direction, see `memory_stream_pair`
    :param chunk: bytes that arrive at once, at most
    :raises InvalidURI: *url* isn't a WebSocket URI
    :raises ValueError: *url* has a path or credentials; *buffer* or *chunk* make no sense
    """
    listener = _Listener(url, has_tls=False, buffer=buffer, chunk=chunk, backlog=BACKLOG)
    return _ScriptedServer(script, listener)


class _ScriptedServer:
    def __init__(
        self, script: Callable[[ScriptedPeer], Awaitable[object]], listener: _Listener
    ) -> None:
        self._script = script
        self._listener = listener
        self._failures: list[Exception] = []
        self._group: TaskGroup | None = None
        self._announced: _Announced | None = None

    async def __aenter__(self) -> str:
        if self._group is not None:
            raise RuntimeError("a server's context manager can be entered only once")
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._announced = self._listener.announce()
        self._group.start_soon(self._listener.accept, self._accepted)
        return self._listener.url

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._group is not None
        assert self._announced is not None
        self._listener.close()
        self._group.cancel_scope.cancel()
        kept = self._failures
        if exc is not None:  # which ended connections, and scripts with them
            kept = [one for one in kept if not isinstance(one, _END_OF_STREAM)]
        try:
            return await exit_group(self._group, exc, kept=kept)
        finally:
            instead_of_dialling.reset(self._announced)

    def _accepted(self, stream: MemoryByteStream) -> None:
        assert self._group is not None
        self._group.start_soon(self._play, stream)

    async def _play(self, stream: MemoryByteStream) -> None:
        try:
            async with ScriptedPeer(stream, Side.SERVER) as peer:
                await self._script(peer)
        except Exception as exc:
            self._failures.append(exc)
