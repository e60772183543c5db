"""Masking (RFC 6455, section 5.3)."""

from __future__ import annotations

import pytest

from anyio_ws.sansio import Frame, Opcode
from anyio_ws.sansio.masking import apply_mask, masking_key
from anyio_ws.testing.wire import apply_key

from .helpers import KEY


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 125, 1000])
@pytest.mark.parametrize("offset", range(9))
def test_masking_is_the_xor_with_the_key_repeated_from_an_offset(size: int, offset: int) -> None:
    data = bytes(i * 31 & 0xFF for i in range(size))
    expected = apply_key(bytes(offset) + data, KEY)[offset:]
    assert apply_mask(data, KEY, offset) == expected
    assert apply_mask(bytearray(data), KEY, offset) == expected
    assert apply_mask(memoryview(data), KEY, offset) == expected
    assert apply_mask(expected, KEY, offset) == data


@pytest.mark.parametrize("data", [b"\x00\x00\x01", b"\x01\x00\x00", b"\x00", bytes(5)])
def test_zero_bytes_at_either_end_survive(data: bytes) -> None:
    assert apply_mask(data, bytes(4)) == data
    assert apply_mask(apply_mask(data, KEY), KEY) == data


def test_keys_have_four_bytes_and_do_not_repeat() -> None:
    keys = {masking_key() for _ in range(100)}
    assert {len(key) for key in keys} == {4}
    # By chance two of a hundred are equal once in a million runs.
    assert len(keys) >= 99


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_a_frame_is_masked_with_four_bytes_and_nothing_else(key: bytes) -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        Frame(Opcode.BINARY, b"data").serialize(key)
