"""Messages of very many tiny fragments, or of none that says anything (CVE-2026-48779, CVE-2026-12151).

A byte on the wire must not become an object that lives as long as the message: neither for each fragment nor
for each chunk in which a frame arrives, with or without content. What a message may be is counted from its
first fragment to its last, and nothing in between begins the count anew.
"""

from __future__ import annotations

import gc
import tracemalloc
import zlib
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from anyio_ws import ConnectionClosedError, WebSocket
from anyio_ws.sansio import Opcode, Protocol, Side, State
from anyio_ws.testing import ScriptedPeer

from ..measure import peak_of
from ..sansio.helpers import (
    BINARY,
    SPLITS,
    Raw,
    Split,
    binary,
    byte_by_byte,
    compressed,
    connection,
    deflate,
    feed,
    more,
    ping,
    pong,
    received,
    state_of,
    text,
    to,
)
from .helpers import KIB, MIB, assert_failed, both_sides, connected

MANY = 20_000

FRAGMENTS = [b"", "é".encode()]
fragments = pytest.mark.parametrize("fragment", FRAGMENTS, ids=len)


def endless(side: Side, fragment: bytes, number: int = MANY) -> list[bytes]:
    """A message that doesn't end, in chunks of a thousand fragments."""
    block = to(side, *[more(fragment, fin=False)] * 1000)
    return [to(side, text(fragment, fin=False)), *[block] * (number // 1000)]


def endless_compressed(side: Side, fragment: bytes) -> list[bytes]:
    """The same, each fragment compressed."""
    deflater = zlib.compressobj(wbits=-15)
    part = deflater.compress(fragment) + deflater.flush(zlib.Z_SYNC_FLUSH)
    block = to(side, *[more(part, fin=False)] * 1000)
    return [to(side, compressed(part, fin=False)), *[block] * (MANY // 1000)]


def consume(protocol: Protocol, wire: list[bytes]) -> None:
    """Drive *protocol* as a connection does, which takes no more at once than it has room for."""
    for chunk in wire:
        protocol.receive_data(chunk)
        while protocol.messages_received() or protocol.input_pending:
            protocol.receive_data(b"")


@both_sides
@fragments
@pytest.mark.parametrize("make", [endless, endless_compressed])
def test_the_core_keeps_nothing_of_fragments(
    side: Side, fragment: bytes, make: Callable[[Side, bytes], list[bytes]]
) -> None:
    protocol = connection(side, extensions=[deflate()])
    protocol.collect_messages()
    protocol.budget = 64 * KIB
    wire = make(side, fragment)
    assert peak_of(lambda: consume(protocol, wire)) <= 384 * KIB
    assert state_of(protocol) is State.OPEN


@both_sides
@pytest.mark.parametrize("kind", ["text", "binary", "compressed"])
def test_a_frame_in_tiny_chunks_takes_no_object_for_each(side: Side, kind: str) -> None:
    size = 30_000
    deflater = zlib.compressobj(0, wbits=-15)
    stored = deflater.compress(b"x" * size) + deflater.flush(zlib.Z_SYNC_FLUSH)
    frame = {
        "text": text(b"x" * size),
        "binary": binary(bytes(size)),
        "compressed": compressed(stored[:-4]),
    }[kind]
    protocol = connection(side, extensions=[deflate()])
    wire = to(side, frame)
    assert peak_of(lambda: feed(protocol, wire, byte_by_byte)) <= 2 * size + 128 * KIB
    assert [len(event.data) for event in received(protocol)] == [size]


# -- what is counted


LIMIT = 1000


def sized(*sizes: int) -> list[Raw]:
    """A message in fragments of these sizes."""
    frames = [more(bytes(size), fin=False) for size in sizes]
    frames[0] = binary(bytes(sizes[0]), fin=False)
    frames[-1] = frames[-1]._replace(fin=True)
    return frames


def among(frames: list[Raw], *others: Raw) -> list[Raw]:
    return [one for frame in frames for one in (frame, *others)]


TOO_LONG = {
    "tiny": sized(*[1] * (LIMIT + 1)),
    "the last": sized(LIMIT, 1),
    "behind empty ones": sized(LIMIT, *[0] * 100, 1),
    "among pings and pongs": among(sized(500, 500, 1), ping(b"x" * 100), pong(b"x" * 100)),
    "after others": [*sized(LIMIT, 0), *sized(500, 500), *sized(500, 501)],
    "after one frame": [binary(bytes(LIMIT)), *sized(500, 501)],
    "one frame after them": [*sized(500, 500), binary(bytes(LIMIT + 1))],
}


@both_sides
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("frames", TOO_LONG.values(), ids=TOO_LONG)
def test_the_count_goes_on_until_the_message_ends(
    side: Side, frames: list[Raw], split: Split
) -> None:
    protocol = connection(side, max_size=LIMIT)
    feed(protocol, to(side, *frames), split)
    assert_failed(protocol, 1009)


@both_sides
@pytest.mark.parametrize("split", SPLITS)
def test_the_count_begins_anew_with_each_message(side: Side, split: Split) -> None:
    protocol = connection(side, max_size=LIMIT)
    for _ in range(3):
        feed(protocol, to(side, *among(sized(500, 0, 499, 1), ping(b"x" * 125))), split)
        feed(protocol, to(side, binary(bytes(LIMIT))), split)
    assert sum(frame.opcode is not Opcode.PING for frame in received(protocol)) == 3 * 5
    assert state_of(protocol) is State.OPEN


# -- connections


async def send(peer: ScriptedPeer, wire: list[bytes]) -> None:
    for chunk in wire:
        await peer.stream.send(chunk)


async def arrived(ws: WebSocket, total: int) -> None:
    while ws._connection.transport.received_total < total:
        await anyio.lowlevel.checkpoint()


@fragments
async def test_a_connection_holds_the_bytes_of_a_message_and_little_more(fragment: bytes) -> None:
    wire = endless(Side.SERVER, fragment)
    async with connected(Side.SERVER) as (ws, peer):
        before = ws._connection.transport.received_total
        gc.collect()
        tracemalloc.start()
        try:
            await send(peer, wire)
            await arrived(ws, before + sum(map(len, wire)))
            gc.collect()
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        characters = (MANY + 1) * len(fragment.decode())
        # What is held is text, which takes a byte for a character here, and sockets' own buffers.
        assert held <= characters + 128 * KIB
        await peer.send(more(fragment, fin=True))
        assert await ws.receive() == fragment.decode() * (MANY + 2)


@both_sides
async def test_a_connection_fails_with_1009_whatever_the_size_of_the_fragments(side: Side) -> None:
    async with connected(side, max_size=10_000) as (ws, peer):
        await send(peer, endless(side, b"x", 11_000))
        with pytest.raises(ConnectionClosedError, match="1009"):
            await ws.receive()
        assert ws._connection.inbox.size <= MIB
        assert (await peer.receive()).payload[:2] == (1009).to_bytes(2, "big")


async def test_a_message_that_nobody_wants_leaves_nothing() -> None:
    async with connected(Side.SERVER) as (ws, peer):
        async with ws.discard_incoming():
            gc.collect()
            tracemalloc.start()
            try:
                await send(peer, endless(Side.SERVER, b"x"))
                await peer.send(more(b"", fin=True), ping(b"done"))
                assert (await peer.receive()).payload == b"done"
                gc.collect()
                assert tracemalloc.get_traced_memory()[0] <= 128 * KIB
            finally:
                tracemalloc.stop()
        await peer.send(Raw(BINARY, b"wanted"))
        assert await ws.receive() == b"wanted"
