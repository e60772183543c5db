"""Compression, tried on inputs that hypothesis makes up: against itself, zlib and websockets' extension."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate as Theirs
from websockets.frames import Frame as TheirFrame
from websockets.frames import Opcode as TheirOpcode

from anyio_ws.sansio import Close, Frame, PerMessageDeflate, Protocol, Side, State

from .helpers import (
    BINARY,
    CONT,
    RSV1,
    SIDES,
    TEXT,
    Outcome,
    Raw,
    compressed,
    connection,
    deflate,
    more,
    outcome,
    ping,
    read_wire,
    received,
    state_of,
    to,
    written,
)

pytestmark = pytest.mark.usefixtures("codec")

quick = settings(max_examples=100)

TAIL = b"\x00\x00\xff\xff"

sides = st.sampled_from(SIDES)


class Sent(NamedTuple):
    """A message, as the parts that its frames are to have."""

    is_text: bool
    parts: list[bytes]
    compress: bool

    @property
    def data(self) -> bytes:
        return b"".join(self.parts)


contents = st.one_of(
    st.binary(max_size=30),
    st.text(max_size=30).map(str.encode),
    # What compresses: repeated at distances beyond the smaller windows
    st.tuples(st.binary(min_size=1, max_size=20), st.integers(1, 60)).map(lambda t: t[0] * t[1]),
    st.tuples(st.binary(min_size=1, max_size=9), st.integers(200, 700)).map(
        lambda t: t[0] + bytes(t[1]) + t[0]
    ),
    # and what doesn't
    st.randoms(use_true_random=False).map(lambda random: random.randbytes(random.randrange(3000))),
)


@st.composite
def messages(draw: st.DrawFn, *, least: int = 0) -> Sent:
    """A message in fragments, the last of which has *least* bytes."""
    data = draw(contents)
    is_text = draw(st.booleans())
    if is_text:
        data = data.decode(errors="replace").encode()
    data = data.ljust(least, b"-")
    cuts = sorted(draw(st.lists(st.integers(0, len(data) - least), max_size=3)))
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    return Sent(is_text, parts, draw(st.booleans()))


class Settings(NamedTuple):
    """For one direction."""

    alone: bool
    window_bits: int
    level: int
    mem_level: int
    threshold: int

    def sender(self) -> PerMessageDeflate:
        return deflate(
            local_no_context_takeover=self.alone,
            local_max_window_bits=self.window_bits,
            level=self.level,
            mem_level=self.mem_level,
            threshold=self.threshold,
        )

    def receiver(self) -> PerMessageDeflate:
        return deflate(
            remote_no_context_takeover=self.alone, remote_max_window_bits=self.window_bits
        )


def all_settings(least_bits: int = 8) -> st.SearchStrategy[Settings]:
    return st.builds(
        Settings,
        st.booleans(),
        st.integers(least_bits, 15),
        st.integers(-1, 9),
        st.integers(1, 9),
        st.sampled_from([0, 0, 10, 1000]),
    )


def send(protocol: Protocol, message: Sent) -> None:
    first, *others = message.parts
    method = protocol.send_text if message.is_text else protocol.send_binary
    method(first, fin=not others, compress=message.compress)
    for i, part in enumerate(others, 1):
        protocol.send_continuation(part, fin=i == len(others))


def frames_of(message: Sent) -> list[Frame]:
    """What arrives of it."""
    opcode = TEXT if message.is_text else BINARY
    last = len(message.parts) - 1
    return [Frame(CONT if i else opcode, part, i == last) for i, part in enumerate(message.parts)]


def other(side: Side) -> Side:
    return Side.CLIENT if side is Side.SERVER else Side.SERVER


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    step = draw(st.sampled_from([1, 7, 1000, len(data) + 1]))
    start = draw(st.integers(0, step))
    return [data[:start], *(data[i : i + step] for i in range(start, len(data), step))]


@quick
@given(sides, all_settings(), st.lists(messages(), max_size=6), st.data())
def test_what_one_end_sends_the_other_receives(
    side: Side, chosen: Settings, sent: list[Sent], data: st.DataObject
) -> None:
    sender = connection(side, extensions=[chosen.sender()])
    receiver = connection(other(side), extensions=[chosen.receiver()])
    for message in sent:
        send(sender, message)
    for piece in data.draw(pieces(b"".join(sender.data_to_send()))):
        receiver.receive_data(piece)
    assert received(receiver) == [frame for message in sent for frame in frames_of(message)]
    assert state_of(receiver) is State.OPEN


@quick
@given(sides, all_settings(9), st.lists(messages(), max_size=6))
def test_what_is_sent_zlib_inflates(side: Side, chosen: Settings, sent: list[Sent]) -> None:
    protocol = connection(side, extensions=[chosen.sender()])
    inflater = zlib.decompressobj(-chosen.window_bits)
    for message in sent:
        send(protocol, message)
        first, *others = written(protocol).frames
        assert [raw.rsv for raw in others] == [0] * len(others)
        payload = b"".join(raw.payload for raw in [first, *others])
        fragmented = len(message.parts) > 1
        if message.compress and (fragmented or len(message.data) >= chosen.threshold):
            assert first.rsv == RSV1
            if chosen.alone:
                inflater = zlib.decompressobj(-chosen.window_bits)
            assert inflater.decompress(payload + TAIL) == message.data
            assert not inflater.eof
        else:
            assert (first.rsv, payload) == (0, message.data)


class Recipe(NamedTuple):
    """How zlib makes the payload of a message."""

    level: int
    strategy: int
    flushes: Sequence[tuple[bytes, int]]
    """What is compressed, and how it is flushed then."""


recipes = st.builds(
    Recipe,
    st.integers(0, 9),
    st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY, zlib.Z_RLE, zlib.Z_FIXED]),
    st.lists(
        st.tuples(
            contents,
            st.sampled_from([zlib.Z_NO_FLUSH, zlib.Z_SYNC_FLUSH, zlib.Z_FULL_FLUSH, zlib.Z_FINISH]),
        ),
        max_size=4,
    ),
)


def made_by_zlib(recipe: Recipe, bits: int) -> tuple[bytes, bytes]:
    """Return a message and what a peer may make of it: blocks of all kinds, some ending the stream."""

    def new() -> Any:
        return zlib.compressobj(recipe.level, zlib.DEFLATED, -bits, 8, recipe.strategy)

    deflater = new()
    payload = b""
    for data, flush in recipe.flushes:
        payload += deflater.compress(data)
        if flush != zlib.Z_NO_FLUSH:
            payload += deflater.flush(flush)
        if flush == zlib.Z_FINISH:
            deflater = new()
    end = deflater.flush(zlib.Z_SYNC_FLUSH) or b"\x00" + TAIL
    return b"".join(data for data, _ in recipe.flushes), (payload + end).removesuffix(TAIL)


@quick
@given(sides, st.integers(9, 15), st.booleans(), st.lists(recipes, max_size=4), st.data())
def test_what_zlib_makes_is_received(
    side: Side, bits: int, alone: bool, chosen: list[Recipe], data: st.DataObject
) -> None:
    protocol = connection(
        side,
        extensions=[deflate(remote_max_window_bits=bits, remote_no_context_takeover=alone)],
    )
    expected: list[bytes] = []
    wire = b""
    for recipe in chosen:
        message, payload = made_by_zlib(recipe, bits)
        expected.append(message)
        cut = data.draw(st.integers(0, len(payload)))
        wire += to(
            side,
            compressed(payload[:cut], fin=False, opcode=BINARY),
            ping(),
            more(payload[cut:], fin=True),
        )
    for piece in data.draw(pieces(wire)):
        protocol.receive_data(piece)
    frames = [frame for frame in received(protocol) if frame.opcode in (BINARY, CONT)]
    assert [a.data + b.data for a, b in zip(frames[::2], frames[1::2], strict=True)] == expected
    assert state_of(protocol) is State.OPEN


@quick
@given(all_settings(9), st.lists(messages(least=1), max_size=5))
def test_websockets_understands_what_we_compress(chosen: Settings, sent: list[Sent]) -> None:
    protocol = connection(Side.SERVER, extensions=[chosen.sender()])
    theirs = Theirs(chosen.alone, False, chosen.window_bits, 15)
    for message in sent:
        send(protocol, message)
        frames = [
            theirs.decode(TheirFrame(TheirOpcode(raw.opcode), raw.payload, raw.fin, raw.rsv != 0))
            for raw in written(protocol).frames
        ]
        assert [bytes(frame.data) for frame in frames] == message.parts
        assert not any(frame.rsv1 for frame in frames)


@quick
@given(sides, all_settings(9), st.lists(messages(least=1), max_size=5), st.data())
def test_we_understand_what_websockets_compresses(
    side: Side, chosen: Settings, sent: list[Sent], data: st.DataObject
) -> None:
    theirs = Theirs(
        False,
        chosen.alone,
        15,
        chosen.window_bits,
        {"level": chosen.level, "memLevel": chosen.mem_level},
    )
    protocol = connection(side, extensions=[chosen.receiver()])
    raws: list[Raw] = []
    for message in sent:
        for frame in frames_of(message):
            encoded = theirs.encode(TheirFrame(TheirOpcode(frame.opcode), frame.data, frame.fin))
            rsv = RSV1 if encoded.rsv1 else 0
            raws.append(Raw(frame.opcode, bytes(encoded.data), frame.fin, rsv))
    for piece in data.draw(pieces(to(side, *raws))):
        protocol.receive_data(piece)
    assert received(protocol) == [frame for message in sent for frame in frames_of(message)]


# -- whatever it is


def run(side: Side, chunks: list[bytes], chosen: Settings, limit: int | None) -> list[Outcome]:
    """Everything that is seen of a connection, before and after the end."""
    protocol = connection(side, max_size=limit, extensions=[chosen.receiver()])
    protocol.collect_messages()
    for chunk in chunks:
        protocol.receive_data(chunk)
    before = outcome(protocol, messages=True)
    protocol.receive_eof()
    return [before, outcome(protocol, messages=True)]


@settings(quick, max_examples=300)
@given(
    sides,
    all_settings(),
    st.lists(messages(), min_size=1, max_size=4),
    st.none() | st.integers(1, 2000),
    st.data(),
)
def test_any_split_of_damaged_input_gives_the_same(
    side: Side, chosen: Settings, sent: list[Sent], limit: int | None, data: st.DataObject
) -> None:
    sender = connection(other(side), extensions=[chosen.sender()])
    for message in sent:
        send(sender, message)
    raws = read_wire(b"".join(sender.data_to_send()), masked=side is Side.SERVER)
    position = data.draw(st.integers(0, len(raws) - 1))
    payload = bytearray(raws[position].payload)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(payload)))
        payload[at : at + 1] = data.draw(st.binary(max_size=3))
    raws[position] = raws[position]._replace(payload=bytes(payload))
    wire = to(side, *raws)
    whole = run(side, [wire], chosen, limit)
    assert run(side, data.draw(pieces(wire)), chosen, limit) == whole
    closes = read_wire(whole[0].writes, masked=side is Side.CLIENT)
    assert [Close.parse(raw.payload).code for raw in closes] in ([], [1007], [1009])


@quick
@given(sides, st.binary(max_size=60), st.booleans(), st.integers(8, 15))
def test_any_bytes_for_compressed_data_give_a_message_or_a_failure(
    side: Side, payload: bytes, alone: bool, bits: int
) -> None:
    protocol = connection(
        side,
        max_size=1000,
        extensions=[deflate(remote_max_window_bits=bits, remote_no_context_takeover=alone)],
    )
    protocol.receive_data(to(side, compressed(payload, opcode=BINARY), ping(b"!")))
    frames = received(protocol)
    if state_of(protocol) is State.OPEN:
        assert len(frames) == 2
        # The first stream of zlib's in it; others may follow.
        assert frames[0].data.startswith(zlib.decompressobj(-bits).decompress(payload + TAIL))
    else:
        assert frames == []
        [raw] = written(protocol).frames
        assert Close.parse(raw.payload).code in (1007, 1009)
