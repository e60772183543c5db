"""A limit that counts compressed bytes only (GHSA-frh3-6pv6-rc8j), or only until something intervenes.

``max_size`` is for what a message is when it is received: all its fragments, inflated.
"""

from __future__ import annotations

import zlib

import pytest

from anyio_ws.sansio import Protocol, Side, State

from ..sansio.helpers import (
    BINARY,
    Raw,
    Split,
    compressed,
    feed,
    more,
    ping,
    received,
    state_of,
    to,
)
from .helpers import arriving, assert_failed, both_sides, negotiated

LIMIT = 1000


def in_fragments(*sizes: int) -> list[Raw]:
    """One message of zeros, compressed; each fragment inflates to one of *sizes*."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    parts = [deflater.compress(bytes(size)) + deflater.flush(zlib.Z_SYNC_FLUSH) for size in sizes]
    parts[-1] = parts[-1].removesuffix(b"\x00\x00\xff\xff") or b"\x00"
    first, *others = parts
    if not others:
        return [compressed(first, opcode=BINARY)]
    *middle, last = others
    return [
        compressed(first, fin=False, opcode=BINARY),
        *(more(part, fin=False) for part in middle),
        more(last, fin=True),
    ]


def sizes_of(protocol: Protocol) -> list[int]:
    return [len(frame.data) for frame in received(protocol) if frame.opcode < 8]


TOO_LONG = {
    "in one frame": in_fragments(LIMIT + 1),
    "in two": in_fragments(600, 401),
    "in many": in_fragments(*[10] * 101),
    "in the last of them": in_fragments(LIMIT, 0, 0, 1),
    "in the first": in_fragments(LIMIT + 1, 0),
    "around pings": [raw for part in in_fragments(500, 500, 1) for raw in (part, ping())],
    "after a message": [*in_fragments(LIMIT), *in_fragments(LIMIT + 1)],
    "after one in fragments": [*in_fragments(600, 400), *in_fragments(600, 401)],
    "after an uncompressed one": [Raw(BINARY, bytes(LIMIT)), *in_fragments(LIMIT + 1)],
    "and uncompressed": [*in_fragments(LIMIT), Raw(BINARY, bytes(LIMIT + 1))],
}


@both_sides
@arriving
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("frames", TOO_LONG.values(), ids=TOO_LONG)
def test_one_byte_too_much_after_inflating_is_refused(
    side: Side, frames: list[Raw], alone: bool, split: Split
) -> None:
    protocol = negotiated(side, alone=alone, max_size=LIMIT)
    wire = to(side, *frames)
    assert all(len(frame.payload) < LIMIT or not frame.rsv for frame in frames)
    feed(protocol, wire, split)
    assert_failed(protocol, 1009)


WITHIN = {
    "in one frame": [LIMIT],
    "in two": [600, 400],
    "in many": [10] * 100,
    "among empty ones": [0, LIMIT, 0, 0],
}


@both_sides
@arriving
@pytest.mark.parametrize("sizes", WITHIN.values(), ids=WITHIN)
def test_as_much_as_the_limit_is_received_as_often_as_it_comes(
    side: Side, sizes: list[int], split: Split
) -> None:
    protocol = negotiated(side, alone=True, max_size=LIMIT)
    for _ in range(5):
        feed(protocol, to(side, *in_fragments(*sizes)), split)
        assert sizes_of(protocol) == sizes
    assert state_of(protocol) is State.OPEN


@both_sides
def test_what_is_longer_compressed_than_the_limit_may_be_within_it(side: Side) -> None:
    # Stored blocks: 5 bytes for each that says nothing.
    protocol = negotiated(side, max_size=LIMIT)
    payload = b"\x00\x00\x00\xff\xff" * 201 + b"\x00"
    assert len(payload) > LIMIT
    protocol.receive_data(to(side, compressed(payload, opcode=BINARY)))
    assert sizes_of(protocol) == [0]


@both_sides
def test_much_more_compressed_than_the_limit_is_refused_by_the_header(side: Side) -> None:
    protocol = negotiated(side, max_size=LIMIT)
    header = to(side, compressed(bytes(60_000), opcode=BINARY))[: 4 + 4 * (side is Side.SERVER)]
    protocol.receive_data(header)
    assert_failed(protocol, 1009)
