"""Masking keys: the one source of them.

A key must not be predictable by whoever supplies the payload (RFC 6455, section 10.3), so all come from
the operating system's generator and from nowhere else. They are drawn in blocks: a system call for each
would take longer than the rest of sending a small message. None is given out twice, also when several
threads ask, and the child of a fork draws anew.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Final

__all__ = ["checked_keys", "masking_key"]

BLOCK: Final = 256
"""Keys that are drawn at a time."""

_keys: Final[deque[bytes]] = deque()  # to take one is atomic


def masking_key() -> bytes:
    """Return four bytes that nobody can predict."""
    try:
        return _keys.popleft()
    except IndexError:
        block = os.urandom(4 * BLOCK)
        _keys.extend(block[i : i + 4] for i in range(4, len(block), 4))
        return block[:4]


def checked_keys(source: Callable[[], object]) -> Callable[[], bytes]:
    """Return what gives the keys of *source*, and raises `ValueError` for what is none."""

    def key() -> bytes:
        given = source()
        if not isinstance(given, bytes) or len(given) != 4:
            raise ValueError(f"a masking key has 4 bytes; insecure_masking_key returned {given!r}")
        return given

    return key


if hasattr(os, "register_at_fork"):  # as everywhere where there is a fork
    os.register_at_fork(after_in_child=_keys.clear)
