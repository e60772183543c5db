"""P7. Leaving a reconnect loop is safe: from everywhere, in every way, at any time."""

# ruff: noqa: PT011, PT012  # blocks are the subject, and what they raise is compared by identity

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyio_ws import (
    ConnectionClosedError,
    ReconnectAttempt,
    ReconnectPolicy,
    Request,
    Response,
    WebSocket,
    WebSocketServer,
)
from anyio_ws.testing import cancel_sweep
from anyio_ws.transports import dial

from ..conftest import _over_anyio_stream
from ..websocket.helpers import settle
from .blocks import ERRORS
from .helpers import Cancellable, both_ways, time_limit, virtual
from .links import Link

PATIENCE = 10
POLICY = ReconnectPolicy(random=lambda: 1.0)
AT_ONCE = POLICY.immediately()


@pytest.fixture(autouse=True)
def over_streams(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is dialled goes over sockets; where the link is streams, over those: they need a task group."""
    if link.kind == "streams":
        monkeypatch.setattr(dial, "over_socket", _over_anyio_stream)


@dataclass
class Server:
    """Says what became of its connections."""

    link: Link
    server: WebSocketServer
    codes: list[int | None] = field(default_factory=list)
    refusals: int = 0
    restarts: int = 0

    def loop(self, policy: ReconnectPolicy = AT_ONCE) -> AsyncIterator[ReconnectAttempt]:
        return self.link.reconnecting(self.server, policy)

    async def ended(self) -> list[int | None]:
        """Wait until it has no connection any more; what each was closed with."""
        with anyio.fail_after(PATIENCE):
            while self.server.connections:
                await settle()
        return self.codes


@asynccontextmanager
async def serving(link: Link, *, refusals: int = 0, restarts: int = 0) -> AsyncIterator[Server]:
    """A server that refuses so many requests, restarts for as many connections, and then serves."""

    async def handler(ws: WebSocket) -> None:
        try:
            if found.restarts:
                found.restarts -= 1
                await ws.aclose(1012)
            else:
                await ws.send("here you may stay")
            await ws.wait_closed()
        finally:
            found.codes.append(ws.close_code)

    async def refuse(ws: WebSocket, request: Request) -> Response | None:
        if found.refusals:
            found.refusals -= 1
            return Response.text(503, "later\n")
        return None

    async with link.serving(handler, process_request=refuse) as server:
        found = Server(link, server, refusals=refusals, restarts=restarts)
        yield found
        await found.ended()


async def before(server: Server) -> None:
    async for _ in server.loop():
        break


async def inside(server: Server) -> None:
    async for attempt in server.loop():
        async with attempt:
            break


async def behind(server: Server) -> None:
    async for attempt in server.loop():
        async with attempt:
            pass
        break


async def by_return(server: Server) -> None:
    async for attempt in server.loop():
        async with attempt:
            return


async def in_a_task_group(server: Server) -> None:
    async for attempt in server.loop():
        async with attempt as ws, anyio.create_task_group() as tasks:
            tasks.start_soon(ws.wait_closed)
            tasks.cancel_scope.cancel()
            break


async def in_a_scope_of_the_body(server: Server) -> None:
    async for attempt in server.loop():
        with anyio.CancelScope() as scope:
            async with attempt:
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        break


async def after_reconnecting(server: Server) -> None:
    server.refusals, server.restarts = 2, 2
    async for attempt in server.loop():
        async with attempt as ws:
            await ws.receive()
            break


WAYS: dict[str, tuple[Callable[[Server], Coroutine[Any, Any, None]], int | None]] = {
    "before the block": (before, None),
    "inside of the block": (inside, 1000),
    "behind the block": (behind, 1000),
    "by return": (by_return, 1000),
    "in a task group": (in_a_task_group, 1000),
    "in a cancelled scope": (in_a_scope_of_the_body, 1001),
    "after reconnecting": (after_reconnecting, 1000),
}


@pytest.mark.parametrize("way", WAYS)
class TestBreak:
    async def test_closes_what_was_open_and_leaves_nothing(self, link: Link, way: str) -> None:
        leave, code = WAYS[way]
        async with serving(link) as server:
            await leave(server)
            codes = await server.ended()
            if code is None:
                assert not codes
            elif code == 1000 or link.kind != "streams":  # a stream can't be written to at once
                assert codes[-1] == code

    async def test_disturbs_no_scope_around_it(self, link: Link, way: str) -> None:
        """As a generator does that holds a task group: PEP 789."""
        leave, _ = WAYS[way]
        steps: list[str] = []
        async with serving(link) as server:
            with anyio.CancelScope() as outer:
                async with anyio.create_task_group() as tasks:
                    with anyio.CancelScope() as inner:
                        await leave(server)
                        gc.collect()
                        await settle()
                        steps.append("nobody was cancelled")
                        inner.cancel()
                        await anyio.sleep_forever()
                    steps.append("inner")
                    tasks.cancel_scope.cancel()
                    await anyio.sleep_forever()
                steps.append("group")
                outer.cancel()
                await anyio.sleep_forever()
            assert outer.cancelled_caught
        assert steps == ["nobody was cancelled", "inner", "group"]

    async def test_leaves_a_loop_around_it_alone(self, link: Link, way: str) -> None:
        leave, _ = WAYS[way]
        async with serving(link) as outer, serving(link) as server:
            async for attempt in outer.loop():
                async with attempt as ws:
                    await leave(server)
                    await server.ended()
                    assert await ws.ping() >= 0
                    break
            assert await outer.ended() == [1000]

    async def test_is_safe_in_many_tasks_at_once(self, link: Link, way: str) -> None:
        leave, _ = WAYS[way]
        async with serving(link) as server, anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(leave, server)


@pytest.mark.parametrize("kind", ERRORS)
async def test_an_exception_comes_out_of_the_loop_as_that_very_object(
    link: Link, kind: str
) -> None:
    error = ERRORS[kind]()
    async with serving(link, refusals=1, restarts=1) as server:
        with pytest.raises(BaseException) as caught:
            async for attempt in server.loop():
                async with attempt as ws:
                    await ws.receive()
                    raise error
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None


async def test_a_fatal_end_of_the_connection_comes_out_as_that_very_object(link: Link) -> None:
    async def refuse(ws: WebSocket) -> None:
        await ws.aclose(1008)

    seen: list[BaseException] = []
    async with link.serving(refuse) as server:
        with pytest.raises(ConnectionClosedError) as caught:
            async for attempt in Server(link, server).loop():
                async with attempt as ws:
                    try:
                        await ws.receive()
                    except ConnectionClosedError as exc:
                        seen.append(exc)
                        raise
    assert [caught.value] == seen


class TestACancellation:
    async def test_wherever_it_comes_is_one_and_leaves_nothing(self, link: Link) -> None:
        async def scenario(server: Server) -> str:
            async for attempt in server.loop():
                async with attempt as ws:
                    await ws.receive()
                    break
            return "through"

        for attempt in cancel_sweep():
            async with serving(link, refusals=1, restarts=1) as server:
                result = await attempt.run(scenario(server))
                assert (result is None) is attempt.cancelled, attempt
                await checkpoint()

    @virtual
    @both_ways
    @pytest.mark.parametrize("where", ["back-off", "block"])
    async def test_by_a_time_limit_comes_in_time(
        self, link: Link, native: bool, where: str
    ) -> None:
        refusals = 1 if where == "back-off" else 0
        async with serving(link, refusals=refusals) as server:
            begin = anyio.current_time()
            async with time_limit(30, native=native):
                async for attempt in server.loop(replace(POLICY, initial=1000, cap=1000)):
                    async with attempt:
                        await anyio.sleep_forever()
            assert anyio.current_time() - begin == pytest.approx(30)

    async def test_is_not_taken_for_the_end_of_the_connection(self, link: Link) -> None:
        """Not even beside it, in one group."""
        rounds = 0
        async with serving(link, restarts=1) as server:
            with anyio.CancelScope() as scope:
                async for attempt in server.loop():
                    rounds += 1
                    async with attempt as ws:
                        await ws.wait_closed()
                        try:
                            scope.cancel()
                            await anyio.sleep_forever()
                        finally:
                            await ws.send("too late")
            assert scope.cancelled_caught
        assert rounds == 1

    async def test_is_not_swallowed_with_what_was_raised_in_its_place(self, link: Link) -> None:
        """asyncio's own, that is: it doesn't come again."""
        rounds = 0
        task, ready = Cancellable(), anyio.Event()

        async def loop() -> None:
            nonlocal rounds
            async for attempt in server.loop():
                rounds += 1
                async with attempt as ws:
                    await ws.wait_closed()
                    try:
                        ready.set()
                        await anyio.sleep_forever()
                    finally:
                        await ws.send("too late")

        async def run() -> None:
            with suppress(ConnectionClosedError):
                await task.run(loop())

        async with serving(link, restarts=1) as server, anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await ready.wait()
            task.cancel()
        assert rounds == 1

    async def test_that_is_over_does_not_count(self, link: Link) -> None:
        rounds = 0
        async with serving(link, restarts=1) as server:
            async for attempt in server.loop():
                rounds += 1
                async with attempt as ws:
                    if rounds == 2:
                        break
                    await ws.wait_closed()
                    async with time_limit(0, native=True):
                        await anyio.sleep_forever()
                    await ws.send("too late")
        assert rounds == 2


async def test_a_loop_that_is_only_dropped_leaves_nothing(link: Link) -> None:
    async with serving(link) as server:
        loop = server.loop()
        attempts = [await anext(loop) for _ in range(3)]
        async with attempts[1] as ws:
            await ws.ping()
        del loop, attempts, ws
        gc.collect()
        await settle()
