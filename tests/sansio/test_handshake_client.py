"""The client's opening handshake (RFC 6455, section 4.1)."""

from __future__ import annotations

import base64
import logging
from collections.abc import Sequence

import pytest

from anyio_ws.exceptions import (
    ConnectionClosedError,
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    ProtocolError,
)
from anyio_ws.sansio import (
    SEND_EOF,
    ClientProtocol,
    Frame,
    Headers,
    Response,
    Side,
    State,
    parse_uri,
)
from anyio_ws.sansio.handshake import accept_key
from anyio_ws.sansio.http import MAX_BODY, MAX_HEADER_SIZE

from .helpers import (
    CLOSE,
    PING,
    SPLITS,
    TEXT,
    ClientFactory,
    Raw,
    Split,
    Suffix,
    close,
    feed,
    ping,
    pong,
    state_of,
    text,
    to,
    whole,
    written,
)

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # the RFC's example
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

FIELDS = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": ACCEPT}

Values = str | Sequence[str] | None


def client(
    uri: str = "ws://example.com/chat?x=1",
    *,
    extensions: Sequence[ClientFactory] | None = None,
    subprotocols: Sequence[str] | None = None,
    origin: str | None = None,
) -> ClientProtocol:
    """A client that waits for the answer to a request with `KEY`."""
    protocol = ClientProtocol(uri, extensions=extensions, subprotocols=subprotocols, origin=origin)
    protocol.key = KEY
    protocol.send_request(protocol.connect())
    assert len(protocol.data_to_send()) == 1
    return protocol


def response_bytes(
    changes: dict[str, Values] | None = None, *, line: str = "HTTP/1.1 101 Switching Protocols"
) -> bytes:
    """A response that is right but for *changes*: other values, several, or None for none."""
    lines = [line]
    fields: dict[str, Values] = {**FIELDS, **(changes or {})}
    for name, values in fields.items():
        for value in [values] if isinstance(values, str) else values or ():
            lines.append(f"{name}: {value}")
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("iso-8859-1")


def assert_failed(protocol: ClientProtocol) -> None:
    """After a failed handshake there is nothing to do but to wait for the end of the stream."""
    assert state_of(protocol) is State.CONNECTING
    assert protocol.data_to_send() == [SEND_EOF]
    assert protocol.close_expected()
    assert isinstance(protocol.handshake_exc, InvalidHandshake)
    protocol.receive_data(to(Side.CLIENT, ping()))
    assert protocol.events_received() == []
    exc = protocol.handshake_exc
    protocol.receive_eof()
    assert protocol.handshake_exc is exc
    assert protocol.data_to_send() == []
    assert protocol.events_received() == []
    assert state_of(protocol) is State.CLOSED
    assert not protocol.close_expected()
    assert protocol.close_code == 1006
    assert isinstance(protocol.close_exc, ConnectionClosedError)
    with pytest.raises(ProtocolError, match="the handshake is over"):
        protocol.send_request(protocol.connect())


# -- the request


def test_the_request_has_what_the_rfc_demands() -> None:
    protocol = ClientProtocol("ws://example.com:8765/chat?x=1")
    assert state_of(protocol) is State.CONNECTING
    request = protocol.connect()
    assert (request.method, request.path, request.http_version) == ("GET", "/chat?x=1", "1.1")
    assert list(request.headers.raw_items()) == [
        ("Host", "example.com:8765"),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", protocol.key),
        ("Sec-WebSocket-Version", "13"),
    ]
    assert protocol.data_to_send() == []
    protocol.send_request(request)
    assert protocol.data_to_send() == [request.serialize()]
    assert state_of(protocol) is State.CONNECTING
    assert not protocol.close_expected()


def test_the_request_has_what_it_is_asked_for() -> None:
    protocol = ClientProtocol(
        "wss://us%40er:pä%20s%3As@example.com",
        origin="https://example.com",
        extensions=[
            ClientFactory(Suffix("x-a", b"", 0), [("p", "1"), ("q", None)]),
            ClientFactory(Suffix("x-b", b"", 0)),
        ],
        subprotocols=["chat", "superchat"],
    )
    headers = protocol.connect().headers
    assert headers["Host"] == "example.com"
    assert headers["Origin"] == "https://example.com"
    assert headers["Sec-WebSocket-Extensions"] == "x-a; p=1; q, x-b"
    assert headers["Sec-WebSocket-Protocol"] == "chat, superchat"
    scheme, _, credentials = headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(credentials).decode()) == ("Basic", "us@er:pä s:s")


def test_the_end_of_the_stream_suggests_no_tls_where_there_is_tls() -> None:
    protocol = ClientProtocol("wss://example.com/")
    protocol.receive_eof()
    assert str(protocol.handshake_exc) == "the connection ended before the response was complete"


def test_the_request_may_be_changed_before_it_is_sent() -> None:
    protocol = ClientProtocol("ws://example.com/")
    request = protocol.connect()
    request.headers["Cookie"] = "a=b"
    protocol.send_request(request)
    assert b"\r\nCookie: a=b\r\n" in protocol.data_to_send()[0]


def test_keys_have_sixteen_bytes_and_do_not_repeat() -> None:
    keys = {ClientProtocol("ws://h/").key for _ in range(20)}
    assert len(keys) == 20
    assert {len(base64.b64decode(key, validate=True)) for key in keys} == {16}


def test_a_uri_may_be_given_parsed() -> None:
    uri = parse_uri("wss://h/p")
    assert ClientProtocol(uri).uri is uri
    assert ClientProtocol("wss://h/p").uri == uri


def test_a_bad_uri_is_refused_at_once() -> None:
    with pytest.raises(InvalidURI):
        ClientProtocol("http://h/")


@pytest.mark.parametrize("subprotocol", ["", "a b", "a,b", "a\r\nInjected: 1", "é"])
def test_a_subprotocol_that_is_not_a_token_is_refused_at_once(subprotocol: str) -> None:
    with pytest.raises(ValueError, match="isn't a token"):
        ClientProtocol("ws://h/", subprotocols=["ok", subprotocol])


def test_nothing_given_by_the_user_can_inject_a_field() -> None:
    with pytest.raises(ValueError, match="Origin"):
        ClientProtocol("ws://h/", origin="https://a\r\nInjected: 1").connect()
    factory = ClientFactory(Suffix("x", b"", 0), [("a", "b\r\nInjected: 1")])
    with pytest.raises(ValueError, match="isn't a token"):
        ClientProtocol("ws://h/", extensions=[factory]).connect()
    protocol = ClientProtocol("ws://h/")
    request = protocol.connect()
    request.path = "/ HTTP/1.1\r\nInjected: 1"
    with pytest.raises(ValueError, match="isn't a valid request line"):
        protocol.send_request(request)
    assert protocol.data_to_send() == []


# -- a response that opens the connection


@pytest.mark.parametrize("split", SPLITS)
def test_a_good_response_opens_the_connection(split: Split) -> None:
    protocol = client()
    feed(protocol, response_bytes(), split)
    [response] = protocol.events_received()
    assert isinstance(response, Response)
    assert response == Response(101, "Switching Protocols", Headers(FIELDS))
    assert state_of(protocol) is State.OPEN
    assert protocol.handshake_exc is None
    assert protocol.data_to_send() == []
    assert (protocol.subprotocol, protocol.extensions) == (None, ())
    assert not protocol.close_expected()
    protocol.send_text(b"hi")
    assert written(protocol).frames == [text("hi")]


def test_the_response_must_answer_this_request() -> None:
    protocol = ClientProtocol("ws://h/")
    changes: dict[str, Values] = {"Sec-WebSocket-Accept": accept_key(protocol.key)}
    feed(protocol, response_bytes(changes))
    assert state_of(protocol) is State.OPEN


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": "WebSocket"},
        {"Connection": "keep-alive, upgrade"},
        {"Connection": ["keep-alive", "UPGRADE"]},
        {"Sec-WebSocket-Extensions": ""},
        {"Sec-WebSocket-Protocol": ""},
        {"Set-Cookie": ["a=1", "b=2"]},
        {"Content-Length": "0"},
    ],
)
@pytest.mark.parametrize("split", SPLITS)
def test_what_a_response_may_have_it_is_taken_with(
    changes: dict[str, Values], split: Split
) -> None:
    protocol = client()
    feed(protocol, response_bytes(changes), split)
    assert protocol.handshake_exc is None
    assert state_of(protocol) is State.OPEN


@pytest.mark.parametrize("split", SPLITS)
def test_other_informational_responses_come_before_it(split: Split) -> None:
    protocol = client()
    feed(protocol, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + response_bytes(), split)
    assert len(protocol.events_received()) == 1
    assert state_of(protocol) is State.OPEN


@pytest.mark.parametrize("split", SPLITS)
def test_what_follows_the_response_are_frames(split: Split) -> None:
    protocol = client()
    frames = to(Side.CLIENT, text("x"), ping(b"?"), close(1000))
    feed(protocol, response_bytes() + frames, split)
    response, *rest = protocol.events_received()
    assert isinstance(response, Response)
    assert rest == [Frame(TEXT, b"x"), Frame(PING, b"?"), Frame(CLOSE, b"\x03\xe8")]
    assert written(protocol) == ([pong(b"?"), close(1000)], False)
    assert state_of(protocol) is State.CLOSING


@pytest.mark.parametrize("split", SPLITS)
def test_a_violation_right_after_the_response_fails_the_open_connection(split: Split) -> None:
    protocol = client()
    feed(protocol, response_bytes() + to(Side.CLIENT, text("x"), Raw(3)), split)
    assert protocol.events_received()[1:] == [Frame(TEXT, b"x")]
    assert written(protocol) == ([close(1002, "reserved opcode 0x3")], False)
    assert state_of(protocol) is State.CLOSING


def test_frames_after_the_response_can_be_gathered_as_messages() -> None:
    protocol = client()
    protocol.collect_messages()
    feed(protocol, response_bytes() + to(Side.CLIENT, text("x")))
    assert len(protocol.events_received()) == 1
    assert protocol.messages_received() == ["x"]


def test_a_budget_holds_back_what_follows_the_response_and_the_end() -> None:
    protocol = client()
    protocol.budget = 1
    feed(protocol, response_bytes() + to(Side.CLIENT, text("x"), text("y")))
    protocol.receive_eof()
    assert protocol.input_pending
    assert state_of(protocol) is State.OPEN
    assert protocol.events_received()[1:] == [Frame(TEXT, b"x")]
    protocol.receive_data(b"")
    assert protocol.events_received() == [Frame(TEXT, b"y")]
    assert state_of(protocol) is State.CLOSED


# -- a response that doesn't

BAD_FIELDS: list[tuple[dict[str, Values], type[InvalidHandshake], str]] = [
    ({"Connection": None}, InvalidHeader, "missing Connection header"),
    ({"Connection": "close"}, InvalidHeader, "invalid Connection header: 'close'"),
    ({"Connection": "a b"}, InvalidHeader, "'a b' isn't a token"),
    ({"Upgrade": None}, InvalidHeader, "missing Upgrade header"),
    ({"Upgrade": "h2c"}, InvalidHeader, "invalid Upgrade header: 'h2c'"),
    ({"Upgrade": ["websocket", "websocket"]}, InvalidHeader, "invalid Upgrade header"),
    ({"Sec-WebSocket-Accept": None}, InvalidHeader, "missing Sec-WebSocket-Accept header"),
    ({"Sec-WebSocket-Accept": ""}, InvalidHeader, "doesn't answer this request"),
    ({"Sec-WebSocket-Accept": KEY}, InvalidHeader, "doesn't answer this request"),
    ({"Sec-WebSocket-Accept": ACCEPT.lower()}, InvalidHeader, "doesn't answer this request"),
    ({"Sec-WebSocket-Accept": [ACCEPT, ACCEPT]}, InvalidHeader, "may appear only once"),
    ({"Sec-WebSocket-Extensions": "x-z"}, NegotiationError, "'x-z', which wasn't offered"),
    ({"Sec-WebSocket-Extensions": "x-a, x-z"}, NegotiationError, "'x-z', which wasn't offered"),
    ({"Sec-WebSocket-Extensions": "x;"}, InvalidHeader, "Sec-WebSocket-Extensions"),
    ({"Sec-WebSocket-Extensions": "x-refuses"}, NegotiationError, "these parameters won't do"),
    ({"Sec-WebSocket-Protocol": "other"}, NegotiationError, "'other', which wasn't offered"),
    ({"Sec-WebSocket-Protocol": "Chat"}, NegotiationError, "'Chat', which wasn't offered"),
    ({"Sec-WebSocket-Protocol": "chat, chat"}, InvalidHeader, "must choose one"),
    ({"Sec-WebSocket-Protocol": ["chat", "superchat"]}, InvalidHeader, "must choose one"),
    ({"Sec-WebSocket-Protocol": "a b"}, InvalidHeader, "isn't a token"),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("changes", "exc_type", "reason"), BAD_FIELDS)
def test_a_bad_field_fails_the_handshake_and_is_named(
    changes: dict[str, Values], exc_type: type[InvalidHandshake], reason: str, split: Split
) -> None:
    protocol = client(
        extensions=[
            ClientFactory(Suffix("x-a", b"", 0)),
            ClientFactory(Suffix("x-refuses", b"", 0), refuses=True),
        ],
        subprotocols=["chat", "superchat"],
    )
    feed(protocol, response_bytes(changes) + to(Side.CLIENT, text("never")), split)
    [response] = protocol.events_received()
    assert isinstance(response, Response)
    assert response.status_code == 101
    assert type(protocol.handshake_exc) is exc_type
    assert reason in str(protocol.handshake_exc)
    assert (protocol.subprotocol, protocol.extensions) == (None, ())
    assert_failed(protocol)


def test_what_was_not_offered_cannot_be_chosen() -> None:
    for name in ("Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"):
        protocol = client()
        feed(protocol, response_bytes({name: "chat"}))
        assert isinstance(protocol.handshake_exc, NegotiationError)
        assert len(protocol.events_received()) == 1
        assert_failed(protocol)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("HTTP/1.1 200 OK", "200 OK"),
        ("HTTP/1.1 301 Moved", "301 Moved"),
        ("HTTP/1.1 401 Unauthorized", "401 Unauthorized"),
        ("HTTP/1.0 503 Busy", "503 Busy"),
        ("HTTP/1.1 500", "500"),
        ("HTTP/1.1 999 d\xe9j\xe0", "999 déjà"),
        ("HTTP/1.1 403 \x1b[31mred", r"403 '\x1b[31mred'"),
    ],
)
def test_another_status_fails_the_handshake_with_the_response(
    line: str, shown: str, split: Split
) -> None:
    protocol = client()
    feed(protocol, response_bytes({"Content-Length": "5"}, line=line) + b"Helloand more", split)
    [response] = protocol.events_received()
    assert isinstance(response, Response)
    assert response.body == b"Hello"
    assert isinstance(protocol.handshake_exc, InvalidStatus)
    assert protocol.handshake_exc.response is response
    assert str(protocol.handshake_exc) == f"server answered HTTP {shown} instead of 101"
    assert_failed(protocol)


BODIES = [
    ("Content-Length: 5\r\n\r\nHello", False, b"Hello"),
    ("Transfer-Encoding: chunked\r\n\r\n2\r\nHe\r\n3\r\nllo\r\n0\r\n\r\n", False, b"Hello"),
    ("Content-Length: 99\r\n\r\nHello", True, b"Hello"),
    ("Transfer-Encoding: chunked\r\n\r\n2\r\nHe\r\n3\r\nllo\r\n", True, b"Hello"),
    ("\r\nHello", True, b"Hello"),
    ("\r\n" + "x" * MAX_BODY + "y", False, b"x" * MAX_BODY),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(("rest", "needs_eof", "body"), BODIES)
def test_the_body_of_a_rejection_is_kept_for_whoever_wants_to_know(
    rest: str, needs_eof: bool, body: bytes, split: Split
) -> None:
    protocol = client()
    feed(protocol, f"HTTP/1.1 404 Not Found\r\n{rest}".encode(), split)
    if needs_eof:
        assert protocol.events_received() == []
        assert protocol.handshake_exc is None
        protocol.receive_eof()
    [response] = protocol.events_received()
    assert isinstance(response, Response)
    assert response.body == body
    assert isinstance(protocol.handshake_exc, InvalidStatus)
    assert protocol.data_to_send() == [SEND_EOF]
    assert state_of(protocol) is (State.CLOSED if needs_eof else State.CONNECTING)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"\x15\x03\x03\x00\x02\x02\x16",
        b"\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 101 OK\r\nbad line\r\n\r\n",
        b"HTTP/1.1 101 OK\r\nX: " + b"a" * MAX_HEADER_SIZE + b"\r\n\r\n",
        b"HTTP/1.1 101 OK\r\n" + b"X: 1\r\n" * MAX_HEADER_SIZE,
    ],
)
def test_what_is_no_response_fails_the_handshake_without_an_event(
    data: bytes, split: Split
) -> None:
    protocol = client()
    feed(protocol, data + b"trailing", split)
    assert protocol.events_received() == []
    assert type(protocol.handshake_exc) is InvalidMessage
    assert_failed(protocol)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 1", response_bytes()[:-1]])
def test_the_end_of_the_stream_within_the_response_is_the_end(data: bytes, split: Split) -> None:
    protocol = client()
    feed(protocol, data, split)
    assert protocol.handshake_exc is None
    protocol.receive_eof()
    said = "the connection ended before the response was complete"
    if not data:
        said += ", and before it began: does the server want TLS (wss://)?"
    assert str(protocol.handshake_exc) == said
    assert protocol.events_received() == []
    assert protocol.data_to_send() == [SEND_EOF]
    assert state_of(protocol) is State.CLOSED
    with pytest.raises(EOFError):
        protocol.receive_data(b"x")
    protocol.receive_eof()
    assert protocol.data_to_send() == []


def test_no_input_is_no_response() -> None:
    protocol = client()
    protocol.receive_data(b"")
    assert protocol.handshake_exc is None
    assert state_of(protocol) is State.CONNECTING


# -- the wrong call at the wrong time


def test_nothing_but_a_request_can_be_sent_during_the_handshake() -> None:
    protocol = client()
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


def test_a_request_cannot_be_sent_on_an_open_connection() -> None:
    protocol = client()
    feed(protocol, response_bytes())
    with pytest.raises(ProtocolError, match="the handshake is over"):
        protocol.send_request(protocol.connect())
    assert protocol.data_to_send() == []


def test_a_client_protocol_can_begin_with_an_open_connection() -> None:
    protocol = ClientProtocol("ws://h/", state=State.OPEN)
    feed(protocol, to(Side.CLIENT, text("hi")), whole)
    assert protocol.events_received() == [Frame(TEXT, b"hi")]


# -- negotiation


def test_the_servers_choice_of_a_subprotocol_is_taken_over() -> None:
    protocol = client(subprotocols=["chat", "superchat"])
    feed(protocol, response_bytes({"Sec-WebSocket-Protocol": "superchat"}))
    assert protocol.subprotocol == "superchat"
    protocol = client(subprotocols=["chat"])
    feed(protocol, response_bytes())
    assert (protocol.subprotocol, protocol.state) == (None, State.OPEN)


def test_the_servers_choice_of_extensions_is_taken_over_in_its_order() -> None:
    first = ClientFactory(Suffix("x-first", b"1", 0x40))
    second = ClientFactory(Suffix("x-second", b"2", 0x10))
    protocol = client(extensions=[first, second])
    changes: dict[str, Values] = {"Sec-WebSocket-Extensions": ["x-second; p=1; q", "x-first"]}
    frame = to(Side.CLIENT, Raw(TEXT, b"hi21", rsv=0x50))
    feed(protocol, response_bytes(changes) + frame)
    assert protocol.extensions == (second.extension, first.extension)
    assert second.seen == [([("p", "1"), ("q", None)], [])]
    assert first.seen == [([], [second.extension])]
    assert protocol.events_received()[1:] == [Frame(TEXT, b"hi")]
    protocol.send_text(b"hi")
    assert written(protocol).frames == [Raw(TEXT, b"hi21", rsv=0x50)]


# -- logs


def test_the_handshake_is_logged_at_debug(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="anyio_ws.client")
    protocol = client()
    feed(protocol, response_bytes(line="HTTP/1.1 200 \x1b[31m"))
    protocol.receive_eof()
    assert [record.getMessage() for record in caplog.records] == [
        "> GET /chat?x=1 HTTP/1.1",
        "> Host: example.com",
        "> Upgrade: websocket",
        "> Connection: Upgrade",
        "> Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "> Sec-WebSocket-Version: 13",
        r"< 'HTTP/1.1 200 \x1b[31m'",
        "< Upgrade: websocket",
        "< Connection: Upgrade",
        "< Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ]


def test_a_client_does_not_switch_protocols_in_http_1_0() -> None:
    client = ClientProtocol("ws://example/")
    client.send_request(client.connect())
    client.receive_data(b"HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n")
    assert isinstance(client.handshake_exc, InvalidMessage)
    assert "HTTP/1.0" in str(client.handshake_exc)
