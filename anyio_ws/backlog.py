"""Messages for a connection that has no room for them now, from those who send to many and wait for none.

They aren't framed yet, so they can still be dropped, or replaced by newer ones. A `Backlog` belongs to one
connection and exists while there is something in it; what it holds of a message is a reference, for the
same message may wait for many. Each is charged its size all the same, and `OVERHEAD` for its objects.

Order: those who send and what waits here take turns in the order in which they came. So a backlog stands
in the connection's turnstile, in the same queue as the tasks that wait there: in stretches, if tasks came in
between. When its turn comes a stretch gives the connection what there is room for.
"""

from __future__ import annotations

import enum
from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Final, Literal, Protocol, TypeAlias

from .sansio.prepared import PreparedMessage
from .turnstile import Turnstile

__all__ = ["MAX_BUFFERED", "OVERHEAD", "Backlog", "Delivery", "Outlet", "Overflow"]

MAX_BUFFERED: Final = 2**20
"""The default of ``max_buffered``."""

OVERHEAD: Final = 512
"""Bytes that a message which waits is charged beyond its own, for the objects that carry it."""

Overflow: TypeAlias = Literal["disconnect", "drop", "drop_oldest", "coalesce"]
"""What happens to a client that doesn't take its messages as fast as they come; see `broadcast`."""


class Delivery(enum.Enum):
    """What became of a message that was offered; see `WebSocket.offer`."""

    SENT = enum.auto()
    """It is committed, as by `WebSocket.send`."""
    QUEUED = enum.auto()
    """It waits for room; it may still be replaced or dropped, if that was said."""
    DISPLACED = enum.auto()
    """The same, and older messages were dropped for it."""
    DROPPED = enum.auto()
    """It won't be sent: there was no room."""
    DISCONNECTED = enum.auto()
    """There was no room, and the connection is being closed because of that."""
    SKIPPED = enum.auto()
    """It won't be sent: the connection isn't open."""


class Outlet(Protocol):
    """What a backlog wants of its connection."""

    @property
    def turnstile(self) -> Turnstile:
        """Where those who send take turns."""
        ...

    def has_room(self) -> bool:
        """Whether a message may be committed now."""
        ...

    def take_over(self, message: PreparedMessage) -> None:
        """Commit a message; `moved` is called after some. Doesn't raise."""
        ...

    def moved(self) -> None:
        """Send what was taken over, or note that something was dropped."""
        ...

    def call_back(self) -> None:
        """Have the turnstile woken, once what is going on now is done."""
        ...


class _Waiting:
    """A message that waits: a place in the order, for its message may be replaced."""

    __slots__ = ("key", "message", "size", "stretch")

    def __init__(self, message: PreparedMessage, size: int, stretch: _Stretch) -> None:
        self.message = message
        self.size = size
        self.stretch = stretch
        self.key: Hashable | None = None


class _Stretch:
    """Messages between which nobody else came to send: what has a place in the turnstile."""

    __slots__ = ("_backlog", "waiting")

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self.waiting: OrderedDict[_Waiting, None] = OrderedDict()  # any of them may be dropped

    def set(self) -> None:
        self._backlog.feed(self)


class Backlog:
    """What waits for one connection; see above."""

    __slots__ = ("_by_key", "_droppable", "_outlet", "_stretches", "count", "size")

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._stretches: list[_Stretch] = []
        self._droppable: deque[_Waiting] = deque()  # those that "drop_oldest" may drop, in order
        self._by_key: dict[Hashable, _Waiting] = {}  # those that "coalesce" may replace
        self.count: int = 0
        """Messages."""
        self.size: int = 0
        """What they are charged, in bytes."""

    @property
    def bytes(self) -> int:
        """Their own bytes."""
        return self.size - self.count * OVERHEAD

    def add(
        self, message: PreparedMessage, overflow: Overflow, limit: int, key: Hashable | None
    ) -> Delivery:
        """Let *message* wait, or do what *overflow* says where more than *limit* bytes would wait here."""
        size = len(message.data) + OVERHEAD
        if overflow == "coalesce" and key is not None:
            older = self._by_key.get(key)
            if older is not None and self.size - older.size + size <= limit:
                self.size += size - older.size
                older.message, older.size = message, size
                return Delivery.QUEUED
        delivery = Delivery.QUEUED
        if overflow == "drop_oldest":
            while self.size + size > limit and self._droppable:
                self._remove(self._droppable[0])
                delivery = Delivery.DISPLACED
            # The newest is kept also where the limit leaves no room at all; but not in place of others.
            if self.size + size > limit and self.count and delivery is not Delivery.DISPLACED:
                return Delivery.DROPPED
        elif self.size + size > limit:
            return Delivery.DROPPED if overflow == "drop" else Delivery.DISCONNECTED
        waiting = self._append(message, size)
        if overflow == "drop_oldest":
            self._droppable.append(waiting)
        elif overflow == "coalesce" and key is not None:
            waiting.key = key
            self._by_key[key] = waiting
        return delivery

    def feed(self, stretch: _Stretch) -> None:
        """Give the connection what it has room for, of what is in *stretch*, whose turn it is."""
        outlet = self._outlet
        if outlet.turnstile.passing:  # who was before us is about to commit a message
            outlet.call_back()
            return
        while stretch.waiting and outlet.has_room():
            while stretch.waiting and outlet.has_room():
                first = next(iter(stretch.waiting))
                self._forget(first)
                outlet.take_over(first.message)
            outlet.moved()
        if not stretch.waiting:
            self._leave(stretch)

    def commit_all(self) -> None:
        """Give the connection everything, whether or not it has room: nothing can be sent later."""
        while self._stretches:
            stretch = self._stretches[0]
            while stretch.waiting:
                first = next(iter(stretch.waiting))
                self._forget(first)
                self._outlet.take_over(first.message)
            self._leave(stretch)
        self._outlet.moved()

    def clear(self) -> None:
        """Drop everything."""
        stretches, self._stretches = self._stretches, []
        self._droppable.clear()
        self._by_key.clear()
        self.count = self.size = 0
        for stretch in stretches:
            stretch.waiting.clear()
            self._outlet.turnstile.leave(stretch)
        self._outlet.moved()

    def _append(self, message: PreparedMessage, size: int) -> _Waiting:
        turnstile = self._outlet.turnstile
        if not self._stretches or not turnstile.is_last(self._stretches[-1]):
            self._stretches.append(_Stretch(self))
            turnstile.join(self._stretches[-1])
        stretch = self._stretches[-1]
        waiting = _Waiting(message, size, stretch)
        stretch.waiting[waiting] = None
        self.count += 1
        self.size += size
        return waiting

    def _remove(self, waiting: _Waiting) -> None:
        self._forget(waiting)
        if not waiting.stretch.waiting:
            self._leave(waiting.stretch)

    def _forget(self, waiting: _Waiting) -> None:
        del waiting.stretch.waiting[waiting]
        if waiting.key is not None:
            del self._by_key[waiting.key]
        elif self._droppable and self._droppable[0] is waiting:
            self._droppable.popleft()  # they are taken in order, all of them
        self.count -= 1
        self.size -= waiting.size

    def _leave(self, stretch: _Stretch) -> None:
        if stretch in self._stretches:  # unless everything was dropped
            self._stretches.remove(stretch)
            self._outlet.turnstile.leave(stretch)
