"""Masking keys: the one source of them.

A key must not be predictable by whoever supplies the payload (RFC 6455, section 10.3), so all come from
the operating system's generator and from nowhere else. They are drawn in blocks: a system call for each
would take longer than the rest of sending a small message. None is given out twice, also when several
threads ask, and the child of a fork draws anew.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final

__all__ = ["masking_key"]

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


if hasattr(os, "register_at_fork"):  # as everywhere where there is a fork
    os.register_at_fork(after_in_child=_keys.clear)
