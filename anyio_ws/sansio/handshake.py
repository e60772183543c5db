"""What both sides of the opening handshake check and compute (RFC 6455, section 4)."""

from __future__ import annotations

import base64
import hashlib
from typing import Final

from ..exceptions import InvalidHeader
from .headers import Headers, parse_tokens

__all__ = ["VERSION", "accept_key", "check_upgrade", "single_header"]

VERSION: Final = "13"
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def accept_key(key: str) -> str:
    """Compute Sec-WebSocket-Accept from Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()


def single_header(headers: Headers, name: str) -> str | None:
    """Return the value of a header that may stand at most once; None if it is missing.

    :raises InvalidHeader: it is repeated
    """
    values = headers.get_all(name)
    if len(values) > 1:
        raise InvalidHeader(name, ", ".join(values), "it may appear only once")
    return values[0] if values else None


def check_upgrade(headers: Headers) -> None:
    """Check that Connection and Upgrade ask for, or grant, a WebSocket connection.

    :raises InvalidHeader: they don't
    """
    connection = headers.get_all("Connection")
    if "upgrade" not in [token.lower() for token in parse_tokens("Connection", connection)]:
        raise InvalidHeader("Connection", ", ".join(connection) if connection else None)
    upgrade = headers.get_all("Upgrade")
    # "WebSocket" in any case; offering other protocols beside it can't be told from nonsense here.
    if [value.lower() for value in upgrade] != ["websocket"]:
        raise InvalidHeader("Upgrade", ", ".join(upgrade) if upgrade else None)
