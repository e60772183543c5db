"""Waiting to be woken, and giving others a turn: what is done for every message, in each backend's own way.

AnyIO has both, and at that rate it is what costs most: an event, or a checkpoint, takes two to four times
what the backend's own takes. Everything here is safe against every
kind of cancellation: who is woken is handed nothing, and looks again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from time import perf_counter
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from anyio.lowlevel import checkpoint, checkpoint_if_cancelled

__all__ = [
    "CALLS",
    "CHECK",
    "SECONDS",
    "AsyncioPace",
    "AsyncioSignal",
    "Pace",
    "Signal",
    "pace_of_asyncio",
]

CALLS: Final = 32
"""After so many calls in a row that didn't have to wait, others get a turn."""

SECONDS: Final = 0.001
"""And after so long."""

CHECK: Final = 16
"""On asyncio: how often such calls look whether the task was cancelled. Between two turns of the event
loop nobody but the task itself can do that."""


class Signal(Protocol):
    """Wakes all the tasks that wait; who comes later waits for the next time."""

    def wait(self) -> Awaitable[None]:
        """Wait until `set` is called; to be awaited at once. Cancelling only ends the waiting."""
        ...

    def set(self) -> None:
        """Wake everyone."""
        ...


class Pace(Protocol):
    """When calls that don't have to wait yield to the scheduler.

    One for all connections of an event loop: what counts is how long others have been waiting, and not whom a
    task has been calling meanwhile. A task that sends to a thousand members yields every 32nd time, too.

    ``if pace.due(): await pace.rest()`` stands for a checkpoint. Trio's rule is that every call is one; here
    only every 32nd is, or the first after a millisecond. Cancellation is looked at by each call on trio.
    """

    def due(self) -> bool:
        """Count a call; does it have to `rest`?"""
        ...

    def rest(self) -> Awaitable[None]:
        """Yield to the scheduler, or only raise the cancellation, if there is one."""
        ...

    def rested(self) -> None:
        """Note that the task had to wait for something: others had their turn."""
        ...


class AsyncioSignal:
    """See `Signal`."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[asyncio.Future[None]] = []  # one for each: a task cancels its own

    def wait(self) -> asyncio.Future[None]:
        waiter = asyncio.get_running_loop().create_future()
        if self._waiters:  # that of a task which was cancelled is still here
            self._waiters = [one for one in self._waiters if not one.done()]
        self._waiters.append(waiter)
        return waiter

    def set(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)


class AsyncioPace:
    """See `Pace`."""

    __slots__ = ("_calls", "_since")

    def __init__(self) -> None:
        self.rested()

    def due(self) -> bool:
        self._calls += 1
        return self._calls % CHECK == 0 or perf_counter() - self._since > SECONDS

    async def rest(self) -> None:
        if self._calls < CALLS and perf_counter() - self._since <= SECONDS:
            await checkpoint_if_cancelled()
        else:
            await checkpoint()
            self.rested()

    def rested(self) -> None:
        self._calls = 0
        self._since = perf_counter()


_paces: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncioPace]] = WeakKeyDictionary()


def pace_of_asyncio() -> AsyncioPace:
    """The pace of the event loop that is running."""
    loop = asyncio.get_running_loop()
    pace = _paces.get(loop)
    if pace is None:
        pace = _paces[loop] = AsyncioPace()
    return pace
