"""What a server counts: `WebSocketServer.statistics`, and a connection's own."""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Callable
from functools import partial

import anyio
import pytest
from anyio.abc import SocketAttribute

from anyio_ws import (
    ConnectionClosed,
    InvalidHandshake,
    Request,
    Response,
    ServerStatistics,
    WebSocket,
    WebSocketServer,
    endpoint,
    open_server,
    open_websocket,
)
from anyio_ws.sansio import Opcode
from anyio_ws.testing import RawFrame

from .helpers import REQUEST, connected, server_and_peer, settle


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def until(
    server: WebSocketServer, condition: Callable[[ServerStatistics], bool]
) -> ServerStatistics:
    """Wait until what *server* tells is so, and adds up."""
    with anyio.fail_after(10):
        while True:
            now = server.statistics()
            assert now.accepted == now.opening + sum(now.refused.values()) + now.opened
            assert now.opened == now.open + sum(now.closed.values())
            if condition(now):
                return now
            await anyio.lowlevel.checkpoint()


# -- messages and bytes


async def test_messages_of_all_kinds_are_counted_in_both_directions() -> None:
    async with connected() as (client, server):
        await client.send("text")
        await client.send(b"binary")
        await client.send(["in ", "three ", "fragments"])
        await client.send(bytes(2**20 - 1), compress=False)
        await client.send(b"x" * 2**15, compress=False)
        for _ in range(5):
            await server.receive()
        await client.ping()
        ours, theirs = client.statistics(), server.statistics()
        assert (ours.messages_sent, ours.messages_received) == (5, 0)
        assert (theirs.messages_sent, theirs.messages_received) == (0, 5)
        assert theirs.bytes_received == ours.bytes_sent > 2**20
        assert theirs.bytes_sent == ours.bytes_received > 100  # the opening handshake


async def test_a_message_is_counted_when_it_is_whole_and_received_or_not() -> None:
    async with server_and_peer(max_queue=10) as (ws, peer):
        await peer.send(RawFrame(Opcode.TEXT, b"a", fin=False))
        await settle()
        assert ws.statistics().messages_received == 0
        await peer.send(RawFrame(Opcode.CONT, b"b"), *[RawFrame(Opcode.TEXT, b"c")] * 4)
        await settle()
        assert ws.statistics().messages_received == 5
        async with ws.receive_fragments():
            pass


async def test_messages_that_are_dropped_are_counted() -> None:
    async with server_and_peer() as (ws, peer):
        async with ws.discard_incoming():
            await peer.send(
                RawFrame(Opcode.TEXT, b"a", fin=False),
                RawFrame(Opcode.CONT, b"b"),
                RawFrame(Opcode.BINARY, b"c"),
            )
            await settle()
            assert ws.statistics().messages_received == 2


async def test_a_message_that_could_not_be_sent_is_not_counted() -> None:
    async with server_and_peer() as (ws, _):
        await ws.send("sent")
        await ws.send_eof()
        with pytest.raises(ConnectionClosed):
            await ws.send("not sent")
        assert ws.statistics().messages_sent == 1


async def test_pings_are_no_messages() -> None:
    async with connected() as (client, server):
        await client.ping()
        await server.ping()
        async with client.events() as events:
            await server.send_ping(b"x")
            await events.receive()
        assert client.statistics().messages_received == client.statistics().messages_sent == 0


async def test_totals_have_the_connections_that_ended_and_those_that_are_open() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        for number in (1, 2):
            async with open_websocket(server.url) as ws:
                for _ in range(10):
                    await ws.send("x" * 100)
                    await ws.receive()
                during = server.statistics()
                assert (during.opened, during.open) == (number, 1)
                assert during.messages_received == during.messages_sent == 10 * number
                assert during.bytes_received >= 10 * number
            after = await until(server, lambda now: not now.open)
            assert after.messages_received == during.messages_received
            assert after.bytes_received >= during.bytes_received
            assert after.bytes_sent >= during.bytes_sent
        assert after.closed == {1000: 2}
        assert after.refused == {}
        assert after.accepted == 2


async def test_bytes_are_those_on_the_wire_with_tls(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        async with open_websocket(
            f"wss://localhost:{server.port}", ssl=client_ssl_context, compression=None
        ) as ws:
            await ws.send("hello")
            await ws.receive()
            now, here = server.statistics(), ws.statistics()
            assert now.bytes_received == here.bytes_sent > 500  # a ClientHello alone is that long
            assert now.messages_received == now.messages_sent == 1


# -- what became of connections


async def answer(request: Request) -> Response:
    return Response.text(200, "well\n")


async def refuse(ws: WebSocket, request: Request) -> Response | None:
    return Response.text(403, "no\n") if request.path == "/secret" else None


async def test_refusals_are_counted_by_status() -> None:
    async with open_server(
        echo, "127.0.0.1", 0, handle_http=answer, process_request=refuse
    ) as server:
        for _ in range(2):
            with pytest.raises(InvalidHandshake):
                async with open_websocket(server.url + "/secret"):
                    pass
        for request in (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", b"rubbish\r\n\r\n"):
            async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
                await tcp.send(request)
                await tcp.receive()
        now = await until(server, lambda now: not now.opening)
        assert now.refused == {403: 2, 200: 1, 400: 1}
        assert now.bytes_received > 0
        assert now.bytes_sent > 0
        assert (now.opened, now.closed) == (0, {})


async def test_who_leaves_during_the_handshake_is_disconnected() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
            await tcp.send(REQUEST[:-2])
            await until(server, lambda now: now.opening == 1)
        now = await until(server, lambda now: not now.opening)
        assert now.refused == {"disconnected": 1}


@pytest.mark.usefixtures("virtual_time")
async def test_who_is_silent_is_counted_by_what_was_answered(
    server_ssl_context: ssl.SSLContext,
) -> None:
    for context, cause in ((None, 408), (server_ssl_context, "timeout")):
        async with open_server(echo, "127.0.0.1", 0, ssl=context, open_timeout=5) as server:
            async with await anyio.connect_tcp("127.0.0.1", server.port):
                await anyio.sleep(6)
                assert server.statistics().refused == {cause: 1}


async def test_who_does_not_speak_tls_is_counted_as_that(
    server_ssl_context: ssl.SSLContext,
) -> None:
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as tcp:
            await tcp.send(REQUEST)
            now = await until(server, lambda now: bool(now.refused))
        assert now.refused == {"tls": 1}


async def test_a_hook_that_fails_is_counted_by_its_answer() -> None:
    async def fail(ws: WebSocket, request: Request) -> None:
        raise RuntimeError("a bug")

    async with open_server(echo, "127.0.0.1", 0, process_request=fail) as server:
        with pytest.raises(InvalidHandshake):
            async with open_websocket(server.url):
                pass
        assert (await until(server, lambda now: not now.opening)).refused == {500: 1}


async def test_connections_that_are_cancelled_add_up() -> None:
    async def wait(ws: WebSocket) -> None:
        await anyio.sleep_forever()

    serve = endpoint(wait)
    scope, done = anyio.CancelScope(), anyio.Event()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(SocketAttribute.local_port)

    async def listen() -> None:
        with scope:
            await listener.serve(serve)
        done.set()

    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        async with await anyio.connect_tcp("127.0.0.1", port) as one:
            await one.send(REQUEST)
            async with await anyio.connect_tcp("127.0.0.1", port) as other:
                await other.send(REQUEST[:10])
                while serve.statistics().bytes_received < len(REQUEST) + 10:
                    await anyio.lowlevel.checkpoint()
                scope.cancel()
                await done.wait()
    now = serve.statistics()
    assert (now.accepted, now.opening, now.open) == (2, 0, 0)
    assert now.refused == {503: 1}
    assert now.closed == {1006: 1}


async def test_closes_are_counted_by_the_code_received_and_failures_apart() -> None:
    async def handler(ws: WebSocket) -> None:
        if await ws.receive() == "fail":
            raise RuntimeError("a bug")
        await ws.wait_closed()

    async with open_server(handler, "127.0.0.1", 0) as server:
        for code in (1000, 4000, 4000):
            async with open_websocket(server.url) as ws:
                await ws.send("go on")
                await ws.aclose(code)
        async with open_websocket(server.url) as ws:
            await ws.send("fail")
            with pytest.raises(ConnectionClosed):
                await ws.receive()
        async with open_websocket(server.url) as ws:
            await ws.send("go on")
            await anyio.aclose_forcefully(ws)
        now = await until(server, lambda now: now.opened == 5 and not now.open)
        assert now.closed == {1000: 1, 4000: 2, 1011: 1, 1006: 1}
        assert now.handler_failures == 1


async def test_what_is_told_does_not_change_any_more() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        before = server.statistics()
        async with open_websocket(server.url):
            pass
        await until(server, lambda now: now.closed == {1000: 1})
        assert (before.accepted, before.closed) == (0, {})
        with pytest.raises(dataclasses.FrozenInstanceError):
            before.accepted = 1  # type: ignore[misc]  # that is the point
    assert server.statistics().closed == {1000: 1}


async def test_shutting_down_adds_up() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with open_websocket(server.url) as ws, anyio.create_task_group() as tasks:
            tasks.start_soon(partial(server.shutdown, code=1012))
            await ws.wait_closed()
        await server.wait_closed()
        assert server.statistics().closed == {1012: 1}
