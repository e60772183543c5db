"""Virtual clocks: `virtual_clock_backend` and `VirtualClockEventLoop`."""

from __future__ import annotations

import asyncio
import math
import socket
import subprocess
import sys
import threading
import weakref

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws.testing import VirtualClockEventLoop, memory_stream_pair, virtual_clock_backend


def test_importing_the_test_kit_does_not_import_trio() -> None:
    code = "import sys, anyio_ws.testing; sys.exit('trio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


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
