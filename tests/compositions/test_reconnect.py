"""Connecting again and again: `anyio_ws.reconnecting_websocket`."""

# ruff: noqa: PT012  # blocks are the subject

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from anyio_ws import (
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    DecideRetry,
    InvalidStatus,
    InvalidURI,
    ReconnectAttempt,
    ReconnectFailure,
    ReconnectPolicy,
    Request,
    Response,
    WebSocket,
    open_server,
    reconnecting_websocket,
)
from anyio_ws.testing import cancel_sweep

from ..websocket.helpers import settle
from .doors import AT_ONCE, EXACT, STAY, Accept, Door, Reject

virtual = pytest.mark.usefixtures("virtual_time")


async def everything(
    url: str, policy: DecideRetry, messages: list[str | bytes] | None = None, **options: Any
) -> None:
    """Receive until the loop ends."""
    async for attempt in reconnecting_websocket(url, policy=policy, **options):
        async with attempt as ws:
            async for message in ws:
                if messages is not None:
                    messages.append(message)


class TestALoop:
    async def test_connects_again_when_the_server_went_away(self) -> None:
        door = Door(Accept(1001), Accept(1012), Accept(None), Accept(1000), STAY)
        received: list[str | bytes] = []
        async with door.open() as server:
            async for attempt in reconnecting_websocket(server.url, policy=AT_ONCE):
                async with attempt as ws:
                    received.append(await ws.receive())
                    if len(received) == 5:
                        break
                    async for message in ws:
                        raise AssertionError(message)
        assert received == [f"number {number}" for number in range(1, 6)]
        assert door.codes == [1001, 1012, None, 1000, 1000]

    @virtual
    async def test_waits_longer_after_each_failure(self) -> None:
        door = Door(*[Reject(503)] * 4, STAY)
        async with door.open() as server:
            async for attempt in reconnecting_websocket(server.url, policy=EXACT):
                async with attempt as ws:
                    assert (attempt.failures, attempt.delay) == (4, 8)
                    assert isinstance(attempt.error, InvalidStatus)
                    assert await ws.receive() == "number 5"
                    break
        assert door.pauses() == [1, 2, 4, 8]

    @virtual
    async def test_outlives_a_server_that_goes_away_refuses_rejects_and_comes_back(self) -> None:
        door = Door(Accept(1012, after=15), Reject(503, {"Retry-After": "30"}), STAY)
        received: list[str | bytes] = []

        async def listen(url: str) -> None:
            await everything(url, EXACT, received)

        async with anyio.create_task_group() as tasks:
            async with door.open() as server:
                tasks.start_soon(listen, server.url)
                await anyio.sleep(15.5)  # it was closed half a second ago
            await anyio.sleep(2)  # refused at 16, and to be asked again at 18
            async with door.open():
                await anyio.sleep(36)
                tasks.cancel_scope.cancel()
        assert received == ["number 1", "number 3"]
        # The third failure in a row: 30 seconds, and 4.
        assert door.pauses() == [18, 34]

    @virtual
    async def test_raises_a_fatal_error_as_it_is(self) -> None:
        door = Door(Reject(503), Accept(1001), Reject(401))
        async with door.open() as server:
            loop = reconnecting_websocket(server.url, policy=EXACT)
            with pytest.raises(InvalidStatus) as caught:
                async for attempt in loop:
                    async with attempt as ws:
                        async for _ in ws:
                            pass
            assert caught.value.response.status_code == 401
            assert caught.value.__context__ is None
            assert caught.value.__notes__ == ["given up after 3 failures in a row"]
            with pytest.raises(StopAsyncIteration):
                await anext(loop)
        assert door.pauses() == [1, 2]

    async def test_that_gives_up_at_once_says_nothing_about_it(self) -> None:
        async with Door(Reject(403)).open() as server:
            with pytest.raises(InvalidStatus) as caught:
                await everything(server.url, EXACT)
        assert not hasattr(caught.value, "__notes__")

    async def test_does_not_insist_on_a_bad_certificate(
        self, server_ssl_context: ssl.SSLContext
    ) -> None:
        async def handler(ws: WebSocket) -> None:
            raise AssertionError("connected")

        async with open_server(handler, "127.0.0.1", 0, ssl=server_ssl_context) as server:
            with pytest.raises(ConnectError, match="certificate verify failed"):
                await everything(server.url, EXACT)

    @virtual
    async def test_gives_up_after_so_many_attempts(self) -> None:
        door = Door(STAY)
        async with door.open() as server:
            pass
        begin = anyio.current_time()
        with pytest.raises(ConnectError):
            await everything(server.url, replace(EXACT, max_attempts=4))
        assert anyio.current_time() - begin == pytest.approx(1 + 2 + 4)

    @virtual
    async def test_gives_up_after_so_much_time_without_a_healthy_connection(self) -> None:
        door = Door(Accept(1001, after=15), Reject(500))
        async with door.open() as server:
            with pytest.raises(InvalidStatus):
                await everything(server.url, replace(EXACT, max_time=10, cap=3))
        assert door.pauses() == [15 + 1, 2, 3, 3]

    @virtual
    async def test_takes_only_a_healthy_connection_for_a_success(self) -> None:
        briefly, long = Accept(1001, after=9), Accept(1001, after=11)
        door = Door(briefly, briefly, briefly, long, briefly, STAY)
        with anyio.move_on_after(70):
            async with door.open() as server:
                await everything(server.url, EXACT)
        assert door.pauses() == [9 + 1, 9 + 2, 9 + 4, 11 + 1, 9 + 2]

    @virtual
    async def test_takes_no_refusal_for_a_success_where_any_connection_is_one(self) -> None:
        at_once = replace(EXACT, healthy_after=0, max_attempts=3)
        door = Door(Accept(1001), Accept(1001), Reject(500))
        async with door.open() as server:
            with pytest.raises(InvalidStatus):
                await everything(server.url, at_once)
        assert door.pauses() == [1, 1, 2]

    @virtual
    async def test_does_not_storm_a_server_that_accepts_and_closes(self) -> None:
        door = Door(Accept(1000))
        with anyio.move_on_after(60 * 60):
            async with door.open() as server:
                await everything(server.url, ReconnectPolicy(random=lambda: 0.999))
        assert len(door.times) < 70

    @virtual
    async def test_waits_out_a_time_limit_and_tries_again(self) -> None:
        class SlowOnce(Door):
            async def decide(self, ws: WebSocket, request: Request) -> Response | None:
                if not self.times:
                    self.times.append(anyio.current_time())
                    await anyio.sleep(60)
                return await super().decide(ws, request)

        door = SlowOnce(STAY)
        async with door.open() as server:
            async for attempt in reconnecting_websocket(server.url, policy=EXACT, open_timeout=5):
                async with attempt:
                    assert isinstance(attempt.error, TimeoutError)
                    break
        assert door.pauses() == [5 + 1]

    @virtual
    async def test_goes_on_when_a_block_just_ends_and_waits_if_it_was_short(self) -> None:
        door = Door(STAY)
        async with door.open() as server:
            async for attempt in reconnecting_websocket(server.url, policy=EXACT):
                async with attempt as ws:
                    assert attempt.failures == 0
                    assert await ws.receive() == f"number {len(door.times)}"
                    if len(door.times) == 4:
                        break
                    await anyio.sleep(15 * (len(door.times) % 2))
        assert door.pauses() == [15, 1, 15]
        assert door.codes == [1000] * 4

    async def test_ends_quietly_after_a_normal_close_if_the_policy_says_so(self) -> None:
        door = Door(Accept(1001), Accept(1000))
        async with door.open() as server:
            with anyio.fail_after(10):
                await everything(server.url, replace(AT_ONCE, retry_normal=False))
        assert door.codes == [1001, 1000]

    async def test_raises_why_it_ends_if_the_block_did_not(self) -> None:
        door = Door(Accept(1008))
        async with door.open() as server:
            loop = reconnecting_websocket(server.url, policy=AT_ONCE)
            with pytest.raises(ConnectionClosedError) as caught:
                async for attempt in loop:
                    async with attempt as ws:
                        await ws.wait_closed()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1008
            with pytest.raises(StopAsyncIteration):
                await anext(loop)

    async def test_leaves_it_to_the_block_to_raise_why_it_ends(self) -> None:
        raised: list[ConnectionClosedError] = []
        async with Door(Accept(1008)).open() as server:
            loop = reconnecting_websocket(server.url, policy=AT_ONCE)
            with pytest.raises(ConnectionClosedError) as caught:
                async for attempt in loop:
                    async with attempt as ws:
                        try:
                            async for _ in ws:
                                pass
                        except ConnectionClosedError as exc:
                            raised.append(exc)
                            raise
            assert [caught.value] == raised
            with pytest.raises(StopAsyncIteration):
                await anext(loop)

    async def test_gives_attempts_that_cost_nothing_until_they_are_entered(self) -> None:
        door = Door(STAY)
        async with door.open() as server:
            number = 0
            async for attempt in reconnecting_websocket(server.url):
                assert (attempt.failures, attempt.delay, attempt.error) == (0, 0, None)
                number += 1
                if number == 100:
                    break
            assert not door.times

    async def test_gives_attempts_that_can_be_entered_once(self) -> None:
        async with Door(STAY).open() as server:
            async for attempt in reconnecting_websocket(server.url):
                async with attempt:
                    pass
                with pytest.raises(RuntimeError, match="only once"):
                    await attempt.__aenter__()
                break

    @virtual
    async def test_says_in_the_log_what_it_waits_for(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        door = Door(Reject(503), Accept(1012), STAY)
        own = logging.getLogger("mine")
        async with door.open() as server:
            url = server.url.replace("ws://", "ws://ada:secret@") + "?token=secret"
            async for attempt in reconnecting_websocket(url, policy=EXACT, logger=own):
                async with attempt as ws:
                    if len(door.times) == 3:
                        break
                    await ws.wait_closed()
        said = [record.getMessage() for record in caplog.records if record.name == "mine"]
        assert said == [
            f"connecting to {server.url} again in 1.0 seconds (failures in a row: 1): "
            "server answered HTTP 503 Service Unavailable instead of 101: 'no'",
            f"connecting to {server.url} again in 2.0 seconds (failures in a row: 2): "
            "received 1012 (service restart); then sent 1012 (service restart)",
        ]


class TestTheBlock:
    @staticmethod
    async def lost(ws: WebSocket) -> None:
        """Raise this connection's `ConnectionClosed`."""
        await ws.wait_closed()
        while True:
            await ws.receive()

    async def test_swallows_the_end_of_its_connection(self) -> None:
        door = Door(Accept(1012), Accept(1001), STAY)
        async with door.open() as server:
            async for attempt in reconnecting_websocket(server.url, policy=AT_ONCE):
                async with attempt as ws:
                    if len(door.times) == 3:
                        break
                    await self.lost(ws)
        assert len(door.times) == 3

    async def test_swallows_a_group_of_nothing_else(self) -> None:
        door = Door(Accept(1012), STAY)

        async def inner(ws: WebSocket) -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.sends, ws)
                tasks.start_soon(self.lost, ws)

        async with door.open() as server:
            async for attempt in reconnecting_websocket(server.url, policy=AT_ONCE):
                async with attempt as ws:
                    if len(door.times) == 2:
                        break
                    async with anyio.create_task_group() as tasks:
                        tasks.start_soon(inner, ws)
                        tasks.start_soon(self.sends, ws)
                        await ws.wait_closed()
                        await ws.send("too late")

    @staticmethod
    async def sends(ws: WebSocket) -> None:
        await ws.wait_closed()
        await ws.send("too late")

    async def test_raises_a_group_with_anything_else_as_it_is(self) -> None:
        errors: list[Exception] = []
        async with Door(Accept(1012)).open() as server:
            with pytest.raises(ExceptionGroup) as caught:
                async for attempt in reconnecting_websocket(server.url, policy=AT_ONCE):
                    async with attempt as ws:
                        try:
                            await self.lost(ws)
                        except ConnectionClosedError as exc:
                            errors += [exc, ValueError("mine")]
                        group = ExceptionGroup("of the body", errors)
                        errors.append(group)
                        raise group
            assert caught.value is errors[2]
            assert isinstance(caught.value, ExceptionGroup)
            assert caught.value.exceptions == tuple(errors[:2])

    async def test_raises_the_end_of_another_connection(self) -> None:
        door, other = Door(Accept(1012)), Door(Accept(1012))
        ended: ConnectionClosed | None = None
        async with door.open() as server, other.open() as second:
            with pytest.raises(ConnectionClosedError) as caught:
                async for attempt in reconnecting_websocket(server.url, policy=AT_ONCE):
                    async with attempt as ws:
                        await ws.wait_closed()
                        async for inner in reconnecting_websocket(second.url):
                            async with inner as mine:
                                await mine.wait_closed()
                                ended = mine.closed_exc
                                break
                        assert ended is not None
                        raise ended
        assert caught.value is ended

    @pytest.mark.parametrize("kind", ["ValueError", "made by hand", "TimeoutError"])
    async def test_raises_what_is_yours_as_it_is_and_asks_nobody(self, kind: str) -> None:
        asked: list[ReconnectFailure] = []

        def ask(failure: ReconnectFailure) -> float:
            asked.append(failure)
            return 0

        error = {
            "ValueError": ValueError("mine"),
            "made by hand": ConnectionClosedOK(None, None),
            "TimeoutError": TimeoutError("mine"),
        }[kind]
        door = Door(STAY)
        async with door.open() as server:
            with pytest.raises(type(error)) as caught:
                async for attempt in reconnecting_websocket(server.url, policy=ask):
                    async with attempt:
                        raise error
        assert caught.value is error
        assert error.__context__ is None
        assert door.codes == [1011]
        assert not asked

    @virtual
    async def test_may_raise_and_the_loop_go_on_after_a_first_back_off(self) -> None:
        door = Door(STAY)
        async with door.open() as server:
            async for attempt in reconnecting_websocket(server.url, policy=EXACT):
                try:
                    async with attempt:
                        if len(door.times) == 4:
                            break
                        raise ValueError("mine")
                except ValueError:
                    continue
        assert door.pauses() == [1, 1, 1]
        assert door.codes == [1011, 1011, 1011, 1000]


class TestAPolicyOfOnesOwn:
    @virtual
    async def test_is_told_everything_and_decides(self) -> None:
        told: list[tuple[str, int, float, float]] = []

        def decide(failure: ReconnectFailure) -> float | None:
            name = type(failure.error).__name__
            told.append((name, failure.failures, failure.seconds, round(failure.lasted, 3)))
            return None if failure.failures == 3 else 7.0

        door = Door(Accept(1008, after=5), Accept(1012, after=15), Reject(404), Reject(404))
        async with door.open() as server:
            with pytest.raises(InvalidStatus):
                await everything(server.url, decide)
        assert told == [
            ("ConnectionClosedError", 1, 0, 5),
            ("ConnectionClosedError", 1, 0, 15),
            ("InvalidStatus", 2, 7, 0),
            ("InvalidStatus", 3, 14, 0),
        ]
        assert door.pauses() == [12, 22, 7]

    @pytest.mark.parametrize("fate", [Reject(503), Accept(1012)])
    @pytest.mark.parametrize("result", ["soon", -1, float("nan")])
    async def test_that_returns_nonsense_is_told_so(self, result: Any, fate: Any) -> None:
        async with Door(fate).open() as server:
            with pytest.raises(ValueError, match="what a policy returns must be a number"):
                await everything(server.url, lambda failure: result)

    @pytest.mark.parametrize("fate", [Reject(503), Accept(1012), Accept(1001)])
    async def test_ends_the_loop_with_what_it_raises(self, fate: Any) -> None:
        def fail(failure: ReconnectFailure) -> float:
            raise error

        error = LookupError("a bug")
        async with Door(fate).open() as server:
            loop = reconnecting_websocket(server.url, policy=fail)
            with pytest.raises(LookupError) as caught:
                async for attempt in loop:
                    async with attempt as ws:
                        async for _ in ws:
                            pass
            assert caught.value is error
            with pytest.raises(StopAsyncIteration):
                await anext(loop)

    async def test_that_is_none_is_refused_at_once(self) -> None:
        async def decide(failure: ReconnectFailure) -> float:
            return 0

        for wrong in (decide, ReconnectPolicy, 5):
            with pytest.raises(TypeError, match="policy must be"):
                reconnecting_websocket("ws://127.0.0.1/", policy=wrong)  # type: ignore[arg-type]


def test_what_is_wrong_is_raised_before_anything_is_dialled() -> None:
    with pytest.raises(InvalidURI):
        reconnecting_websocket("http://127.0.0.1/")
    with pytest.raises(TypeError, match="did you mean 'origin'"):
        reconnecting_websocket("ws://127.0.0.1/", orign="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'stream' isn't an option"):
        reconnecting_websocket("ws://127.0.0.1/", stream=None)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="open_timeout"):
        reconnecting_websocket("ws://127.0.0.1/", open_timeout=-1)


Scenario = Callable[[str], Awaitable[object]]


async def receive_two(url: str) -> list[str | bytes]:
    received: list[str | bytes] = []
    async for attempt in reconnecting_websocket(url, policy=AT_ONCE):
        async with attempt as ws:
            async for message in ws:
                received.append(message)
        if len(received) == 2:
            break
    return received


async def give_up(url: str) -> list[ReconnectAttempt]:
    attempts: list[ReconnectAttempt] = []
    async for attempt in reconnecting_websocket(url, policy=replace(AT_ONCE, max_attempts=2)):
        attempts.append(attempt)
        try:
            async with attempt as ws:
                await ws.wait_closed()
        except InvalidStatus:
            continue
    return attempts


@pytest.mark.parametrize(
    ("scenario", "fates"),
    [
        (receive_two, [Reject(503), Accept(1001), Accept(1012)]),
        (receive_two, [Accept(None), Accept(1000)]),
        (give_up, [Accept(1001), Reject(503)]),
    ],
)
async def test_wherever_it_is_cancelled_nothing_is_left(
    scenario: Scenario, fates: list[Reject | Accept]
) -> None:
    """What is left, tasks and descriptors, the fixture of all tests looks for."""
    for attempt in cancel_sweep():
        door = Door(*fates)
        async with door.open() as server:
            result = await attempt.run(scenario(server.url))
            assert attempt.cancelled or result, attempt
            with anyio.fail_after(10):  # the server's connections end because ours did
                while server.connections:
                    await settle()
