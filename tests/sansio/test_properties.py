"""What holds for every input, tried on inputs that hypothesis makes up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anyio_ws.exceptions import InvalidHandshake
from anyio_ws.sansio import (
    ClientProtocol,
    Close,
    Extension,
    Fragment,
    Frame,
    Headers,
    Message,
    Opcode,
    Protocol,
    Request,
    Response,
    ServerProtocol,
    Side,
    State,
)
from anyio_ws.sansio.frames import FrameDecoder, Parts, valid_close_code
from anyio_ws.sansio.headers import build_extension, is_token, parse_extensions, parse_tokens

from .helpers import (
    KEY,
    Outcome,
    Raw,
    Suffix,
    binary,
    close,
    connection,
    more,
    outcome,
    ping,
    pong,
    read_http,
    state_of,
    text,
    to,
    written,
)

pytestmark = pytest.mark.usefixtures("codec")

# Inputs are small and every example is quick; what takes time is making them up.
quick = settings(max_examples=200)

# -- making input up

sides = st.sampled_from([Side.SERVER, Side.CLIENT])
short_text = st.text(max_size=8)
payloads = st.one_of(
    st.binary(max_size=20),
    st.integers(120, 140).map(lambda size: bytes(range(size))),
)


@st.composite
def fragmented(draw: st.DrawFn) -> list[Raw]:
    """A message in any number of frames, cut at any byte, with control frames between them."""
    is_text = draw(st.booleans())
    data = draw(short_text).encode() if is_text else draw(payloads)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    frames: list[Raw] = []
    for i, part in enumerate(parts):
        fin = i == len(parts) - 1
        if i:
            frames += draw(st.lists(control, max_size=1))
            frames.append(more(part, fin=fin))
        else:
            frames.append(text(part, fin=fin) if is_text else binary(part, fin=fin))
    return frames


control = st.builds(ping, st.binary(max_size=125)) | st.builds(pong, st.binary(max_size=5))
closes = st.builds(close, st.sampled_from([None, 1000, 1001, 3000, 4999]), st.just("")) | st.builds(
    close, st.just(1011), short_text
)
conversations = st.lists(fragmented() | control.map(lambda raw: [raw]), max_size=6).map(
    lambda groups: [raw for group in groups for raw in group]
)
"""What a well-behaved peer may send."""

any_frame = st.builds(
    Raw,
    opcode=st.integers(0, 15),
    payload=payloads,
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 0x40, 0x20, 0x70]),
    masked=st.sampled_from([None, None, None, True, False]),
    width=st.just(None),
)


@st.composite
def mutated(draw: st.DrawFn, wire: bytes) -> bytes:
    """*wire* with a few bytes changed, added or left out."""
    data = bytearray(wire)
    for _ in range(draw(st.integers(0, 3))):
        position = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["change", "insert", "delete", "cut"])):
            case "change" if position < len(data):
                data[position] = draw(st.integers(0, 255))
            case "insert":
                data[position:position] = draw(st.binary(min_size=1, max_size=4))
            case "delete":
                del data[position : position + draw(st.integers(1, 4))]
            case _:
                del data[max(position, len(data) // 2) :]
    return bytes(data)


@st.composite
def streams(draw: st.DrawFn, side: Side) -> bytes:
    """Anything between a good conversation and noise."""
    frames = draw(conversations)
    if draw(st.booleans()):
        frames = [*frames, draw(closes)]
    if draw(st.booleans()):
        position = draw(st.integers(0, len(frames)))
        frames = [*frames[:position], draw(any_frame), *frames[position:]]
    return draw(mutated(to(side, *frames)))


@st.composite
def pieces(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """*data*, cut anywhere; one way in four it is cut everywhere."""
    if draw(st.integers(0, 3)) == 0:
        return [data[i : i + 1] for i in range(len(data))]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=8)))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]


@st.composite
def cut_streams(draw: st.DrawFn) -> tuple[Side, bytes, list[bytes]]:
    side = draw(sides)
    data = draw(streams(side) | st.binary(max_size=60))
    return side, data, draw(pieces(data))


def run(
    side: Side,
    chunks: list[bytes],
    *,
    messages: bool,
    eof: bool = True,
    extensions: Callable[[], list[Extension]] = list,
    budget: int | None = None,
    hold: bool = False,
    whole: bool = False,
) -> list[Outcome]:
    """Feed chunks to a new connection; return what is seen before and after the end.

    :param whole: take messages by `Protocol.receive_whole`, where it goes, out of a buffer that is used again
    """
    protocol = connection(side, max_size=200, extensions=extensions())
    protocol.budget = budget
    protocol.hold_failures = hold
    if messages:
        protocol.collect_messages()
    received: list[Message] = []
    for chunk in chunks:
        view = memoryview(bytearray(chunk))
        taken = protocol.receive_whole(view, budget, None) if whole else None
        if taken is None:
            protocol.receive_data(view if whole else chunk)
        view[:] = bytes(len(view))
        received += taken or []
        while protocol.input_pending:
            protocol.receive_data(b"")
        if messages:
            received += protocol.messages_received()
    if hold:
        protocol.release_failure()
    outcomes = [outcome(protocol, messages=messages)._replace(messages=received)]
    if eof:
        protocol.receive_eof()
        outcomes.append(outcome(protocol, messages=messages))
    return outcomes


# -- however it is cut


@quick
@given(cut_streams(), st.booleans())
def test_any_split_of_the_input_gives_the_same(
    case: tuple[Side, bytes, list[bytes]], messages: bool
) -> None:
    side, data, cut = case
    assert run(side, cut, messages=messages) == run(side, [data], messages=messages)


@quick
@given(cut_streams())
def test_any_split_gives_the_same_with_extensions(case: tuple[Side, bytes, list[bytes]]) -> None:
    side, data, cut = case

    def extensions() -> list[Extension]:
        return [Suffix("x-a", b"a", 0x40), Suffix("x-b", b"", 0x20)]

    whole = run(side, [data], messages=True, extensions=extensions)
    assert run(side, cut, messages=True, extensions=extensions) == whole


@quick
@given(cut_streams(), st.integers(1, 700), st.booleans(), st.booleans())
def test_with_a_budget_the_same_comes_out_in_the_end(
    case: tuple[Side, bytes, list[bytes]], budget: int, messages: bool, hold: bool
) -> None:
    side, data, cut = case
    expected = run(side, [data], messages=messages)
    assert run(side, cut, messages=messages, budget=budget, hold=hold) == expected


@quick
@given(cut_streams(), st.integers(1, 300))
def test_an_end_that_comes_while_input_is_pending_changes_nothing(
    case: tuple[Side, bytes, list[bytes]], budget: int
) -> None:
    side, data, _ = case
    protocol = connection(side, max_size=200)
    protocol.budget = budget
    protocol.receive_data(data)
    protocol.receive_eof()
    while protocol.input_pending:
        protocol.receive_data(b"")
    before, after = run(side, [data], messages=False)
    seen = outcome(protocol)
    assert seen.events == before.events
    assert seen.writes == before.writes
    assert seen.eof
    assert seen[4:] == after[4:]


# -- whatever it is


def check_invariants(protocol: Protocol) -> None:
    """What must hold after any input, and after the end."""
    frames, eof = written(protocol)
    opcodes = [frame.opcode for frame in frames]
    assert opcodes.count(Opcode.CLOSE) <= 1
    assert Opcode.CLOSE not in opcodes[:-1]
    if opcodes[-1:] == [Opcode.CLOSE]:
        assert state_of(protocol) is State.CLOSING
        sent = Close.parse(frames[-1].payload)
        assert sent.code == 1005 or valid_close_code(sent.code)
    else:
        assert state_of(protocol) is State.OPEN
    assert protocol.close_expected() == (state_of(protocol) is State.CLOSING)
    assert not eof or protocol.side is Side.SERVER
    protocol.receive_eof()
    assert state_of(protocol) is State.CLOSED
    assert protocol.data_to_send() == ([] if eof else [b""])
    assert not protocol.close_expected()
    exc = protocol.close_exc
    assert protocol.close_code == (1006 if exc.rcvd is None else exc.rcvd.code)
    assert (exc.__cause__ is None) == (exc.rcvd is not None)
    assert str(exc)


@quick
@given(sides, st.binary(max_size=100), st.booleans())
@example(Side.SERVER, b"\x88\x80\0\0\0\0", False)
@example(Side.CLIENT, b"\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff", False)
def test_random_bytes_give_events_or_a_failed_connection(
    side: Side, data: bytes, messages: bool
) -> None:
    protocol = connection(side)
    if messages:
        protocol.collect_messages()
    protocol.receive_data(data)
    check_invariants(protocol)


@quick
@given(st.data(), sides)
def test_broken_conversations_give_events_or_a_failed_connection(
    data: st.DataObject, side: Side
) -> None:
    protocol = connection(side, max_size=100)
    protocol.receive_data(data.draw(streams(side)))
    check_invariants(protocol)


@quick
@given(conversations, sides)
def test_a_good_conversation_is_received_as_it_was_sent(frames: list[Raw], side: Side) -> None:
    protocol = connection(side)
    protocol.collect_messages()
    protocol.receive_data(to(side, *frames))
    assert state_of(protocol) is State.OPEN
    assert list(joined(protocol.messages_received())) == list(expected_of(frames))
    check_invariants(protocol)


def joined(messages: list[Message]) -> Iterator[str | bytes | Frame]:
    """Messages with their fragments joined, control frames in their places."""
    parts: list[Any] = []
    for message in messages:
        if not isinstance(message, Fragment):
            yield message
            continue
        parts.append(message.data)
        if message.final:
            yield parts[0][:0].join(parts)
            parts.clear()


def expected_of(frames: list[Raw]) -> Iterator[str | bytes | Frame]:
    """The same by the simplest means, from frames that are known to be good."""
    kind, data = 0, b""
    for raw in frames:
        if raw.opcode >= 8:
            yield Frame(Opcode(raw.opcode), raw.payload)
            continue
        kind, data = (raw.opcode, raw.payload) if raw.opcode else (kind, data + raw.payload)
        if raw.fin:
            yield data.decode() if kind == Opcode.TEXT else data


# -- UTF-8, by the grammar of RFC 3629

TAIL = range(0x80, 0xC0)
CHARACTERS: list[tuple[range, ...]] = [
    (range(0x80),),
    (range(0xC2, 0xE0), TAIL),
    (range(0xE0, 0xE1), range(0xA0, 0xC0), TAIL),
    (range(0xE1, 0xED), TAIL, TAIL),
    (range(0xED, 0xEE), range(0x80, 0xA0), TAIL),
    (range(0xEE, 0xF0), TAIL, TAIL),
    (range(0xF0, 0xF1), range(0x90, 0xC0), TAIL, TAIL),
    (range(0xF1, 0xF4), TAIL, TAIL, TAIL),
    (range(0xF4, 0xF5), range(0x80, 0x90), TAIL, TAIL),
]


def first_bad_byte(data: bytes) -> int | None:
    """Where *data* stops being the start of a text; its length if it ends inside a character."""
    position = 0
    while position < len(data):
        candidates = CHARACTERS
        for i in range(4):
            if position + i == len(data):
                return len(data)
            byte = data[position + i]
            candidates = [ranges for ranges in candidates if byte in ranges[i]]
            if not candidates:
                return position + i
            if any(len(ranges) == i + 1 for ranges in candidates):
                position += i + 1
                break
    return None


interesting_bytes = st.sampled_from(
    b"a\x7f\x80\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xec\xed\xee\xef\xf0\xf1\xf3\xf4\xf5\xff"
)
almost_text = st.one_of(
    st.lists(interesting_bytes, max_size=8).map(bytes),
    st.tuples(short_text, st.lists(interesting_bytes, max_size=3), short_text).map(
        lambda parts: parts[0].encode() + bytes(parts[1]) + parts[2].encode()
    ),
)


@settings(quick, max_examples=500)
@given(sides, almost_text)
@example(Side.SERVER, b"\xed\xa0")
def test_text_fails_at_the_first_byte_that_cannot_be_part_of_it(side: Side, data: bytes) -> None:
    bad = first_bad_byte(data)
    wire = to(side, text(data))
    protocol = connection(side)
    header = len(wire) - len(data)
    if bad is None:
        protocol.receive_data(wire)
        assert state_of(protocol) is State.OPEN
        assert [event.data for event in protocol.events_received() if isinstance(event, Frame)] == [
            data
        ]
        return
    for i in range(min(header + bad, len(wire) - 1)):
        protocol.receive_data(wire[i : i + 1])
        assert state_of(protocol) is State.OPEN
    protocol.receive_data(wire[min(header + bad, len(wire) - 1) :][:1])
    assert [Close.parse(frame.payload).code for frame in written(protocol).frames] == [1007]


# -- there and back


class NoJudge:
    def begin_frame(self, opcode: Opcode, fin: bool, rsv: int, size: int) -> Parts:
        """Accept everything."""
        return Parts.STORED

    def payload_arrived(self, data: bytes) -> None:
        """Accept everything."""


frames_of_any_kind = st.one_of(
    st.builds(
        Frame,
        st.sampled_from([Opcode.CONT, Opcode.TEXT, Opcode.BINARY]),
        payloads | st.sampled_from([65535, 65536]).map(bytes),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        Frame,
        st.sampled_from([Opcode.CLOSE, Opcode.PING, Opcode.PONG]),
        st.binary(max_size=125),
        st.just(True),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
)


@quick
@given(
    st.lists(frames_of_any_kind, max_size=5),
    st.none() | st.binary(min_size=4, max_size=4),
    st.data(),
)
def test_encoding_then_decoding_is_the_identity(
    frames: list[Frame], mask: bytes | None, data: st.DataObject
) -> None:
    wire = b"".join(frame.serialize(mask) for frame in frames)
    decoder = FrameDecoder(NoJudge(), masked=mask is not None)
    decoded: list[Frame] = []
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        decoder.feed(wire[start:end])
        while (frame := decoder.next_frame()) is not None:
            decoded.append(frame)
    assert decoded == frames
    assert not decoder.mid_frame


@quick
@given(st.lists(frames_of_any_kind, max_size=5))
def test_what_is_written_is_what_is_written_by_hand(frames: list[Frame]) -> None:
    for frame in frames:
        rsv = frame.rsv1 << 6 | frame.rsv2 << 5 | frame.rsv3 << 4
        raw = Raw(frame.opcode, frame.data, frame.fin, rsv)
        assert frame.serialize() == raw.serialize(masked=False)
        assert frame.serialize(KEY) == raw.serialize(masked=True)


@quick
@given(st.integers(0, 65535), short_text)
def test_a_close_that_can_be_written_can_be_read(code: int, reason: str) -> None:
    if valid_close_code(code):
        assert Close.parse(Close(code, reason).serialize()) == Close(code, reason)


calls = st.one_of(
    st.tuples(st.sampled_from(["send_text"]), short_text.map(str.encode), st.booleans()),
    st.tuples(st.sampled_from(["send_binary"]), payloads, st.booleans()),
    st.tuples(st.sampled_from(["send_continuation"]), st.just(b"more"), st.booleans()),
    st.tuples(st.sampled_from(["send_ping", "send_pong"]), st.binary(max_size=125)),
)


@quick
@given(st.lists(calls, max_size=12), sides)
def test_what_one_end_sends_the_other_receives(actions: list[tuple[Any, ...]], side: Side) -> None:
    sender = connection(side)
    receiver = connection(Side.SERVER if side is Side.CLIENT else Side.CLIENT)
    sent: list[Frame] = []
    sending = False
    for name, *arguments in actions:
        if name in ("send_text", "send_binary") and sending:
            name, arguments[0] = "send_continuation", b"x"
        elif name == "send_continuation" and not sending:
            name = "send_binary"
        if not name.endswith(("ping", "pong")):
            sending = not arguments[1]
        getattr(sender, name)(*arguments)
        opcode = {"send_continuation": "CONT"}.get(name, name.removeprefix("send_").upper())
        sent.append(Frame(Opcode[opcode], *arguments))
    receiver.receive_data(b"".join(sender.data_to_send()))
    assert receiver.events_received() == sent
    assert receiver.state is State.OPEN


# -- handshakes

REQUEST = (
    b"GET /chat HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Origin: https://a\r\nSec-WebSocket-Protocol: chat, x\r\n"
    b'Sec-WebSocket-Extensions: foo; a="b", bar\r\n\r\n'
)
RESPONSE = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"Sec-WebSocket-Protocol: chat\r\n\r\n"
)
REJECTION = b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n"


@st.composite
def cut_handshakes(draw: st.DrawFn, *heads: bytes, side: Side) -> tuple[bytes, list[bytes]]:
    head = draw(st.sampled_from(heads))
    data = draw(st.one_of(mutated(head), st.just(head), st.binary(max_size=60)))
    data += draw(streams(side))
    return data, draw(pieces(data))


def serve(chunks: list[bytes]) -> tuple[Any, ...]:
    """Let a server take chunks, answer a request and come to an end; return what was seen."""
    protocol = ServerProtocol(
        origins=["https://a"], subprotocols=["chat"], state=State.CONNECTING, max_size=200
    )
    writes: list[bytes] = []
    events: list[object] = []

    def answer() -> None:
        for event in protocol.events_received():
            events.append(event)
            if isinstance(event, Request):
                response = protocol.accept(event)
                response.headers["Date"] = "now"
                protocol.send_response(response)
                answer()

    for chunk in chunks:
        protocol.receive_data(chunk)
        answer()
    writes += protocol.data_to_send()
    state = protocol.state
    protocol.receive_eof()
    assert state_of(protocol) is State.CLOSED
    writes += protocol.data_to_send()
    assert writes.count(b"") == 1
    assert writes[-1] == b""
    assert protocol.events_received() == []
    failed = protocol.handshake_exc is not None
    if failed:
        assert isinstance(protocol.handshake_exc, InvalidHandshake)
    # How h11 words an objection depends on how much of the nonsense it has seen.
    head = read_http(b"".join(writes)).first_line if writes[0] else ""
    rest = b"" if failed else b"".join(writes)
    return events, head, rest, state, protocol.close_code, failed


@quick
@given(cut_handshakes(REQUEST, side=Side.SERVER))
def test_any_split_of_what_a_client_sends_gives_the_same(case: tuple[bytes, list[bytes]]) -> None:
    data, cut = case
    assert serve(cut) == serve([data])


def dial(chunks: list[bytes]) -> tuple[Any, ...]:
    """Let a client take chunks and come to an end; return what was seen."""
    protocol = ClientProtocol("ws://h/chat", subprotocols=["chat"], max_size=200)
    protocol.key = "dGhlIHNhbXBsZSBub25jZQ=="
    protocol.masking_key = lambda: KEY
    for chunk in chunks:
        protocol.receive_data(chunk)
    state = protocol.state
    protocol.receive_eof()
    assert state_of(protocol) is State.CLOSED
    writes = protocol.data_to_send()
    assert writes.count(b"") == 1
    assert writes[-1] == b""
    exc = protocol.handshake_exc
    assert exc is None or isinstance(exc, InvalidHandshake)
    return (
        protocol.events_received(),
        b"".join(writes),
        state,
        protocol.close_code,
        type(exc),
        protocol.subprotocol,
    )


@quick
@given(cut_handshakes(RESPONSE, REJECTION, side=Side.CLIENT))
def test_any_split_of_what_a_server_sends_gives_the_same(case: tuple[bytes, list[bytes]]) -> None:
    data, cut = case
    assert dial(cut) == dial([data])


def test_the_handshakes_that_are_mutated_are_good_to_begin_with() -> None:
    events, head, _, state, _, failed = serve([REQUEST])
    assert (len(events), head, state, failed) == (
        1,
        "HTTP/1.1 101 Switching Protocols",
        State.OPEN,
        False,
    )
    events, _, state, _, exc_type, subprotocol = dial([RESPONSE])
    assert (len(events), state, exc_type, subprotocol) == (1, State.OPEN, type(None), "chat")
    [response], *_ = dial([REJECTION])
    assert isinstance(response, Response)
    assert response.body == b"no"


# -- headers

tokens = st.text("abcXYZ-_1", min_size=1, max_size=4)
values = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=6).map(
    lambda value: value.strip(" \t")
)


@quick
@given(
    st.lists(st.tuples(st.sampled_from(["add", "set", "del", "pop", "setdefault"]), tokens, values))
)
def test_headers_behave_as_a_mapping_that_ignores_case(
    actions: list[tuple[str, str, str]],
) -> None:
    headers: MutableMapping[str, str] = Headers()
    assert isinstance(headers, Headers)
    model: dict[str, list[str]] = {}
    for action, name, value in actions:
        key = name.lower()
        match action:
            case "add":
                headers.add(name, value)
                model.setdefault(key, []).append(value)
            case "set":
                headers[name] = value
                model[key] = [value]
            case "del" if key in model:
                del headers[name]
                del model[key]
            case "pop":
                popped = headers.pop(name, None)
                assert popped == (", ".join(model.pop(key)) if key in model else None)
            case "setdefault":
                headers.setdefault(name, value)
                model.setdefault(key, [value])
        assert len(headers) == len(model)
        assert set(headers) == set(model)
        assert dict(headers.items()) == {key: ", ".join(model[key]) for key in model}
        for key in model:
            assert headers.get_all(key.upper()) == model[key]
            assert key.swapcase() in headers
        assert headers == headers.copy() == Headers(headers.raw_items())
    lines = headers.serialize().decode("iso-8859-1").split("\r\n")
    assert lines == [f"{name}: {value}" for name, value in headers.raw_items()] + ["", ""]


@quick
@given(st.text(max_size=6), st.text(max_size=6))
def test_no_header_can_end_its_line(name: str, value: str) -> None:
    headers = Headers()
    try:
        headers.add(name, value)
    except ValueError:
        assert headers.serialize() == b"\r\n"
    else:
        wire = headers.serialize()
        assert wire.endswith(b"\r\n\r\n")
        assert wire.count(b"\r") == wire.count(b"\n") == 2
        assert b"\0" not in wire


@quick
@given(
    st.lists(
        st.tuples(tokens, st.lists(st.tuples(tokens, st.none() | tokens), max_size=3)), max_size=3
    )
)
def test_extensions_that_were_written_can_be_read(
    extensions: list[tuple[str, list[tuple[str, str | None]]]],
) -> None:
    value = ", ".join(build_extension(name, params) for name, params in extensions)
    assert parse_extensions([value]) == extensions


@quick
@given(st.text('ab;=,"\\ \t', max_size=12))
def test_parsing_a_header_gives_tokens_or_an_invalid_header(value: str) -> None:
    try:
        names = parse_tokens("X", [value])
    except InvalidHandshake:
        names = []
    try:
        extensions = parse_extensions([value])
    except InvalidHandshake:
        extensions = []
    for name, params in extensions:
        names.append(name)
        for key, parameter in params:
            names += [key] if parameter is None else [key, parameter]
    assert all(map(is_token, names))
