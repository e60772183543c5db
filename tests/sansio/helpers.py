"""What the tests of the Sans-I/O core share: short names for frames, and ways to cut input.

Frames are written and read by `anyio_ws.testing.wire`, which doesn't use the codec under test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from anyio_ws.exceptions import NegotiationError, ProtocolViolation
from anyio_ws.sansio import (
    ClientExtensionFactory,
    Event,
    Extension,
    Frame,
    Message,
    Opcode,
    PerMessageDeflate,
    Protocol,
    ServerExtensionFactory,
    Side,
    State,
)
from anyio_ws.sansio.headers import ExtensionParameter
from anyio_ws.testing.wire import MASKING_KEY, RawFrame

KEY = MASKING_KEY

CONT, TEXT, BINARY, CLOSE, PING, PONG = Opcode

SIDES = [Side.SERVER, Side.CLIENT]


# -- frames, written and read by hand


Raw = RawFrame  # short, for tables


def text(data: str | bytes, *, fin: bool = True) -> Raw:
    return Raw(TEXT, data.encode() if isinstance(data, str) else data, fin)


def binary(data: bytes, *, fin: bool = True) -> Raw:
    return Raw(BINARY, data, fin)


def more(data: str | bytes, *, fin: bool) -> Raw:
    """A Continuation frame."""
    return Raw(CONT, data.encode() if isinstance(data, str) else data, fin)


def ping(data: bytes = b"") -> Raw:
    return Raw(PING, data)


def pong(data: bytes = b"") -> Raw:
    return Raw(PONG, data)


def close(code: int | None = None, reason: str | bytes = b"") -> Raw:
    reason = reason.encode() if isinstance(reason, str) else reason
    return Raw(CLOSE, b"" if code is None else code.to_bytes(2, "big") + reason)


def to(side: Side, *frames: Raw) -> bytes:
    """Write frames as the peer of *side* does: masked for a server."""
    return b"".join(frame.serialize(masked=side is Side.SERVER) for frame in frames)


def read_wire(data: bytes, *, masked: bool) -> list[Raw]:
    """Read whole frames that the side which masks, or doesn't, has written."""
    frames = []
    while data:
        parsed = Raw.parse(data, masked=masked)
        assert parsed is not None, "incomplete frame"
        frame, size = parsed
        frames.append(frame)
        data = data[size:]
    return frames


class Written(NamedTuple):
    """What a protocol wants on the network."""

    frames: list[Raw]
    eof: bool


def written(protocol: Protocol) -> Written:
    writes = protocol.data_to_send()
    eof = b"" in writes
    assert b"" not in writes[:-1], "something follows the end of the stream"
    return Written(read_wire(b"".join(writes), masked=protocol.side is Side.CLIENT), eof)


def event(raw: Raw) -> Frame:
    """The event that a frame received gives."""
    rsv1, rsv2, rsv3 = raw.rsv & 0x40 != 0, raw.rsv & 0x20 != 0, raw.rsv & 0x10 != 0
    return Frame(Opcode(raw.opcode), raw.payload, raw.fin, rsv1, rsv2, rsv3)


# -- input, cut in every way that matters

Split = Callable[[bytes], Iterator[bytes]]


def whole(data: bytes) -> Iterator[bytes]:
    yield data


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    for i in range(len(data)):
        yield data[i : i + 1]


def in_sevens(data: bytes) -> Iterator[bytes]:
    """Cuts that fall elsewhere in each frame."""
    for i in range(0, len(data), 7):
        yield data[i : i + 7]


SPLITS: list[Split] = [whole, byte_by_byte, in_sevens]


def feed(protocol: Protocol, data: bytes, split: Split = whole) -> None:
    for piece in split(data):
        protocol.receive_data(piece)


def drain(protocol: Protocol, data: bytes) -> None:
    """Feed *data* to a protocol with a budget, and go on until nothing is pending."""
    protocol.receive_data(data)
    while protocol.input_pending:
        protocol.receive_data(b"")


class Outcome(NamedTuple):
    """Everything that can be seen of a connection from outside."""

    events: list[Event]
    messages: list[Message]
    writes: bytes
    eof: bool
    state: State
    close_code: int | None
    close_reason: str | None
    cause: str | None
    close_expected: bool


def outcome(protocol: Protocol, *, messages: bool = False) -> Outcome:
    writes = protocol.data_to_send()
    assert writes.count(b"") <= 1
    assert b"" not in writes[:-1]
    cause = protocol.close_exc.__cause__ if protocol.state is State.CLOSED else None
    return Outcome(
        protocol.events_received(),
        protocol.messages_received() if messages else [],
        b"".join(writes),
        b"" in writes,
        protocol.state,
        protocol.close_code,
        protocol.close_reason,
        None if cause is None else f"{type(cause).__name__}: {cause}",
        protocol.close_expected(),
    )


def connection(
    side: Side,
    *,
    max_size: int | None = 2**20,
    extensions: Sequence[Extension] = (),
    **options: Any,
) -> Protocol:
    """An open connection whose masking key is known."""
    protocol = Protocol(side, max_size=max_size, **options)
    protocol.masking_key = lambda: KEY
    if extensions:
        protocol._set_extensions(extensions)
    return protocol


def state_of(protocol: Protocol) -> State:
    """The state, asked anew: type checkers hold what they saw last for what it still is."""
    return protocol.state


# -- HTTP, read by hand


class Head(NamedTuple):
    first_line: str
    fields: dict[str, list[str]]
    body: bytes


def read_http(data: bytes) -> Head:
    head, _, body = data.partition(b"\r\n\r\n")
    first_line, *lines = head.decode("iso-8859-1").split("\r\n")
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        fields.setdefault(name.lower(), []).append(value)
    return Head(first_line, fields, body)


# -- extensions


class Suffix(Extension):
    """Appends a byte to every data frame, and says so with one of the reserved bits."""

    def __init__(self, name: str, suffix: bytes, rsv: int) -> None:
        self.name = name
        self.suffix = suffix
        self.rsv = rsv

    def _flag(self, frame: Frame, on: bool) -> Frame:
        match self.rsv:
            case 0x40:
                return frame._replace(rsv1=on)
            case 0x20:
                return frame._replace(rsv2=on)
            case _:
                return frame._replace(rsv3=on)

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        bits = frame.rsv1 << 6 | frame.rsv2 << 5 | frame.rsv3 << 4
        if not bits & self.rsv:
            return frame
        if not frame.data.endswith(self.suffix):
            raise ProtocolViolation(1002, f"{self.name} didn't find its suffix")
        return self._flag(frame._replace(data=frame.data.removesuffix(self.suffix)), False)

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        return self._flag(frame._replace(data=frame.data + self.suffix), True)


class Swell(Extension):
    """Repeats the payload of a marked frame ten times, up to the room that it is given."""

    name = "x-swell"
    rsv = 0x40

    def __init__(self, *, obedient: bool = True) -> None:
        self.obedient = obedient
        self.room: list[int | None] = []

    def decode(self, frame: Frame, *, max_size: int | None) -> Frame:
        self.room.append(max_size)
        if not frame.rsv1:
            return frame
        data = frame.data * 10
        if self.obedient and max_size is not None and len(data) > max_size:
            raise ProtocolViolation(1009, "swollen beyond the limit")
        return frame._replace(data=data, rsv1=False)

    def encode(self, frame: Frame, *, compress: bool = True) -> Frame:
        return frame


# -- permessage-deflate

RSV1 = 0x40


def deflate(**options: Any) -> PerMessageDeflate:
    """An extension with the widest windows and no threshold, but for *options*."""
    return PerMessageDeflate(
        **{
            "remote_no_context_takeover": False,
            "local_no_context_takeover": False,
            "remote_max_window_bits": 15,
            "local_max_window_bits": 15,
            "mem_level": 8,
            "threshold": 0,
            **options,
        }
    )


def compressed(data: bytes, *, fin: bool = True, opcode: int = TEXT) -> Raw:
    """The first frame of a message whose payload is compressed already."""
    return Raw(opcode, data, fin, RSV1)


def received(protocol: Protocol) -> list[Frame]:
    events = protocol.events_received()
    assert all(isinstance(event, Frame) for event in events)
    return [event for event in events if isinstance(event, Frame)]


# -- negotiation


class ClientFactory(ClientExtensionFactory):
    """Offers what it is told, and accepts anything or nothing."""

    def __init__(
        self,
        extension: Extension,
        params: Sequence[ExtensionParameter] = (),
        *,
        refuses: bool = False,
    ) -> None:
        self.name = extension.name
        self.extension = extension
        self.params = params
        self.refuses = refuses
        self.seen: list[tuple[list[ExtensionParameter], list[Extension]]] = []

    def get_request_params(self) -> Sequence[ExtensionParameter]:
        return self.params

    def process_response_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> Extension:
        self.seen.append((list(params), list(accepted_extensions)))
        if self.refuses:
            raise NegotiationError("these parameters won't do")
        return self.extension


class ServerFactory(ServerExtensionFactory):
    """Answers what it is told; declines offers that have the parameter ``bad``."""

    def __init__(self, extension: Extension, answer: Sequence[ExtensionParameter] = ()) -> None:
        self.name = extension.name
        self.extension = extension
        self.answer = answer
        self.seen: list[tuple[list[ExtensionParameter], list[Extension]]] = []

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[Sequence[ExtensionParameter], Extension]:
        self.seen.append((list(params), list(accepted_extensions)))
        if ("bad", None) in params:
            raise NegotiationError("declined")
        return self.answer, self.extension
