"""The server: `open_server`, `serve_websocket`, `accept_websocket`."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import TypeAlias, Unpack, cast

import anyio
from anyio.abc import TaskGroup, TaskStatus

from .connection import Connection
from .contexts import exit_group
from .exceptions import ConnectionClosed, InvalidHandshake
from .opening import ConnectionContext, check_handshake, handshake_message
from .options import HandlerErrorHook, ServerConfig, ServerOptions, check_async, server_config
from .sansio import (
    CloseCode,
    PerMessageDeflate,
    Request,
    Response,
    ServerExtensionFactory,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    State,
)
from .sansio.frames import check_close
from .sansio.headers import build_host
from .sansio.protocol import LoggerLike
from .sansio.uri import same_origin
from .transports.base import text_of
from .transports.dial import Connectable, SocketAddress, over
from .transports.interrupts import apply_to_trio, keep_interrupts_out, let_interrupts_in
from .transports.listen import AnyListener, ListeningSocket, listen_tcp, listen_unix, take_over
from .transports.sockets import peer_address
from .transports.tls import TLSEngine, secured
from .websocket import WebSocket

__all__ = ["Handler", "WebSocketServer", "accept_websocket", "open_server", "serve_websocket"]

Handler: TypeAlias = Callable[[WebSocket], Awaitable[object]]
"""Called with each accepted connection, in a task of its own; the connection ends with it."""


def accept_websocket(
    stream: Connectable,
    *,
    config: ServerConfig | None = None,
    **options: Unpack[ServerOptions],
) -> AbstractAsyncContextManager[WebSocket]:
    """Be the server on any byte stream: ``async with accept_websocket(stream) as ws``.

    Entering starts TLS if ``ssl`` was given and performs the opening handshake, within ``open_timeout``. A
    request that can't be accepted is answered with the fitting HTTP status. Leaving, cancelling and what
    the block raises are as for `open_websocket`.

    :param stream: a connected socket, a byte stream of AnyIO or trio, or a pair ``(receive, send)`` of
        one-way streams; it is closed with the connection
    :param config: all options at once; the others override it
    :param options: see `ServerConfig`
    :raises TypeError: there is no such option
    :raises ValueError: an option's value makes no sense
    :raises InvalidHandshake: on entering: the request wasn't acceptable, or never came
    :raises OSError: on entering: TLS failed
    :raises TimeoutError: on entering: ``open_timeout`` expired
    """
    return _AcceptWebSocket(stream, server_config(config, options))


def _extensions(config: ServerConfig) -> list[ServerExtensionFactory]:
    extensions = list(config.extensions or ())
    if config.compression and not any(one.name == PerMessageDeflate.name for one in extensions):
        extensions.append(ServerPerMessageDeflateFactory())
    return extensions


class _AcceptWebSocket(ConnectionContext):
    def __init__(self, stream: Connectable, config: ServerConfig) -> None:
        super().__init__(config)
        self._stream = stream
        self._config = config
        self._given_up = False
        self._protocol = ServerProtocol(
            origins=config.origins,
            extensions=_extensions(config),
            subprotocols=config.subprotocols,
            select_subprotocol=config.select_subprotocol,
            max_size=config.max_size,
            max_fragment_size=config.max_fragment_size,
            max_fragments=config.max_fragments,
            auto_pong=config.auto_pong,
            max_header_size=config.max_header_size,
            max_header_count=config.max_header_count,
            max_request_line=config.max_request_line,
            logger=config.logger,
        )

    async def _connect(self) -> Connection:
        config = self._config
        engine = None if config.ssl is None else TLSEngine(config.ssl, server_side=True)
        return Connection(self._protocol, secured(await over(self._stream), engine), config)

    async def _shake_hands(self, connection: Connection) -> WebSocket:
        if self._given_up:
            self._refuse(connection)
        try:
            request = await handshake_message(connection)
            assert isinstance(request, Request)
            try:
                response = self._respond(request)
            finally:
                connection.after_handshake()
            check_handshake(connection)
        except Exception as exc:
            await self._reject(connection, exc)
            raise
        return WebSocket(connection, url=request.path, request=request, response=response)

    def give_up(self) -> None:
        """Answer with 503 because the server shuts down, whatever was or will be asked.

        Not for a connection that is open.
        """
        self._given_up = True
        if self._connection is not None:
            self._refuse(self._connection)

    def _refuse(self, connection: Connection) -> None:
        protocol = self._protocol
        if protocol.state is State.CONNECTING and protocol.handshake_exc is None:
            protocol.handshake_exc = InvalidHandshake("the server is shutting down")
            protocol.send_response(protocol.reject(503, "The server is shutting down.\n"))
            connection.after_handshake()

    def _respond(self, request: Request) -> Response:
        protocol = self._protocol
        if protocol.handshake_exc is not None:
            raise protocol.handshake_exc  # the client didn't wait for an answer; or we couldn't
        if self._config.origins is None and not _from_here(request):
            protocol.origins = ()
        try:
            response = protocol.accept(request)
        except Exception:
            # Only a select_subprotocol of the user's raises here. The client is told, and so is the caller.
            protocol.send_response(protocol.reject(500, "Internal Server Error\n"))
            raise
        if self._config.server_header is not None:
            response.headers["Server"] = self._config.server_header
        protocol.send_response(response)
        return response


def _from_here(request: Request) -> bool:
    """Whether the request comes from a page of this very host, or from no page at all."""
    origins = request.headers.get_all("Origin")
    return not origins or same_origin(origins[0], request.headers.get("Host", ""))


class WebSocketServer:
    """A running server; made by `open_server` and `serve_websocket`."""

    def __init__(
        self,
        handler: Handler,
        listeners: Sequence[ListeningSocket],
        host: str | None,
        config: ServerConfig,
    ) -> None:
        self._handler = handler
        self._listeners = listeners
        self._host = host
        self._config = config
        self._accepting = anyio.CancelScope()
        self._openings: set[_AcceptWebSocket] = set()
        self._connections: set[WebSocket] = set()
        self._tasks: TaskGroup | None = None
        self._handler_tasks: set[int] = set()
        self._failures: list[Exception] = []  # of handlers, to be raised
        self._is_exhausted = False
        self._finished = anyio.Event()
        self._logger: LoggerLike = config.logger or logging.getLogger("anyio_ws.server")
        self.addresses: list[SocketAddress | str] = [one.address for one in listeners]
        """The ``(host, port)`` of each listening socket, or the path of a Unix socket."""

    @property
    def connections(self) -> frozenset[WebSocket]:
        """The connections that are open now."""
        return frozenset(self._connections)

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
        """Where a client on this machine can connect to; for a Unix socket, with its ``unix_path``."""
        secure = self._config.ssl is not None
        scheme = "wss" if secure else "ws"
        tcp = [address for address in self.addresses if not isinstance(address, str)]
        if not tcp:
            return f"{scheme}://localhost"
        host = self._host or tcp[0][0]
        if host in ("0.0.0.0", "::"):
            host = "localhost"
        return f"{scheme}://{build_host(host, self.port, secure=secure)}"

    async def shutdown(
        self, grace: float | None = None, code: int = CloseCode.GOING_AWAY, reason: str = ""
    ) -> None:
        """Stop accepting, let the handlers finish, say goodbye.

        Clients that are in the opening handshake are answered with HTTP 503, and have ``close_timeout`` to
        end the connection. Handlers have *grace* seconds (None: none) to finish by themselves. Connections
        that are open then are closed with *code* and *reason*, each within ``close_timeout``; a handler that
        goes on for another ``close_timeout`` after that is cancelled. Returns when every handler has ended.
        Cancelling it ends everything now.

        :raises ProtocolError: *code* can't be sent
        :raises ValueError: *reason* is too long
        :raises RuntimeError: called from within a handler of this server, for which it would wait
        """
        check_close(code, reason)  # raises what is wrong before anything is ended
        if self._runs_this_task():
            raise RuntimeError(
                "a handler can't shut its own server down and wait for that: it would wait for itself; "
                "let another task do it"
            )
        try:
            self._accepting.cancel()
            for opening in self._openings:
                opening.give_up()
            if grace is not None:
                with anyio.move_on_after(grace):
                    await self._finished.wait()
            async with anyio.create_task_group() as closing:
                for ws in self._connections:
                    closing.start_soon(ws.aclose, code, reason)
            with anyio.move_on_after(self._config.close_timeout):
                await self._finished.wait()
        finally:
            self._cancel()
        await self._finished.wait()

    def _runs_this_task(self) -> bool:
        """Whether this is the task of a handler, or one in a nursery of it."""
        parents = {task.id: task.parent_id for task in anyio.get_running_tasks()}
        task: int | None = anyio.get_current_task().id
        while task is not None and task not in self._handler_tasks:
            task = parents.get(task)
        return task is not None

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
                        for one in self._listeners:
                            accepting.start_soon(one.accept, self._accepted, self._exhausted)
            except BaseException as exc:
                leaving = exc
            self._stop_listening()
            await exit_group(self._tasks, None, leaving, self._failures)
        finally:
            self._stop_listening()  # also if it never began
            self._finished.set()

    def _stop_listening(self) -> None:
        for listener in self._listeners:
            listener.close()

    def _accepted(self, sock: socket.socket) -> None:
        assert self._tasks is not None
        self._is_exhausted = False
        self._tasks.start_soon(self._serve_connection, sock)

    def _exhausted(self, exc: OSError) -> None:
        if not self._is_exhausted:  # once until it is over, and not at every attempt
            self._is_exhausted = True
            self._logger.warning("can't accept connections for now: %s", exc)

    @keep_interrupts_out
    async def _serve_connection(self, sock: socket.socket) -> None:
        """One connection, from its socket to its end. No `Exception` leaves it."""
        opening = _AcceptWebSocket(sock, self._config)
        self._openings.add(opening)
        if self._accepting.cancel_called:  # shut down before we came to run
            opening.give_up()
        peer = peer_address(sock)
        ws: WebSocket | None = None
        task = anyio.get_current_task().id
        self._handler_tasks.add(task)
        try:
            async with opening as ws:
                self._openings.discard(opening)
                self._connections.add(ws)
                await self._handle(opening, ws)
        except Exception as exc:  # one bad client or handler never takes the server down
            if ws is not None:
                await self._handler_failed(ws, peer, exc)
            elif isinstance(exc, InvalidHandshake | OSError):  # TimeoutError is an OSError
                self._logger.info("opening handshake failed, client %s: %s", peer, exc)
            else:
                self._logger.error("opening handshake failed, client %s", peer, exc_info=exc)
        else:
            if (broken := opening.break_exc) is not None:
                why = text_of(broken.__cause__ or broken)
                self._logger.info("connection broke, client %s: %s", peer, why)
        finally:
            self._handler_tasks.discard(task)
            self._openings.discard(opening)
            if ws is not None:
                self._connections.discard(ws)
            if not opening.has_transport:
                sock.close()

    async def _handler_failed(self, ws: WebSocket, peer: object, exc: Exception) -> None:
        react = self._config.on_handler_error
        if react == "raise":
            self._failures.append(exc)
            self._cancel()
            return
        self._logger.error("connection handler failed, client %s", peer, exc_info=exc)
        if callable(react):
            try:
                await self._react(react, ws, exc)
            except Exception as error:
                self._logger.error("on_handler_error failed, client %s", peer, exc_info=error)

    @let_interrupts_in
    async def _react(self, react: HandlerErrorHook, ws: WebSocket, exc: Exception) -> None:
        await react(ws, exc)

    @let_interrupts_in
    async def _handle(self, opening: ConnectionContext, ws: WebSocket) -> None:
        try:
            await self._handler(ws)
        except Exception as exc:
            if not opening.ended or not _is_end_of_connection(exc):
                raise  # an error, or the end of another connection than this one
            self._logger.debug("handler ended with its connection: %s", exc)


def _is_end_of_connection(exc: Exception) -> bool:
    """Whether *exc* is a `ConnectionClosed`, or several out of a task group and nothing else."""
    if isinstance(exc, ExceptionGroup):
        return all(
            _is_end_of_connection(inner)
            for inner in cast("ExceptionGroup[Exception]", exc).exceptions
        )
    return isinstance(exc, ConnectionClosed)


async def serve_websocket(
    handler: Handler,
    host: str | None = None,
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

    :param host: address or name to listen on, all that it resolves to; None for every interface
    :param port: 0 picks a free port, see `WebSocketServer.port`
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
    host: str | None,
    port: int | None,
    unix_path: str | os.PathLike[str] | None,
    listeners: Sequence[AnyListener] | None,
    config: ServerConfig,
) -> WebSocketServer:
    """Make a server that listens, and doesn't accept yet."""
    check_async("the handler", handler)
    _check_address(host, port, unix_path, listeners)
    if listeners is not None:
        ours = take_over(listeners)
    elif unix_path is not None:
        ours = await listen_unix(unix_path, backlog=config.backlog)
    else:
        assert port is not None
        reuse_port = config.reuse_port
        ours = await listen_tcp(host, port, backlog=config.backlog, reuse_port=reuse_port)
    return WebSocketServer(handler, ours, host, config)


def _check_address(host: str | None, *alternatives: object) -> None:
    port = alternatives[0]
    if sum(one is not None for one in alternatives) != 1:
        raise TypeError("a server needs exactly one of port, unix_path and listeners")
    if host is not None and port is None:
        raise TypeError("host was given without a port")


def open_server(
    handler: Handler,
    host: str | None = None,
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
    check_async("the handler", handler)
    _check_address(host, port, unix_path, listeners)
    merged = server_config(config, options)
    return _OpenServer(partial(_listen, handler, host, port, unix_path, listeners, merged))


class _OpenServer:
    def __init__(self, listen: Callable[[], Awaitable[WebSocketServer]]) -> None:
        self._listen = listen
        self._group: TaskGroup | None = None
        self._server: WebSocketServer | None = None
        self._failures: list[Exception] = []  # of the server; one at most

    async def __aenter__(self) -> WebSocketServer:
        if self._group is not None:
            raise RuntimeError("a server's context manager can be entered only once")
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        try:
            self._server = await self._listen()
            await self._group.start(self._serve)
        except BaseException as exc:
            await exit_group(self._group, exc, kept=self._failures)
            raise
        return self._server

    @keep_interrupts_out
    async def _serve(self, *, task_status: TaskStatus[WebSocketServer]) -> None:
        assert self._group is not None
        assert self._server is not None
        try:
            await self._server.serve(task_status)
        except Exception as exc:
            self._failures.append(exc)
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
        return await exit_group(self._group, exc, leaving, self._failures)
