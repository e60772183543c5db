"""What a connection consists of on the wire, written and read by hand, legal or not.

None of it uses the library's own codec or handshake, so that a mistake in them can't hide by being
made twice. Bytes only: no stream, no event loop.
"""

from __future__ import annotations

import base64
import hashlib
from itertools import cycle
from typing import Final, NamedTuple

__all__ = [
    "MASKING_KEY",
    "RawFrame",
    "apply_key",
    "handshake_request",
    "handshake_response",
    "header_value",
]

MASKING_KEY: Final = bytes.fromhex("37fa213d")
"""The masking key of the examples in RFC 6455, section 5.7."""


class RawFrame(NamedTuple):
    """A frame as it stands on the wire, legal or not (RFC 6455, section 5.2).

    For example ``RawFrame(0x1, b"hi")`` is a text message, ``RawFrame(0x8, b"\\x03\\xe8")`` a Close
    frame with the code 1000, ``RawFrame(0x3)`` has a reserved opcode.
    """

    opcode: int
    """From 0 to 15."""
    payload: bytes = b""
    """The payload before masking."""
    fin: bool = True
    rsv: int = 0
    """The reserved bits where they stand in the first byte: 0x40, 0x20 and 0x10."""
    masked: bool | None = None
    """None: as the side that sends it must."""
    width: int | None = None
    """Bytes of the extended payload length: 0, 2 or 8. None: the fewest."""

    def serialize(self, *, masked: bool, key: bytes = MASKING_KEY) -> bytes:
        """Return the bytes of the frame.

        `masked` tells whether its sender masks, as clients do, unless the frame itself says so.
        Wrong lengths can be had by cutting the result.
        """
        if self.masked is not None:
            masked = self.masked
        size = len(self.payload)
        width = _least_width(size) if self.width is None else self.width
        short = {0: size, 2: 126, 8: 127}[width]
        head = bytes([self.fin << 7 | self.rsv | self.opcode, masked << 7 | short])
        head += size.to_bytes(width, "big") if width else b""
        return head + key + apply_key(self.payload, key) if masked else head + self.payload

    @classmethod
    def parse(cls, data: bytes | bytearray, *, masked: bool) -> tuple[RawFrame, int] | None:
        """Read the frame that *data* begins with. Return it and its size, None if there is more to come.

        `masked` tells whether its sender must mask. :attr:`masked` is None in the result, and so is
        :attr:`width` if it's the fewest: frames that are read equal those that one would write.

        :raises AssertionError: the frame is masked and must not be, or is not and must be
        """
        if len(data) < 2:
            return None
        first, second = data[0], data[1]
        if masked is not (second >= 0x80):
            raise AssertionError(
                f"only clients mask: {'un' if masked else ''}masked frame received"
            )
        short = second & 0x7F
        width = {126: 2, 127: 8}.get(short, 0)
        start = 2 + width + 4 * masked
        if len(data) < start:
            return None
        size = int.from_bytes(data[2 : 2 + width], "big") if width else short
        end = start + size
        if len(data) < end:
            return None
        payload = bytes(data[start:end])
        if masked:
            payload = apply_key(payload, data[start - 4 : start])
        minimal = width == _least_width(size)
        frame = cls(
            opcode=first & 0x0F,
            payload=payload,
            fin=first >= 0x80,
            rsv=first & 0x70,
            width=None if minimal else width,
        )
        return frame, end


def _least_width(size: int) -> int:
    return 0 if size < 126 else 2 if size < 65536 else 8


def apply_key(data: bytes, key: bytes | bytearray) -> bytes:
    """Mask or unmask: both are the same (RFC 6455, section 5.3)."""
    return bytes(byte ^ mask for byte, mask in zip(data, cycle(key), strict=False))


def handshake_request(
    target: str = "/", *headers: tuple[str, str], host: str = "localhost"
) -> bytes:
    """Return a client's opening handshake: a correct one, to send or to spoil.

    *headers* are appended: ``("Sec-WebSocket-Protocol", "chat")`` offers a subprotocol. The key is
    always the one of RFC 6455, section 1.3.
    """
    return _head(
        f"GET {target} HTTP/1.1",
        ("Host", host),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("Sec-WebSocket-Version", "13"),
        *headers,
    )


def handshake_response(request: bytes, *headers: tuple[str, str]) -> bytes:
    """Return a server's answer that accepts *request*: a correct one, to send or to spoil.

    *headers* are appended: ``("Sec-WebSocket-Protocol", "chat")`` selects a subprotocol.

    :raises AssertionError: *request* has no key
    """
    key = header_value(request, "Sec-WebSocket-Key")
    if key is None:
        raise AssertionError(f"not the request of a WebSocket client: {request!r}")
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return _head(
        "HTTP/1.1 101 Switching Protocols",
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", base64.b64encode(digest).decode()),
        *headers,
    )


def _head(first_line: str, *headers: tuple[str, str]) -> bytes:
    lines = [first_line, *(f"{name}: {value}" for name, value in headers), "", ""]
    return "\r\n".join(lines).encode("iso-8859-1")


def header_value(head: bytes, name: str) -> str | None:
    """Return the value of the first header called `name` in a request or response."""
    for line in head.decode("iso-8859-1").split("\r\n")[1:]:
        found, _, value = line.partition(":")
        if found.lower() == name.lower():
            return value.strip()
    return None
