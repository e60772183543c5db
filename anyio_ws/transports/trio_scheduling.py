"""See `anyio_ws.transports.scheduling`; what of it imports trio."""

from __future__ import annotations

from collections.abc import Awaitable
from time import perf_counter
from typing import Final

import trio

from .scheduling import CALLS, SECONDS

__all__ = ["TrioPace", "TrioSignal", "pace_of_trio"]


class TrioSignal:
    """See `anyio_ws.transports.scheduling.Signal`."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: list[trio.lowlevel.Task] = []

    async def wait(self) -> None:
        task = trio.lowlevel.current_task()
        self._tasks.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            self._tasks.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def set(self) -> None:
        if self._tasks:
            tasks, self._tasks = self._tasks, []
            for task in tasks:
                trio.lowlevel.reschedule(task)


class TrioPace:
    """See `anyio_ws.transports.scheduling.Pace`."""

    __slots__ = ("_calls", "_since")

    def __init__(self) -> None:
        self.rested()

    def due(self) -> bool:
        self._calls += 1
        return True

    def rest(self) -> Awaitable[None]:
        if self._calls < CALLS and perf_counter() - self._since <= SECONDS:
            return trio.lowlevel.checkpoint_if_cancelled()  # noqa: ASYNC105  # by the caller
        return self._rest()

    async def _rest(self) -> None:
        await trio.lowlevel.checkpoint()
        self.rested()

    def rested(self) -> None:
        self._calls = 0
        self._since = perf_counter()


_pace: Final = trio.lowlevel.RunVar[TrioPace]("anyio_ws's pace")


def pace_of_trio() -> TrioPace:
    """The pace of the run that this is in."""
    try:
        return _pace.get()
    except LookupError:
        pace = TrioPace()
        _pace.set(pace)
        return pace
