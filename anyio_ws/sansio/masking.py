"""Masking keys: the one source of them.

A key must not be predictable by whoever supplies the payload (RFC 6455, section 10.3), so all come from
the operating system's generator and from nowhere else.
"""

from __future__ import annotations

import secrets

__all__ = ["masking_key"]


def masking_key() -> bytes:
    """Return four bytes that nobody can predict."""
    return secrets.token_bytes(4)
