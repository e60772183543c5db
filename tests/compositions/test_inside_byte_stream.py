"""What runs inside `byte_stream`: TLS, HTTP, and other WebSockets."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import anyio
import h11
import pytest
import trustme
from anyio.abc import ByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from anyio_ws import (
    ConnectError,
    WebSocket,
    accept_websocket,
    byte_stream,
    endpoint,
    open_server,
    open_websocket,
)

PATIENCE = 10

AMOUNT = 2**20


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


@asynccontextmanager
async def tunnel(
    serve: Callable[[ByteStream], Awaitable[None]],
    *,
    server_ssl: ssl.SSLContext | None = None,
    client_ssl: ssl.SSLContext | None = None,
) -> AsyncIterator[ByteStream]:
    """The stream of a client, while *serve* has that of the server."""

    async def handler(ws: WebSocket) -> None:
        await serve(byte_stream(ws))

    with anyio.fail_after(PATIENCE):
        async with (
            open_server(handler, "127.0.0.1", 0, ssl=server_ssl) as server,
            open_websocket(server.url, ssl=client_ssl) as ws,
        ):
            yield byte_stream(ws)


class TestTLS:
    async def test_it_is_spoken_end_to_end(
        self, server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
    ) -> None:
        ended: list[type[BaseException]] = []

        async def serve(stream: ByteStream) -> None:
            tls = await TLSStream.wrap(stream, server_side=True, ssl_context=server_ssl_context)
            try:
                while True:
                    await tls.send((await tls.receive()).upper())
            except anyio.EndOfStream as exc:
                ended.append(type(exc))
            await tls.aclose()

        async with tunnel(serve) as stream:
            tls = await TLSStream.wrap(stream, hostname="localhost", ssl_context=client_ssl_context)
            await tls.send(b"hello")
            assert await tls.receive() == b"HELLO"
            assert tls.extra(TLSAttribute.tls_version) == "TLSv1.3"
            await tls.aclose()
        assert ended == [anyio.EndOfStream]

    async def test_a_large_amount_goes_both_ways_at_once(
        self, server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
    ) -> None:
        data = bytes(range(256)) * (AMOUNT // 256)

        async def serve(stream: ByteStream) -> None:
            tls = await TLSStream.wrap(stream, server_side=True, ssl_context=server_ssl_context)
            left = AMOUNT
            while left:
                chunk = await tls.receive()
                left -= len(chunk)
                await tls.send(chunk)
            await tls.aclose()

        async with tunnel(serve) as stream:
            tls = await TLSStream.wrap(stream, hostname="localhost", ssl_context=client_ssl_context)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tls.send, data)
                assert b"".join([chunk async for chunk in tls]) == data

    async def test_a_cut_of_the_connection_is_no_end_of_tls(
        self, server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
    ) -> None:
        async def serve(stream: ByteStream) -> None:
            tls = await TLSStream.wrap(stream, server_side=True, ssl_context=server_ssl_context)
            await tls.send(b"a half")
            await stream.aclose()  # and not that of TLS

        async with tunnel(serve) as stream:
            tls = await TLSStream.wrap(stream, hostname="localhost", ssl_context=client_ssl_context)
            assert await tls.receive() == b"a half"
            with pytest.raises(anyio.BrokenResourceError):
                await tls.receive()


async def receive_events(stream: ByteStream, connection: h11.Connection) -> list[h11.Event]:
    """Receive a whole request or response; or the end of the stream in place of one."""
    events: list[h11.Event] = []
    while not (events and isinstance(events[-1], h11.EndOfMessage | h11.ConnectionClosed)):
        event = connection.next_event()
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await stream.receive())
            except anyio.EndOfStream:
                connection.receive_data(b"")
        else:
            assert isinstance(event, h11.Event)
            events.append(event)
    return events


async def send_events(stream: ByteStream, connection: h11.Connection, *events: h11.Event) -> None:
    await stream.send(b"".join(connection.send(event) or b"" for event in events))


async def serve_http(stream: ByteStream, headers: list[tuple[str, str]], body: bytes) -> None:
    """Answer GET with *body* as long as requests come, or one may."""
    connection = h11.Connection(h11.SERVER)
    async with stream:
        while isinstance((await receive_events(stream, connection))[0], h11.Request):
            response = h11.Response(status_code=200, headers=headers)
            await send_events(stream, connection, response, h11.Data(body), h11.EndOfMessage())
            if connection.our_state is not h11.DONE:
                break
            connection.start_next_cycle()


class TestHTTP:
    BODY = bytes(range(256)) * 1000

    async def get(self, stream: ByteStream, connection: h11.Connection) -> bytes:
        request = h11.Request(method="GET", target="/", headers=[("Host", "inside.test")])
        await send_events(stream, connection, request, h11.EndOfMessage())
        response, *data, _ = await receive_events(stream, connection)
        assert isinstance(response, h11.Response)
        assert response.status_code == 200
        return b"".join(one.data for one in data if isinstance(one, h11.Data))

    async def test_requests_are_answered_one_after_the_other(self) -> None:
        length = [("Content-Length", str(len(self.BODY)))]
        async with tunnel(partial(serve_http, headers=length, body=self.BODY)) as stream:
            connection = h11.Connection(h11.CLIENT)
            assert await self.get(stream, connection) == self.BODY
            connection.start_next_cycle()
            assert await self.get(stream, connection) == self.BODY

    async def test_a_response_may_end_with_the_stream(self) -> None:
        async with tunnel(partial(serve_http, headers=[], body=self.BODY)) as stream:
            await stream.send(b"GET / HTTP/1.0\r\n\r\n")
            response = b"".join([chunk async for chunk in stream])
            head, _, body = response.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            assert body == self.BODY


class TestWebSocket:
    async def test_one_runs_inside_another(self) -> None:
        async with tunnel(endpoint(echo)) as stream:
            async with open_websocket("ws://inside.test/", stream=stream) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
                await ws.send(bytes(AMOUNT))
                assert await ws.receive() == bytes(AMOUNT)
            assert ws.close_code == 1000
            with pytest.raises(anyio.ClosedResourceError):
                await stream.send(b"x")

    async def test_three_deep(self) -> None:
        async def deeper(ws: WebSocket) -> None:
            await endpoint(echo)(byte_stream(ws))

        async with (
            tunnel(endpoint(deeper)) as stream,
            open_websocket("ws://inside.test/", stream=stream) as middle,
            open_websocket("ws://further.test/", stream=byte_stream(middle)) as ws,
        ):
            await ws.send("hello")
            assert await ws.receive() == "hello"
        assert (middle.close_code, ws.close_code) == (1000, 1000)

    async def test_tls_below_is_not_taken_for_that_of_the_one_inside(
        self, server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
    ) -> None:
        inner_ca = trustme.CA()
        inner_server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        inside = inner_ca.issue_cert("inside.test")
        inside.configure_cert(inner_server)
        inner_client = ssl.create_default_context()
        inner_ca.configure_trust(inner_client)

        async def serve(stream: ByteStream) -> None:
            async with accept_websocket(stream, ssl=inner_server) as ws:
                await echo(ws)

        async with (
            tunnel(serve, server_ssl=server_ssl_context, client_ssl=client_ssl_context) as stream,
            open_websocket("wss://inside.test/", stream=stream, ssl=inner_client) as ws,
        ):
            certificate = ws.extra(TLSAttribute.peer_certificate_binary)
            assert certificate == ssl.PEM_cert_to_DER_cert(
                inside.cert_chain_pems[0].bytes().decode()
            )
            await ws.send("hello")
            assert await ws.receive() == "hello"

    async def test_the_certificate_inside_is_checked(
        self, server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
    ) -> None:
        async def serve(stream: ByteStream) -> None:
            await endpoint(echo, ssl=server_ssl_context)(stream)

        async with tunnel(
            serve, server_ssl=server_ssl_context, client_ssl=client_ssl_context
        ) as stream:
            with pytest.raises(ConnectError, match="certificate verify failed"):
                async with open_websocket(
                    "wss://inside.test/", stream=stream, ssl=client_ssl_context
                ):
                    pass
