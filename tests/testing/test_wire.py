"""Frames and handshakes written by hand: `RawFrame`, `handshake_request`, `handshake_response`.

They are what the library is measured against, so they are measured against the RFC alone.
"""

from __future__ import annotations

import pytest

from anyio_ws.testing import RawFrame, handshake_request, handshake_response
from anyio_ws.testing.wire import header_value

RFC_EXAMPLES = [  # RFC 6455, section 5.7
    (RawFrame(0x1, b"Hello"), False, "810548656c6c6f"),
    (RawFrame(0x1, b"Hello"), True, "818537fa213d7f9f4d5158"),
    (RawFrame(0x1, b"Hel", fin=False), False, "010348656c"),
    (RawFrame(0x0, b"lo"), False, "80026c6f"),
    (RawFrame(0x9, b"Hello"), False, "890548656c6c6f"),
    (RawFrame(0xA, b"Hello"), True, "8a8537fa213d7f9f4d5158"),
    (RawFrame(0x2, bytes(256)), False, "827e0100" + "00" * 256),
    (RawFrame(0x2, bytes(65536)), False, "827f0000000000010000" + "00" * 65536),
]

ILLEGAL = [
    (RawFrame(0x3), "8300"),
    (RawFrame(0xF, b"x", rsv=0x70), "ff0178"),
    (RawFrame(0x1, b"x", rsv=0x40, fin=False), "410178"),
    (RawFrame(0x2, b"x", width=2), "827e000178"),
    (RawFrame(0x2, b"", width=8), "827f0000000000000000"),
    (RawFrame(0x9, bytes(126)), "897e007e" + "00" * 126),
]


@pytest.mark.parametrize(("frame", "masked", "wire"), RFC_EXAMPLES)
def test_the_examples_of_the_rfc_are_written_and_read(
    frame: RawFrame, masked: bool, wire: str
) -> None:
    data = bytes.fromhex(wire)
    assert frame.serialize(masked=masked) == data
    assert RawFrame.parse(data, masked=masked) == (frame, len(data))


@pytest.mark.parametrize(("frame", "wire"), ILLEGAL)
def test_what_is_illegal_is_written_and_read_as_it_is(frame: RawFrame, wire: str) -> None:
    data = bytes.fromhex(wire)
    assert frame.serialize(masked=False) == data
    assert RawFrame.parse(data, masked=False) == (frame, len(data))


@pytest.mark.parametrize("masked", [False, True])
def test_a_frame_may_insist_on_being_masked_or_not(masked: bool) -> None:
    frame = RawFrame(0x1, b"Hello")
    insisting = frame._replace(masked=masked)
    assert insisting.serialize(masked=not masked) == frame.serialize(masked=masked)


def test_the_masking_key_can_be_chosen() -> None:
    frame = RawFrame(0x2, b"\x01\x02\x03\x04\x05")
    wire = frame.serialize(masked=True, key=b"\x10\x20\x30\x40")
    assert wire.hex() == "8285102030401122334415"


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("size", [0, 1, 125, 126, 300, 65535, 65536])
def test_a_frame_is_read_once_all_of_it_is_there(size: int, masked: bool) -> None:
    frame = RawFrame(0x2, bytes(i * 7 & 0xFF for i in range(size)))
    data = frame.serialize(masked=masked)
    for end in [*range(min(len(data), 20)), len(data) - 1]:
        assert RawFrame.parse(data[:end], masked=masked) is None
    assert RawFrame.parse(bytearray(data + b"more"), masked=masked) == (frame, len(data))


@pytest.mark.parametrize("masked", [False, True])
def test_a_frame_of_the_wrong_masking_is_refused_when_read(masked: bool) -> None:
    data = RawFrame(0x1, b"x").serialize(masked=not masked)
    with pytest.raises(AssertionError, match="masked frame received"):
        RawFrame.parse(data[:2], masked=masked)


def test_the_example_handshake_of_the_rfc_is_answered_as_there() -> None:
    request = handshake_request("/chat", ("Sec-WebSocket-Protocol", "chat"), host="example.com")
    assert request == (
        b"GET /chat HTTP/1.1\r\n"
        b"Host: example.com\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n"
        b"\r\n"
    )
    assert handshake_response(request, ("Sec-WebSocket-Protocol", "chat")) == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        b"Sec-WebSocket-Protocol: chat\r\n"
        b"\r\n"
    )


def test_a_request_without_a_key_has_no_answer() -> None:
    with pytest.raises(AssertionError, match="not the request of a WebSocket client"):
        handshake_response(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")


def test_a_header_is_found_whatever_its_case_and_its_spaces() -> None:
    head = b"HTTP/1.1 200 OK\r\nA: first\r\nx-NAME:\t yes: \xe9 \r\nX-Name: no\r\n\r\n"
    assert header_value(head, "X-Name") == "yes: é"
    assert header_value(head, "missing") is None
