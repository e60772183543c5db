"""What a server is without listening: connections, each served in the task that brought it.

`Service` is behind `open_server`, which accepts connections itself, and behind `endpoint`, which is called by
whoever does. It knows its connections, so it is what shuts them down.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, ParamSpec, TypeAlias, cast

import anyio

from .accepting import AcceptWebSocket
from .exceptions import ConnectionClosed
from .notice import Notice
from .observer import ServerObserver
from .options import HandlerErrorHook, ProcessRequest, ServerConfig, check_async
from .sansio import CloseCode, Response
from .sansio.frames import check_close
from .sansio.logs import LoggerLike
from .statistics import ServerStatistics, Tally
from .transports.base import text_of
from .transports.dial import Connectable
from .transports.interrupts import keep_interrupts_out, let_interrupts_in
from .transports.scheduling import Signal
from .transports.tls import check_serving
from .waiting import new_signal
from .websocket import WebSocket

__all__ = ["AnyHandler", "Handler", "Service", "check_handler", "is_end_of_connection"]

Handler: TypeAlias = Callable[[WebSocket], Awaitable[object]]
"""Called with each accepted connection, in a task of its own; the connection ends with it."""

AnyHandler: TypeAlias = Callable[..., Awaitable[object]]
"""The same, with further arguments: of who called an endpoint before it, of a route by name."""

_P = ParamSpec("_P")

RETRY_AFTER: Final = "1"
"""Seconds after which a client that found no place may try again."""


class Service:
    """Serves connections with one handler, until it is shut down."""

    def __init__(self, handler: AnyHandler, config: ServerConfig) -> None:
        """
        :raises TypeError: *handler* is no async function, or its ``process_request`` isn't
        :raises ValueError: ``ssl`` can't be a server's
        """
        self._process_request = check_handler(handler)
        if config.ssl is not None:
            check_serving(config.ssl)
        self._handler = handler
        self._config = config
        self._openings: set[AcceptWebSocket] = set()
        self._connections: set[WebSocket] = set()
        self._places: set[AcceptWebSocket] = set()  # of those that were accepted
        self._handler_tasks: set[int] = set()
        self._watchers: list[Signal] = []  # of connections that open and end
        self._shutting_down = Notice()
        self._observer = config.observer or ServerObserver()
        self._tally = Tally()
        self._logger: LoggerLike = config.logger or logging.getLogger("anyio_ws.server")

    @property
    def config(self) -> ServerConfig:
        """The options."""
        return self._config

    @property
    def logger(self) -> LoggerLike:
        """Where it says what happens."""
        return self._logger

    @property
    def connections(self) -> frozenset[WebSocket]:
        """The connections that are open now."""
        return frozenset(self._connections)

    def statistics(self) -> ServerStatistics:
        """What it has done until now; takes time in proportion to the connections that there are."""
        connections: list[AcceptWebSocket | WebSocket] = [*self._openings, *self._connections]
        return self._tally.statistics(
            (one.statistics() for one in connections),
            opening=len(self._openings),
            open=len(self._connections),
        )

    @property
    def is_idle(self) -> bool:
        """Whether there is no connection, from `begin` to the end of `serve`."""
        return not (self._openings or self._handler_tasks)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for a *condition* on the connections, which the other methods tell of."""
        changed = new_signal()
        self._watchers.append(changed)
        try:
            while not condition():
                await changed.wait()
        finally:
            self._watchers.remove(changed)

    @property
    def has_room(self) -> bool:
        """Whether another opening handshake may begin."""
        most = self._config.max_handshakes
        return most is None or len(self._openings) < most

    def refuse_from_now_on(self) -> None:
        """Answer every opening handshake with 503, and tell the handlers that it is over soon."""
        if not self._shutting_down:
            self._shutting_down.give()
            for opening in self._openings:
                opening.give_up()

    def check_shutdown(self, grace: float | None, code: int, reason: str, stagger: float) -> None:
        """Raise what is wrong with the arguments of `shut_down`, or with calling it here."""
        check_close(code, reason)
        _check_seconds("grace", grace)
        _check_seconds("stagger", stagger)
        if self._runs_this_task():
            raise RuntimeError(
                "a handler can't shut its own server down and wait for that: it would wait for itself; "
                "let another task do it"
            )

    async def shut_down(
        self,
        grace: float | None,
        code: int,
        reason: str,
        stagger: float,
        *,
        close_connections: bool,
    ) -> None:
        """Wait until the handlers have ended, and see to it; `WebSocketServer.shutdown` explains it.

        A handler may still be running when this returns: one that ignores for ``close_timeout`` that its
        connection was closed.
        """
        self.refuse_from_now_on()
        if not close_connections:
            await self.wait_until(lambda: self.is_idle)
            return
        if grace is not None:
            with anyio.move_on_after(grace):
                await self.wait_until(lambda: self.is_idle)
        connections = list(self._connections)
        async with anyio.create_task_group() as closing:
            for number, ws in enumerate(connections, 1):
                closing.start_soon(ws.aclose, code, reason)
                if stagger and number < len(connections):
                    await anyio.sleep(stagger / len(connections))
        with anyio.move_on_after(self._config.close_timeout):
            await self.wait_until(lambda: self.is_idle)

    def begin(self, stream: Connectable) -> AcceptWebSocket:
        """Take *stream* over, for `serve`."""
        opening = AcceptWebSocket(
            stream, self._config, process_request=self._process_request, admission=self._admit
        )
        self._openings.add(opening)
        self._tally.accepted += 1
        if self._shutting_down:
            opening.give_up()
        return opening

    @keep_interrupts_out
    async def serve(self, opening: AcceptWebSocket, arguments: Sequence[Any] = ()) -> None:
        """Serve one connection, to its end.

        :param arguments: what the handler gets before the connection
        :raises Exception: of the handler, with ``on_handler_error="raise"``; otherwise none leaves this
        """
        ws: WebSocket | None = None
        opened = 0.0
        task = anyio.get_current_task().id
        self._handler_tasks.add(task)
        try:
            self._tell(opening, self._observer.accepted, opening.remote_address)
            async with opening as ws:
                opened = anyio.current_time()
                self._opened(opening, ws)
                await self._handle(opening, partial(self._handler, *arguments, ws))
        except Exception as exc:  # one bad client or handler never takes the server down
            if ws is None:
                self._refused(opening, exc)
            else:
                await self._handler_failed(opening, ws, exc)
        except BaseException as exc:
            if ws is None:
                self._refused(opening, exc)
            raise
        else:
            if (broken := opening.break_exc) is not None:
                why = text_of(broken.__cause__ or broken)
                opening.log(logging.INFO, "connection broke, client %s: %s", why)
        finally:
            self._handler_tasks.discard(task)
            if ws is not None:
                self._closed(opening, ws, anyio.current_time() - opened)
            self._places.discard(opening)
            self._notify()
            if not opening.has_transport:
                await _let_go(opening.stream)

    def _opened(self, opening: AcceptWebSocket, ws: WebSocket) -> None:
        ws.set_shutting_down(self._shutting_down)
        self._openings.discard(opening)
        self._connections.add(ws)
        self._tally.opened += 1
        self._notify()
        self._tell(opening, self._observer.opened, ws)

    def _refused(self, opening: AcceptWebSocket, exc: BaseException) -> None:
        cause = opening.cause_of(exc)
        self._openings.discard(opening)
        self._tally.refused[cause] += 1
        self._tally.add_ended(opening.statistics())
        if isinstance(exc, Exception):
            if (
                isinstance(cause, int) and cause < 400
            ):  # a health check, say: somebody asks every other second
                opening.log(logging.DEBUG, "answered, client %s: %s", exc)
            elif opening.is_of_client(exc):
                opening.log(logging.INFO, "opening handshake failed, client %s: %s", exc)
            else:
                opening.log(logging.ERROR, "opening handshake failed, client %s", exc_info=exc)
        self._tell(opening, self._observer.refused, opening.remote_address, cause, exc)

    def _closed(self, opening: AcceptWebSocket, ws: WebSocket, duration: float) -> None:
        code = CloseCode.ABNORMAL_CLOSURE if ws.close_code is None else ws.close_code
        self._connections.discard(ws)
        self._tally.closed[int(code)] += 1
        self._tally.add_ended(opening.statistics())
        self._tell(opening, self._observer.closed, ws, int(code), duration)

    def _tell(
        self,
        opening: AcceptWebSocket,
        method: Callable[_P, object],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> None:
        """Call a method of the observer."""
        try:
            method(*args, **kwargs)
        except Exception as exc:
            name = getattr(method, "__name__", method)
            opening.log(logging.ERROR, "observer failed, client %s, in %s", name, exc_info=exc)

    def _notify(self) -> None:
        for watcher in self._watchers:
            watcher.set()

    def _admit(self, opening: AcceptWebSocket) -> Response | None:
        most = self._config.max_connections
        if most is not None and len(self._places) >= most:
            return Response.text(
                503, "The server has as many connections as it may.\n", {"Retry-After": RETRY_AFTER}
            )
        self._places.add(opening)
        return None

    def _runs_this_task(self) -> bool:
        """Whether this is the task of a handler, or one in a nursery of it."""
        parents = {task.id: task.parent_id for task in anyio.get_running_tasks()}
        task: int | None = anyio.get_current_task().id
        while task is not None and task not in self._handler_tasks:
            task = parents.get(task)
        return task is not None

    async def _handler_failed(
        self, opening: AcceptWebSocket, ws: WebSocket, exc: Exception
    ) -> None:
        self._tally.handler_failures += 1
        self._tell(opening, self._observer.handler_failed, ws, exc)
        react = self._config.on_handler_error
        if react == "raise":
            raise exc
        opening.log(logging.ERROR, "connection handler failed, client %s", exc_info=exc)
        if callable(react):
            try:
                await self._react(react, ws, exc)
            except Exception as error:
                opening.log(logging.ERROR, "on_handler_error failed, client %s", exc_info=error)

    @let_interrupts_in
    async def _react(self, react: HandlerErrorHook, ws: WebSocket, exc: Exception) -> None:
        await react(ws, exc)

    @let_interrupts_in
    async def _handle(
        self, opening: AcceptWebSocket, handle: Callable[[], Awaitable[object]]
    ) -> None:
        try:
            await handle()
        except Exception as exc:
            if not opening.ended or not is_end_of_connection(exc):
                raise  # an error, or the end of another connection than this one
            opening.log(logging.DEBUG, "handler ended with its connection, client %s: %s", exc)


def check_handler(handler: AnyHandler, what: str = "the handler") -> ProcessRequest | None:
    """Return the ``process_request`` that *handler* brings, if it does.

    :raises TypeError: one of them is no async function
    """
    check_async(what, handler)
    process_request: ProcessRequest | None = getattr(handler, "process_request", None)
    if process_request is not None:
        check_async("process_request", process_request)
    return process_request


def is_end_of_connection(exc: Exception) -> bool:
    """Whether *exc* is a `ConnectionClosed`, or several out of a task group and nothing else."""
    if isinstance(exc, ExceptionGroup):
        return all(
            is_end_of_connection(inner)
            for inner in cast("ExceptionGroup[Exception]", exc).exceptions
        )
    return isinstance(exc, ConnectionClosed)


def _check_seconds(name: str, seconds: float | None) -> None:
    if seconds is not None and not seconds >= 0:
        raise ValueError(f"{name} must be seconds, at least 0; got {seconds!r}")


async def _let_go(stream: Connectable) -> None:
    """Close *stream*, which wasn't taken over."""
    if isinstance(stream, socket.socket):
        stream.close()
    else:
        for one in stream if isinstance(stream, tuple) else (stream,):
            await anyio.aclose_forcefully(cast("Any", one))
