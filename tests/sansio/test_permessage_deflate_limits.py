"""What compressed messages may cost: memory while they arrive, and time."""

from __future__ import annotations

import functools
import gc
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest

from anyio_ws.sansio import Close, Message, Protocol, Side, State

from .helpers import (
    BINARY,
    CONT,
    SIDES,
    TEXT,
    Raw,
    compressed,
    connection,
    deflate,
    more,
    received,
    state_of,
    text,
    to,
    written,
)

pytestmark = pytest.mark.usefixtures("codec")

both_sides = pytest.mark.parametrize("side", SIDES)

KIB = 2**10
MIB = 2**20

SLACK = 128 * KIB
"""Bytes: zlib's state and window, what was inflated last, and small change."""

TAIL = b"\x00\x00\xff\xff"


@functools.cache
def squeezed(data: bytes, bits: int = 15) -> bytes:
    """A message, compressed as well as possible."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -max(bits, 9), 9)
    return (deflater.compress(data) + deflater.flush(zlib.Z_SYNC_FLUSH)).removesuffix(TAIL)


def zeros(size: int) -> bytes:
    return bytes(size)


def noise(size: int) -> bytes:
    return random.Random(1).randbytes(size)


def letters(size: int) -> bytes:
    return noise(size // 2).hex().encode().ljust(size)


def chunks(data: bytes, size: int | None) -> Iterator[bytes]:
    if size is None:
        yield data
    else:
        for i in range(0, len(data), size):
            yield data[i : i + size]


def peak_of(protocol: Protocol, data: list[bytes]) -> int:
    """Feed *data*; return the bytes that were in use at the same time for that."""
    gc.collect()
    tracemalloc.start()
    try:
        for chunk in data:
            protocol.receive_data(chunk)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def assert_refused(protocol: Protocol, *, code: int = 1009, reason: str = "") -> None:
    assert state_of(protocol) is State.CLOSING
    [raw] = written(protocol).frames
    close = Close.parse(raw.payload)
    assert close.code == code
    assert reason in close.reason


kinds_of_data = pytest.mark.parametrize("make", [zeros, noise, letters])
arriving = pytest.mark.parametrize("size_of_chunk", [KIB, None])

# What the library allocates beside the message doesn't grow with it; once is enough to see that.
sizes = pytest.mark.parametrize("limit", [256 * KIB, MIB])


@both_sides
@kinds_of_data
@arriving
@sizes
def test_a_message_that_is_accepted_peaks_at_twice_its_size(
    side: Side, make: Callable[[int], bytes], size_of_chunk: int | None, limit: int
) -> None:
    opcode = BINARY if make is noise else TEXT
    data = make(limit)
    wire = to(side, compressed(squeezed(data), opcode=opcode))
    protocol = connection(side, max_size=limit, extensions=[deflate()])
    protocol.collect_messages()
    peak = peak_of(protocol, list(chunks(wire, size_of_chunk)))
    messages: list[Message] = [data.decode() if opcode is TEXT else data]
    assert protocol.messages_received() == messages
    assert peak <= 2 * limit + SLACK


@both_sides
@kinds_of_data
@arriving
@sizes
def test_a_message_that_is_refused_peaks_at_the_limit(
    side: Side, make: Callable[[int], bytes], size_of_chunk: int | None, limit: int
) -> None:
    wire = to(side, compressed(squeezed(make(limit) + b"!"), opcode=BINARY))
    protocol = connection(side, max_size=limit, extensions=[deflate()])
    peak = peak_of(protocol, list(chunks(wire, size_of_chunk)))
    assert_refused(
        protocol,
        reason=f"message of {limit + 1} bytes or more exceeds the limit of {limit} (max_size)",
    )
    assert peak <= limit + SLACK


@pytest.mark.parametrize("make", [zeros, noise])
def test_the_peak_of_a_large_message_is_as_close_to_its_size(make: Callable[[int], bytes]) -> None:
    size = 8 * MIB
    for data, most in [(make(size), 2 * size), (make(size) + b"!", size)]:
        wire = to(Side.SERVER, compressed(squeezed(data), opcode=BINARY))
        protocol = connection(Side.SERVER, max_size=size, extensions=[deflate()])
        assert peak_of(protocol, [wire]) <= most + SLACK


BOMB = squeezed(bytes(16 * MIB))


@both_sides
@pytest.mark.parametrize("bits", range(8, 16))
@pytest.mark.parametrize("alone", [False, True])
def test_a_bomb_is_refused_at_the_limit(side: Side, bits: int, alone: bool) -> None:
    extension = deflate(remote_max_window_bits=bits, remote_no_context_takeover=alone)
    protocol = connection(side, max_size=100_000, extensions=[extension])
    wire = to(side, compressed(squeezed(b"warm-up")), compressed(BOMB))
    peak = peak_of(protocol, [wire])
    assert [frame.data for frame in received(protocol)] == [b"warm-up"]
    assert_refused(protocol)
    assert peak <= 100_000 + SLACK


@both_sides
@pytest.mark.parametrize("size_of_frame", [100, 10_000])
def test_a_bomb_in_fragments_is_refused_at_the_limit(side: Side, size_of_frame: int) -> None:
    first, *others = chunks(BOMB, size_of_frame)
    raws = [compressed(first, fin=False), *(more(part, fin=False) for part in others)]
    protocol = connection(side, max_size=MIB, extensions=[deflate()])
    peak = peak_of(protocol, [to(side, *raws)])
    assert sum(len(frame.data) for frame in received(protocol)) <= MIB
    assert_refused(protocol)
    assert peak <= MIB + 100 * KIB * (size_of_frame == 100) + SLACK


@both_sides
def test_a_failed_connection_holds_nothing_of_a_message_that_ends_inside_a_block(
    side: Side,
) -> None:
    protocol = connection(side, max_size=MIB, extensions=[deflate()])
    deflater = zlib.compressobj(wbits=-15)
    block = deflater.compress(bytes(MIB - 20)) + deflater.flush(zlib.Z_SYNC_FLUSH)
    begun = b"\x00\x64\x00\x9b\xff" + bytes(10)  # a stored block of 100 bytes, cut off
    wire = to(side, compressed(block + begun))
    tracemalloc.start()
    try:
        protocol.receive_data(wire)
        assert tracemalloc.get_traced_memory()[0] < SLACK
    finally:
        tracemalloc.stop()
    assert_refused(protocol, code=1007)


@both_sides
def test_a_failed_connection_holds_nothing_of_what_was_too_long(side: Side) -> None:
    protocol = connection(side, max_size=MIB, extensions=[deflate()])
    wire = to(side, compressed(BOMB))
    tracemalloc.start()
    try:
        protocol.receive_data(wire)
        assert tracemalloc.get_traced_memory()[0] < SLACK
    finally:
        tracemalloc.stop()
    assert_refused(protocol)


@both_sides
def test_a_frame_that_arrives_byte_by_byte_costs_no_object_for_each(side: Side) -> None:
    data = noise(10_000)
    protocol = connection(side, extensions=[deflate()])
    wire = to(side, compressed(squeezed(data), opcode=BINARY))
    arrived = [wire[i : i + 1] for i in range(len(wire))]
    assert peak_of(protocol, arrived) <= 2 * len(data) + SLACK
    assert [frame.data for frame in received(protocol)] == [data]


# -- how much is left


@both_sides
@pytest.mark.parametrize("size_of_chunk", [1, None])
@pytest.mark.parametrize(
    ("sizes", "limit", "fits"),
    [
        ([100], 100, True),
        ([101], 100, False),
        ([60, 40], 100, True),
        ([60, 41], 100, False),
        ([100, 0, 0], 100, True),  # no room, and nothing comes
        ([100, 0, 1], 100, False),
        ([0, 0, 100], 100, True),
        ([20_000, 20_000], 40_000, True),
        ([20_000, 20_001], 40_000, False),
        ([1], 1, True),
        ([2], 1, False),
    ],
)
def test_the_limit_counts_what_all_fragments_inflate_to(
    side: Side, size_of_chunk: int | None, sizes: list[int], limit: int, fits: bool
) -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    raws: list[Raw] = []
    for i, size in enumerate(sizes):
        payload = deflater.compress(bytes(size)) + deflater.flush(zlib.Z_SYNC_FLUSH)
        raws.append(Raw(CONT if i else BINARY, payload, False, 0 if i else 0x40))
    raws[-1] = raws[-1]._replace(fin=True, payload=raws[-1].payload[:-4] or b"\x00")
    protocol = connection(side, max_size=limit, extensions=[deflate()])
    for _ in range(2):  # the count begins anew
        for chunk in chunks(to(side, *raws[:1]), size_of_chunk):
            protocol.receive_data(chunk)
        for chunk in chunks(to(side, *raws[1:]), size_of_chunk):
            protocol.receive_data(chunk)
        if not fits:
            break
        assert [len(frame.data) for frame in received(protocol)] == sizes
    if fits:
        assert state_of(protocol) is State.OPEN
    else:
        assert_refused(protocol)


@both_sides
def test_without_a_limit_a_message_may_have_any_size(side: Side) -> None:
    protocol = connection(side, max_size=None, extensions=[deflate()])
    protocol.receive_data(to(side, compressed(BOMB, opcode=BINARY)))
    [frame] = received(protocol)
    assert frame.data == bytes(16 * MIB)


@both_sides
@pytest.mark.parametrize("limit", [1, 1000, MIB])
def test_what_is_too_long_even_compressed_is_refused_by_its_header(side: Side, limit: int) -> None:
    most = limit + limit // 8 + KIB
    for size, refused in [(most, False), (most + 1, True), (2**62, True)]:
        protocol = connection(side, max_size=limit, extensions=[deflate()])
        header = Raw(BINARY, b"", True, 0x40, width=8).serialize(masked=side is Side.SERVER)
        wire = header[:2] + size.to_bytes(8, "big") + header[10:]
        if size < 2**16:
            wire = to(side, compressed(bytes(size), opcode=BINARY))[: 4 + 4 * (side is Side.SERVER)]
        protocol.receive_data(wire)
        if refused:
            assert_refused(protocol, reason=f"exceeds the limit of {limit} (max_size)")
        else:
            assert state_of(protocol) is State.OPEN


@both_sides
def test_an_uncompressed_frame_is_refused_by_its_header_as_ever(side: Side) -> None:
    protocol = connection(side, max_size=1000, extensions=[deflate()])
    protocol.receive_data(to(side, text("x" * 1001))[:4])
    assert_refused(protocol)


# -- things that inflate to nothing


@both_sides
@pytest.mark.parametrize("block", [b"\x00\x00\x00\xff\xff", b"\x03\x00", b"\x01\x00\x00\xff\xff"])
@pytest.mark.parametrize("in_fragments", [False, True])
def test_thousands_of_empty_blocks_are_an_empty_message(
    side: Side, block: bytes, in_fragments: bool
) -> None:
    count = 3000
    if in_fragments:
        parts = [compressed(block, fin=False), *[more(block, fin=False)] * (count - 1)]
        wire = to(side, *parts, more(b"\x00", fin=True))
    else:
        wire = to(side, compressed(block * count + b"\x00"))
    protocol = connection(side, extensions=[deflate()])
    peak = peak_of(protocol, [wire])
    frames = received(protocol)
    assert {frame.data for frame in frames} == {b""}
    assert len(frames) == (count + 1 if in_fragments else 1)
    assert state_of(protocol) is State.OPEN
    assert peak < SLACK + 200 * len(frames)


@both_sides
def test_final_blocks_may_each_have_content(side: Side) -> None:
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflater.compress(b"Hello") + deflater.flush(zlib.Z_FINISH)
    protocol = connection(side, extensions=[deflate()])
    protocol.receive_data(to(side, compressed(block * 5000 + b"\x00")))
    assert [frame.data for frame in received(protocol)] == [b"Hello" * 5000]


# -- time


def seconds(side: Side, wire: bytes, size_of_chunk: int | None) -> float:
    """The least processor time of a few attempts."""
    attempts: list[float] = []
    for _ in range(3):
        protocol = connection(side, max_size=None, extensions=[deflate()])
        data = list(chunks(wire, size_of_chunk))
        start = time.process_time()
        for chunk in data:
            protocol.receive_data(chunk)
        attempts.append(time.process_time() - start)
        assert state_of(protocol) is State.OPEN
    return min(attempts)


def blocks(size: int) -> bytes:
    """Blocks that end zlib's stream, of two bytes each."""
    return b"\x03\x00" * (size // 32) + b"\x00"


@pytest.mark.parametrize("size_of_chunk", [KIB, None])
@pytest.mark.parametrize("make", [zeros, noise, letters, blocks])
def test_time_grows_no_faster_than_the_message(
    make: Callable[[int], bytes], size_of_chunk: int | None
) -> None:
    def wire(size: int) -> bytes:
        payload = make(size) if make is blocks else squeezed(make(size))
        return to(Side.CLIENT, compressed(payload, opcode=BINARY))

    small = seconds(Side.CLIENT, wire(256 * KIB), size_of_chunk)
    large = seconds(Side.CLIENT, wire(2 * MIB), size_of_chunk)
    # Eight times as much; what is quadratic would take 64 times as long.
    assert large < 24 * small
