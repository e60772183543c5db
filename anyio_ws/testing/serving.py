"""A server without a network: `serve_in_memory`.

It is `open_server` with another listener, and with an observer that keeps what fails until the end of the
block.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Unpack

from ..exceptions import InvalidHandshake
from ..observer import ServerObserver
from ..options import ServerConfig, ServerOptions, server_config
from ..sansio import parse_uri
from ..server import ServerContext, WebSocketServer
from ..service import Handler, Service, check_handler
from ..websocket import WebSocket
from .memory import BUFFER, MemoryListener
from .streams import MemoryByteStream

__all__ = ["MemoryServer", "serve_in_memory"]


class MemoryServer(WebSocketServer):
    """A running server without a network; made by `serve_in_memory`.

    It is a `WebSocketServer` in everything but that it has no listening sockets.
    """

    def __init__(self, service: Service, listener: MemoryListener) -> None:
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
        :raises RuntimeError: called in another event loop than the server's
        """
        return self._listener.connect()

    def unreachable(self) -> AbstractContextManager[None]:
        """Be cut off from the network: ``with server.unreachable()``.

        Entering the block breaks every connection, at both ends; within it, connecting raises
        `ConnectError`.
        """
        return self._listener.unreachable()


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

    `open_websocket`, and what is made of it, reaches the server by *url*: ``open_websocket(server.url)``,
    or code of yours that connects to ``wss://feed.example`` by itself. That holds in the task that has
    entered the block, and in the tasks that are started within it; of several blocks for one address the
    innermost counts. In an event loop of another thread, connecting to it raises `RuntimeError`. No name is
    looked up, and no proxy is asked. The rest is as with `open_server`, leaving the block included, but
    there are no sockets: ``remote_address``, ``local_address`` and ``client_address`` are None, and a
    client's ``local_address`` and ``socket_options`` are for nothing.

    What a handler raises is logged, closes its connection with 1011, and comes out of the block in the
    end: as it is, or with what else comes out in a group of exactly these. So does what a hook raises,
    after it was answered with 500. If ``on_handler_error`` is among *options*, or ``"raise"`` in
    *config*, neither does by itself.

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
    listener = MemoryListener(
        url, has_tls=has_tls, buffer=buffer, chunk=chunk, backlog=merged.backlog
    )
    if has_tls and not parse_uri(url).secure:
        raise ValueError(f"ssl was given, but {url!r} is without TLS; use wss://")
    watch = "on_handler_error" not in options and merged.on_handler_error != "raise"
    return _ServeInMemory(handler, listener, merged, watch=watch)


class _Watcher(ServerObserver):
    """Keeps what handlers and hooks raise, and tells the application's own observer what it is told."""

    def __init__(self, own: ServerObserver, failures: list[Exception]) -> None:
        self._own = own
        self._failures = failures

    def accepted(self, remote_address: object) -> None:
        self._own.accepted(remote_address)

    def refused(self, remote_address: object, cause: int | str, exc: BaseException) -> None:
        if cause == 500 and isinstance(exc, Exception) and not isinstance(exc, InvalidHandshake):
            self._failures.append(exc)  # a hook's: what it answers would be an InvalidHandshake
        self._own.refused(remote_address, cause, exc)

    def opened(self, ws: WebSocket) -> None:
        self._own.opened(ws)

    def handler_failed(self, ws: WebSocket, exc: Exception) -> None:
        self._failures.append(exc)
        self._own.handler_failed(ws, exc)

    def closed(self, ws: WebSocket, code: int, duration: float) -> None:
        self._own.closed(ws, code, duration)


class _ServeInMemory(ServerContext[MemoryServer]):
    def __init__(
        self, handler: Handler, listener: MemoryListener, config: ServerConfig, *, watch: bool
    ) -> None:
        super().__init__(self._make)
        if watch:
            watcher = _Watcher(config.observer or ServerObserver(), self.failures)
            config = server_config(config, {"observer": watcher})
        self._handler = handler
        self._listener = listener
        self._config = config

    async def _make(self) -> MemoryServer:
        return MemoryServer(Service(self._handler, self._config), self._listener)

    async def __aenter__(self) -> MemoryServer:
        self._listener.announce()  # first: handlers find each other's server, and their own
        try:
            return await super().__aenter__()
        except BaseException:
            self._listener.withdraw()
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            return await super().__aexit__(exc_type, exc, traceback)
        finally:
            self._listener.withdraw()
