"""What opening a connection means on either side: a transport, a time limit, a handshake, and an end.

`ConnectionContext` is the context manager behind `open_websocket` and `accept_websocket`. It is a class,
not a generator: the task group is entered and left by hand, in one task, and never across a yield. There is
one only if the transport has to run: where the event loop pushes, a connection has no task and no scope.
"""

from __future__ import annotations

import math
import ssl
from abc import ABC, abstractmethod
from types import TracebackType

import anyio
from anyio.abc import TaskGroup

from .connection import Connection
from .contexts import exit_group
from .errors import Call
from .exceptions import ConnectionClosed, ProxyError
from .options import CommonConfig
from .sansio import Request, Response, State
from .statistics import NOTHING, ConnectionStatistics
from .transports.base import Transport
from .transports.tls import TLSHandshakeError
from .waiting import wait_for
from .websocket import WebSocket

__all__ = ["ConnectionContext", "check_handshake", "deadline_in", "handshake_message"]


class ConnectionContext(ABC):
    """Opens a connection when entered, closes it when left.

    Leaving it normally closes with 1000, by an `Exception` with 1011, both with the closing handshake and
    within ``close_timeout``. Leaving it by anything else (cancellation, `KeyboardInterrupt`) sends 1001 as
    far as that takes no waiting, and aborts. What the block raised comes out as it is; what became of
    the connection raises nothing.
    """

    def __init__(self, config: CommonConfig) -> None:
        self.deadline: float | None = None
        """Until when it must be open, instead of for ``open_timeout`` from entering."""
        self._open_timeout = config.open_timeout
        self._entered = False
        self._rejection: Exception | None = None
        self._group: TaskGroup | None = None
        self._connection: Connection | None = None
        self._ws: WebSocket | None = None

    @abstractmethod
    async def _connect(self) -> Connection:
        """Make the transport, and a connection of it."""

    @abstractmethod
    async def _shake_hands(self, connection: Connection) -> WebSocket:
        """Perform the opening handshake."""

    def _overdue(self) -> Exception:
        """What entering raises when it has taken too long."""
        return TimeoutError(
            f"the connection wasn't open after open_timeout, {self._open_timeout} seconds"
        )

    def _last_words(self, exc: BaseException) -> None:  # noqa: B027  # a client has none
        """Tell the peer why opening ends with *exc*, as far as that takes no waiting."""

    async def __aenter__(self) -> WebSocket:
        if self._entered:
            raise RuntimeError("a connection's context manager can be entered only once")
        self._entered = True
        deadline = deadline_in(self._open_timeout) if self.deadline is None else self.deadline
        try:
            with anyio.CancelScope(deadline=deadline):
                self._connection = await self._connect()
            if self._connection is not None:
                # Between two scopes with one deadline: no scope may end after a group that began in it.
                await self._run(self._connection)
                with anyio.CancelScope(deadline=deadline):
                    self._ws = await self._shake_hands(self._connection)
                    self._connection.begin_lifetime()
            if self._rejection is not None:
                raise self._rejection
            if self._ws is None:
                raise self._overdue()
        except BaseException as exc:
            self._last_words(exc)
            self._abort()
            await exit_group(self._group, exc)
            raise
        return self._ws

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._ws is not None
        leaving: BaseException | None = None
        try:
            await self._ws.__aexit__(exc_type, exc, traceback)
        except BaseException as raised:  # cancelled while closing; exit_group sorts it out
            leaving = raised
        self._abort()
        return await exit_group(self._group, exc, leaving)

    async def _reject(self, connection: Connection, why: Exception) -> None:
        """Make *why* what entering raises, after a rejecting response has left and the peer closed.

        That takes ``close_timeout`` at most, and no longer than opening may take.
        """
        self._rejection = why
        with anyio.move_on_after(connection.config.close_timeout):
            while not connection.lost:
                await wait_for(connection, connection.changed)

    async def wait_lost(self) -> None:
        """Wait until nothing is left of a connection that couldn't be opened, and so was aborted."""
        connection = self._connection
        while connection is not None and not connection.lost:
            await wait_for(connection, connection.changed)

    @property
    def ended(self) -> bool:
        """Whether the connection was open and isn't any more, in one direction at least."""
        connection = self._connection
        return connection is not None and (
            connection.lost or connection.output_over or connection.protocol.state is not State.OPEN
        )

    def statistics(self) -> ConnectionStatistics:
        """What went over the connection until now."""
        if self._connection is None:
            return NOTHING
        return self._connection.statistics()

    @property
    def has_transport(self) -> bool:
        """Whether what the connection is to speak over was taken over, and is closed with it."""
        return self._connection is not None

    @property
    def break_exc(self) -> ConnectionClosed | None:
        """Why the connection ended without a Close frame of the peer, if that is how it ended.

        None also where the keepalive has logged it already.
        """
        connection = self._connection
        if connection is None or connection.given_up:
            return None
        if not connection.input_over or connection.protocol.close_rcvd:
            return None
        return connection.closed(Call.RECEIVE)

    async def _run(self, connection: Connection) -> None:
        """Start what the transport has to run."""
        if connection.transport.has_to_run:
            self._group = anyio.create_task_group()
            await self._group.__aenter__()
            self._group.start_soon(_run_until_aborted, connection.transport)

    def _abort(self) -> None:
        if self._connection is not None:
            self._connection.transport.abort()


def deadline_in(timeout: float | None) -> float:
    """When *timeout* is over that begins now."""
    return math.inf if timeout is None else anyio.current_time() + timeout


async def _run_until_aborted(transport: Transport) -> None:
    """Run *transport* for as long as the block lasts, which ends with aborting it.

    A cancellation is for the block to see: if this task saw it as well, and first, the block could send no
    Close frame, nor finish what it shields. The shield delays nothing: once aborted, nothing waits.
    """
    with anyio.CancelScope(shield=True):
        await transport.run()


async def handshake_message(connection: Connection) -> Request | Response:
    """Wait for the peer's part of the opening handshake.

    :raises InvalidHandshake: it isn't what it should be, or the connection ended before it came
    """
    while (message := connection.handshake_message()) is None:
        check_handshake(connection)
        await wait_for(connection, connection.changed)
    return message


def check_handshake(connection: Connection) -> None:
    """Raise why the handshake, a proxy's, TLS's or WebSocket's, failed, if one did."""
    if isinstance(connection.lost_cause, TLSHandshakeError | ssl.SSLError | ProxyError):
        raise connection.lost_cause
    exc = connection.protocol.handshake_exc
    if exc is None:
        return
    if connection.lost_cause is not None and exc.__cause__ is None:
        raise exc from connection.lost_cause
    raise exc
