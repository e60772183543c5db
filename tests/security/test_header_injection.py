"""Line breaks and NUL in headers that we write: each would be a header, or a message, of an attacker's.

Wherever a program puts a string that may be somebody else's, it is refused before anything is written, or
written so that it breaks nothing. The characters at the end of `EVIL` become CR and LF where a library keeps
only the low byte of each.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest

from anyio_ws import accept_websocket, open_server, open_websocket
from anyio_ws.sansio import (
    ClientProtocol,
    Headers,
    Request,
    Response,
    ServerProtocol,
    State,
)
from anyio_ws.sansio.extensions.base import Extension
from anyio_ws.testing import handshake_request, memory_stream_pair

from ..sansio.helpers import ClientFactory, ServerFactory, Suffix, state_of

EVIL = [
    *("a\rb", "a\nb", "a\0b", "\r\nX-Evil: 1", "a\r\nX-Evil: 1\r\n\r\n", "\nX-Evil: 1", "a\r\n b"),
    *("\u010d\u010aX-Evil: 1", "\u560d\u560aX-Evil: 1", "a\u2028X-Evil: 1"),
]

evil = pytest.mark.parametrize("text", EVIL)


def assert_harmless(written: bytes, fields: int) -> None:
    """*written* is one head, of that many fields at most, and maybe a body."""
    head, separator, _ = written.partition(b"\r\n\r\n")
    assert separator
    lines = head.split(b"\r\n")
    assert len(lines) - 1 <= fields
    assert all(b"\r" not in line and b"\n" not in line and b"\0" not in line for line in lines)
    assert not any(line.lower().startswith(b"x-evil") for line in lines)


def client(uri: str = "ws://h/", **options: Any) -> bytes:
    protocol = ClientProtocol(uri, **options)
    protocol.send_request(protocol.connect())
    return b"".join(protocol.data_to_send())


def with_field(name: str, value: str) -> bytes:
    protocol = ClientProtocol("ws://h/")
    request = protocol.connect()
    request.headers[name] = value
    protocol.send_request(request)
    return b"".join(protocol.data_to_send())


def with_extension(name: str, value: str) -> bytes:
    factory = ClientFactory(Suffix(name, b"", 0x40), [("p", value)])
    return client(extensions=[factory])


REQUESTS: dict[str, Callable[[str], bytes]] = {
    "origin": lambda text: client(origin=text),
    "subprotocol": lambda text: client(subprotocols=["chat", text]),
    "field": lambda text: with_field("X", text),
    "name": lambda text: with_field(text, "x"),
    "extension": lambda text: with_extension(text, "x"),
    "parameter": lambda text: with_extension("x", text),
    "path": lambda text: client(f"ws://h/{text}"),
    "query": lambda text: client(f"ws://h/?q={text}"),
    "host": lambda text: client(f"ws://h{text}/"),
    "user": lambda text: client(f"ws://u{text}:p@h/"),
    "method": lambda text: Request("/", Headers(), method=f"GET{text}").serialize(),
    "target": lambda text: Request(f"/{text}", Headers()).serialize(),
    "version": lambda text: Request("/", Headers(), http_version=f"1.1{text}").serialize(),
}


@evil
@pytest.mark.parametrize("make", REQUESTS.values(), ids=REQUESTS)
def test_a_request_has_no_line_that_was_not_meant(make: Callable[[str], bytes], text: str) -> None:
    try:
        written = make(text)
    except ValueError:
        return
    assert "\r" not in text
    assert "\n" not in text
    assert "\0" not in text
    assert_harmless(written, 8)


@pytest.mark.parametrize(
    "uri",
    ["ws://h/%0d%0aX-Evil:%201", "ws://h/?%0D%0AX-Evil", "ws://h/%00", "ws://u%C3%A9:p%3A@h/"],
)
def test_what_is_escaped_in_a_uri_stays_so_or_is_encoded(uri: str) -> None:
    written = client(uri)
    assert_harmless(written, 6)
    if "@" in uri:
        assert base64.b64encode("ué:p:".encode()) in written


@pytest.mark.parametrize("credentials", ["u%0d%0aX:p", "u:p%0d%0aX", "u%00:p"])
def test_credentials_have_no_control_characters(credentials: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        client(f"ws://{credentials}@h/")


@pytest.mark.parametrize("host", ["h%0d%0aX-Evil", "h%00", "h%0a"])
def test_a_host_has_nothing_escaped(host: str) -> None:
    with pytest.raises(ValueError, match="no host has '%'"):
        client(f"ws://{host}/")


# -- responses


def server(change: Callable[[ServerProtocol, Response], Response], **options: Any) -> bytes:
    protocol = ServerProtocol(**options)
    protocol.receive_data(
        handshake_request(
            "/", ("Sec-WebSocket-Extensions", "x-e"), ("Sec-WebSocket-Protocol", "chat")
        )
    )
    [request] = protocol.events_received()
    assert isinstance(request, Request)
    try:
        protocol.send_response(change(protocol, protocol.accept(request)))
    except ValueError:
        assert protocol.data_to_send() == [], "half a response was written"
        assert state_of(protocol) is State.CONNECTING
        raise
    return b"".join(protocol.data_to_send())


def same(protocol: ServerProtocol, response: Response) -> Response:
    return response


def with_header(name: str, value: str) -> Callable[[ServerProtocol, Response], Response]:
    def change(protocol: ServerProtocol, response: Response) -> Response:
        response.headers[name] = value
        return response

    return change


def answering(name: str, value: str) -> list[ServerFactory]:
    extension: Extension = Suffix("x-e", b"", 0x40)
    return [ServerFactory(extension, [(name, value)])]


RESPONSES: dict[str, Callable[[str], bytes]] = {
    "field": lambda text: server(with_header("X", text)),
    "name": lambda text: server(with_header(text, "x")),
    "subprotocol": lambda text: server(same, select_subprotocol=lambda _, offered: text),
    "parameter": lambda text: server(same, extensions=answering("x", text)),
    "name of one": lambda text: server(same, extensions=answering(text, "x")),
    "reason phrase": lambda text: server(lambda *_: Response(404, text)),
    "of a 101": lambda text: server(lambda _, good: Response(101, text, good.headers)),
    "text of a rejection": lambda text: server(lambda protocol, _: protocol.reject(404, text)),
}


@evil
@pytest.mark.parametrize("make", RESPONSES.values(), ids=RESPONSES)
def test_a_response_has_no_line_that_was_not_meant(make: Callable[[str], bytes], text: str) -> None:
    try:
        written = make(text)
    except ValueError:
        assert make is not RESPONSES["text of a rejection"]
        return
    assert_harmless(written, 6)


REFLECTED = ["Origin", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version"]


@pytest.mark.parametrize("name", [*REFLECTED, "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"])
def test_what_a_client_sent_is_quoted_in_the_body_only(name: str) -> None:
    protocol = ServerProtocol(origins=["https://example.org"], subprotocols=["chat"])
    head = handshake_request("/").decode()
    lines = [line for line in head.split("\r\n")[:-2] if not line.startswith(f"{name}:")]
    request = "\r\n".join([*lines, f"{name}: X-Evil\x01\x85", "", ""]).encode("iso-8859-1")
    protocol.receive_data(request)
    [event] = protocol.events_received()
    assert isinstance(event, Request)
    protocol.send_response(protocol.accept(event))
    written = b"".join(protocol.data_to_send())
    assert_harmless(written, 6)
    assert b"X-Evil" not in written.partition(b"\r\n\r\n")[0]


# -- options, which are refused before there is a connection


@evil
@pytest.mark.parametrize("option", ["origin", "user_agent_header"])
def test_open_websocket_refuses_the_option(option: str, text: str) -> None:
    with pytest.raises(ValueError, match="value"):
        open_websocket("ws://h/", **{option: text})  # type: ignore[arg-type]  # one of them


@evil
def test_open_websocket_refuses_additional_headers(text: str) -> None:
    for headers in ({"X": text}, {text: "x"}):
        with pytest.raises(ValueError, match="header"):
            open_websocket("ws://h/", additional_headers=headers)


@evil
def test_a_server_refuses_the_option(text: str) -> None:
    async def handler(ws: object) -> None:
        raise AssertionError("never called")

    one, _ = memory_stream_pair()
    with pytest.raises(ValueError, match="value"):
        accept_websocket(one, server_header=text)
    with pytest.raises(ValueError, match="value"):
        open_server(handler, "127.0.0.1", 0, server_header=text)
