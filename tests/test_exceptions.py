"""The error hierarchy."""

from __future__ import annotations

import errno
import pickle

import pytest

from anyio_ws import exceptions
from anyio_ws.exceptions import (
    ConnectError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHandshake,
    InvalidHeader,
    InvalidJSON,
    InvalidMessage,
    InvalidOrigin,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    ProtocolError,
    ProtocolViolation,
    ProxyError,
    WebSocketError,
)
from anyio_ws.sansio import Close, Headers, Response

OK = Close(1000, "bye")
BAD = Close(1011, "oops")
RESPONSE = Response(404, "Not Found", Headers([("A", "1"), ("a", "2")]), b"no")

SHOWN: list[tuple[WebSocketError, str]] = [
    (WebSocketError("what"), "what"),
    (InvalidURI("http://h", "bad scheme"), "'http://h' isn't a valid WebSocket URI: bad scheme"),
    (ConnectError("connection refused", errno.ECONNREFUSED), "connection refused"),
    (ConnectError("TLS failed"), "TLS failed"),
    (InvalidHandshake("rejected with HTTP 503"), "rejected with HTTP 503"),
    (InvalidMessage("no request line received"), "no request line received"),
    (InvalidMessage("too long", 431), "too long"),
    (InvalidStatus(RESPONSE), "server answered HTTP 404 Not Found instead of 101"),
    (InvalidStatus(Response(299, "")), "server answered HTTP 299 instead of 101"),
    (InvalidStatus(Response(200, "\x1b[31m")), r"server answered HTTP 200 '\x1b[31m' instead of 101"),
    (
        InvalidStatus(RESPONSE, "not followed"),
        "server answered HTTP 404 Not Found instead of 101; not followed",
    ),
    (
        InvalidStatus(Response.text(400, "what was wrong\n")),
        "server answered HTTP 400 Bad Request instead of 101: 'what was wrong'",
    ),
    (
        InvalidStatus(Response.text(400, "\x1b[31m\u202e\r\n" + "a" * 200), "why"),
        "server answered HTTP 400 Bad Request instead of 101: "
        rf"'\x1b[31m\u202e {'a' * 93}...'; why",
    ),
    (
        InvalidStatus(Response.text(404, '{"error": "gone"}', {"Content-Type": "Application/JSON"})),
        """server answered HTTP 404 Not Found instead of 101: '{"error": "gone"}'""",
    ),
    (
        InvalidStatus(Response.text(502, "<html>", {"Content-Type": "text/html"})),
        "server answered HTTP 502 Bad Gateway instead of 101",
    ),
    (
        InvalidStatus(Response.text(500, " ")),
        "server answered HTTP 500 Internal Server Error instead of 101",
    ),
    (InvalidHeader("Upgrade"), "missing Upgrade header"),
    (InvalidHeader("Upgrade", "h2c"), "invalid Upgrade header: 'h2c'"),
    (InvalidHeader("Upgrade", "a\r\nb"), r"invalid Upgrade header: 'a\r\nb'"),
    (InvalidHeader("Upgrade", "h2c", "no"), "invalid Upgrade header: 'h2c' (no)"),
    (InvalidHeader("Upgrade", None, "expected websocket"), "missing Upgrade header (expected websocket)"),
    (InvalidOrigin("https://evil"), "origin 'https://evil' isn't accepted"),
    (InvalidOrigin(None), "missing Origin header"),
    (NegotiationError("no common subprotocol"), "no common subprotocol"),
    (ProxyError("no such host"), "no such host"),
    (ProxyError("the proxy refused: HTTP 407", RESPONSE), "the proxy refused: HTTP 407"),
    (InvalidJSON("[1,", "Expecting value"), "not the JSON that was expected: Expecting value"),
    (InvalidJSON(b"x", "no \x1b[31m"), r"not the JSON that was expected: 'no \x1b[31m'"),
    (ProtocolError("can't send"), "can't send"),
    (ProtocolViolation(1002, "reserved opcode 0x3"), "reserved opcode 0x3"),
    (ConnectionClosed(None, None), "no close frame received or sent"),
    (ConnectionClosedError(None, BAD), "sent 1011 (internal error) oops; no close frame received"),
    (ConnectionClosedError(BAD, None), "received 1011 (internal error) oops; no close frame sent"),
    (
        ConnectionClosedOK(OK, OK, True),
        "received 1000 (normal closure) bye; then sent 1000 (normal closure) bye",
    ),
    (
        ConnectionClosedError(OK, BAD, False),
        "sent 1011 (internal error) oops; then received 1000 (normal closure) bye",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("exc", "shown"), SHOWN)
def test_an_error_says_what_was_wrong(exc: WebSocketError, shown: str) -> None:
    assert str(exc) == shown


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("exc", [exc for exc, _ in SHOWN])
def test_an_error_survives_pickling(exc: WebSocketError, protocol: int) -> None:
    copy = pickle.loads(pickle.dumps(exc, protocol))
    assert type(copy) is type(exc)
    assert str(copy) == str(exc)
    assert copy.args == exc.args
    assert vars(copy) == vars(exc)


def test_every_public_error_is_shown_and_pickled_here() -> None:
    assert {type(exc).__name__ for exc, _ in SHOWN} == set(exceptions.__all__)


PARENTS: dict[type[WebSocketError], tuple[type, ...]] = {
    InvalidURI: (WebSocketError, ValueError),
    ConnectError: (WebSocketError, OSError),
    InvalidHandshake: (WebSocketError,),
    InvalidMessage: (InvalidHandshake,),
    InvalidStatus: (InvalidHandshake,),
    InvalidHeader: (InvalidHandshake,),
    InvalidOrigin: (InvalidHandshake,),
    NegotiationError: (InvalidHandshake,),
    ProxyError: (InvalidHandshake,),
    InvalidJSON: (WebSocketError, ValueError),
    ProtocolError: (WebSocketError,),
    ProtocolViolation: (WebSocketError,),
    ConnectionClosed: (WebSocketError,),
    ConnectionClosedOK: (ConnectionClosed,),
    ConnectionClosedError: (ConnectionClosed,),
}


def test_errors_stand_where_the_documentation_puts_them() -> None:
    assert WebSocketError.__bases__ == (Exception,)
    for error, parents in PARENTS.items():
        assert error.__bases__ == parents
    names = {WebSocketError.__name__, *(error.__name__ for error in PARENTS)}
    assert names == set(exceptions.__all__)


def test_errors_carry_what_they_are_about() -> None:
    uri = InvalidURI("http://h", "why")
    assert (uri.uri, uri.reason) == ("http://h", "why")
    connect = ConnectError("refused", errno.ECONNREFUSED)
    assert (connect.message, connect.errno) == ("refused", errno.ECONNREFUSED)
    assert ConnectError("unresolvable").errno is None
    message = InvalidMessage("why")
    assert (message.reason, message.status) == ("why", 400)
    status = InvalidStatus(RESPONSE, "why")
    assert (status.response, status.reason) == (RESPONSE, "why")
    assert InvalidStatus(RESPONSE).reason is None
    header = InvalidHeader("Upgrade", "x", "why")
    assert (header.name, header.value, header.reason) == ("Upgrade", "x", "why")
    assert InvalidOrigin("https://x").origin == "https://x"
    proxy = ProxyError("refused", RESPONSE)
    assert (proxy.message, proxy.response) == ("refused", RESPONSE)
    assert ProxyError("refused").response is None
    json = InvalidJSON("[1,", "why")
    assert (json.message, json.reason) == ("[1,", "why")
    violation = ProtocolViolation(1007, "why")
    assert (violation.code, violation.reason) == (1007, "why")
    closed = ConnectionClosed(OK, BAD, True)
    assert (closed.rcvd, closed.sent, closed.rcvd_then_sent) == (OK, BAD, True)
    assert ConnectionClosed(None, None).rcvd_then_sent is None
    assert closed.connection_id is None
