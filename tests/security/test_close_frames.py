"""Close frames with codes and reasons that can't be (RFC 6455, sections 5.5.1 and 7.4)."""

from __future__ import annotations

from contextlib import suppress

import pytest

from anyio_ws import ConnectionClosedError, ProtocolError
from anyio_ws.exceptions import ProtocolViolation
from anyio_ws.sansio import Close, Side, State

from ..sansio.helpers import (
    CLOSE,
    SPLITS,
    Raw,
    Split,
    close,
    connection,
    feed,
    state_of,
    text,
    to,
    written,
)
from .helpers import assert_failed, both_sides, connected

REGISTERED = {1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014}
VALID = REGISTERED | set(range(3000, 5000))

# Every code that anything might treat as a special case; the others behave as their neighbours.
CODES = [*range(5200), *range(0x7FF0, 0x8010), *range(0xFFF0, 0x10000)]


@both_sides
def test_a_code_that_cannot_be_is_a_violation_and_any_other_is_echoed(side: Side) -> None:
    for code in CODES:
        protocol = connection(side)
        protocol.receive_data(to(side, close(code)))
        [answer] = written(protocol).frames
        if code in VALID:
            assert answer == close(code)
            assert protocol.close_rcvd == Close(code)
        else:
            assert Close.parse(answer.payload).code == 1002
            assert protocol.close_rcvd is None, "a code that can't be was taken over"
        assert state_of(protocol) is State.CLOSING


def test_no_other_code_is_read() -> None:
    read = set()
    for code in range(0x10000):
        with suppress(ProtocolViolation):
            read.add(Close.parse(code.to_bytes(2, "big")).code)
    assert read == VALID


@both_sides
@pytest.mark.parametrize(
    "code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65_535, 65_536, 2**64]
)
def test_a_code_that_cannot_be_is_not_sent(side: Side, code: int) -> None:
    protocol = connection(side)
    with pytest.raises(ProtocolError, match="invalid close code"):
        protocol.send_close(code, "why")
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.OPEN


@both_sides
@pytest.mark.parametrize("byte", [b"\x00", b"\x03", b"\xff"])
def test_half_a_code_is_a_violation(side: Side, byte: bytes) -> None:
    protocol = connection(side)
    protocol.receive_data(to(side, Raw(CLOSE, byte)))
    assert_failed(protocol, 1002, reason="one byte")


NOT_UTF8 = [
    *(b"\x80", b"\xff", b"\xfe", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xe2\x82", b"\xf0\x9f\xa5"),
    *(b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf4\x90\x80\x80"),
    *(b"\xf8\x88\x80\x80\x80", b"good \xce\xba\xcf then bad \xf4", b"\x00\xc3\x28"),
]


@both_sides
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("reason", NOT_UTF8)
@pytest.mark.parametrize("length", [None, 123])
def test_a_reason_that_is_not_utf8_is_a_violation(
    side: Side, reason: bytes, length: int | None, split: Split
) -> None:
    protocol = connection(side)
    feed(protocol, to(side, close(1000, reason.rjust(length or 0, b"x"))), split)
    assert protocol.close_rcvd is None
    assert_failed(protocol, 1007, reason="UTF-8")


@both_sides
@pytest.mark.parametrize("reason", ["", "x" * 123, "é" * 61, "🥊", "a\r\nb", "\0", "\x1b[2J"])
def test_any_other_reason_is_echoed_and_shown_without_steering_a_terminal(
    side: Side, reason: str
) -> None:
    protocol = connection(side)
    protocol.receive_data(to(side, close(1000, reason)))
    assert protocol.close_rcvd == Close(1000, reason)
    assert written(protocol).frames == [close(1000, reason)]
    assert str(protocol.closing_exc).isprintable()


@both_sides
@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), (b"\x03\xed", 1002), (b"\x00\x00", 1002), (b"\x03\xe8\xff", 1007)],
)
async def test_a_connection_answers_with_the_violation(
    side: Side, payload: bytes, code: int
) -> None:
    async with connected(side) as (ws, peer):
        await peer.send(text("before"), Raw(CLOSE, payload))
        assert await ws.receive() == "before"
        with pytest.raises(ConnectionClosedError):
            await ws.receive()
        assert ws.close_code == 1006
        assert Close.parse((await peer.receive()).payload).code == code
