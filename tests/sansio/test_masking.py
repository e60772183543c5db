"""Masking (RFC 6455, section 5.3), and the keys for it."""

from __future__ import annotations

from types import ModuleType

import pytest

from anyio_ws.sansio import Frame, Opcode
from anyio_ws.sansio.masking import masking_key
from anyio_ws.testing.wire import apply_key

from .helpers import KEY

pytestmark = pytest.mark.usefixtures("codec")


@pytest.mark.parametrize("size", [*range(20), 63, 64, 65, 125, 127, 128, 129, 1000])
@pytest.mark.parametrize("offset", range(9))
def test_masking_is_the_xor_with_the_key_repeated_from_an_offset(
    codec: ModuleType, size: int, offset: int
) -> None:
    apply_mask = codec.apply_mask
    data = bytes(i * 31 & 0xFF for i in range(size))
    expected = apply_key(bytes(offset) + data, KEY)[offset:]
    assert apply_mask(data, KEY, offset) == expected
    assert apply_mask(bytearray(data), KEY, offset) == expected
    assert apply_mask(memoryview(b"-" + data)[1:], KEY, offset) == expected
    assert apply_mask(expected, KEY, offset) == data


@pytest.mark.parametrize("data", [b"\x00\x00\x01", b"\x01\x00\x00", b"\x00", bytes(5)])
def test_zero_bytes_at_either_end_survive(codec: ModuleType, data: bytes) -> None:
    apply_mask = codec.apply_mask
    assert apply_mask(data, bytes(4)) == data
    assert apply_mask(apply_mask(data, KEY), KEY) == data


def test_keys_have_four_bytes_and_do_not_repeat() -> None:
    keys = {masking_key() for _ in range(1000)}
    assert {len(key) for key in keys} == {4}
    # By chance two of a thousand are equal once in ten thousand runs, four once in a hundred million.
    assert len(keys) >= 998


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_a_frame_is_masked_with_four_bytes_and_nothing_else(key: bytes) -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        Frame(Opcode.BINARY, b"data").serialize(key)
