"""Frame lengths that no memory could hold, or that overflow an integer of 64, 63, 32 or 31 bits.

Judged by their header; nothing is allocated for what was only announced, also where there is no limit.
"""

from __future__ import annotations

import pytest

from anyio_ws import ConnectionClosedError
from anyio_ws.sansio import Close, Protocol, Side, State

from ..measure import peak_of
from ..sansio.helpers import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    SPLITS,
    TEXT,
    Split,
    feed,
    received,
    state_of,
    text,
    to,
)
from .helpers import KIB, MIB, assert_failed, both_sides, connected, negotiated

ILLEGAL = [2**63, 2**63 + 1, 2**64 - 1]
"""The most significant bit must be 0 (RFC 6455, section 5.2)."""

HUGE = [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**32 + 1, 2**53 + 1, 2**63 - 1]

by_compression = pytest.mark.parametrize("rsv", [0, 0x40], ids=["plain", "compressed"])
by_split = pytest.mark.parametrize("split", SPLITS)


def header(side: Side, size: int, *, opcode: int = BINARY, rsv: int = 0) -> bytes:
    """The header of a frame to *side*, with a length of 64 bits."""
    masked = side is Side.SERVER
    head = bytes([0x80 | rsv | opcode, masked << 7 | 127]) + size.to_bytes(8, "big")
    return head + b"\x00\x00\x00\x00" * masked


def peak(protocol: Protocol, wire: bytes, split: Split) -> int:
    return peak_of(lambda: feed(protocol, wire, split))


@both_sides
@by_split
@by_compression
@pytest.mark.parametrize("max_size", [MIB, None])
@pytest.mark.parametrize("size", ILLEGAL)
def test_a_length_of_64_bits_is_a_violation(
    side: Side, size: int, max_size: int | None, rsv: int, split: Split
) -> None:
    protocol = negotiated(side, max_size=max_size)
    assert peak(protocol, header(side, size, rsv=rsv) + b"data", split) < 16 * KIB
    assert_failed(protocol, 1002, reason="most significant bit")
    assert received(protocol) == []


@both_sides
@by_split
@by_compression
@pytest.mark.parametrize("max_size", [1, MIB, 2**31 - 2])
@pytest.mark.parametrize("size", HUGE)
def test_a_length_beyond_the_limit_is_refused_by_the_header(
    side: Side, size: int, max_size: int, rsv: int, split: Split
) -> None:
    if rsv and size <= max_size * 9 // 8 + KIB:
        size *= 2  # compressed data may be longer than what it stands for
    protocol = negotiated(side, max_size=max_size)
    assert peak(protocol, header(side, size, rsv=rsv) + b"data", split) < 16 * KIB
    assert_failed(protocol, 1009)
    assert received(protocol) == []


@both_sides
@by_split
@by_compression
@pytest.mark.parametrize("size", HUGE)
def test_without_a_limit_only_what_arrives_takes_memory(
    side: Side, size: int, rsv: int, split: Split
) -> None:
    protocol = negotiated(side, max_size=None)
    wire = header(side, size, rsv=rsv) + b"\x00\x00\x00\xff\xff" * 200
    assert peak(protocol, wire, split) < (64 if rsv else 16) * KIB  # zlib's window
    assert state_of(protocol) is State.OPEN
    assert received(protocol) == []


@both_sides
@by_split
@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
@pytest.mark.parametrize("size", [0, 125, 126, *HUGE, *ILLEGAL])
def test_a_control_frame_has_no_long_length(
    side: Side, size: int, opcode: int, split: Split
) -> None:
    protocol = negotiated(side)
    feed(protocol, header(side, size, opcode=opcode), split)
    assert_failed(protocol, 1002, reason="limit of 125")


@both_sides
@by_split
@pytest.mark.parametrize("size", [0, 1, 125, 126, 2**16 - 1])
def test_a_length_that_is_longer_than_it_need_be_is_a_violation(
    side: Side, size: int, split: Split
) -> None:
    protocol = negotiated(side)
    feed(protocol, header(side, size, opcode=TEXT), split)
    assert_failed(protocol, 1002, reason="shortest form")


@both_sides
@pytest.mark.parametrize(("size", "code"), [(2**64 - 1, 1002), (2**63 - 1, 1009)])
async def test_a_connection_tells_the_peer_and_delivers_what_came_before(
    side: Side, size: int, code: int
) -> None:
    async with connected(side) as (ws, peer):
        await peer.send(to(side, text("before")) + header(side, size) + bytes(1000))
        assert await ws.receive() == "before"
        with pytest.raises(ConnectionClosedError):
            await ws.receive()
        assert Close.parse((await peer.receive()).payload).code == code
