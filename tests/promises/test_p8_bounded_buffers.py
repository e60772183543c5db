"""P8. Every buffer is bounded in bytes, in both directions, by default.

What is held is counted twice: as what was taken from the network and not received by anybody, and as
the memory that the library and the event loop have allocated since.
"""

from __future__ import annotations

import zlib

import anyio
import pytest

from anyio_ws import ConnectionClosed, WebSocket
from anyio_ws.options import ServerConfig
from anyio_ws.sansio.protocol import MAX_PONGS
from anyio_ws.testing import RawFrame, ScriptedPeer

from ..sansio.helpers import BINARY, PONG, binary, compressed, more, ping, text
from ..websocket.helpers import settle
from .helpers import memory, time_limit, virtual
from .links import SMALL, Link

DEFAULT = ServerConfig()
MAX_SIZE = 2**20
READ_LIMIT = DEFAULT.read_limit
WRITE_LIMIT = DEFAULT.write_limit
CHUNK = 2**14 + SMALL
"""The most that can be read at once, when the network holds so little; and a record of TLS."""

MESSAGES = DEFAULT.max_queue + 1
HEADER = 14
"""Of a frame, at most."""
PER_MESSAGE = 100
"""What Python needs for an object, and for its place in a queue, at most."""

WINDOW = 2**16
"""What zlib needs for the largest window when inflating, and Python for its object, at most."""

RECORD = 100
"""What TLS adds to a record, and the headers of a few frames."""


def taken(ws: WebSocket) -> int:
    """Bytes ever taken from the network."""
    return ws._connection.transport.received_total


def in_fragments(fragment: bytes, number: int) -> list[RawFrame]:
    """A message of many fragments."""
    rest = [more(fragment, fin=index == number) for index in range(2, number + 1)]
    return [binary(fragment, fin=False), *rest]


async def flood(peer: ScriptedPeer, *frames: RawFrame, times: int = 10**9) -> None:
    """Send *frames* again and again, as fast as they are taken, until the connection is dropped."""
    block = b"".join(frame.serialize(masked=True) for frame in frames)
    try:
        for _ in range(times):
            await peer.send(block)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass


async def until_nothing_is_taken(ws: WebSocket) -> int:
    """Let the peer send until it can't any more; return how many bytes were taken of it in all."""
    before = -1
    while taken(ws) != before:
        before = taken(ws)
        await settle()
    return before


class TestAHandlerThatNeverReceives:
    """What it doesn't take is held up to a limit; after that the peer has to wait."""

    @pytest.mark.parametrize(
        ("frames", "largest", "width"),
        [
            ([text("x")] * 1000, 1, 1),
            ([binary(bytes(1000))], 1000, 1),
            ([text("é" * 500)], 1000, 1),
            ([text("🥊" * 250)], 1000, 1),
            ([text("x" * 996 + "🥊")], 1000, 4),
            ([binary(bytes(MAX_SIZE))], MAX_SIZE, 1),
            ([text("x" * 996 + "🥊")] * 16 + [text("x" * (MAX_SIZE - 4) + "🥊")], MAX_SIZE, 4),
            ([binary(bytes(1000))] * 65 + [binary(bytes(MAX_SIZE))], MAX_SIZE, 1),
            ([binary(bytes(1000), fin=False), more(bytes(1000), fin=True)], 2000, 1),
            (in_fragments(b"xy", 2), 4, 1),
            (in_fragments(b"xy", 64), 128, 1),
        ],
        ids=[
            *("tiny", "binary", "narrow", "wide", "one wide character", "huge"),
            *("one wide character in each", "huge at the limit"),
            *("fragments", "tiny fragments", "many tiny fragments"),
        ],
    )
    async def test_is_sent_no_more_than_read_limit_and_a_message_and_a_chunk(
        self, link: Link, frames: list[RawFrame], largest: int, width: int
    ) -> None:
        received = held = 0
        async with link.server_and_peer(small=True) as (ws, peer):
            before = taken(ws)
            async with anyio.create_task_group() as tasks:
                with memory() as allocated:
                    tasks.start_soon(flood, peer, *frames)
                    received = await until_nothing_is_taken(ws) - before
                    held = allocated()
                tasks.cancel_scope.cancel()
        most = READ_LIMIT + largest + CHUNK
        headers = MESSAGES * HEADER if largest < 1000 else HEADER * most // 1000
        assert received <= 1.02 * (most + headers), "TLS adds something, too"
        objects = PER_MESSAGE * (MESSAGES if largest < 1000 else most // 1000)
        assert held <= width * (READ_LIMIT + largest) + CHUNK + objects

    async def test_holds_one_inflated_message_of_many_that_were_deflated_1000_to_1(
        self, link: Link
    ) -> None:
        """One chunk holds a dozen of them, and only one is inflated before somebody receives it."""
        deflate = zlib.compressobj(9, wbits=-15)
        deflated = deflate.compress(bytes(MAX_SIZE)) + deflate.flush(zlib.Z_SYNC_FLUSH)
        frame = compressed(deflated.removesuffix(b"\x00\x00\xff\xff"), opcode=BINARY)
        assert MAX_SIZE / len(frame.payload) > 1000
        offer = ("Sec-WebSocket-Extensions", "permessage-deflate")
        held = 0
        async with link.server_and_peer(offer, small=True) as (ws, peer):
            async with anyio.create_task_group() as tasks:
                with memory() as allocated:
                    tasks.start_soon(flood, peer, frame)
                    await until_nothing_is_taken(ws)
                    held = allocated()
                tasks.cancel_scope.cancel()
            assert await ws.receive() == bytes(MAX_SIZE)
        assert MAX_SIZE <= held <= READ_LIMIT + MAX_SIZE + CHUNK + WINDOW

    @pytest.mark.parametrize("fragment", [b"", b"x", "é".encode(), bytes(1023)], ids=len)
    async def test_holds_max_size_of_a_message_that_never_ends(
        self, link: Link, fragment: bytes
    ) -> None:
        """However small its fragments are. Reading goes on: the end of it may be the next to come."""
        limit = 2**13
        number = limit // (len(fragment) or 4)
        first = text(fragment, fin=False)
        async with link.server_and_peer(small=True, max_size=limit) as (ws, peer):
            with memory() as allocated:
                await flood(peer, first, *[more(fragment, fin=False)] * (number - 1), times=1)
                await peer.send(ping(b"read"))
                assert (await peer.receive()).payload == b"read"
                held = allocated()
            assert held <= 2 * limit + 30_000
            if fragment:
                await peer.send(more(fragment, fin=False))
                with pytest.raises(ConnectionClosed, match="1009"):
                    await ws.receive()

    async def test_holds_no_more_of_a_frame_than_has_arrived(self, link: Link) -> None:
        frame = binary(bytes(MAX_SIZE)).serialize(masked=True)
        async with link.server_and_peer() as (_, peer):
            with memory() as allocated:
                await peer.send(frame[: 2**12])
                await settle()
                assert allocated() <= 4 * 2**12 + 10_000

    async def test_answers_a_flood_of_pings_and_holds_none(self, link: Link) -> None:
        async with link.server_and_peer(small=True) as (ws, peer):

            async def send_pings() -> None:
                await flood(peer, *[ping(bytes(125))] * 500, times=3)
                await peer.send(ping(b"last"))

            with memory() as allocated:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(send_pings)
                    while (frame := await peer.receive()).payload != b"last":
                        assert frame.opcode == PONG
                assert ws.buffered_amount == 0
                assert allocated() <= CHUNK + 20_000


@virtual
class TestAPeerThatNeverReads:
    """What it doesn't take is held up to a limit; after that whoever sends has to wait."""

    @pytest.mark.parametrize(
        ("write_limit", "size"),
        [
            *((0, 100), (1000, 0), (1000, 2**20)),
            *((WRITE_LIMIT, 0), (WRITE_LIMIT, 100), (WRITE_LIMIT, 2**20)),
        ],
    )
    async def test_is_kept_no_more_than_write_limit_and_a_message(
        self, link: Link, write_limit: int, size: int
    ) -> None:
        message = bytes(size)
        async with link.server_and_peer(small=True, write_limit=write_limit) as (ws, _):

            async def send_under_timeouts(native: bool) -> None:
                for _ in range(3):
                    async with time_limit(1, native=native):
                        while True:
                            await ws.send(message)

            with memory() as allocated:
                async with anyio.create_task_group() as tasks:
                    for number in range(20):
                        tasks.start_soon(send_under_timeouts, number % 2 == 0)
                held = allocated()
            assert write_limit < ws.buffered_amount <= 1.02 * (write_limit + size) + RECORD
            assert held <= 1.15 * (write_limit + size) + 20_000

    @pytest.mark.parametrize("write_limit", [0, 1000, WRITE_LIMIT])
    async def test_that_floods_pings_is_kept_a_few_pongs_more(
        self, link: Link, write_limit: int
    ) -> None:
        async with link.server_and_peer(small=True, write_limit=write_limit) as (ws, peer):
            with memory() as allocated:
                with anyio.move_on_after(1):
                    while True:
                        await ws.send(bytes(100))
                before = ws.buffered_amount
                await flood(peer, *[ping(bytes(125))] * 500, times=20)
                await anyio.sleep(1)
                held = allocated()
            assert ws.buffered_amount == before + MAX_PONGS * 127
            assert held <= 1.15 * write_limit + CHUNK + 20_000

    async def test_that_does_nothing_but_flood_pings_is_kept_a_few_pongs(self, link: Link) -> None:
        async with link.server_and_peer(small=True) as (ws, peer):
            await flood(peer, *[ping(bytes(125))] * 500, times=20)
            await anyio.sleep(1)
            assert ws.buffered_amount <= (MAX_PONGS + 1) * 127 + RECORD

    async def test_is_kept_two_pings_and_a_few_pongs_when_that_is_all_that_is_sent(
        self, link: Link
    ) -> None:
        async with link.server_and_peer(small=True) as (ws, _):
            for send in (ws.send_ping, ws.send_pong):
                with anyio.move_on_after(1):
                    for _ in range(1000):
                        await send(bytes(125))
            assert ws.buffered_amount <= (2 + MAX_PONGS) * 127 + RECORD
