"""The bytes of WebSocket that loads are made of."""

from __future__ import annotations

from typing import NamedTuple

KEY = b"\x37\xfa\x21\x3d"
"""The masking key of every frame."""
BINARY = 0x82
"""The first byte of a binary message in one frame."""
DEFLATE = "permessage-deflate; client_max_window_bits"
"""What browsers offer."""
COMPRESSED = 0xC2
"""The same, compressed (RFC 7692)."""


def request(extensions: str = "") -> bytes:
    """An opening handshake (RFC 6455, section 4.1), which the peer sends as it is."""
    lines = [
        "GET / HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        *([f"Sec-WebSocket-Extensions: {extensions}"] if extensions else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


def payload(size: int) -> bytes:
    """Bytes that aren't all the same."""
    return (bytes(range(0, 256, 7)) * (size // 37 + 1))[:size]


def frame(payload: bytes, *, masked: bool, first: int = BINARY) -> bytes:
    """A frame (RFC 6455, section 5.2), as a client sends it if it is masked."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes([first, bit | size])
    elif size < 2**16:
        head = bytes([first, bit | 126, *size.to_bytes(2, "big")])
    else:
        head = bytes([first, bit | 127, *size.to_bytes(8, "big")])
    if not masked:
        return head + payload
    mask = int.from_bytes((KEY * (size // 4 + 1))[:size], "big")
    return head + KEY + (int.from_bytes(payload, "big") ^ mask).to_bytes(size, "big")


class Wire(NamedTuple):
    """What the peer says."""

    request: bytes
    """The opening handshake; empty: it speaks bare bytes."""
    messages: bytes
    """What it sends in turns, as whole frames; of bare bytes, the one message."""


def echo(size: int, *, speaks_websocket: bool = True) -> Wire:
    """The same message, over and over, to a server."""
    if not speaks_websocket:
        return Wire(b"", payload(size))
    return Wire(request(), frame(payload(size), masked=True))
