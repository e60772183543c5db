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
from .frames import CloseCode, Frame, Opcode, Parts

__all__ = ["Fragment", "MessageAssembler"]

SLACK: Final = 1024
"""Bytes that compressed data may be longer than the worst code for its content: headers of blocks."""

FLUSH: Final = 64
"""The same for each fragment that went before: flushing its data takes zlib some 7 of them."""

MAX_FRAGMENTS: Final = 2**17
"""Twice what is known to be sent: Autobahn's test suite has a message of 65,537."""

GATHER: Final = 2**14
"""Characters that a part of a text has at least, where it arrives in smaller ones."""

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


def _too_big(what: str, limit: int, name: str) -> ProtocolViolation:
    return ProtocolViolation(
        CloseCode.MESSAGE_TOO_BIG, f"{what} exceeds the limit of {limit} ({name})"
    )


def _longest(size: int) -> int:
    """Bytes that *size* bytes may have become when they were encoded."""
    return size + size // 8 + SLACK


def _invalid_text(exc: UnicodeDecodeError) -> ProtocolViolation:
    bad = exc.object[exc.start : exc.start + 1]
    what = f"byte 0x{bad.hex()}" if bad else "end of message"
    return ProtocolViolation(CloseCode.INVALID_DATA, f"text isn't UTF-8: {exc.reason}, {what}")


class MessageAssembler:
    """Follows the messages of one direction of one connection."""

    __slots__ = (
        "_all_marked",
        "_arriving",
        "_decoder",
        "_early",
        "_encoded",
        "_extensions",
        "_fragments",
        "_max_fragment_size",
        "_max_fragments",
        "_max_size",
        "_message_rsv",
        "_opcode",
        "_rsv",
        "_size",
        "_watch",
        "max_frame_size",
        "wire_size",
    )

    def __init__(
        self,
        *,
        max_size: int | None,
        max_fragment_size: int | None = None,
        max_fragments: int = MAX_FRAGMENTS,
        extensions: Sequence[Extension] = (),
    ) -> None:
        self._max_size = max_size
        self._max_fragment_size = max_fragment_size
        limits = [one for one in (max_size, max_fragment_size) if one is not None]
        self.max_frame_size: int | None = min(limits) if limits else None
        """Bytes that a message in one frame may have."""
        self._max_fragments = max_fragments
        self._extensions = tuple(reversed(extensions))  # RFC 6455, 9.1: undone last to first
        self._message_rsv = 0  # of the first frame of the message in progress
        self._rsv = 0
        for extension in extensions:
            self._rsv |= extension.rsv
        self._all_marked = all(extension.rsv for extension in extensions)
        self._opcode: Opcode | None = None  # of the message in progress
        # What there is of it so far; all begin anew with each message.
        self._fragments = 0
        self._size = 0  # bytes of payload, after decoding
        self._encoded = 0  # bytes of payload before decoding
        self.wire_size: int = 0
        """Bytes of the latest data frame, before decoding."""
        self._decoder: codecs.IncrementalDecoder | None = None
        # Of the frame that is arriving:
        self._watch = False  # is it text whose bytes can be checked at once?
        self._early: list[str] = []  # what was decoded of it already
        self._arriving: _Encoded | None = None  # how it is decoded in parts, if it is

    @property
    def expects_nothing_special(self) -> bool:
        """Whether a whole message in one frame needs no judging but of its size and text.

        Not in the middle of another message, and not if an extension wants to see every frame.
        """
        return self._opcode is None and self._all_marked

    @property
    def mid_message(self) -> bool:
        """Whether frames of a message have arrived, and not the last one."""
        return self._opcode is not None

    def begin_frame(self, opcode: Opcode, fin: bool, rsv: int, size: int) -> Parts:
        """Judge a header (see `anyio_ws.sansio.frames.Judge`)."""
        self._arriving = None
        if opcode >= 0x8:
            self._watch = False
            if rsv:
                raise ProtocolViolation(
                    CloseCode.PROTOCOL_ERROR,
                    f"reserved bits {rsv >> 4:03b} set on {opcode.name} frame",
                )
            return Parts.STORED
        if rsv & ~self._rsv:
            raise ProtocolViolation(
                CloseCode.PROTOCOL_ERROR, f"reserved bits {rsv >> 4:03b} set without an extension"
            )
        if opcode is Opcode.CONT:
            if self._opcode is None:
                raise ProtocolViolation(
                    CloseCode.PROTOCOL_ERROR, "continuation frame without a message to continue"
                )
            if self._fragments >= self._max_fragments:
                # Not 1009: a sender that makes its messages smaller has nothing to gain by it.
                raise ProtocolViolation(
                    CloseCode.POLICY_VIOLATION,
                    f"message in {self._fragments + 1} fragments or more exceeds the limit of "
                    f"{self._max_fragments} (max_fragments)",
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
        self.wire_size = size
        encoders = self._encoders(rsv)
        self._watch = not encoders and Opcode.TEXT in (opcode, self._opcode)
        if not encoders:
            self._check_size(size)
            return Parts.SHOWN if self._watch else Parts.STORED
        self._check_encoded_size(size)
        if len(encoders) > 1 or not encoders[0].in_parts:
            return Parts.STORED
        self._arriving = _Encoded(encoders[0], opcode, rsv)
        return Parts.TAKEN

    def _encoders(self, rsv: int) -> list[Extension]:
        """Those extensions that transformed the frame which arrives with these bits."""
        rsv |= self._message_rsv
        return [one for one in self._extensions if not one.rsv or one.rsv & rsv]

    def payload_arrived(self, data: bytes) -> None:
        """Check text as it arrives, so that a bad byte fails the connection before its frame ends."""
        if self._arriving is not None:
            extension, opcode, rsv = self._arriving
            room = self._room
            try:
                extension.decode_part(opcode, rsv, data, max_size=room)
            except ProtocolViolation as exc:
                self._name_limit(exc, room)
                raise
        elif self._watch:
            early = self._early
            early.append(self._decode(data, final=False))
            # A frame may come in as many parts as it has bytes, and a str is never small: join equals, so
            # that the parts stay few, but not large ones: no character is copied over log2(GATHER) times.
            while len(early) > 1 and len(early[-2]) <= len(early[-1]) and len(early[-2]) < GATHER:
                early[-2:] = [early[-2] + early[-1]]

    def end_frame(self, frame: Frame) -> tuple[Frame, str | bytes]:
        """Return a complete data frame as the extensions decode it, and its content."""
        if self._extensions:
            frame = self._decoded(frame)
        opcode, data, fin, *_ = frame
        if opcode is not Opcode.CONT:
            self._opcode = opcode
        content: str | bytes = data
        if self._opcode is Opcode.TEXT:
            content = self._text(data, opcode, fin)
        if fin:
            self._opcode = None
            self._fragments = self._size = self._encoded = 0
        else:
            self._fragments += 1
            self._size += len(data)
            self._encoded += self.wire_size
        return frame, content

    def _decoded(self, frame: Frame) -> Frame:
        room = self._room
        try:
            for extension in self._extensions:
                frame = extension.decode(frame, max_size=room)
        except ProtocolViolation as exc:
            self._name_limit(exc, room)
            raise
        self._check_size(len(frame.data))  # an extension may not care
        return frame

    # Limits

    @property
    def _room(self) -> int | None:
        """Bytes that the next frame of the message may have, after decoding; None for no limit."""
        if self._max_size is None:
            return self._max_fragment_size
        room = self._max_size - self._size
        if self._max_fragment_size is None:
            return room
        return min(room, self._max_fragment_size)

    def _check_size(self, size: int) -> None:
        """Refuse a frame of so many bytes, after decoding, or more."""
        limit = self._max_fragment_size
        if limit is not None and size > limit:
            raise _too_big(f"frame of {size} bytes or more", limit, "max_fragment_size")
        limit = self._max_size
        if limit is not None and self._size + size > limit:
            raise _too_big(f"message of {self._size + size} bytes or more", limit, "max_size")

    def _check_encoded_size(self, size: int) -> None:
        """Refuse what can't become a message within the limits, and one that doesn't become any.

        Who compresses sensibly spends nine bits on a byte at most. What inflates to nothing, empty blocks,
        is counted as well: or else a message could go on for ever.
        """
        limit = self._max_fragment_size
        if limit is not None and size > _longest(limit):
            raise _too_big(f"encoded frame of {size} bytes", limit, "max_fragment_size")
        limit = self._max_size
        if limit is None:
            return
        room = limit - self._size
        if size > _longest(room):
            what = f"encoded frame of {size} bytes, where {room} are left,"
            raise _too_big(what, limit, "max_size")
        encoded = self._encoded + size
        if encoded > _longest(limit) + FLUSH * self._fragments:
            raise _too_big(f"encoded message of {encoded} bytes or more", limit, "max_size")

    def _name_limit(self, violation: ProtocolViolation, room: int | None) -> None:
        """Raise a better *violation*, if it is that a frame has become longer than *room*.

        An extension knows only how much is left.
        """
        if violation.code == CloseCode.MESSAGE_TOO_BIG and room is not None:
            self._check_size(room + 1)

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
