"""Reserved bits and opcodes: every first byte that a frame can have (RFC 6455, sections 5.2 and 5.5).

What isn't negotiated or defined fails the connection with 1002 by the header, and isn't delivered.
"""

from __future__ import annotations

import pytest

from anyio_ws import ConnectionClosedError
from anyio_ws.sansio import Opcode, Protocol, Side, State

from ..sansio.helpers import Raw, connection, deflate, received, state_of, text, to
from .helpers import assert_failed, both_sides, connected

OPCODES = {0x0, 0x1, 0x2, 0x8, 0x9, 0xA}
CONTROL = {0x8, 0x9, 0xA}

by_extension = pytest.mark.parametrize("compression", [False, True])
by_state = pytest.mark.parametrize("mid_message", [False, True])


def is_legal(first: int, *, compression: bool, mid_message: bool) -> bool:
    fin, rsv, opcode = first >= 0x80, first & 0x70, first & 0x0F
    if opcode not in OPCODES:
        return False
    if opcode in CONTROL:
        return fin and not rsv
    if opcode == 0:
        return mid_message and not rsv
    return not mid_message and (not rsv or (compression and rsv == 0x40))


def prepared(side: Side, *, compression: bool, mid_message: bool) -> Protocol:
    protocol = connection(side, extensions=[deflate()] if compression else [])
    if mid_message:
        protocol.receive_data(to(side, text("begun", fin=False)))
        protocol.events_received()
    return protocol


@both_sides
@by_extension
@by_state
def test_a_first_byte_is_what_the_rfc_and_the_handshake_allow(
    side: Side, compression: bool, mid_message: bool
) -> None:
    masked = side is Side.SERVER
    for first in range(256):
        protocol = prepared(side, compression=compression, mid_message=mid_message)
        protocol.receive_data(bytes([first, masked << 7]) + b"\x00" * 4 * masked)
        frames = received(protocol)
        if is_legal(first, compression=compression, mid_message=mid_message):
            [frame] = frames
            assert frame.opcode == first & 0x0F
            assert (state_of(protocol) is State.OPEN) is (frame.opcode is not Opcode.CLOSE)
        else:
            assert frames == []
            assert_failed(protocol, 1002)


@both_sides
@by_extension
@pytest.mark.parametrize("first", [0x83, 0x87, 0x8B, 0x8F, 0x90, 0xA2, 0xF1, 0xC9, 0x08, 0x09])
def test_its_payload_is_not_waited_for(side: Side, first: int, compression: bool) -> None:
    protocol = prepared(side, compression=compression, mid_message=False)
    masked = side is Side.SERVER
    protocol.receive_data(bytes([first, masked << 7 | 5]))
    assert_failed(protocol, 1002)


@both_sides
@pytest.mark.parametrize(
    "bad", [Raw(0x3, b"evil"), Raw(0xB, b"evil"), Raw(0x1, b"evil", rsv=0x40), Raw(0x9, rsv=0x10)]
)
async def test_a_connection_delivers_what_came_before_and_nothing_else(
    side: Side, bad: Raw
) -> None:
    async with connected(side) as (ws, peer):  # the peer's handshake has no extension
        await peer.send(text("before"), bad, text("after"))
        assert await ws.receive() == "before"
        with pytest.raises(ConnectionClosedError, match="1002"):
            await ws.receive()
