"""From an address to listeners."""

from __future__ import annotations

from typing import TypeAlias

import anyio
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.stapled import MultiListener

__all__ = ["Address", "TCPListener", "addresses", "listen"]

TCPListener: TypeAlias = MultiListener[SocketStream]

Address: TypeAlias = tuple[str, int]


async def listen(host: str | None, port: int, *, backlog: int) -> TCPListener:
    """Listen on every address of *host* (None: of all interfaces); port 0 picks a free one.

    :raises OSError: an address can't be listened on
    :raises ValueError: there is no such port
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"a port is a number from 0 to 65535, not {port}")
    return await anyio.create_tcp_listener(local_host=host, local_port=port, backlog=backlog)


def addresses(listener: TCPListener) -> list[Address]:
    """Return the ``(host, port)`` that each listener is bound to."""
    found: list[Address] = []
    for one in listener.listeners:
        address = one.extra(SocketAttribute.local_address)
        found.append((str(address[0]), int(address[1])))
    return found
