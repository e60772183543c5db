"""A handler that is called with several connections: `anyio_ws.aggregate`."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from functools import partial

import anyio
import pytest
from anyio.abc import ByteStream, TaskStatus
from anyio.lowlevel import checkpoint

from anyio_ws import (
    Aggregate,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    Request,
    Response,
    Router,
    WebSocket,
    WebSocketServer,
    aggregate,
    endpoint,
    mux,
    open_server,
    open_websocket,
    serve_websocket,
)
from anyio_ws.testing import memory_stream_pair, serve_in_memory

from .feeds import PATIENCE, feeds, settle


async def relay(connections: set[WebSocket]) -> None:
    """Send what one says to all, until one leaves."""
    for ws in connections:
        await ws.send("begin")
    async with mux(*connections) as merged:
        async for _, message in merged:
            for ws in connections:
                await ws.send(message)


async def until(lobby: Aggregate, number: int) -> None:
    """Wait until so many clients wait."""
    with anyio.fail_after(PATIENCE):
        while lobby.waiting != number:
            await checkpoint()


async def clients(stack: AsyncExitStack, server: WebSocketServer, number: int) -> list[WebSocket]:
    return [await stack.enter_async_context(open_websocket(server.url)) for _ in range(number)]


class TestGathering:
    async def test_the_handler_gets_a_set_of_as_many_as_it_is_to(self) -> None:
        sizes: list[int] = []

        async def handle(connections: set[WebSocket]) -> None:
            assert type(connections) is set
            sizes.append(len(connections))
            await relay(connections)

        async with open_server(lobby := aggregate(3, handle), "127.0.0.1", 0) as server:
            async with AsyncExitStack() as stack:
                first, second = await clients(stack, server, 2)
                await until(lobby, 2)
                assert sizes == []
                (third,) = await clients(stack, server, 1)
                for ws in (first, second, third):
                    assert await ws.receive() == "begin"
                assert lobby.waiting == 0
                await second.send("hello")
                for ws in (first, second, third):
                    assert await ws.receive() == "hello"
                await first.aclose()
                for ws in (second, third):
                    with pytest.raises(ConnectionClosedOK):
                        await ws.receive()
                    assert ws.close_code == 1000
            assert sizes == [3]

    async def test_further_clients_make_another_group_meanwhile(self) -> None:
        async with open_server(lobby := aggregate(2, relay), "127.0.0.1", 0) as server:
            async with AsyncExitStack() as stack:
                members = await clients(stack, server, 5)
                for ws in members[:4]:
                    assert await ws.receive() == "begin"
                await until(lobby, 1)
                await members[3].send("only to the second two")
                assert await members[2].receive() == "only to the second two"
                assert await members[3].receive() == "only to the second two"
                for ws in members[:2]:
                    with pytest.raises(anyio.WouldBlock):
                        ws.receive_nowait()

    async def test_one_is_never_kept_waiting(self) -> None:
        async with open_server(aggregate(1, relay), "127.0.0.1", 0) as server:
            async with open_websocket(server.url) as ws:
                assert await ws.receive() == "begin"

    async def test_those_with_the_same_key_are_gathered(self) -> None:
        lobby = aggregate(2, relay, key=lambda ws: ws.request.path)
        async with open_server(lobby, "127.0.0.1", 0) as server:
            async with (
                open_websocket(f"{server.url}/a") as one,
                open_websocket(f"{server.url}/b") as other,
            ):
                await until(lobby, 2)
                async with open_websocket(f"{server.url}/a") as two:
                    assert await one.receive() == await two.receive() == "begin"
                    assert lobby.waiting == 1
                    with pytest.raises(anyio.WouldBlock):
                        other.receive_nowait()
            await until(lobby, 0)

    async def test_what_is_sent_while_waiting_is_received_by_the_handler_in_order(self) -> None:
        received: dict[int, list[str | bytes]] = {}

        async def handle(connections: set[WebSocket]) -> None:
            for ws in connections:
                name = int(await ws.receive())
                received[name] = [await ws.receive() for _ in range(3)]

        async with open_server(lobby := aggregate(2, handle), "127.0.0.1", 0) as server:
            async with AsyncExitStack() as stack:
                members = await clients(stack, server, 1)
                for message in ("0", "a", "b", "c"):
                    await members[0].send(message)
                await until(lobby, 1)
                members += await clients(stack, server, 1)
                for message in ("1", "d", "e", "f"):
                    await members[1].send(message)
                for ws in members:
                    await ws.wait_closed()
        assert received == {0: ["a", "b", "c"], 1: ["d", "e", "f"]}

    async def test_one_that_leaves_while_waiting_frees_its_place(self) -> None:
        async with open_server(lobby := aggregate(2, relay), "127.0.0.1", 0) as server:
            for how in ("close", "break"):
                async with open_websocket(server.url) as ws:
                    await until(lobby, 1)
                    if how == "break":
                        await anyio.aclose_forcefully(ws)
                await until(lobby, 0)
            async with AsyncExitStack() as stack:
                first, second = await clients(stack, server, 2)
                assert await first.receive() == await second.receive() == "begin"

    async def test_one_that_left_just_now_is_not_counted(self) -> None:
        """Its end was noticed, and its task didn't have its turn since."""
        seen: list[set[WebSocket]] = []

        async def handle(connections: set[WebSocket]) -> None:
            seen.append(connections)

        lobby = aggregate(2, handle)
        async with feeds(3) as (one, two, three), anyio.create_task_group() as tasks:
            tasks.start_soon(lobby, one.ws)
            await settle()
            assert lobby.waiting == 1

            async def come_late() -> None:
                one.ws._connection.eof_received()
                await lobby(two.ws)

            tasks.start_soon(come_late)
            await settle()
            assert lobby.waiting == 1
            await lobby(three.ws)
            assert seen == [{two.ws, three.ws}]
            assert lobby.waiting == 0

    @pytest.mark.usefixtures("virtual_time")
    async def test_pings_are_answered_while_waiting(self) -> None:
        lobby = aggregate(2, relay)
        async with serve_in_memory(lobby, ping_interval=10, ping_timeout=10) as server:
            async with open_websocket(server.url, ping_interval=5, ping_timeout=5) as first:
                await anyio.sleep(3600)
                assert await first.ping() >= 0
                async with open_websocket(server.url) as second:
                    assert await first.receive() == await second.receive() == "begin"

    async def test_behind_a_router_and_an_endpoint(self) -> None:
        rooms: list[set[str]] = []

        async def handle(connections: set[WebSocket]) -> None:
            rooms.append({ws.path_parameters["room"] for ws in connections})

        router = Router()
        router.add("/{room}", aggregate(2, handle, key=lambda ws: ws.path_parameters["room"]))
        serve = endpoint(router)
        async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
            members: list[WebSocket] = []
            for room in "aba":
                near, far = memory_stream_pair()
                tasks.start_soon(serve, "an argument", far)
                members.append(
                    await stack.enter_async_context(open_websocket(f"ws://x/{room}", stream=near))
                )
            await members[0].wait_closed()
            assert rooms == [{"a"}]

    async def test_a_handlers_own_process_request_is_asked_about_each_client(self) -> None:
        class Handler:
            async def process_request(self, ws: WebSocket, request: Request) -> Response | None:
                return Response.text(410, "gone") if request.path == "/gone" else None

            async def __call__(self, connections: set[WebSocket]) -> None:
                await relay(connections)

        async with open_server(aggregate(1, Handler()), "127.0.0.1", 0) as server:
            with pytest.raises(Exception, match="410"):
                async with open_websocket(f"{server.url}/gone"):
                    pass
            async with open_websocket(server.url) as ws:
                assert await ws.receive() == "begin"


class TestLimits:
    @pytest.mark.usefixtures("virtual_time")
    async def test_who_waits_too_long_is_told_to_try_again_later(self) -> None:
        lobby = aggregate(2, relay, waiting_timeout=60)
        async with serve_in_memory(lobby) as server:
            async with open_websocket(server.url) as ws:
                began = anyio.current_time()
                with pytest.raises(ConnectionClosedError):
                    await ws.receive()
                assert anyio.current_time() - began == pytest.approx(60)
                assert (ws.close_code, ws.close_reason) == (1013, "not enough others have come")
        assert lobby.waiting == 0

    async def test_more_than_may_wait_are_told_to_try_again_later(self) -> None:
        lobby = aggregate(2, relay, key=lambda ws: ws.request.path, max_waiting=2)
        async with open_server(lobby, "127.0.0.1", 0) as server:
            async with open_websocket(f"{server.url}/a") as one, open_websocket(f"{server.url}/b"):
                await until(lobby, 2)
                async with open_websocket(f"{server.url}/c") as refused:
                    with pytest.raises(ConnectionClosedError):
                        await refused.receive()
                    assert refused.close_code == 1013
                    assert refused.close_reason == "too many clients wait"
                async with open_websocket(f"{server.url}/a") as two:  # who needn't wait
                    assert await one.receive() == await two.receive() == "begin"

    def test_what_makes_no_sense_is_an_error_before_anybody_comes(self) -> None:
        for n in (0, -1, 1.5):
            with pytest.raises(ValueError, match="n must be"):
                aggregate(n, relay)  # type: ignore[arg-type]  # also on purpose
        for most in (0, -1):
            with pytest.raises(ValueError, match="max_waiting"):
                aggregate(2, relay, max_waiting=most)
        with pytest.raises(ValueError, match="waiting_timeout"):
            aggregate(2, relay, waiting_timeout=0)

        def plain(connections: set[WebSocket]) -> None: ...

        with pytest.raises(TypeError, match="async function"):
            aggregate(2, plain)  # type: ignore[arg-type]  # on purpose

        async def key(ws: WebSocket) -> str:
            return ""

        with pytest.raises(TypeError, match="plain function"):
            aggregate(2, relay, key=key)  # type: ignore[arg-type]  # on purpose


class TestTheEnd:
    async def test_when_the_handler_returns_all_are_closed_normally(self) -> None:
        async def greet(connections: set[WebSocket]) -> None:
            for ws in connections:
                await ws.send("hello")
            connections.clear()  # it's the handler's

        async with open_server(aggregate(3, greet), "127.0.0.1", 0) as server:
            async with AsyncExitStack() as stack:
                for ws in await clients(stack, server, 3):
                    assert [message async for message in ws] == ["hello"]
                    assert ws.close_code == 1000
                assert server.statistics().handler_failures == 0

    async def test_what_it_raises_closes_all_with_1011_and_is_logged_and_told_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        error = LookupError("a bug")
        told: list[tuple[WebSocket, Exception]] = []

        async def fail(connections: set[WebSocket]) -> None:
            raise error

        async def hook(ws: WebSocket, exc: Exception) -> None:
            told.append((ws, exc))

        lobby = aggregate(3, fail)
        async with open_server(lobby, "127.0.0.1", 0, on_handler_error=hook) as server:
            async with AsyncExitStack() as stack:
                for ws in await clients(stack, server, 3):
                    with pytest.raises(ConnectionClosedError):
                        await ws.receive()
                    assert ws.close_code == 1011
            assert server.statistics().handler_failures == 1
        assert [exc for _, exc in told] == [error]
        errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert [record.exc_info[1] for record in errors if record.exc_info] == [error]

    async def test_one_that_leaves_ends_a_handler_that_receives_from_it_and_is_no_error(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def handle(connections: set[WebSocket]) -> None:
            async with anyio.create_task_group() as tasks:
                for ws in connections:
                    await ws.send("begin")
                    tasks.start_soon(ws.receive)

        async with open_server(aggregate(3, handle), "127.0.0.1", 0) as server:
            for leaving in range(3):  # among them who runs the handler
                async with AsyncExitStack() as stack:
                    members = await clients(stack, server, 3)
                    for ws in members:
                        assert await ws.receive() == "begin"
                    await members.pop(leaving).aclose()
                    for ws in members:
                        with pytest.raises(ConnectionClosed):
                            await ws.receive()
                        assert ws.close_code == 1001
                        assert ws.close_reason == "another client has left"
            assert server.statistics().handler_failures == 0
        assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []

    async def test_the_end_of_another_connection_is_an_error_like_any_other(self) -> None:
        async def handle(connections: set[WebSocket]) -> None:
            async with open_websocket(other.url) as ws:
                await ws.receive()

        async def nothing(ws: WebSocket) -> None: ...

        async with open_server(nothing, "127.0.0.1", 0) as other:
            async with open_server(aggregate(2, handle), "127.0.0.1", 0) as server:
                async with AsyncExitStack() as stack:
                    for ws in await clients(stack, server, 2):
                        with pytest.raises(ConnectionClosedError):
                            await ws.receive()
                        assert ws.close_code == 1011
                assert server.statistics().handler_failures == 1

    async def test_a_key_that_raises_closes_its_client_and_leaves_nothing(self) -> None:
        def key(ws: WebSocket) -> str:
            raise LookupError

        async with open_server(lobby := aggregate(2, relay, key=key), "127.0.0.1", 0) as server:
            async with open_websocket(server.url) as ws:
                with pytest.raises(ConnectionClosedError):
                    await ws.receive()
                assert ws.close_code == 1011
            assert lobby.waiting == 0


class TestShuttingDown:
    async def test_those_who_wait_are_let_go_at_once_and_groups_have_their_grace(self) -> None:
        async def play(connections: set[WebSocket]) -> None:
            for ws in connections:
                await ws.send("begin")
            await next(iter(connections)).shutting_down
            for ws in connections:
                await ws.send("last words")

        async with open_server(lobby := aggregate(2, play), "127.0.0.1", 0) as server:
            async with AsyncExitStack() as stack:
                one, two, waiting = await clients(stack, server, 3)
                await until(lobby, 1)
                with anyio.fail_after(PATIENCE):
                    await server.shutdown(grace=3600)
                with pytest.raises(ConnectionClosedOK):
                    await waiting.receive()
                assert waiting.close_code == 1001
                for ws in (one, two):
                    assert [message async for message in ws] == ["begin", "last words"]
                    assert ws.close_code == 1000

    async def test_it_waits_for_nobody_who_could_not_come_any_more(self) -> None:
        async with open_server(lobby := aggregate(2, relay), "127.0.0.1", 0) as server:
            async with open_websocket(server.url):
                await until(lobby, 1)
                with anyio.fail_after(PATIENCE):
                    await server.shutdown(close_connections=False)

    async def test_without_grace_all_are_closed(self) -> None:
        async with open_server(lobby := aggregate(2, relay), "127.0.0.1", 0) as server:
            async with AsyncExitStack() as stack:
                members = await clients(stack, server, 3)
                await until(lobby, 1)
                with anyio.fail_after(PATIENCE):
                    await server.shutdown()
                for ws in members:
                    await ws.wait_closed()
                    assert ws.close_code == 1001

    async def test_a_server_that_is_cancelled_cancels_the_handler_and_those_who_wait(self) -> None:
        ended: list[str] = []

        async def play(connections: set[WebSocket]) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append("cancelled")

        async def serve(*, task_status: TaskStatus[WebSocketServer]) -> None:
            with scope:
                await serve_websocket(lobby, "127.0.0.1", 0, task_status=task_status)

        lobby = aggregate(2, play)
        scope = anyio.CancelScope()
        async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
            members = await clients(stack, await tasks.start(serve), 3)
            await until(lobby, 1)
            scope.cancel()
            with anyio.fail_after(PATIENCE):
                for ws in members:
                    await ws.wait_closed()
                    assert ws.close_code == 1001
            assert ended == ["cancelled"]
            assert lobby.waiting == 0


class TestCancellingOne:
    """Under an endpoint, each connection's task is somebody else's."""

    @pytest.mark.parametrize("which", [0, 1, 2])
    async def test_only_the_last_takes_the_handler_with_it(self, which: int) -> None:
        ended: list[str] = []

        async def play(connections: set[WebSocket]) -> None:
            for ws in connections:
                await ws.send("begin")
            try:
                async with anyio.create_task_group() as tasks:
                    for ws in connections:
                        tasks.start_soon(ws.wait_closed)
            except BaseException:
                ended.append("cancelled")
                raise
            ended.append("by itself")

        serve = endpoint(aggregate(3, play))
        scopes: list[anyio.CancelScope] = []

        async def connection(stream: ByteStream) -> None:
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await serve(stream)

        async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
            members = []
            for _ in range(3):
                near, far = memory_stream_pair()
                tasks.start_soon(connection, far)
                members.append(
                    await stack.enter_async_context(open_websocket("ws://x/", stream=near))
                )
            for ws in members:
                assert await ws.receive() == "begin"
            scopes[which].cancel()
            gone = members.pop(which)
            await gone.wait_closed()
            if which < 2:
                await settle()
                assert ended == []
                for ws in members:
                    assert ws.close_code is None
                    await ws.aclose()
                await settle()
                assert ended == ["by itself"]
            else:
                for ws in members:
                    await ws.wait_closed()
                    assert ws.close_code == 1001
                assert ended == ["cancelled"]

    async def test_one_that_waits_frees_its_place(self) -> None:
        lobby = aggregate(2, relay)
        serve = endpoint(lobby)

        async def connection(stream: ByteStream, scope: anyio.CancelScope) -> None:
            with scope:
                await serve(stream)

        async with anyio.create_task_group() as tasks, AsyncExitStack() as stack:
            scopes = [anyio.CancelScope() for _ in range(3)]
            members = []
            for scope in scopes:
                near, far = memory_stream_pair()
                tasks.start_soon(partial(connection, far, scope))
                members.append(
                    await stack.enter_async_context(open_websocket("ws://x/", stream=near))
                )
                if scope is scopes[0]:
                    await until(lobby, 1)
                    scope.cancel()
                    await until(lobby, 0)
            for ws in members[1:]:
                assert await ws.receive() == "begin"
