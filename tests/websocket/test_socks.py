"""`open_websocket` through SOCKS proxies, done well and badly."""

from __future__ import annotations

import re
import socket
import ssl
import struct
import sys
from typing import Any

import anyio
import pytest
from anyio.abc import ByteStream, SocketAttribute

from anyio_ws import ConnectError, ProxyError, WebSocket, open_server, open_websocket
from anyio_ws.testing import cancel_sweep

from .forward import (
    ACCEPTED_4,
    ACCEPTED_5,
    REFUSED_4,
    SOCKS_5,
    SOCKS_5_AUTH,
    ForwardProxy,
    forward_proxy,
    socks_proxy,
    socks_replies,
)

SCHEMES = ["socks4", "socks4a", "socks5", "socks5h"]
VERSIONS = ["socks4a", "socks5h"]


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def check_echo(ws: WebSocket) -> None:
    for message in ("hello", b"", "x" * 300_000, bytes(300_000)):
        await ws.send(message)
        assert await ws.receive() == message


async def failure(url: str, **options: Any) -> Exception:
    """What opening a connection raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the caller looks
        async with open_websocket(url, **options):
            pass
    return caught.value


async def refused_by(scheme: str, *replies: bytes, user: str = "", cut: int | None = None) -> str:
    """What is said when a proxy gives these replies, and then closes."""
    async with forward_proxy(socks_replies(*replies, cut=cut, tunnel=False)) as proxy:
        exc = await failure("ws://far.example/", proxy=proxy.url(scheme, user=user))
    assert type(exc) is ProxyError
    assert exc.response is None
    assert exc.__cause__ is not None
    assert re.match(rf"the proxy {scheme}://127\.0\.0\.1:{proxy.port} ", str(exc))
    return str(exc)


# -- what works


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_messages_pass_with_tls_and_without(
    scheme: str,
    secure: bool,
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
) -> None:
    async with (
        open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context if secure else None) as server,
        socks_proxy(scheme) as proxy,
        open_websocket(
            server.url, ssl=client_ssl_context if secure else None, proxy=proxy.url(scheme)
        ) as ws,
    ):
        await check_echo(ws)
        assert proxy.targets == [("127.0.0.1", server.port)]
        assert ws.extra(SocketAttribute.remote_port) == proxy.port
        raw = ws.extra(SocketAttribute.raw_socket)
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("scheme", "asked"),
    [
        ("socks4", "127.0.0.1"),
        ("socks4a", "localhost"),
        ("socks5", "127.0.0.1"),
        ("socks5h", "localhost"),
    ],
)
async def test_the_scheme_says_who_looks_names_up(scheme: str, asked: str) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server, socks_proxy(scheme) as proxy:
        async with open_websocket(f"ws://localhost:{server.port}/", proxy=proxy.url(scheme)) as ws:
            await check_echo(ws)
    assert proxy.targets == [(asked, server.port)]


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
async def test_an_address_of_ipv6_is_asked_for_as_one(scheme: str) -> None:
    async with open_server(echo, "::1", 0) as server, socks_proxy(scheme) as proxy:
        async with open_websocket(f"ws://[::1]:{server.port}/", proxy=proxy.url(scheme)) as ws:
            await check_echo(ws)
    assert proxy.targets == [("::1", server.port)]
    assert proxy.heard[-1][3] == 4


@pytest.mark.parametrize("cut", [None, 1])
async def test_user_name_and_password_are_told_to_a_proxy_of_socks5_that_asks(
    cut: int | None,
) -> None:
    script = socks_replies(*SOCKS_5_AUTH, cut=cut)
    async with open_server(echo, "127.0.0.1", 0) as server, forward_proxy(script) as proxy:
        url = proxy.url("socks5h", user="ada:love%40lace")
        async with open_websocket(server.url, proxy=url) as ws:
            await check_echo(ws)
    assert proxy.heard[:2] == [b"\5\2\0\2", b"\1\3ada\tlove@lace"]


async def test_the_user_name_is_told_to_a_proxy_of_socks4() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server, socks_proxy("socks4") as proxy:
        async with open_websocket(server.url, proxy=proxy.url("socks4", user="ada")) as ws:
            await check_echo(ws)
    assert proxy.heard[0][8:] == b"ada\0"


@pytest.mark.parametrize(
    "bound", [b"\1" + bytes(4), b"\4" + bytes(16), b"\3\7example"], ids=["IPv4", "IPv6", "name"]
)
@pytest.mark.parametrize("cut", [None, 1])
async def test_no_byte_is_lost_behind_a_reply_of_any_length(bound: bytes, cut: int | None) -> None:
    script = socks_replies(b"\5\0", b"\5\0\0" + bound + b"\0\0", cut=cut)
    async with open_server(echo, "127.0.0.1", 0) as server, forward_proxy(script) as proxy:
        async with open_websocket(server.url, proxy=proxy.url("socks5h")) as ws:
            await check_echo(ws)


async def test_the_connection_to_the_proxy_comes_from_the_local_address() -> None:
    peers: list[str] = []

    async def script(proxy: ForwardProxy, stream: ByteStream) -> None:
        peers.append(stream.extra(SocketAttribute.remote_address)[0])
        await socks_replies(*SOCKS_5)(proxy, stream)

    async with open_server(echo, "127.0.0.1", 0) as server, forward_proxy(script) as proxy:
        async with open_websocket(
            server.url, proxy=proxy.url("socks5h"), local_address=("127.0.0.2", 0)
        ) as ws:
            await check_echo(ws)
    assert peers == ["127.0.0.2"]


# -- what doesn't


@pytest.mark.parametrize("cut", [None, 1])
async def test_a_refusal_is_a_proxy_error_that_says_why(cut: int | None) -> None:
    assert "rejected or failed" in await refused_by("socks4a", REFUSED_4, cut=cut)
    for code, said in ((2, "not allowed by ruleset"), (4, "Host unreachable"), (5, "refused")):
        reply = b"\5" + bytes([code]) + ACCEPTED_5[2:]
        assert said in await refused_by("socks5h", b"\5\0", reply, cut=cut)


async def test_a_wrong_password_is_a_proxy_error_without_the_password() -> None:
    said = await refused_by("socks5h", b"\5\2", b"\1\1", user="ada:l0velace")
    assert "authentication failure" in said
    assert "l0velace" not in said


async def test_a_proxy_that_wants_a_password_where_none_is_given_is_a_proxy_error() -> None:
    assert "No acceptable authentication" in await refused_by("socks5h", b"\5\xff")


@pytest.mark.parametrize(
    ("scheme", "replies"),
    [
        ("socks4a", (b"HTTP/1.1 400 Bad Request\r\n\r\n",)),
        ("socks4a", (b"\0\x99" + bytes(6),)),
        ("socks5h", (b"HTTP/1.1 400 Bad Request\r\n\r\n",)),
        ("socks5h", (b"\5\2",)),  # not what was offered
        ("socks5h", (b"\5\7",)),
        ("socks5h", (b"\4\0",)),
        ("socks5h", (b"\5\0", b"\4\0\0\1" + bytes(6))),
        ("socks5h", (b"\5\0", b"\5\x63\0\1" + bytes(6))),
        ("socks5h", (b"\5\0", b"\5\0\1\1" + bytes(6))),
        ("socks5h", (b"\5\0", b"\5\0\0\7" + bytes(6))),
    ],
)
@pytest.mark.parametrize("cut", [None, 1])
async def test_what_is_no_reply_is_a_proxy_error(
    scheme: str, replies: tuple[bytes, ...], cut: int | None
) -> None:
    assert await refused_by(scheme, *replies, cut=cut)


@pytest.mark.parametrize(
    ("scheme", "replies"),
    [
        ("socks4a", (b"",)),
        ("socks4a", (ACCEPTED_4[:-1],)),
        ("socks5h", (b"",)),
        ("socks5h", (b"\5",)),
        ("socks5h", (b"\5\0", b"")),
        ("socks5h", (b"\5\0", ACCEPTED_5[:-1])),
    ],
)
async def test_a_proxy_that_closes_in_the_midst_is_a_proxy_error(
    scheme: str, replies: tuple[bytes, ...]
) -> None:
    assert "closed" in await refused_by(scheme, *replies)


async def test_a_proxy_that_breaks_the_connection_is_a_proxy_error() -> None:
    async def reset(proxy: ForwardProxy, stream: ByteStream) -> None:
        await stream.receive()
        raw = stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with forward_proxy(reset) as proxy:
        exc = await failure("ws://far.example/", proxy=proxy.url("socks5h"))
    assert type(exc) is ProxyError
    assert "broke the connection" in str(exc)


async def test_socks4_has_no_addresses_of_ipv6() -> None:
    for scheme in ("socks4", "socks4a"):
        async with socks_proxy(scheme) as proxy:
            exc = await failure("ws://[2001:db8::1]/", proxy=proxy.url(scheme))
        assert type(exc) is ProxyError
        assert "IPv6" in str(exc)


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_a_server_that_cannot_be_looked_up_here_is_a_connect_error(scheme: str) -> None:
    async with forward_proxy(socks_replies(b"\5\0", tunnel=False)) as proxy:
        exc = await failure("ws://nothing.invalid/", proxy=proxy.url(scheme))
    assert type(exc) is ConnectError
    assert str(exc).startswith("can't connect to nothing.invalid:80: ")


@pytest.mark.parametrize("host", ["x" * 64 + ".example", ".".join(["x" * 60] * 5)])
async def test_a_name_that_is_too_long_for_socks_is_a_connect_error(host: str) -> None:
    async with forward_proxy(socks_replies(*SOCKS_5)) as proxy:
        exc = await failure(f"ws://{host}/", proxy=proxy.url("socks5h"))
    assert type(exc) is ConnectError


async def test_without_python_socks_it_is_said_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    exc = await failure("ws://far.example/", proxy="socks5h://127.0.0.1:1")
    assert isinstance(exc, ImportError)
    assert "pip install 'anyio-ws[socks]'" in str(exc)


# -- time, and cancelling


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("open_timeout", [3, 300])
@pytest.mark.parametrize("scheme", VERSIONS)
async def test_a_proxy_that_stalls_ends_with_open_timeout(scheme: str, open_timeout: float) -> None:
    async def stall(proxy: ForwardProxy, stream: ByteStream) -> None:
        await anyio.sleep_forever()

    async with forward_proxy(stall) as proxy:
        start = anyio.current_time()
        exc = await failure("ws://far.example/", proxy=proxy.url(scheme), open_timeout=open_timeout)
        assert isinstance(exc, TimeoutError)
        assert "open_timeout" in str(exc)
        assert anyio.current_time() - start == pytest.approx(open_timeout)


@pytest.mark.usefixtures("virtual_time")
async def test_without_open_timeout_the_callers_own_limit_ends_it() -> None:
    async def stall(proxy: ForwardProxy, stream: ByteStream) -> None:
        await anyio.sleep_forever()

    async with forward_proxy(stall) as proxy:
        start = anyio.current_time()
        with anyio.move_on_after(100_000) as scope:
            async with open_websocket(
                "ws://far.example/", proxy=proxy.url("socks5h"), open_timeout=None
            ):
                pass
        assert scope.cancelled_caught
        assert anyio.current_time() - start == pytest.approx(100_000)


@pytest.mark.parametrize("scheme", VERSIONS)
async def test_cancelled_wherever_it_waits_it_leaves_nothing_open(scheme: str) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server, socks_proxy(scheme) as proxy:

        async def scenario() -> None:
            async with open_websocket(server.url, proxy=proxy.url(scheme), close_timeout=0) as ws:
                await ws.send("hello")

        for attempt in cancel_sweep():
            with anyio.fail_after(10):
                await attempt.run(scenario())


@pytest.mark.parametrize("scheme", VERSIONS)
async def test_cancelled_while_the_proxy_refuses_it_leaves_nothing_open(scheme: str) -> None:
    replies = (REFUSED_4,) if scheme == "socks4a" else (b"\5\xff",)
    async with forward_proxy(socks_replies(*replies, tunnel=False)) as proxy:

        async def scenario() -> None:
            with pytest.raises(ProxyError):
                async with open_websocket("ws://far.example/", proxy=proxy.url(scheme)):
                    pass

        for attempt in cancel_sweep():
            with anyio.fail_after(10):
                await attempt.run(scenario())
