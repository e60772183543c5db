"""What the transports over sockets share."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from anyio.abc import SocketAttribute

from .base import TypedAttributes

__all__ = [
    "CHUNK",
    "always",
    "check_port",
    "peer_address",
    "prepare",
    "socket_address",
    "socket_attributes",
]

CHUNK: Final = 2**16
"""Bytes asked for in one read; a stream is given as many in one write."""


def prepare(sock: socket.socket) -> socket.socket:
    """Return *sock*, a connected one, set up as every transport wants it."""
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # A message that was sent is to leave, and not to wait for an acknowledgement of the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def socket_attributes(sock: socket.socket) -> TypedAttributes:
    """The typed attributes of *sock*. Addresses are looked up now: logs want them after the end."""
    found: dict[Any, Any] = {SocketAttribute.family: sock.family, SocketAttribute.raw_socket: sock}
    for getter, address, port in (
        (sock.getsockname, SocketAttribute.local_address, SocketAttribute.local_port),
        (sock.getpeername, SocketAttribute.remote_address, SocketAttribute.remote_port),
    ):
        try:
            value = socket_address(getter())
        except OSError:  # the peer has gone already
            continue
        found[address] = value
        if isinstance(value, tuple):
            found[port] = value[1]
    return {name: always(value) for name, value in found.items()}


def check_port(port: int) -> None:
    """Do nothing for a port.

    :raises ValueError: there is no such port
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"a port is a number from 0 to 65535, not {port}")


def peer_address(sock: socket.socket) -> tuple[str, int] | str | None:
    """The address of the other end, if it is still there."""
    try:
        return socket_address(sock.getpeername())
    except OSError:
        return None


def socket_address(address: object) -> tuple[str, int] | str:
    """A socket's address as AnyIO has it: ``(host, port)`` for IPv6, too, or the path of a Unix socket."""
    if isinstance(address, tuple):
        host, port, *rest = cast("Sequence[Any]", address)
        scope = rest[1] if len(rest) > 1 else 0
        return (f"{host}%{scope}" if scope and "%" not in host else host), port
    return address.decode(errors="replace") if isinstance(address, bytes) else str(address)


def always(value: object) -> Callable[[], Any]:
    """A typed attribute that doesn't change."""
    return lambda: value
