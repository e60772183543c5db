"""`endpoint`: WebSockets on streams that somebody else accepts."""

from __future__ import annotations

import logging

import anyio
import anyio.abc
import pytest
import trio

from anyio_ws import (
    Endpoint,
    InvalidStatus,
    Request,
    Response,
    Router,
    WebSocket,
    endpoint,
    open_websocket,
)
from anyio_ws.testing import memory_stream_pair

from .helpers import settle

URL = "ws://example.org/"


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def check_echo(stream: anyio.abc.ByteStream | anyio.abc.SocketStream) -> None:
    async with open_websocket(URL, stream=stream) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


async def test_an_anyio_listener_serves_it() -> None:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    serve = endpoint(echo)
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        for _ in range(2):
            await check_echo(await anyio.connect_tcp("127.0.0.1", port))
        tasks.cancel_scope.cancel()
    assert serve.connections == frozenset()


def test_trio_serves_it() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            port = listener.socket.getsockname()[1]
            nursery.start_soon(trio.serve_listeners, endpoint(echo), [listener])
            async with open_websocket(f"ws://127.0.0.1:{port}/") as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
            nursery.cancel_scope.cancel()

    trio.run(main)


async def test_any_byte_stream_will_do() -> None:
    ours, theirs = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endpoint(echo), ours)
        await check_echo(theirs)


async def test_the_callers_own_arguments_come_first() -> None:
    async def greet(greeting: str, name: str, ws: WebSocket) -> None:
        await ws.send(f"{greeting} {name}")

    ours, theirs = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endpoint(greet), "hello", "Ada", ours)
        async with open_websocket(URL, stream=theirs) as ws:
            assert await ws.receive() == "hello Ada"


async def test_a_router_hands_the_callers_own_arguments_on() -> None:
    async def greet(greeting: str, ws: WebSocket, name: str) -> None:
        await ws.send(f"{greeting} {name}")

    router = Router()
    router.add("/people/{name}", greet)
    ours, theirs = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endpoint(router), "hello", ours)
        async with open_websocket("ws://example.org/people/Ada", stream=theirs) as ws:
            assert await ws.receive() == "hello Ada"


async def test_without_a_stream_it_can_not_be_called() -> None:
    with pytest.raises(TypeError, match="a stream"):
        await endpoint(echo)()


async def test_a_handler_that_fails_closes_its_own_connection_and_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(ws: WebSocket) -> None:
        raise ValueError("mine")

    ours, theirs = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endpoint(fail), ours)
        async with open_websocket(URL, stream=theirs) as ws:
            await ws.wait_closed()
            assert ws.close_code == 1011
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("anyio_ws.server", logging.ERROR)


async def test_what_a_handler_raises_comes_out_if_that_is_wanted() -> None:
    error = ValueError("mine")

    async def fail(ws: WebSocket) -> None:
        raise error

    raised: list[BaseException] = []

    async def serve(stream: anyio.abc.ByteStream) -> None:
        try:
            await endpoint(fail, on_handler_error="raise")(stream)
        except ValueError as exc:
            raised.append(exc)

    ours, theirs = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, ours)
        async with open_websocket(URL, stream=theirs) as ws:
            await ws.wait_closed()
    assert raised == [error]


async def test_it_knows_its_connections_and_shuts_them_down() -> None:
    told: list[bool] = []

    async def stay(ws: WebSocket) -> None:
        await ws.shutting_down
        told.append(bool(ws.shutting_down))
        await ws.wait_closed()

    serve = endpoint(stay)
    assert isinstance(serve, Endpoint)
    ours, theirs = memory_stream_pair()
    later, late = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve, ours)
        async with open_websocket(URL, stream=theirs) as ws:
            (other,) = serve.connections
            assert other.url == "/"
            assert not other.shutting_down
            tasks.start_soon(serve.shutdown)
            await ws.wait_closed()
            assert ws.close_code == 1001
        tasks.start_soon(serve, later)
        with pytest.raises(InvalidStatus) as caught:
            async with open_websocket(URL, stream=late):
                pass
        assert caught.value.response.status_code == 503
    assert told == [True]


async def test_cancelling_it_ends_its_connection_now() -> None:
    ended: list[str] = []

    async def stay(ws: WebSocket) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(ws.url)

    ours, theirs = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endpoint(stay), ours)
        async with open_websocket(URL, stream=theirs) as ws:
            await settle()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True), anyio.fail_after(5):
                await ws.wait_closed()
    assert ended == ["/"]


async def test_hooks_are_asked() -> None:
    async def refuse(ws: WebSocket, request: Request) -> Response:
        return Response.text(403, "no\n")

    ours, theirs = memory_stream_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(endpoint(echo, process_request=refuse), ours)
        with pytest.raises(InvalidStatus) as caught:
            async with open_websocket(URL, stream=theirs):
                pass
        assert caught.value.response.body == b"no\n"


async def test_what_makes_no_sense_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="async function"):
        endpoint("echo")  # type: ignore[arg-type]  # the mistake
    with pytest.raises(TypeError, match="max_size"):
        endpoint(echo, max_sise=1)  # type: ignore[call-arg]  # the mistake
