"""How what arrives is shown. Nothing here waits, or writes.

Three kinds of output: *raw* has the messages as they are; *json* has a line for everything that happens;
*text* has a line for each message. What goes to a terminal has no character in it by which the peer
could control that; an exception is made of line breaks and tabs, within limits.
"""

from __future__ import annotations

import base64
import datetime
import json
import time
import zlib
from dataclasses import dataclass

from anyio_ws.events import Binary, Closed, Event, Text

__all__ = ["Output", "decompressed", "visible"]

DUMPED = 1024
"""Bytes of a binary message that a terminal is shown."""

UNPACKED = 2**24
"""Bytes that a message is unpacked to at most."""


def visible(text: str, *, besides: str = "") -> str:
    """Write out what isn't printable, but for the characters *besides*: control characters, and those
    that change the direction of writing, among others.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in besides else _escaped(char) for char in text
    )


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()


def decompressed(data: bytes) -> bytes:
    """Unpack what is in the formats of gzip, zlib or deflate; return other data as it is.

    At most `UNPACKED` bytes come of it: what would be larger is returned as it is.
    """
    for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # gzip or zlib; and without a header
        inflater = zlib.decompressobj(window)
        try:
            unpacked = inflater.decompress(data, UNPACKED)
        except zlib.error:
            continue
        # Other data can look like it for a while: it must end, and where the data does.
        if inflater.eof and not inflater.unused_data:
            return unpacked
    return data


def dump(data: bytes) -> str:
    """Write bytes as rows of sixteen: where, in hexadecimal, and in ASCII."""
    rows: list[str] = []
    for start in range(0, min(len(data), DUMPED), 16):
        row = data[start : min(start + 16, DUMPED)]
        letters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        rows.append(f"{start:08x}  {row.hex(' '):47}  |{letters}|")
    if len(data) > DUMPED:
        rows.append(f"and {len(data) - DUMPED} bytes more; --hex shows all")
    return "\n".join(rows)


@dataclass(slots=True)
class Output:
    """What is to be written for what arrives."""

    raw: bool = False
    json: bool = False
    hex: bool = False
    decompress: bool = False
    null: bool = False
    """Does a message end with a zero byte, and not with a line break?"""
    timings: bool = False
    timestamps: bool = False
    terminal: bool = False
    """Is it a terminal that is written to?"""
    _opened: float = 0.0
    _previous: float = 0.0

    def opened(self, url: str, subprotocol: str | None) -> bytes:
        """The connection is open."""
        self._opened = self._previous = time.monotonic()
        return self._json("open", url=url, subprotocol=subprotocol)

    def closed(self, code: int | None, reason: str | None) -> bytes:
        """The connection is closed."""
        return self._json("close", code=code, reason=reason)

    def event(self, event: Event) -> bytes:
        """Something arrived."""
        if isinstance(event, Binary) and self.decompress:
            event = Binary(decompressed(event.data))
        if isinstance(event, Closed):
            return b""
        if self.json:
            kind = type(event).__name__.lower()
            if isinstance(event, Text):
                return self._json(kind, data=event.data)
            if self.hex:
                return self._json(kind, hex=event.data.hex())
            return self._json(kind, base64=base64.b64encode(event.data).decode())
        if isinstance(event, Text | Binary):
            return self._message(event)
        return b""

    def _json(self, event: str, **what: object) -> bytes:
        if not self.json:
            return b""
        now = time.monotonic()
        times = {"time": round(time.time(), 6), "elapsed": round(now - self._opened, 6)}
        line = json.dumps({"event": event, **what, **times})
        return line.replace("\x7f", "\\u007f").encode() + self._end

    @property
    def _end(self) -> bytes:
        return b"\0" if self.null else b"\n"

    def _message(self, message: Text | Binary) -> bytes:
        if self.raw and not self.terminal:
            return message.data.encode() if isinstance(message, Text) else message.data
        written = self._written(message)
        if self.terminal:
            # Further lines are indented: the peer can't make one that looks like a message of its own.
            indented = written.replace("\n", "\n  ")
            written = written if self.raw else f"< {indented}"
        return (self._times() + written).encode(errors="backslashreplace") + self._end

    def _written(self, message: Text | Binary) -> str:
        if isinstance(message, Text):
            return visible(message.data, besides="\n\t") if self.terminal else message.data
        if self.decompress:
            # Most that is worth unpacking is text.
            try:
                return self._written(Text(message.data.decode()))
            except UnicodeDecodeError:
                pass
        if self.hex or not self.terminal:
            return message.data.hex()
        return f"binary, {len(message.data)} bytes\n{dump(message.data)}".rstrip("\n")

    def _times(self) -> str:
        written = ""
        if self.timestamps:
            now = datetime.datetime.now().astimezone()
            written += now.isoformat(sep=" ", timespec="milliseconds") + " "
        if self.timings:
            tick = time.monotonic()
            written += f"{tick - self._opened:.3f} +{tick - self._previous:.3f} "
            self._previous = tick
        return written
