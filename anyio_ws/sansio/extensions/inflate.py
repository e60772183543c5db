"""Inflating what a peer compressed, up to a limit and never beyond it.

zlib is asked for `STEP` bytes at a time and for one byte more than the limit allows, so that a message
which expands a thousandfold is refused when that byte appears. Held are the message so far, one step and
the window; what arrives compressed isn't kept, if it is fed in the parts in which it arrives.

What is inflated is gathered in pieces of a decent size, whatever it came in: a frame that arrives byte by
byte would else leave an object for every byte.
"""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Final

from ...exceptions import ProtocolViolation
from ..frames import CloseCode

if TYPE_CHECKING:
    from zlib import _Decompress  # pyright: ignore[reportPrivateUsage]  # it has no public name

__all__ = ["Inflater"]

TAIL: Final = b"\x00\x00\xff\xff"
"""How output that was flushed ends; a message leaves it out (RFC 7692, section 7.2.1)."""

FEED: Final = 2**13
"""Bytes that zlib is given at a time: of these it copies what is left over, at every step."""

STEP: Final = 2**14
"""Bytes that zlib may inflate at a time, in a buffer that it allocates first."""

GATHER: Final = 2**15
"""Bytes that a piece of a message has at least."""

MOST_PIECES: Final = 256
"""Pieces that a message has, roughly: joining them takes some memory for each."""

LAST_BLOCK: Final = b"\x03\x00"
"""An empty block that ends zlib's stream, if it is where a block may begin."""


class Inflater:
    """Inflates the messages of one direction, with state of zlib's from the first one on."""

    __slots__ = ("_fed", "_output", "_single", "_window_bits", "_zlib")

    def __init__(self, window_bits: int, *, single: bool) -> None:
        """
        :param single: each message was compressed by itself
        """
        self._window_bits = window_bits
        self._single = single
        self._zlib: _Decompress | None = None
        self._fed = False  # whether the message has had any data
        self._output = _Output()  # of the frame

    def feed(self, data: bytes, max_size: int | None) -> None:
        """Inflate more of a frame, of which all may become *max_size* bytes.

        :raises ProtocolViolation: it's too much (1009), or no compressed data (1007)
        """
        if data:
            self._fed = True
        try:
            if len(data) <= FEED:
                self._inflate(data, max_size)
            else:
                view = memoryview(data)
                for start in range(0, len(data), FEED):
                    self._inflate(view[start : start + FEED], max_size)
        except zlib.error as exc:
            self._output.drop()
            raise _invalid(str(exc)) from exc

    def end_frame(self) -> bytes:
        """Return what the frame has become."""
        output, self._output = self._output, _Output()
        return output.joined()

    def end_message(self, max_size: int | None) -> None:
        """Inflate what the sender has left out at the end of the message; raises as `feed`.

        Two that should have sent a byte more are understood all the same: who had nothing to flush and sent
        no byte at all for an empty message (RFC 7692, section 7.2.3.6), and who ended zlib's stream and left
        out the block that has to follow (section 7.2.3.4).
        """
        if self._fed and self._zlib is not None:
            self.feed(TAIL, max_size)
            self._check_complete()
        self._fed = False
        if self._single:
            self._zlib = None

    def _check_complete(self) -> None:
        """Refuse a message that ends inside a block: zlib would take the next one for the rest of it."""
        if self._zlib is not None:
            # zlib doesn't tell where it is; a copy of it may try. That costs the copy of a window.
            probe = self._zlib if self._single else self._zlib.copy()
            try:
                probe.decompress(LAST_BLOCK, 1)
            except zlib.error as exc:
                self._output.drop()
                raise _invalid(str(exc)) from exc
            if not probe.eof:
                self._output.drop()
                raise _invalid("the message ends inside a block")

    def _inflate(self, data: bytes | memoryview, max_size: int | None) -> None:
        output = self._output
        while True:
            if self._zlib is None:
                if not data:
                    return
                self._zlib = zlib.decompressobj(-self._window_bits)
            size = STEP if max_size is None else min(STEP, max_size - output.size + 1)
            inflated = self._zlib.decompress(data, size)
            if inflated:
                output.add(inflated)
                if max_size is not None and output.size > max_size:
                    output.drop()
                    raise ProtocolViolation(
                        CloseCode.MESSAGE_TOO_BIG,
                        f"compressed data inflates to more than the {max_size} bytes that are left",
                    )
            if self._zlib.eof:
                # A peer may end zlib's stream (RFC 7692, section 7.2.3.4), and begins anew then. That
                # costs us a new inflater for its two bytes: no more than it could do with tiny frames.
                data = self._zlib.unused_data
                self._zlib = None
            else:
                data = self._zlib.unconsumed_tail
                if not data and len(inflated) < size:
                    return


class _Output:
    """What a frame has become so far."""

    __slots__ = ("_pieces", "_tail", "size")

    def __init__(self) -> None:
        self.size = 0
        self._pieces: list[bytes] = []
        self._tail: io.BytesIO | None = None  # what will be the next piece

    def add(self, piece: bytes) -> None:
        self.size += len(piece)
        tail = self._tail
        if tail is None:
            if not self._pieces:
                self._pieces.append(piece)  # there is seldom a second one
                return
            self._tail = tail = io.BytesIO()
        tail.write(piece)
        if tail.tell() >= max(GATHER, self.size // MOST_PIECES):
            self._pieces.append(tail.getvalue())  # no copy, and no longer than it has to be
            self._tail = None

    def drop(self) -> None:
        """Let go of everything: who failed may live on for a while."""
        self._pieces.clear()
        self._tail = None

    def joined(self) -> bytes:
        pieces = self._pieces
        if self._tail is not None:
            pieces.append(self._tail.getvalue())
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _invalid(reason: str) -> ProtocolViolation:
    return ProtocolViolation(CloseCode.INVALID_DATA, f"compressed data is invalid: {reason}")
