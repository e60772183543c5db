"""What monitors and load balancers ask on a raw socket, as old and as short as that may be."""

from __future__ import annotations

import logging

import anyio
import pytest

from anyio_ws import Request, Response, WebSocket, WebSocketServer, open_server

from .programs import PATIENCE


async def handler(ws: WebSocket) -> None:
    raise AssertionError("nobody asked for a WebSocket")


async def health(ws: WebSocket, request: Request) -> Response | None:
    return Response.text(200, "fine\n")


async def ask(server: WebSocketServer, request: bytes) -> bytes:
    """What is answered to *request*, until the server ends the connection."""
    answer = b""
    with anyio.fail_after(PATIENCE):
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(request)
            async for chunk in stream:
                answer += chunk
    return answer


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET /health HTTP/1.0\r\n\r\n",
        b"GET /health HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: keep-alive\r\n\r\n",
        b"OPTIONS / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\nUser-Agent: a script\n\n",
        b"GET http://feed.internal/health HTTP/1.1\r\nHost: feed.internal\r\n\r\n",
    ],
    ids=["no Host", "wants to stay", "OPTIONS", "bare line feeds", "absolute"],
)
async def test_an_old_probe_is_answered_and_the_connection_ended(request_head: bytes) -> None:
    async with open_server(handler, "127.0.0.1", 0, process_request=health) as server:
        answer = await ask(server, request_head)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close" in head
    assert body == b"fine\n"


async def test_a_head_of_http_1_0_has_no_body() -> None:
    async with open_server(handler, "127.0.0.1", 0, process_request=health) as server:
        answer = await ask(server, b"HEAD /health HTTP/1.0\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_without_a_hook_an_old_probe_is_told_that_it_is_too_old() -> None:
    async with open_server(handler, "127.0.0.1", 0) as server:
        assert (await ask(server, b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize(
    "garbage", [b"", b"\x16\x03\x01\x02\x00\x01\x00", b"PROXY TCP4 1 2 3 4\r\n"]
)
async def test_a_probe_that_only_connects_or_sends_garbage_is_no_more_than_a_quiet_line(
    garbage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "anyio_ws")
    async with open_server(handler, "127.0.0.1", 0) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            if garbage:
                await stream.send(garbage)
            await stream.send_eof()
            with anyio.fail_after(PATIENCE):
                async for _ in stream:
                    pass
    assert [record.levelno for record in caplog.records] == [logging.INFO]
