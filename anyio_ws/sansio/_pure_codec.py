"""The codec's inner loops in pure Python: bytes and masks, no judging.

What is here is what costs when there is much of it. It stands a second time in ``_codec.c``; `codec` says
which one is used. This one runs everywhere, and is what the other is tested against.
"""

from __future__ import annotations

import struct
import sys
from typing import Final

# What the compiled one has, too.
__all__ = ["Payload", "apply_mask", "decode_messages", "encode_frame"]

_pack_16: Final = struct.Struct("!BBH").pack
_pack_64: Final = struct.Struct("!BBQ").pack


def apply_mask(data: bytes | bytearray | memoryview, key: bytes, offset: int = 0, /) -> bytes:
    """XOR *data* with *key* repeated, starting at byte ``offset % 4`` of the key (RFC 6455, section 5.3).

    Masking and unmasking are the same operation. Two big integers are XORed instead of bytes one by
    one: the only way to do it at C speed in pure Python.

    :raises ValueError: the key doesn't have four bytes
    """
    _check_key(key)
    size = len(data)
    shift = offset & 3
    if shift:
        key = key[shift:] + key[:shift]
    repeated = (key * ((size + 3) >> 2))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(
        size, "little"
    )


def encode_header(first: int, size: int, mask: int = 0) -> bytes:
    """Write a frame's header, up to the masking key.

    :param first: its first byte
    :param size: bytes of the payload
    :param mask: the bit of the second byte that says that it is masked, if it is
    """
    if size < 126:
        return bytes((first, mask | size))
    if size < 0x1_0000:
        return _pack_16(first, mask | 126, size)
    return _pack_64(first, mask | 127, size)


def encode_frame(first: int, data: bytes, key: bytes | None, /) -> bytes:
    """Write a frame (RFC 6455, section 5.2).

    :param first: its first byte
    :param key: for the payload to be masked with; None: it isn't masked
    :raises ValueError: the key doesn't have four bytes
    """
    header = encode_header(first, len(data), 0 if key is None else 0x80)
    if key is None:
        return header + data
    return header + key + apply_mask(data, key)


def decode_messages(
    data: bytes | memoryview,
    position: int,
    masked: bool,
    max_size: int | None,
    budget: int | None,
    max_events: int | None,
    overhead: int,
    /,
) -> tuple[list[str | bytes], int, int]:
    """Read the whole messages that stand at *position*, one after the other, as far as nothing is odd.

    That is: frames with TEXT or BINARY, FIN and no reserved bit, that are complete, masked as they must be,
    no longer than they may be, with a length in its shortest form and text that is UTF-8. The first frame
    that isn't so is left where it is, for somebody else to judge.

    :param masked: whether frames must be masked; if not, they must not
    :param max_size: of a payload; None for no limit
    :param budget: bytes of payloads and overhead; once they are reached no further message is read
    :param max_events: messages
    :param overhead: bytes that a message is charged beyond its payload
    :return: the messages, the position behind them, and what they count against a budget
    """
    size = len(data)
    if not 0 <= position <= size:
        raise ValueError("the position is outside of the data")
    if max_size is None:
        max_size = sys.maxsize
    if budget is None:
        budget = sys.maxsize
    if max_events is None:
        max_events = sys.maxsize
    data = bytes(data)
    mask_bit = 0x80 if masked else 0
    header = 6 if masked else 2
    messages: list[str | bytes] = []
    produced = 0
    while size - position >= 2 and produced < budget and len(messages) < max_events:
        is_text = data[position] == 0x81
        if not is_text and data[position] != 0x82:
            break
        length = data[position + 1] ^ mask_bit
        start = position + header
        if length >= 126:
            if length == 126:
                start += 2
                length = int.from_bytes(data[position + 2 : position + 4], "big")
                if length < 126:
                    break
            elif length == 127:
                start += 8
                length = int.from_bytes(data[position + 2 : position + 10], "big")
                if length < 0x1_0000:
                    break
            else:  # the wrong mask bit
                break
        end = start + length
        if length > max_size or end > size:
            break
        payload = data[start:end]
        if masked:
            # As apply_mask does; calling it would cost a quarter of the time that a small message takes.
            repeated = (data[start - 4 : start] * ((length + 3) >> 2))[:length]
            number = int.from_bytes(payload, "little") ^ int.from_bytes(repeated, "little")
            payload = number.to_bytes(length, "little")
        try:
            messages.append(payload.decode() if is_text else payload)
        except UnicodeDecodeError:
            break
        position = end
        produced += length + overhead
    return messages, position, produced


class Payload:
    """The payload of a frame that arrives in parts: unmasked at once, stored once, handed over whole.

    It grows with what has arrived: that much was declared allocates nothing.
    """

    __slots__ = ("_data", "_key", "_size")

    def __init__(self, size: int, key: bytes | None, /) -> None:
        """
        :param size: bytes that were declared
        :param key: what the payload is masked with; None: it isn't
        :raises ValueError: the key doesn't have four bytes
        """
        if key is not None:
            _check_key(key)
        self._size = size
        self._key = key
        self._data = bytearray()

    def add(self, data: bytes | memoryview, start: int, end: int, /) -> None:
        """Add the part ``data[start:end]``.

        :raises ValueError: it isn't inside of *data*, or exceeds what was declared
        """
        arrived = len(self._data)
        if not 0 <= start <= end <= len(data) or end - start > self._size - arrived:
            raise ValueError("outside of the data, or more than was declared")
        part = data[start:end]
        self._data += part if self._key is None else apply_mask(part, self._key, arrived)

    def last(self, size: int, /) -> bytes:
        """Return the last *size* bytes that arrived, unmasked.

        :raises ValueError: fewer have arrived
        """
        if not 0 <= size <= len(self._data):
            raise ValueError("more than has arrived")
        return bytes(self._data[len(self._data) - size :])

    def take(self) -> bytes:
        """Remove and return all that has arrived."""
        data, self._data = bytes(self._data), bytearray()
        return data


def _check_key(key: bytes) -> None:
    if len(key) != 4:
        raise ValueError(f"a masking key has 4 bytes, not {len(key)}")
