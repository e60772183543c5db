"""Fragments without end that say nothing (the follow-ups of CVE-2026-48779: empty continuations, counters).

A message of empty fragments never reaches a limit of bytes. So there is one of fragments: ``max_fragments``,
2**17 by default. The count begins anew with each message, and with nothing else.
"""

from __future__ import annotations

import pytest

from anyio_ws import ConnectionClosedError
from anyio_ws.sansio import Close, Opcode, Protocol, Side, State

from ..sansio.helpers import SPLITS, Raw, Split, binary, feed, more, ping, received, state_of, to
from .helpers import assert_failed, both_sides, connected

DEFAULT = 2**17

LIMIT = 10


def in_fragments(number: int, *, fin: bool = True) -> list[Raw]:
    """A message of so many fragments, of which one has content."""
    frames = [binary(b"x", fin=False), *[more(b"", fin=False)] * (number - 1)]
    frames[-1] = frames[-1]._replace(fin=fin)
    return frames


def limited(side: Side, limit: int = LIMIT) -> Protocol:
    return Protocol(side, max_fragments=limit)


@both_sides
@pytest.mark.timeout(120)
def test_by_default_a_message_may_have_very_many_fragments_and_not_one_more(side: Side) -> None:
    protocol = Protocol(side)
    first, *others = in_fragments(DEFAULT, fin=False)
    block = to(side, *others[:1024])
    protocol.receive_data(to(side, first, *others[:1023]))
    for _ in range(DEFAULT // 1024 - 1):
        protocol.receive_data(block)
        protocol.events_received()
    assert state_of(protocol) is State.OPEN
    protocol.receive_data(to(side, more(b"", fin=True)))
    assert protocol.events_received() == []
    assert_failed(protocol, 1008, reason="max_fragments")


@both_sides
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("fin", [True, False])
def test_one_fragment_too_many_is_refused_by_its_header(
    side: Side, fin: bool, split: Split
) -> None:
    protocol = limited(side)
    wire = to(side, *in_fragments(LIMIT, fin=False), more(bytes(1000), fin=fin))
    feed(protocol, wire[: len(wire) - 1000], split)
    assert len(received(protocol)) == LIMIT
    assert_failed(protocol, 1008, reason="max_fragments")


@both_sides
@pytest.mark.parametrize("split", SPLITS)
def test_the_count_begins_anew_with_each_message(side: Side, split: Split) -> None:
    protocol = limited(side)
    for _ in range(5):
        feed(protocol, to(side, *in_fragments(LIMIT), binary(b"one frame")), split)
    assert len(received(protocol)) == 5 * (LIMIT + 1)
    assert state_of(protocol) is State.OPEN


@both_sides
@pytest.mark.parametrize("split", SPLITS)
def test_control_frames_are_not_counted_and_begin_nothing_anew(side: Side, split: Split) -> None:
    protocol = limited(side)
    frames = [one for frame in in_fragments(LIMIT, fin=False) for one in (frame, ping(), ping())]
    feed(protocol, to(side, *frames), split)
    assert len(received(protocol)) == 3 * LIMIT
    assert state_of(protocol) is State.OPEN
    protocol.data_to_send()
    feed(protocol, to(side, more(b"", fin=True)), split)
    assert_failed(protocol, 1008, reason="max_fragments")


@both_sides
@pytest.mark.parametrize("side_limit", [1, 2])
def test_a_message_in_one_frame_has_one_fragment(side: Side, side_limit: int) -> None:
    protocol = limited(side, side_limit)
    protocol.receive_data(to(side, *[binary(b"x")] * 5))
    assert state_of(protocol) is State.OPEN
    protocol.receive_data(to(side, *in_fragments(side_limit + 1)))
    assert_failed(protocol, 1008, reason="max_fragments")


@both_sides
async def test_a_connection_fails_with_1008_and_keeps_what_came_before(side: Side) -> None:
    async with connected(side, max_fragments=1000) as (ws, peer):
        await peer.send(*in_fragments(1000), *in_fragments(1001))
        assert await ws.receive() == b"x"
        with pytest.raises(ConnectionClosedError, match="1008"):
            await ws.receive()
        frame = await peer.receive()
        assert frame.opcode == Opcode.CLOSE
        assert Close.parse(frame.payload).code == 1008
