"""A few kilobytes that inflate to gigabytes, at every window and takeover setting that can be negotiated.

At its peak a message that is refused takes the limit and 128 KiB, one that is accepted twice its size and
128 KiB. `tests/sansio/test_permessage_deflate_limits.py` has more kinds of data; here the handshake is real.
"""

from __future__ import annotations

import functools
import gc
import tracemalloc
import zlib

import pytest

from anyio_ws import ConnectionClosedError
from anyio_ws.sansio import Close, Protocol, Side

from ..measure import peak_of
from ..sansio.helpers import BINARY, Raw, Split, compressed, feed, more, received, to
from .helpers import KIB, MIB, arriving, assert_failed, both_sides, connected, negotiated

LIMIT = 256 * KIB
SLACK = 128 * KIB

settings = [
    pytest.mark.parametrize("bits", range(8, 16)),
    pytest.mark.parametrize("alone", [False, True]),
]


@functools.cache
def squeezed(size: int, bits: int = 15) -> bytes:
    """A message of zeros. zlib can't compress for 8 bits: such a small distance never comes up in zeros."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -max(bits, 9), 9)
    data = deflater.compress(bytes(size)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    return data.removesuffix(b"\x00\x00\xff\xff")


def peak(protocol: Protocol, wire: bytes, split: Split) -> int:
    return peak_of(lambda: feed(protocol, wire, split))


@both_sides
@arriving
@settings[0]
@settings[1]
def test_a_bomb_peaks_at_the_limit(side: Side, bits: int, alone: bool, split: Split) -> None:
    protocol = negotiated(side, bits=bits, alone=alone, max_size=LIMIT)
    protocol.receive_data(to(side, compressed(squeezed(5, bits))))
    assert [frame.data for frame in received(protocol)] == [bytes(5)]
    wire = to(side, compressed(squeezed(16 * MIB, bits), opcode=BINARY))
    assert len(wire) < LIMIT // 8
    assert peak(protocol, wire, split) <= LIMIT + SLACK
    assert_failed(protocol, 1009, reason="(max_size)")


@both_sides
@arriving
@settings[0]
@settings[1]
def test_what_is_within_the_limit_peaks_at_twice_its_size(
    side: Side, bits: int, alone: bool, split: Split
) -> None:
    protocol = negotiated(side, bits=bits, alone=alone, max_size=LIMIT)
    wire = to(side, compressed(squeezed(LIMIT, bits), opcode=BINARY))
    assert peak(protocol, wire, split) <= 2 * LIMIT + SLACK
    assert [frame.data for frame in received(protocol)] == [bytes(LIMIT)]


@both_sides
@arriving
@pytest.mark.parametrize("alone", [False, True])
def test_a_bomb_in_fragments_peaks_at_the_limit(side: Side, alone: bool, split: Split) -> None:
    protocol = negotiated(side, alone=alone, max_size=LIMIT)
    data = squeezed(16 * MIB)
    first, *others = [data[i : i + 100] for i in range(0, len(data), 100)]
    frames = [compressed(first, fin=False), *(more(part, fin=False) for part in others)]
    assert peak(protocol, to(side, *frames), split) <= LIMIT + SLACK
    assert sum(len(frame.data) for frame in received(protocol)) <= LIMIT
    assert_failed(protocol, 1009, reason="(max_size)")


@both_sides
def test_thousands_of_bombs_within_the_limit_are_given_one_at_a_time(side: Side) -> None:
    # 64 KiB of input are 63 MiB of messages; who drives the protocol can stop it.
    protocol = negotiated(side, max_size=MIB)
    protocol.budget = 64 * KIB
    wire = to(side, *[compressed(squeezed(MIB), opcode=BINARY)] * 60)
    most = peak_of(lambda: protocol.receive_data(wire))
    assert most <= 2 * MIB + SLACK
    assert [len(frame.data) for frame in received(protocol)] == [MIB]
    assert protocol.input_pending


@both_sides
async def test_a_connection_refuses_a_bomb_and_receives_what_came_before(side: Side) -> None:
    extension = ("Sec-WebSocket-Extensions", "permessage-deflate")
    async with connected(side, extension, max_size=LIMIT) as (ws, peer):
        bomb = compressed(squeezed(16 * MIB), opcode=BINARY)
        await peer.send(compressed(squeezed(5)), bomb, Raw(BINARY, b"never seen"))
        gc.collect()
        tracemalloc.start()
        try:
            assert await ws.receive() == "\0" * 5
            with pytest.raises(ConnectionClosedError, match="1009"):
                await ws.receive()
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert (
            most <= LIMIT + SLACK + 2 * len(bomb.payload) + 128 * KIB
        )  # and what the event loop needs
        assert Close.parse((await peer.receive()).payload).code == 1009
