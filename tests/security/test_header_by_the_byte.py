"""A long header that arrives in tiny pieces (CVE-2023-43669: parsed anew for each).

Each byte may be looked at a few times and copied a few times, whatever came before it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial

import anyio
import pytest

from anyio_ws import accept_websocket, open_websocket
from anyio_ws.sansio import ClientProtocol, ServerProtocol, Side, State
from anyio_ws.testing import ScriptedPeer, handshake_request, handshake_response

from ..measure import Work, allocated_by, lines_of, peak_of, slope
from ..sansio.helpers import byte_by_byte, feed, state_of
from ..websocket.helpers import REQUEST, URL, closing
from ..websocket.helpers import connection as streams
from .helpers import KIB, both_sides

SIZES = [400, 800, 1600, 3200]


def arrive(protocol: ServerProtocol | ClientProtocol, head: bytes) -> None:
    feed(protocol, head, byte_by_byte)
    assert len(protocol.events_received()) == 1


def arrival(side: Side, size: int) -> Work:
    field = ("X", "x" * size)
    if side is Side.SERVER:
        return partial(arrive, ServerProtocol(), handshake_request("/", field))
    client = ClientProtocol("ws://h/")
    client.send_request(client.connect())
    response = handshake_response(client.data_to_send()[0], field)
    return partial(arrive, client, response)


@both_sides
@pytest.mark.parametrize("measure", [lines_of, allocated_by])
def test_a_byte_of_a_head_costs_the_same_wherever_it_stands(
    side: Side, measure: Callable[[Work], int]
) -> None:
    assert slope(SIZES, [measure(arrival(side, size)) for size in SIZES]) <= 1.05


class Searched(bytearray):
    """Counts the bytes that are looked at."""

    bytes = 0

    def find(self, sub: object, start: object = 0, end: object = None) -> int:
        stop = len(self) if end is None else min(int(end), len(self))  # type: ignore[call-overload]
        Searched.bytes += max(0, stop - int(start))  # type: ignore[call-overload]
        return super().find(sub, start, end)  # type: ignore[arg-type]


@both_sides
def test_the_end_of_a_head_is_not_searched_for_where_it_was_not(side: Side) -> None:
    protocol = ServerProtocol() if side is Side.SERVER else ClientProtocol("ws://h/")
    reader = protocol._reader
    assert reader is not None
    reader._buffer._data = Searched()
    Searched.bytes = 0
    feed(protocol, b"X" * 10_000, byte_by_byte)
    assert 10_000 <= Searched.bytes <= 10 * 10_000


@both_sides
def test_an_incomplete_head_takes_the_memory_of_its_bytes(side: Side) -> None:
    protocol = ServerProtocol() if side is Side.SERVER else ClientProtocol("ws://h/")
    assert peak_of(lambda: feed(protocol, b"X" * 16_000, byte_by_byte)) <= 64 * KIB
    assert state_of(protocol) is State.CONNECTING


async def trickle(peer: ScriptedPeer) -> None:
    """Do the peer's part of the opening handshake, two bytes a second, until it is given up."""
    with suppress(anyio.BrokenResourceError):
        if peer.side is Side.CLIENT:
            await peer.send(REQUEST)
        else:
            await peer.send(handshake_response(await peer.receive_head()))


@both_sides
@pytest.mark.usefixtures("virtual_time")
async def test_a_peer_that_never_ends_its_head_has_open_timeout_for_it(side: Side) -> None:
    ours, theirs = await streams(0)
    other = Side.CLIENT if side is Side.SERVER else Side.SERVER
    if side is Side.SERVER:
        opening = accept_websocket(ours, open_timeout=7)
    else:
        opening = open_websocket(URL, stream=ours, open_timeout=7)
    async with closing(theirs), anyio.create_task_group() as tasks:
        tasks.start_soon(trickle, ScriptedPeer(theirs, other, cut=1, delay=0.5))
        started = anyio.current_time()
        with pytest.raises(TimeoutError):
            async with opening:
                raise AssertionError("half a handshake was enough")
        assert anyio.current_time() - started == pytest.approx(7)


async def test_a_head_that_comes_byte_by_byte_is_as_good_as_any() -> None:
    ours, theirs = await streams(0)
    answered = anyio.Event()

    async def connect() -> None:
        await ScriptedPeer(theirs, Side.CLIENT, cut=1).connect("/feed")
        answered.set()

    async with closing(theirs), anyio.create_task_group() as tasks:
        tasks.start_soon(connect)
        async with accept_websocket(ours, close_timeout=0) as ws:
            assert ws.url == "/feed"
            await answered.wait()
