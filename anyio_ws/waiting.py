"""The two ways in which tasks wait for a connection. Both are safe against every kind of cancellation:

what a task waited for is never handed to it; it is woken, and looks again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import anyio

__all__ = ["Signal", "Turnstile"]


class Signal:
    """Wakes all the tasks that wait; who comes later waits for the next time."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event: anyio.Event | None = None

    async def wait(self) -> None:
        """Wait until `set` is called. Cancelling only ends the waiting."""
        if self._event is None:
            self._event = anyio.Event()
        await self._event.wait()

    def set(self) -> None:
        """Wake everyone."""
        if self._event is not None:
            event, self._event = self._event, None
            event.set()


class Turnstile:
    """Lets tasks through one by one, in order of arrival, while there is room."""

    __slots__ = ("_queue", "_room")

    def __init__(self, room: Callable[[], bool]) -> None:
        """*room* tells whether a task may pass now. It may raise, and the task gets what it raises."""
        self._room = room
        self._queue: deque[Signal] = deque()

    @property
    def open(self) -> bool:
        """Whether a task that comes now need not wait."""
        return not self._queue and self._room()

    async def pass_through(self) -> None:
        """Wait for our turn, and for room.

        What is done before the next await comes before whatever the tasks behind us do. Cancelling
        gives the place up.
        """
        if self.open:
            return
        turn = Signal()
        self._queue.append(turn)
        try:
            while self._queue[0] is not turn or not self._room():
                await turn.wait()
        finally:
            self._queue.remove(turn)
            self.wake()

    def wake(self) -> None:
        """Let the first one look: there may be room, or `room` would raise. Each wakes the next."""
        if self._queue:
            self._queue[0].set()
