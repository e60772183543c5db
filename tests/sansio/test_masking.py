"""Masking (RFC 6455, section 5.3), and the keys for it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections import deque
from types import ModuleType

import pytest

from anyio_ws.sansio import Frame, Opcode, masking
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


def test_a_key_is_given_out_once_however_many_threads_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = itertools.count()

    def urandom(size: int) -> bytes:
        block = next(numbers).to_bytes(2, "big")
        return b"".join(block + i.to_bytes(2, "big") for i in range(size // 4))

    monkeypatch.setattr(masking, "_keys", deque())
    monkeypatch.setattr(os, "urandom", urandom)
    taken: list[list[bytes]] = [[] for _ in range(4)]

    def take(into: list[bytes]) -> None:
        into += [masking_key() for _ in range(2000)]

    threads = [threading.Thread(target=take, args=(into,)) for into in taken]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = [key for into in taken for key in into]
    assert len(keys) == 8000
    assert len(set(keys)) == 8000


FORK = """
import os
from anyio_ws.sansio import masking

masking.masking_key()
assert masking._keys
reader, writer = os.pipe()
if not os.fork():
    os.write(writer, b"".join(masking.masking_key() for _ in range(20)))
    os._exit(0)
theirs = os.read(reader, 1000)
ours = b"".join(masking.masking_key() for _ in range(20))
print(len(theirs), theirs != ours)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_the_child_of_a_fork_has_keys_of_its_own() -> None:
    command = [sys.executable, "-c", FORK]  # the tests' own process has threads
    ended = subprocess.run(command, capture_output=True, check=True, text=True)
    assert ended.stdout == "80 True\n"


@pytest.mark.parametrize("key", [b"", b"abc", b"abcde"])
def test_a_frame_is_masked_with_four_bytes_and_nothing_else(key: bytes) -> None:
    with pytest.raises(ValueError, match="4 bytes"):
        Frame(Opcode.BINARY, b"data").serialize(key)
