"""`mux`: several connections merged into one receive stream.

It has no buffer and no task of its own: it is a queue of the members that have something, in turns. A
member that gets something calls us (`WebSocket.attach_reader`), and is put at the end of the queue if
it isn't in it; when its turn comes, one message is taken out of its own inbox. So what waits is
bounded by the members' own limits, back-pressure reaches each peer, and the cost of a message doesn't
depend on the number of members: nothing here goes through all of them, but the end, once.

Only what isn't a connection has a task (`anyio_ws.members`), and so has a source of further members. These
tasks are in a group of the block's, and end by scopes of their own. What cancels the block is another one,
inside the group: a disconnection with ``on_disconnect="cancel"``, and what a task raises.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, cast, overload

import anyio
from anyio.abc import ObjectReceiveStream, TaskGroup

from .contexts import exit_group
from .exceptions import ConnectionClosedOK
from .members import END, Member, Session, SessionReader, StreamReader, TaskReader
from .waiting import current_pace, new_signal
from .websocket import WebSocket

__all__ = ["Mux", "MuxStatistics", "mux"]

QUEUE: Final = 64
"""Members that were discarded may keep so many places in the queue, or twice as many as there are members."""

OnDisconnect: TypeAlias = Literal["end", "cancel", "drop"]

Mergeable: TypeAlias = ObjectReceiveStream[Any] | Session
"""What may be a member: a `WebSocket` is such a stream."""

_Given_co = TypeVar("_Given_co", covariant=True)
_Item = TypeVar("_Item")
_Item_co = TypeVar("_Item_co", covariant=True)


@overload
def mux(
    *connections: WebSocket,
    source: AsyncIterable[WebSocket] | None = None,
    on_disconnect: OnDisconnect = "end",
    on_drop: Callable[[WebSocket, Exception], object] | None = None,
) -> AbstractAsyncContextManager[Mux[WebSocket, str | bytes]]: ...


@overload
def mux(
    *connections: WebSocket | Session,
    source: AsyncIterable[WebSocket | Session] | None = None,
    on_disconnect: OnDisconnect = "end",
    on_drop: Callable[[WebSocket | Session, Exception], object] | None = None,
) -> AbstractAsyncContextManager[Mux[WebSocket, str | bytes]]: ...


@overload
def mux(
    *connections: ObjectReceiveStream[_Item],
    source: AsyncIterable[ObjectReceiveStream[_Item]] | None = None,
    on_disconnect: OnDisconnect = "end",
    on_drop: Callable[[ObjectReceiveStream[_Item], Exception], object] | None = None,
) -> AbstractAsyncContextManager[Mux[ObjectReceiveStream[_Item], _Item]]: ...


def mux(
    *connections: object,
    source: AsyncIterable[object] | None = None,
    on_disconnect: OnDisconnect = "end",
    on_drop: Callable[[Any, Exception], object] | None = None,
) -> AbstractAsyncContextManager[Mux[Any, Any]]:
    """Merge *connections*: ``async with mux(bids, asks) as merged`` gives a stream of pairs.

    ``async for ws, message in merged`` goes through what arrives on any of them: in turns where several
    have something, in order within each. In the block it is *merged* that receives from them; sending
    on them is as before. Leaving the block gives them back, with every message that wasn't taken, and
    closes none. `Mux.add` and `Mux.discard` change who is a member.

    A member may also be any AnyIO object receive stream, which takes a task and a scheduling round per item;
    or an asynchronous iterable of connections in context managers, as ``reconnecting_websocket`` returns
    it. That is one member, whose messages come with the connection of the time; leaving the block closes
    that. Neither can be given back what was received and not taken: see `Mux.undelivered`.

    :param source: an asynchronous iterable of further members, which is gone through in a task of the block.
        With it there may be none to begin with. What it raises ends the block, and comes out of it
    :param on_disconnect: what happens when a member's connection ends. ``"end"``: the messages that had
        arrived on all members are delivered, then `Mux.receive` raises the `ConnectionClosed` of the
        first to disconnect, and iteration ends quietly if that was a normal close. ``"cancel"``: the
        block is cancelled at once, by a scope of its own that ends with it; an abnormal close is
        then raised at the end of the block. ``"drop"``: when its messages are delivered it is no member any
        more, and the others go on
    :param on_drop: with ``"drop"``, a plain function that is called with each member that has ended and with
        the exception that says why, after its last message: from within `Mux.receive`, out of which comes
        what it raises
    :raises TypeError: one is no connection; a list of them is to be given as ``mux(*connections)``
    :raises ValueError: there are neither connections nor a source, *on_disconnect* is something else, or
        *on_drop* would never be called
    :raises anyio.BusyResourceError: on entering: somebody receives from one of them already
    """
    given = cast("tuple[Mergeable, ...]", connections)  # which it looks at
    return _MuxContext(given, source, on_disconnect, on_drop)


@dataclass(frozen=True, slots=True, kw_only=True)
class MuxStatistics:
    """What a `Mux` has done until now."""

    members: int
    """How many there are, with those that have ended and whose messages aren't all taken."""
    ready: int
    """How many of them wait for their turn: something of theirs has arrived, or they have ended."""
    dropped: int
    """How many have ended, and are none any more."""
    taken: int
    """Messages that were taken, of all who ever were members."""
    taken_from: Mapping[Mergeable, int]
    """The same for each that is a member now."""


class Mux(ObjectReceiveStream[tuple[_Given_co, _Item_co]], Generic[_Given_co, _Item_co]):
    """The merged stream; see `mux`. For connections it is a ``Mux[WebSocket, str | bytes]``."""

    def __init__(
        self,
        tasks: TaskGroup,
        cancel: Callable[[], None],
        on_disconnect: OnDisconnect,
        on_drop: Callable[[_Given_co, Exception], object] | None,
    ) -> None:
        """Not for users: `mux` makes it. *cancel* cancels the block."""
        self._tasks = tasks
        self._cancel = cancel
        self._cancels = on_disconnect == "cancel"
        self._drops = on_disconnect == "drop"
        self._on_drop = on_drop
        self._members: dict[Mergeable, Member] = {}
        self._ready: deque[Member] = deque()
        self._leaving: dict[Mergeable, TaskReader] = {}  # discarded, and not left alone yet
        self._source: anyio.CancelScope | None = None  # of its task
        self._limited = False  # to what had arrived when the first ended
        self._closed = False
        self._receiving = False
        self._changed = new_signal()
        self._pace = current_pace()
        self._first: Member | None = None
        self._dropped = 0
        self._taken = 0  # from those who are no members any more
        self.failures: list[Exception] = []
        """Not for users: what ends the block."""
        self.undelivered: list[tuple[_Given_co, _Item_co]] = []
        """Pairs that were received from members which aren't connections, and not taken when the block was
        left: at most one from a stream, and what was in the inbox from a connection of a session's. What
        arrived on connections of yours is still there."""

    # Receiving.

    async def receive(self) -> tuple[_Given_co, _Item_co]:
        """Wait for the next message of any member. Cancelling loses nothing.

        Like `WebSocket.receive` it yields to the scheduler at least every 32 messages, or every millisecond.

        :raises ConnectionClosed: the first member disconnected, and what had arrived was delivered; if it was
            none of our connections, what it raised
        :raises anyio.EndOfStream: there is no member left, and none can come from the source
        :raises anyio.BusyResourceError: another task receives
        :raises anyio.ClosedResourceError: the block was left
        """
        if self._receiving:
            raise anyio.BusyResourceError("receiving from")
        self._receiving = True
        try:
            if self._pace.due():
                await self._pace.rest()
            while (pair := self._take()) is None:
                await self._changed.wait()
                self._pace.rested()
            return pair
        finally:
            self._receiving = False

    def receive_nowait(self) -> tuple[_Given_co, _Item_co]:
        """Return a message that has arrived on any member.

        :raises anyio.WouldBlock: there is none
        :raises ConnectionClosed: as `receive`
        :raises anyio.EndOfStream: as `receive`
        :raises anyio.ClosedResourceError: as `receive`
        """
        if self._receiving:
            raise anyio.BusyResourceError("receiving from")
        pair = self._take()
        if pair is None:
            raise anyio.WouldBlock
        return pair

    async def __anext__(self) -> tuple[_Given_co, _Item_co]:
        try:
            return await self.receive()
        except (ConnectionClosedOK, anyio.EndOfStream):
            raise StopAsyncIteration from None

    # Members.

    def add(self, member: Mergeable) -> None:
        """Receive from *member*, too; if it is one already, nothing changes.

        What arrived on it before comes first. After the first has disconnected nothing of a new member is
        delivered, except with ``on_disconnect="drop"``.

        :raises TypeError: it is nothing that `mux` takes
        :raises anyio.BusyResourceError: somebody receives from it already
        :raises anyio.ClosedResourceError: the block was left
        """
        one = self._join(member)
        if one is not None:
            self._notify(one)

    def _join(self, member: Mergeable) -> Member | None:
        check_member(member)
        if self._closed:
            raise anyio.ClosedResourceError
        if member in self._members:
            return None
        one: Member = Member(member)
        if isinstance(member, WebSocket):
            one.reader = member.attach_reader(partial(self._notify, one))
        else:
            notify = partial(self._received, one)
            if isinstance(member, ObjectReceiveStream):
                stream = cast("ObjectReceiveStream[object]", member)
                reader: TaskReader = StreamReader(one, notify, stream)
            else:
                reader = SessionReader(one, notify, member)
            one.reader = reader
            before = self._leaving.get(member)
            self._tasks.start_soon(self._run, partial(self._read, one, reader, before))
        self._members[member] = one
        return one

    def discard(self, member: Mergeable) -> None:
        """Give *member* back, with every message that wasn't taken; if it is none, nothing changes.

        What was received from a stream that is no connection is still delivered, and the stream is free
        shortly after. The connection of a session is closed, without waiting.
        """
        one = self._members.get(member)
        if one is None:
            return
        self._remove(one)
        if isinstance(one.reader, TaskReader):
            self._leaving[member] = one.reader
            if self._limited:
                self._keep(one)
        if len(self._ready) > 2 * len(self._members) + QUEUE:
            self._ready = deque(other for other in self._ready if self._has_something(other))
        self._changed.set()  # it may have been the last

    @property
    def members(self) -> tuple[Mergeable, ...]:
        """Those that there are now, in the order in which they came."""
        return tuple(self._members)

    @property
    def first_to_disconnect(self) -> Mergeable | None:
        """The member whose connection ended first; None as long as none has."""
        return None if self._first is None else self._first.given

    @property
    def closed_exc(self) -> Exception | None:
        """Why the first to disconnect did, as an exception; None as long as none has."""
        return None if self._first is None else self._first.reader.closed_exc

    def statistics(self) -> MuxStatistics:
        """What was done until now. Takes time in proportion to the members."""
        taken = {given: one.taken for given, one in self._members.items()}
        return MuxStatistics(
            members=len(taken),
            ready=sum(one.queued for one in self._members.values()),
            dropped=self._dropped,
            taken=self._taken + sum(taken.values()),
            taken_from=taken,
        )

    async def aclose(self) -> None:
        """Give the connections back, with every message that wasn't taken. Doesn't wait."""
        self.close()

    def close(self) -> None:
        """As `aclose`."""
        if self._closed:
            return
        self._closed = True
        if self._source is not None:
            self._source.cancel()
        left = {id(one): one for one in (*self._members.values(), *self._ready)}
        for one in left.values():
            one.reader.detach()
            self._keep(one)
        self._taken += sum(one.taken for one in self._members.values())
        self._members.clear()
        self._ready.clear()
        self._changed.set()

    # Inside.

    def start(self, members: Sequence[Mergeable], source: AsyncIterable[object] | None) -> None:
        """Not for users: begin with *members*, together; *source* brings others. Raises as `add`."""
        joined = [self._join(member) for member in members]
        for one in joined:
            if one is not None:
                self._notify(one)
        if source is not None:
            self._source = anyio.CancelScope()
            self._tasks.start_soon(self._run, partial(self._follow, source, self._source))

    async def _follow(self, source: AsyncIterable[object], scope: anyio.CancelScope) -> None:
        with scope:
            try:
                async for member in source:
                    if self._closed:
                        break
                    self.add(cast("Mergeable", member))  # which it looks at
            finally:
                if isinstance(
                    source, AsyncGenerator
                ):  # it can't be left in the middle of something
                    await cast("AsyncGenerator[object]", source).aclose()
        self._source = None
        self._changed.set()

    async def _read(self, one: Member, reader: TaskReader, before: TaskReader | None) -> None:
        try:
            await reader.run(before)
        finally:
            if self._leaving.get(one.given) is reader:
                del self._leaving[one.given]

    async def _run(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as exc:
            self.failures.append(exc)
            self._cancel()

    def _notify(self, one: Member) -> None:
        """There may be something to take from *one*, or it has ended."""
        reader = one.reader
        if reader.ended:
            if self._first is None:
                self._note_first(one)
        elif one.queued or not reader.ready:
            return
        if not one.queued:
            one.queued = True
            self._ready.append(one)
        self._changed.set()

    def _received(self, one: Member) -> None:
        """As `_notify`, of a member with a task: it may come when nobody wants that any more."""
        if self._members.get(one.given) is one:
            self._notify(one)
        elif self._closed or self._limited:
            self._keep(one)
        elif one.reader.available and not one.queued:
            one.queued = True
            self._ready.append(one)
            self._changed.set()

    def _has_something(self, one: Member) -> bool:
        """Whether it needs its place in the queue; those who were discarded may not."""
        if self._members.get(one.given) is one:
            return True
        return isinstance(one.reader, TaskReader) and one.reader.available > 0

    def _note_first(self, one: Member) -> None:
        self._first = one
        if not self._drops:
            # Others may go on for ever; what they have now is what had arrived.
            self._limited = True
            for other in self._members.values():
                other.left = other.reader.available
        if self._cancels:
            self._cancel()

    def _take(self) -> tuple[_Given_co, _Item_co] | None:
        while self._ready:
            one = self._ready.popleft()
            one.queued = False
            if self._limited:
                if not one.left:
                    continue
                one.left -= 1
            try:
                item = one.reader.receive_nowait()
            except anyio.WouldBlock:
                continue
            except END:
                pass
            else:
                one.taken += 1
                if one.reader.ready and not one.queued:
                    one.queued = True
                    self._ready.append(one)
                return one.stream, item
            self._ended(one)  # out here, for it may raise what has nothing to do with that
        if self._closed:
            raise anyio.ClosedResourceError
        if self._limited and (end := self.closed_exc) is not None:
            raise end
        if self._source is None and not self._members:
            raise anyio.EndOfStream
        return None

    def _ended(self, one: Member) -> None:
        """*one* had its turn, and nothing more to give."""
        if self._drops and self._members.get(one.given) is one:
            self._remove(one)
            self._dropped += 1
            why = one.reader.closed_exc
            if self._on_drop is not None and why is not None:
                self._on_drop(one.given, why)

    def _remove(self, one: Member) -> None:
        del self._members[one.given]
        self._taken += one.taken
        one.reader.detach()

    def _keep(self, one: Member) -> None:
        """Keep what can't be given back."""
        if isinstance(one.reader, TaskReader):
            items = one.reader.items
            while items:
                self.undelivered.append((one.stream, items.popleft()))


def check_member(member: object) -> None:
    """
    :raises TypeError: it can't be one
    """
    if not isinstance(member, ObjectReceiveStream | AsyncIterable):
        raise TypeError(f"mux takes connections, each an argument, not {member!r}")


class _MuxContext:
    def __init__(
        self,
        connections: Sequence[Mergeable],
        source: AsyncIterable[object] | None,
        on_disconnect: OnDisconnect,
        on_drop: Callable[[Any, Exception], object] | None,
    ) -> None:
        if not connections and source is None:
            raise ValueError("mux needs at least one connection, or a source of them")
        for one in connections:
            check_member(one)
        if source is not None and not isinstance(cast("object", source), AsyncIterable):
            raise TypeError(f"the source of a mux must be an asynchronous iterable, not {source!r}")
        if on_disconnect not in ("end", "cancel", "drop"):
            raise ValueError(
                f'on_disconnect must be "end", "cancel" or "drop", not {on_disconnect!r}'
            )
        if on_drop is not None:
            if on_disconnect != "drop":
                raise ValueError('on_drop is called only with on_disconnect="drop"')
            if inspect.iscoroutinefunction(on_drop):
                raise TypeError(f"on_drop must be a plain function, not {on_drop!r}")
        self._connections = connections
        self._source = source
        self._on_disconnect: OnDisconnect = on_disconnect
        self._on_drop = on_drop
        self._mux: Mux[Any, Any] | None = None

    async def __aenter__(self) -> Mux[Any, Any]:
        if self._mux is not None:
            raise RuntimeError("mux's context manager can be entered only once")
        self._group = anyio.create_task_group()
        self._scope = anyio.CancelScope()
        self._mux = Mux(self._group, self._scope.cancel, self._on_disconnect, self._on_drop)
        await self._group.__aenter__()
        try:
            self._mux.start(self._connections, self._source)
        except BaseException as exc:
            self._mux.close()
            await exit_group(self._group, exc, kept=self._mux.failures)
            raise
        self._scope.__enter__()
        return self._mux

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._mux is not None
        end = self._mux.closed_exc if self._on_disconnect == "cancel" else None
        self._mux.close()
        failures = self._mux.failures
        if exc is not None and not _with_cancellation(exc):
            # trio's scopes rebuild every group that passes them.
            self._scope.__exit__(None, None, None)
            return await exit_group(self._group, exc, kept=failures)
        try:
            caught = bool(self._scope.__exit__(exc_type, exc, traceback))
        except BaseException as rest:  # without the cancellation
            await exit_group(self._group, rest, kept=failures)
            raise
        if not (caught or exc is None):
            return await exit_group(self._group, exc, kept=failures)
        if end is not None and not isinstance(end, (ConnectionClosedOK, anyio.EndOfStream)):
            end.__suppress_context__ = True  # it isn't from the cancellation
            failures.append(end)
        await exit_group(self._group, None, kept=failures)
        return caught


def _with_cancellation(exc: BaseException) -> bool:
    cancelled = anyio.get_cancelled_exc_class()
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return group.subgroup(cancelled) is not None
    return isinstance(exc, cancelled)
