"""`Mux`: the merged stream, and who is in it.

It has no buffer and no task of its own: it is a queue of the members that have something, in turns. A
member that gets something calls us (`WebSocket.attach_reader`), and is put at the end of the queue if
it isn't in it; when its turn comes, one message is taken out of its own inbox. So what waits is
bounded by the members' own limits, back-pressure reaches each peer, and the cost of a message doesn't
depend on the number of members: nothing here goes through all of them, but the end, once.

Only what isn't a connection has a task (`anyio_ws.members`), and so has a source of further members. These
tasks are in a group of the block's, and end by scopes of their own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, Literal, TypeAlias, TypeVar, cast

import anyio
from anyio.abc import ObjectReceiveStream, TaskGroup

from .exceptions import ConnectionClosedOK
from .members import END, Member, Session, SessionReader, StreamReader, TaskReader
from .waiting import current_pace, new_signal
from .websocket import WebSocket

__all__ = ["Mergeable", "Mux", "MuxStatistics", "OnDisconnect", "check_member"]

QUEUE: Final = 64
"""Members that were discarded may keep so many places in the queue, or twice as many as there are members."""

OnDisconnect: TypeAlias = Literal["end", "cancel", "drop"]

Mergeable: TypeAlias = ObjectReceiveStream[Any] | Session
"""What may be a member: a `WebSocket` is such a stream."""

_Given_co = TypeVar("_Given_co", covariant=True)
_Item_co = TypeVar("_Item_co", covariant=True)


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
        self._first: Member | None = None  # to disconnect
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
    def first_to_disconnect(self) -> _Given_co | None:
        """The member whose connection ended first; None as long as none has. Of a session, its last one."""
        return None if self._first is None else self._first.stream

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
