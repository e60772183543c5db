"""Compressed messages: what goes over the wire, and what a peer may not do (RFC 7692)."""

from __future__ import annotations

import pytest

from anyio_ws.exceptions import ProtocolViolation
from anyio_ws.sansio import (
    Close,
    Frame,
    Protocol,
    Side,
    State,
)

from .helpers import (
    BINARY,
    CONT,
    PING,
    PONG,
    RSV1,
    SIDES,
    SPLITS,
    TEXT,
    Raw,
    Split,
    Suffix,
    Swell,
    close,
    compressed,
    connection,
    deflate,
    feed,
    more,
    ping,
    received,
    state_of,
    text,
    to,
    written,
)

pytestmark = pytest.mark.usefixtures("codec")

both_sides = pytest.mark.parametrize("side", SIDES)
however_cut = pytest.mark.parametrize("split", SPLITS)


def close_codes(protocol: Protocol) -> list[int]:
    return [Close.parse(raw.payload).code for raw in written(protocol).frames]


def reason(protocol: Protocol) -> str:
    protocol.receive_eof()
    cause = protocol.close_exc.__cause__
    assert isinstance(cause, ProtocolViolation)
    return cause.reason


# -- the examples of section 7.2.3

HELLO = bytes.fromhex("f248cdc9c90700")
HELLO_AGAIN = bytes.fromhex("f200110000")


@both_sides
@however_cut
@pytest.mark.parametrize(
    ("raws", "messages"),
    [
        # 7.2.3.1: one block, in one frame and in two
        ([compressed(HELLO)], [b"Hello"]),
        ([compressed(HELLO[:3], fin=False), more(HELLO[3:], fin=True)], [b"Hello"]),
        # 7.2.3.2: the window of the message before
        ([compressed(HELLO), compressed(HELLO_AGAIN)], [b"Hello", b"Hello"]),
        ([compressed(HELLO), compressed(HELLO)], [b"Hello", b"Hello"]),
        # 7.2.3.3: a block without compression
        ([compressed(bytes.fromhex("000500faff48656c6c6f00"))], [b"Hello"]),
        # 7.2.3.4: a block that ends zlib's stream
        ([compressed(bytes.fromhex("f348cdc9c9070000"))], [b"Hello"]),
        ([compressed(bytes.fromhex("f348cdc9c9070000"))] * 2, [b"Hello", b"Hello"]),
        # 7.2.3.5: two blocks in a message
        ([compressed(bytes.fromhex("f248050000 00ffffcac9c90700"))], [b"Hello"]),
        # 7.2.3.6: an empty message
        ([compressed(b"\x00")], [b""]),
        # An empty block that also ends zlib's stream, of which the rest was left out
        ([compressed(b"\x01"), compressed(HELLO)], [b"", b"Hello"]),
        # and several of them, then one that doesn't
        ([compressed(b"\x03\x00" * 3 + HELLO)], [b"Hello"]),
        # Fragments with nothing in them, in every place
        (
            [
                compressed(b"", fin=False),
                more(HELLO[:3], fin=False),
                more(b"", fin=False),
                more(HELLO[3:], fin=False),
                more(b"", fin=True),
            ],
            [b"Hello"],
        ),
        # Uncompressed messages between compressed ones aren't part of the window.
        (
            [compressed(HELLO), text("plain"), text(""), compressed(HELLO_AGAIN)],
            [b"Hello", b"plain", b"", b"Hello"],
        ),
        # Senders that leave out a byte too many are understood.
        (
            [compressed(b""), compressed(HELLO), compressed(b""), compressed(HELLO_AGAIN)],
            [b"", b"Hello", b"", b"Hello"],
        ),
        ([compressed(HELLO), compressed(b"", fin=False), more(b"", fin=True)], [b"Hello", b""]),
        ([compressed(bytes.fromhex("f348cdc9c90700")), compressed(HELLO)], [b"Hello", b"Hello"]),
    ],
)
def test_what_a_peer_may_send_is_understood(
    side: Side, split: Split, raws: list[Raw], messages: list[bytes]
) -> None:
    protocol = connection(side, extensions=[deflate()])
    feed(protocol, to(side, *raws, ping(b"end")), split)
    *frames, last = received(protocol)
    assert last == Frame(PING, b"end")
    found: list[bytes] = []
    for frame in frames:
        assert (frame.rsv1, frame.rsv2, frame.rsv3) == (False, False, False)
        if frame.opcode is CONT:
            found[-1] += frame.data
        else:
            found.append(frame.data)
    assert found == messages
    assert state_of(protocol) is State.OPEN


# -- what a peer must not do


@both_sides
@however_cut
@pytest.mark.parametrize(
    ("raws", "code"),
    [
        # RSV1 belongs to the first frame of a message (section 6).
        ([compressed(HELLO[:3], fin=False), Raw(CONT, HELLO[3:], rsv=RSV1)], 1002),
        ([text("a", fin=False), Raw(CONT, b"b", rsv=RSV1)], 1002),
        ([Raw(CONT, b"", rsv=RSV1)], 1002),
        ([Raw(PING, HELLO, rsv=RSV1)], 1002),
        ([Raw(PONG, b"", rsv=RSV1)], 1002),
        ([close(1000)._replace(rsv=RSV1)], 1002),
        ([compressed(HELLO)._replace(rsv=0x60)], 1002),
        ([compressed(HELLO)._replace(rsv=0x50)], 1002),
        ([text("a")._replace(rsv=0x20)], 1002),
        # Data that isn't compressed
        ([compressed(b"\xff")], 1007),
        ([compressed(b"\x06")], 1007),  # a block of the reserved type
        ([compressed(b"\x00\x01\x00\x01\x00")], 1007),  # its length and the complement differ
        ([compressed(HELLO_AGAIN)], 1007),  # refers to what isn't there
        ([compressed(b"\xff", fin=False)], 1007),  # before the message is over
        ([compressed(b"", fin=False), more(b"\xff", fin=False)], 1007),
        # or that ends too early: inside a block, or inside a code
        ([compressed(HELLO[:3])], 1007),
        ([compressed(HELLO[:-1])], 1007),
        ([compressed(bytes.fromhex("000500faff48"))], 1007),
        ([compressed(HELLO + b"\x00\x00\xff\xff")], 1007),  # which was to be left out
        ([compressed(HELLO, fin=False), more(b"\x00", fin=True)], 1007),
        ([compressed(b"\xf3\x48")], 1007),
        # Text that isn't, after inflating
        ([compressed(b"\x00\x02\x00\xfd\xff\xc3\x28\x00")], 1007),
        ([compressed(b"\x00\x01\x00\xfe\xff\xc3\x00")], 1007),
    ],
)
def test_what_a_peer_may_not_do_fails_the_connection(
    side: Side, split: Split, raws: list[Raw], code: int
) -> None:
    protocol = connection(side, extensions=[deflate()])
    feed(protocol, to(side, *raws, text("never")), split)
    assert close_codes(protocol) == [code]
    assert b"never" not in [frame.data for frame in received(protocol)]


@both_sides
@however_cut
def test_a_message_may_end_where_it_likes_when_its_window_is_not_kept(
    side: Side, split: Split
) -> None:
    for raws, code in [([compressed(HELLO)] * 3, None), ([compressed(HELLO[:3])], 1007)]:
        protocol = connection(side, extensions=[deflate(remote_no_context_takeover=True)])
        feed(protocol, to(side, *raws), split)
        assert close_codes(protocol) == ([] if code is None else [code])


@both_sides
def test_a_window_that_is_not_kept_cannot_be_referred_to(side: Side) -> None:
    protocol = connection(side, extensions=[deflate(remote_no_context_takeover=True)])
    feed(protocol, to(side, compressed(HELLO), compressed(HELLO_AGAIN)))
    assert [frame.data for frame in received(protocol)] == [b"Hello"]
    assert close_codes(protocol) == [1007]


@both_sides
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONT, PING, PONG])
def test_the_bit_means_nothing_without_negotiation(side: Side, opcode: int) -> None:
    protocol = connection(side)
    feed(protocol, to(side, Raw(opcode, HELLO, rsv=RSV1)))
    assert close_codes(protocol) == [1002]


@both_sides
def test_the_bits_are_judged_by_the_header_alone(side: Side) -> None:
    raws = [compressed(HELLO[:3], fin=False), Raw(CONT, bytes(1000), rsv=RSV1)]
    start, rest = to(side, raws[0]), to(side, raws[1])
    protocol = connection(side, extensions=[deflate()])
    protocol.receive_data(start + rest[:4])
    assert close_codes(protocol) == [1002]
    assert "continuation" in reason(protocol)


@both_sides
def test_uncompressed_text_is_still_checked_as_it_arrives(side: Side) -> None:
    protocol = connection(side, extensions=[deflate()])
    wire = to(side, text(b"good \xff" + bytes(100)))
    header = len(wire) - 106
    feed(protocol, wire[: header + 5])
    assert state_of(protocol) is State.OPEN
    feed(protocol, wire[header + 5 : header + 6])
    assert close_codes(protocol) == [1007]


@both_sides
def test_compressed_data_is_judged_as_it_arrives(side: Side) -> None:
    protocol = connection(side, extensions=[deflate()])
    wire = to(side, compressed(b"\xff" + bytes(100)))
    feed(protocol, wire[:-100])
    assert close_codes(protocol) == [1007]


@both_sides
@however_cut
def test_a_frame_that_two_extensions_transformed_is_undone_whole(side: Side, split: Split) -> None:
    extensions = [deflate(), Suffix("x-bang", b"!", 0x20)]
    protocol = connection(side, extensions=extensions)
    protocol.send_text(b"Hello")
    both = compressed(HELLO + b"!")._replace(rsv=0x60)
    assert written(protocol).frames == [both]
    raws = [both, compressed(HELLO_AGAIN), text("plain!")._replace(rsv=0x20), text("plain")]
    feed(protocol, to(side, *raws), split)
    assert [frame.data for frame in received(protocol)] == [b"Hello", b"Hello", b"plain", b"plain"]


@both_sides
def test_an_extension_that_cannot_decode_parts_is_given_whole_frames(side: Side) -> None:
    protocol = connection(side, extensions=[Swell()])
    with pytest.raises(NotImplementedError):
        protocol.extensions[0].decode_part(TEXT, RSV1, b"x", max_size=None)
    for i in range(2):
        feed(protocol, to(side, Raw(TEXT, b"xy", rsv=RSV1)), SPLITS[i])
    assert [frame.data for frame in received(protocol)] == [b"xy" * 10] * 2


def test_an_extension_shows_what_was_agreed() -> None:
    assert repr(deflate(local_max_window_bits=9)) == (
        "PerMessageDeflate(remote_no_context_takeover=False, local_no_context_takeover=False, "
        "remote_max_window_bits=15, local_max_window_bits=9)"
    )
