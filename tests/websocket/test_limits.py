"""The limits of messages on a whole connection: what they are set by, and what is held at most."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from anyio_ws import ConnectionClosedError
from anyio_ws.events import Binary, Closed, Ping, Text
from anyio_ws.inbox import Inbox
from anyio_ws.sansio import Fragment

from ..sansio.helpers import PING, Raw, binary, close, more, ping, pong, text
from .helpers import client_and_peer, server_and_peer, settle

EXCEEDED: dict[str, tuple[dict[str, Any], list[Raw], int, str]] = {
    "max_size": (
        {"max_size": 10},
        [text("12345", fin=False), more("678901", fin=True)],
        1009,
        "message of 11 bytes or more exceeds the limit of 10 (max_size)",
    ),
    "max_fragment_size": (
        {"max_fragment_size": 5},
        [text("12345", fin=False), more("678901", fin=True)],
        1009,
        "frame of 6 bytes or more exceeds the limit of 5 (max_fragment_size)",
    ),
    "max_fragments": (
        {"max_fragments": 2},
        [text("12345", fin=False), more("", fin=False), more("", fin=True)],
        1008,
        "message in 3 fragments or more exceeds the limit of 2 (max_fragments)",
    ),
}


@pytest.mark.parametrize("name", EXCEEDED)
@pytest.mark.parametrize("open_one", [client_and_peer, server_and_peer])
async def test_a_limit_that_is_exceeded_is_named_to_both_sides(open_one: Any, name: str) -> None:
    options, raws, code, reason = EXCEEDED[name]
    async with open_one(**options) as (ws, peer):
        await peer.send(text("1234", fin=False), more("5", fin=True), *raws)
        assert await ws.receive() == "12345"
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert str(caught.value.__cause__) == reason
        assert await peer.receive() == close(code, reason)


async def test_a_message_of_very_many_fragments_arrives_whole() -> None:
    """As large as the largest of Autobahn's."""
    part = bytes(range(64))
    async with server_and_peer(max_size=2**24) as (ws, peer):
        raws = [more(part, fin=False)] * 65_536
        await peer.send(binary(b"", fin=False), *raws, more(b"", fin=True))
        assert await ws.receive() == part * 65_536


# -- what is held of a message


def alternating(*pieces: bytes) -> Iterator[bytes]:
    while True:
        yield from pieces


@pytest.mark.parametrize(
    "pieces",
    [
        *([b"x"], [bytes(8)], [bytes(64)], [bytes(1023)], [bytes(1024)], [bytes(5000)]),
        *([bytes(1024), b"x"], [bytes(1024), b""], [bytes(1023), bytes(1023), b"x"]),
    ],
    ids=lambda pieces: "-".join(str(len(piece)) for piece in pieces),
)
@pytest.mark.parametrize("is_text", [False, True])
def test_a_message_in_assembly_takes_its_size_and_an_eighth(
    pieces: list[bytes], is_text: bool
) -> None:
    size = 2**16
    gc.collect()
    tracemalloc.start()
    try:
        inbox = Inbox()
        arrived = 0
        for piece in alternating(*pieces):
            if arrived + len(piece) > size:
                break
            data = bytes(bytearray(piece))  # an object of its own, as what is received
            inbox.add_fragment(Fragment(data.decode() if is_text else data, final=False))
            arrived += len(piece)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held <= size + size // 8 + 2**14


def test_empty_fragments_take_nothing() -> None:
    inbox = Inbox()
    tracemalloc.start()
    try:
        for _ in range(2**16):
            inbox.add_fragment(Fragment(b"", final=False))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held <= 5000
    assert inbox.first_part() == Fragment(b"", final=False)


# -- pings answered by hand


async def test_without_auto_pong_pings_are_events_for_the_application_to_answer() -> None:
    async with server_and_peer(auto_pong=False) as (ws, peer):
        async with ws.events() as events:
            await peer.send(ping(b"1"), text("a"), ping(b"2"))
            assert [await events.receive() for _ in range(3)] == [
                Ping(b"1"),
                Text("a"),
                Ping(b"2"),
            ]
            await ws.send_pong(b"2")
            assert await peer.receive() == pong(b"2")


@pytest.mark.parametrize("open_one", [client_and_peer, server_and_peer])
async def test_without_auto_pong_nobody_else_answers(open_one: Any) -> None:
    async with open_one(auto_pong=False) as (ws, peer):
        await peer.send(ping(b"unseen"), text("a"))
        assert await ws.receive() == "a"
        await ws.send("b")
        assert await peer.receive() == Raw(text("").opcode, b"b")


async def test_pings_that_wait_to_be_answered_are_bounded_as_messages_are() -> None:
    async with server_and_peer(auto_pong=False, max_queue=3) as (ws, peer):
        async with ws.events() as events:
            await peer.send(*[ping(str(number).encode()) for number in range(100)])
            await settle()
            assert ws._connection.inbox.count <= 4
            await peer.send(binary(b"after"), close(1000))
            pings = [Ping(str(number).encode()) for number in range(100)]
            received = [event async for event in events]
            assert received == [*pings, Binary(b"after"), Closed(1000, "")]


async def test_without_auto_pong_pongs_are_noticed_all_the_same() -> None:
    async with server_and_peer(auto_pong=False) as (ws, peer):
        await ws.send_ping(b"?")
        assert await peer.receive() == Raw(PING, b"?")
        await peer.send(pong(b"?"), text("a"))
        assert await ws.receive() == "a"
        assert ws.latency > 0
