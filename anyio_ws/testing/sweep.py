"""Cancel a piece of code at each of its suspensions in turn.

What a coroutine yields to the event loop, it yields through everything that awaits it: a
`__await__` in between sees each suspension pass, on every backend, and can request the
cancellation just before it, so that it is this very suspension that is cut short. Both event
loops look at pending requests when a task suspends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator
from typing import Any, Generic, TypeVar

import anyio

__all__ = ["CancelAttempt", "cancel_sweep"]

T = TypeVar("T")


class _Steps(Generic[T]):
    """Awaits `inner`; calls `cancel` just before suspension `target` (0: before it starts)."""

    def __init__(self, inner: Awaitable[T], target: int, cancel: Callable[[], object]) -> None:
        self._inner = inner
        self._target = target
        self._cancel = cancel
        self.suspensions = 0
        self.requested = False
        self.ended = False  # by itself: it has returned or raised, and wasn't cancelled

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
            self.ended = True
            result: T = stop.value
            return result
        except BaseException as exc:
            self.ended = not _is_cancellation(exc)
            raise


def _is_cancellation(exc: BaseException) -> bool:
    group = BaseExceptionGroup("", [exc])  # it may be one itself
    return group.subgroup(anyio.get_cancelled_exc_class()) is not None


class CancelAttempt:
    """One round of a :func:`cancel_sweep`. As an assertion message it says where it cancels."""

    def __init__(self, suspension: int, *, native: bool) -> None:
        self.suspension = suspension
        """Which suspension is cancelled; 0 means before the first step."""
        self.native = native
        """Whether by `asyncio.Task.cancel`, and not by an AnyIO cancel scope."""
        self.cancelled: bool = False
        """Whether the cancellation ended the scenario."""
        self._ran: _Steps[Any] | None = None

    def __repr__(self) -> str:
        way = "Task.cancel" if self.native else "CancelScope.cancel"
        return f"<CancelAttempt: {way} at suspension {self.suspension}>"

    async def run(self, scenario: Awaitable[T]) -> T | None:
        """Await *scenario*, which is cancelled at this round's suspension, and return its result.

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
        if not self._ran.ended:
            raise AssertionError(f"{self!r} was cancelled by somebody else: no run got through")
        return True


def cancel_sweep(*, native: bool = True, limit: int = 10_000) -> Iterator[CancelAttempt]:
    """Iterate over attempts to cancel a scenario at each of its suspensions in turn.

    The first attempt cancels before the start, the next at the 1st suspension, and so on. The sweep
    ends after an attempt that the scenario got through before it could be cancelled. On asyncio and
    uvloop it then starts again with `asyncio.Task.cancel` in place of an AnyIO cancel scope, unless
    *native* is false. ::

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

    :raises AssertionError: the scenario never suspends; *limit* attempts weren't enough; what ended
        the last attempt was neither the scenario nor the sweep but a cancellation from elsewhere
    :raises RuntimeError: the body didn't await `CancelAttempt.run`
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
