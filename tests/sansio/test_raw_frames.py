"""Frames that are sent as they are: `Protocol.send_frame`, whatever the protocol says about them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anyio_ws import ProtocolError
from anyio_ws.sansio import Frame, Opcode, Side, State

from .helpers import PING, SIDES, TEXT, Raw, Suffix, connection, more, text, written

pytestmark = pytest.mark.usefixtures("codec")

both_sides = pytest.mark.parametrize("side", SIDES)

RESERVED = [0x3, 0x4, 0x5, 0x6, 0x7, 0xB, 0xC, 0xD, 0xE, 0xF]


@both_sides
@settings(max_examples=100)
@given(
    frame=st.builds(
        Frame,
        st.integers(0, 15).map(Opcode),
        st.binary(max_size=200) | st.binary(min_size=126, max_size=130),
        *[st.booleans()] * 4,
    )
)
def test_every_frame_is_written_as_it_is_and_masked_if_a_client_sends_it(
    side: Side, frame: Frame
) -> None:
    protocol = connection(side)
    protocol.send_frame(frame)
    rsv = frame.rsv1 << 6 | frame.rsv2 << 5 | frame.rsv3 << 4
    assert written(protocol).frames == [Raw(frame.opcode, frame.data, frame.fin, rsv=rsv)]


@both_sides
@pytest.mark.parametrize("size", [126, 2**16 - 1, 2**16])
def test_control_frames_may_be_longer_than_the_protocol_allows(side: Side, size: int) -> None:
    protocol = connection(side)
    protocol.send_frame(Frame(PING, bytes(size), fin=False))
    assert written(protocol).frames == [Raw(PING, bytes(size), fin=False)]


@both_sides
@pytest.mark.parametrize("data", [bytearray(b"x"), memoryview(b"x")])
def test_an_opcode_may_be_a_number_and_a_payload_bytes_like(side: Side, data: bytes) -> None:
    protocol = connection(side)
    protocol.send_frame(Frame(0xB, data))  # type: ignore[arg-type]  # as one may
    assert written(protocol).frames == [Raw(0xB, b"x")]


@both_sides
def test_extensions_leave_it_alone(side: Side) -> None:
    protocol = connection(side, extensions=[Suffix("x", b"!", 0x40)])
    protocol.send_text(b"a")
    protocol.send_frame(Frame(Opcode.TEXT, b"b"))
    assert written(protocol).frames == [Raw(TEXT, b"a!", rsv=0x40), text("b")]


@both_sides
def test_nothing_is_taken_note_of(side: Side) -> None:
    protocol = connection(side)
    protocol.send_frame(Frame(Opcode.TEXT, b"a", fin=False))
    protocol.send_text(b"b", fin=False)
    protocol.send_frame(Frame(Opcode.CLOSE, b""))
    protocol.send_continuation(b"c", fin=True)
    assert protocol.state is State.OPEN
    assert protocol.close_sent is None
    wrote = [frame for frame in written(protocol).frames if frame.opcode != Opcode.CLOSE]
    assert wrote == [text("a", fin=False), text("b", fin=False), more("c", fin=True)]


@both_sides
@pytest.mark.parametrize("opcode", [-1, 16, "TEXT"])
def test_an_opcode_has_four_bits(side: Side, opcode: Opcode) -> None:
    protocol = connection(side)
    with pytest.raises(ValueError, match="is not a valid Opcode"):
        protocol.send_frame(Frame(opcode, b""))
    with pytest.raises(TypeError, match="str"):
        protocol.send_frame(Frame(Opcode.TEXT, "text"))  # type: ignore[arg-type]  # the point
    assert protocol.data_to_send() == []


@both_sides
def test_only_on_a_connection_that_is_open(side: Side) -> None:
    protocol = connection(side)
    protocol.send_close(1000)
    with pytest.raises(ProtocolError, match="CLOSING"):
        protocol.send_frame(Frame(TEXT, b""))


@pytest.mark.parametrize("number", RESERVED)
def test_a_reserved_opcode_has_a_number_and_says_what_it_is(number: int) -> None:
    opcode = Opcode(number)
    assert opcode == number
    assert opcode.name == f"RESERVED_{number:X}"
    assert str(Frame(opcode, b"?")) == f"RESERVED_{number:X} b'?' [1 bytes]"
    assert opcode not in list(Opcode)
