"""The cancel sweep: `cancel_sweep`."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from anyio_ws.testing import CancelAttempt, cancel_sweep

from .helpers import settle


async def test_it_cancels_at_every_suspension_until_one_run_gets_through(
    anyio_backend_name: str,
) -> None:
    async def scenario(steps: list[int]) -> str:
        for step in range(4):
            await checkpoint()
            steps.append(step)
        return "through"

    seen: dict[bool, list[tuple[int, int, bool, str | None]]] = {}
    for attempt in cancel_sweep():
        steps: list[int] = []
        result = await attempt.run(scenario(steps))
        row = (attempt.suspension, len(steps), attempt.cancelled, result)
        seen.setdefault(attempt.native, []).append(row)

    hits = [(k, k - 1, True, None) for k in range(1, 5)]
    through = (5, 4, False, "through")
    assert seen.pop(False) == [(0, 0, True, None), *hits, through]
    # Natively too, on the event loops that have such a thing
    assert list(seen.values()) in ([], [[*hits, through]])
    assert bool(seen) is (anyio_backend_name == "asyncio")


async def test_it_can_leave_native_cancellation_out() -> None:
    ways: set[bool] = set()
    for attempt in cancel_sweep(native=False):
        ways.add(attempt.native)
        await attempt.run(checkpoint())
    assert ways == {False}


async def test_it_reaches_waits_inside_a_task_group() -> None:
    cancelled_at: list[str] = []

    async def scenario() -> None:
        place = "before"
        try:
            await checkpoint()
            async with anyio.create_task_group() as tg:
                place = "in the group"
                tg.start_soon(settle)
                await checkpoint()
                place = "waiting for the group"
            place = "after"
            await checkpoint()
        except anyio.get_cancelled_exc_class():
            cancelled_at.append(place)
            raise

    for attempt in cancel_sweep():
        await attempt.run(scenario())
    assert {"before", "in the group", "waiting for the group", "after"} == set(cancelled_at)


async def test_the_task_is_as_before_after_each_attempt() -> None:
    for attempt in cancel_sweep():
        await attempt.run(settle())
        with anyio.move_on_after(math.inf) as scope:
            await checkpoint()
        assert not scope.cancel_called
    with anyio.CancelScope() as scope:
        scope.cancel()
        await checkpoint()
    assert scope.cancelled_caught


async def test_a_scenario_that_never_suspends_is_an_error() -> None:
    async def scenario() -> None:
        pass

    attempts = cancel_sweep()
    for _ in range(2):  # before it starts; at its first suspension, which isn't there
        await next(attempts).run(scenario())
    with pytest.raises(AssertionError, match="never suspends"):
        next(attempts)


async def test_a_sweep_that_does_not_end_is_an_error() -> None:
    attempts = cancel_sweep(limit=10)
    for _ in range(10):
        await next(attempts).run(settle())
    with pytest.raises(AssertionError, match="still cancelled at attempt 10"):
        next(attempts)


async def test_a_body_that_runs_nothing_is_an_error() -> None:
    attempts = cancel_sweep()
    next(attempts)
    with pytest.raises(RuntimeError, match=r"never awaited run\(\)"):
        next(attempts)


async def test_an_attempt_runs_once() -> None:
    attempt = next(cancel_sweep())
    await attempt.run(checkpoint())
    again = checkpoint()
    with pytest.raises(RuntimeError, match="has already run"):
        await attempt.run(again)
    again.close()


async def test_what_the_scenario_raises_comes_out_with_a_note() -> None:
    error = OSError("from the scenario")

    async def scenario() -> None:
        try:
            await checkpoint()
        finally:
            raise error

    attempts = cancel_sweep()
    await next(attempts).run(checkpoint())
    with pytest.raises(OSError, match="from the scenario") as caught:
        await next(attempts).run(scenario())
    assert caught.value is error
    assert error.__notes__ == ["in <CancelAttempt: CancelScope.cancel at suspension 1>"]
    await checkpoint()


async def test_a_scenario_that_completes_all_the_same_is_not_cancelled() -> None:
    async def scenario() -> str:
        await cancel_shielded_checkpoint()
        return "complete"

    outcomes: list[tuple[int, bool, str | None]] = []
    for attempt in cancel_sweep(native=False):
        result = await attempt.run(scenario())
        outcomes.append((attempt.suspension, attempt.cancelled, result))
    assert outcomes == [(k, False, "complete") for k in (0, 1, 2)]


async def test_a_scenario_that_swallows_the_cancellation_is_not_cancelled() -> None:
    async def scenario() -> str:
        try:
            await checkpoint()
        except anyio.get_cancelled_exc_class():
            return "swallowed"
        return "through"

    for attempt in cancel_sweep():
        result = await attempt.run(scenario())
        assert not attempt.cancelled
        assert result == ("through" if attempt.suspension == 2 else "swallowed")
        await checkpoint()


async def test_a_cancellation_from_outside_is_not_taken_for_the_sweeps() -> None:
    attempts = cancel_sweep()
    for _ in range(3):
        with anyio.CancelScope() as outside:
            outside.cancel()
            await next(attempts).run(settle())
            await checkpoint()
        assert outside.cancelled_caught


async def test_a_sweep_in_which_no_run_gets_through_is_an_error() -> None:
    async def in_a_group() -> None:
        async with anyio.create_task_group() as tg:
            tg.start_soon(settle)

    async def sweep(scenario: Callable[[], Awaitable[None]]) -> None:
        for attempt in cancel_sweep():
            with anyio.CancelScope() as outside:
                outside.cancel()
                await attempt.run(scenario())

    for scenario in (settle, in_a_group):
        with pytest.raises(AssertionError, match="was cancelled by somebody else"):
            await sweep(scenario)


async def test_a_scenario_that_ends_by_an_error_of_its_own_was_swept() -> None:
    class Goodbye(BaseException):
        pass

    async def scenario(error: BaseException) -> None:
        await checkpoint()
        raise error

    for error in (OSError(), Goodbye(), BaseExceptionGroup("", [Goodbye()])):
        ended: list[BaseException] = []
        for attempt in cancel_sweep():
            try:
                await attempt.run(scenario(error))
            except type(error) as exc:
                ended.append(exc)
        assert set(ended) == {error}


def test_a_native_cancellation_from_outside_comes_out_of_the_attempt() -> None:
    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None

        async def scenario() -> None:
            task.cancel()
            await checkpoint()

        attempt = CancelAttempt(1, native=True)
        with pytest.raises(asyncio.CancelledError):
            await attempt.run(scenario())
        assert not attempt.cancelled
        assert task.uncancel() == 0

    anyio.run(main)
