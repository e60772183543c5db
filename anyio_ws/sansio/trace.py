"""The opening handshake as a log shows it: in lines, without secrets, without what would steer a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from .headers import SECRET, Headers
from .uri import without_userinfo

__all__ = ["head_lines"]

LONGEST: Final = 500
"""Characters that are shown of a line, and bytes of a body."""


def head_lines(start: str, headers: Headers, body: bytes = b"") -> Iterator[str]:
    """Show a request or a response.

    :param start: its first line
    """
    words = start.split(" ")  # a target may be a URL
    yield _shown(" ".join(map(_without_credentials, words)))
    for name, value in headers.raw_items():
        if name.lower() in SECRET:
            yield f"{name}: [redacted]"
        else:
            yield f"{name}: {_shown(_without_credentials(value))}"
    if body:
        shown = repr(body[:LONGEST].decode(errors="replace"))
        yield f"BODY {shown}{'...' if len(body) > LONGEST else ''} [{len(body)} bytes]"


def _shown(text: str) -> str:
    dots = "..." if len(text) > LONGEST else ""
    text = text[:LONGEST]
    return (text if text.isprintable() else repr(text)) + dots


def _without_credentials(text: str) -> str:
    return without_userinfo(text, "/?# ")
