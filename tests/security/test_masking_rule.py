"""Frames of clients that aren't masked, frames of servers that are (RFC 6455, section 5.1).

The connection fails with 1002 by the second byte, and nothing of the frame reaches the application.
"""

from __future__ import annotations

import pytest

from anyio_ws import ConnectionClosedError
from anyio_ws.sansio import Close, Opcode, Side

from ..sansio.helpers import BINARY, SPLITS, TEXT, Raw, Split, connection, feed, received, text, to
from .helpers import assert_failed, both_sides, connected

REASONS = {
    Side.SERVER: "frame from a client isn't masked",
    Side.CLIENT: "frame from a server is masked",
}


def wrongly(side: Side, frame: Raw) -> bytes:
    return frame.serialize(masked=side is Side.CLIENT)


@both_sides
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("size", [0, 1, 125, 126, 70_000])
@pytest.mark.parametrize("opcode", list(Opcode))
def test_masking_of_the_other_side_fails_the_connection(
    side: Side, opcode: Opcode, size: int, split: Split
) -> None:
    if opcode >= 0x8 and size > 125:
        size = 2
    frames = [text("before", fin=False)] if opcode is Opcode.CONT else [text("before")]
    payload = (
        bytes([3, 232]) + bytes(size - 2) if opcode is Opcode.CLOSE and size > 1 else bytes(size)
    )
    protocol = connection(side)
    protocol.collect_messages()
    feed(protocol, to(side, *frames) + wrongly(side, Raw(opcode, payload)), split)
    assert len(protocol.messages_received()) == 1
    assert_failed(protocol, 1002, reason=REASONS[side])


@both_sides
@pytest.mark.parametrize("size", [2, 126, 2**16])
def test_two_bytes_are_enough(side: Side, size: int) -> None:
    protocol = connection(side)
    protocol.receive_data(wrongly(side, Raw(BINARY, bytes(size)))[:2])
    assert_failed(protocol, 1002, reason=REASONS[side])


@both_sides
@pytest.mark.parametrize("number", [1, 2, 3])
def test_in_the_middle_of_a_message_too(side: Side, number: int) -> None:
    frames = [Raw(TEXT, b"a", fin=False), Raw(0, b"b", fin=False), Raw(0, b"c")]
    frames[number - 1] = frames[number - 1]._replace(masked=side is Side.CLIENT)
    protocol = connection(side)
    protocol.receive_data(to(side, *frames))
    assert len(received(protocol)) == number - 1
    assert_failed(protocol, 1002, reason=REASONS[side])


@both_sides
async def test_a_connection_delivers_what_came_before_and_nothing_else(side: Side) -> None:
    async with connected(side) as (ws, peer):
        await peer.send(text("before"), wrongly(side, text("evil")), text("after"))
        assert await ws.receive() == "before"
        with pytest.raises(ConnectionClosedError, match="1002"):
            await ws.receive()
        assert Close.parse((await peer.receive()).payload).code == 1002
