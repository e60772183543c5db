"""Shutting a server down: what handlers are told, how closing is spread, what is bounded.

And what bounds a server otherwise. See `test_server`, too.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from functools import partial

import anyio
import pytest
import trustme

from anyio_ws import (
    ConnectionClosed,
    ConnectionClosedOK,
    InvalidStatus,
    ServerConfig,
    WebSocket,
    WebSocketServer,
    endpoint,
    open_server,
    open_websocket,
)
from anyio_ws.service import Service

from .helpers import settle


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def test_handlers_are_told_and_may_finish_by_themselves() -> None:
    async def work(ws: WebSocket) -> None:
        await ws.send("working")
        await ws.shutting_down
        await ws.send("finished")

    async with open_server(work, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            assert await ws.receive() == "working"
            assert not ws.shutting_down
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(server.shutdown, grace=60))
                assert [message async for message in ws] == ["finished"]
            assert ws.close_code == 1000


async def receive(ws: WebSocket) -> None:
    with pytest.raises(ConnectionClosedOK):
        await ws.receive()


async def wait(ws: WebSocket) -> None:
    await ws.wait_closed()


@pytest.mark.parametrize("awaits", [receive, wait, echo])
async def test_a_handler_that_awaits_its_connection_is_told_at_once(
    awaits: Callable[[WebSocket], Awaitable[None]],
) -> None:
    told: list[int | None] = []

    async def handle(ws: WebSocket) -> None:
        await ws.send("here")
        await awaits(ws)
        told.append(ws.close_code)

    async with open_server(handle, "127.0.0.1", 0, close_timeout=None) as server:
        async with open_websocket(server.url) as ws:
            assert await ws.receive() == "here"
            with anyio.fail_after(10):
                await server.shutdown()
            assert told == [1001]


async def test_a_client_is_never_told() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            with anyio.move_on_after(0.01) as scope:
                await ws.shutting_down
            assert scope.cancelled_caught
            assert not ws.shutting_down


@pytest.mark.usefixtures("virtual_time")
async def test_closing_is_spread_over_the_stagger() -> None:
    closed: list[float] = []

    async def client(server: WebSocketServer) -> None:
        async with open_websocket(server.url) as ws:
            await ws.wait_closed()
            closed.append(anyio.current_time() - start)
            assert ws.close_code == 1012

    async with open_server(echo, "127.0.0.1", 0) as server, anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(client, server)
        while len(server.connections) < 4:
            await settle()
        start = anyio.current_time()
        await server.shutdown(code=1012, stagger=20)
        assert anyio.current_time() - start == pytest.approx(15)
    assert closed == pytest.approx([0, 5, 10, 15])


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(
    ("how", "seconds"),
    [
        # The grace; the closing handshakes, the last of which begins after 2 seconds; the handlers.
        ("shutting down", 10 + 2 + 5 + 5),
        ("leaving", 5 + 5),
        ("an exception", 0),
        ("cancelling", 0),
        ("cancelling shutdown", 3),
    ],
)
async def test_every_way_of_ending_is_bounded_whatever_handlers_and_clients_do(
    how: str, seconds: float
) -> None:
    async def stubborn(ws: WebSocket) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(anyio.current_time() - start)

    ended: list[float] = []
    start = 0.0
    async with AsyncExitStack() as clients:
        with anyio.CancelScope() as scope, suppress(ZeroDivisionError):
            async with open_server(
                stubborn, "127.0.0.1", 0, close_timeout=5, ping_interval=None
            ) as server:
                for request in UPGRADE, UPGRADE, UPGRADE, UPGRADE[:20]:
                    stream = await anyio.connect_tcp("127.0.0.1", server.port)
                    await clients.enter_async_context(stream)  # which never answers, nor hangs up
                    await stream.send(request)
                while len(server.connections) < 3:
                    await settle()
                start = anyio.current_time()
                if how == "shutting down":
                    await server.shutdown(grace=10, stagger=3)
                elif how == "cancelling shutdown":
                    with anyio.move_on_after(3):
                        await server.shutdown(grace=60)
                elif how == "an exception":
                    raise ZeroDivisionError
                elif how == "cancelling":
                    scope.cancel()
                    await anyio.sleep_forever()
        assert anyio.current_time() - start == pytest.approx(seconds)
        assert ended == pytest.approx([seconds] * 3)


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def test_connections_may_be_left_to_their_handlers() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws:
            await ws.send("before")
            assert await ws.receive() == "before"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(server.shutdown, close_connections=False))
                await settle()
                with pytest.raises(OSError, match="refused"):
                    async with open_websocket(server.url):
                        pass
                await ws.send("after")
                assert await ws.receive() == "after"
                await ws.aclose()
        assert server.connections == frozenset()


async def test_a_connection_that_was_accepted_and_not_looked_at_yet_is_waited_for() -> None:
    service = Service(echo, ServerConfig())
    ours, theirs = socket.socketpair()
    with theirs:
        opening = service.begin(ours)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(service.shut_down, None, 1001, "", 0, close_connections=False))
            await settle()
            assert len(tasks_of_this_test()) > 1
            tasks.start_soon(service.serve, opening)
            await settle()
            assert theirs.recv(1000).startswith(b"HTTP/1.1 503 ")
            theirs.close()


def tasks_of_this_test() -> list[anyio.TaskInfo]:
    here = anyio.get_current_task().id
    return [task for task in anyio.get_running_tasks() if here in (task.id, task.parent_id)]


async def test_wait_closed_ends_with_the_last_handler() -> None:
    log: list[str] = []

    async def handle(ws: WebSocket) -> None:
        try:
            await echo(ws)
        finally:
            log.append("handler")

    async with anyio.create_task_group() as tasks:

        async def watch(server: WebSocketServer) -> None:
            await server.wait_closed()
            log.append("closed")

        async with open_server(handle, "127.0.0.1", 0) as server:
            tasks.start_soon(watch, server)
            async with open_websocket(server.url) as ws:
                await ws.send("x")
                await ws.receive()
                await server.shutdown()
                with pytest.raises(ConnectionClosed):
                    await ws.receive()
        await server.wait_closed()
    assert log == ["handler", "closed"]


@pytest.mark.parametrize("name", ["grace", "stagger"])
@pytest.mark.parametrize("seconds", [-1, float("nan")])
async def test_seconds_that_make_no_sense_end_nothing(name: str, seconds: float) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        with pytest.raises(ValueError, match=name):
            await server.shutdown(**{name: seconds})  # type: ignore[arg-type]  # seconds
        async with open_websocket(server.url) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"


# -- how many


async def test_beyond_max_connections_is_503_until_one_has_ended() -> None:
    async with open_server(echo, "127.0.0.1", 0, max_connections=2) as server:
        async with open_websocket(server.url):
            async with open_websocket(server.url):
                with pytest.raises(InvalidStatus) as caught:
                    async with open_websocket(server.url):
                        pass
                response = caught.value.response
                assert response.status_code == 503
                assert response.headers["Retry-After"] == "1"
                assert b"as many connections" in response.body
            with anyio.fail_after(10):
                while len(server.connections) > 1:
                    await settle()
            async with open_websocket(server.url) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"


async def test_beyond_max_handshakes_clients_wait_to_be_accepted() -> None:
    async with open_server(echo, "127.0.0.1", 0, max_handshakes=2) as server:
        async with AsyncExitStack() as stack:
            slow = [await anyio.connect_tcp("127.0.0.1", server.port) for _ in range(2)]
            for stream in slow:
                await stack.enter_async_context(stream)
            opened: list[str] = []

            async def client() -> None:
                async with open_websocket(server.url) as ws:
                    await ws.send("hello")
                    opened.append(str(await ws.receive()))

            async with anyio.create_task_group() as tasks:
                while server.statistics().opening < 2:
                    await settle()
                tasks.start_soon(client)
                for _ in range(10):
                    await settle()
                assert server.statistics().accepted == 2
                assert opened == []
                await slow[0].aclose()
            assert opened == ["hello"]


@pytest.mark.parametrize("name", ["max_connections", "max_handshakes"])
async def test_a_server_for_nobody_is_a_value_error(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        open_server(echo, "127.0.0.1", 0, **{name: 0})  # type: ignore[arg-type]  # a number


# -- listening


async def test_the_listening_sockets_are_there_to_be_looked_at() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        (listener,) = server.listeners
        assert listener.getsockname() == ("127.0.0.1", server.port)
    assert listener.fileno() == -1


async def test_a_server_may_listen_on_several_addresses_by_one_port() -> None:
    async with open_server(echo, ["127.0.0.1", "127.0.0.2"], 0) as server:
        assert server.addresses == [("127.0.0.1", server.port), ("127.0.0.2", server.port)]
        for host in "127.0.0.1", "127.0.0.2":
            async with open_websocket(f"ws://{host}:{server.port}") as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"


async def test_of_several_addresses_all_or_none_are_listened_on() -> None:
    async with open_server(echo, "127.0.0.2", 0) as server:
        with pytest.raises(OSError, match="in use"):
            async with open_server(echo, ["127.0.0.1", "127.0.0.2"], server.port):
                pass
        async with open_server(echo, "127.0.0.1", server.port):
            pass
    with pytest.raises(ValueError, match="no host"):
        async with open_server(echo, [], 0):
            pass


async def test_a_tls_context_that_cannot_serve_is_refused_at_once(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    with pytest.raises(ValueError, match="context for servers"):
        async with open_server(echo, "127.0.0.1", 0, ssl=client_ssl_context):
            pass
    bare = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with pytest.raises(ValueError, match="no certificate"):
        async with open_server(echo, "127.0.0.1", 0, ssl=bare):
            pass
    strict = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    strict.verify_mode = ssl.CERT_REQUIRED
    with pytest.raises(ValueError, match="no certificate"):
        endpoint(echo, ssl=strict)


async def test_a_tls_context_that_wants_certificates_or_chooses_by_name_can_serve(
    ca: trustme.CA, client_ssl_context: ssl.SSLContext
) -> None:
    chosen = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert("localhost").configure_cert(chosen)

    def choose(tls: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        assert name == "localhost"
        tls.context = chosen

    by_name = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    by_name.sni_callback = choose
    async with open_server(echo, "localhost", 0, ssl=by_name) as server:
        async with open_websocket(server.url, ssl=client_ssl_context) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
    chosen.verify_mode = ssl.CERT_REQUIRED
    async with open_server(echo, "localhost", 0, ssl=chosen):
        pass
