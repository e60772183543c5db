"""The test kit itself: `anyio_ws.testing`."""

from __future__ import annotations

import asyncio
import math
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio.lowlevel import cancel_shielded_checkpoint, checkpoint

from anyio_ws.testing import (
    CancelAttempt,
    MemoryByteStream,
    VirtualClockEventLoop,
    cancel_sweep,
    memory_stream_pair,
    virtual_clock_backend,
)

every_variant = pytest.mark.parametrize("buffer", [None, 0, 1, 7])


async def settle() -> None:
    """Let every other task run until it waits; nothing here waits for anything but other tasks."""
    for _ in range(20):
        await checkpoint()


async def receive_all(stream: MemoryByteStream) -> bytes:
    return b"".join([chunk async for chunk in stream])


async def send_and_end(stream: MemoryByteStream, data: bytes) -> None:
    await stream.send(data)
    await stream.send_eof()


def test_importing_the_test_kit_does_not_import_trio() -> None:
    code = "import sys, anyio_ws.testing; sys.exit('trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


class TestMemoryStreams:
    @every_variant
    @pytest.mark.parametrize("chunk", [None, 1, 5])
    async def test_both_ends_can_send_and_receive_at_the_same_time(
        self, buffer: int | None, chunk: int | None
    ) -> None:
        one, other = memory_stream_pair(buffer=buffer, chunk=chunk)
        received: dict[MemoryByteStream, bytes] = {}

        async def drain(stream: MemoryByteStream) -> None:
            received[stream] = await receive_all(stream)

        async with one, other:
            with anyio.fail_after(30):
                async with anyio.create_task_group() as tg:
                    for stream in (one, other):
                        tg.start_soon(drain, stream)
                    tg.start_soon(send_and_end, one, b"from one" * 50)
                    tg.start_soon(send_and_end, other, b"from other" * 50)
        assert received == {one: b"from other" * 50, other: b"from one" * 50}

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    def test_a_pair_can_be_made_before_there_is_an_event_loop(self, backend: str) -> None:
        one, other = memory_stream_pair()

        async def main() -> bytes:
            await one.send(b"x")
            return await other.receive()

        assert anyio.run(main, backend=backend) == b"x"

    @pytest.mark.parametrize("arguments", [{"buffer": -1}, {"chunk": 0}])
    def test_sizes_that_make_no_sense_are_refused(self, arguments: dict[str, int]) -> None:
        with pytest.raises(ValueError, match="must"):
            memory_stream_pair(**arguments)

    @pytest.mark.parametrize("name", ["receive", "send", "send_eof", "aclose"])
    async def test_every_operation_is_a_checkpoint_even_if_it_need_not_wait(
        self, name: str
    ) -> None:
        one, other = memory_stream_pair()
        await other.send(b"x")
        with anyio.CancelScope() as scope:
            scope.cancel()
            if name == "send":
                await one.send(b"y")
            else:
                await getattr(one, name)()
        assert scope.cancelled_caught

    async def test_receive_returns_at_most_max_bytes(self) -> None:
        one, other = memory_stream_pair()
        await one.send(b"abcdef")
        assert await other.receive(4) == b"abcd"
        assert await other.receive(4) == b"ef"
        with pytest.raises(ValueError, match="max_bytes"):
            await other.receive(0)

    async def test_chunk_cuts_at_every_byte(self) -> None:
        one, other = memory_stream_pair(chunk=1)
        await send_and_end(one, b"abc")
        assert [chunk async for chunk in other] == [b"a", b"b", b"c"]

    async def test_what_was_sent_is_a_copy(self) -> None:
        one, other = memory_stream_pair()
        data = bytearray(b"abc")
        await one.send(data)
        data[:] = b"xyz"
        assert await other.receive() == b"abc"

    async def test_an_unbounded_send_does_not_wait_for_the_peer(self) -> None:
        one, other = memory_stream_pair()
        for _ in range(10):
            await one.send(bytes(100_000))
        await one.send_eof()
        assert len(await receive_all(other)) == 1_000_000

    @pytest.mark.parametrize("buffer", [0, 2])
    async def test_a_send_returns_once_its_bytes_are_received_or_buffered(
        self, buffer: int
    ) -> None:
        one, other = memory_stream_pair(buffer=buffer, chunk=1)
        sent = anyio.Event()

        async def send() -> None:
            await one.send(b"12345")
            sent.set()

        async with anyio.create_task_group() as tg:
            tg.start_soon(send)
            for received in range(5 - buffer):
                await settle()
                assert not sent.is_set(), received
                await other.receive()
            await settle()
            assert sent.is_set()

    async def test_a_peer_that_stops_reading_blocks_at_byte_n(self) -> None:
        one, other = memory_stream_pair(buffer=4)
        await one.send(b"123")
        await one.send(b"4")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tg:
                tg.start_soon(one.send, b"5")
                await settle()
                scope.cancel()
        assert scope.cancelled_caught
        await other.receive(1)
        await one.send(b"6")
        await one.send_eof()
        assert await receive_all(other) == b"2346"

    async def test_a_receive_gets_no_more_than_the_buffer_holds(self) -> None:
        one, other = memory_stream_pair(buffer=3)
        async with anyio.create_task_group() as tg:
            tg.start_soon(send_and_end, one, b"12345678")
            assert [chunk async for chunk in other] == [b"123", b"456", b"78"]

    @every_variant
    async def test_sending_nothing_never_waits_and_is_never_received(
        self, buffer: int | None
    ) -> None:
        one, other = memory_stream_pair(buffer=buffer)
        await one.send(b"")
        await one.send_eof()
        assert await receive_all(other) == b""

    async def test_send_eof_ends_one_direction_only(self) -> None:
        one, other = memory_stream_pair()
        await one.send(b"last words")
        await one.send_eof()
        await one.send_eof()
        with pytest.raises(anyio.ClosedResourceError):
            await one.send(b"x")
        await other.send(b"I hear you")
        assert await one.receive() == b"I hear you"
        assert await other.receive() == b"last words"
        for _ in range(2):
            with pytest.raises(anyio.EndOfStream):
                await other.receive()

    async def test_send_eof_wakes_the_peer_that_receives(self) -> None:
        one, other = memory_stream_pair()
        async with anyio.create_task_group() as tg:
            tg.start_soon(one.send_eof)
            with pytest.raises(anyio.EndOfStream):
                await other.receive()

    async def test_after_aclose_the_peer_gets_what_is_buffered_and_then_the_end(self) -> None:
        one, other = memory_stream_pair()
        await other.send(b"never looked at")
        await one.send(b"abc")
        await one.aclose()
        await one.aclose()
        assert await other.receive() == b"abc"
        with pytest.raises(anyio.EndOfStream):
            await other.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await other.send(b"x")
        await other.send_eof()
        await other.aclose()

    @pytest.mark.parametrize("close", [MemoryByteStream.aclose, MemoryByteStream.reset])
    async def test_ones_own_closed_stream_raises_closed(
        self, close: Callable[[MemoryByteStream], Awaitable[None] | None]
    ) -> None:
        one, other = memory_stream_pair()
        await other.send(b"never looked at")
        closing = close(one)
        if closing is not None:
            await closing
        for call in (one.receive, lambda: one.send(b"x"), one.send_eof):
            with pytest.raises(anyio.ClosedResourceError):
                await call()
        await one.aclose()

    async def test_a_cancelled_aclose_closes_all_the_same(self) -> None:
        one, other = memory_stream_pair()
        await anyio.aclose_forcefully(one)
        with pytest.raises(anyio.EndOfStream):
            await other.receive()

    @pytest.mark.parametrize("buffer", [0, 2])
    async def test_aclose_withdraws_a_waiting_send(self, buffer: int) -> None:
        one, other = memory_stream_pair(buffer=buffer)

        async def send() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await one.send(b"abcdef")

        async with anyio.create_task_group() as tg:
            tg.start_soon(send)
            await settle()
            await one.aclose()
            assert await receive_all(other) == b"abcdef"[:buffer]

    @pytest.mark.parametrize("buffer", [0, 2])
    async def test_aclose_withdraws_before_anybody_else_runs(self, buffer: int) -> None:
        one, other = memory_stream_pair(buffer=buffer)
        received: list[bytes] = []

        async def send() -> None:
            with pytest.raises(anyio.ClosedResourceError):
                await one.send(b"abcdef")

        async def receive() -> None:
            received.append(await receive_all(other))

        async with anyio.create_task_group() as tg:
            tg.start_soon(send)
            await settle()
            tg.start_soon(receive)
            await checkpoint()  # the receiver is about to look
            await one.aclose()
        assert received == [b"abcdef"[:buffer]]

    async def test_closing_wakes_ones_own_receive(self) -> None:
        for close in ("aclose", "reset"):
            one, _ = memory_stream_pair()

            async def receive(stream: MemoryByteStream) -> None:
                with pytest.raises(anyio.ClosedResourceError):
                    await stream.receive()

            async with anyio.create_task_group() as tg:
                tg.start_soon(receive, one)
                await settle()
                if close == "aclose":
                    await one.aclose()
                else:
                    one.reset()

    @pytest.mark.parametrize("buffer", [0, 2])
    @pytest.mark.parametrize("gentle", [True, False])
    async def test_a_send_that_waits_breaks_when_the_peer_closes(
        self, buffer: int, gentle: bool
    ) -> None:
        one, other = memory_stream_pair(buffer=buffer)

        async def send() -> None:
            with pytest.raises(anyio.BrokenResourceError):
                await one.send(b"abcdef")

        async with anyio.create_task_group() as tg:
            tg.start_soon(send)
            await settle()
            if gentle:
                await other.aclose()
            else:
                other.reset()

    async def test_a_send_succeeds_when_the_peer_takes_everything_and_then_closes(self) -> None:
        one, other = memory_stream_pair(buffer=0)
        sent: list[bytes] = []

        async def send() -> None:
            await one.send(b"abc")
            sent.append(b"abc")

        async with anyio.create_task_group() as tg:
            tg.start_soon(send)
            assert await other.receive() == b"abc"
            await other.aclose()
        assert sent == [b"abc"]

    @every_variant
    async def test_after_a_reset_the_peer_gets_nothing_but_broken(self, buffer: int | None) -> None:
        one, other = memory_stream_pair(buffer=buffer)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tg:
                tg.start_soon(one.send, b"a")
                await settle()
                scope.cancel()
        one.reset()
        one.reset()
        for call in (other.receive, lambda: other.send(b"x"), other.send_eof):
            with pytest.raises(anyio.BrokenResourceError):
                await call()
        await other.aclose()

    async def test_a_reset_wakes_the_peer_that_receives(self) -> None:
        one, other = memory_stream_pair()

        async def receive() -> None:
            with pytest.raises(anyio.BrokenResourceError):
                await other.receive()

        async with anyio.create_task_group() as tg:
            tg.start_soon(receive)
            await settle()
            one.reset()

    async def test_a_reset_may_follow_aclose(self) -> None:
        one, other = memory_stream_pair()
        await one.send(b"lost")
        await one.aclose()
        one.reset()
        with pytest.raises(anyio.BrokenResourceError):
            await other.receive()

    async def test_two_receives_at_once_are_refused(self) -> None:
        one, other = memory_stream_pair()
        async with anyio.create_task_group() as tg:
            tg.start_soon(one.receive)
            await settle()
            with pytest.raises(anyio.BusyResourceError):
                await one.receive()
            await other.send(b"x")

    async def test_two_sends_at_once_are_refused(self) -> None:
        one, other = memory_stream_pair(buffer=0)
        async with anyio.create_task_group() as tg:
            tg.start_soon(one.send, b"x")
            await settle()
            with pytest.raises(anyio.BusyResourceError):
                await one.send(b"y")
            with pytest.raises(anyio.BusyResourceError):
                await one.send_eof()
            assert await other.receive() == b"x"

    @every_variant
    async def test_a_cancelled_receive_loses_nothing(self, buffer: int | None) -> None:
        for attempt in cancel_sweep():
            one, other = memory_stream_pair(buffer=buffer, chunk=2)
            received = b""
            async with anyio.create_task_group() as tg:
                tg.start_soon(send_and_end, one, b"abcdef")
                received = await attempt.run(other.receive()) or b""
                received += await receive_all(other)
            assert received == b"abcdef", attempt

    async def test_a_cancelled_receive_that_waits_loses_nothing(self) -> None:
        for attempt in cancel_sweep():
            one, other = memory_stream_pair()

            async def send_later(stream: MemoryByteStream) -> None:
                await checkpoint()
                await checkpoint()
                await send_and_end(stream, b"abcdef")

            received = b""
            async with anyio.create_task_group() as tg:
                tg.start_soon(send_later, one)
                received = await attempt.run(other.receive()) or b""
                received += await receive_all(other)
            assert received == b"abcdef", attempt

    async def test_a_cancelled_unbounded_send_has_sent_nothing(self) -> None:
        for attempt in cancel_sweep():
            one, other = memory_stream_pair()
            await attempt.run(one.send(b"abc"))
            await send_and_end(one, b"def")
            expected = b"def" if attempt.cancelled else b"abcdef"
            assert await receive_all(other) == expected, attempt

    @pytest.mark.parametrize("buffer", [0, 1, 7])
    async def test_a_cancelled_send_leaves_a_part_and_the_next_is_delivered(
        self, buffer: int
    ) -> None:
        for attempt in cancel_sweep():
            one, other = memory_stream_pair(buffer=buffer, chunk=3)
            received = bytearray()

            async def receive(stream: MemoryByteStream, into: bytearray) -> None:
                async for chunk in stream:
                    into += chunk

            async with anyio.create_task_group() as tg:
                tg.start_soon(receive, other, received)
                await attempt.run(one.send(b"0123456789"))
                await send_and_end(one, b"the end")
            assert received.endswith(b"the end"), attempt
            part = bytes(received[: -len(b"the end")])
            assert b"0123456789".startswith(part), attempt
            assert attempt.cancelled or part == b"0123456789", attempt

    async def test_a_cancelled_send_eof_was_not_sent(self) -> None:
        for attempt in cancel_sweep():
            one, other = memory_stream_pair()
            await attempt.run(one.send_eof())
            if attempt.cancelled:
                await one.send(b"more")
                assert await other.receive() == b"more", attempt
            else:
                with pytest.raises(anyio.EndOfStream):
                    await other.receive()


@pytest.mark.usefixtures("virtual_time")
class TestVirtualClock:
    async def test_it_starts_at_zero(self) -> None:
        assert anyio.current_time() == 0.0

    async def test_sleeping_takes_no_real_time_and_is_exact(self) -> None:
        for seconds in (3600, 0.1, 0.2, 1e-3, 7.7, 1e-6, 100_000.3):
            due = anyio.current_time() + seconds
            await anyio.sleep(seconds)
            assert anyio.current_time() == due

    async def test_a_sleep_of_years_ends(self) -> None:
        year = 365 * 24 * 3600
        await anyio.sleep(10 * year)
        assert anyio.current_time() == pytest.approx(10 * year, abs=1e-3)
        await anyio.sleep(1)
        assert anyio.current_time() == pytest.approx(10 * year + 1, abs=1e-3)

    async def test_tasks_wake_in_the_order_of_their_deadlines(self) -> None:
        woken: list[tuple[float, float]] = []

        async def sleeper(seconds: float) -> None:
            await anyio.sleep(seconds)
            woken.append((seconds, anyio.current_time()))

        async with anyio.create_task_group() as tg:
            for seconds in (30, 10, 20.5, 20, 86_400 * 3):
                tg.start_soon(sleeper, seconds)
        assert woken == [(s, s) for s in (10, 20, 20.5, 30, 86_400 * 3)]

    async def test_deadlines_fire_at_their_time(self) -> None:
        with anyio.move_on_after(5) as scope:
            await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert anyio.current_time() == 5
        with pytest.raises(TimeoutError), anyio.fail_after(2.5):
            await anyio.sleep(3)
        assert anyio.current_time() == 7.5

    async def test_a_deadline_that_was_not_needed_does_not_move_the_clock(self) -> None:
        with anyio.move_on_after(5):
            await checkpoint()
        await anyio.sleep(20)
        assert anyio.current_time() == 20

    async def test_an_infinite_sleep_is_not_a_timer(self) -> None:
        with anyio.move_on_after(5):
            await anyio.sleep(math.inf)
        assert anyio.current_time() == 5

    async def test_the_clock_stands_still_while_something_is_ready(self) -> None:
        with anyio.fail_after(1):
            for _ in range(1000):
                await checkpoint()
        assert anyio.current_time() == 0

    async def test_a_file_descriptor_that_is_ready_goes_before_the_clock(self) -> None:
        one, other = socket.socketpair()
        with one, other:
            one.setblocking(False)
            other.setblocking(False)

            async def echo() -> None:
                for _ in range(50):
                    await anyio.wait_readable(other)
                    other.send(other.recv(1))

            async with anyio.create_task_group() as tg:
                tg.start_soon(echo)
                with anyio.fail_after(1):
                    for _ in range(50):
                        one.send(b"x")
                        await anyio.wait_readable(one)
                        one.recv(1)
        assert anyio.current_time() == 0

    async def test_streams_in_memory_and_virtual_time_go_together(self) -> None:
        one, other = memory_stream_pair(buffer=0)

        async def slow_peer() -> None:
            for _ in range(3):
                await anyio.sleep(10)
                await other.receive(1)

        async with anyio.create_task_group() as tg:
            tg.start_soon(slow_peer)
            await one.send(b"abc")
            assert anyio.current_time() == 30

    @pytest.fixture
    async def time_of_set_up(self) -> float:
        await anyio.sleep(100)
        return anyio.current_time()

    async def test_fixture_and_test_share_a_clock_that_starts_anew(
        self, time_of_set_up: float
    ) -> None:
        assert time_of_set_up == 100
        await anyio.sleep(3600)
        assert anyio.current_time() == 3700


class TestVirtualClockEventLoop:
    def test_a_deadlock_is_an_error_and_the_tasks_are_cancelled(self) -> None:
        class ImpatientLoop(VirtualClockEventLoop):
            deadlock_timeout = 0.01

        ended: list[str] = []

        async def main() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("cleaned up")

        with pytest.raises(RuntimeError, match=r"deadlock: .* 0\.01 real seconds"):
            anyio.run(main, backend_options={"loop_factory": ImpatientLoop})
        assert ended == ["cleaned up"]

    def test_without_a_timer_it_waits_for_what_is_real(self) -> None:
        async def main() -> None:
            with anyio.move_on_after(5):
                await checkpoint()  # leaves a timer, but it is cancelled
            assert await anyio.to_thread.run_sync(lambda: "from a thread") == "from a thread"
            assert anyio.current_time() == 0

        anyio.run(main, backend_options={"loop_factory": VirtualClockEventLoop})

    def test_a_timer_that_ran_is_not_kept_alive(self) -> None:
        class Something:
            def method(self) -> None: ...

        async def main() -> None:
            something = Something()
            alive = weakref.ref(something)
            asyncio.get_running_loop().call_later(10, something.method)
            del something
            await asyncio.sleep(10)
            await checkpoint()
            assert alive() is None

        anyio.run(main, backend_options={"loop_factory": VirtualClockEventLoop})

    def test_asyncios_own_timeouts_are_virtual_too(self) -> None:
        async def main() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1000):
                    await asyncio.Event().wait()
            assert asyncio.get_running_loop().time() == 1000

        with asyncio.Runner(loop_factory=VirtualClockEventLoop) as runner:
            runner.run(main())

    def test_closing_waits_for_threads_in_real_time(self) -> None:
        threads: list[threading.Thread] = []

        async def main() -> None:
            await asyncio.get_running_loop().run_in_executor(
                None, lambda: threads.append(threading.current_thread())
            )

        # On Python 3.12 and later, without a warning that they took 300 seconds
        with asyncio.Runner(loop_factory=VirtualClockEventLoop) as runner:
            runner.run(main())
        assert [thread.is_alive() for thread in threads] == [False]

    def test_there_is_no_virtual_clock_for_uvloop(self) -> None:
        with pytest.raises(ValueError, match="uvloop"):
            virtual_clock_backend("uvloop")


class TestCancelSweep:
    async def test_it_cancels_at_every_suspension_until_one_run_gets_through(
        self, anyio_backend_name: str
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

    async def test_it_can_leave_native_cancellation_out(self) -> None:
        ways: set[bool] = set()
        for attempt in cancel_sweep(native=False):
            ways.add(attempt.native)
            await attempt.run(checkpoint())
        assert ways == {False}

    async def test_it_reaches_waits_inside_a_task_group(self) -> None:
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

    async def test_the_task_is_as_before_after_each_attempt(self) -> None:
        for attempt in cancel_sweep():
            await attempt.run(settle())
            with anyio.move_on_after(math.inf) as scope:
                await checkpoint()
            assert not scope.cancel_called
        with anyio.CancelScope() as scope:
            scope.cancel()
            await checkpoint()
        assert scope.cancelled_caught

    async def test_a_scenario_that_never_suspends_is_an_error(self) -> None:
        async def scenario() -> None:
            pass

        attempts = cancel_sweep()
        for _ in range(2):  # before it starts; at its first suspension, which isn't there
            await next(attempts).run(scenario())
        with pytest.raises(AssertionError, match="never suspends"):
            next(attempts)

    async def test_a_sweep_that_does_not_end_is_an_error(self) -> None:
        attempts = cancel_sweep(limit=10)
        for _ in range(10):
            await next(attempts).run(settle())
        with pytest.raises(AssertionError, match="still cancelled at attempt 10"):
            next(attempts)

    async def test_a_body_that_runs_nothing_is_an_error(self) -> None:
        attempts = cancel_sweep()
        next(attempts)
        with pytest.raises(RuntimeError, match=r"never awaited run\(\)"):
            next(attempts)

    async def test_an_attempt_runs_once(self) -> None:
        attempt = next(cancel_sweep())
        await attempt.run(checkpoint())
        again = checkpoint()
        with pytest.raises(RuntimeError, match="has already run"):
            await attempt.run(again)
        again.close()

    async def test_what_the_scenario_raises_comes_out_with_a_note(self) -> None:
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

    async def test_a_scenario_that_completes_all_the_same_is_not_cancelled(self) -> None:
        async def scenario() -> str:
            await cancel_shielded_checkpoint()
            return "complete"

        outcomes: list[tuple[int, bool, str | None]] = []
        for attempt in cancel_sweep(native=False):
            result = await attempt.run(scenario())
            outcomes.append((attempt.suspension, attempt.cancelled, result))
        assert outcomes == [(k, False, "complete") for k in (0, 1, 2)]

    async def test_a_scenario_that_swallows_the_cancellation_is_not_cancelled(self) -> None:
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

    async def test_a_cancellation_from_outside_is_not_taken_for_the_sweeps(self) -> None:
        for attempt in cancel_sweep():
            with anyio.CancelScope() as outside:
                outside.cancel()
                await attempt.run(settle())
                await checkpoint()
            assert outside.cancelled_caught, attempt

    def test_a_native_cancellation_from_outside_comes_out_of_the_attempt(self) -> None:
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
