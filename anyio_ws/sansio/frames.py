"""Frames and bytes (RFC 6455, section 5).

`Frame` and `Close` go to bytes; `FrameDecoder` makes frames of bytes, or whole messages where there is
nothing to say about their frames. What touches every byte is in `codec`. The decoder's strategy:

* A chunk is consumed from a position, never cut at the front, so a chunk full of small frames costs
  one pass. Only an incomplete *header* (at most 13 bytes) is joined with the next chunk.
* A header is judged as soon as it is complete, before a byte of its payload is stored. What only the
  message layer can know (may this frame come now, is it too long) is asked of the `judge`.
* The payload of an incomplete frame is unmasked as it arrives and appended to one buffer that grows
  with what has arrived: a declared length allocates nothing. A payload that the judge takes isn't
  stored at all, and is handed over in parts of `PART` bytes also when it has arrived in one piece.
* `take_messages` is a short cut past all that for what is most common. What it doesn't understand is
  left to `next_frame`, so that there is one place where frames are judged.

Like every parser here: it consumes and returns a frame, raises `ProtocolViolation`, or returns None
for "need more".
"""

from __future__ import annotations

import codecs
import enum
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol, cast

from ..exceptions import ProtocolError, ProtocolViolation
from .codec import Payload, apply_mask, decode_messages, encode_frame

__all__ = ["BytesLike", "Close", "CloseCode", "Frame", "FrameDecoder", "Judge", "Opcode", "Parts"]

BytesLike = bytes | bytearray | memoryview

MAX_CONTROL_PAYLOAD: Final = 125  # RFC 6455, 5.5

PART: Final = 2**13

MAX_FRAME: Final = 2**20
"""Bytes of payload that we put into one frame: a longer message is cut, so that a Ping can pass."""

SHOWN_TEXT: Final = 75
"""Bytes of a text that a log shows."""

SHOWN_BYTES: Final = 25
"""The same of anything else: each may take four characters."""


class Opcode(enum.IntEnum):
    """What a frame is (RFC 6455, section 5.2).

    The others are reserved. ``Opcode(0x3)`` is one all the same, for who sends it; it's never received.
    """

    CONT = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA

    @classmethod
    def _missing_(cls, value: object) -> Opcode | None:
        if value not in range(16):
            return None
        reserved = int.__new__(cls, cast("int", value))
        reserved._name_ = f"RESERVED_{value:X}"
        reserved._value_ = int(reserved)
        return reserved


OPCODES: Final = {int(opcode): opcode for opcode in Opcode}


class CloseCode(enum.IntEnum):
    """Why a connection is closed (RFC 6455, section 7.4.1, and the IANA registry).

    1005, 1006 and 1015 never appear on the wire: they say what was *not* received.
    """

    NORMAL_CLOSURE = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS_RCVD = 1005
    ABNORMAL_CLOSURE = 1006
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_BIG = 1009
    MANDATORY_EXTENSION = 1010
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015


_NOT_ON_THE_WIRE: Final = {
    CloseCode.NO_STATUS_RCVD,
    CloseCode.ABNORMAL_CLOSURE,
    CloseCode.TLS_HANDSHAKE,
}
OK_CLOSE_CODES: Final = {
    CloseCode.NORMAL_CLOSURE,
    CloseCode.GOING_AWAY,
    CloseCode.NO_STATUS_RCVD,
}


def valid_close_code(code: int) -> bool:
    """Whether *code* may stand in a Close frame (RFC 6455, section 7.4)."""
    if 3000 <= code < 5000:  # registered by libraries; private use
        return True
    return code in CloseCode.__members__.values() and code not in _NOT_ON_THE_WIRE


@dataclass(frozen=True, slots=True)
class Close:
    """The code and reason of a Close frame; code 1005 stands for a frame without a code."""

    code: int
    reason: str = ""

    def __str__(self) -> str:
        if 3000 <= self.code < 4000:
            meaning = "registered"
        elif 4000 <= self.code < 5000:
            meaning = "private use"
        else:
            meaning = (
                CloseCode(self.code).name.lower().replace("_", " ")
                if self.code in CloseCode.__members__.values()
                else "unknown"
            )
        # The peer's words go to logs and terminals: no line breaks, no escape sequences.
        reason = self.reason if self.reason.isprintable() else repr(self.reason)
        return f"{self.code} ({meaning})" + (f" {reason}" if reason else "")

    @classmethod
    def parse(cls, data: bytes) -> Close:
        """Read the payload of a Close frame (RFC 6455, section 5.5.1).

        :raises ProtocolViolation: one byte of payload, a code that can't be sent, a reason that
            isn't UTF-8
        """
        if not data:
            return cls(CloseCode.NO_STATUS_RCVD)
        if len(data) == 1:
            raise ProtocolViolation(
                CloseCode.PROTOCOL_ERROR, "close frame with a payload of one byte"
            )
        code = int.from_bytes(data[:2], "big")
        if not valid_close_code(code):
            raise ProtocolViolation(CloseCode.PROTOCOL_ERROR, f"invalid close code {code}")
        try:
            return cls(code, data[2:].decode())
        except UnicodeDecodeError as exc:
            raise ProtocolViolation(
                CloseCode.INVALID_DATA, f"close reason isn't UTF-8: {exc.reason}"
            ) from exc

    def serialize(self) -> bytes:
        """Write the payload of a Close frame.

        :raises ProtocolError: the code can't be sent, or there is a reason without a code
        :raises ValueError: the reason is longer than 123 bytes
        """
        if self.code == CloseCode.NO_STATUS_RCVD:
            if self.reason:
                raise ProtocolError(f"close reason {self.reason!r} without a close code")
            return b""
        if not valid_close_code(self.code):
            raise ProtocolError(f"invalid close code {self.code}")
        reason = _as_text(self.reason).encode()
        if len(reason) > MAX_CONTROL_PAYLOAD - 2:
            raise ValueError(
                f"close reason of {len(reason)} bytes; at most {MAX_CONTROL_PAYLOAD - 2} are allowed"
            )
        return self.code.to_bytes(2, "big") + reason


def check_close(code: int, reason: str) -> None:
    """Check that a Close frame with *code* and *reason* can be sent.

    :raises ProtocolError: *code* isn't valid, or stands for there being none
    :raises ValueError: *reason* is too long
    """
    if code == CloseCode.NO_STATUS_RCVD:
        raise ProtocolError(f"invalid close code {code}")
    Close(code, reason).serialize()


def _as_text(reason: object) -> str:
    if not isinstance(reason, str):
        raise TypeError(f"a close reason is a str, not {type(reason).__name__}")
    return reason


class Frame(NamedTuple):
    """One WebSocket frame, its payload unmasked and, when received, decoded by the extensions."""

    opcode: Opcode
    data: bytes
    fin: bool = True
    rsv1: bool = False
    rsv2: bool = False
    rsv3: bool = False

    def __str__(self) -> str:
        return describe(self)

    def serialize(self, mask: bytes | None = None) -> bytes:
        """Write the frame, masked with the four bytes of *mask* (a client must; None: not masked).

        :raises ValueError: a control frame that is fragmented or longer than 125 bytes
        """
        opcode, data, fin, *_ = self
        if opcode & 0x8:
            if len(data) > MAX_CONTROL_PAYLOAD:
                raise ValueError(
                    f"control frame with a payload of {len(data)} bytes; "
                    f"at most {MAX_CONTROL_PAYLOAD} are allowed"
                )
            if not fin:
                raise ValueError("control frames can't be fragmented")
        return self.serialize_unchecked(mask)

    def serialize_unchecked(self, mask: bytes | None = None) -> bytes:
        """As `serialize`, whatever the frame is."""
        opcode, data, fin, rsv1, rsv2, rsv3 = self
        return encode_frame(fin << 7 | rsv1 << 6 | rsv2 << 5 | rsv3 << 4 | opcode, data, mask)


def describe(frame: Frame, coded: Frame | None = None, coded_size: int | None = None) -> str:
    """One line for a log: opcode, a shortened payload, its size, flags.

    :param coded: the frame as an extension has made it, or got it: what is said of the reserved bits
    :param coded_size: bytes of its payload; by default as many as it has
    """
    opcode, data, fin, *_ = frame
    rsv = (coded or frame)[3:]
    if coded is not None and coded_size is None:
        coded_size = len(coded.data)
    if opcode is Opcode.CLOSE:
        try:
            shown = str(Close.parse(data))
        except ProtocolViolation as exc:
            shown = f"{data!r} ({exc})"
    elif opcode is Opcode.TEXT and fin:
        whole = len(data) <= SHOWN_TEXT
        text, _ = codecs.utf_8_decode(data[:SHOWN_TEXT], "replace", whole)
        shown = repr(text) if whole else f"{text!r}..."
    elif len(data) <= SHOWN_BYTES:
        shown = repr(data)
    else:
        shown = f"{data[:SHOWN_BYTES]!r}..."
    flags: list[str] = []
    if coded_size not in (None, len(data)):
        flags.append(f"{coded_size} on the wire")
    flags += [name for name, on in zip(("rsv1", "rsv2", "rsv3"), rsv, strict=True) if on]
    if not fin:
        flags.append("continued")
    return ", ".join([f"{opcode.name} {shown} [{len(data)} bytes", *flags]) + "]"


class Parts(enum.Enum):
    """What is done with a payload that arrives in parts."""

    STORED = enum.auto()
    """They are stored until the frame is complete."""
    SHOWN = enum.auto()
    """They are also shown to the judge, as they arrive."""
    TAKEN = enum.auto()
    """They are given to the judge and not stored; the frame has no payload then."""


class Judge(Protocol):
    """What the message layer is asked while a frame arrives. All may raise `ProtocolViolation`."""

    def begin_frame(self, opcode: Opcode, fin: bool, rsv: int, size: int) -> Parts:
        """A well-formed header arrived; *rsv* holds the three bits as they stand (0x70).

        Asked again when the masking key is cut off by the end of a chunk.
        """
        ...

    def payload_arrived(self, data: bytes) -> None:
        """A part of the payload of the frame just begun, unmasked; only if it was asked for."""
        ...


def _violation(reason: str) -> ProtocolViolation:
    return ProtocolViolation(CloseCode.PROTOCOL_ERROR, reason)


class FrameDecoder:
    """Bytes in, frames out, for one direction of one connection.

    What it is fed may be a view of memory that is soon used for something else: `keep` has to be called
    before that. Large messages need no other copy than the one that is handed over.
    """

    __slots__ = ("_buffer", "_judge", "_masked", "_partial", "_position")

    def __init__(self, judge: Judge, *, masked: bool) -> None:
        self._judge = judge
        self._masked = masked  # RFC 6455, 5.1: clients mask every frame, servers none
        self._buffer: bytes | memoryview = b""
        self._position = 0
        self._partial: _Partial | None = None

    @property
    def mid_frame(self) -> bool:
        """Whether a frame has begun to arrive and isn't complete."""
        return self._partial is not None or self._position < len(self._buffer)

    @property
    def unread(self) -> int:
        """Bytes that were fed and not looked at."""
        return len(self._buffer) - self._position

    def feed_whole(
        self,
        data: bytes | memoryview,
        max_size: int | None,
        budget: int | None,
        max_events: int | None,
        overhead: int,
    ) -> tuple[list[str | bytes], bool] | None:
        """As `feed` and `take_messages`; whether something is left comes with them.

        :return: None in the middle of a frame; then nothing was done
        """
        if self._partial is not None or self._position < len(self._buffer):
            return None
        messages, position, _ = decode_messages(
            data, 0, self._masked, max_size, budget, max_events, overhead
        )
        if position == len(data):
            return messages, False
        self._buffer, self._position = data, position
        self.keep()
        return messages, True

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the network; `next_frame` looks at them."""
        if self._position < len(self._buffer):
            data = bytes(self._buffer[self._position :]) + data
        self._buffer = data
        self._position = 0

    def keep(self) -> None:
        """Let what was fed be somebody else's again: copy what is left of it."""
        if not isinstance(self._buffer, bytes):
            self._buffer = bytes(self._buffer[self._position :])
            self._position = 0

    def take_messages(
        self, max_size: int | None, budget: int | None, max_events: int | None, overhead: int
    ) -> tuple[list[str | bytes], int]:
        """Return whole messages that come next, and what they count against the budget.

        Only for between two messages. There may be none, and more behind those that there are; whatever is
        said about the next frame is said by `next_frame`. `decode_messages` explains the parameters.
        """
        if self._partial is not None:
            return [], 0
        buffer = self._buffer
        messages, position, produced = decode_messages(
            buffer, self._position, self._masked, max_size, budget, max_events, overhead
        )
        if position == len(buffer):
            self._buffer, self._position = b"", 0  # an idle connection holds no chunk
        else:
            self._position = position
        return messages, produced

    def next_frame(self) -> Frame | None:
        """Return the next complete frame, or None when more bytes are needed.

        :raises ProtocolViolation: the bytes break the protocol; the decoder can't be used any more
        """
        if self._partial is not None:
            return self._continue(self._partial)
        buffer = self._buffer
        start = self._position
        available = len(buffer) - start
        if available < 2:
            if not available:
                self._buffer, self._position = b"", 0
            return None
        first = buffer[start]
        second = buffer[start + 1]
        # What the first two bytes tell is judged now: the rest of the header may never come.
        opcode = OPCODES.get(first & 0x0F)
        if opcode is None:
            raise _violation(f"reserved opcode {first & 0x0F:#x}")
        size = second & 0x7F
        fin = first >= 0x80
        if opcode >= 0x8:
            if not fin:
                raise _violation(f"fragmented {opcode.name} frame")
            if size > MAX_CONTROL_PAYLOAD:
                raise _violation(
                    f"{opcode.name} frame of {size} bytes or more exceeds the limit of {MAX_CONTROL_PAYLOAD}"
                )
        masked = second >= 0x80
        if masked != self._masked:
            raise _violation(
                "frame from a client isn't masked"
                if self._masked
                else "frame from a server is masked"
            )
        position = start + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if available < 2 + width:
                return None
            size = int.from_bytes(buffer[position : position + width], "big")
            if size < 126 or (width == 8 and size < 0x1_0000):
                raise _violation(f"length {size} isn't in its shortest form")
            if size >= 1 << 63:
                raise _violation("most significant bit of a 64-bit length is set")
            position += width
        parts = self._judge.begin_frame(opcode, fin, first & 0x70, size)
        key = None
        if masked:
            if len(buffer) < position + 4:
                return None
            key = bytes(buffer[position : position + 4])
            position += 4
        end = position + size
        rsv1, rsv2, rsv3 = first & 0x40 != 0, first & 0x20 != 0, first & 0x10 != 0
        if end <= len(buffer) and not (size > PART and parts is Parts.TAKEN):
            data = buffer[position:end]
            self._position = end
            data = bytes(data) if key is None else apply_mask(data, key)
            return Frame(opcode, data, fin, rsv1, rsv2, rsv3)
        self._position = position
        payload = None if parts is Parts.TAKEN else Payload(size, key)
        self._partial = _Partial(opcode, fin, (rsv1, rsv2, rsv3), size, key, parts, payload)
        return self._continue(self._partial)

    def _continue(self, partial: _Partial) -> Frame | None:
        start = self._position
        end = min(start + partial.size - partial.arrived, len(self._buffer))
        if partial.payload is None:
            self._give_parts(partial, end)
        elif end > start:
            partial.payload.add(self._buffer, start, end)
            self._position = end
            partial.arrived += end - start
            if partial.parts is Parts.SHOWN:
                self._judge.payload_arrived(partial.payload.last(end - start))
        if partial.arrived < partial.size:
            return None
        self._partial = None
        data = b"" if partial.payload is None else partial.payload.take()
        return Frame(partial.opcode, data, partial.fin, *partial.rsv)

    def _give_parts(self, partial: _Partial, end: int) -> None:
        while self._position < end:
            data = self._buffer[self._position : min(self._position + PART, end)]
            self._position += len(data)
            if partial.key is None:
                data = bytes(data)
            else:
                data = apply_mask(data, partial.key, partial.arrived)
            partial.arrived += len(data)
            self._judge.payload_arrived(data)


@dataclass(slots=True)
class _Partial:
    """A frame whose header is known and whose payload is still arriving."""

    opcode: Opcode
    fin: bool
    rsv: tuple[bool, bool, bool]
    size: int
    key: bytes | None
    parts: Parts
    payload: Payload | None  # unless the judge takes it
    arrived: int = 0
