"""The ways to receive: message by message, fragment by fragment, as events, or for somebody else.

All take from the connection's inbox, one at a time: each claims the connection while it receives.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Generic, Self, TypeVar, cast

import anyio
from anyio.abc import ObjectReceiveStream, TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from .connection import Connection
from .contexts import exit_group
from .errors import Call
from .events import Binary, Closed, Event, FragmentEvent, Ping, Pong, Text
from .events import Fragment as FragmentReceived
from .exceptions import ConnectionClosed
from .sansio import Close, CloseCode, Fragment, Frame, Opcode
from .transports.interrupts import apply_to_trio, keep_interrupts_out
from .waiting import wait_for_input

__all__ = ["Discarding", "Events", "Fragments", "MessageReader", "take_nowait", "wait_for_message"]


_Event = TypeVar("_Event")


async def wait_for_message(connection: Connection) -> None:
    """Wait until the inbox has a finished message.

    :raises ConnectionClosed: there won't be one
    """
    inbox = connection.inbox
    if not connection.readable:
        await wait_for_input(connection)
    elif connection.pace.due():
        await connection.pace.rest()
    while not inbox.count:
        _check_input(connection)
        await wait_for_input(connection)


async def wait_for_part(connection: Connection) -> Fragment | Frame:
    """Wait until the inbox has a fragment, a Ping or a Pong; return it, and leave it there.

    :raises ConnectionClosed: there won't be one
    """
    if connection.pace.due():
        await connection.pace.rest()
    while (part := connection.inbox.first_part()) is None:
        _check_input(connection)
        await wait_for_input(connection)
    return part


def take_nowait(connection: Connection) -> str | bytes:
    """Take a finished message.

    :raises anyio.WouldBlock: there is none
    :raises ConnectionClosed: there won't be one
    """
    if not connection.inbox.count:
        _check_input(connection)
        raise anyio.WouldBlock
    return connection.take()


def _check_input(connection: Connection) -> None:
    """The inbox has no finished message: can there still be one?"""
    connection.release_failure()
    if connection.input_over:
        raise connection.closed(Call.RECEIVE)


class MessageReader:
    """Exclusive, non-waiting access to what a connection receives; see `WebSocket.attach_reader`."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection, notify: Callable[[], None]) -> None:
        connection.claim(self)
        connection.notify = notify
        connection.read_in_run()
        self._connection = connection

    def receive_nowait(self) -> str | bytes:
        """Take a message that has arrived.

        :raises anyio.WouldBlock: there is none
        :raises ConnectionClosed: the connection is closed, and everything that arrived was taken
        :raises anyio.ClosedResourceError: the reader was detached
        """
        if not self._connection.is_claimed_by(self):
            raise anyio.ClosedResourceError
        return take_nowait(self._connection)

    @property
    def available(self) -> int:
        """The number of messages that can be taken now."""
        return self._connection.inbox.count

    @property
    def ready(self) -> bool:
        """Whether `receive_nowait` would do something else than raise ``anyio.WouldBlock``."""
        return self._connection.readable

    @property
    def ended(self) -> bool:
        """Whether nothing more will arrive; what has arrived can still be taken."""
        return self._connection.input_over

    @property
    def closed_exc(self) -> ConnectionClosed | None:
        """What `receive_nowait` raises, or will raise after the messages; None as long as it's open."""
        connection = self._connection
        return connection.closed(Call.RECEIVE) if connection.input_over else None

    def detach(self) -> None:
        """Give receiving back. What wasn't taken stays with the connection. Again, it does nothing."""
        self._connection.disclaim(self)


class Discarding:
    """Nothing is received for as long as the block lasts; see `WebSocket.discard_incoming`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def __aenter__(self) -> None:
        self._connection.claim(self)
        self._connection.start_discarding()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.discarding = False
        self._connection.disclaim(self)


class Fragments:
    """The fragments of one message; see `WebSocket.receive_fragments`.

    Iterating raises `ConnectionClosed` if the connection ends before the message does.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._begun = False
        self._complete = False

    async def __aenter__(self) -> Self:
        self._connection.claim(self)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._begun and not self._complete:
            self._connection.skip_message()
        self._connection.disclaim(self)

    def __aiter__(self) -> AsyncIterator[str | bytes]:
        return self

    async def __anext__(self) -> str | bytes:
        """Wait for the next fragment. Cancelling loses nothing."""
        if self._complete:
            raise StopAsyncIteration
        fragment = await wait_for_part(self._connection)
        assert isinstance(fragment, Fragment), "a Ping or Pong, and nobody records them"
        self._connection.take_part()
        self._begun = True
        self._complete = fragment.final
        return fragment.data


class Events(Generic[_Event]):
    """A task that moves events from the inbox into a memory object stream; see `WebSocket.events`.

    An event leaves the inbox only after the stream's reader has got it, so one that isn't read stays.
    """

    def __init__(self, connection: Connection, *, fragments: bool) -> None:
        self._connection = connection
        self._fragments = fragments
        self._in_message = False  # the fragments of which some were read, and not the last
        self._group: TaskGroup | None = None
        self._stream: MemoryObjectReceiveStream[_Event] | None = None
        self._send: MemoryObjectSendStream[_Event] | None = None

    async def __aenter__(self) -> ObjectReceiveStream[_Event]:
        self._connection.claim(self)
        apply_to_trio()
        self._connection.start_recording(between_fragments=self._fragments)
        self._send, self._stream = anyio.create_memory_object_stream[_Event]()
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        self._group.start_soon(self._move, cast("MemoryObjectSendStream[object]", self._send))
        return self._stream

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._group is not None
        assert self._stream is not None
        assert self._send is not None
        self._group.cancel_scope.cancel()
        try:
            return await exit_group(self._group, exc)
        finally:
            self._stream.close()  # and not aclose(): nothing here may be cancelled
            self._send.close()
            self._connection.stop_recording()
            if self._in_message:
                self._connection.skip_message()
            self._connection.disclaim(self)

    @keep_interrupts_out
    async def _move(self, stream: MemoryObjectSendStream[object]) -> None:
        move = self._move_part if self._fragments else self._move_message
        try:
            while True:
                try:
                    await move(stream)
                except ConnectionClosed as exc:
                    await stream.send(_as_closed(exc.rcvd))
                    break
        except anyio.BrokenResourceError:
            pass  # the reader closed its end before the end of the block
        # Not when cancelled: a reader that is cancelled as well must not take that for the end.
        stream.close()

    async def _move_message(self, stream: MemoryObjectSendStream[object]) -> None:
        connection = self._connection
        await wait_for_message(connection)
        await stream.send(_as_event(connection.inbox.first()))
        if connection.inbox.count:  # otherwise aclose() has dropped everything
            connection.take()

    async def _move_part(self, stream: MemoryObjectSendStream[object]) -> None:
        connection = self._connection
        part = await wait_for_part(connection)
        await stream.send(_as_event(part))
        if connection.inbox.first_part() is not None:
            connection.take_part()
        if isinstance(part, Fragment):
            self._in_message = not part.final


def _as_closed(close: Close | None) -> Closed:
    if close is None:
        return Closed(CloseCode.ABNORMAL_CLOSURE, "")
    return Closed(close.code, close.reason)


def _as_event(message: str | bytes | Fragment | Frame) -> Event | FragmentEvent:
    if isinstance(message, str):
        return Text(message)
    if isinstance(message, bytes):
        return Binary(message)
    if isinstance(message, Fragment):
        return FragmentReceived(message.data, message.final)
    return Ping(message.data) if message.opcode is Opcode.PING else Pong(message.data)
