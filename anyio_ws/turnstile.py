"""How those who send take turns: safe against every kind of cancellation, for who is woken looks again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .transports.backend import new_signal

__all__ = ["Place", "Turnstile"]


class Place(Protocol):
    """A place in the queue: a signal that a task waits for, or something that needs no task."""

    def set(self) -> None:
        """Look: it may be your turn."""
        ...


class Turnstile:
    """Lets tasks through one by one, in order of arrival, while there is room."""

    __slots__ = ("_room", "passing", "queue")

    def __init__(self, room: Callable[[], bool]) -> None:
        """*room* tells whether a task may pass now. It may raise, and the task gets what it raises."""
        self._room = room
        self.queue: list[Place] = []
        """Who waits, in order."""
        self.passing: bool = False
        """Whether a task has just passed, and has yet to do what it came for."""

    @property
    def open(self) -> bool:
        """Whether a task that comes now need not wait."""
        return not self.queue and self._room()

    async def pass_through(self) -> None:
        """Wait for our turn, and for room.

        What is done before the next await comes before whatever the tasks behind us do. Cancelling
        gives the place up.
        """
        if self.open:
            return
        turn = new_signal()
        self.queue.append(turn)
        passed = False
        try:
            while self.queue[0] is not turn or not self._room():
                await turn.wait()
            passed = True
        finally:
            self.queue.remove(turn)
            self.passing = passed
            self.wake()
            self.passing = False

    def join(self, place: Place) -> None:
        """Put somebody at the end of the queue who is no task."""
        self.queue.append(place)

    def leave(self, place: Place) -> None:
        """Take somebody out of the queue who is no task."""
        self.queue.remove(place)
        self.wake()

    def is_last(self, place: Place) -> bool:
        """Whether nobody stands behind *place*, which is in the queue."""
        return self.queue[-1] is place

    def wake(self) -> None:
        """Let the first one look: there may be room, or `room` would raise. Each wakes the next."""
        if self.queue:
            self.queue[0].set()
