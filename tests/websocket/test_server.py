"""`open_server` and `serve_websocket`: starting, serving, shutting down.

Handlers that raise and clients that misbehave: ``tests/promises/test_p5_one_bad_client.py``.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Generator
from functools import partial
from typing import Any

import anyio
import pytest
import trio
from anyio.abc import ByteStream

from anyio_ws import (
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    InvalidStatus,
    ProtocolError,
    Request,
    ServerConfig,
    WebSocket,
    WebSocketServer,
    open_server,
    open_websocket,
    serve_websocket,
)

from .helpers import REQUEST, settle


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def check_echo(server: WebSocketServer) -> None:
    async with open_websocket(server.url) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


# -- starting


async def test_open_server_serves_while_in_the_block() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        assert server.port > 0
        assert server.addresses == [("127.0.0.1", server.port)]
        assert server.url == f"ws://127.0.0.1:{server.port}"
        await check_echo(server)
        await check_echo(server)
    with pytest.raises(ConnectError):
        await check_echo(server)


async def test_serve_websocket_starts_in_a_task_group_and_ends_with_it() -> None:
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(partial(serve_websocket, echo, "127.0.0.1", 0))
        assert isinstance(server, WebSocketServer)
        await check_echo(server)
        tasks.cancel_scope.cancel()


def test_serve_websocket_starts_in_a_plain_trio_nursery() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_websocket, echo, "127.0.0.1", 0))
            await check_echo(server)
            nursery.cancel_scope.cancel()

    trio.run(main)


async def test_serve_websocket_returns_after_shutdown() -> None:
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(partial(serve_websocket, echo, "127.0.0.1", 0))
        await server.shutdown()


@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", None, "localhost"])
async def test_the_url_is_one_that_a_client_here_can_connect_to(host: str | None) -> None:
    async with open_server(echo, host, 0) as server:
        assert {address[1] for address in server.addresses} == {server.port}
        await check_echo(server)


async def test_an_address_in_use_is_an_oserror_and_nothing_is_left() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        with pytest.raises(OSError, match="in use"):
            async with open_server(echo, "127.0.0.1", server.port):
                pass
        with pytest.raises(OSError, match="in use"):
            await serve_websocket(echo, "127.0.0.1", server.port)
        await check_echo(server)


async def test_bad_options_are_refused_before_listening() -> None:
    with pytest.raises(TypeError, match=r"'max_sise'.*'max_size'"):
        open_server(echo, "127.0.0.1", 0, max_sise=1)  # type: ignore[call-arg]  # the point
    with pytest.raises(TypeError, match="async function"):
        await serve_websocket("echo", "127.0.0.1", 0)  # type: ignore[arg-type]  # the point


async def test_options_can_be_given_as_a_config() -> None:
    config = ServerConfig(server_header="config", subprotocols=["chat"])
    async with open_server(echo, "127.0.0.1", 0, config=config, subprotocols=["echo"]) as server:
        async with open_websocket(server.url, subprotocols=["echo", "chat"]) as ws:
            assert ws.response.headers["Server"] == "config"
            assert ws.subprotocol == "echo"


async def test_the_server_header_can_be_left_out() -> None:
    async with open_server(echo, "127.0.0.1", 0, server_header=None) as server:
        async with open_websocket(server.url) as ws:
            assert "Server" not in ws.response.headers


# -- connections


async def test_connections_are_those_that_are_open() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        assert server.connections == frozenset()
        async with open_websocket(server.url) as one:
            async with open_websocket(server.url + "/x"):
                assert {ws.url for ws in await open_connections(server, 2)} == {"/", "/x"}
            (left,) = await open_connections(server, 1)
            assert left.url == "/"
            await left.send("from outside the handler")
            assert await one.receive() == "from outside the handler"
        await open_connections(server, 0)


async def open_connections(server: WebSocketServer, number: int) -> frozenset[WebSocket]:
    """Wait until the server has so many connections: it learns of them from the network."""
    with anyio.fail_after(10):
        while len(server.connections) != number:
            await anyio.lowlevel.checkpoint()
    return server.connections


async def test_a_connection_ends_with_its_handler() -> None:
    async def greet(ws: WebSocket) -> None:
        await ws.send("hello and goodbye")

    async with open_server(greet, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            assert [message async for message in ws] == ["hello and goodbye"]
            assert ws.close_code == 1000


async def test_many_clients_are_served_at_once() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(check_echo, server)


async def test_the_logger_can_be_given(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(ws: WebSocket) -> None:
        raise ValueError

    logger = logging.getLogger("mine")
    async with open_server(fail, "127.0.0.1", 0, logger=logger) as server:
        async with open_websocket(server.url) as ws:
            with pytest.raises(ConnectionClosedError):
                await ws.receive()
    assert {record.name for record in caplog.records} == {"mine"}


# -- shutting down


async def test_shutdown_says_goodbye_and_refuses_new_clients() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            await ws.receive()
            await server.shutdown(reason="back soon")
            assert [message async for message in ws] == []
            assert (ws.close_code, ws.close_reason) == (1001, "back soon")
            assert server.connections == frozenset()
            with pytest.raises(ConnectError):
                await check_echo(server)
            await server.shutdown()  # does nothing more


async def test_leaving_the_block_says_goodbye() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        context = open_websocket(server.url)
        ws = await context.__aenter__()
        await ws.send("hello")
        await ws.receive()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.shutdown)
            assert [message async for message in ws] == []
        assert ws.close_code == 1001
        await context.__aexit__(None, None, None)


async def test_shutdown_with_grace_lets_handlers_finish() -> None:
    release = anyio.Event()

    async def slow(ws: WebSocket) -> None:
        await ws.send("working")
        await release.wait()
        await ws.send("done")

    async with open_server(slow, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            assert await ws.receive() == "working"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(server.shutdown, grace=60))
                release.set()
                assert [message async for message in ws] == ["done"]
            assert ws.close_code == 1000


@pytest.mark.usefixtures("virtual_time")
async def test_shutdown_closes_connections_when_the_grace_is_over() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            await ws.receive()
            start = anyio.current_time()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(server.shutdown, grace=30, code=1012))
                with pytest.raises(ConnectionClosedError, match="1012"):
                    await ws.receive()
                assert anyio.current_time() - start == pytest.approx(30)


@pytest.mark.usefixtures("virtual_time")
async def test_shutdown_cancels_a_handler_that_goes_on_after_its_connection_was_closed() -> None:
    async def stubborn(ws: WebSocket) -> None:
        await ws.receive()
        await anyio.sleep_forever()

    async with open_server(stubborn, "127.0.0.1", 0, close_timeout=5) as server:
        async with open_websocket(server.url) as ws:
            await ws.send("go")
            await anyio.sleep(1)
            start = anyio.current_time()
            await server.shutdown()
            assert anyio.current_time() - start == pytest.approx(5)
            assert ws.close_code == 1001


@pytest.mark.parametrize("code", [999, 1006])
async def test_shutdown_with_a_code_that_cannot_be_sent_ends_nothing(code: int) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        with pytest.raises(ProtocolError, match=str(code)):
            await server.shutdown(code=code)
        with pytest.raises(ValueError, match="reason"):
            await server.shutdown(reason="x" * 124)
        await check_echo(server)


UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\n"


@pytest.mark.parametrize("sent", [b"", REQUEST[:30]], ids=["nothing", "half"])
async def test_shutdown_answers_handshakes_in_progress_with_503(sent: bytes) -> None:
    async with open_server(echo, "127.0.0.1", 0, open_timeout=None) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            if sent:
                await stream.send(sent)
            await check_echo(server)  # so the server has accepted the other one, too
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.shutdown)
                answer = await read_to_the_end(stream)
                head, _, body = answer.partition(b"\r\n\r\n")
                assert head.startswith(UNAVAILABLE)
                assert b"\r\nConnection: close\r\n" in head
                assert b"\r\nContent-Length: %d\r\n" % len(body) in head
                assert body == b"The server is shutting down.\n"
                await stream.aclose()  # or else shutting down takes close_timeout


async def read_to_the_end(stream: ByteStream) -> bytes:
    data = b""
    with anyio.fail_after(10):
        try:
            while True:
                data += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return data


async def test_a_client_of_ours_that_is_late_sees_the_503() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await check_echo(server)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.shutdown)
                with pytest.raises(InvalidStatus) as caught:
                    async with open_websocket(server.url, stream=stream):
                        pass
                assert caught.value.response.status_code == 503


async def test_a_client_that_stays_after_its_503_delays_shutdown_by_close_timeout_at_most() -> None:
    async with open_server(echo, "127.0.0.1", 0, close_timeout=0.05) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await check_echo(server)
            with anyio.fail_after(5):
                await server.shutdown()
            assert (await read_to_the_end(stream)).startswith(UNAVAILABLE)


async def test_shutdown_during_tls_tells_the_client_when_it_is_secured(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            async with open_websocket(server.url, ssl=client_ssl_context) as ws:
                await ws.ping()  # so the server has accepted the other one, too
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.shutdown)
                await settle()
                with pytest.raises(InvalidStatus) as caught:
                    async with open_websocket(server.url, stream=stream, ssl=client_ssl_context):
                        pass
                assert caught.value.response.status_code == 503


async def test_cancelling_shutdown_ends_everything_now() -> None:
    cancelled = anyio.Event()

    async def busy(ws: WebSocket) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async with open_server(busy, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            with anyio.move_on_after(0.05):
                await server.shutdown(grace=3600)
            with anyio.fail_after(5):
                await cancelled.wait()
                with pytest.raises(ConnectionClosed):
                    await ws.receive()


async def test_cancelling_serve_websocket_ends_everything_now() -> None:
    cancelled: list[str] = []

    async def busy(ws: WebSocket) -> None:
        await ws.send("ready")
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            cancelled.append(ws.url)
            raise

    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def serve(*, task_status: anyio.abc.TaskStatus[WebSocketServer]) -> None:
            with scope:
                await serve_websocket(busy, "127.0.0.1", 0, task_status=task_status)

        server = await tasks.start(serve)
        async with (
            open_websocket(server.url + "/1") as one,
            open_websocket(server.url + "/2") as two,
        ):
            assert [await one.receive(), await two.receive()] == ["ready", "ready"]
            scope.cancel()
            for ws in (one, two):
                with anyio.fail_after(5), pytest.raises(ConnectionClosed):
                    await ws.receive()
    assert sorted(cancelled) == ["/1", "/2"]


async def test_leaving_the_block_by_an_exception_ends_everything_now() -> None:
    async def busy(ws: WebSocket) -> None:
        await anyio.sleep_forever()

    error = ValueError("of the body")
    with anyio.fail_after(5), pytest.raises(ValueError, match="of the body") as caught:  # noqa: PT012  # a block
        async with open_server(busy, "127.0.0.1", 0, close_timeout=None) as server:
            async with open_websocket(server.url, close_timeout=0):
                raise error
    assert caught.value is error


def plain_handler(ws: WebSocket) -> None:
    """What forgets to be async."""


class Plain:
    """Which isn't its own instance."""

    async def __call__(self, ws: WebSocket) -> None: ...


class Fits:
    """What it makes can be awaited, as what an async function makes."""

    def __init__(self, ws: WebSocket) -> None:
        self._ws = ws

    def __await__(self) -> Generator[Any, Any, None]:
        return self._ws.send("hello").__await__()


class BadHook(Plain):
    def process_request(self, ws: WebSocket, request: Request) -> None: ...


@pytest.mark.parametrize(
    "handler",
    [plain_handler, partial(plain_handler), "handler", Plain, partial(Plain), BadHook()],
)
async def test_a_handler_that_is_no_async_function_is_refused_at_once(handler: object) -> None:
    with pytest.raises(TypeError, match="async function"):
        open_server(handler, "127.0.0.1", 0)  # type: ignore[arg-type]  # the mistake


@pytest.mark.parametrize("handler", [Plain(), partial(Plain()), Fits, partial(Fits)])
async def test_what_can_be_called_and_awaited_is_a_handler(handler: Any) -> None:
    async with open_server(handler, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            await ws.wait_closed()
            assert ws.close_code == 1000
