"""Where the head of an HTTP message ends, how long it may be, and what of it h11 must not see.

h11 reads a header line with a regular expression in which two parts match blanks, before and after a value
that may be empty: a line of nothing but blanks and one bad byte takes it time that grows with the square of
the line, a second for 16 KiB. And it judges only what is incomplete by its length: a head that comes in one
piece is read however long it is. So a head is gathered here, bounded, and loses such blanks (RFC 9110,
section 5.5: they are no part of the value) before h11 reads it. It is searched once, however it is cut.
"""

from __future__ import annotations

from typing import Final

from ..exceptions import InvalidMessage

__all__ = ["HeadBuffer"]

_BLANKS: Final = b" \t"

_TLS: Final = b"\x15\x16"  # RFC 8446, section 5.1: an alert, or the handshake


class HeadBuffer:
    """Gathers one head after the other.

    :param max_header_size: bytes that a head may have
    :param max_request_line: bytes that its first line may have, or None
    """

    def __init__(self, max_header_size: int, max_request_line: int | None = None) -> None:
        self._limit = max_header_size
        self._line_limit = max_header_size if max_request_line is None else max_request_line
        self._data = bytearray()
        self._searched = 0  # bytes that no end begins in

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the network."""
        self._data += data

    def take(self) -> bytes | None:
        """Remove the head once it is complete, None before.

        :raises InvalidMessage: it is too long (431), so is its first line (414), or it begins with what
            begins no HTTP message
        """
        data = self._data
        if data and data[0] <= 0x20:  # TLS, say: its end may never come
            what = ", but TLS does (wss://)" if data[0] in _TLS else ""
            raise InvalidMessage(f"no HTTP message begins with the byte {data[0]:#04x}{what}")
        line_limit, limit = self._line_limit, self._limit
        if line_limit < min(limit, len(data)) and data.find(b"\n", 0, line_limit) < 0:
            raise InvalidMessage(
                f"request line of {line_limit + 1} bytes or more exceeds the limit of {line_limit} "
                "(max_request_line)",
                414,
            )
        end = self._find_end()
        if end is None:
            if len(data) > limit:
                raise InvalidMessage(
                    f"HTTP header of {limit + 1} bytes or more exceeds the limit of {limit} "
                    "(max_header_size)",
                    431,
                )
            return None
        head = bytes(data[:end])
        del data[:end]
        self._searched = 0
        return _tightened(head)

    def take_rest(self) -> bytes:
        """Remove what follows the heads that were taken."""
        rest = bytes(self._data)
        self._data.clear()
        self._searched = 0
        return rest

    def _find_end(self) -> int | None:
        """Where the empty line ends; lines may end without a carriage return, as for h11."""
        end = None
        stop = self._limit
        for mark in (b"\n\r\n", b"\n\n"):
            found = self._data.find(mark, self._searched, stop)
            if found >= 0:
                end = stop = found + len(mark)
        self._searched = max(0, len(self._data) - 2)
        return end


def _tightened(head: bytes) -> bytes:
    first, *lines = head.split(b"\n")
    kept = [first]
    for line in lines:
        if line.startswith((b" ", b"\t")):  # more of the line before (RFC 9112, section 5.2)
            if len(kept) > 1 and not line.removesuffix(b"\r").strip(_BLANKS):
                continue
            kept.append(line)
        else:
            name, colon, value = line.partition(b":")
            kept.append(name + colon + value.lstrip(_BLANKS))
    return b"\n".join(kept)
