"""A WebSocket as trio's stream of bytes: `anyio_ws.trio_stream`."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import trio
import trio.testing

from anyio_ws import WebSocket, accept_websocket, open_server, open_websocket, trio_stream

from ..websocket.helpers import connected


def run(main: Callable[[AsyncExitStack], Awaitable[None]]) -> None:
    """Run *main*, with what takes its connections, on trio and within bounds."""

    async def bounded() -> None:
        with trio.fail_after(20):
            async with AsyncExitStack() as stack:
                await main(stack)

    trio.run(bounded)


def test_it_passes_trios_own_checks() -> None:
    async def main(stack: AsyncExitStack) -> None:
        async def pair() -> tuple[trio.abc.Stream, trio.abc.Stream]:
            one, other = await stack.enter_async_context(connected())
            return trio_stream(one), trio_stream(other)

        await trio.testing.check_two_way_stream(pair, None)

    run(main)


def test_one_that_can_be_half_closed_passes_them_too() -> None:
    async def main(stack: AsyncExitStack) -> None:
        async def pair() -> tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]:
            one, other = await stack.enter_async_context(connected())
            return trio_stream(one, half_close=True), trio_stream(other, half_close=True)

        await trio.testing.check_half_closeable_stream(pair, None)

    run(main)


def test_it_can_be_half_closed_only_by_agreement() -> None:
    async def main(stack: AsyncExitStack) -> None:
        one, other = await stack.enter_async_context(connected())
        assert not isinstance(trio_stream(one), trio.abc.HalfCloseableStream)
        assert not hasattr(trio_stream(other), "send_eof")

    run(main)


def test_options_are_those_of_the_other_stream() -> None:
    async def main(stack: AsyncExitStack) -> None:
        one, other = await stack.enter_async_context(connected())
        await trio_stream(one, max_message_size=2).send_all(b"abc")
        assert [await other.receive(), await other.receive()] == [b"ab", b"c"]
        with pytest.raises(ValueError, match="max_message_size"):
            trio_stream(one, max_message_size=0)

    run(main)


def test_trios_tls_runs_inside(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async def serve(ws: WebSocket) -> None:
        tls = trio.SSLStream(trio_stream(ws), server_ssl_context, server_side=True)
        async for chunk in tls:
            await tls.send_all(chunk.upper())
        await tls.aclose()

    async def main(stack: AsyncExitStack) -> None:
        server = await stack.enter_async_context(open_server(serve, "127.0.0.1", 0))
        ws = await stack.enter_async_context(open_websocket(server.url))
        tls = trio.SSLStream(trio_stream(ws), client_ssl_context, server_hostname="localhost")
        await tls.send_all(b"hello")
        assert await tls.receive_some() == b"HELLO"
        await tls.aclose()

    run(main)


def test_a_websocket_runs_inside() -> None:
    async def serve(ws: WebSocket) -> None:
        async with open_websocket("ws://inside.test/", stream=trio_stream(ws)) as inner:
            await inner.send("hello")
            await inner.wait_closed()

    async def main(stack: AsyncExitStack) -> None:
        server = await stack.enter_async_context(open_server(serve, "127.0.0.1", 0))
        ws = await stack.enter_async_context(open_websocket(server.url))
        async with accept_websocket(trio_stream(ws)) as inner:
            assert await inner.receive() == "hello"

    run(main)
