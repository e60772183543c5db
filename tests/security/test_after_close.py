"""What comes after the end: data behind a Close frame, Close frames by the thousand, a peer that never ends.

After a Close frame, or a failure, input means nothing (RFC 6455, section 5.5.1): it is neither kept nor
answered.
"""

from __future__ import annotations

import anyio
import pytest

from anyio_ws import ConnectionClosed
from anyio_ws.sansio import Close, Protocol, Side, State
from anyio_ws.testing import ScriptedPeer

from ..measure import lines_of, peak_of
from ..sansio.helpers import (
    BINARY,
    SPLITS,
    Raw,
    Split,
    close,
    connection,
    feed,
    ping,
    state_of,
    text,
    to,
    written,
)
from .helpers import KIB, both_sides, connected

LATER = {
    "messages": [text("late")] * 1000,
    "pings": [ping(b"late")] * 1000,
    "other closes": [close(4000, "late")] * 1000,
    "fragments": [text("late", fin=False)] * 1000,
    "violations": [Raw(0x3, b"late")] * 1000,
    "a large frame": [Raw(BINARY, bytes(2**21))],
}

later = pytest.mark.parametrize("frames", LATER.values(), ids=LATER)


def ended(side: Side, how: str) -> Protocol:
    protocol = connection(side)
    protocol.collect_messages()
    if how == "failed":
        protocol.receive_data(to(side, Raw(0x3)))
    elif how == "answered":
        protocol.receive_data(to(side, close(1000, "bye")))
    else:
        protocol.send_close(1000)
        protocol.receive_data(to(side, close(1000, "bye")))
    protocol.data_to_send()
    protocol.messages_received()
    return protocol


@both_sides
@later
@pytest.mark.parametrize("how", ["answered", "confirmed", "failed"])
def test_what_follows_the_end_is_neither_kept_nor_answered(
    side: Side, how: str, frames: list[Raw]
) -> None:
    protocol = ended(side, how)
    wire = to(side, *frames)
    assert peak_of(lambda: feed(protocol, wire)) <= KIB
    assert lines_of(lambda: feed(protocol, wire)) <= 100, "it is even looked at"
    assert protocol.messages_received() == []
    assert protocol.data_to_send() == []
    rcvd = None if how == "failed" else Close(1000, "bye")
    assert protocol.close_rcvd == rcvd
    protocol.receive_eof()
    assert state_of(protocol) is State.CLOSED


@both_sides
@later
@pytest.mark.parametrize("split", SPLITS)
def test_in_the_same_chunk_too(side: Side, frames: list[Raw], split: Split) -> None:
    if len(frames) == 1:
        frames = [Raw(BINARY, bytes(1000))]
    protocol = connection(side)
    feed(protocol, to(side, text("before"), close(1000, "bye"), *frames[:100]), split)
    assert len(protocol.events_received()) == 2
    assert written(protocol).frames == [close(1000, "bye")]


@both_sides
def test_who_has_closed_still_bounds_what_comes(side: Side) -> None:
    protocol = connection(side, max_size=1000)
    protocol.send_close(1000)
    protocol.data_to_send()
    protocol.receive_data(to(side, text("x" * 1000), Raw(BINARY, bytes(1001)), text("late")))
    assert len(protocol.events_received()) == 1
    assert protocol.input_over
    assert not any(protocol.data_to_send()), "a second Close frame"


async def flood(peer: ScriptedPeer, frames: list[Raw]) -> None:
    block = b"".join(frame.serialize(masked=peer.side is Side.CLIENT) for frame in frames)
    try:
        while True:
            await peer.send(block)
            await anyio.sleep(0.5)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass


@both_sides
@later
@pytest.mark.usefixtures("virtual_time")
async def test_aclose_takes_no_longer_than_it_may_however_much_comes(
    side: Side, frames: list[Raw]
) -> None:
    async with connected(side, close_timeout=5) as (ws, peer), anyio.create_task_group() as tasks:
        frames = [frame for frame in frames if frame.opcode != 8] or [text("x")]
        tasks.start_soon(flood, peer, frames)
        started = anyio.current_time()
        await ws.aclose()
        assert anyio.current_time() - started <= 5
        assert ws._connection.inbox.count == 0


@both_sides
@later
@pytest.mark.usefixtures("virtual_time")
async def test_a_peer_that_closes_and_goes_on_is_cut_off(side: Side, frames: list[Raw]) -> None:
    async with connected(side, close_timeout=5) as (ws, peer), anyio.create_task_group() as tasks:
        await peer.send(text("before"), close(1000, "bye"))
        tasks.start_soon(flood, peer, frames)
        assert await ws.receive() == "before"
        with pytest.raises(ConnectionClosed) as caught:
            await ws.receive()
        assert caught.value.rcvd == Close(1000, "bye")
        started = anyio.current_time()
        await ws.aclose()
        assert anyio.current_time() - started <= 5
        assert await peer.receive() == close(1000, "bye")
