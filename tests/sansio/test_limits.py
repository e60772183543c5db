"""The limits of messages: each ends the connection with its code, named, and starts anew for the next."""

from __future__ import annotations

import gc
import tracemalloc
import zlib
from typing import Any

import pytest

from anyio_ws.exceptions import ProtocolViolation
from anyio_ws.sansio import (
    ClientProtocol,
    Close,
    Extension,
    Frame,
    Protocol,
    ServerProtocol,
    Side,
    State,
)
from anyio_ws.sansio.protocol import MAX_PONGS

from .helpers import (
    BINARY,
    CONT,
    SIDES,
    SPLITS,
    TEXT,
    Raw,
    Split,
    Swell,
    binary,
    close,
    compressed,
    connection,
    deflate,
    event,
    feed,
    more,
    ping,
    pong,
    received,
    state_of,
    text,
    to,
    written,
)

both_sides = pytest.mark.parametrize("side", SIDES)
however_cut = pytest.mark.parametrize("split", SPLITS)

EMPTY_BLOCK = b"\x00\x00\x00\xff\xff"
FINAL_BLOCK = b"\x03\x00"


def assert_refused(protocol: Protocol, code: int, reason: str) -> None:
    """The peer is told, and so is whoever asks for the cause."""
    [raw] = written(protocol).frames
    assert raw == close(code, reason)
    protocol.receive_eof()
    cause = protocol.close_exc.__cause__
    assert isinstance(cause, ProtocolViolation)
    assert (cause.code, str(cause)) == (code, reason)


def in_fragments(number: int, fragment: bytes = b"") -> list[Raw]:
    """A message of so many fragments."""
    raws = [binary(fragment, fin=False), *[more(fragment, fin=False)] * (number - 1)]
    raws[-1] = raws[-1]._replace(fin=True)
    return raws


def deflated(number: int, fragment: bytes) -> list[Raw]:
    """The same, its fragments inflating to *fragment* each."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    payloads = [
        deflater.compress(fragment) + deflater.flush(zlib.Z_SYNC_FLUSH) for _ in range(number)
    ]
    payloads[-1] = payloads[-1].removesuffix(b"\x00\x00\xff\xff") or b"\x00"
    raws = [more(payload, fin=False) for payload in payloads]
    raws[0] = compressed(payloads[0], fin=False, opcode=BINARY)
    raws[-1] = raws[-1]._replace(fin=True)
    return raws


# -- how large a frame may be


@both_sides
@however_cut
@pytest.mark.parametrize(
    ("raws", "fits"),
    [
        ([binary(bytes(100))], True),
        ([binary(bytes(101))], False),
        ([text("é" * 50)], True),
        ([text("é" * 50 + "x")], False),
        (in_fragments(5, bytes(100)), True),
        ([binary(b"", fin=False), more(bytes(101), fin=True)], False),
        (
            [compressed(EMPTY_BLOCK * 100 + b"\x00", opcode=BINARY)],
            True,
        ),  # it's inflated that counts
        (deflated(5, bytes(100)), True),
        (deflated(1, bytes(101)), False),
        (deflated(5, bytes(101)), False),
    ],
)
def test_a_frame_has_a_limit_of_its_own(
    side: Side, split: Split, raws: list[Raw], fits: bool
) -> None:
    protocol = connection(side, max_fragment_size=100, extensions=[deflate()])
    feed(protocol, to(side, *raws, text("after")), split)
    if fits:
        assert received(protocol)[-1] == event(text("after"))
        assert state_of(protocol) is State.OPEN
    else:
        reason = "frame of 101 bytes or more exceeds the limit of 100 (max_fragment_size)"
        assert_refused(protocol, 1009, reason)


@both_sides
def test_an_uncompressed_frame_that_is_too_large_is_refused_by_its_header(side: Side) -> None:
    protocol = connection(side, max_fragment_size=100)
    protocol.receive_data(to(side, binary(bytes(60_000)))[:4])
    reason = "frame of 60000 bytes or more exceeds the limit of 100 (max_fragment_size)"
    assert_refused(protocol, 1009, reason)


@both_sides
def test_a_compressed_frame_that_can_not_be_within_the_limit_is_refused_by_its_header(
    side: Side,
) -> None:
    most = 100 + 100 // 8 + 1024
    for size in (most, most + 1):
        protocol = connection(side, max_fragment_size=100, extensions=[deflate()])
        protocol.receive_data(to(side, compressed(bytes(size)))[:4])
        if size == most:
            assert state_of(protocol) is State.OPEN
        else:
            reason = f"encoded frame of {size} bytes exceeds the limit of 100 (max_fragment_size)"
            assert_refused(protocol, 1009, reason)


@both_sides
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (
            {"max_size": 100, "max_fragment_size": 60},
            "message of 101 bytes or more exceeds the limit of 100 (max_size)",
        ),
        (
            {"max_size": None, "max_fragment_size": 50},
            "frame of 51 bytes or more exceeds the limit of 50 (max_fragment_size)",
        ),
        (
            {"max_size": 100, "max_fragment_size": 200},
            "message of 101 bytes or more exceeds the limit of 100 (max_size)",
        ),
    ],
)
@pytest.mark.parametrize("is_compressed", [False, True])
def test_the_limit_that_was_exceeded_is_the_one_that_is_named(
    side: Side, limits: dict[str, Any], reason: str, is_compressed: bool
) -> None:
    protocol = connection(side, **limits, extensions=[deflate()])
    make = deflated if is_compressed else in_fragments
    raws = [make(2, bytes(50))[0], *make(2, bytes(51))[1:]]
    if is_compressed:
        deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
        for i, size in enumerate((50, 51)):
            payload = deflater.compress(bytes(size)) + deflater.flush(zlib.Z_SYNC_FLUSH)
            raws[i] = raws[i]._replace(payload=payload)
    protocol.receive_data(to(side, *raws))
    assert_refused(protocol, 1009, reason)


@both_sides
def test_an_extension_that_stops_at_its_room_needs_not_know_the_limit(side: Side) -> None:
    protocol = connection(side, max_size=99, extensions=[Swell()])
    protocol.receive_data(to(side, Raw(BINARY, bytes(10), rsv=0x40)))
    reason = "message of 100 bytes or more exceeds the limit of 99 (max_size)"
    assert_refused(protocol, 1009, reason)


class Tired(Extension):
    """Finds everything too long, whatever its room."""

    name = "x-tired"
    rsv = 0x40

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        raise ProtocolViolation(1009, "it is late")

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        return frame


def test_without_a_limit_an_extension_has_the_last_word() -> None:
    protocol = connection(Side.CLIENT, max_size=None, extensions=[Tired()])
    protocol.receive_data(to(Side.CLIENT, compressed(b"")))
    assert_refused(protocol, 1009, "it is late")


# -- how many fragments a message may have


@both_sides
@however_cut
@pytest.mark.parametrize("fragment", [b"", b"x"])
@pytest.mark.parametrize("make", [in_fragments, deflated])
def test_the_fragments_of_a_message_are_counted_also_empty_ones(
    side: Side, split: Split, make: Any, fragment: bytes
) -> None:
    protocol = connection(side, max_fragments=10, extensions=[deflate()])
    feed(protocol, to(side, *make(10, fragment), text("after")), split)
    assert received(protocol)[-1] == event(text("after"))
    protocol = connection(side, max_fragments=10, extensions=[deflate()])
    feed(protocol, to(side, *make(11, fragment)), split)
    assert len(received(protocol)) == 10
    reason = "message in 11 fragments or more exceeds the limit of 10 (max_fragments)"
    assert_refused(protocol, 1008, reason)


@both_sides
def test_one_fragment_too_many_is_refused_by_its_header(side: Side) -> None:
    protocol = connection(side, max_fragments=2)
    protocol.receive_data(to(side, text("a", fin=False), more("b", fin=False)))
    protocol.receive_data(to(side, more(bytes(1000), fin=True))[:4])
    reason = "message in 3 fragments or more exceeds the limit of 2 (max_fragments)"
    assert_refused(protocol, 1008, reason)


@both_sides
def test_messages_may_be_forbidden_to_have_fragments(side: Side) -> None:
    protocol = connection(side, max_fragments=1)
    protocol.receive_data(to(side, text("a"), text("b", fin=False), more("", fin=True)))
    reason = "message in 2 fragments or more exceeds the limit of 1 (max_fragments)"
    assert_refused(protocol, 1008, reason)


@both_sides
def test_control_frames_between_fragments_are_none(side: Side) -> None:
    protocol = connection(side, max_fragments=2)
    raws = [text("a", fin=False), *[ping(), pong()] * 50, more("b", fin=True), text("c")]
    protocol.receive_data(to(side, *raws))
    assert state_of(protocol) is State.OPEN


def test_the_default_lets_pass_what_is_known_to_be_sent_and_is_finite() -> None:
    """Autobahn's largest message: 4 MiB in 65,536 fragments of 64 bytes, and an empty one."""
    raws = [binary(bytes(64), fin=False), *[more(bytes(64), fin=False)] * 65_535]
    protocol = connection(Side.CLIENT, max_size=2**24)
    protocol.receive_data(to(Side.CLIENT, *raws, more(b"", fin=True), text("after")))
    assert state_of(protocol) is State.OPEN
    assert len(received(protocol)) == 65_538
    protocol.receive_data(to(Side.CLIENT, *in_fragments(2**17 + 1)))
    reason = "message in 131073 fragments or more exceeds the limit of 131072 (max_fragments)"
    assert_refused(protocol, 1008, reason)


# -- what inflates to nothing


@both_sides
@pytest.mark.parametrize("block", [EMPTY_BLOCK, FINAL_BLOCK])
@pytest.mark.parametrize("blocks_in_a_frame", [1, 10, 400])
def test_empty_blocks_are_counted_in_bytes(
    side: Side, block: bytes, blocks_in_a_frame: int
) -> None:
    limit = 10_000
    protocol = connection(side, max_size=limit, max_fragments=10**9, extensions=[deflate()])
    payload = block * blocks_in_a_frame
    protocol.receive_data(to(side, compressed(payload, fin=False)))
    fragments = 1
    if len(payload) <= 64:  # what every fragment may have; max_fragments is for these
        for _ in range(1000):
            protocol.receive_data(to(side, more(payload, fin=False)))
        assert state_of(protocol) is State.OPEN
        return
    while state_of(protocol) is State.OPEN:
        protocol.receive_data(to(side, more(payload, fin=False)))
        fragments += 1
    size = fragments * len(payload)
    assert size - len(payload) <= limit + limit // 8 + 1024 + 64 * fragments < size + 64
    reason = f"encoded message of {size} bytes or more exceeds the limit of 10000 (max_size)"
    assert_refused(protocol, 1009, reason)


@both_sides
def test_a_peer_that_flushes_every_byte_is_no_attacker(side: Side) -> None:
    size = 5000
    wire = to(side, *deflated(size, b"x"), text("after"))
    assert len(wire) > 7 * size
    protocol = connection(side, max_size=size, extensions=[deflate()])
    protocol.receive_data(wire)
    assert len(received(protocol)) == size + 1
    assert state_of(protocol) is State.OPEN


@both_sides
def test_nothing_is_held_for_fragments_that_inflate_to_nothing(side: Side) -> None:
    protocol = connection(side, extensions=[deflate()])
    protocol.collect_messages()
    block = to(side, *[more(EMPTY_BLOCK * 10, fin=False)] * 100)
    protocol.receive_data(to(side, compressed(EMPTY_BLOCK, fin=False)))
    protocol.receive_data(block)
    protocol.messages_received()
    held: list[int] = []
    for _ in range(3):  # what others allocate meanwhile, they do once
        gc.collect()
        tracemalloc.start()
        try:
            for _ in range(30):
                protocol.receive_data(block)
                assert len(protocol.messages_received()) == 100
            gc.collect()
            held.append(tracemalloc.get_traced_memory()[0])
        finally:
            tracemalloc.stop()
    assert min(held) < 5000
    assert state_of(protocol) is State.OPEN


# -- from message to message


LIMITS: dict[str, Any] = {"max_size": 6, "max_fragment_size": 4, "max_fragments": 3}

AT_THE_LIMITS = [
    *(text("1234"), text("12", fin=False), more("", fin=False), more("3456", fin=True), ping()),
    *(binary(b"1234", fin=False), more(b"56", fin=True), text(""), *in_fragments(3)),
]


@both_sides
@pytest.mark.parametrize("is_compressed", [False, True])
def test_counters_begin_anew_with_each_message(side: Side, is_compressed: bool) -> None:
    raws = [*deflated(3, b"12"), *deflated(1, b"1234"), *deflated(3, b"")] * 3
    extension = deflate(remote_no_context_takeover=True)
    protocol = connection(side, **LIMITS, extensions=[extension])
    block = to(side, *(raws if is_compressed else AT_THE_LIMITS))
    for _ in range(300):
        protocol.receive_data(block)
        protocol.events_received()
        protocol.data_to_send()
    assert state_of(protocol) is State.OPEN


def test_a_hundred_thousand_messages_pass() -> None:
    protocol = connection(Side.CLIENT, **LIMITS)
    protocol.collect_messages()
    block = to(Side.CLIENT, *AT_THE_LIMITS[:4], *[text("1234")] * 98)
    for _ in range(1000):
        protocol.receive_data(block)
        protocol.messages_received()
    assert state_of(protocol) is State.OPEN


# -- control frames


@both_sides
def test_a_flood_of_pings_costs_a_few_pongs(side: Side) -> None:
    protocol = connection(side)
    protocol.receive_data(to(side, *[ping(bytes(125))] * 10_000, ping(b"last")))
    frames = written(protocol).frames
    assert len(frames) == MAX_PONGS
    assert frames[-1] == pong(b"last")


@both_sides
def test_without_auto_pong_pings_are_events_and_nobody_answers(side: Side) -> None:
    protocol = connection(side, auto_pong=False)
    protocol.receive_data(to(side, ping(b"1"), ping(b"2")))
    assert received(protocol) == [event(ping(b"1")), event(ping(b"2"))]
    assert written(protocol).frames == []
    protocol.send_pong(b"2")
    assert written(protocol).frames == [pong(b"2")]
    protocol.receive_data(to(side, close(1000)))  # a Close is answered all the same
    assert written(protocol).frames == [close(1000)]


@pytest.mark.parametrize(
    "make", [ServerProtocol, lambda **limits: ClientProtocol("ws://h", **limits)]
)
def test_both_handshakes_pass_the_limits_on(make: Any) -> None:
    protocol: Protocol = make(**LIMITS, auto_pong=False, state=State.OPEN)
    side = protocol.side
    protocol.receive_data(to(side, ping()))
    assert protocol.data_to_send() == []
    for raw in (text("12345"), more("", fin=False)):
        protocol = make(**LIMITS, state=State.OPEN)
        protocol.receive_data(
            to(side, text("", fin=False), more("", fin=False), more("", fin=False))
        )
        protocol.receive_data(to(side, raw))
        protocol.receive_eof()
        assert isinstance(protocol.close_exc.__cause__, ProtocolViolation)


def test_each_limit_has_its_close_code() -> None:
    """What a peer's programmer sees: too big, a policy, a broken protocol, broken data."""
    cases: list[tuple[list[Raw], int]] = [
        ([text("12345")], 1009),
        ([text("1234", fin=False), more("567", fin=True)], 1009),
        (in_fragments(4), 1008),
        ([Raw(TEXT, b"", rsv=0x40)], 1002),
        ([Raw(CONT, b"")], 1002),
        ([ping(bytes(126))], 1002),
        ([text(b"\xff")], 1007),
    ]
    for raws, code in cases:
        protocol = connection(Side.SERVER, **LIMITS)
        protocol.receive_data(to(Side.SERVER, *raws))
        [raw] = written(protocol).frames
        assert Close.parse(raw.payload).code == code
