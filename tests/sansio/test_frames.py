"""Frames and bytes (RFC 6455, sections 5.2 to 5.5)."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import SupportsIndex, cast, overload

import pytest

from anyio_ws.exceptions import ProtocolError, ProtocolViolation
from anyio_ws.sansio import Close, CloseCode, Frame, Opcode
from anyio_ws.sansio.frames import FrameDecoder, Parts, valid_close_code
from anyio_ws.testing.wire import apply_key

from .helpers import (
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    SPLITS,
    TEXT,
    Raw,
    Split,
    byte_by_byte,
    event,
    read_wire,
)

pytestmark = pytest.mark.usefixtures("codec")

# -- writing

RFC_EXAMPLES = [  # section 5.7
    (Frame(TEXT, b"Hello"), None, "810548656c6c6f"),
    (Frame(TEXT, b"Hello"), KEY, "818537fa213d7f9f4d5158"),
    (Frame(TEXT, b"Hel", fin=False), None, "010348656c"),
    (Frame(CONT, b"lo"), None, "80026c6f"),
    (Frame(PING, b"Hello"), None, "890548656c6c6f"),
    (Frame(PONG, b"Hello"), KEY, "8a8537fa213d7f9f4d5158"),
    (Frame(BINARY, bytes(256)), None, "827e0100" + "00" * 256),
    (Frame(BINARY, bytes(65536)), None, "827f0000000000010000" + "00" * 65536),
]


@pytest.mark.parametrize(("frame", "mask", "wire"), RFC_EXAMPLES)
def test_the_examples_of_the_rfc_are_written_as_printed_there(
    frame: Frame, mask: bytes | None, wire: str
) -> None:
    assert frame.serialize(mask).hex() == wire


@pytest.mark.parametrize("mask", [None, KEY, bytes(4), b"\xff\x00\x80\x01"])
@pytest.mark.parametrize(
    ("size", "header"),
    [
        (0, "8200"),
        (1, "8201"),
        (125, "827d"),
        (126, "827e007e"),
        (127, "827e007f"),
        (65535, "827effff"),
        (65536, "827f0000000000010000"),
        (65537, "827f0000000000010001"),
    ],
)
def test_a_length_is_written_in_its_shortest_form(
    size: int, header: str, mask: bytes | None
) -> None:
    payload = bytes(i & 0xFF for i in range(size))
    wire = Frame(BINARY, payload).serialize(mask)
    expected = bytearray.fromhex(header)
    if mask is None:
        assert wire == expected + payload
    else:
        expected[1] |= 0x80
        assert wire == expected + mask + apply_key(payload, mask)


@pytest.mark.parametrize("opcode", Opcode)
@pytest.mark.parametrize("bits", range(8))
def test_every_bit_of_the_first_byte_is_written_where_it_belongs(opcode: Opcode, bits: int) -> None:
    rsv1, rsv2, rsv3 = bits & 4 != 0, bits & 2 != 0, bits & 1 != 0
    for fin in [True] if opcode >= 0x8 else [True, False]:
        wire = Frame(opcode, b"", fin, rsv1, rsv2, rsv3).serialize()
        assert wire == bytes([fin << 7 | bits << 4 | opcode, 0])


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_control_frame_may_have_125_bytes_and_not_one_more(opcode: Opcode) -> None:
    assert len(Frame(opcode, bytes(125)).serialize()) == 127
    with pytest.raises(ValueError, match="126 bytes; at most 125"):
        Frame(opcode, bytes(126)).serialize()


@pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
def test_a_fragmented_control_frame_is_not_written(opcode: Opcode) -> None:
    with pytest.raises(ValueError, match="can't be fragmented"):
        Frame(opcode, b"", fin=False).serialize()


@pytest.mark.parametrize(
    ("frame", "shown"),
    [
        (Frame(TEXT, b"caf\xc3\xa9"), "TEXT 'café' [5 bytes]"),
        (Frame(TEXT, b"bad \xff"), "TEXT 'bad \ufffd' [5 bytes]"),
        (Frame(TEXT, b"a\r\nb\x1b["), r"TEXT 'a\r\nb\x1b[' [6 bytes]"),
        (Frame(TEXT, b"caf\xc3", fin=False), r"TEXT b'caf\xc3' [4 bytes, continued]"),
        (Frame(TEXT, b"x" * 75), f"TEXT '{'x' * 75}' [75 bytes]"),
        (Frame(TEXT, b"x" * 76), f"TEXT '{'x' * 75}'... [76 bytes]"),
        (Frame(TEXT, b"x" * 74 + b"\xc3\xa9"), f"TEXT '{'x' * 74}'... [76 bytes]"),
        (Frame(TEXT, b"x" * 74 + b"\xc3"), f"TEXT '{'x' * 74}\ufffd' [75 bytes]"),
        (Frame(BINARY, b"\x00\n"), r"BINARY b'\x00\n' [2 bytes]"),
        (Frame(BINARY, bytes(26)), "BINARY b'" + r"\x00" * 25 + "'... [26 bytes]"),
        (Frame(CONT, b"", True, True, False, True), "CONT b'' [0 bytes, rsv1, rsv3]"),
        (Frame(BINARY, b"", True, False, True), "BINARY b'' [0 bytes, rsv2]"),
        (Frame(PING, b"?"), "PING b'?' [1 bytes]"),
        (Frame(CLOSE, b"\x03\xe8bye"), "CLOSE 1000 (normal closure) bye [5 bytes]"),
        (Frame(CLOSE, b""), "CLOSE 1005 (no status rcvd) [0 bytes]"),
        (
            Frame(CLOSE, b"\x03"),
            r"CLOSE b'\x03' (close frame with a payload of one byte) [1 bytes]",
        ),
    ],
)
def test_a_frame_is_described_in_one_line_without_control_characters(
    frame: Frame, shown: str
) -> None:
    assert str(frame) == shown


# -- close codes

VALID_CODES = [*range(1000, 1004), *range(1007, 1015), 3000, 3999, 4000, 4999]
INVALID_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]


@pytest.mark.parametrize("code", VALID_CODES)
def test_a_code_that_may_be_sent_is_valid_both_ways(code: int) -> None:
    assert valid_close_code(code)
    assert Close.parse(code.to_bytes(2, "big") + b"why") == Close(code, "why")
    assert Close(code, "why").serialize() == code.to_bytes(2, "big") + b"why"
    assert Close(code).serialize() == code.to_bytes(2, "big")


@pytest.mark.parametrize("code", INVALID_CODES)
def test_a_code_that_may_not_be_sent_is_a_violation_when_received(code: int) -> None:
    assert not valid_close_code(code)
    with pytest.raises(ProtocolViolation, match=f"invalid close code {code}") as caught:
        Close.parse(code.to_bytes(2, "big"))
    assert caught.value.code == 1002


@pytest.mark.parametrize("code", [-1, *(code for code in INVALID_CODES if code != 1005), 65536])
def test_a_code_that_may_not_be_sent_is_not_written(code: int) -> None:
    with pytest.raises(ProtocolError, match=f"invalid close code {code}"):
        Close(code).serialize()


def test_code_1005_stands_for_an_empty_close_frame() -> None:
    assert Close.parse(b"") == Close(CloseCode.NO_STATUS_RCVD, "")
    assert Close(CloseCode.NO_STATUS_RCVD).serialize() == b""
    with pytest.raises(ProtocolError, match="'why' without a close code"):
        Close(CloseCode.NO_STATUS_RCVD, "why").serialize()


def test_a_close_payload_of_one_byte_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation, match="one byte") as caught:
        Close.parse(b"\x03")
    assert caught.value.code == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"ok\xc3", b"\xed\xa0\x80", b"\xc0\x80"])
def test_a_close_reason_that_is_not_utf8_is_invalid_data(reason: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="close reason isn't UTF-8") as caught:
        Close.parse(b"\x03\xe8" + reason)
    assert caught.value.code == 1007


def test_a_close_reason_has_at_most_123_bytes_of_utf8() -> None:
    assert len(Close(1000, "é" * 61 + "e").serialize()) == 125
    with pytest.raises(ValueError, match="124 bytes; at most 123"):
        Close(1000, "é" * 62).serialize()


@pytest.mark.parametrize(
    ("close", "shown"),
    [
        (Close(1000), "1000 (normal closure)"),
        (Close(1001, "bye"), "1001 (going away) bye"),
        (Close(1006), "1006 (abnormal closure)"),
        (Close(1016), "1016 (unknown)"),
        (Close(3000, "x"), "3000 (registered) x"),
        (Close(3999), "3999 (registered)"),
        (Close(4000), "4000 (private use)"),
        (Close(4999), "4999 (private use)"),
        (Close(5000), "5000 (unknown)"),
        (Close(1000, "a\r\nERROR forged \x1b[31m"), r"1000 (normal closure) 'a\r\nERROR forged \x1b[31m'"),
    ],
)  # fmt: skip
def test_a_close_is_shown_with_its_meaning_and_without_control_characters(
    close: Close, shown: str
) -> None:
    assert str(close) == shown


def test_opcodes_and_close_codes_have_the_numbers_of_the_rfc() -> None:
    assert {opcode.name: int(opcode) for opcode in Opcode} == {
        "CONT": 0x0,
        "TEXT": 0x1,
        "BINARY": 0x2,
        "CLOSE": 0x8,
        "PING": 0x9,
        "PONG": 0xA,
    }
    assert [int(code) for code in CloseCode] == [*range(1000, 1004), *range(1005, 1016)]


# -- reading


class RecordingJudge:
    """Remembers what it is asked; objects when told to."""

    def __init__(self, objection: ProtocolViolation | None = None) -> None:
        self.asked: list[object] = []
        self.arrived = 0
        self.objection = objection

    def begin_frame(self, opcode: Opcode, fin: bool, rsv: int, size: int) -> Parts:
        self.asked.append((opcode, fin, rsv, size))
        if self.objection is not None:
            raise self.objection
        return Parts.SHOWN

    def payload_arrived(self, data: bytes) -> None:
        self.asked.append(data)
        self.arrived += len(data)


def decode(
    wire: bytes, split: Split, *, masked: bool
) -> tuple[list[Frame], ProtocolViolation | None, FrameDecoder]:
    decoder = FrameDecoder(RecordingJudge(), masked=masked)
    frames: list[Frame] = []
    for piece in split(wire):
        decoder.feed(piece)
        try:
            while (frame := decoder.next_frame()) is not None:
                frames.append(frame)
        except ProtocolViolation as violation:
            return frames, violation, decoder
    return frames, None, decoder


READABLE = [
    Raw(TEXT, b"Hello"),
    Raw(TEXT, b""),
    Raw(TEXT, b"Hel", fin=False),
    Raw(CONT, b"", fin=False),
    Raw(CONT, b"lo"),
    Raw(BINARY, bytes(125)),
    Raw(BINARY, b"ab" * 63),
    Raw(BINARY, bytes(range(256))),
    Raw(PING, b""),
    Raw(PONG, bytes(125)),
    Raw(CLOSE, b"\x03\xe8"),
    Raw(BINARY, b"x", rsv=0x40),
    Raw(BINARY, b"x", rsv=0x20),
    Raw(BINARY, b"x", rsv=0x10),
    Raw(CONT, b"x", fin=False, rsv=0x70),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("raw", READABLE)
def test_a_frame_is_read_however_it_arrives_and_whatever_follows(
    raw: Raw, masked: bool, split: Split
) -> None:
    wire = raw.serialize(masked=masked)
    frames, violation, decoder = decode(wire, split, masked=masked)
    assert (frames, violation, decoder.mid_frame) == ([event(raw)], None, False)
    trailing = wire[:-1] if len(wire) > 2 else wire[:1]
    frames, violation, decoder = decode(wire + wire + trailing, split, masked=masked)
    assert (frames, violation, decoder.mid_frame) == ([event(raw)] * 2, None, True)


@pytest.mark.parametrize("size", [65535, 65536, 65537, 200_000])
@pytest.mark.parametrize("masked", [True, False])
def test_a_large_frame_is_read_in_pieces_that_are_no_multiple_of_the_key(
    size: int, masked: bool
) -> None:
    raw = Raw(BINARY, bytes(i * 7 & 0xFF for i in range(size)))
    wire = raw.serialize(masked=masked)
    cut = lambda data: (data[i : i + 1001] for i in range(0, len(data), 1001))  # noqa: E731
    frames, violation, _ = decode(wire, cut, masked=masked)
    assert (frames, violation) == ([event(raw)], None)


def test_everything_between_two_frames_is_between_frames() -> None:
    decoder = FrameDecoder(RecordingJudge(), masked=False)
    for piece in byte_by_byte(Raw(BINARY, bytes(126)).serialize(masked=False)):
        assert decoder.next_frame() is None
        decoder.feed(piece)
        assert decoder.mid_frame
    assert decoder.next_frame() is not None
    assert not decoder.mid_frame
    assert decoder.next_frame() is None


def test_unread_counts_what_was_not_looked_at() -> None:
    decoder = FrameDecoder(RecordingJudge(), masked=False)
    first, second = (
        Raw(BINARY, b"1").serialize(masked=False),
        Raw(BINARY, b"23").serialize(masked=False),
    )
    assert decoder.unread == 0
    decoder.feed(first + second)
    assert decoder.unread == 7
    decoder.next_frame()
    assert decoder.unread == 4
    decoder.feed(b"\x82")
    assert decoder.unread == 5
    decoder.next_frame()
    assert decoder.unread == 1


UNREADABLE = [
    *((Raw(opcode), f"reserved opcode 0x{opcode:x}") for opcode in [3, 4, 5, 6, 7, *range(11, 16)]),
    *((Raw(opcode, fin=False), "fragmented") for opcode in [CLOSE, PING, PONG]),
    *((Raw(opcode, bytes(126)), "exceeds the limit of 125") for opcode in [CLOSE, PING, PONG]),
    *((Raw(opcode, b"", width=8), "exceeds the limit of 125") for opcode in [CLOSE, PING, PONG]),
    (Raw(BINARY, bytes(125), width=2), "length 125 isn't in its shortest form"),
    (Raw(BINARY, b"", width=2), "length 0 isn't in its shortest form"),
    (Raw(BINARY, bytes(65535), width=8), "length 65535 isn't in its shortest form"),
    (Raw(TEXT, b"", width=8), "length 0 isn't in its shortest form"),
]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize(("raw", "reason"), UNREADABLE)
def test_a_malformed_frame_is_a_violation_after_the_frames_before_it(
    raw: Raw, reason: str, masked: bool, split: Split
) -> None:
    wire = Raw(TEXT, b"before").serialize(masked=masked) + raw.serialize(masked=masked)[:300]
    frames, violation, _ = decode(wire + b"\x81\x00", split, masked=masked)
    assert frames == [Frame(TEXT, b"before")]
    assert violation is not None
    assert violation.code == 1002
    assert reason in str(violation)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    ("masked", "reason"),
    [(True, "frame from a client isn't masked"), (False, "frame from a server is masked")],
)
def test_masking_is_for_clients_and_for_nobody_else(
    masked: bool, reason: str, split: Split
) -> None:
    for opcode in Opcode:
        wire = Raw(opcode).serialize(masked=not masked)
        _, violation, _ = decode(wire, split, masked=masked)
        assert str(violation) == reason


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("masked", [True, False])
def test_a_length_with_the_top_bit_set_is_a_violation(masked: bool, split: Split) -> None:
    wire = bytes([0x82, masked << 7 | 127]) + b"\x80" + bytes(7)
    _, violation, _ = decode(wire, split, masked=masked)
    assert violation is not None
    assert (violation.code, "most significant bit" in str(violation)) == (1002, True)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "start",
    [b"\x83\x00", b"\x08\x00", b"\x89\x7e", b"\x8a\x7f", b"\x81\x80", b"\x82\xfe", b"\x82\xff"],
)
def test_two_bytes_are_enough_to_judge_what_they_tell(start: bytes, split: Split) -> None:
    _, violation, _ = decode(start, split, masked=False)
    assert violation is not None


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("split", SPLITS)
def test_a_header_is_judged_before_its_payload_is_looked_at(masked: bool, split: Split) -> None:
    objection = ProtocolViolation(1009, "too big")
    judge = RecordingJudge(objection)
    decoder = FrameDecoder(judge, masked=masked)
    # Neither masking key nor payload have arrived.
    *pieces, last = split(
        Raw(BINARY, bytes(1000), fin=False, rsv=0x50).serialize(masked=masked)[:4]
    )
    for piece in pieces:
        decoder.feed(piece)
        assert decoder.next_frame() is None
    assert judge.asked == []
    decoder.feed(last)
    with pytest.raises(ProtocolViolation, match="too big"):
        decoder.next_frame()
    assert judge.asked == [(BINARY, False, 0x50, 1000)]


def test_the_payload_of_an_incomplete_frame_is_shown_unmasked_as_it_arrives() -> None:
    judge = RecordingJudge()
    decoder = FrameDecoder(judge, masked=True)
    wire = Raw(TEXT, b"Hello").serialize(masked=True)
    for piece in (wire[:9], wire[9:10], wire[10:]):
        decoder.feed(piece)
        decoder.next_frame()
    assert judge.asked == [(TEXT, True, 0, 5), b"Hel", b"l", b"o"]


def test_a_declared_length_allocates_nothing() -> None:
    decoder = FrameDecoder(RecordingJudge(), masked=False)
    tracemalloc.start()
    try:
        decoder.feed(b"\x82\x7f" + (2**63 - 1).to_bytes(8, "big") + b"x")
        assert decoder.next_frame() is None
        assert tracemalloc.get_traced_memory()[1] < 10_000
    finally:
        tracemalloc.stop()


class Metered(bytes):
    """Counts the bytes that are copied out of it, or together with it."""

    copied = 0

    @overload
    def __getitem__(self, index: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> bytes: ...
    def __getitem__(self, index: SupportsIndex | slice) -> int | bytes:
        if not isinstance(index, slice):
            return super().__getitem__(index)
        return self._copied(super().__getitem__(index))

    def __add__(self, other: object) -> Metered:
        return self._copied(bytes(self) + cast("bytes", other))

    def __radd__(self, other: object) -> Metered:
        if not isinstance(other, bytes):
            return NotImplemented  # appending to a bytearray copies nothing else
        return self._copied(other + bytes(self))

    def _copied(self, result: bytes) -> Metered:
        Metered.copied += len(result)
        return Metered(result)


def small_frames() -> tuple[list[bytes], int]:
    return [Raw(BINARY, b"1234").serialize(masked=False) * 10_000], 10_000


def small_frames_cut_in_the_header() -> tuple[list[bytes], int]:
    wire = Raw(BINARY, b"1234").serialize(masked=False) * 10_000
    return [wire[:1], *(wire[i : i + 1500] for i in range(1, len(wire), 1500))], 10_000


def one_frame_byte_by_byte() -> tuple[list[bytes], int]:
    return list(byte_by_byte(Raw(BINARY, bytes(60_000)).serialize(masked=False))), 1


def empty_frames_byte_by_byte() -> tuple[list[bytes], int]:
    return list(byte_by_byte(Raw(BINARY).serialize(masked=False) * 10_000)), 10_000


@pytest.mark.parametrize(
    "chunks",
    [
        small_frames,
        small_frames_cut_in_the_header,
        one_frame_byte_by_byte,
        empty_frames_byte_by_byte,
    ],
)
def test_no_byte_is_copied_more_than_a_few_times(
    chunks: Callable[[], tuple[list[bytes], int]],
) -> None:
    pieces, expected = chunks()
    judge = RecordingJudge()
    decoder = FrameDecoder(judge, masked=False)
    Metered.copied = 0
    frames = 0
    for piece in pieces:
        decoder.feed(Metered(piece))
        while decoder.next_frame() is not None:
            frames += 1
    assert frames == expected
    assert 0 < Metered.copied <= 4 * sum(map(len, pieces))


def test_the_meter_sees_what_it_should() -> None:
    Metered.copied = 0
    chunk = Metered(b"0123456789")
    assert (chunk[2:4], chunk[3], b"ab" + chunk[8:]) == (b"23", 0x33, b"ab89")
    assert Metered.copied == 2 + 2 + 4


def test_the_hand_written_wire_format_reads_what_it_writes() -> None:
    for masked in (True, False):
        wire = b"".join(raw.serialize(masked=masked) for raw in READABLE)
        assert read_wire(wire, masked=masked) == READABLE
