"""The connection: sending, receiving, closing, failing (RFC 6455, sections 5, 6 and 7)."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable

import pytest

from anyio_ws.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    ProtocolError,
    ProtocolViolation,
)
from anyio_ws.sansio import (
    SEND_EOF,
    ClientProtocol,
    Close,
    Fragment,
    Frame,
    Opcode,
    Protocol,
    ServerProtocol,
    Side,
    State,
)
from anyio_ws.sansio.frames import BytesLike
from anyio_ws.sansio.protocol import EVENT_OVERHEAD, MAX_PONGS

from .helpers import (
    BINARY,
    CLOSE,
    CONT,
    KEY,
    PING,
    PONG,
    SIDES,
    SPLITS,
    TEXT,
    Raw,
    Split,
    binary,
    close,
    connection,
    drain,
    event,
    feed,
    more,
    ping,
    pong,
    read_wire,
    state_of,
    text,
    to,
    written,
)

pytestmark = pytest.mark.usefixtures("codec")

both_sides = pytest.mark.parametrize("side", SIDES)
however_cut = pytest.mark.parametrize("split", SPLITS)


def other(side: Side) -> Side:
    return Side.CLIENT if side is Side.SERVER else Side.SERVER


# -- a new connection


@both_sides
def test_a_connection_begins_open(side: Side) -> None:
    protocol = Protocol(side)
    assert protocol.side is side
    assert state_of(protocol) is State.OPEN
    assert isinstance(protocol.id, uuid.UUID)
    assert protocol.id != Protocol(side).id
    assert protocol.logger.name == f"anyio_ws.{side.name.lower()}"
    assert protocol.close_code is None
    assert protocol.close_reason is None
    assert (protocol.close_rcvd, protocol.close_sent) == (None, None)
    assert protocol.handshake_exc is None
    assert protocol.subprotocol is None
    assert protocol.extensions == ()
    assert protocol.events_received() == []
    assert protocol.data_to_send() == []
    assert not protocol.close_expected()
    assert not protocol.input_pending
    assert not protocol.failure_held
    with pytest.raises(AssertionError, match="isn't closed yet"):
        _ = protocol.close_exc


def test_a_logger_may_be_given() -> None:
    logger = logging.getLogger("mine")
    adapter = logging.LoggerAdapter(logger, {})
    assert Protocol(Side.CLIENT, logger=logger).logger is logger
    assert ServerProtocol(logger=adapter).logger is adapter
    assert ClientProtocol("ws://h/", logger=logger).logger is logger


def test_the_sentinel_for_the_end_is_the_empty_string() -> None:
    assert SEND_EOF == b""


@both_sides
def test_a_connection_that_begins_closed_takes_and_gives_nothing(side: Side) -> None:
    protocol = Protocol(side, state=State.CLOSED)
    assert isinstance(protocol.close_exc, ConnectionClosedError)
    protocol.receive_data(to(side, text("x"), ping()))
    assert protocol.events_received() == []
    with pytest.raises(ProtocolError, match="CLOSED"):
        protocol.send_text(b"x")
    protocol.fail(1011)
    protocol.receive_eof()
    assert protocol.data_to_send() == [SEND_EOF]
    assert state_of(protocol) is State.CLOSED


@both_sides
def test_a_connection_that_begins_closing_waits_for_the_peers_close(side: Side) -> None:
    protocol = Protocol(side, state=State.CLOSING)
    assert protocol.close_expected()
    protocol.receive_data(to(side, text("x"), ping(), close(1000)))
    assert len(protocol.events_received()) == 3
    protocol.receive_eof()
    assert protocol.data_to_send() == [SEND_EOF]
    assert protocol.close_code == 1000


# -- sending


@both_sides
def test_each_method_sends_its_frame(side: Side) -> None:
    protocol = connection(side)
    protocol.send_text(b"caf\xc3\xa9")
    protocol.send_binary(b"\x00\xff")
    protocol.send_text(b"a", fin=False)
    protocol.send_continuation(b"b", fin=False)
    protocol.send_continuation(b"c", fin=True)
    protocol.send_binary(b"1", fin=False)
    protocol.send_continuation(b"", fin=True)
    protocol.send_ping(b"?")
    protocol.send_pong(b"!")
    protocol.send_close(1001, "é")
    assert written(protocol) == (
        [
            text("café"),
            binary(b"\x00\xff"),
            text("a", fin=False),
            more("b", fin=False),
            more("c", fin=True),
            binary(b"1", fin=False),
            more(b"", fin=True),
            ping(b"?"),
            pong(b"!"),
            close(1001, "é"),
        ],
        False,
    )
    assert protocol.data_to_send() == []


@pytest.mark.parametrize("size", [0, 125, 126, 0xFFFF, 0x1_0000])
@pytest.mark.parametrize("opcode", [Opcode.TEXT, Opcode.BINARY])
def test_a_header_alone_is_that_of_the_whole_message(opcode: Opcode, size: int) -> None:
    protocol = connection(Side.SERVER)
    header = protocol.send_header(opcode, size)
    assert protocol.data_to_send() == []
    protocol.send_data(opcode, bytes(size))
    assert header is not None
    assert [header + bytes(size)] == protocol.data_to_send()


def test_there_is_no_header_alone_where_the_payload_cannot_stay_as_it_is() -> None:
    assert connection(Side.CLIENT).send_header(Opcode.BINARY, 5) is None
    server = connection(Side.SERVER)
    server.send_binary(b"1", fin=False)
    assert server.send_header(Opcode.BINARY, 5) is None
    assert server.send_header(Opcode.CONT, 5) is None
    server.send_continuation(b"2", fin=True)
    assert server.send_header(Opcode.CONT, 5) is None
    assert server.send_header(Opcode.BINARY, 5) == b"\x82\x05"
    server.send_close(1000)
    with pytest.raises(ProtocolError):
        server.send_header(Opcode.BINARY, 5)


def test_a_client_masks_each_frame_with_a_new_key() -> None:
    protocol = Protocol(Side.CLIENT)
    for _ in range(20):
        protocol.send_binary(b"")
    assert len({write[2:] for write in protocol.data_to_send()}) >= 19


def test_a_client_masks_with_the_key_that_it_is_told() -> None:
    keys = [b"abcd", KEY]
    protocol = Protocol(Side.CLIENT)
    protocol.masking_key = lambda: keys.pop()
    protocol.send_text(b"Hello")
    protocol.send_text(b"")
    assert [write.hex() for write in protocol.data_to_send()] == [
        "818537fa213d7f9f4d5158",
        "818061626364",
    ]


@both_sides
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_a_payload_may_be_anything_like_bytes(
    side: Side, make: Callable[[bytes], BytesLike]
) -> None:
    protocol = connection(side)
    data = make(b"data")
    protocol.send_text(data)
    protocol.send_binary(data, False)
    protocol.send_continuation(data, True)
    protocol.send_ping(data)
    protocol.send_pong(data)
    if isinstance(data, bytearray):
        data[:] = b"????"  # what was sent is sent
    assert [frame.payload for frame in written(protocol).frames] == [b"data"] * 5


@both_sides
@pytest.mark.parametrize("make", [bytearray, memoryview])
def test_what_was_received_belongs_to_the_caller_again_also_after_a_violation(
    side: Side, make: Callable[[bytearray], bytearray | memoryview]
) -> None:
    protocol = connection(side)
    buffer = bytearray(to(side, text("x"), Raw(3)))
    data = make(buffer)
    protocol.receive_data(data)
    if isinstance(data, memoryview):
        data.release()
    buffer.clear()  # which a view that is left would forbid
    assert protocol.state is State.CLOSING


@both_sides
@pytest.mark.parametrize("data", ["text", None, 5, [1, 2]])
def test_a_payload_of_another_type_is_a_type_error_and_changes_nothing(
    side: Side, data: object
) -> None:
    protocol = connection(side)
    for send in (protocol.send_text, protocol.send_binary):
        for fin in (True, False):
            with pytest.raises(TypeError, match="bytes, bytearray or memoryview expected"):
                send(data, fin)  # type: ignore[arg-type]  # that's the test
    for send_control in (protocol.send_ping, protocol.send_pong):
        with pytest.raises(TypeError, match="bytes, bytearray or memoryview expected"):
            send_control(data)  # type: ignore[arg-type]  # that's the test
    with pytest.raises(TypeError, match="bytes, bytearray or memoryview expected"):
        protocol.receive_data(data)  # type: ignore[arg-type]  # that's the test
    assert protocol.data_to_send() == []
    protocol.send_binary(b"", fin=False)
    with pytest.raises(TypeError, match="bytes, bytearray or memoryview expected"):
        protocol.send_continuation(data, True)  # type: ignore[arg-type]  # that's the test
    protocol.send_continuation(b"", True)
    assert len(written(protocol).frames) == 2


@both_sides
def test_a_control_payload_of_more_than_125_bytes_is_a_value_error(side: Side) -> None:
    protocol = connection(side)
    for send in (protocol.send_ping, protocol.send_pong):
        with pytest.raises(ValueError, match="at most 125"):
            send(bytes(126))
        assert protocol.data_to_send() == []
        send(bytes(125))
        assert len(written(protocol).frames) == 1


@both_sides
def test_a_continuation_needs_a_message_to_continue(side: Side) -> None:
    protocol = connection(side)
    for fin in (True, False):
        with pytest.raises(ProtocolError, match="without a fragmented message"):
            protocol.send_continuation(b"x", fin)
    protocol.send_text(b"a", fin=False)
    protocol.send_continuation(b"b", fin=True)
    protocol.data_to_send()
    with pytest.raises(ProtocolError, match="without a fragmented message"):
        protocol.send_continuation(b"c", True)
    assert protocol.data_to_send() == []


@both_sides
@pytest.mark.parametrize("fin", [True, False])
def test_a_message_cannot_begin_inside_a_fragmented_message(side: Side, fin: bool) -> None:
    protocol = connection(side)
    protocol.send_text(b"a", fin=False)
    protocol.send_continuation(b"b", fin=False)
    protocol.data_to_send()
    with pytest.raises(ProtocolError, match="TEXT frame inside a fragmented TEXT message"):
        protocol.send_text(b"x", fin)
    with pytest.raises(ProtocolError, match="BINARY frame inside a fragmented TEXT message"):
        protocol.send_binary(b"x", fin)
    assert protocol.data_to_send() == []
    # The message goes on as if nothing had happened.
    protocol.send_continuation(b"c", fin=True)
    protocol.send_binary(b"d", fin)
    assert written(protocol).frames == [more("c", fin=True), binary(b"d", fin=fin)]


@both_sides
def test_pings_and_pongs_pass_between_the_fragments_of_a_message(side: Side) -> None:
    protocol = connection(side)
    protocol.send_binary(b"a", fin=False)
    protocol.send_ping(b"?")
    protocol.send_pong(b"!")
    protocol.send_continuation(b"b", fin=True)
    assert [frame.opcode for frame in written(protocol).frames] == [BINARY, PING, PONG, CONT]


# -- receiving

EXCHANGES: list[list[Raw]] = [
    [text("Hello")],
    [text("")],
    [binary(b"\xff\x00")],
    [text("a", fin=False), more("b", fin=False), more("c", fin=True)],
    [text("", fin=False), more("", fin=True)],
    [text("a", fin=False), ping(b"1"), more("b", fin=True), pong(b"2")],
    [binary(bytes(1000)), binary(b"x" * 126)],
    [ping(bytes(125)), pong(b"unsolicited")],
]


@both_sides
@however_cut
@pytest.mark.parametrize("raws", EXCHANGES)
def test_frames_come_out_as_events_in_order(side: Side, split: Split, raws: list[Raw]) -> None:
    protocol = connection(side)
    feed(protocol, to(side, *raws), split)
    assert protocol.events_received() == [event(raw) for raw in raws]
    assert protocol.events_received() == []
    pings = [raw for raw in raws if raw.opcode == PING]
    assert written(protocol) == ([pong(raw.payload) for raw in pings], False)
    assert state_of(protocol) is State.OPEN
    assert not protocol.close_expected()


@both_sides
@pytest.mark.parametrize("make", [bytes, bytearray, memoryview])
def test_input_may_be_anything_like_bytes_and_is_not_kept(
    side: Side, make: Callable[[bytes], BytesLike]
) -> None:
    protocol = connection(side)
    wire = to(side, text("Hello"))
    for part in (wire[:4], wire[4:]):
        data = make(part)
        protocol.receive_data(data)
        if isinstance(data, bytearray):
            data[:] = b"?" * len(data)
    [frame] = protocol.events_received()
    assert frame == Frame(TEXT, b"Hello")
    assert isinstance(frame, Frame)
    assert type(frame.data) is bytes


@both_sides
def test_no_input_gives_nothing(side: Side) -> None:
    protocol = connection(side)
    protocol.receive_data(b"")
    assert protocol.events_received() == []
    assert protocol.data_to_send() == []


# -- Ping and Pong


@both_sides
@however_cut
def test_a_ping_is_answered_with_its_payload(side: Side, split: Split) -> None:
    for payload in (b"", b"Hello", bytes(125)):
        protocol = connection(side)
        feed(protocol, to(side, ping(payload)), split)
        assert written(protocol).frames == [pong(payload)]


@both_sides
def test_several_pings_are_answered_each(side: Side) -> None:
    protocol = connection(side)
    payloads = [str(n).encode() for n in range(MAX_PONGS)]
    protocol.receive_data(to(side, *map(ping, payloads)))
    assert written(protocol).frames == [*map(pong, payloads)]


@both_sides
def test_of_a_flood_of_pings_the_first_and_the_latest_are_answered(side: Side) -> None:
    protocol = connection(side)
    first = [str(n).encode() for n in range(MAX_PONGS)]
    protocol.send_text(b"before")
    protocol.receive_data(to(side, *map(ping, first)))
    protocol.send_text(b"after")
    protocol.receive_data(to(side, *(ping(str(n).encode()) for n in range(1000))))
    assert len(protocol.events_received()) == MAX_PONGS + 1000
    pongs = [pong(payload) for payload in [*first[:-1], b"999"]]
    assert written(protocol).frames == [text("before"), *pongs, text("after")]
    protocol.receive_data(to(side, ping(b"new")))
    assert written(protocol).frames == [pong(b"new")]


@both_sides
def test_a_pong_of_our_own_is_not_replaced(side: Side) -> None:
    protocol = connection(side)
    protocol.send_pong(b"mine")
    protocol.receive_data(to(side, *[ping(b"1")] * MAX_PONGS))
    protocol.send_pong(b"mine too")
    protocol.receive_data(to(side, ping(b"2")))
    answers = [*[pong(b"1")] * (MAX_PONGS - 1), pong(b"2")]
    assert written(protocol).frames == [pong(b"mine"), *answers, pong(b"mine too")]


@both_sides
def test_a_ping_is_not_answered_after_a_close_was_sent(side: Side) -> None:
    protocol = connection(side)
    protocol.send_close(1000)
    protocol.receive_data(to(side, ping(b"late")))
    assert protocol.events_received() == [Frame(PING, b"late")]
    assert written(protocol).frames == [close(1000)]


@both_sides
def test_a_ping_before_the_close_is_answered_before_the_close(side: Side) -> None:
    protocol = connection(side)
    protocol.receive_data(to(side, ping(b"1"), close(1000), ping(b"2")))
    assert written(protocol).frames == [pong(b"1"), close(1000)]
    assert protocol.events_received() == [Frame(PING, b"1"), Frame(CLOSE, b"\x03\xe8")]


# -- closing


def assert_nothing_can_be_sent(protocol: Protocol) -> None:
    name = protocol.state.name
    for send in (protocol.send_text, protocol.send_binary, protocol.send_ping, protocol.send_pong):
        with pytest.raises(ProtocolError, match=name):
            send(b"")
    with pytest.raises(ProtocolError, match=name):
        protocol.send_continuation(b"", True)
    with pytest.raises(ProtocolError, match=name):
        protocol.send_close(1000)
    assert protocol.data_to_send() == []


@both_sides
@pytest.mark.parametrize(
    ("code", "reason", "sent"),
    [
        (None, "", Close(1005)),
        (1000, "", Close(1000)),
        (1001, "bye", Close(1001, "bye")),
        (3000, "é" * 61, Close(3000, "é" * 61)),
        (4999, "", Close(4999)),
    ],
)
def test_a_close_that_we_begin_ends_with_the_stream(
    side: Side, code: int | None, reason: str, sent: Close
) -> None:
    protocol = connection(side)
    protocol.send_close(code, reason)
    assert state_of(protocol) is State.CLOSING
    assert protocol.close_expected()
    assert protocol.close_sent == sent
    assert (protocol.close_code, protocol.close_reason) == (None, None)
    with pytest.raises(AssertionError):
        _ = protocol.close_exc
    assert written(protocol) == ([close(code, reason)], False)
    assert_nothing_can_be_sent(protocol)

    # What the peer had sent before it saw our Close frame still arrives.
    protocol.receive_data(to(side, text("late"), close(1000, "ok")))
    assert protocol.events_received() == [Frame(TEXT, b"late"), Frame(CLOSE, b"\x03\xe8ok")]
    # The server closes the TCP connection first (section 7.1.1).
    assert written(protocol) == ([], side is Side.SERVER)
    assert state_of(protocol) is State.CLOSING
    assert protocol.close_expected()

    protocol.receive_eof()
    assert protocol.data_to_send() == ([] if side is Side.SERVER else [SEND_EOF])
    assert protocol.events_received() == []
    assert state_of(protocol) is State.CLOSED
    assert not protocol.close_expected()
    assert (protocol.close_code, protocol.close_reason) == (1000, "ok")
    exc = protocol.close_exc
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (Close(1000, "ok"), sent, False)
    assert isinstance(exc, ConnectionClosedOK if sent.code < 3000 else ConnectionClosedError)
    assert exc.__cause__ is None
    assert_nothing_can_be_sent(protocol)


@both_sides
@however_cut
@pytest.mark.parametrize(
    ("raw", "rcvd"),
    [
        (close(), Close(1005)),
        (close(1000), Close(1000)),
        (close(1001, "é"), Close(1001, "é")),
        (close(1011, "r" * 123), Close(1011, "r" * 123)),
        (close(3000), Close(3000)),
    ],
)
def test_a_close_that_the_peer_begins_is_echoed(
    side: Side, split: Split, raw: Raw, rcvd: Close
) -> None:
    protocol = connection(side)
    feed(protocol, to(side, text("x"), raw) + b"\xff trailing", split)
    assert protocol.events_received() == [Frame(TEXT, b"x"), event(raw)]
    assert written(protocol) == ([raw], side is Side.SERVER)
    assert state_of(protocol) is State.CLOSING
    assert protocol.close_expected()
    assert (protocol.close_rcvd, protocol.close_sent) == (rcvd, rcvd)
    assert (protocol.close_code, protocol.close_reason) == (None, None)
    assert_nothing_can_be_sent(protocol)

    feed(protocol, to(side, text("after the close"), Raw(3)), split)
    assert protocol.events_received() == []
    assert protocol.data_to_send() == []

    protocol.receive_eof()
    assert protocol.data_to_send() == ([] if side is Side.SERVER else [SEND_EOF])
    assert state_of(protocol) is State.CLOSED
    assert (protocol.close_code, protocol.close_reason) == (rcvd.code, rcvd.reason)
    exc = protocol.close_exc
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (rcvd, rcvd, True)
    assert isinstance(exc, ConnectionClosedOK) == (rcvd.code in (1000, 1001, 1005))
    assert exc.__cause__ is None


@both_sides
def test_the_exception_is_made_anew_each_time(side: Side) -> None:
    protocol = connection(side)
    protocol.receive_data(to(side, close(1000)))
    protocol.receive_eof()
    assert protocol.close_exc is not protocol.close_exc
    assert str(protocol.close_exc) == str(protocol.close_exc)


@both_sides
@pytest.mark.parametrize("code", [-1, 0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 70000])
def test_a_close_with_an_invalid_code_is_not_sent(side: Side, code: int) -> None:
    protocol = connection(side)
    with pytest.raises(ProtocolError, match=f"invalid close code {code}"):
        protocol.send_close(code)
    with pytest.raises(ProtocolError):
        protocol.send_close(code, "why")
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.OPEN
    assert protocol.close_sent is None


@both_sides
def test_a_close_with_a_reason_but_no_code_is_not_sent(side: Side) -> None:
    protocol = connection(side)
    with pytest.raises(ProtocolError, match="'why' without a close code"):
        protocol.send_close(None, "why")
    with pytest.raises(ProtocolError, match="'why' without a close code"):
        protocol.send_close(reason="why")
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.OPEN


@both_sides
@pytest.mark.parametrize("reason", ["x" * 124, "é" * 62, "\ud800"])
def test_a_close_with_a_reason_that_does_not_fit_is_not_sent(side: Side, reason: str) -> None:
    protocol = connection(side)
    with pytest.raises(ValueError, match=r"at most 123|surrogates"):
        protocol.send_close(1000, reason)
    with pytest.raises(ValueError, match=r"at most 123|surrogates"):
        protocol.fail(1011, reason)
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.OPEN
    protocol.receive_data(to(side, text("x")))
    assert protocol.events_received() == [Frame(TEXT, b"x")]


@both_sides
def test_a_close_is_not_sent_while_a_fragmented_message_is_being_sent(side: Side) -> None:
    protocol = connection(side)
    protocol.send_text(b"a", fin=False)
    protocol.data_to_send()
    with pytest.raises(ProtocolError, match="while a fragmented message is being sent"):
        protocol.send_close(1000)
    assert protocol.data_to_send() == []
    protocol.send_continuation(b"b", True)
    protocol.send_close(1000)
    assert written(protocol).frames == [more("b", fin=True), close(1000)]


@both_sides
def test_a_fragmented_message_can_be_cut_short_by_a_close(side: Side) -> None:
    protocol = connection(side)
    protocol.send_text(b"a", fin=False)
    with pytest.raises(ProtocolError, match="invalid close code"):
        protocol.send_close(1006, cut_short=True)
    protocol.send_close(1001, "away", cut_short=True)
    assert written(protocol).frames == [text("a", fin=False), close(1001, "away")]
    assert_nothing_can_be_sent(protocol)


@both_sides
def test_the_peers_close_is_answered_even_while_a_fragmented_message_is_being_sent(
    side: Side,
) -> None:
    protocol = connection(side)
    protocol.send_text(b"a", fin=False)
    protocol.data_to_send()
    protocol.receive_data(to(side, close(1000)))
    assert written(protocol).frames == [close(1000)]
    assert_nothing_can_be_sent(protocol)


@both_sides
@however_cut
def test_the_peer_may_close_inside_a_fragmented_message(side: Side, split: Split) -> None:
    protocol = connection(side)
    feed(protocol, to(side, text("a", fin=False), close(1000), more("b", fin=True)), split)
    assert protocol.events_received() == [Frame(TEXT, b"a", False), Frame(CLOSE, b"\x03\xe8")]
    assert written(protocol).frames == [close(1000)]
    protocol.receive_eof()
    assert isinstance(protocol.close_exc, ConnectionClosedOK)


# -- what is known before the end


@both_sides
def test_input_is_over_after_a_close_a_failure_or_the_end(side: Side) -> None:
    protocol = connection(side)
    protocol.send_close(1000)
    assert not protocol.input_over
    protocol.receive_data(to(side, text("late")))
    assert not protocol.input_over
    protocol.receive_data(to(side, close(1000)))
    assert protocol.input_over

    protocol = connection(side)
    protocol.fail(1006)
    assert protocol.input_over

    protocol = connection(side)
    protocol.receive_data(to(side, Raw(3)))
    assert protocol.input_over

    protocol = connection(side)
    protocol.receive_eof()
    assert protocol.input_over


@both_sides
@pytest.mark.parametrize(
    ("ours", "theirs", "before", "after"),
    [
        (1000, 1000, ConnectionClosedOK, ConnectionClosedOK),
        (1001, None, ConnectionClosedOK, ConnectionClosedOK),
        (1000, 1011, ConnectionClosedOK, ConnectionClosedError),
        (4000, 1000, ConnectionClosedError, ConnectionClosedError),
    ],
)
def test_the_exception_can_be_had_from_what_is_known_so_far(
    side: Side, ours: int, theirs: int | None, before: type, after: type
) -> None:
    protocol = connection(side)
    assert type(protocol.closing_exc) is ConnectionClosedError
    protocol.send_close(ours)
    assert type(protocol.closing_exc) is before
    assert (protocol.closing_exc.rcvd, protocol.closing_exc.sent) == (None, Close(ours))
    protocol.receive_data(to(side, close(theirs)))
    assert type(protocol.closing_exc) is after
    known = protocol.closing_exc
    protocol.receive_eof()
    exc = protocol.close_exc
    assert type(exc) is after
    assert (exc.args, exc.__cause__) == (known.args, known.__cause__)


@both_sides
def test_a_close_that_is_never_answered_is_an_error_in_the_end(side: Side) -> None:
    protocol = connection(side)
    protocol.send_close(1000)
    types = [type(protocol.closing_exc)]
    protocol.fail(1006)
    types.append(type(protocol.closing_exc))
    protocol.receive_eof()
    types.append(type(protocol.close_exc))
    assert types == [ConnectionClosedOK, ConnectionClosedError, ConnectionClosedError]
    assert written(protocol) == ([close(1000)], True)


# -- failing: what the peer did


VIOLATIONS: list[tuple[list[Raw], int, str]] = [
    # Reserved bits and opcodes (section 5.2).
    *(([Raw(op, rsv=rsv)], 1002, "reserved bits") for op in (TEXT, PING) for rsv in (64, 32, 16)),
    ([Raw(CLOSE, rsv=0x70)], 1002, "reserved bits 111 set on CLOSE frame"),
    ([text("a", fin=False), Raw(CONT, rsv=0x40)], 1002, "reserved bits 100 set without"),
    *(([Raw(opcode)], 1002, "reserved opcode") for opcode in (3, 7, 11, 15)),
    # Lengths.
    ([Raw(BINARY, b"x", width=2)], 1002, "shortest form"),
    ([Raw(BINARY, b"x", width=8)], 1002, "shortest form"),
    # Control frames (section 5.5).
    ([Raw(PING, fin=False)], 1002, "fragmented PING frame"),
    ([Raw(PONG, fin=False)], 1002, "fragmented PONG frame"),
    ([Raw(CLOSE, fin=False)], 1002, "fragmented CLOSE frame"),
    ([Raw(PING, bytes(126))], 1002, "PING frame of 126 bytes or more exceeds the limit of 125"),
    ([Raw(PONG, bytes(126))], 1002, "PONG frame of 126 bytes or more exceeds the limit of 125"),
    ([Raw(CLOSE, b"\x03\xe8" + bytes(124))], 1002, "CLOSE frame of 126 bytes or more exceeds"),
    # Fragmentation (section 5.4).
    ([more("x", fin=True)], 1002, "continuation frame without a message to continue"),
    ([more("x", fin=False)], 1002, "continuation frame without a message to continue"),
    ([text("a", fin=False), text("b")], 1002, "TEXT frame inside a fragmented TEXT message"),
    ([binary(b"a", fin=False), text("b")], 1002, "TEXT frame inside a fragmented BINARY message"),
    ([text("a", fin=False), more("b", fin=False), binary(b"c", fin=False)], 1002, "BINARY frame inside"),
    ([text("a", fin=False), more("b", fin=True), more("c", fin=True)], 1002, "continuation frame without"),
    # The payload of a Close frame (sections 5.5.1 and 7.4).
    ([Raw(CLOSE, b"\x03")], 1002, "payload of one byte"),
    *(
        ([close(code)], 1002, f"invalid close code {code}")
        for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)
    ),
    ([close(1000, b"\xff")], 1007, "close reason isn't UTF-8"),
    ([close(1000, b"\xe2\x82")], 1007, "close reason isn't UTF-8"),
    # Text (section 8.1).
    ([text(b"\xff")], 1007, "text isn't UTF-8"),
    ([text(b"a\xe2\x82")], 1007, "text isn't UTF-8"),
    ([text(b"\xe2", fin=False), more(b"\x28", fin=True)], 1007, "text isn't UTF-8"),
    ([text(b"\xe2", fin=False), more(b"", fin=True)], 1007, "text isn't UTF-8"),
    # Size.
    ([binary(bytes(1001))], 1009, "exceeds the limit of 1000"),
    ([binary(bytes(600), fin=False), more(bytes(401), fin=False)], 1009, "exceeds the limit of 1000"),
]  # fmt: skip


@both_sides
@however_cut
@pytest.mark.parametrize(("raws", "code", "reason"), VIOLATIONS)
def test_a_violation_fails_the_connection_with_its_code_once(
    side: Side, split: Split, raws: list[Raw], code: int, reason: str
) -> None:
    protocol = connection(side, max_size=1000)
    feed(protocol, to(side, text("before"), ping(b"1"), *raws, text("after")), split)
    feed(protocol, to(side, text("more"), ping(b"2"), close(1000)), split)

    # What came before it is delivered, and nothing after it.
    good = [event(raw) for raw in (text("before"), ping(b"1"), *raws[:-1])]
    assert protocol.events_received() == good
    # One Close frame, and the server half-closes; nothing follows.
    frames, eof = written(protocol)
    assert [frame.opcode for frame in frames] == [PONG, CLOSE]
    sent = Close.parse(frames[-1].payload)
    assert sent.code == code
    assert reason in sent.reason
    assert eof == (side is Side.SERVER)
    assert state_of(protocol) is State.CLOSING
    assert protocol.close_expected()
    assert_nothing_can_be_sent(protocol)
    protocol.fail(1011, "again")
    assert protocol.data_to_send() == []

    protocol.receive_eof()
    assert protocol.data_to_send() == ([] if side is Side.SERVER else [SEND_EOF])
    assert state_of(protocol) is State.CLOSED
    assert (protocol.close_code, protocol.close_reason) == (1006, "")
    exc = protocol.close_exc
    assert type(exc) is ConnectionClosedError
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (None, sent, None)
    cause = exc.__cause__
    assert isinstance(cause, ProtocolViolation)
    assert cause.code == code
    assert str(cause) == sent.reason


@however_cut
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, PONG, CLOSE])
def test_wrong_masking_is_a_violation_on_both_sides(opcode: int, split: Split) -> None:
    for side, reason in (
        (Side.SERVER, "frame from a client isn't masked"),
        (Side.CLIENT, "frame from a server is masked"),
    ):
        protocol = connection(side)
        feed(protocol, to(side, Raw(opcode, masked=side is Side.CLIENT)), split)
        assert protocol.events_received() == []
        assert written(protocol).frames == [close(1002, reason)]


@both_sides
def test_a_violation_after_our_close_keeps_its_cause_and_sends_no_second_close(side: Side) -> None:
    protocol = connection(side)
    protocol.send_close(1000)
    protocol.receive_data(to(side, text("ok"), Raw(3), close(1000)))
    assert protocol.events_received() == [Frame(TEXT, b"ok")]
    assert written(protocol) == ([close(1000)], side is Side.SERVER)
    protocol.receive_eof()
    exc = protocol.close_exc
    assert (type(exc), exc.rcvd, exc.sent) == (ConnectionClosedError, None, Close(1000))
    assert str(exc.__cause__) == "reserved opcode 0x3"


@both_sides
def test_a_long_reason_is_cut_to_what_a_close_frame_holds(side: Side) -> None:
    protocol = connection(side)
    protocol.hold_failures = True
    protocol.receive_data(to(side, Raw(3)))
    protocol._held_failure = ProtocolViolation(1002, "x" * 122 + "é" + "y" * 100)
    protocol.release_failure()
    [sent] = written(protocol).frames
    assert sent == close(1002, "x" * 122)


# -- failing: on our own initiative


@both_sides
@pytest.mark.parametrize("code", [1000, 1002, 1011, 4000])
def test_fail_sends_a_close_and_takes_no_more_input(side: Side, code: int) -> None:
    protocol = connection(side)
    protocol.send_text(b"a", fin=False)  # which stays unfinished
    protocol.fail(code, "why")
    assert written(protocol) == (
        [text("a", fin=False), close(code, "why")],
        side is Side.SERVER,
    )
    assert state_of(protocol) is State.CLOSING
    assert protocol.close_expected()
    protocol.receive_data(to(side, text("x"), ping(), close(1000)))
    assert protocol.events_received() == []
    assert protocol.data_to_send() == []
    assert_nothing_can_be_sent(protocol)
    protocol.receive_eof()
    exc = protocol.close_exc
    assert (type(exc), exc.rcvd, exc.sent) == (ConnectionClosedError, None, Close(code, "why"))
    assert exc.__cause__ is None


@both_sides
def test_a_stream_that_ends_before_the_answer_to_our_close_says_so(side: Side) -> None:
    protocol = connection(side)
    protocol.send_close(1000)
    protocol.receive_eof()
    assert isinstance(protocol.close_exc.__cause__, EOFError)


@both_sides
def test_a_reason_that_is_no_text_is_a_type_error(side: Side) -> None:
    protocol = connection(side)
    with pytest.raises(TypeError, match="bytes"):
        protocol.send_close(1000, b"why")  # type: ignore[arg-type]  # the mistake
    assert state_of(protocol) is State.OPEN


@both_sides
def test_max_events_counts_those_of_one_call_fetched_or_not(side: Side) -> None:
    protocol = connection(side)
    protocol.max_events = 2
    protocol.receive_data(to(side, *[ping(b"%d" % n) for n in range(5)]))
    while protocol.input_pending:
        protocol.receive_data(b"")
    assert len(protocol.events_received()) == 5


@both_sides
def test_failing_with_1006_sends_no_close(side: Side) -> None:
    protocol = connection(side)
    protocol.fail(1006, "the network broke")
    assert written(protocol) == ([], side is Side.SERVER)
    assert state_of(protocol) is State.CLOSING
    assert_nothing_can_be_sent(protocol)
    protocol.receive_eof()
    assert (protocol.close_code, protocol.close_sent) == (1006, None)


@both_sides
@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1015, 2999, 5000])
def test_failing_with_an_invalid_code_is_a_protocol_error(side: Side, code: int) -> None:
    protocol = connection(side)
    for reason in ("", "why"):
        with pytest.raises(ProtocolError):
            protocol.fail(code, reason)
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.OPEN


@both_sides
def test_failing_a_connection_that_is_closing_only_stops_its_input(side: Side) -> None:
    protocol = connection(side)
    protocol.send_close(1000)
    protocol.fail(1011)
    assert written(protocol) == ([close(1000)], side is Side.SERVER)
    protocol.receive_data(to(side, text("x")))
    assert protocol.events_received() == []
    protocol.receive_eof()
    protocol.fail(1011)
    assert protocol.data_to_send() == ([] if side is Side.SERVER else [SEND_EOF])
    assert state_of(protocol) is State.CLOSED


# -- the end of the stream


@both_sides
@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (b"", "the stream ended without a close frame"),
        (b"\x81", "the stream ended in the middle of a frame"),
    ],
)
def test_the_end_of_the_stream_without_a_close_frame_is_abnormal(
    side: Side, end: bytes, reason: str
) -> None:
    protocol = connection(side)
    protocol.receive_data(to(side, text("x")) + end)
    protocol.receive_eof()
    assert protocol.events_received() == [Frame(TEXT, b"x")]
    assert protocol.data_to_send() == [SEND_EOF]
    assert state_of(protocol) is State.CLOSED
    assert (protocol.close_code, protocol.close_reason) == (1006, "")
    exc = protocol.close_exc
    assert type(exc) is ConnectionClosedError
    assert (exc.rcvd, exc.sent, exc.rcvd_then_sent) == (None, None, None)
    assert isinstance(exc.__cause__, EOFError)
    assert str(exc.__cause__) == reason
    assert not protocol.close_expected()


@both_sides
def test_every_byte_of_a_frame_may_be_the_last(side: Side) -> None:
    wire = to(side, binary(bytes(200)))
    for size in range(1, len(wire)):
        protocol = connection(side)
        protocol.receive_data(wire[:size])
        protocol.receive_eof()
        assert str(protocol.close_exc.__cause__) == "the stream ended in the middle of a frame"
        assert protocol.events_received() == []


@both_sides
def test_the_end_of_the_stream_may_be_told_twice_but_nothing_may_follow_it(side: Side) -> None:
    protocol = connection(side)
    protocol.receive_eof()
    assert protocol.data_to_send() == [SEND_EOF]
    protocol.receive_eof()
    assert protocol.data_to_send() == []
    for data in (b"", b"x"):
        with pytest.raises(EOFError, match="after the end of the stream"):
            protocol.receive_data(data)
    assert protocol.events_received() == []


@both_sides
def test_the_end_of_the_stream_while_waiting_for_a_close_is_abnormal(side: Side) -> None:
    protocol = connection(side)
    protocol.send_close(1000)
    protocol.receive_eof()
    assert written(protocol) == ([close(1000)], True)
    assert protocol.close_code == 1006
    exc = protocol.close_exc
    assert (type(exc), exc.rcvd, exc.sent) == (ConnectionClosedError, None, Close(1000))


# -- the budget


@both_sides
def test_a_budget_stops_in_the_middle_of_a_chunk_and_goes_on(side: Side) -> None:
    protocol = connection(side)
    protocol.budget = 2 * (EVENT_OVERHEAD + 3)
    raws = [text(f"n{i:02}") for i in range(5)]
    protocol.receive_data(to(side, *raws))
    events = [event(raw) for raw in raws]
    assert protocol.events_received() == events[:2]
    assert protocol.input_pending
    protocol.receive_data(b"")
    assert protocol.events_received() == events[2:4]
    assert protocol.input_pending
    protocol.receive_data(b"")
    assert protocol.events_received() == events[4:]
    assert not protocol.input_pending
    protocol.receive_data(b"")
    assert protocol.events_received() == []


@both_sides
@pytest.mark.parametrize("budget", [1, EVENT_OVERHEAD, EVENT_OVERHEAD + 1, 10_000])
def test_a_call_exceeds_its_budget_by_less_than_one_frame(side: Side, budget: int) -> None:
    protocol = connection(side)
    protocol.budget = budget
    raws = [binary(bytes(i)) for i in range(100)]
    protocol.receive_data(to(side, *raws))
    received = 0
    while True:
        produced = [
            len(frame.data) + EVENT_OVERHEAD
            for frame in protocol.events_received()
            if isinstance(frame, Frame)
        ]
        assert sum(produced[:-1]) < budget
        received += len(produced)
        if not protocol.input_pending:
            break
        protocol.receive_data(b"")
    assert received == 100


@both_sides
@pytest.mark.parametrize("messages", [True, False])
def test_a_number_of_events_stops_in_the_middle_of_a_chunk_and_goes_on(
    side: Side, messages: bool
) -> None:
    protocol = connection(side)
    protocol.max_events = 2
    if messages:
        protocol.collect_messages()
    protocol.receive_data(to(side, *(text(n) for n in "12345")))
    protocol.receive_eof()
    batches: list[list[object]] = []
    while True:
        batches.append(
            [*(protocol.messages_received() if messages else protocol.events_received())]
        )
        if not protocol.input_pending:
            break
        protocol.receive_data(b"")
    expected = list("12345") if messages else [event(text(n)) for n in "12345"]
    assert batches == [expected[:2], expected[2:4], expected[4:]]
    assert protocol.state is State.CLOSED


@both_sides
def test_new_input_takes_its_place_behind_what_is_pending(side: Side) -> None:
    protocol = connection(side)
    protocol.budget = 1
    protocol.receive_data(to(side, text("1"), text("2")) + to(side, text("3"))[:3])
    protocol.receive_data(to(side, text("3"))[3:])
    while protocol.input_pending:
        protocol.receive_data(b"")
    assert protocol.events_received() == [event(text(n)) for n in "123"]


@both_sides
def test_the_end_takes_its_place_behind_what_is_pending(side: Side) -> None:
    protocol = connection(side)
    protocol.budget = 1
    protocol.receive_data(to(side, text("1"), ping(b"2")) + b"\x81")
    protocol.receive_eof()
    protocol.receive_eof()
    assert state_of(protocol) is State.OPEN
    assert protocol.events_received() == [event(text("1"))]
    with pytest.raises(EOFError):
        protocol.receive_data(b"more")
    protocol.receive_data(b"")
    assert protocol.events_received() == [event(ping(b"2"))]
    assert written(protocol) == ([pong(b"2")], False)
    assert protocol.input_pending
    protocol.receive_data(b"")
    assert not protocol.input_pending
    assert state_of(protocol) is State.CLOSED
    assert protocol.data_to_send() == [SEND_EOF]
    assert str(protocol.close_exc.__cause__) == "the stream ended in the middle of a frame"
    with pytest.raises(EOFError):
        protocol.receive_data(b"")


@both_sides
def test_a_close_that_is_pending_is_answered_in_its_turn(side: Side) -> None:
    protocol = connection(side)
    protocol.budget = 1
    protocol.receive_data(to(side, text("1"), close(1000), text("2")))
    protocol.receive_eof()
    assert protocol.data_to_send() == []
    protocol.receive_data(b"")
    assert written(protocol) == ([close(1000)], True)
    assert not protocol.input_pending
    assert state_of(protocol) is State.CLOSED
    assert isinstance(protocol.close_exc, ConnectionClosedOK)


@both_sides
def test_failing_gives_up_what_is_pending_and_the_end_takes_effect(side: Side) -> None:
    protocol = connection(side)
    protocol.budget = 1
    protocol.receive_data(to(side, text("1"), text("2")))
    protocol.receive_eof()
    protocol.fail(1011)
    assert not protocol.input_pending
    assert state_of(protocol) is State.CLOSED
    assert written(protocol) == ([close(1011)], True)
    assert protocol.events_received() == [event(text("1"))]


@both_sides
def test_a_violation_behind_what_is_pending_waits_for_its_turn(side: Side) -> None:
    protocol = connection(side)
    protocol.budget = 1
    protocol.receive_data(to(side, text("1"), Raw(3), text("2")))
    assert state_of(protocol) is State.OPEN
    protocol.receive_data(b"")
    assert state_of(protocol) is State.CLOSING
    assert not protocol.input_pending
    assert written(protocol).frames == [close(1002, "reserved opcode 0x3")]


@both_sides
def test_without_a_budget_nothing_is_pending(side: Side) -> None:
    protocol = connection(side)
    protocol.receive_data(to(side, *(binary(bytes(1000)) for _ in range(1000))) + b"\x81")
    assert not protocol.input_pending
    assert len(protocol.events_received()) == 1000


# -- holding failures


@both_sides
@however_cut
def test_a_failure_can_be_held_until_what_came_before_is_answered(side: Side, split: Split) -> None:
    protocol = connection(side)
    protocol.hold_failures = True
    feed(protocol, to(side, text("1"), Raw(3), text("2")), split)
    assert protocol.failure_held
    assert protocol.events_received() == [event(text("1"))]
    assert state_of(protocol) is State.OPEN
    assert not protocol.close_expected()
    protocol.send_text(b"answer")
    feed(protocol, to(side, text("3"), ping()), split)
    assert protocol.events_received() == []
    assert written(protocol) == ([text("answer")], False)

    protocol.release_failure()
    assert not protocol.failure_held
    assert written(protocol) == ([close(1002, "reserved opcode 0x3")], side is Side.SERVER)
    assert state_of(protocol) is State.CLOSING
    protocol.release_failure()
    assert protocol.data_to_send() == []


@both_sides
def test_the_end_waits_for_a_failure_that_is_held(side: Side) -> None:
    protocol = connection(side)
    protocol.hold_failures = True
    protocol.receive_data(to(side, Raw(3)))
    protocol.receive_eof()
    assert state_of(protocol) is State.OPEN
    protocol.release_failure()
    assert state_of(protocol) is State.CLOSED
    assert written(protocol) == ([close(1002, "reserved opcode 0x3")], True)
    assert isinstance(protocol.close_exc.__cause__, ProtocolViolation)


@both_sides
def test_a_close_of_our_own_goes_before_a_failure_that_is_held(side: Side) -> None:
    protocol = connection(side)
    protocol.hold_failures = True
    protocol.receive_data(to(side, Raw(3)))
    protocol.send_close(1000)
    protocol.receive_eof()
    protocol.release_failure()
    assert written(protocol) == ([close(1000)], True)
    assert state_of(protocol) is State.CLOSED
    assert isinstance(protocol.close_exc.__cause__, ProtocolViolation)


@both_sides
def test_releasing_without_a_failure_does_nothing(side: Side) -> None:
    protocol = connection(side)
    protocol.release_failure()
    assert protocol.data_to_send() == []
    assert state_of(protocol) is State.OPEN


@both_sides
def test_budget_and_held_failure_together_lose_nothing(side: Side) -> None:
    protocol = connection(side)
    protocol.budget = 1
    protocol.hold_failures = True
    drain(protocol, to(side, text("1"), text("2"), Raw(3)))
    protocol.receive_eof()
    assert protocol.events_received() == [event(text("1")), event(text("2"))]
    assert protocol.failure_held
    protocol.release_failure()
    assert state_of(protocol) is State.CLOSED


# -- messages


@both_sides
@however_cut
def test_messages_can_be_gathered_instead_of_frames(side: Side, split: Split) -> None:
    protocol = connection(side)
    protocol.collect_messages()
    protocol.collect_messages()
    raws = [
        text("é"),
        binary(b"\xff"),
        text("a", fin=False),
        ping(b"?"),
        more("b", fin=True),
        pong(),
    ]
    feed(protocol, to(side, *raws, close(1000)), split)
    assert protocol.events_received() == []
    assert protocol.messages_received() == [
        "é",
        b"\xff",
        Fragment("a", False),
        Frame(PING, b"?"),
        Fragment("b", True),
        Frame(PONG, b""),
        Frame(CLOSE, b"\x03\xe8"),
    ]
    assert protocol.messages_received() == []
    assert written(protocol).frames == [pong(b"?"), close(1000)]


def test_messages_are_not_there_unless_they_are_asked_for() -> None:
    with pytest.raises(AssertionError, match="collect_messages"):
        connection(Side.CLIENT).messages_received()


# -- two ends


def exchange(first: Protocol, second: Protocol) -> None:
    """Carry bytes between two protocols until both are silent."""
    silent = False
    while not silent:
        silent = True
        for source, sink in ((first, second), (second, first)):
            for write in source.data_to_send():
                silent = False
                if write == SEND_EOF:
                    sink.receive_eof()
                else:
                    sink.receive_data(write)


@pytest.mark.parametrize("closer", SIDES)
def test_two_ends_open_talk_and_close(closer: Side) -> None:
    client = ClientProtocol("ws://localhost/", subprotocols=["chat"])
    server = ServerProtocol(subprotocols=["chat"])
    client.send_request(client.connect())
    for write in client.data_to_send():
        server.receive_data(write)
    [request] = server.events_received()
    server.send_response(server.accept(request))  # type: ignore[arg-type]  # it is a request
    exchange(server, client)
    client.events_received()
    assert client.subprotocol == server.subprotocol == "chat"
    for sender, receiver in ((client, server), (server, client)):
        for size in (0, 125, 126, 65535, 65536):
            sender.send_binary(b"x" * size)
        sender.send_text(b"a", fin=False)
        sender.send_ping(b"?")
        sender.send_continuation(b"b", True)
        exchange(client, server)
        frames = [frame for frame in receiver.events_received() if isinstance(frame, Frame)]
        assert [len(frame.data) for frame in frames] == [0, 125, 126, 65535, 65536, 1, 1, 1]
        assert sender.events_received() == [Frame(PONG, b"?")]

    beginner, follower = (client, server) if closer is Side.CLIENT else (server, client)
    beginner.send_close(1001, "bye")
    exchange(client, server)
    for protocol in (client, server):
        assert state_of(protocol) is State.CLOSED
        assert (protocol.close_code, protocol.close_reason) == (1001, "bye")
        assert isinstance(protocol.close_exc, ConnectionClosedOK)
    assert beginner.close_exc.rcvd_then_sent is False
    assert follower.close_exc.rcvd_then_sent is True


def test_both_ends_may_close_at_the_same_time() -> None:
    client, server = connection(Side.CLIENT), connection(Side.SERVER)
    client.send_close(1000)
    server.send_close(1001)
    exchange(client, server)
    excs: list[ConnectionClosed] = [client.close_exc, server.close_exc]
    assert [exc.rcvd_then_sent for exc in excs] == [False, False]
    assert (client.close_code, server.close_code) == (1001, 1000)


# -- logs


@both_sides
def test_frames_are_logged_at_debug_without_control_characters(
    side: Side, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=f"anyio_ws.{side.name.lower()}")
    protocol = connection(side)
    protocol.send_text(b"a\nb")
    protocol.receive_data(to(side, text("c\x1bd"), ping(), close(1000, "x\r\nERROR forged")))
    assert [record.getMessage() for record in caplog.records] == [
        r"> TEXT 'a\nb' [3 bytes]",
        r"< TEXT 'c\x1bd' [3 bytes]",
        r"< PING b'' [0 bytes]",
        r"> PONG b'' [0 bytes]",
        r"< CLOSE 1000 (normal closure) 'x\r\nERROR forged' [17 bytes]",
        r"> CLOSE 1000 (normal closure) 'x\r\nERROR forged' [17 bytes]",
    ]


@both_sides
def test_a_violation_is_logged_at_debug_and_no_louder(
    side: Side, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=f"anyio_ws.{side.name.lower()}")
    connection(side).receive_data(to(side, Raw(3)))
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", "! failing the connection: reserved opcode 0x3"),
        ("DEBUG", "> CLOSE 1002 (protocol error) reserved opcode 0x3 [21 bytes]"),
    ]


@both_sides
def test_nothing_is_logged_above_debug(side: Side, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    protocol = connection(side)
    protocol.send_text(b"x")
    protocol.receive_data(to(side, text("y"), Raw(3)))
    protocol.receive_eof()
    assert caplog.records == []


def test_what_is_read_by_hand_is_what_was_sent() -> None:
    for side in SIDES:
        protocol = connection(side)
        protocol.send_binary(bytes(70_000))
        [wire] = protocol.data_to_send()
        assert wire == to(other(side), binary(bytes(70_000)))
        assert read_wire(wire, masked=side is Side.CLIENT) == [binary(bytes(70_000))]
