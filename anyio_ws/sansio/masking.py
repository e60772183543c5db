"""Masking (RFC 6455, section 5.3): the XOR, and the one source of masking keys.

The key must not be predictable by whoever supplies the payload (RFC 6455, section 10.3), so it comes
from the operating system's generator and from nowhere else.
"""

from __future__ import annotations

import secrets

__all__ = ["apply_mask", "masking_key"]


def masking_key() -> bytes:
    """Return four bytes that nobody can predict."""
    return secrets.token_bytes(4)


def apply_mask(data: bytes | bytearray | memoryview, key: bytes, offset: int = 0) -> bytes:
    """XOR *data* with *key* repeated, starting at byte ``offset % 4`` of the key.

    Masking and unmasking are the same operation. Two big integers are XORed instead of bytes one by
    one: the only way to do it at C speed in pure Python.
    """
    size = len(data)
    if not size:
        return b""
    shift = offset & 3
    if shift:
        key = key[shift:] + key[:shift]
    repeated = key * (size // 4 + 1)
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated[:size], "little")).to_bytes(
        size, "little"
    )
