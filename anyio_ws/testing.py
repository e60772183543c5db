"""What tests of WebSocket programs are made of, on asyncio, uvloop and trio alike.

* :func:`memory_stream_pair`: two connected byte streams without a socket, as generous or as
  stubborn as a test needs.
* :class:`VirtualClockEventLoop` and :func:`virtual_clock_backend`: time that passes only when
  everybody waits for it.
* :func:`cancel_sweep`: cancel a piece of code at each of its suspensions in turn.

Nothing in the library imports this module, and importing it does not import trio. Nothing here ever
sleeps.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import selectors
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextvars import Context
from typing import Any, Generic, TypeVar, TypeVarTuple

import anyio
import anyio.abc
from anyio.lowlevel import checkpoint

__all__ = [
    "CancelAttempt",
    "MemoryByteStream",
    "VirtualClockEventLoop",
    "cancel_sweep",
    "memory_stream_pair",
    "virtual_clock_backend",
]

T = TypeVar("T")
_Ts = TypeVarTuple("_Ts")


# In-memory streams
#
# A connection is two pipes. A send appends all its bytes to its pipe and then waits for as long as
# the pipe holds more than its capacity: what exceeds the capacity belongs to that send, and is
# withdrawn when the send ends early. Hence one rule for all three variants. Waiting tasks are only
# woken, never handed anything: they look at the pipe when they run again, so no kind of
# cancellation can lose a byte.


class _Pipe:
    """One direction of a connection."""

    __slots__ = ("_waiting", "broken", "capacity", "data", "ended", "unheard")

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.data = bytearray()
        self.ended = False  # no bytes follow the ones in data
        self.unheard = False  # the reading end was closed
        self.broken = False
        self._waiting: set[anyio.Event] = set()

    @property
    def overfull(self) -> bool:
        return self.capacity is not None and len(self.data) > self.capacity

    def put(self, item: bytes | bytearray | memoryview) -> None:
        self.data += item
        self.wake()

    def withdraw_excess(self) -> None:
        if self.capacity is not None:
            del self.data[self.capacity :]

    def take(self, max_bytes: int) -> bytes:
        if self.capacity:  # what a waiting send still holds isn't in the buffer yet
            max_bytes = min(max_bytes, self.capacity)
        taken = bytes(self.data[:max_bytes])
        del self.data[:max_bytes]
        self.wake()
        return taken

    def wake(self) -> None:
        for event in self._waiting:
            event.set()

    async def wait(self) -> None:
        """Wait for a change, of whatever kind."""
        event = anyio.Event()
        self._waiting.add(event)
        try:
            await event.wait()
        finally:
            self._waiting.remove(event)


class MemoryByteStream(anyio.abc.ByteStream):
    """One end of a connection in memory. Get two of them from :func:`memory_stream_pair`.

    Keeps the contract of :class:`anyio.abc.ByteStream`, exceptions included; every async method is
    a checkpoint.
    """

    def __init__(self, incoming: _Pipe, outgoing: _Pipe, chunk: int | None) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._chunk = chunk
        self._closed = False
        self._receive_guard = anyio.ResourceGuard("reading from")
        self._send_guard = anyio.ResourceGuard("writing to")

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Return from 1 to `max_bytes` bytes (or the pair's `chunk`) as soon as there are any.

        Cancelling loses nothing.

        :raises EndOfStream: the peer has sent EOF or closed, and everything before that was
            received
        :raises BrokenResourceError: the peer has reset the connection; what it had sent before is
            gone
        :raises ClosedResourceError: this end was closed or reset, before or while we waited
        :raises BusyResourceError: another task is receiving
        """
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._chunk is not None:
            max_bytes = min(max_bytes, self._chunk)
        incoming = self._incoming
        with self._receive_guard:
            await checkpoint()
            while True:
                self._check_connected()
                if incoming.data:
                    return incoming.take(max_bytes)
                if incoming.ended:
                    raise anyio.EndOfStream
                await incoming.wait()

    async def send(self, item: bytes | bytearray | memoryview) -> None:
        """Send `item`. Return at once, or when the pair's `buffer` allows it.

        Cancelling an unbounded send before it returned means that nothing was sent. In the other
        two variants, the peer may by then have got, or still get, a part of `item` or all of it, as
        with a socket.

        :raises BrokenResourceError: the peer has closed or reset the connection, before or while we
            waited
        :raises ClosedResourceError: this end was closed, reset or has sent EOF, before or while we
            waited
        :raises BusyResourceError: another task is sending
        """
        outgoing = self._outgoing
        with self._send_guard:
            await checkpoint()
            self._check_sendable()
            outgoing.put(item)
            try:
                while outgoing.overfull:
                    self._check_sendable()
                    await outgoing.wait()
                    if self._closed:  # aclose() has withdrawn our bytes: the pipe doesn't tell
                        raise anyio.ClosedResourceError
            finally:
                outgoing.withdraw_excess()

    async def send_eof(self) -> None:
        """End this direction: the peer gets EndOfStream after what was sent before.

        Receiving goes on. Does nothing the second time. Cancelled means not sent.

        :raises BrokenResourceError: the peer has reset the connection
        :raises ClosedResourceError: this end was closed or reset
        :raises BusyResourceError: another task is sending
        """
        with self._send_guard:
            await checkpoint()
            self._check_connected()
            self._outgoing.ended = True
            self._outgoing.wake()

    async def aclose(self) -> None:
        """Close both directions.

        The peer can still receive what is buffered, then it gets EndOfStream. What this end hasn't
        received is dropped. Does nothing the second time. Cancelling doesn't prevent the closing.
        """
        if not self._closed:
            self._closed = True
            self._incoming.unheard = True
            self._outgoing.withdraw_excess()
            self._outgoing.ended = True
            self._incoming.wake()
            self._outgoing.wake()
        await checkpoint()

    def reset(self) -> None:
        """Break the connection, as a TCP RST does, and close this end.

        Whatever is on its way in either direction is dropped, and the peer's calls raise
        BrokenResourceError. May follow :meth:`aclose`.
        """
        self._closed = True
        for pipe in (self._incoming, self._outgoing):
            pipe.broken = True
            pipe.wake()

    def _check_connected(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._outgoing.broken:  # both are, or none
            raise anyio.BrokenResourceError

    def _check_sendable(self) -> None:
        self._check_connected()
        if self._outgoing.ended:
            raise anyio.ClosedResourceError
        if self._outgoing.unheard:
            raise anyio.BrokenResourceError


def memory_stream_pair(
    *, buffer: int | None = None, chunk: int | None = None
) -> tuple[MemoryByteStream, MemoryByteStream]:
    """Return the two ends of a new connection in memory.

    `buffer` says how many bytes a direction holds between sender and receiver:

    * ``None``: any number, a send never waits;
    * ``0``: none (lock-step), a send returns when the peer has received all its bytes;
    * ``N``: N bytes, a send returns when all its bytes are received or buffered. A peer that stops
      reading is an end that nobody receives from: sending to it blocks at byte N.

    `chunk` is the most that one `receive`, at either end, returns: 1 cuts at every byte. Needs no
    event loop.
    """
    if buffer is not None and buffer < 0:
        raise ValueError("buffer must not be negative")
    if chunk is not None and chunk < 1:
        raise ValueError("chunk must be at least 1")
    one, other = _Pipe(buffer), _Pipe(buffer)
    return MemoryByteStream(one, other, chunk), MemoryByteStream(other, one, chunk)


# Virtual clocks


class VirtualClockEventLoop(asyncio.SelectorEventLoop):
    """An asyncio event loop whose clock jumps to the next timer whenever all tasks wait.

    ``anyio.run(main, backend_options={"loop_factory": VirtualClockEventLoop})``: the clock starts
    at 0.0, waiting takes no real time and is exact: ``await anyio.sleep(3600)`` ends 3600 s later,
    not about 3600 s. Only what reads the loop's time (`anyio.current_time`, sleeps, deadlines) is
    affected, not :func:`time.monotonic`.

    File descriptors are polled for real, and first: the clock stands still while one of them is
    ready. But what is on its way and can't be seen there yet loses against the next timer. So never
    mix virtual time with threads, name resolution, subprocesses or hosts other than this one.

    When there isn't even a timer, it waits in real time, `deadlock_timeout` seconds at the most.

    :raises RuntimeError: (out of `run`) nothing happened during that time
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
    """Return `backend` with options that give it a virtual clock of its own, starting at 0.0.

    ``"asyncio"`` gets a :class:`VirtualClockEventLoop`, ``"trio"`` a `trio.testing.MockClock` with
    ``autojump_threshold=0``; the cautions of the former hold for both. It is what an
    ``anyio_backend`` fixture returns; `anyio.run` takes the halves as ``backend`` and
    ``backend_options`` (AnyIO before 4.14 ignores the latter on trio). Get it anew for each run.

    :raises ValueError: there is no virtual clock for `backend` (uvloop's can't be replaced)
    """
    if backend == "asyncio":
        return backend, {"loop_factory": VirtualClockEventLoop}
    if backend == "trio":
        import trio.testing

        return backend, {"clock": trio.testing.MockClock(autojump_threshold=0)}
    raise ValueError(f"no virtual clock for {backend!r}")


# Cancel sweep
#
# What a coroutine yields to the event loop, it yields through everything that awaits it: a
# `__await__` in between sees each suspension pass, on every backend, and can request the
# cancellation just before it, so that it is this very suspension that is cut short. Both event
# loops look at pending requests when a task suspends.


class _Steps(Generic[T]):
    """Awaits `inner`; calls `cancel` just before suspension `target` (0: before it starts)."""

    def __init__(self, inner: Awaitable[T], target: int, cancel: Callable[[], object]) -> None:
        self._inner = inner
        self._target = target
        self._cancel = cancel
        self.suspensions = 0
        self.requested = False

    def _request_at(self, suspension: int) -> None:
        if suspension == self._target:
            self.requested = True
            self._cancel()

    def __await__(self) -> Generator[Any, Any, T]:
        self._request_at(0)
        inner = self._inner.__await__()
        try:
            yielded = next(inner)
            while True:
                self.suspensions += 1
                self._request_at(self.suspensions)
                try:
                    answer = yield yielded
                except BaseException as exc:
                    yielded = inner.throw(exc)
                else:
                    yielded = inner.send(answer)
        except StopIteration as stop:
            result: T = stop.value
            return result


class CancelAttempt:
    """One round of a :func:`cancel_sweep`. As an assertion message it says where it cancels."""

    def __init__(self, suspension: int, *, native: bool) -> None:
        self.suspension = suspension
        """Which suspension is cancelled; 0 means before the first step."""
        self.native = native
        """Whether by `asyncio.Task.cancel`, and not by an AnyIO cancel scope."""
        self.cancelled = False
        """Whether the cancellation ended the scenario."""
        self._ran: _Steps[Any] | None = None

    def __repr__(self) -> str:
        way = "Task.cancel" if self.native else "CancelScope.cancel"
        return f"<CancelAttempt: {way} at suspension {self.suspension}>"

    async def run(self, scenario: Awaitable[T]) -> T | None:
        """Await `scenario`, which is cancelled at this round's suspension, and return its result.

        Returns None when the cancellation ended it; :attr:`cancelled` tells for sure. A scenario
        that completes all the same (its last suspension was shielded, say) is not `cancelled`.
        Cancelling `run` itself from outside is an ordinary cancellation. Whatever else the scenario
        raises comes out, with a note that names the attempt.

        :raises RuntimeError: called a second time
        """
        if self._ran is not None:
            raise RuntimeError(f"{self!r} has already run")
        try:
            run = self._run_natively if self.native else self._run_in_scope
            return await run(scenario)
        except Exception as exc:
            exc.add_note(f"in {self!r}")
            raise

    async def _run_in_scope(self, scenario: Awaitable[T]) -> T | None:
        result = None
        with anyio.CancelScope() as scope:
            self._ran = steps = _Steps(scenario, self.suspension, scope.cancel)
            result = await steps
        self.cancelled = scope.cancelled_caught
        return result

    async def _run_natively(self, scenario: Awaitable[T]) -> T | None:
        task = asyncio.current_task()
        assert task is not None
        pending = task.cancelling()
        self._ran = steps = _Steps(scenario, self.suspension, task.cancel)
        try:
            return await steps
        except asyncio.CancelledError:
            # As asyncio.timeout() does: it's ours unless somebody else has asked for one as well
            if not steps.requested or task.cancelling() > pending + 1:
                raise
            self.cancelled = True
            return None
        finally:
            if steps.requested:
                task.uncancel()

    def _got_through(self) -> bool:
        if self._ran is None:
            raise RuntimeError(f"the body of the sweep never awaited run() of {self!r}")
        if self._ran.requested:
            return False
        if self._ran.suspensions == 0:
            raise AssertionError("the scenario never suspends: nothing was swept")
        return True


def cancel_sweep(*, native: bool = True, limit: int = 10_000) -> Iterator[CancelAttempt]:
    """Iterate over attempts to cancel a scenario at each of its suspensions in turn.

    The first attempt cancels before the start, the next at the 1st suspension, and so on. The sweep
    ends after an attempt that the scenario got through before it could be cancelled. On asyncio and
    uvloop it then starts again with `asyncio.Task.cancel` in place of an AnyIO cancel scope, unless
    `native` is false. ::

        for attempt in cancel_sweep():
            one, other = memory_stream_pair()               # everything new in each round
            await one.send(b"hello")
            data = await attempt.run(other.receive())       # exactly once; only this is cancelled
            if attempt.cancelled:
                data = await other.receive()                # and nothing was lost
            assert data == b"hello", attempt

    Suspensions are counted in the awaited code itself, not in other tasks that it starts. The
    cancellation is requested just before the suspension; if the suspension is shielded, or ends in
    the same pass of the event loop, it's delivered at the next one, or never.

    :raises AssertionError: the scenario never suspends, or `limit` attempts weren't enough
    :raises RuntimeError: the body didn't await `attempt.run`
    """
    yield from _sweep(0, limit, native=False)
    if native and _runs_on_asyncio():
        # From 1: if there were no suspension to hit, Task.cancel() would hit the code behind
        yield from _sweep(1, limit, native=True)


def _sweep(first: int, limit: int, *, native: bool) -> Iterator[CancelAttempt]:
    for suspension in range(first, first + limit):
        attempt = CancelAttempt(suspension, native=native)
        yield attempt
        if attempt._got_through():  # pyright: ignore[reportPrivateUsage]  # same module
            return
    raise AssertionError(f"the scenario was still cancelled at attempt {limit}")


def _runs_on_asyncio() -> bool:
    try:
        return asyncio.current_task() is not None
    except RuntimeError:  # no asyncio event loop in this thread
        return False
