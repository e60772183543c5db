"""Connecting through squid, tinyproxy, microsocks and Dante, with passwords and without."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from anyio_ws import ProxyError, WebSocket, WebSocketServer, open_server, open_websocket
from anyio_ws.service import Handler

from .forward_proxies import Way
from .programs import PATIENCE, reserved_port
from .proxies import echo

HERE = ["127.0.0.1", "::1"]
"""A proxy that looks localhost up may take either."""


@pytest.fixture
def options(forward: Way, client_ssl_context: ssl.SSLContext) -> dict[str, Any]:
    """What a client is given for the proxy."""
    context = client_ssl_context if forward.scheme == "https" else None
    return {"proxy": forward.url(), "proxy_ssl": context}


@asynccontextmanager
async def serving(
    context: ssl.SSLContext | None = None, handler: Handler = echo
) -> AsyncIterator[WebSocketServer]:
    with anyio.fail_after(PATIENCE):
        async with open_server(handler, HERE, 0, ssl=context) as server:
            yield server


def schemes(forward: Way) -> list[str]:
    """How the proxy can be spoken to."""
    return ["socks5", "socks5h"] if forward.scheme == "socks5h" else [forward.scheme]


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_messages_of_every_kind_and_size_pass_both_ways(
    forward: Way,
    options: dict[str, Any],
    secure: bool,
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
) -> None:
    messages: list[str | bytes] = ["", "grüße", bytes(range(256)), "x" * 2**20, b"\xff" * 2**20]
    context = client_ssl_context if secure else None
    async with serving(server_ssl_context if secure else None) as server:
        url = f"{'wss' if secure else 'ws'}://localhost:{server.port}/"
        for scheme in schemes(forward):
            options["proxy"] = forward.url(scheme=scheme)
            async with open_websocket(url, ssl=context, compression=None, **options) as ws:
                for message in messages:
                    await ws.send(message)
                    assert await ws.receive() == message
                assert await ws.ping() > 0


async def test_dante_speaks_socks_4_too(forward: Way) -> None:
    if forward.name != "Dante":
        return
    async with serving() as server:
        url = f"ws://localhost:{server.port}/"
        async with open_websocket(url, proxy=forward.url(scheme="socks4")) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        with pytest.raises(ProxyError):  # names it doesn't: socks4a
            async with open_websocket(url, proxy=forward.url(scheme="socks4a")):
                pass


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_without_the_right_password_there_is_no_way_where_one_is_asked_for(
    forward: Way, options: dict[str, Any], password: str | None
) -> None:
    if not forward.asks:
        return
    options["proxy"] = forward.url(password)
    async with serving() as server:
        with pytest.raises(ProxyError) as caught:
            async with open_websocket(f"ws://localhost:{server.port}/", **options):
                pass
    assert f"{forward.scheme}://127.0.0.1:{forward.port} " in str(caught.value)
    assert "wrong" not in str(caught.value)
    response = caught.value.response
    if forward.scheme == "socks5h":
        assert response is None
        assert "authentication" in str(caught.value)
    else:
        assert response is not None
        # tinyproxy says 401, which is for servers
        assert response.status_code in ((401, 407) if "tinyproxy" in forward.name else (407,))
        assert response.body


async def test_a_server_that_is_not_there_is_an_error_of_the_proxy(
    forward: Way, options: dict[str, Any]
) -> None:
    with anyio.fail_after(PATIENCE), reserved_port() as port:
        with pytest.raises(ProxyError) as caught:
            async with open_websocket(f"ws://127.0.0.1:{port}/", **options):
                pass
    response = caught.value.response
    assert (response is None) == (forward.scheme == "socks5h")
    assert response is None or response.status_code >= 500


async def test_a_client_that_vanishes_is_gone_for_the_server_too(
    forward: Way, options: dict[str, Any]
) -> None:
    gone = anyio.Event()

    async def handle(ws: WebSocket) -> None:
        await ws.wait_closed()
        assert ws.close_code == 1006
        gone.set()

    async with serving(handler=handle) as server:
        async with open_websocket(f"ws://127.0.0.1:{server.port}/", **options) as ws:
            await anyio.aclose_forcefully(ws)
        await gone.wait()
