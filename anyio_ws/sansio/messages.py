"""Frames to messages: fragmentation, UTF-8 and the size of a message (RFC 6455, sections 5.4 to 5.6).

`MessageAssembler` judges frames while they arrive and afterwards gives the content of each: text
decoded, bytes as they are. It holds no content beyond what a cut character needs, so its memory
doesn't grow with the message; joining fragments is for whoever wants whole messages.
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Final, NamedTuple

from ..exceptions import ProtocolViolation
from .extensions.base import Extension
from .frames import CloseCode, Frame, Opcode

__all__ = ["Fragment", "MessageAssembler"]

SLACK: Final = 1024
"""Bytes that compressed data may be longer than the worst code for its content: headers of blocks."""

_new_decoder: Final = codecs.getincrementaldecoder("utf-8")


class Fragment(NamedTuple):
    """A part of a fragmented message; *data* is text or bytes, as the whole message is."""

    data: str | bytes
    final: bool


class _Encoded(NamedTuple):
    """A frame that an extension decodes while it arrives."""

    extension: Extension
    opcode: Opcode
    rsv: int


def _invalid_text(exc: UnicodeDecodeError) -> ProtocolViolation:
    bad = exc.object[exc.start : exc.start + 1]
    what = f"byte 0x{bad.hex()}" if bad else "end of message"
    return ProtocolViolation(CloseCode.INVALID_DATA, f"text isn't UTF-8: {exc.reason}, {what}")


class MessageAssembler:
    """Follows the messages of one direction of one connection."""

    __slots__ = (
        "_arriving",
        "_decoder",
        "_early",
        "_extensions",
        "_max_size",
        "_message_rsv",
        "_opcode",
        "_rsv",
        "_size",
        "_watch",
    )

    def __init__(self, *, max_size: int | None, extensions: Sequence[Extension] = ()) -> None:
        self._max_size = max_size
        self._extensions = tuple(reversed(extensions))  # RFC 6455, 9.1: undone last to first
        self._message_rsv = 0  # of the first frame of the message in progress
        self._rsv = 0
        for extension in extensions:
            self._rsv |= extension.rsv
        self._opcode: Opcode | None = None  # of the message in progress
        self._size = 0  # bytes of its payload so far, after decoding
        self._decoder: codecs.IncrementalDecoder | None = None
        self._watch = (
            False  # is the frame that is arriving text whose bytes can be checked at once?
        )
        self._early: list[str] = []  # what was decoded of it already
        self._arriving: _Encoded | None = (
            None  # the frame that is arriving, if parts of it are decoded
        )

    def begin_frame(self, opcode: Opcode, fin: bool, rsv: int, size: int) -> bool:
        """Judge a header (see `anyio_ws.sansio.frames.Judge`)."""
        self._arriving = None
        if opcode >= 0x8:
            self._watch = False
            if rsv:
                raise ProtocolViolation(
                    CloseCode.PROTOCOL_ERROR,
                    f"reserved bits {rsv >> 4:03b} set on {opcode.name} frame",
                )
            return False
        if rsv & ~self._rsv:
            raise ProtocolViolation(
                CloseCode.PROTOCOL_ERROR, f"reserved bits {rsv >> 4:03b} set without an extension"
            )
        if opcode is Opcode.CONT:
            if self._opcode is None:
                raise ProtocolViolation(
                    CloseCode.PROTOCOL_ERROR, "continuation frame without a message to continue"
                )
        elif self._opcode is not None:
            raise ProtocolViolation(
                CloseCode.PROTOCOL_ERROR,
                f"{opcode.name} frame inside a fragmented {self._opcode.name} message",
            )
        for extension in self._extensions:
            extension.check_header(opcode, rsv)
        if opcode is not Opcode.CONT:
            self._message_rsv = rsv
        encoders = self._encoders(rsv)
        self._watch = not encoders and Opcode.TEXT in (opcode, self._opcode)
        if not encoders:
            self._check_size(size)
            return False
        self._check_encoded_size(size)
        if len(encoders) > 1 or not encoders[0].in_parts:
            return False
        self._arriving = _Encoded(encoders[0], opcode, rsv)
        return True

    def _encoders(self, rsv: int) -> list[Extension]:
        """Those extensions that transformed the frame which arrives with these bits."""
        rsv |= self._message_rsv
        return [one for one in self._extensions if not one.rsv or one.rsv & rsv]

    def payload_arrived(self, data: bytes) -> None:
        """Check text as it arrives, so that a bad byte fails the connection before its frame ends."""
        if self._arriving is not None:
            extension, opcode, rsv = self._arriving
            extension.decode_part(opcode, rsv, data, max_size=self._room)
        elif self._watch:
            early = self._early
            early.append(self._decode(data, final=False))
            # A frame may come in as many parts as it has bytes, and a str is never small: join equals,
            # so that the parts stay few and no character is copied more often than log2 of them.
            while len(early) > 1 and len(early[-2]) <= len(early[-1]):
                early[-2:] = [early[-2] + early[-1]]

    def end_frame(self, frame: Frame) -> tuple[Frame, str | bytes]:
        """Return a complete data frame as the extensions decode it, and its content."""
        for extension in self._extensions:
            frame = extension.decode(frame, max_size=self._room)
        opcode, data, fin, *_ = frame
        if self._extensions:
            self._check_size(len(data))
        if opcode is not Opcode.CONT:
            self._opcode = opcode
        content: str | bytes = data
        if self._opcode is Opcode.TEXT:
            content = self._text(data, opcode, fin)
        if fin:
            self._opcode = None
            self._size = 0
        else:
            self._size += len(data)
        return frame, content

    @property
    def _room(self) -> int | None:
        """Bytes that the message in progress may still grow by; None for no limit."""
        return None if self._max_size is None else self._max_size - self._size

    def _check_size(self, size: int) -> None:
        if self._max_size is not None and self._size + size > self._max_size:
            raise ProtocolViolation(
                CloseCode.MESSAGE_TOO_BIG,
                f"message of {self._size + size} bytes or more exceeds the limit of {self._max_size}",
            )

    def _check_encoded_size(self, size: int) -> None:
        """Refuse what can't become a message within the limit.

        Who compresses sensibly spends nine bits on a byte at most.
        """
        room = self._room
        if room is not None and size > room + room // 8 + SLACK:
            raise ProtocolViolation(
                CloseCode.MESSAGE_TOO_BIG,
                f"encoded frame of {size} bytes, where {room} are left of the limit of {self._max_size}",
            )

    def _text(self, data: bytes, opcode: Opcode, fin: bool) -> str:
        if self._early:
            # Decoded while it arrived; what remains to be said is whether the last character is whole.
            text = "".join(self._early) + (self._decode(b"", final=True) if fin else "")
            self._early.clear()
        elif fin and opcode is Opcode.TEXT:
            try:
                return data.decode()
            except UnicodeDecodeError as exc:
                raise _invalid_text(exc) from exc
        else:
            text = self._decode(data, final=fin)
        if fin:
            self._decoder = None
        return text

    def _decode(self, data: bytes, *, final: bool) -> str:
        if self._decoder is None:
            self._decoder = _new_decoder()
        try:
            text = self._decoder.decode(data, final)
            pending, _ = self._decoder.getstate()
            if len(pending) == 2 and pending[0] == 0xED and pending[1] >= 0xA0:
                # The only start of a character that can't end well and that Python waits to judge:
                # the first two bytes of a surrogate.
                raise UnicodeDecodeError("utf-8", pending, 0, 1, "invalid continuation byte")
        except UnicodeDecodeError as exc:
            raise _invalid_text(exc) from exc
        return text
