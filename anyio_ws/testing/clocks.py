"""Time that passes only when everybody waits for it, on asyncio and on trio.

Importing this module does not import trio.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
import sys
import time
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple

__all__ = ["VirtualClockEventLoop", "time_is_virtual", "virtual_clock_backend"]

_Ts = TypeVarTuple("_Ts")


class VirtualClockEventLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock jumps to the next timer whenever all tasks wait.

    ``anyio.run(main, backend_options={"loop_factory": VirtualClockEventLoop})``: the clock starts
    at 0.0, waiting takes no real time and is exact: ``await anyio.sleep(3600)`` ends 3600 s later,
    not about 3600 s. Only what reads the loop's time (`anyio.current_time`, sleeps, deadlines) is
    affected, not :func:`time.monotonic`.

    File descriptors are polled for real, and first: the clock stands still while one of them is
    ready. But what is on its way and can't be seen there yet loses against the next timer. So never
    mix virtual time with threads, name resolution, subprocesses or hosts other than this one.

    When there isn't even a timer, it waits in real time, *deadlock_timeout* seconds at the most.

    :raises RuntimeError: (out of ``run``) nothing happened during that time
    """

    deadlock_timeout: float = 10.0

    def __init__(self) -> None:
        self._now = 0.0
        # A second heap next to the one that asyncio keeps to itself. The time-out that `select` is
        # given doesn't tell when the next timer is: it is a rounded difference, and a day at the
        # most.
        self._timers: list[asyncio.TimerHandle] = []
        super().__init__(_JumpingSelector(self._poll_failed))

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Schedule as any event loop does, and note when."""
        handle = super().call_at(when, callback, *args, context=context)
        heapq.heappush(self._timers, handle)
        return handle

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Wait for the threads of the default executor, with no time-out.

        It would be virtual, and over before any thread had a chance.
        """
        await super().shutdown_default_executor()

    def _poll_failed(self) -> float:
        """Jump to the next timer. Return how many real seconds to wait if there is none, else 0."""
        when = self._next_timer()
        if when == math.inf:
            return self.deadlock_timeout
        # A timer runs once it is before time() + resolution. Half a year from the start that sum is
        # rounded to time(), and asyncio would spin for ever.
        self._now = when if when + _RESOLUTION > when else math.nextafter(when, math.inf)
        self._next_timer()  # what runs now is forgotten, and not kept alive until the next jump
        return 0

    def _next_timer(self) -> float:
        timers = self._timers
        while timers and (timers[0].cancelled() or timers[0].when() <= self._now):
            heapq.heappop(timers)
        return timers[0].when() if timers else math.inf


_RESOLUTION = time.get_clock_info("monotonic").resolution  # as asyncio does


class _JumpingSelector(selectors.DefaultSelector):
    """Asks, when nothing is ready, whether to wait for real."""

    def __init__(self, poll_failed: Callable[[], float]) -> None:
        super().__init__()
        self._poll_failed = poll_failed

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        seconds = self._poll_failed()
        if seconds:
            ready = super().select(seconds)
            if not ready:
                raise RuntimeError(
                    f"deadlock: all tasks wait, there is no timer to jump to, "
                    f"and no file descriptor became ready in {seconds:g} real seconds"
                )
        return ready


def virtual_clock_backend(backend: str) -> tuple[str, dict[str, object]]:
    """Return *backend* with options that give it a virtual clock of its own, starting at 0.0.

    ``"asyncio"`` gets a :class:`VirtualClockEventLoop`, ``"trio"`` a `trio.testing.MockClock` with
    ``autojump_threshold=0``; the cautions of the former hold for both. It is what an
    ``anyio_backend`` fixture returns; `anyio.run` takes the halves as ``backend`` and
    ``backend_options`` (AnyIO before 4.14 ignores the latter on trio). Get it anew for each run.

    :raises ValueError: there is no virtual clock for *backend* (uvloop's can't be replaced)
    """
    if backend == "asyncio":
        return backend, {"loop_factory": VirtualClockEventLoop}
    if backend == "trio":
        import trio.testing

        return backend, {"clock": trio.testing.MockClock(autojump_threshold=0)}
    raise ValueError(f"no virtual clock for {backend!r}")


def time_is_virtual() -> bool:
    """Whether the event loop that runs this has a virtual clock."""
    trio = sys.modules.get("trio")  # where it wasn't imported, it doesn't run
    if trio is not None and trio.lowlevel.in_trio_task():
        import trio.testing

        return isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
    return isinstance(asyncio.get_running_loop(), VirtualClockEventLoop)
