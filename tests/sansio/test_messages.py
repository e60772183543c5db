"""Frames to messages: fragmentation, UTF-8, size (RFC 6455, sections 5.4 to 5.6 and 8.1)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import pytest

from anyio_ws.exceptions import ProtocolViolation
from anyio_ws.sansio import Close, Fragment, Frame, Message, Protocol, Side, State

from .helpers import (
    CLOSE,
    CONT,
    PING,
    PONG,
    SIDES,
    SPLITS,
    TEXT,
    Raw,
    Split,
    binary,
    byte_by_byte,
    close,
    connection,
    feed,
    more,
    ping,
    pong,
    state_of,
    text,
    to,
    written,
)

pytestmark = pytest.mark.usefixtures("codec")

both_sides = pytest.mark.parametrize("side", SIDES)
however_cut = pytest.mark.parametrize("split", SPLITS)


def gathering(side: Side, *, max_size: int | None = 2**20) -> Protocol:
    protocol = connection(side, max_size=max_size)
    protocol.collect_messages()
    return protocol


def failed_with(protocol: Protocol) -> int | None:
    """The code of the Close frame that was written, None for none."""
    frames = [frame for frame in written(protocol).frames if frame.opcode == CLOSE]
    assert len(frames) <= 1
    return Close.parse(frames[0].payload).code if frames else None


# -- fragmentation

KEPT: list[tuple[list[Raw], list[Message]]] = [
    ([text("κόσμε")], ["κόσμε"]),
    ([text("")], [""]),
    ([binary(b"")], [b""]),
    ([text("a", fin=False), more("b", fin=True)], [Fragment("a", False), Fragment("b", True)]),
    (
        [binary(b"\xff", fin=False), more(b"", fin=False), more(b"\xfe", fin=True)],
        [Fragment(b"\xff", False), Fragment(b"", False), Fragment(b"\xfe", True)],
    ),
    ([text("", fin=False), more("", fin=True)], [Fragment("", False), Fragment("", True)]),
    # A character may be cut between frames: its text comes with its last byte.
    (
        [text(b"\xe2", fin=False), more(b"\x82", fin=False), more(b"\xac!", fin=True)],
        [Fragment("", False), Fragment("", False), Fragment("€!", True)],
    ),
    (
        [text(b"a\xf0\x9f", fin=False), ping(b"?"), pong(), more(b"\x98\x80", fin=True)],
        [Fragment("a", False), Frame(PING, b"?"), Frame(PONG, b""), Fragment("😀", True)],
    ),
    # Nothing of a message is left for the next.
    (
        [text("a", fin=False), more("b", fin=True), text("c"), binary(b"\xe2\x82"), text("d")],
        [Fragment("a", False), Fragment("b", True), "c", b"\xe2\x82", "d"],
    ),
    (
        [binary(b"\xe2", fin=False), more(b"\xff", fin=True), text("é")],
        [Fragment(b"\xe2", False), Fragment(b"\xff", True), "é"],
    ),
]


@both_sides
@however_cut
@pytest.mark.parametrize(("raws", "messages"), KEPT)
def test_messages_are_what_their_frames_say(
    side: Side, split: Split, raws: list[Raw], messages: list[Message]
) -> None:
    protocol = gathering(side)
    feed(protocol, to(side, *raws, text("next")), split)
    assert protocol.messages_received() == [*messages, "next"]
    assert state_of(protocol) is State.OPEN
    for message in messages:
        content = message.data if isinstance(message, Fragment) else message
        assert type(content) in (str, bytes, Frame)


@both_sides
@however_cut
def test_every_control_frame_may_stand_between_fragments(side: Side, split: Split) -> None:
    protocol = gathering(side)
    raws = [text(b"\xc3", fin=False), ping(b"1"), more(b"\xa9", fin=False), pong(b"2"), close(1000)]
    feed(protocol, to(side, *raws), split)
    assert protocol.messages_received() == [
        Fragment("", False),
        Frame(PING, b"1"),
        Fragment("é", False),
        Frame(PONG, b"2"),
        Frame(CLOSE, b"\x03\xe8"),
    ]
    # The character that is still open is no violation: the message never ended.
    assert failed_with(protocol) == 1000


@both_sides
def test_a_frame_is_decoded_text_and_an_event_is_bytes(side: Side) -> None:
    protocol = connection(side)
    protocol.receive_data(to(side, text(b"\xe2\x82", fin=False), more(b"\xac", fin=True)))
    assert protocol.events_received() == [
        Frame(TEXT, b"\xe2\x82", False),
        Frame(CONT, b"\xac", True),
    ]


# -- UTF-8

# (name, start of a text, what makes it no text, at its first byte that can't belong to any)
NOT_UTF8 = [
    ("lone continuation byte", b"a", b"\x80"),
    ("lone last continuation byte", b"", b"\xbf"),
    ("overlong slash, two bytes", b"a", b"\xc0"),
    ("overlong DEL, two bytes", b"", b"\xc1"),
    ("overlong slash, three bytes", b"\xe0", b"\x80"),
    ("overlong U+07FF, three bytes", b"\xe0", b"\x9f"),
    ("overlong slash, four bytes", b"\xf0", b"\x80"),
    ("overlong U+FFFF, four bytes", b"\xf0", b"\x8f"),
    ("overlong, five bytes", b"", b"\xf8"),
    ("overlong, six bytes", b"", b"\xfc"),
    ("first surrogate", b"\xed", b"\xa0"),
    ("last high surrogate", b"\xed", b"\xaf"),
    ("first low surrogate", b"\xed", b"\xb0"),
    ("last surrogate", b"\xed", b"\xbf"),
    ("just above U+10FFFF", b"\xf4", b"\x90"),
    ("above U+10FFFF", b"", b"\xf5"),
    ("five bytes", b"", b"\xfb"),
    ("six bytes", b"", b"\xfd"),
    ("FE", b"", b"\xfe"),
    ("FF", b"", b"\xff"),
    ("two bytes, second missing", b"\xc3", b"("),
    ("three bytes, second missing", b"\xe2", b"("),
    ("three bytes, third missing", b"\xe2\x82", b"("),
    ("four bytes, second missing", b"\xf0", b"("),
    ("four bytes, third missing", b"\xf0\x9f", b"("),
    ("four bytes, fourth missing", b"\xf0\x9f\x98", b"("),
    ("a start inside a character", b"\xe2\x82", b"\xe2"),
    ("Autobahn 6.3 and 6.4", "κόσμε".encode() + b"\xed", b"\xa0"),
    ("Autobahn 6.4.1", "κόσμε".encode() + b"\xf4", b"\x90"),
]

UTF8 = [
    "",
    "\0",
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufeff",
    "\ufffd",
    "\ufffe",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    "\U0001fffe",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
]

bad_text = pytest.mark.parametrize(
    ("good", "bad"),
    [(good, bad) for _, good, bad in NOT_UTF8],
    ids=[name for name, _, _ in NOT_UTF8],
)


def assert_failed_with_1007(protocol: Protocol, before: list[Message]) -> None:
    assert protocol.messages_received() == before
    assert failed_with(protocol) == 1007
    assert state_of(protocol) is State.CLOSING
    protocol.receive_eof()
    cause = protocol.close_exc.__cause__
    assert isinstance(cause, ProtocolViolation)
    assert cause.code == 1007


@both_sides
@however_cut
@pytest.mark.parametrize("data", UTF8)
def test_everything_that_unicode_has_is_text(side: Side, split: Split, data: str) -> None:
    protocol = gathering(side)
    encoded = data.encode()
    fragments = [text(b"", fin=False)]
    fragments += [Raw(CONT, encoded[i : i + 1], False) for i in range(len(encoded))]
    feed(protocol, to(side, text(data), *fragments, more(b"", fin=True)), split)
    whole, *parts = protocol.messages_received()
    assert whole == data
    texts = [part.data for part in parts if isinstance(part, Fragment)]
    assert "".join(text for text in texts if isinstance(text, str)) == data
    assert state_of(protocol) is State.OPEN


@both_sides
@however_cut
@bad_text
def test_text_that_is_not_utf8_fails_the_connection(
    side: Side, split: Split, good: bytes, bad: bytes
) -> None:
    protocol = gathering(side)
    feed(protocol, to(side, text("ok"), text(good + bad + b"tail"), text("never")), split)
    assert_failed_with_1007(protocol, ["ok"])


@both_sides
@bad_text
def test_the_first_bad_byte_fails_the_connection_inside_an_incomplete_frame(
    side: Side, good: bytes, bad: bytes
) -> None:
    # The frame says that it has 70 000 bytes; no more than these ever arrive.
    start = to(side, text(good + bad + bytes(70_000)))[: -70_000 - len(bad)]
    protocol = gathering(side)
    feed(protocol, start, byte_by_byte)
    assert state_of(protocol) is State.OPEN
    assert failed_with(protocol) is None
    protocol.receive_data(to(side, text(good + bad + bytes(70_000)))[len(start) : len(start) + 1])
    assert_failed_with_1007(protocol, [])


@both_sides
@however_cut
@bad_text
def test_the_first_bad_byte_fails_the_connection_across_fragments(
    side: Side, split: Split, good: bytes, bad: bytes
) -> None:
    protocol = gathering(side)
    before: list[Message] = []
    feed(protocol, to(side, text(b"", fin=False)), split)
    before.append(Fragment("", False))
    for i in range(len(good)):
        feed(protocol, to(side, more(good[i : i + 1], fin=False), ping()), split)
        before += [Fragment(good[: i + 1].decode(errors="ignore")[-1:], False), Frame(PING, b"")]
        assert state_of(protocol) is State.OPEN
    received = protocol.messages_received()
    assert [type(message) for message in received] == [type(message) for message in before]
    feed(protocol, to(side, more(bad, fin=False)), split)
    assert_failed_with_1007(protocol, [])


@both_sides
@however_cut
@pytest.mark.parametrize("end", [b"\xc3", b"\xe2", b"\xe2\x82", b"\xf0", b"\xf0\x9f\x98"])
def test_a_message_that_ends_inside_a_character_fails_the_connection(
    side: Side, split: Split, end: bytes
) -> None:
    for raws, before in (
        ([text(b"a" + end)], []),
        ([text(b"a" + end, fin=False), more(b"", fin=True)], [Fragment("a", False)]),
        ([text(b"", fin=False), more(end, fin=True)], [Fragment("", False)]),
    ):
        protocol = gathering(side)
        feed(protocol, to(side, *raws), split)
        assert_failed_with_1007(protocol, list[Message](before))


@both_sides
@however_cut
def test_the_cases_6_4_of_autobahn_fail_as_soon_as_they_can(side: Side, split: Split) -> None:
    valid, bad, rest = "κόσμε".encode(), b"\xf4\x90\x80\x80", b"edited"
    # 6.4.1: in three frames; the second is bad, the third comes never.
    protocol = gathering(side)
    feed(protocol, to(side, text(valid, fin=False), more(bad, fin=False)), split)
    assert_failed_with_1007(protocol, [Fragment("κόσμε", False)])
    # 6.4.2: the frame is cut after the byte that can't stand there.
    protocol = gathering(side)
    feed(protocol, to(side, text(valid + bad[:1], fin=False), more(bad[1:], fin=True)), split)
    assert_failed_with_1007(protocol, [Fragment("κόσμε", False)])
    # 6.4.3 and 6.4.4: one frame, in chunks.
    wire = to(side, text(valid + bad + rest))
    protocol = gathering(side)
    feed(protocol, wire[: -len(bad + rest)], split)
    assert state_of(protocol) is State.OPEN
    feed(protocol, wire[-len(bad + rest) : -len(rest) - 2], split)
    assert_failed_with_1007(protocol, [])


@both_sides
@however_cut
def test_binary_data_and_pings_may_have_any_bytes(side: Side, split: Split) -> None:
    every = bytes(range(256))
    protocol = gathering(side)
    raws = [binary(every), ping(every[131:]), binary(every, fin=False), more(every, fin=True)]
    feed(protocol, to(side, *raws), split)
    assert len(protocol.messages_received()) == 4
    assert state_of(protocol) is State.OPEN


@both_sides
def test_what_is_wrong_with_a_text_is_told(side: Side) -> None:
    for data, reason in (
        (b"ok\xff", "text isn't UTF-8: invalid start byte, byte 0xff"),
        (b"\xe2(", "text isn't UTF-8: invalid continuation byte, byte 0xe2"),
        (b"\xe2\x82", "text isn't UTF-8: unexpected end of data, byte 0xe2"),
    ):
        protocol = gathering(side)
        protocol.receive_data(to(side, text(data)))
        assert written(protocol).frames == [close(1007, reason)]


# -- size


@both_sides
@however_cut
def test_a_message_may_have_exactly_max_size_bytes(side: Side, split: Split) -> None:
    raws = [
        binary(bytes(300)),
        text("é" * 150),
        binary(bytes(100), fin=False),
        more(bytes(100), fin=False),
        ping(bytes(125)),
        more(bytes(100), fin=False),
        more(b"", fin=True),
        binary(bytes(300)),
    ]
    protocol = gathering(side, max_size=300)
    feed(protocol, to(side, *raws), split)
    assert len(protocol.messages_received()) == len(raws)
    assert state_of(protocol) is State.OPEN


@both_sides
@however_cut
@pytest.mark.parametrize(
    "raws",
    [
        [binary(bytes(301))],
        [text("é" * 151)],
        [binary(bytes(300), fin=False), more(b"x", fin=True)],
        [text("a" * 100, fin=False), ping(), more("a" * 200, fin=False), more("a", fin=False)],
        [binary(bytes(2**17))],
    ],
)
def test_a_message_beyond_max_size_fails_the_connection(
    side: Side, split: Split, raws: list[Raw]
) -> None:
    protocol = gathering(side, max_size=300)
    feed(protocol, to(side, *raws)[:1000], split)
    assert len(protocol.messages_received()) == len(raws) - 1
    assert failed_with(protocol) == 1009


@both_sides
@pytest.mark.parametrize("size", [301, 2**16, 2**63 - 1])
def test_a_length_beyond_max_size_fails_the_connection_before_its_payload(
    side: Side, size: int
) -> None:
    header = b"\x82" + bytes(
        [(0x80 if side is Side.SERVER else 0) | (126 if size < 2**16 else 127)]
    )
    header += size.to_bytes(2 if size < 2**16 else 8, "big")
    protocol = gathering(side, max_size=300)
    feed(protocol, header[:-1], byte_by_byte)
    assert state_of(protocol) is State.OPEN
    protocol.receive_data(header[-1:])
    assert failed_with(protocol) == 1009


@both_sides
def test_control_frames_have_no_part_in_the_size_of_a_message(side: Side) -> None:
    protocol = gathering(side, max_size=1)
    protocol.receive_data(to(side, ping(bytes(125)), binary(b"x"), pong(bytes(125))))
    assert len(protocol.messages_received()) == 3


@both_sides
def test_the_limit_is_one_mebibyte_unless_it_is_told_otherwise(side: Side) -> None:
    for protocol, size, code in (
        (Protocol(side), 2**20, None),
        (Protocol(side), 2**20 + 1, 1009),
        (Protocol(side, max_size=None), 2**20 + 1, None),
        (Protocol(side, max_size=0), 0, None),
        (Protocol(side, max_size=0), 1, 1009),
    ):
        protocol.receive_data(to(side, binary(bytes(size))))
        assert failed_with(protocol) == code


# -- memory

MEBIBYTE = 2**20


def in_kibibytes(data: bytes) -> Iterator[bytes]:
    for i in range(0, len(data), 1024):
        yield data[i : i + 1024]


@both_sides
@pytest.mark.parametrize(
    "raw", [text("é" * (MEBIBYTE // 2)), binary(bytes(MEBIBYTE))], ids=["text", "binary"]
)
def test_a_large_frame_in_small_pieces_takes_a_small_multiple_of_its_size(
    side: Side, raw: Raw
) -> None:
    pieces = list(in_kibibytes(to(side, raw)))
    protocol = gathering(side)
    tracemalloc.start()
    try:
        for piece in pieces:
            protocol.receive_data(piece)
        messages = protocol.messages_received()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(messages) == 1
    # The frame's payload grows in one buffer and is given away as bytes; text is decoded beside it.
    assert peak < 5 * MEBIBYTE


@both_sides
def test_a_frame_in_the_smallest_pieces_takes_no_more(side: Side) -> None:
    wire = to(side, text("€\r\n" * 10_000))
    pieces = list(byte_by_byte(wire))
    protocol = gathering(side)
    tracemalloc.start()
    try:
        for piece in pieces:
            protocol.receive_data(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert protocol.messages_received() == ["€\r\n" * 10_000]
    assert peak < 5 * len(wire)


@both_sides
def test_the_core_holds_nothing_of_the_fragments_that_it_has_given_away(side: Side) -> None:
    protocol = gathering(side, max_size=None)
    wire = to(side, more("é" * 5_000, fin=False))
    protocol.receive_data(to(side, text("", fin=False)))
    tracemalloc.start()
    try:
        for _ in range(100):
            protocol.receive_data(wire)
            protocol.messages_received()
        assert tracemalloc.get_traced_memory()[0] < 50_000
    finally:
        tracemalloc.stop()


@both_sides
def test_an_idle_connection_holds_nothing_of_what_it_received(side: Side) -> None:
    protocol = gathering(side)
    wire = to(side, *(binary(bytes(1000)) for _ in range(64)))
    tracemalloc.start()
    try:
        protocol.receive_data(bytes(bytearray(wire)))
        protocol.messages_received()
        assert tracemalloc.get_traced_memory()[0] < 10_000
    finally:
        tracemalloc.stop()
