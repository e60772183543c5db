"""Handshakes that fail: what each side is told, and that nothing is left open."""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest

from anyio_ws import (
    ConnectError,
    ConnectionClosedError,
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidOrigin,
    InvalidStatus,
    NegotiationError,
    WebSocket,
    WebSocketError,
    accept_websocket,
    open_server,
    open_websocket,
)
from anyio_ws.sansio import Opcode, ServerProtocol, Side
from anyio_ws.testing import ScriptedPeer, handshake_response, memory_stream_pair

from .helpers import REQUEST, URL, settle


async def echo(ws: WebSocket) -> None:
    async for message in ws:
        await ws.send(message)


# -- bad requests, over a socket

BAD_REQUESTS = {
    "method": (REQUEST.replace(b"GET", b"PUT"), 405, "Allow: GET"),
    "version": (REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"), 505, ""),
    "no upgrade": (REQUEST.replace(b"Upgrade: websocket\r\n", b""), 426, "Upgrade: websocket"),
    "bad upgrade": (REQUEST.replace(b"Upgrade: websocket", b"Upgrade: h2c"), 426, ""),
    "no connection": (REQUEST.replace(b"Connection: Upgrade\r\n", b""), 426, ""),
    "no key": (REQUEST.replace(b"Sec-WebSocket-Key", b"X-Key"), 400, "Sec-WebSocket-Key"),
    "bad key": (REQUEST.replace(b"dGhl", b"???!"), 400, "Sec-WebSocket-Key"),
    "short key": (REQUEST.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="), 400, "5 bytes"),
    "no websocket version": (REQUEST.replace(b"Sec-WebSocket-Version", b"X-Version"), 426, ""),
    "websocket version": (
        REQUEST.replace(b"-Version: 13", b"-Version: 8"),
        426,
        "Sec-WebSocket-Version: 13",
    ),
    "body": (REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"), 400, "body"),
    "no http": (b"hello\r\n\r\n", 400, ""),
    "no host": (REQUEST.replace(b"Host: example.org\r\n", b""), 400, ""),
    "other version": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "2.0"),
    "plain request": (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 426, "Sec-WebSocket-Version: 13"),
    "lengths": (
        REQUEST.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\nabc"),
        400,
        "Content-Length",
    ),
    "chunked": (
        REQUEST.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        400,
        "body",
    ),
    "origin": (
        REQUEST.replace(b"\r\n\r\n", b"\r\nOrigin: http://evil.example\r\n\r\n"),
        403,
        "evil",
    ),
    "two requests": (REQUEST.replace(b"GET", b"PUT") + REQUEST, 405, "Allow: GET"),
    "long line": (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n", 414, "max_request_line"),
    "large header": (
        REQUEST.replace(b"\r\n\r\n", b"\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
        431,
        "max_header_size",
    ),
    "many headers": (
        REQUEST.replace(b"\r\n\r\n", b"\r\nX: 1" * 200 + b"\r\n\r\n"),
        431,
        "max_header_count",
    ),
}


@pytest.mark.parametrize("case", BAD_REQUESTS)
async def test_a_bad_request_is_answered_with_the_fitting_status_and_the_end(case: str) -> None:
    request, status, said = BAD_REQUESTS[case]
    async with open_server(echo, "127.0.0.1", 0) as server:
        async with await anyio.connect_tcp("127.0.0.1", server.port) as stream:
            await stream.send(request)
            answer = b""
            with anyio.fail_after(10):
                try:
                    while True:
                        answer += await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    pass
        assert answer.startswith(b"HTTP/1.1 %d " % status), answer
        assert said.encode() in answer
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in head
        assert b"\r\nContent-Length: %d\r\n" % len(body) in head
        assert 0 < len(body) < 500
        async with open_websocket(server.url) as ws:  # and the server lives
            await ws.ping()


@pytest.mark.parametrize("case", BAD_REQUESTS)
async def test_accept_websocket_raises_what_was_wrong_with_the_request(case: str) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send(BAD_REQUESTS[case][0])
    with pytest.raises(InvalidHandshake) as caught:
        async with accept_websocket(ours, close_timeout=0):
            pass
    assert str(caught.value)
    with pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


@pytest.mark.parametrize("data", [b"", REQUEST[:-1], REQUEST], ids=["none", "half", "whole"])
async def test_a_client_that_leaves_during_the_handshake_is_reported(data: bytes) -> None:
    ours, theirs = memory_stream_pair()
    if data:
        await theirs.send(data)
    await theirs.aclose()
    context = accept_websocket(ours, close_timeout=0)
    if data != REQUEST:
        with pytest.raises(InvalidMessage, match="ended before the request was complete"):
            await context.__aenter__()
        return
    async with context as ws:
        with pytest.raises(ConnectionClosedError):
            await ws.receive()


async def test_a_reset_during_the_handshake_is_the_cause_of_the_error() -> None:
    for side in ("server", "client"):
        ours, theirs = memory_stream_pair()
        theirs.reset()
        context = accept_websocket(ours) if side == "server" else open_websocket(URL, stream=ours)
        with pytest.raises(InvalidMessage) as caught:
            async with context:
                pass
        assert isinstance(caught.value.__cause__, anyio.BrokenResourceError)


# -- the Origin

HERE = "http://example.org"


@pytest.mark.parametrize(
    ("origins", "origin", "accepted"),
    [
        (None, None, True),
        (None, HERE, True),
        (None, "http://example.org:80", True),
        (None, "http://evil.example", False),
        (None, "http://example.org:8080", False),
        (None, "null", False),
        ([HERE], HERE, True),
        ([HERE], None, False),
        ([HERE, None], None, True),
        (["https://app.example"], HERE, False),
        (["https://app.example"], "https://app.example", True),
        ([re.compile(r"https://\w+\.example")], "https://app.example", True),
        ([re.compile(r"https://\w+\.example")], "https://app.example.evil", False),
        ([], HERE, False),
    ],
)
async def test_the_origin_must_be_the_host_or_one_that_is_accepted(
    origins: Sequence[str | re.Pattern[str] | None] | None, origin: str | None, accepted: bool
) -> None:
    ours, theirs = memory_stream_pair()
    heads: list[bytes] = []
    opened: list[str | None] = []
    refused: list[str | None] = []
    header = b"" if origin is None else f"Origin: {origin}\r\n".encode()
    await theirs.send(REQUEST[:-2] + header + b"\r\n")

    async def receive_head() -> None:
        heads.append(await ScriptedPeer(theirs, Side.CLIENT).receive_head())
        await theirs.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive_head)
        try:
            async with accept_websocket(ours, origins=origins) as ws:
                opened.append(ws.request.headers.get("Origin"))
        except InvalidOrigin as exc:
            refused.append(exc.origin)
    assert (opened, refused) == (([origin], []) if accepted else ([], [origin]))
    assert heads[0].startswith(b"HTTP/1.1 101" if accepted else b"HTTP/1.1 403")


# -- subprotocols


async def test_no_common_subprotocol_is_an_error_on_both_sides() -> None:
    async with open_server(echo, "127.0.0.1", 0, subprotocols=["chat"]) as server:
        with pytest.raises(InvalidStatus, match="400") as caught:
            async with open_websocket(server.url, subprotocols=["other"]):
                pass
        assert b"chat" in caught.value.response.body


async def test_select_subprotocol_chooses() -> None:
    def last(protocol: ServerProtocol, offered: Sequence[str]) -> str | None:
        return offered[-1]

    async with open_server(echo, "127.0.0.1", 0, select_subprotocol=last) as server:
        async with open_websocket(server.url, subprotocols=["a", "b"]) as ws:
            assert ws.subprotocol == "b"


async def test_a_select_subprotocol_that_raises_is_answered_with_500_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = LookupError("of the user's")

    def fail(protocol: ServerProtocol, offered: Sequence[str]) -> str | None:
        raise error

    async with open_server(echo, "127.0.0.1", 0, select_subprotocol=fail) as server:
        with pytest.raises(InvalidStatus, match="500"):
            async with open_websocket(server.url):
                pass
    (record,) = [record for record in caplog.records if record.exc_info is not None]
    assert record.exc_info is not None
    assert record.exc_info[1] is error


# -- rejecting, and time


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize("open_timeout", [3, 30])
async def test_why_a_request_was_refused_is_raised_although_the_client_does_not_leave(
    open_timeout: float,
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send(REQUEST.replace(b"GET", b"PUT"))
    with pytest.raises(InvalidMessage, match="PUT"):
        async with accept_websocket(ours, open_timeout=open_timeout, close_timeout=10):
            pass
    assert anyio.current_time() == pytest.approx(min(open_timeout, 10))


# -- bad responses


@asynccontextmanager
async def answering(answer: bytes | None, *, edit: bytes = b"") -> AsyncIterator[int]:
    """A server that gives this *answer*, or the right one with a line of it replaced by *edit*."""

    async def serve(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                request += await stream.receive()
            reply = answer
            if reply is None:
                name = edit.partition(b":")[0]
                lines = handshake_response(request).split(b"\r\n")
                kept = [line for line in lines if not line.startswith(name)]
                reply = b"\r\n".join([kept[0], *([edit] if b":" in edit else []), *kept[1:]])
            await stream.send(reply)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, serve)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


async def refused_by(port: int) -> WebSocketError:
    with pytest.raises(WebSocketError) as caught:
        async with open_websocket(f"ws://127.0.0.1:{port}/", subprotocols=["mine"]):
            pass
    return caught.value


@pytest.mark.parametrize("status", [200, 301, 401, 404, 503])
async def test_another_status_than_101_is_invalid_status_with_the_response(status: int) -> None:
    answer = b"HTTP/1.1 %d Sorry\r\nX-Why: no\r\nContent-Length: 4\r\n\r\nbody" % status
    async with answering(answer) as port:
        exc = await refused_by(port)
    assert isinstance(exc, InvalidStatus)
    assert exc.response.status_code == status
    assert exc.response.headers["X-Why"] == "no"
    assert exc.response.body == b"body"
    assert str(status) in str(exc)


@pytest.mark.usefixtures("virtual_time")
@pytest.mark.parametrize(
    ("head", "body"),
    [
        (b"Content-Length: 100", b""),
        (b"Content-Length: 100", b"not now"),
        (b"Transfer-Encoding: chunked", b"7\r\nnot now\r\n"),
        (b"Connection: close", b"not now"),
    ],
)
async def test_a_refusal_whose_body_does_not_end_is_one_when_the_time_is_over(
    head: bytes, body: bytes
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send(b"HTTP/1.1 503 Sorry\r\n" + head + b"\r\n\r\n" + body)
    with pytest.raises(InvalidStatus) as caught:
        async with open_websocket(URL, stream=ours, open_timeout=7):
            pass
    assert anyio.current_time() == pytest.approx(7)
    assert caught.value.response.status_code == 503
    assert caught.value.response.body == (b"not now" if body else b"")
    with pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


@pytest.mark.usefixtures("virtual_time")
async def test_a_refusal_whose_body_goes_on_and_on_is_cut() -> None:
    ours, theirs = memory_stream_pair(buffer=1000)
    sent = 0

    async def send_without_end() -> None:
        nonlocal sent
        await theirs.send(b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            while True:
                await theirs.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
                sent += 1000
        except anyio.BrokenResourceError:
            pass  # the client has left

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send_without_end)
        with pytest.raises(InvalidStatus) as caught:
            async with open_websocket(URL, stream=ours):
                pass
        assert caught.value.response.body == b"x" * 2**16
    assert sent < 2**17
    assert anyio.current_time() < 1


async def test_a_refusal_whose_connection_ends_within_the_body_is_one() -> None:
    answer = b"HTTP/1.1 404 Sorry\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\nno such"
    async with answering(answer) as port:
        exc = await refused_by(port)
    assert isinstance(exc, InvalidStatus)
    assert exc.response.body == b"no such"
    assert str(exc) == "server answered HTTP 404 Sorry instead of 101: 'no such'"


@pytest.mark.parametrize(
    ("edit", "error", "said"),
    [
        (b"Upgrade", InvalidHeader, "missing Upgrade"),
        (b"Upgrade: h2c", InvalidHeader, "h2c"),
        (b"Connection", InvalidHeader, "missing Connection"),
        (b"Sec-WebSocket-Accept", InvalidHeader, "missing Sec-WebSocket-Accept"),
        (b"Sec-WebSocket-Accept: bm8=", InvalidHeader, "bm8="),
        (b"Sec-WebSocket-Protocol: other", NegotiationError, "other"),
        (b"Sec-WebSocket-Protocol: mine, mine", InvalidHeader, "Sec-WebSocket-Protocol"),
        (b"Sec-WebSocket-Extensions: foo", NegotiationError, "foo"),
    ],
)
async def test_an_answer_that_does_not_fit_says_why(
    edit: bytes, error: type[Exception], said: str
) -> None:
    async with answering(None, edit=edit) as port:
        exc = await refused_by(port)
    assert type(exc) is error
    assert said in str(exc)


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 101 Swi", b"SSH-2.0-OpenSSH_9\r\n", b"\x15\x03\x01\x00\x02\x02\x46"]
)
async def test_what_is_no_answer_is_an_invalid_message(answer: bytes) -> None:
    async with answering(answer or b"\r\n") as port:
        exc = await refused_by(port)
    assert isinstance(exc, InvalidMessage)
    assert str(exc)


# -- dialling


async def unused_port() -> int:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        return int(listener.extra(anyio.abc.SocketAttribute.local_port))


async def test_a_refused_connection_names_host_and_port() -> None:
    port = await unused_port()
    with pytest.raises(ConnectError) as caught:
        async with open_websocket(f"ws://127.0.0.1:{port}/"):
            pass
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "refused" in str(caught.value)
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("host", ["nothing.invalid", "a..b", "x" * 64 + ".example"])
async def test_a_name_that_cannot_be_resolved_is_a_connect_error_that_names_it(host: str) -> None:
    with pytest.raises(ConnectError, match=host):
        async with open_websocket(f"ws://{host}:1/"):
            pass


async def test_a_certificate_that_is_not_trusted_is_a_connect_error_that_says_so(
    server_ssl_context: ssl.SSLContext,
) -> None:
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        with pytest.raises(
            ConnectError, match=r"127\.0\.0\.1:\d+: certificate verify failed"
        ) as caught:
            async with open_websocket(server.url):
                pass
        assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)


async def test_tls_to_a_server_without_tls_is_a_connect_error(
    client_ssl_context: ssl.SSLContext,
) -> None:
    async with open_server(echo, "127.0.0.1", 0) as server:
        with pytest.raises(ConnectError, match="TLS"):
            async with open_websocket(f"wss://127.0.0.1:{server.port}/", ssl=client_ssl_context):
                pass


async def test_a_server_that_hangs_up_during_tls_is_a_connect_error(
    client_ssl_context: ssl.SSLContext,
) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.aclose()
    with pytest.raises(ConnectError, match="TLS"):
        async with open_websocket("wss://localhost/", stream=ours, ssl=client_ssl_context):
            pass


async def test_no_tls_to_a_server_with_tls_is_an_invalid_message_and_the_server_lives(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    async with open_server(echo, "127.0.0.1", 0, ssl=server_ssl_context) as server:
        with pytest.raises(InvalidHandshake):
            async with open_websocket(f"ws://127.0.0.1:{server.port}/"):
                pass
        async with open_websocket(server.url, ssl=client_ssl_context) as ws:
            await ws.ping()


@pytest.mark.usefixtures("virtual_time")
async def test_a_tls_handshake_that_stalls_ends_with_open_timeout(
    server_ssl_context: ssl.SSLContext, client_ssl_context: ssl.SSLContext
) -> None:
    for side in ("server", "client"):
        ours, _ = memory_stream_pair()
        context = (
            accept_websocket(ours, ssl=server_ssl_context, open_timeout=3)
            if side == "server"
            else open_websocket(
                "wss://localhost/", stream=ours, ssl=client_ssl_context, open_timeout=3
            )
        )
        start = anyio.current_time()
        with pytest.raises(TimeoutError):
            async with context:
                pass
        assert anyio.current_time() - start == pytest.approx(3)
        with pytest.raises(anyio.ClosedResourceError):
            await ours.receive()


# -- what comes along


async def test_a_client_may_send_right_behind_its_request_and_leave() -> None:
    ours, theirs = memory_stream_pair()
    frame = bytes([0x80 | Opcode.TEXT, 0x80 | 2, 0, 0, 0, 0]) + b"hi"
    await theirs.send(REQUEST + frame)
    async with accept_websocket(ours, close_timeout=0) as ws:
        await theirs.aclose()
        await settle()
        assert await ws.receive() == "hi"
