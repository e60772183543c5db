"""`open_websocket` through HTTP proxies: CONNECT, done well and badly."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import struct
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute

from anyio_ws import (
    ClientConfig,
    ConnectError,
    ConnectionClosedError,
    InvalidHandshake,
    InvalidStatus,
    ProxyError,
    Response,
    WebSocket,
    open_server,
    open_websocket,
)
from anyio_ws.sansio.http import MAX_BODY
from anyio_ws.testing import cancel_sweep

from . import helpers
from .forward import (
    ESTABLISHED,
    ForwardProxy,
    Script,
    forward_proxy,
    grant,
    grant_with,
    read_head,
    say,
)

FAR = "ws://far.example:8080/feed"
"""Where nobody can be reached but through a proxy."""


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


async def check_echo(ws: WebSocket) -> None:
    for message in ("hello", b"", "x" * 300_000, bytes(300_000)):
        await ws.send(message)
        assert await ws.receive() == message


async def failure(url: str = FAR, **options: Any) -> Exception:
    """What opening a connection raises."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # the caller looks
        async with open_websocket(url, **options):
            pass
    return caught.value


async def refused_by(script: Script, **options: Any) -> ProxyError:
    """Why a proxy that does this leads nowhere."""
    async with forward_proxy(script) as proxy:
        exc = await failure(proxy=proxy.url(), **options)
    assert type(exc) is ProxyError
    assert f"127.0.0.1:{proxy.port}" in str(exc)
    return exc


# -- what works


@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("proxy_secure", [False, True], ids=["http", "https"])
async def test_messages_pass_through_a_tunnel_with_tls_and_without_on_either_stretch(
    secure: bool,
    proxy_secure: bool,
    server_ssl_context: ssl.SSLContext,
    client_ssl_context: ssl.SSLContext,
) -> None:
    async with (
        open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context if secure else None) as server,
        forward_proxy(grant, server_ssl_context if proxy_secure else None) as proxy,
        open_websocket(
            server.url.replace("127.0.0.1", "localhost"),
            ssl=client_ssl_context if secure else None,
            proxy=proxy.url("https" if proxy_secure else "http"),
            proxy_ssl=client_ssl_context if proxy_secure else None,
        ) as ws,
    ):
        await check_echo(ws)
        assert proxy.targets == [("localhost", server.port)]
        assert (ws.extra(TLSAttribute.tls_version, None) is not None) == secure
        assert ws.extra(SocketAttribute.remote_port) == proxy.port


async def test_the_request_says_where_to_and_who_asks() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server, forward_proxy(grant) as proxy:
        async with open_websocket(server.url, proxy=proxy.url(), user_agent_header="me/1") as ws:
            await check_echo(ws)
        target = f"127.0.0.1:{server.port}"
        expected = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: me/1\r\n\r\n"
        assert proxy.heard == [expected.encode()]
        url = proxy.url(user="ada:love%40lace")
        async with open_websocket(server.url, proxy=url, user_agent_header=None) as ws:
            await check_echo(ws)
    credentials = b"Basic YWRhOmxvdmVAbGFjZQ=="  # ada:love@lace
    assert proxy.heard[1].endswith(b"\r\nProxy-Authorization: " + credentials + b"\r\n\r\n")
    assert b"User-Agent" not in proxy.heard[1]


async def test_the_servers_credentials_and_headers_are_not_told_to_the_proxy() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server, forward_proxy(grant) as proxy:
        url = server.url.replace("://", "://ada:lovelace@")
        async with open_websocket(
            url, proxy=proxy.url(user="grace:hopper"), additional_headers={"Cookie": "secret"}
        ) as ws:
            assert "Authorization" in ws.request.headers
            assert "Proxy-Authorization" not in ws.request.headers
        assert b"\r\nAuthorization" not in proxy.heard[0]
        assert b"secret" not in proxy.heard[0]


async def test_an_ipv6_literal_is_asked_for_in_brackets() -> None:
    async with open_server(echo, "::1", 0) as server, forward_proxy(grant) as proxy:
        async with open_websocket(f"ws://[::1]:{server.port}/", proxy=proxy.url()) as ws:
            await check_echo(ws)
        assert proxy.heard[0].startswith(b"CONNECT [::1]:%d HTTP/1.1\r\n" % server.port)


@pytest.mark.parametrize(
    "answer",
    [
        ESTABLISHED,
        b"HTTP/1.0 200 Connection established\r\n\r\n",
        b"HTTP/1.1 200\r\n\r\n",
        b"HTTP/1.1 204 Fine\nX: y\n\n",
        # RFC 9110, section 9.3.6: these are to be ignored
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + ESTABLISHED,
        b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    ],
)
@pytest.mark.parametrize("cut", [None, 1])
async def test_every_answer_that_grants_opens_the_tunnel(answer: bytes, cut: int | None) -> None:
    async with (
        open_server(echo, "127.0.0.1", 0) as server,
        forward_proxy(grant_with(answer, cut=cut)) as proxy,
        open_websocket(server.url, proxy=proxy.url()) as ws,
    ):
        await check_echo(ws)


async def test_the_connection_to_the_proxy_comes_from_the_local_address() -> None:
    peers: list[str] = []

    async def script(proxy: ForwardProxy, stream: ByteStream) -> None:
        peers.append(stream.extra(SocketAttribute.remote_address)[0])
        await grant(proxy, stream)

    async with open_server(echo, "127.0.0.1", 0) as server, forward_proxy(script) as proxy:
        async with open_websocket(
            server.url, proxy=proxy.url(), local_address=("127.0.0.2", 0)
        ) as ws:
            await check_echo(ws)
    assert peers == ["127.0.0.2"]


async def test_many_connections_at_once_each_have_their_tunnel() -> None:
    async with open_server(echo, "127.0.0.1", 0) as server, forward_proxy(grant) as proxy:

        async def exchange(number: int) -> None:
            async with open_websocket(server.url, proxy=proxy.url()) as ws:
                await ws.send(str(number))
                assert await ws.receive() == str(number)

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(exchange, number)
    assert len(proxy.targets) == 20


# -- what the proxy refuses


REFUSAL = (
    b"HTTP/1.1 407 Proxy Authentication Required\r\n"
    b'Proxy-Authenticate: Basic realm="here"\r\nContent-Length: 8\r\n\r\nwho? me?'
)


@pytest.mark.parametrize("cut", [None, 1])
async def test_a_407_is_a_proxy_error_with_the_response(cut: int | None) -> None:
    exc = await refused_by(say(REFUSAL, close=False, cut=cut))
    assert isinstance(exc, InvalidHandshake)
    assert not isinstance(exc, InvalidStatus)
    assert exc.response is not None
    assert exc.response.status_code == 407
    assert exc.response.headers["Proxy-Authenticate"] == 'Basic realm="here"'
    assert exc.response.body == b"who? me?"
    assert re.fullmatch(
        r"the proxy http://127\.0\.0\.1:\d+ refused to connect to far\.example:8080: "
        "HTTP 407 Proxy Authentication Required",
        str(exc),
    )


@pytest.mark.parametrize("status", [199 + 101, 301, 403, 404, 500, 502, 503, 504, 599])
async def test_every_other_refusal_is_a_proxy_error_too(status: int) -> None:
    exc = await refused_by(say(b"HTTP/1.1 %d Sorry\r\nX-Why: no\r\n\r\nbody" % status))
    assert exc.response is not None
    assert (exc.response.status_code, exc.response.body) == (status, b"body")
    assert f"HTTP {status} Sorry" in str(exc)


async def test_a_phrase_cannot_steer_the_terminal_that_shows_the_error() -> None:
    exc = await refused_by(say(b"HTTP/1.1 502 \x9b31m\r\nContent-Length: 0\r\n\r\n"))
    assert r"HTTP 502 '\x9b31m'" in str(exc)


async def test_the_body_of_a_refusal_is_bounded() -> None:
    async def flood(proxy: ForwardProxy, stream: ByteStream) -> None:
        await read_head(stream)
        await stream.send(b"HTTP/1.1 502 Bad\r\n\r\n")
        while True:
            await stream.send(bytes(2**16))

    exc = await refused_by(flood)
    assert exc.response is not None
    assert len(exc.response.body) == MAX_BODY


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "illegal status line"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "0x15"),
        (b"\5\0", "0x05"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", ""),
        (b"HTTP/1.1 20 OK\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", ""),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2**14, "max_header_size"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 129 + b"\r\n", "max_header_count"),
    ],
)
@pytest.mark.parametrize("cut", [None, 700])
async def test_what_is_no_answer_is_a_proxy_error_that_says_why(
    answer: bytes, said: str, cut: int | None
) -> None:
    exc = await refused_by(say(answer, close=False, cut=cut))
    assert exc.response is None
    assert said in str(exc)


@pytest.mark.parametrize("limits", [{"max_header_size": 30}, {"max_header_count": 1}])
async def test_the_limits_of_the_handshake_are_those_of_the_answer(limits: dict[str, Any]) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX-One: 1\r\nX-Two: 2\r\n\r\n"
    exc = await refused_by(say(answer, close=False), **limits)
    assert next(iter(limits)) in str(exc)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r\nX: y\r\n"])
async def test_a_proxy_that_closes_in_the_midst_is_a_proxy_error(answer: bytes) -> None:
    exc = await refused_by(say(answer))
    assert "ended before the response was complete" in str(exc)


async def test_a_proxy_that_breaks_the_connection_is_a_proxy_error() -> None:
    async def reset(proxy: ForwardProxy, stream: ByteStream) -> None:
        await read_head(stream)
        raw = stream.extra(SocketAttribute.raw_socket)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    exc = await refused_by(reset)
    assert "broke the connection" in str(exc)
    assert exc.__cause__ is not None


async def test_a_refusal_is_raised_as_it_is_under_tls_to_the_server(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with forward_proxy(say(REFUSAL)) as plain:
        exc = await failure("wss://far.example/", proxy=plain.url())
        assert isinstance(exc, ProxyError)
        assert exc.response is not None
    async with forward_proxy(say(REFUSAL), server_ssl_context) as secure:
        exc = await failure(
            "wss://far.example/", proxy=secure.url("https"), proxy_ssl=client_ssl_context
        )
        assert isinstance(exc, ProxyError)
        assert "far.example:443: HTTP 407" in str(exc)


# -- what isn't reached


async def test_a_proxy_where_nobody_listens_is_a_connect_error_that_names_it() -> None:
    async with forward_proxy(grant) as proxy:
        pass
    for scheme in ("http", "https", "socks5h"):
        exc = await failure(proxy=proxy.url(scheme, user="ada:lovelace"))
        assert type(exc) is ConnectError
        assert re.match(
            rf"can't connect to the proxy {scheme}://127\.0\.0\.1:\d+: .*refused", str(exc)
        )
        assert exc.errno is not None


async def test_a_proxy_whose_name_is_unknown_is_a_connect_error() -> None:
    exc = await failure(proxy="http://nothing.invalid:3128")
    assert isinstance(exc, ConnectError)
    assert "the proxy http://nothing.invalid:3128: " in str(exc)


async def test_a_proxy_whose_name_nobody_can_have_is_a_connect_error() -> None:
    exc = await failure(proxy="https://no..proxy:3128")
    assert isinstance(exc, ConnectError)
    assert "the proxy https://no..proxy:3128: 'no..proxy' isn't a valid host name" in str(exc)


async def test_a_proxy_whose_certificate_is_not_trusted_is_a_connect_error_that_says_so(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with forward_proxy(grant, server_ssl_context) as proxy:
        for url in (FAR, "wss://far.example/"):
            exc = await failure(url, proxy=proxy.url("https"))
            assert type(exc) is ConnectError
            assert re.search(
                r"the proxy https://127\.0\.0\.1:\d+: certificate verify failed", str(exc)
            )
            assert str(exc).endswith("load it into the SSLContext of the option proxy_ssl)")
            assert isinstance(exc.__cause__, ssl.SSLCertVerificationError)


async def test_tls_to_a_proxy_without_tls_is_a_connect_error(
    client_ssl_context: ssl.SSLContext,
) -> None:
    async def answer(proxy: ForwardProxy, stream: ByteStream) -> None:
        await stream.receive()
        await stream.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def hang_up(proxy: ForwardProxy, stream: ByteStream) -> None:
        await stream.receive()

    for script in (answer, hang_up):
        async with forward_proxy(script) as proxy:
            exc = await failure(proxy=proxy.url("https"), proxy_ssl=client_ssl_context)
            assert type(exc) is ConnectError
            assert re.search(r"the proxy https://.*TLS", str(exc))


async def test_a_server_behind_a_proxy_that_is_not_trusted_is_named_itself(
    server_ssl_context: ssl.SSLContext,
) -> None:
    async with (
        open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server,
        forward_proxy(grant) as proxy,
    ):
        exc = await failure(server.url, proxy=proxy.url())
        assert isinstance(exc, ConnectError)
        assert str(exc).startswith(
            f"can't connect to 127.0.0.1:{server.port}: certificate verify failed"
        )


async def test_a_server_that_refuses_behind_a_proxy_is_an_invalid_status() -> None:
    async def refuse(ws: WebSocket, request: object) -> Response:
        return Response.text(401, "who?")

    async with (
        open_server(echo, "127.0.0.1", 0, process_request=refuse) as server,
        forward_proxy(grant) as proxy,
    ):
        exc = await failure(server.url, proxy=proxy.url())
    assert isinstance(exc, InvalidStatus)
    assert exc.response.status_code == 401


# -- time, and cancelling


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 407 Who\r\n\r\nbo"])
async def test_a_proxy_that_stalls_ends_with_open_timeout(answer: bytes) -> None:
    async with forward_proxy(say(answer, close=False)) as proxy:
        start = anyio.current_time()
        exc = await failure(proxy=proxy.url(), open_timeout=3)
        assert isinstance(exc, TimeoutError)
        assert anyio.current_time() - start == pytest.approx(3)


@pytest.mark.usefixtures("virtual_time")
async def test_a_proxy_that_stalls_in_tls_ends_with_open_timeout(
    client_ssl_context: ssl.SSLContext,
) -> None:
    async def stall(proxy: ForwardProxy, stream: ByteStream) -> None:
        await anyio.sleep_forever()

    async with forward_proxy(stall) as proxy:
        start = anyio.current_time()
        exc = await failure(proxy=proxy.url("https"), proxy_ssl=client_ssl_context, open_timeout=3)
        assert isinstance(exc, TimeoutError)
        assert anyio.current_time() - start == pytest.approx(3)


@pytest.mark.usefixtures("virtual_time")
async def test_a_proxy_that_answers_by_the_byte_has_open_timeout_for_all_of_it() -> None:
    async def drip(proxy: ForwardProxy, stream: ByteStream) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            await anyio.sleep(1)
            await stream.send(b"x")

    async with forward_proxy(drip) as proxy:
        start = anyio.current_time()
        assert isinstance(await failure(proxy=proxy.url(), open_timeout=30), TimeoutError)
        assert anyio.current_time() - start == pytest.approx(30)


@pytest.mark.parametrize("proxy_secure", [False, True], ids=["http", "https"])
async def test_cancelled_wherever_it_waits_it_leaves_nothing_open(
    proxy_secure: bool, server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with (
        open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server,
        forward_proxy(grant, server_ssl_context if proxy_secure else None) as proxy,
    ):

        async def scenario() -> None:
            async with open_websocket(
                server.url,
                ssl=client_ssl_context,
                proxy=proxy.url("https" if proxy_secure else "http"),
                proxy_ssl=client_ssl_context if proxy_secure else None,
                close_timeout=0,
            ) as ws:
                await ws.send("hello")

        for attempt in cancel_sweep():
            with anyio.fail_after(10):
                await attempt.run(scenario())


# -- afterwards


async def test_a_tunnel_that_ends_is_the_end_of_the_connection() -> None:
    cut = anyio.Event()

    async def script(proxy: ForwardProxy, stream: ByteStream) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(grant, proxy, stream)
            await cut.wait()
            tasks.cancel_scope.cancel()

    async with open_server(echo, "127.0.0.1", 0) as server, forward_proxy(script) as proxy:
        async with open_websocket(server.url, proxy=proxy.url()) as ws:
            await check_echo(ws)
            cut.set()
            with pytest.raises(ConnectionClosedError):
                await ws.receive()
            assert ws.close_code == 1006


async def test_a_block_that_is_cancelled_still_says_goodbye_through_the_tunnel() -> None:
    codes: list[int | None] = []
    closed = anyio.Event()

    async def note(ws: WebSocket) -> None:
        await ws.wait_closed()
        codes.append(ws.close_code)
        closed.set()

    async with open_server(note, "127.0.0.1", 0) as server, forward_proxy(grant) as proxy:
        with anyio.CancelScope() as scope:
            async with open_websocket(server.url, proxy=proxy.url()):
                scope.cancel()
                await anyio.sleep_forever()
        with anyio.fail_after(10):
            await closed.wait()
    assert codes == [1001 if helpers.over_sockets else 1006]  # on a stream, that would have to wait


# -- what must not be shown


SECRET = "l0ve-lace"


async def test_no_error_and_no_record_shows_the_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with forward_proxy(grant) as proxy:
            async with open_websocket(server.url, proxy=proxy.url(user=f"ada:{SECRET}")) as ws:
                await check_echo(ws)
        lines = [record.getMessage() for record in caplog.records]
        assert f"connecting through the proxy http://127.0.0.1:{proxy.port}" in lines
        async with forward_proxy(say(REFUSAL)) as proxy:
            url = proxy.url(user=f"ada:{SECRET}")
            shown = [str(await failure(proxy=url)), repr(ClientConfig(proxy=url))]
    assert SECRET not in "\n".join(lines + shown)


@pytest.mark.parametrize(
    "url",
    [
        f"ada:{SECRET}@proxy.example:3128",
        f"ftp://ada:{SECRET}@proxy.example",
        f"http://ada:{SECRET}@proxy.example:port",
        f"http://ada:{SECRET}/x@proxy.example:3128",
        f"http://ada:x/{SECRET}@proxy.example:3128",
        f"http://ada:{SECRET} x@proxy.example:3128",
        f"http://ada:{SECRET}@",
        f"socks4://ada:{SECRET}@proxy.example",
        f"http://ada:{SECRET}@[proxy.example",
        f"http://ada:{SECRET}\udc80@proxy.example",
    ],
)
def test_a_value_that_is_no_proxy_is_not_quoted(url: str) -> None:
    for value in (url, {"ws": url}):
        with pytest.raises(ValueError, match="http, https, socks4, socks4a") as caught:
            open_websocket(FAR, proxy=value)
        assert SECRET not in str(caught.value)


# -- together with other options


@pytest.mark.parametrize("proxy", ["http://proxy.example:3128", {"ws": "http://proxy.example"}])
def test_a_proxy_is_not_ignored_where_nothing_is_dialled(proxy: Any) -> None:
    one, other = socket.socketpair()
    with one, other:
        with pytest.raises(TypeError, match="proxy"):
            open_websocket(FAR, stream=one, proxy=proxy)
    with pytest.raises(TypeError, match="proxy"):
        open_websocket(FAR, unix_path="/nowhere", proxy=proxy)


def test_no_proxy_may_be_said_where_nothing_is_dialled() -> None:
    values: list[Any] = [None, {}, True]
    for proxy in values:
        open_websocket(FAR, unix_path="/nowhere", proxy=proxy)


def test_a_context_for_a_proxy_is_not_ignored_where_there_is_no_tls_to_it() -> None:
    context = ssl.create_default_context()
    for proxy in ("http://proxy.example", {"wss": "socks5://proxy.example"}):
        with pytest.raises(ValueError, match="https://"):
            open_websocket(FAR, proxy=proxy, proxy_ssl=context)
    values: list[Any] = ["https://proxy.example", {"wss": "https://proxy.example"}, {}, True, None]
    for fine in values:
        open_websocket(FAR, proxy=fine, proxy_ssl=context)
