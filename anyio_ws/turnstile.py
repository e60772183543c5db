"""How tasks that send take turns: safe against every kind of cancellation, for who is woken looks again."""

from __future__ import annotations

from collections.abc import Callable

from .transports.backend import new_signal
from .transports.scheduling import Signal

__all__ = ["Turnstile"]


class Turnstile:
    """Lets tasks through one by one, in order of arrival, while there is room."""

    __slots__ = ("_queue", "_room")

    def __init__(self, room: Callable[[], bool]) -> None:
        """*room* tells whether a task may pass now. It may raise, and the task gets what it raises."""
        self._room = room
        self._queue: list[Signal] = []

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
        turn = new_signal()
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
