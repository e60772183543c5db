"""The server's opening handshake (RFC 6455, section 4.2)."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import pytest

from anyio_ws.exceptions import (
    ConnectionClosedError,
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidOrigin,
    NegotiationError,
    ProtocolError,
    WebSocketError,
)
from anyio_ws.sansio import (
    SEND_EOF,
    Close,
    Frame,
    Headers,
    Protocol,
    Request,
    Response,
    ServerProtocol,
    Side,
    State,
)
from anyio_ws.sansio.handshake import accept_key
from anyio_ws.sansio.http import MAX_HEADER_SIZE
from anyio_ws.sansio.server import MAX_HELD

from .helpers import (
    CLOSE,
    PING,
    SPLITS,
    TEXT,
    Head,
    Raw,
    ServerFactory,
    Split,
    Suffix,
    binary,
    close,
    feed,
    ping,
    pong,
    read_http,
    read_wire,
    state_of,
    text,
    to,
    whole,
    written,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the RFC's example
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

FIELDS = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}

Values = str | Sequence[str] | None


def request_bytes(
    changes: dict[str, Values] | None = None, *, line: str = "GET /chat HTTP/1.1"
) -> bytes:
    """A request that is right but for *changes*: other values, several, or None for none."""
    lines = [line]
    fields: dict[str, Values] = {**FIELDS, **(changes or {})}
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values or ():
            lines.append(f"{name}: {value}")
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("iso-8859-1")


def request(changes: dict[str, str] | None = None, **attributes: str) -> Request:
    return Request("/chat", Headers({**FIELDS, **(changes or {})}), **attributes)


def requests_received(protocol: ServerProtocol) -> list[Request]:
    events = protocol.events_received()
    assert all(isinstance(event, Request) for event in events)
    return [event for event in events if isinstance(event, Request)]


def answer(protocol: ServerProtocol, data: bytes, split: Split = whole) -> tuple[Head, bool]:
    """Feed a request, accept it if it is one, and return what was written and whether it ends."""
    feed(protocol, data, split)
    for received in requests_received(protocol):
        protocol.send_response(protocol.accept(received))
    writes = protocol.data_to_send()
    return read_http(b"".join(writes)), SEND_EOF in writes


def assert_rejected(protocol: ServerProtocol) -> None:
    """After a rejection there is nothing to do but to wait for the end of the stream."""
    assert state_of(protocol) is State.CONNECTING
    assert protocol.close_expected()
    assert isinstance(protocol.handshake_exc, InvalidHandshake)
    protocol.receive_data(to(Side.SERVER, ping()))
    assert protocol.data_to_send() == []
    assert protocol.events_received() == []
    protocol.receive_eof()
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.CLOSED
    assert not protocol.close_expected()
    assert protocol.close_code == 1006
    assert isinstance(protocol.close_exc, ConnectionClosedError)


# -- accepting


def test_the_accept_key_of_the_rfc() -> None:
    assert accept_key(KEY) == ACCEPT


@pytest.mark.parametrize("split", SPLITS)
def test_a_good_request_is_accepted_and_opens_the_connection(split: Split) -> None:
    protocol = ServerProtocol()
    assert state_of(protocol) is State.CONNECTING
    feed(protocol, request_bytes(), split)
    [received] = requests_received(protocol)
    assert (received.method, received.path, received.http_version) == ("GET", "/chat", "1.1")
    assert received.headers == Headers(FIELDS)
    assert state_of(protocol) is State.CONNECTING
    assert protocol.data_to_send() == []

    response = protocol.accept(received)
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.CONNECTING
    assert (response.status_code, response.reason_phrase) == (101, "Switching Protocols")
    date = response.headers.pop("Date")
    assert parsedate_to_datetime(date).year >= 2020
    assert date.endswith(" GMT")
    assert response.headers == Headers(
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": ACCEPT}
    )
    assert response.body == b""

    protocol.send_response(response)
    assert state_of(protocol) is State.OPEN
    assert protocol.data_to_send() == [response.serialize()]
    assert protocol.handshake_exc is None
    assert protocol.subprotocol is None
    assert protocol.extensions == ()
    assert not protocol.close_expected()
    protocol.send_text(b"hi")
    assert written(protocol).frames == [text("hi")]


def test_a_response_may_be_changed_before_it_is_sent() -> None:
    protocol = ServerProtocol()
    feed(protocol, request_bytes())
    response = protocol.accept(*requests_received(protocol))
    response.headers["Server"] = "demo"
    protocol.send_response(response)
    head = read_http(b"".join(protocol.data_to_send()))
    assert head.fields["server"] == ["demo"]


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket"},
        {"Upgrade": " websocket "},
        {"Connection": "keep-alive, UPGRADE"},
        {"Connection": ["keep-alive", "upgrade"]},
        {"Connection": "upgrade,"},
        {"Content-Length": "0"},
        {"Origin": "https://elsewhere.example"},
        {"Sec-WebSocket-Extensions": "x-unknown; p=1, y-unknown"},
        {"Sec-WebSocket-Extensions": ""},
        {"Sec-WebSocket-Protocol": "chat, superchat"},
        {"X-Repeated": ["1", "2"]},
        {"Cookie": "caf\xe9=\xff"},
        {"Expect": "100-continue"},
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_what_a_request_may_have_it_is_accepted_with(
    changes: dict[str, Values], split: Split
) -> None:
    protocol = ServerProtocol()
    head, eof = answer(protocol, request_bytes(changes), split)
    assert head.first_line == "HTTP/1.1 101 Switching Protocols"
    assert not eof
    assert state_of(protocol) is State.OPEN
    assert "sec-websocket-extensions" not in head.fields
    assert "sec-websocket-protocol" not in head.fields


# -- rejecting

BAD_FIELDS: list[tuple[dict[str, Values], int, str]] = [
    ({"Connection": None}, 426, "missing Connection header"),
    ({"Connection": "keep-alive"}, 426, "invalid Connection header: 'keep-alive'"),
    ({"Connection": "not a token"}, 426, "'not a token' isn't a token"),
    ({"Upgrade": None}, 426, "missing Upgrade header"),
    ({"Upgrade": "h2c"}, 426, "invalid Upgrade header: 'h2c'"),
    ({"Upgrade": "websocket, h2c"}, 426, "invalid Upgrade header: 'websocket, h2c'"),
    ({"Upgrade": ["websocket", "websocket"]}, 426, "invalid Upgrade header"),
    ({"Sec-WebSocket-Version": None}, 426, "missing Sec-WebSocket-Version header"),
    ({"Sec-WebSocket-Version": "8"}, 426, "invalid Sec-WebSocket-Version header: '8'"),
    ({"Sec-WebSocket-Version": "013"}, 426, "invalid Sec-WebSocket-Version header: '013'"),
    ({"Sec-WebSocket-Version": "13, 8"}, 426, "invalid Sec-WebSocket-Version header"),
    ({"Sec-WebSocket-Version": ["13", "13"]}, 426, "may appear only once"),
    ({"Sec-WebSocket-Key": None}, 400, "missing Sec-WebSocket-Key header"),
    ({"Sec-WebSocket-Key": ""}, 400, "0 bytes instead of 16"),
    ({"Sec-WebSocket-Key": [KEY, KEY]}, 400, "may appear only once"),
    ({"Sec-WebSocket-Key": "not base64!"}, 400, "isn't base64"),
    ({"Sec-WebSocket-Key": KEY[:-1]}, 400, "isn't base64"),
    ({"Sec-WebSocket-Key": KEY + "="}, 400, "isn't base64"),
    ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j"}, 400, "15 bytes instead of 16"),
    ({"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZWU="}, 400, "17 bytes instead of 16"),
    ({"Sec-WebSocket-Key": KEY + "\xe9"}, 400, "isn't base64"),
    ({"Sec-WebSocket-Extensions": "x;"}, 400, "invalid Sec-WebSocket-Extensions header"),
    ({"Sec-WebSocket-Protocol": "a b"}, 400, "invalid Sec-WebSocket-Protocol header"),
    ({"Origin": ["https://a", "https://a"]}, 400, "may appear only once"),
    ({"Content-Length": "5"}, 400, "can't have a body"),
    ({"Transfer-Encoding": "chunked"}, 400, "can't have a body"),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("changes", "status", "reason"), BAD_FIELDS)
def test_a_bad_field_is_rejected_with_its_status_and_named(
    changes: dict[str, Values], status: int, reason: str, split: Split
) -> None:
    protocol = ServerProtocol()
    head, eof = answer(protocol, request_bytes(changes), split)
    assert head.first_line == f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    assert reason in head.body.decode()
    assert reason in str(protocol.handshake_exc)
    assert head.fields["connection"] == ["close"]
    assert head.fields["content-length"] == [str(len(head.body))]
    assert head.fields["content-type"] == ["text/plain; charset=utf-8"]
    assert eof
    if status == 426:
        assert head.fields["upgrade"] == ["websocket"]
        assert head.fields["sec-websocket-version"] == ["13"]
    assert_rejected(protocol)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("method", ["POST", "HEAD", "OPTIONS", "CONNECT", "get", "X-CUSTOM"])
def test_another_method_is_rejected_with_405_which_tells_the_right_one(
    method: str, split: Split
) -> None:
    protocol = ServerProtocol()
    head, eof = answer(protocol, request_bytes(line=f"{method} / HTTP/1.1"), split)
    assert head.first_line == "HTTP/1.1 405 Method Not Allowed"
    assert head.fields["allow"] == ["GET"]
    assert eof
    assert method in str(protocol.handshake_exc)
    assert_rejected(protocol)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("version", ["1.0", "0.9", "1.2", "2.0"])
def test_another_http_version_is_rejected_with_505(version: str, split: Split) -> None:
    protocol = ServerProtocol()
    head, eof = answer(protocol, request_bytes(line=f"GET / HTTP/{version}"), split)
    assert head.first_line == "HTTP/1.1 505 HTTP Version Not Supported"
    assert eof
    assert version in str(protocol.handshake_exc)
    assert_rejected(protocol)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nbad line\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: h\r\nX: " + b"a" * MAX_HEADER_SIZE + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * MAX_HEADER_SIZE + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: 1\r\n" * MAX_HEADER_SIZE, 431),
    ],
)
def test_what_is_no_request_is_refused_without_an_event(
    data: bytes, status: int, split: Split
) -> None:
    protocol = ServerProtocol()
    feed(protocol, data + b"trailing", split)
    assert protocol.events_received() == []
    writes = protocol.data_to_send()
    assert writes[-1] == SEND_EOF
    head = read_http(b"".join(writes))
    assert head.first_line == f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    assert head.fields["content-length"] == [str(len(head.body))]
    assert isinstance(protocol.handshake_exc, InvalidMessage)
    assert protocol.handshake_exc.status == status
    assert str(protocol.handshake_exc) in head.body.decode()
    assert_rejected(protocol)


def test_what_a_rejection_quotes_cannot_end_its_head() -> None:
    protocol = ServerProtocol()
    rejection = protocol.accept(request({"Upgrade": "\xe9\t\x1b[31m"}))
    head = read_http(rejection.serialize())
    assert head.fields["upgrade"] == ["websocket"]
    assert head.body.isascii() is False
    assert head.body.decode().rstrip("\n").isprintable()


@pytest.mark.parametrize(
    ("exc_type", "rejected"),
    [
        (InvalidMessage, request(method="PUT")),
        (InvalidMessage, request(http_version="1.0")),
        (InvalidHeader, request({"Upgrade": "x"})),
        (InvalidOrigin, request({"Origin": "https://evil.example"})),
        (NegotiationError, request({"Sec-WebSocket-Protocol": "unknown"})),
    ],
)
def test_why_accept_gave_a_rejection_stands_in_handshake_exc(
    exc_type: type[InvalidHandshake], rejected: Request
) -> None:
    protocol = ServerProtocol(origins=["https://good.example", None], subprotocols=["chat"])
    response = protocol.accept(rejected)
    assert response.status_code >= 400
    assert type(protocol.handshake_exc) is exc_type
    exc = protocol.handshake_exc
    protocol.send_response(response)
    assert protocol.handshake_exc is exc
    assert isinstance(exc, WebSocketError)


def test_the_connection_is_not_about_to_close_before_a_rejection_is_sent() -> None:
    protocol = ServerProtocol()
    response = protocol.accept(request({"Upgrade": "x"}))
    assert not protocol.close_expected()
    protocol.send_response(response)
    assert protocol.close_expected()


@pytest.mark.parametrize("status", [HTTPStatus.NOT_FOUND, 404])
def test_reject_makes_a_plain_text_response(status: HTTPStatus | int) -> None:
    protocol = ServerProtocol()
    feed(protocol, request_bytes())
    requests_received(protocol)
    response = protocol.reject(status, "Nothing hère.\n")
    assert protocol.data_to_send() == []
    assert (response.status_code, response.reason_phrase) == (404, "Not Found")
    assert response.body == "Nothing hère.\n".encode()
    assert parsedate_to_datetime(response.headers.pop("Date")).year >= 2020
    assert response.headers == Headers(
        {
            "Connection": "close",
            "Content-Length": "15",
            "Content-Type": "text/plain; charset=utf-8",
        }
    )
    response.headers["X-Reason"] = "test"
    protocol.send_response(response)
    assert protocol.data_to_send() == [response.serialize(), SEND_EOF]
    assert str(protocol.handshake_exc) == "rejected with HTTP 404"
    assert_rejected(protocol)


def test_a_status_without_a_registered_phrase_has_none() -> None:
    assert ServerProtocol().reject(299, "").serialize().startswith(b"HTTP/1.1 299 \r\n")


def test_a_rejection_can_be_sent_before_there_is_a_request() -> None:
    protocol = ServerProtocol()
    feed(protocol, b"GET / HT")
    protocol.send_response(protocol.reject(503, "shutting down\n"))
    assert protocol.data_to_send()[1:] == [SEND_EOF]
    feed(protocol, b"TP/1.1\r\n\r\n")
    assert_rejected(protocol)


def test_a_response_of_the_users_own_making_rejects_too() -> None:
    protocol = ServerProtocol()
    protocol.send_response(Response(200, "OK", Headers({"Content-Length": "2"}), b"ok"))
    assert protocol.data_to_send() == [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", SEND_EOF]
    assert str(protocol.handshake_exc) == "rejected with HTTP 200"
    assert_rejected(protocol)


def test_a_rejection_that_is_never_sent_leaves_no_trace_on_an_open_connection() -> None:
    protocol = ServerProtocol()
    good = request()
    protocol.accept(request({"Upgrade": "x"}))
    protocol.reject(500, "")
    assert protocol.handshake_exc is not None
    protocol.send_response(protocol.accept(good))
    assert protocol.handshake_exc is None
    assert state_of(protocol) is State.OPEN


# -- the wrong call at the wrong time


def test_only_one_response_can_be_sent() -> None:
    for status in (101, 404):
        protocol = ServerProtocol()
        good = request()
        accepted = protocol.accept(good) if status == 101 else protocol.reject(404, "")
        protocol.send_response(accepted)
        protocol.data_to_send()
        state = protocol.state
        with pytest.raises(ProtocolError, match="the handshake is over"):
            protocol.send_response(accepted)
        assert protocol.data_to_send() == []
        assert state_of(protocol) is state


def test_a_response_cannot_be_sent_to_a_client_that_has_gone() -> None:
    protocol = ServerProtocol()
    feed(protocol, request_bytes())
    [received] = requests_received(protocol)
    protocol.receive_eof()
    assert protocol.data_to_send() == [SEND_EOF]
    assert str(protocol.handshake_exc) == "the connection ended before the response was sent"
    with pytest.raises(ProtocolError):
        protocol.send_response(protocol.accept(received))
    assert state_of(protocol) is State.CLOSED


def test_a_response_that_cannot_be_written_changes_nothing() -> None:
    protocol = ServerProtocol()
    good = request()
    response = protocol.accept(good)
    response.reason_phrase = "OK\r\nInjected: 1"
    with pytest.raises(ValueError, match="reason phrase"):
        protocol.send_response(response)
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.CONNECTING
    protocol.send_response(protocol.accept(good))
    assert state_of(protocol) is State.OPEN


def test_nothing_but_a_response_can_be_sent_during_the_handshake() -> None:
    protocol = ServerProtocol()
    for send in (protocol.send_text, protocol.send_binary, protocol.send_ping, protocol.send_pong):
        with pytest.raises(ProtocolError, match="CONNECTING"):
            send(b"")
    with pytest.raises(ProtocolError, match="CONNECTING"):
        protocol.send_continuation(b"", True)
    with pytest.raises(ProtocolError, match="CONNECTING"):
        protocol.send_close()
    with pytest.raises(ProtocolError, match="reject the handshake"):
        protocol.fail(1011)
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.CONNECTING


def test_the_end_of_the_stream_within_the_request_is_the_end() -> None:
    for data in (b"", b"GET / HT", request_bytes()[:-1]):
        protocol = ServerProtocol()
        feed(protocol, data)
        protocol.receive_eof()
        assert state_of(protocol) is State.CLOSED
        assert protocol.data_to_send() == [SEND_EOF]
        assert protocol.events_received() == []
        assert str(protocol.handshake_exc) == "the connection ended before the request was complete"
        with pytest.raises(EOFError):
            protocol.receive_data(b"x")
        protocol.receive_eof()
        assert protocol.data_to_send() == []


def test_no_input_is_no_request() -> None:
    protocol = ServerProtocol()
    protocol.receive_data(b"")
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.CONNECTING


def test_a_server_protocol_can_begin_with_an_open_connection() -> None:
    protocol = ServerProtocol(state=State.OPEN)
    feed(protocol, to(Side.SERVER, text("hi")))
    assert protocol.events_received() == [Frame(TEXT, b"hi")]


# -- what follows the request


@pytest.mark.parametrize("split", SPLITS)
def test_what_follows_the_request_is_judged_after_the_101(split: Split) -> None:
    protocol = ServerProtocol()
    feed(
        protocol, request_bytes() + to(Side.SERVER, text("early"), ping(b"?"), text("bird")), split
    )
    [received] = requests_received(protocol)
    assert protocol.data_to_send() == []
    protocol.send_response(protocol.accept(received))
    assert protocol.events_received() == [
        Frame(TEXT, b"early"),
        Frame(PING, b"?"),
        Frame(TEXT, b"bird"),
    ]
    head, *frames = protocol.data_to_send()
    assert head.startswith(b"HTTP/1.1 101 ")
    assert read_wire(b"".join(frames), masked=False) == [pong(b"?")]


@pytest.mark.parametrize("split", SPLITS)
def test_a_frame_may_begin_before_the_101_and_end_after_it(split: Split) -> None:
    protocol = ServerProtocol()
    frame = to(Side.SERVER, text("Hello"))
    feed(protocol, request_bytes() + frame[:8], split)
    protocol.send_response(protocol.accept(*requests_received(protocol)))
    assert protocol.events_received() == []
    feed(protocol, frame[8:], split)
    assert protocol.events_received() == [Frame(TEXT, b"Hello")]


@pytest.mark.parametrize("split", SPLITS)
def test_a_violation_that_was_held_fails_the_connection_after_the_101(split: Split) -> None:
    protocol = ServerProtocol()
    data = to(Side.SERVER, text("ok"), Raw(3), text("never"))
    feed(protocol, request_bytes() + data, split)
    assert protocol.data_to_send() == []
    protocol.send_response(protocol.accept(*requests_received(protocol)))
    assert state_of(protocol) is State.CLOSING
    assert protocol.events_received() == [Frame(TEXT, b"ok")]
    _, *frames, eof = protocol.data_to_send()
    assert read_wire(b"".join(frames), masked=False) == [close(1002, "reserved opcode 0x3")]
    assert eof == SEND_EOF


@pytest.mark.parametrize("split", SPLITS)
def test_a_whole_conversation_may_be_held(split: Split) -> None:
    protocol = ServerProtocol()
    feed(protocol, request_bytes() + to(Side.SERVER, text("x"), close(1000, "bye")), split)
    protocol.send_response(protocol.accept(*requests_received(protocol)))
    assert protocol.events_received() == [Frame(TEXT, b"x"), Frame(CLOSE, b"\x03\xe8bye")]
    _, answer, eof = protocol.data_to_send()
    assert (read_wire(answer, masked=False), eof) == ([close(1000, "bye")], SEND_EOF)
    protocol.receive_eof()
    assert protocol.close_exc.rcvd == Close(1000, "bye")


def test_what_is_held_is_dropped_with_a_rejection() -> None:
    protocol = ServerProtocol()
    feed(protocol, request_bytes() + to(Side.SERVER, text("x"), Raw(3)))
    requests_received(protocol)
    protocol.send_response(protocol.reject(403, ""))
    assert protocol.events_received() == []
    assert len(protocol.data_to_send()) == 2
    assert_rejected(protocol)


@pytest.mark.parametrize("piece", [1, 1000, MAX_HELD + 1])
def test_what_is_held_is_bounded(piece: int) -> None:
    frame = binary(bytes(MAX_HELD - 14)).serialize(masked=True)
    assert len(frame) == MAX_HELD
    protocol = ServerProtocol()
    feed(protocol, request_bytes())
    [received] = requests_received(protocol)
    for i in range(0, len(frame), piece):
        protocol.receive_data(frame[i : i + piece])
    assert protocol.data_to_send() == []
    accepted = protocol.accept(received)

    protocol.receive_data(b"\x81")
    writes = protocol.data_to_send()
    assert writes[-1] == SEND_EOF
    assert writes[0].startswith(b"HTTP/1.1 400 ")
    with pytest.raises(ProtocolError):
        protocol.send_response(accepted)
    assert_rejected(protocol)


def test_as_much_as_may_be_held_is_received() -> None:
    frame = binary(bytes(MAX_HELD - 14)).serialize(masked=True)
    protocol = ServerProtocol()
    feed(protocol, request_bytes() + frame)
    protocol.send_response(protocol.accept(*requests_received(protocol)))
    [received] = protocol.events_received()
    assert isinstance(received, Frame)
    assert len(received.data) == MAX_HELD - 14


# -- Origin


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        (None, None, 101),
        (None, "https://any.example", 101),
        (["https://a.example"], "https://a.example", 101),
        (["https://a.example", "https://b.example"], "https://b.example", 101),
        (["https://a.example", None], None, 101),
        ([None], None, 101),
        (["https://a.example"], None, 403),
        (["https://a.example"], "https://b.example", 403),
        (["https://a.example"], "https://a.example.evil", 403),
        (["https://a.example"], "http://a.example", 403),
        (["https://a.example"], "null", 403),
        ([None], "https://a.example", 403),
        ([], None, 403),
        ([], "https://a.example", 403),
        ([re.compile(r"https://\w+\.example")], "https://a.example", 101),
        ([re.compile(r"https://\w+\.example")], "https://a.example.evil", 403),
        ([re.compile(r"https://\w+\.example")], "x https://a.example", 403),
        ([re.compile(r"https://\w+\.example")], None, 403),
        ([re.compile(""), re.compile(".*")], None, 403),
        (
            ["https://b.example", re.compile(r"https://\w+\.example"), None],
            "https://a.example",
            101,
        ),
        (["https://.*"], "https://a.example", 403),
    ],
)
def test_the_origin_is_checked_when_origins_are_given(
    origins: list[str | re.Pattern[str] | None] | None, origin: str | None, status: int
) -> None:
    protocol = ServerProtocol(origins=origins)
    head, eof = answer(protocol, request_bytes({"Origin": origin}))
    assert head.first_line == f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    assert eof == (status == 403)
    if status == 403:
        assert isinstance(protocol.handshake_exc, InvalidOrigin)
        assert protocol.handshake_exc.origin == origin
        assert_rejected(protocol)


# -- subprotocols


@pytest.mark.parametrize(
    ("supported", "offered", "status", "selected"),
    [
        (None, None, 101, None),
        (None, ["chat"], 101, None),
        ([], ["chat"], 101, None),
        (["chat"], ["chat"], 101, "chat"),
        (["superchat", "chat"], ["chat, superchat"], 101, "superchat"),
        (["superchat", "chat"], ["chat", "other"], 101, "chat"),
        (["superchat", "chat"], ["other", "x, superchat"], 101, "superchat"),
        (["chat"], None, 400, None),
        (["chat"], [""], 400, None),
        (["chat"], ["other"], 400, None),
        (["chat"], ["Chat"], 400, None),
    ],
)
def test_the_first_of_the_servers_subprotocols_that_is_offered_is_selected(
    supported: list[str] | None, offered: list[str] | None, status: int, selected: str | None
) -> None:
    protocol = ServerProtocol(subprotocols=supported)
    head, _ = answer(protocol, request_bytes({"Sec-WebSocket-Protocol": offered}))
    assert head.first_line.split()[1] == str(status)
    assert protocol.subprotocol == selected
    assert head.fields.get("sec-websocket-protocol") == (None if selected is None else [selected])
    if status == 400:
        assert isinstance(protocol.handshake_exc, NegotiationError)
        assert "supports chat" in head.body.decode()
        assert_rejected(protocol)


def test_select_subprotocol_can_be_called_by_itself() -> None:
    protocol = ServerProtocol(subprotocols=["b", "a"])
    assert protocol.select_subprotocol(["a", "b", "c"]) == "b"
    assert ServerProtocol().select_subprotocol(["a"]) is None
    with pytest.raises(NegotiationError, match=re.escape("offered (c, d) is supported")):
        protocol.select_subprotocol(["c", "d"])
    with pytest.raises(NegotiationError, match=re.escape("offered (none) is supported")):
        protocol.select_subprotocol([])


@pytest.mark.parametrize(("offered", "selected"), [("other, chat", "chat"), ("other", None)])
def test_the_callback_of_the_documentation_goes_on_without_a_subprotocol(
    offered: str, selected: str | None
) -> None:
    calls: list[tuple[Protocol, list[str]]] = []

    def select_subprotocol(protocol: ServerProtocol, subprotocols: Sequence[str]) -> str | None:
        calls.append((protocol, list(subprotocols)))
        return "chat" if "chat" in subprotocols else None

    protocol = ServerProtocol(subprotocols=["chat"], select_subprotocol=select_subprotocol)
    head, _ = answer(protocol, request_bytes({"Sec-WebSocket-Protocol": offered}))
    assert calls == [(protocol, offered.split(", "))]
    assert state_of(protocol) is State.OPEN
    assert protocol.subprotocol == selected
    assert head.fields.get("sec-websocket-protocol") == (None if selected is None else [selected])


def test_a_callback_may_refuse_with_a_negotiation_error() -> None:
    def select_subprotocol(protocol: ServerProtocol, subprotocols: Sequence[str]) -> str | None:
        raise NegotiationError("not today")

    protocol = ServerProtocol(select_subprotocol=select_subprotocol)
    head, eof = answer(protocol, request_bytes())
    assert head.first_line == "HTTP/1.1 400 Bad Request"
    assert head.body == b"Failed to open a WebSocket connection: not today.\n"
    assert eof
    assert_rejected(protocol)


def test_a_bug_in_a_callback_comes_out_of_accept_and_the_request_can_still_be_answered() -> None:
    def select_subprotocol(protocol: ServerProtocol, subprotocols: Sequence[str]) -> str | None:
        raise ZeroDivisionError

    protocol = ServerProtocol(select_subprotocol=select_subprotocol)
    feed(protocol, request_bytes())
    [received] = requests_received(protocol)
    with pytest.raises(ZeroDivisionError):
        protocol.accept(received)
    protocol.send_response(protocol.reject(500, "oops\n"))
    assert protocol.data_to_send()[0].startswith(b"HTTP/1.1 500 ")


def test_a_subprotocol_with_a_line_break_does_not_reach_the_wire() -> None:
    protocol = ServerProtocol(select_subprotocol=lambda protocol, offered: "a\r\nInjected: 1")
    with pytest.raises(ValueError, match="Sec-WebSocket-Protocol"):
        protocol.accept(request())
    assert protocol.data_to_send() == []


# -- extensions


def test_offers_are_tried_in_order_and_declined_by_silence() -> None:
    first = ServerFactory(Suffix("x-first", b"1", 0x40), [("level", "9")])
    second = ServerFactory(Suffix("x-second", b"2", 0x20))
    protocol = ServerProtocol(extensions=[first, second])
    offers = ["x-second; bad, x-unknown", "x-second; a=1; b, x-first; bad, x-first"]
    head, _ = answer(protocol, request_bytes({"Sec-WebSocket-Extensions": offers}))
    assert head.fields["sec-websocket-extensions"] == ["x-second, x-first; level=9"]
    assert protocol.extensions == (second.extension, first.extension)
    assert second.seen == [([("bad", None)], []), ([("a", "1"), ("b", None)], [])]
    assert first.seen == [([("bad", None)], [second.extension]), ([], [second.extension])]

    # x-second is applied first when sending, and undone last when receiving.
    protocol.send_text(b"hi")
    assert written(protocol).frames == [Raw(TEXT, b"hi21", rsv=0x60)]
    feed(protocol, to(Side.SERVER, Raw(TEXT, b"hi21", rsv=0x60)))
    assert protocol.events_received() == [Frame(TEXT, b"hi")]


def test_when_every_offer_is_declined_the_connection_has_no_extension() -> None:
    factory = ServerFactory(Suffix("x-first", b"1", 0x40))
    protocol = ServerProtocol(extensions=[factory])
    head, _ = answer(protocol, request_bytes({"Sec-WebSocket-Extensions": "x-first; bad"}))
    assert "sec-websocket-extensions" not in head.fields
    assert state_of(protocol) is State.OPEN
    assert protocol.extensions == ()


def test_held_frames_go_through_the_extensions_that_were_negotiated() -> None:
    protocol = ServerProtocol(extensions=[ServerFactory(Suffix("x", b"!", 0x40))])
    data = request_bytes({"Sec-WebSocket-Extensions": "x"})
    feed(protocol, data + to(Side.SERVER, Raw(TEXT, b"hi!", rsv=0x40)))
    protocol.send_response(protocol.accept(*requests_received(protocol)))
    assert protocol.events_received() == [Frame(TEXT, b"hi")]


def test_an_answer_outside_the_grammar_is_a_mistake_of_the_extension() -> None:
    protocol = ServerProtocol(extensions=[ServerFactory(Suffix("x", b"!", 0x40), [("a", "b c")])])
    with pytest.raises(ValueError, match="isn't a token"):
        protocol.accept(request({"Sec-WebSocket-Extensions": "x"}))


# -- logs


def test_the_handshake_is_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="anyio_ws.server")
    answer(ServerProtocol(), request_bytes())
    answer(ServerProtocol(), request_bytes(line="POST /x HTTP/1.1"))
    asked = [
        "< Host: server.example.com",
        "< Upgrade: websocket",
        "< Connection: Upgrade",
        "< Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "< Sec-WebSocket-Version: 13",
    ]
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if not line.startswith("> Date: ")] == [
        "< GET /chat HTTP/1.1",
        *asked,
        "> HTTP/1.1 101 Switching Protocols",
        "> Upgrade: websocket",
        "> Connection: Upgrade",
        "> Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "< POST /x HTTP/1.1",
        *asked,
        "> HTTP/1.1 405 Method Not Allowed",
        "> Connection: close",
        "> Content-Length: 67",
        "> Content-Type: text/plain; charset=utf-8",
        "> Allow: GET",
        r"> BODY 'Failed to open a WebSocket connection: method POST instead of GET.\n' [67 bytes]",
    ]
