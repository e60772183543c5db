"""What DEBUG shows of a connection: every line of the handshake, every frame, and no secret."""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyio_ws.sansio import (
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    Frame,
    Headers,
    Opcode,
    Protocol,
    Request,
    Response,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    Side,
)
from anyio_ws.sansio.trace import head_lines

from .helpers import SIDES, connection, more, ping, text, to

pytestmark = pytest.mark.usefixtures("codec")

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.DEBUG)
    return lambda: [record.getMessage() for record in caplog.records]


# -- the opening handshake


def test_each_header_is_a_line_and_so_is_the_body() -> None:
    headers = Headers([("Host", "example.org"), ("X-Twice", "1"), ("x-twice", "2")])
    assert list(head_lines("HTTP/1.1 404 Not Found", headers, b"no such\npath")) == [
        "HTTP/1.1 404 Not Found",
        "Host: example.org",
        "X-Twice: 1",
        "x-twice: 2",
        r"BODY 'no such\npath' [12 bytes]",
    ]


@pytest.mark.parametrize(
    "name", ["Authorization", "AUTHORIZATION", "Cookie", "Set-Cookie", "Proxy-Authorization"]
)
def test_secrets_are_redacted(name: str) -> None:
    _, line = head_lines("GET / HTTP/1.1", Headers({name: "Basic c2VjcmV0"}))
    assert line == f"{name}: [redacted]"


@pytest.mark.parametrize("name", ["WWW-Authenticate", "Proxy-Authenticate"])
def test_challenges_are_no_secrets(name: str) -> None:
    _, line = head_lines("HTTP/1.1 401 Unauthorized", Headers({name: 'Basic realm="staff"'}))
    assert line == f'{name}: Basic realm="staff"'


@pytest.mark.parametrize("scheme", ["ws", "wss", "http", "https", "ws+unix"])
def test_urls_are_shown_without_credentials(scheme: str) -> None:
    url, shown = f"{scheme}://ada:secret@h:80/p?q=a@b", f"{scheme}://h:80/p?q=a@b"
    headers = Headers({"Location": url, "Referer": url})
    assert list(head_lines(f"GET {url} HTTP/1.1", headers)) == [
        f"GET {shown} HTTP/1.1",
        f"Location: {shown}",
        f"Referer: {shown}",
    ]


@pytest.mark.parametrize("bad", ["\x1b[31m", "\x9b31m", "\x7f", "\x07", "\u202e"])
def test_nothing_steers_a_terminal(bad: str) -> None:
    headers = Headers({"X": f"a{bad}"} if bad < "\u0100" else {})
    found = list(head_lines(f"HTTP/1.1 200 {bad}", headers, bad.encode()))
    assert len(found) > 1
    assert all(line.isprintable() for line in found)
    assert found[0] == repr(f"HTTP/1.1 200 {bad}")


@given(st.text(), st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0")))
def test_whatever_it_is_a_line_is_printable(start: str, value: str) -> None:
    found = list(head_lines(start, Headers({"X": value}), value.encode()))
    assert all(line.isprintable() for line in found)


def test_long_lines_are_shortened() -> None:
    size = 10**6
    found = list(head_lines("GET /" + "x" * size, Headers({"X": "y" * size}), b"z" * size))
    assert all(len(line) < 600 for line in found)
    assert all("..." in line for line in found)


def test_both_sides_show_both_halves(lines: Lines) -> None:
    client = ClientProtocol("ws://ada:secret@example.org/chat")
    server = ServerProtocol()
    client.send_request(client.connect())
    for data in client.data_to_send():
        server.receive_data(data)
    (request,) = server.events_received()
    assert isinstance(request, Request)
    response = server.accept(request)
    response.headers["Set-Cookie"] = "id=secret"
    server.send_response(response)
    for data in server.data_to_send():
        client.receive_data(data)
    shown = lines()
    assert [line for line in shown if "HTTP/1.1" in line] == [
        "> GET /chat HTTP/1.1",
        "< GET /chat HTTP/1.1",
        "> HTTP/1.1 101 Switching Protocols",
        "< HTTP/1.1 101 Switching Protocols",
    ]
    for line in ("Host: example.org", "Authorization: [redacted]", "Set-Cookie: [redacted]"):
        assert {f"> {line}", f"< {line}"} <= set(shown)
    assert "secret" not in "".join(shown)


def test_a_rejection_is_shown_with_its_body(lines: Lines) -> None:
    client = ClientProtocol("ws://example.org/")
    client.send_request(client.connect())
    response = Response.text(403, "not \x1b you")
    response.headers["Content-Length"] = str(len(response.body))
    client.receive_data(response.serialize())
    client.receive_eof()
    assert lines()[-1] == r"< BODY 'not \x1b you' [9 bytes]"


# -- frames


def deflated(lines: Lines) -> tuple[ClientProtocol, ServerProtocol]:
    """Two that have negotiated compression."""
    client = ClientProtocol("ws://h/", extensions=[ClientPerMessageDeflateFactory()])
    server = ServerProtocol(extensions=[ServerPerMessageDeflateFactory()])
    client.send_request(client.connect())
    for data in client.data_to_send():
        server.receive_data(data)
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    for data in server.data_to_send():
        client.receive_data(data)
    return client, server


@pytest.mark.parametrize("split", [1, 10, 10**6])
def test_what_is_compressed_is_shown_as_it_was_with_its_size_on_the_wire(
    lines: Lines, split: int
) -> None:
    client, server = deflated(lines)
    before = len(lines())
    client.send_text(b"hello " * 100)
    wire = b"".join(client.data_to_send())
    for position in range(0, len(wire), split):
        server.receive_data(wire[position : position + split])
    sent, received = lines()[before:]
    size = len(wire) - 6
    start = ("hello " * 100)[:75]
    assert sent == f"> TEXT '{start}'... [600 bytes, {size} on the wire, rsv1]"
    assert received == "<" + sent[1:]


def test_what_is_not_compressed_is_shown_without_that(lines: Lines) -> None:
    client, server = deflated(lines)
    before = len(lines())
    client.send_text(b"hello", compress=False)
    for data in client.data_to_send():
        server.receive_data(data)
    assert lines()[before:] == ["> TEXT 'hello' [5 bytes]", "< TEXT 'hello' [5 bytes]"]


@pytest.mark.parametrize("side", SIDES)
def test_flags_are_shown_both_ways(lines: Lines, side: Side) -> None:
    protocol = connection(side)
    protocol.send_text(b"a", fin=False)
    protocol.send_continuation(b"b", fin=True)
    protocol.send_frame(Frame(Opcode(0x3), b"c", fin=False, rsv2=True))
    protocol.receive_data(to(side, text("d", fin=False), ping(b"e"), more("f", fin=True)))
    assert lines() == [
        "> TEXT b'a' [1 bytes, continued]",
        "> CONT b'b' [1 bytes]",
        "> RESERVED_3 b'c' [1 bytes, rsv2, continued]",
        "< TEXT b'd' [1 bytes, continued]",
        "< PING b'e' [1 bytes]",
        "> PONG b'e' [1 bytes]",
        "< CONT b'f' [1 bytes]",
    ]


@pytest.mark.parametrize("side", SIDES)
def test_a_huge_payload_is_neither_kept_nor_read_for_its_line(
    side: Side, caplog: pytest.LogCaptureFixture
) -> None:
    frame = Frame(Opcode.TEXT, bytes(2**27))
    began = time.perf_counter()
    assert {len(str(frame)) < 400 for _ in range(100)} == {True}
    assert time.perf_counter() - began < 1, "it takes the time of what it shows"
    caplog.set_level(logging.DEBUG)
    protocol = connection(side, max_size=None)
    protocol.send_binary(bytes(2**20))
    protocol.receive_data(to(side, text("x" * 2**20)))
    assert all(len(str(record.args)) < 400 for record in caplog.records)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("side", SIDES)
@given(data=st.binary(max_size=200), opcode=st.sampled_from([1, 2, 3, 9]), fin=st.booleans())
def test_whatever_a_frame_has_its_line_is_printable(
    side: Side, data: bytes, opcode: int, fin: bool
) -> None:
    assert str(Frame(Opcode(opcode), data, fin)).isprintable()


@pytest.mark.parametrize("side", SIDES)
def test_without_debug_nothing_is_described(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object) -> str:
        raise AssertionError("described")

    monkeypatch.setattr("anyio_ws.sansio.protocol.describe", fail)
    protocol = Protocol(side)
    protocol.send_text(b"x")
    protocol.send_frame(Frame(Opcode.TEXT, b"x"))
    protocol.receive_data(to(side, text("y"), ping()))
    assert protocol.data_to_send()


def test_what_was_compressed_really_was(lines: Lines) -> None:
    """The size that the line names is that of the bytes."""
    client, _ = deflated(lines)
    client.send_text(b"hello " * 100)
    wire = b"".join(client.data_to_send())
    payload = bytes(byte ^ wire[2 + i % 4] for i, byte in enumerate(wire[6:]))
    assert zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff") == b"hello " * 100
