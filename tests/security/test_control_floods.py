"""Floods of control frames: a million pongs that nobody asked for, and pings that must not pile up answers.

A pong that answers nothing is dropped, of many pings only the latest need an answer (RFC 6455, section
5.5.3), and what a peer sends faster than it is handled makes it wait.
"""

from __future__ import annotations

import gc
import tracemalloc

import anyio
import pytest

from anyio_ws import ConnectionClosed, WebSocket
from anyio_ws.sansio import Side, State
from anyio_ws.testing import ScriptedPeer

from ..measure import peak_of
from ..sansio.helpers import PONG, Raw, connection, ping, pong, state_of, text, to, written
from ..websocket.helpers import settle
from .helpers import KIB, both_sides, connected

MANY = 10_000
BLOCK = [pong(bytes([number % 256])) for number in range(MANY)]


@pytest.mark.timeout(120)
def test_a_million_unsolicited_pongs_leave_nothing_behind() -> None:
    protocol = connection(Side.SERVER)
    protocol.collect_messages()
    protocol.budget = 64 * KIB
    wire = to(Side.SERVER, *BLOCK)

    def flood(times: int) -> None:
        for _ in range(times):
            protocol.receive_data(wire)
            while protocol.messages_received() or protocol.input_pending:
                protocol.receive_data(b"")

    flood(98)
    held = peak_of(lambda: flood(2))  # the last ones of the million: following memory takes time
    assert held <= len(wire) + 256 * KIB
    assert protocol.data_to_send() == []
    tracemalloc.start()
    try:
        flood(1)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] <= 4 * KIB
    finally:
        tracemalloc.stop()
    assert state_of(protocol) is State.OPEN


@both_sides
def test_of_many_pings_few_are_answered_and_the_last_is(side: Side) -> None:
    protocol = connection(side)
    protocol.receive_data(to(side, *[ping(bytes([number % 256])) for number in range(MANY)]))
    answers = written(protocol).frames
    assert answers[-1] == Raw(PONG, bytes([(MANY - 1) % 256]))
    assert len(answers) <= 16


@both_sides
def test_no_ping_is_answered_after_our_close(side: Side) -> None:
    protocol = connection(side)
    protocol.send_close(1000)
    protocol.data_to_send()
    protocol.receive_data(to(side, *[ping(bytes(125))] * MANY))
    assert protocol.data_to_send() == []


async def flood(peer: ScriptedPeer, frames: list[Raw], times: int) -> None:
    """Send *frames* again and again, until that is enough or the connection is dropped."""
    block = b"".join(frame.serialize(masked=peer.side is Side.CLIENT) for frame in frames)
    try:
        for _ in range(times):
            await peer.send(block)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass


@both_sides
async def test_a_connection_keeps_nothing_of_pongs_that_answer_nothing(side: Side) -> None:
    async with connected(side) as (ws, peer):
        await ws.send_ping(b"awaited")
        await flood(peer, BLOCK[:2000], 1)
        gc.collect()
        tracemalloc.start()
        try:
            await flood(peer, BLOCK[:2000], 5)
            await peer.send(text("after"))
            assert await ws.receive() == "after"
            gc.collect()
            assert tracemalloc.get_traced_memory()[0] <= 128 * KIB
        finally:
            tracemalloc.stop()
        assert list(ws._connection.pings) == [b"awaited"]
        assert ws._connection.inbox.count == 0


@both_sides
async def test_pongs_do_not_hide_the_end_of_the_connection(side: Side) -> None:
    async with connected(side) as (ws, peer):
        await flood(peer, BLOCK[:2000], 1)
        await peer.aclose()
        with pytest.raises(ConnectionClosed):
            await ws.receive()


@both_sides
@pytest.mark.parametrize("frames", [BLOCK, [ping(bytes(125))] * 1000], ids=["pongs", "pings"])
async def test_whoever_watches_events_makes_the_flood_wait(side: Side, frames: list[Raw]) -> None:
    async with connected(side, max_queue=100) as (ws, peer):
        async with ws.events() as events, anyio.create_task_group() as tasks:
            tasks.start_soon(flood, peer, frames, 10**6)
            for _ in range(20):
                await settle()
            assert held(ws) <= 101
            for _ in range(500):
                await events.receive()
            await settle()
            assert held(ws) <= 101
            await ws.aclose()  # which ends the flood


def held(ws: WebSocket) -> int:
    return ws._connection.inbox.count
