"""How a server answers requests that it can't accept: status, headers, a short body, and the end.

What comes behind a request is frames, never another request and never a body.
"""

from __future__ import annotations

from http import HTTPStatus

import pytest

from anyio_ws.exceptions import InvalidHandshake, NegotiationError
from anyio_ws.sansio import SEND_EOF, Request, ServerProtocol, Side, State

from .helpers import SPLITS, Head, Split, close, feed, read_http, read_wire, state_of, text, to

REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)

UPGRADE = {"upgrade": ["websocket"], "sec-websocket-version": ["13"]}


def with_fields(*fields: bytes) -> bytes:
    return REQUEST[:-2] + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


ANSWERS: dict[str, tuple[bytes, int, dict[str, list[str]], str]] = {
    "a web page": (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 426, UPGRADE, "missing Connection header"),
    "another protocol": (
        REQUEST.replace(b"websocket\r\n", b"h2c\r\n", 1),
        426,
        UPGRADE,
        "invalid Upgrade header: 'h2c'",
    ),
    "another version of the protocol": (
        REQUEST.replace(b"-Version: 13", b"-Version: 14"),
        426,
        UPGRADE,
        "invalid Sec-WebSocket-Version header: '14' (expected 13)",
    ),
    "another method": (
        REQUEST.replace(b"GET", b"POST"),
        405,
        {"allow": ["GET"]},
        "method POST instead of GET",
    ),
    "an older HTTP": (
        REQUEST.replace(b"HTTP/1.1", b"HTTP/1.0"),
        505,
        {},
        "HTTP version 1.0 instead of 1.1",
    ),
    "an older HTTP, bare": (b"GET / HTTP/1.0\r\n\r\n", 505, {}, "HTTP version 1.0 instead of 1.1"),
    "a newer HTTP": (b"PRI * HTTP/2.0\r\n\r\n", 505, {}, "HTTP version 2.0 instead of 1.1"),
    "no HTTP": (b"HELO there\r\n\r\n", 400, {}, "illegal request line"),
    "no version of HTTP": (
        REQUEST.replace(b"HTTP/1.1", b"HTTP/x"),
        400,
        {},
        "illegal request line",
    ),
    "no key": (
        REQUEST.replace(b"Sec-WebSocket-Key", b"X"),
        400,
        {},
        "missing Sec-WebSocket-Key header",
    ),
    "the wrong origin": (
        with_fields(b"Origin: http://evil.example"),
        403,
        {},
        "origin 'http://evil.example' isn't accepted",
    ),
    "a long target": (
        b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
        414,
        {},
        "request line of 8193 bytes or more exceeds the limit of 8192 (max_request_line)",
    ),
    "large headers": (
        with_fields(b"X: " + b"x" * 17_000),
        431,
        {},
        "HTTP header of 16385 bytes or more exceeds the limit of 16384 (max_header_size)",
    ),
    "many headers": (
        with_fields(*[b"X: x"] * 200),
        431,
        {},
        "205 HTTP header fields exceed the limit of 128 (max_header_count)",
    ),
    "a body": (with_fields(b"Content-Length: 3"), 400, {}, "can't have a body"),
    "a body in chunks": (with_fields(b"Transfer-Encoding: chunked"), 400, {}, "can't have a body"),
    "a body nobody can read": (with_fields(b"Transfer-Encoding: gzip"), 501, {}, "chunked"),
    "a body told twice": (
        with_fields(b"Content-Length: 3", b"Content-Length: 3"),
        400,
        {},
        "can't have a body",
    ),
    "two lengths": (
        with_fields(b"Content-Length: 0", b"Content-Length: 3"),
        400,
        {},
        "conflicting Content-Length headers",
    ),
    "two lengths in one": (
        with_fields(b"Content-Length: 0, 3"),
        400,
        {},
        "conflicting Content-Length headers",
    ),
    "a length that is none": (with_fields(b"Content-Length: +0"), 400, {}, "bad Content-Length"),
    "chunks and a length": (
        with_fields(b"Transfer-Encoding: chunked", b"Content-Length: 0"),
        400,
        {},
        "can't have a body",
    ),
}

BEHIND = [b"", to(Side.SERVER, text("x")), b"abc", REQUEST, b"0\r\n\r\n" + REQUEST]


def refused(protocol: ServerProtocol, data: bytes, split: Split) -> Head:
    """Feed *data*; return the one answer, after which there must be nothing but the end."""
    feed(protocol, data, split)
    for event in protocol.events_received():
        assert isinstance(event, Request)
        protocol.send_response(protocol.accept(event))
    writes = protocol.data_to_send()
    assert writes[1:] == [SEND_EOF]
    assert protocol.close_expected()
    feed(protocol, data, split)
    assert protocol.events_received() == []
    assert protocol.data_to_send() == []
    return read_http(writes[0])


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("behind", BEHIND, ids=["nothing", "frame", "text", "request", "chunk"])
@pytest.mark.parametrize("case", ANSWERS)
def test_every_refusal_has_its_status_a_short_text_and_the_end(
    case: str, behind: bytes, split: Split
) -> None:
    data, status, fields, reason = ANSWERS[case]
    protocol = ServerProtocol(origins=["http://good.example", None])
    head = refused(protocol, data + behind, split)
    assert head.first_line == f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"
    del head.fields["date"]
    assert head.fields == {
        "connection": ["close"],
        "content-length": [str(len(head.body))],
        "content-type": ["text/plain; charset=utf-8"],
        **fields,
    }
    assert reason in head.body.decode()
    assert len(head.body) < 500
    assert isinstance(protocol.handshake_exc, InvalidHandshake)
    assert reason in str(protocol.handshake_exc)
    assert state_of(protocol) is State.CONNECTING


def test_in_answer_to_head_the_text_is_counted_and_left_out() -> None:
    data = b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"
    head = refused(ServerProtocol(), data, lambda data: iter([data]))
    same = refused(ServerProtocol(), data.replace(b"HEAD", b"POST"), lambda data: iter([data]))
    assert head.body == b""
    assert head.fields["content-length"] == [str(len(same.body))]
    assert same.body


@pytest.mark.parametrize("split", SPLITS)
def test_a_second_request_behind_a_good_one_is_read_as_frames(split: Split) -> None:
    protocol = ServerProtocol()
    feed(protocol, REQUEST + REQUEST, split)
    [request] = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    assert state_of(protocol) is State.CLOSING
    _, *frames, eof = protocol.data_to_send()
    assert eof == SEND_EOF
    # "G" has a reserved opcode
    assert read_wire(b"".join(frames), masked=False) == [close(1002, "reserved opcode 0x7")]


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 8000 + b"\r\n\r\n",
        b"x" * 8000 + b" / HTTP/1.1\r\nHost: h\r\n\r\n",
        with_fields(b"x" * 16_000),
        with_fields(b"Origin: " + b"\x01" * 16_000),
        REQUEST.replace(b": websocket", b": " + b"\xff" * 16_000),
        REQUEST.replace(b": Upgrade", b": " + b"\x01" * 16_000),
        REQUEST.replace(b"-Version: 13", b"-Version: " + b"\x01" * 16_000),
        REQUEST.replace(b"-Key: ", b"-Key: " + b"\x01" * 16_000),
        with_fields(b"Sec-WebSocket-Protocol: " + b"x" * 16_000),
        with_fields(b"Sec-WebSocket-Protocol: " + b"\x01" * 16_000),
        with_fields(b"Sec-WebSocket-Extensions: " + b"\x01" * 16_000),
        with_fields(b"Content-Length: " + b"1" * 16_000),
    ],
)
def test_a_refusal_is_short_whatever_it_quotes(data: bytes) -> None:
    protocol = ServerProtocol(origins=["http://good.example", None], subprotocols=["chat"])
    head = refused(protocol, data, lambda data: iter([data]))
    assert len(head.body) < 1500
    assert len(str(protocol.handshake_exc)) < 1500


def test_a_refusal_of_many_subprotocols_names_those_that_would_do() -> None:
    protocol = ServerProtocol(subprotocols=["chat"])
    with pytest.raises(NegotiationError, match="this server supports chat"):
        protocol.select_subprotocol(["x"] * 5000)


def test_the_limits_are_parameters() -> None:
    limits = {"max_request_line": 100, "max_header_size": 1000, "max_header_count": 5}
    for data, status in [
        (REQUEST, None),
        (with_fields(b"X: 1"), 431),
        (REQUEST.replace(b"/chat", b"/" + b"x" * 90), 414),
        (REQUEST.replace(b"Host: h", b"Host: " + b"h" * 1000), 431),
    ]:
        protocol = ServerProtocol(**limits)  # type: ignore[arg-type]  # all are integers
        protocol.receive_data(data)
        if status is None:
            assert len(protocol.events_received()) == 1
        else:
            assert protocol.data_to_send()[0].startswith(b"HTTP/1.1 %d " % status)
