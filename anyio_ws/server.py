"""The servers: `open_server`, `serve_websocket`, and `endpoint` for whoever accepts connections himself."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import Any, Generic, Protocol, TypeVar, Unpack
from urllib.parse import quote

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .accepting import AcceptWebSocket
from .contexts import exit_group
from .options import ServerConfig, ServerOptions, server_config
from .sansio import CloseCode
from .sansio.headers import build_host
from .service import AnyHandler, Handler, Service, check_handler
from .statistics import ServerStatistics
from .transports.dial import Connectable, SocketAddress
from .transports.interrupts import apply_to_trio, keep_interrupts_out
from .transports.listen import AnyListener, ListeningSocket, listen_tcp, listen_unix, take_over
from .websocket import WebSocket

__all__ = [
    "Endpoint",
    "Listening",
    "ServerContext",
    "WebSocketServer",
    "endpoint",
    "open_server",
    "serve_websocket",
]


class Listening(Protocol):
    """Where connections come from: a `ListeningSocket`, or what does the same without a socket."""

    @property
    def address(self) -> SocketAddress | str:
        """Where it listens."""
        ...

    async def accept(
        self,
        serve: Callable[[Connectable], object],
        exhausted: Callable[[OSError], object],
        room: Callable[[], Awaitable[object] | None],
    ) -> None:
        """See `ListeningSocket.accept`."""
        ...

    def close(self) -> None:
        """Listen no more."""
        ...


class WebSocketServer:
    """A running server; made by `open_server` and `serve_websocket`."""

    def __init__(self, service: Service, listeners: Sequence[Listening], host: str | None) -> None:
        self._service = service
        self._listening = listeners
        self._host = host
        self._accepting = anyio.CancelScope()
        self._tasks: TaskGroup | None = None
        self._failures: list[Exception] = []  # of handlers, to be raised
        self._is_exhausted = False
        self._finished = anyio.Event()
        self.addresses: list[SocketAddress | str] = [one.address for one in listeners]
        """The ``(host, port)`` of each listening socket, or the path of a Unix socket."""

    @property
    def connections(self) -> frozenset[WebSocket]:
        """The connections that are open now."""
        return self._service.connections

    def statistics(self) -> ServerStatistics:
        """What the server has done until now. Takes time in proportion to the connections that are open."""
        return self._service.statistics()

    @property
    def listeners(self) -> tuple[socket.socket, ...]:
        """The listening sockets, to look at: accepting is the server's, and so is closing."""
        return tuple(one.socket for one in self._listening if isinstance(one, ListeningSocket))

    @property
    def port(self) -> int:
        """The port of the first listening socket: the real one where 0 was asked for.

        :raises RuntimeError: the server listens on Unix sockets only
        """
        for address in self.addresses:
            if not isinstance(address, str):
                return address[1]
        raise RuntimeError("a server on a Unix socket has no port")

    @property
    def url(self) -> str:
        """Where a client on this machine can connect to.

        Of a Unix socket it is ``ws+unix:///path/of/the/socket:``, to which a path can be added as to any
        other. A socket of Linux's abstract namespace has no URL: it is ``ws://localhost``, to go with
        ``unix_path``.
        """
        secure = self._service.config.ssl is not None
        scheme = "wss" if secure else "ws"
        tcp = [address for address in self.addresses if not isinstance(address, str)]
        if not tcp:
            path = os.fsencode(str(self.addresses[0]))
            if path.startswith(b"\0"):
                return f"{scheme}://localhost"
            return f"{scheme}+unix://{quote(os.path.abspath(path))}:"
        host = self._host or tcp[0][0]
        if host in ("0.0.0.0", "::"):
            host = "localhost"
        return f"{scheme}://{build_host(host, self.port, secure=secure)}"

    async def shutdown(
        self,
        grace: float | None = None,
        code: int = CloseCode.GOING_AWAY,
        reason: str = "",
        stagger: float = 0,
        *,
        close_connections: bool = True,
    ) -> None:
        """Stop accepting, let the handlers finish, say goodbye.

        Clients that are in the opening handshake are answered with HTTP 503, and have ``close_timeout`` to
        end the connection. Handlers are told, by `WebSocket.shutting_down`, and have *grace* seconds (None:
        none) to finish by themselves. Connections that are open then are closed with *code* and *reason*,
        each within ``close_timeout``; a handler that goes on for another ``close_timeout`` after that is
        cancelled. Returns when every handler has ended. Cancelling it ends everything now.

        :param stagger: seconds over which the closing of connections is spread, for clients that will all
            connect again
        :param close_connections: False leaves the connections that are open to their handlers, and waits
            for these as long as they take; *grace* and what follows it don't matter then
        :raises ProtocolError: *code* can't be sent
        :raises ValueError: *reason* is too long; *grace* or *stagger* is negative
        :raises RuntimeError: called from within a handler of this server, for which it would wait
        """
        self._service.check_shutdown(grace, code, reason, stagger)
        try:
            self._accepting.cancel()
            await self._service.shut_down(
                grace, code, reason, stagger, close_connections=close_connections
            )
        finally:
            self._cancel()
        await self._finished.wait()

    async def wait_closed(self) -> None:
        """Wait until the server has ended, and with it every handler. Cancelling only ends the waiting."""
        await self._finished.wait()

    def _cancel(self) -> None:
        if self._tasks is not None:
            self._tasks.cancel_scope.cancel()

    async def serve(self, task_status: TaskStatus[WebSocketServer]) -> None:
        """Accept and serve connections; not for users."""
        apply_to_trio()
        self._tasks = anyio.create_task_group()
        leaving: BaseException | None = None
        try:
            await self._tasks.__aenter__()
            try:
                task_status.started(self)
                with self._accepting:
                    async with anyio.create_task_group() as accepting:
                        for one in self._listening:
                            accepting.start_soon(
                                one.accept, self._accepted, self._exhausted, self._room
                            )
            except BaseException as exc:
                leaving = exc
            self._stop_listening()
            await exit_group(self._tasks, None, leaving, self._failures)
        finally:
            self._stop_listening()  # also if it never began
            self._finished.set()

    def _stop_listening(self) -> None:
        for listener in self._listening:
            listener.close()

    def _room(self) -> Awaitable[None] | None:
        service = self._service
        return None if service.has_room else service.wait_until(lambda: service.has_room)

    def _accepted(self, connection: Connectable) -> None:
        assert self._tasks is not None
        self._is_exhausted = False
        self._tasks.start_soon(self._serve_connection, self._service.begin(connection))

    def _exhausted(self, exc: OSError) -> None:
        if not self._is_exhausted:  # once until it is over, and not at every attempt
            self._is_exhausted = True
            self._service.logger.warning("can't accept connections for now: %s", exc)

    @keep_interrupts_out
    async def _serve_connection(self, opening: AcceptWebSocket) -> None:
        try:
            await self._service.serve(opening)
        except Exception as exc:
            self._failures.append(exc)
            self._cancel()


class Endpoint:
    """A handler for streams, which serves WebSocket connections over them; made by `endpoint`."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def connections(self) -> frozenset[WebSocket]:
        """The connections that are open now."""
        return self._service.connections

    def statistics(self) -> ServerStatistics:
        """As `WebSocketServer.statistics`."""
        return self._service.statistics()

    async def __call__(self, *arguments: Any) -> None:
        """Serve the last of *arguments*, a stream, to the end of its connection.

        The handler is called with the others, and with the connection as the last.

        :raises TypeError: there is no stream
        """
        if not arguments:
            raise TypeError("an endpoint is called with a stream, after arguments of your own")
        *own, stream = arguments
        apply_to_trio()
        await self._service.serve(self._service.begin(stream), own)

    async def shutdown(
        self,
        grace: float | None = None,
        code: int = CloseCode.GOING_AWAY,
        reason: str = "",
        stagger: float = 0,
        *,
        close_connections: bool = True,
    ) -> None:
        """As `WebSocketServer.shutdown`, for connections that somebody else accepts: who should have stopped.

        Further ones are answered with 503. No handler is cancelled: their tasks aren't ours.
        """
        self._service.check_shutdown(grace, code, reason, stagger)
        await self._service.shut_down(
            grace, code, reason, stagger, close_connections=close_connections
        )


def endpoint(
    handler: AnyHandler, *, config: ServerConfig | None = None, **options: Unpack[ServerOptions]
) -> Endpoint:
    """Serve WebSockets wherever streams come from: ``await listener.serve(endpoint(handler))``.

    What this returns is called with a byte stream: by the ``serve`` of an AnyIO listener, say, or by
    ``trio.serve_listeners``. It performs the opening handshake and calls *handler* with the connection, as
    `open_server` does, errors included. What it is given before the stream, *handler* is given before the
    connection: called with ``(session, stream)``, it calls ``handler(session, ws)``.
    Cancelling it ends its connection now.

    Streams that are sockets, trio's and on trio AnyIO's, are as fast as the connections of `open_server`;
    others are slower.

    :raises TypeError: there is no such option; *handler* isn't an async function
    :raises ValueError: an option's value makes no sense
    """
    return Endpoint(Service(handler, server_config(config, options)))


async def serve_websocket(
    handler: Handler,
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    unix_path: str | os.PathLike[str] | None = None,
    listeners: Sequence[AnyListener] | None = None,
    config: ServerConfig | None = None,
    task_status: TaskStatus[WebSocketServer] = anyio.TASK_STATUS_IGNORED,
    **options: Unpack[ServerOptions],
) -> None:
    """Serve until cancelled, or until `WebSocketServer.shutdown` is called.

    In a nursery: ``server = await tg.start(partial(serve_websocket, handler, "127.0.0.1", 0))``, AnyIO's or
    trio's; that gives the `WebSocketServer`. Cancelling ends everything now: handlers are cancelled, each
    connection sends Close 1001 as far as that takes no waiting, and is aborted.

    Each connection has a task, in which *handler* is called after the opening handshake; when it returns
    the connection is closed with 1000. What it raises is logged and closes the connection with 1011; the
    server and other connections go on. A `ConnectionClosed` of its own connection is not an error.

    :param host: address or name to listen on, all that it resolves to; or several; None for every interface
    :param port: 0 picks a free port, the same for all addresses; see `WebSocketServer.port`
    :param unix_path: listen on a Unix socket instead; its file is removed in the end
    :param listeners: use these instead, which are taken over and closed in the end: listening sockets, or
        listeners of AnyIO or trio
    :param config: all options at once; the others override it
    :param options: see `ServerConfig`
    :raises TypeError: there is no such option; *handler* isn't an async function; not exactly one of
        *port*, *unix_path* and *listeners*; one of *listeners* is none
    :raises ValueError: an option's value makes no sense; one of *listeners* doesn't listen
    :raises OSError: the address can't be listened on; or later, a listening socket broke
    """
    merged = server_config(config, options)
    server = await _listen(handler, host, port, unix_path, listeners, merged)
    await server.serve(task_status)


async def _listen(
    handler: Handler,
    host: str | Sequence[str] | None,
    port: int | None,
    unix_path: str | os.PathLike[str] | None,
    listeners: Sequence[AnyListener] | None,
    config: ServerConfig,
) -> WebSocketServer:
    """Make a server that listens, and doesn't accept yet."""
    service = Service(handler, config)
    _check_address(host, port, unix_path, listeners)
    if listeners is not None:
        ours = take_over(listeners)
    elif unix_path is not None:
        ours = await listen_unix(unix_path, backlog=config.backlog)
    else:
        assert port is not None
        reuse_port = config.reuse_port
        ours = await listen_tcp(host, port, backlog=config.backlog, reuse_port=reuse_port)
    return WebSocketServer(service, ours, host if isinstance(host, str) else None)


def _check_address(host: object, *alternatives: object) -> None:
    port = alternatives[0]
    if sum(one is not None for one in alternatives) != 1:
        raise TypeError("a server needs exactly one of port, unix_path and listeners")
    if host is not None and port is None:
        raise TypeError("host was given without a port")


def open_server(
    handler: Handler,
    host: str | Sequence[str] | None = None,
    port: int | None = None,
    *,
    unix_path: str | os.PathLike[str] | None = None,
    listeners: Sequence[AnyListener] | None = None,
    config: ServerConfig | None = None,
    **options: Unpack[ServerOptions],
) -> AbstractAsyncContextManager[WebSocketServer]:
    """Serve while in a block: ``async with open_server(handler, "127.0.0.1", 8765) as server``.

    Leaving the block normally is ``await server.shutdown()``; leaving it by an exception ends everything
    now. For the rest, and the errors, see `serve_websocket`.
    """
    check_handler(handler)
    _check_address(host, port, unix_path, listeners)
    merged = server_config(config, options)
    return ServerContext(partial(_listen, handler, host, port, unix_path, listeners, merged))


_Server = TypeVar("_Server", bound=WebSocketServer)


class ServerContext(Generic[_Server]):
    """Runs a server for as long as a block lasts; see `open_server`."""

    def __init__(self, listen: Callable[[], Awaitable[_Server]]) -> None:
        self._listen = listen
        self._group: TaskGroup | None = None
        self._server: _Server | None = None
        self.failures: list[Exception] = []
        """What comes out of the block beside what its body raises: what ended the server, if anything did."""

    async def __aenter__(self) -> _Server:
        if self._group is not None:
            raise RuntimeError("a server's context manager can be entered only once")
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        try:
            self._server = await self._listen()
            await self._group.start(self._serve)
        except BaseException as exc:
            await exit_group(self._group, exc, kept=self.failures)
            raise
        return self._server

    @keep_interrupts_out
    async def _serve(self, *, task_status: TaskStatus[WebSocketServer]) -> None:
        assert self._group is not None
        assert self._server is not None
        try:
            await self._server.serve(task_status)
        except Exception as exc:
            self.failures.append(exc)
            self._group.cancel_scope.cancel()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._group is not None
        assert self._server is not None
        leaving: BaseException | None = None
        try:
            if exc is None:
                await self._server.shutdown()
        except BaseException as raised:  # cancelled while shutting down; exit_group sorts it out
            leaving = raised
        return await exit_group(self._group, exc, leaving, self.failures)
