"""What the transports over sockets share."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, cast

from anyio.abc import SocketAttribute

from .base import TypedAttributes

__all__ = [
    "CHUNK",
    "SetupError",
    "SocketAttributes",
    "SocketOption",
    "always",
    "check_port",
    "peer_address",
    "prepare",
    "read_buffer",
    "set_options",
    "socket_address",
    "unsent_parts",
]

CHUNK: Final = 2**16
"""Bytes asked for in one read of a stream; it is given as many in one write."""

BUFFER: Final = 2**18
"""Bytes asked for in one read of a socket: what asyncio reads, too."""


SocketOption: TypeAlias = tuple[int, int, int | bytes]
"""What `socket.socket.setsockopt` takes: level, option, value."""

_LEVELS: Final = {
    "SOL_SOCKET": "SO_",
    "IPPROTO_TCP": "TCP_",
    "IPPROTO_IP": "IP_",
    "IPPROTO_IPV6": "IPV6_",
}


class SetupError(OSError):
    """A socket can't be made as it was asked for; ``strerror`` says what it was that was asked for."""


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(BUFFER))


_of_thread: Final = _OfThread()


def read_buffer() -> memoryview:
    """What this thread's connections are read into, chunk by chunk: a sink is done with one when it returns.

    To allocate a quarter of a megabyte for every read, and to give nearly all of it back, would take longer
    than the rest of receiving a message: a mapping made, touched and undone.
    """
    return _of_thread.buffer


def prepare(sock: socket.socket) -> socket.socket:
    """Return *sock*, a connected one, set up as every transport wants it."""
    sock.setblocking(False)
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        # A message that was sent is to leave, and not to wait for an acknowledgement of the one before.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def set_options(sock: socket.socket, options: Sequence[SocketOption]) -> None:
    """Set *options*, in order.

    :raises SetupError: the operating system refuses one, which is named
    """
    for level, option, value in options:
        try:
            sock.setsockopt(level, option, value)
        except OSError as exc:
            name = _option_name(level, option)
            raise SetupError(
                exc.errno, f"the socket option {name} = {value!r}: {exc.strerror}"
            ) from exc


def _option_name(level: int, option: int) -> str:
    """By its names in the `socket` module, where it has some there."""
    for level_name, prefix in _LEVELS.items():
        if getattr(socket, level_name, None) == level:
            names = (name for name in dir(socket) if name.startswith(prefix))
            found = [name for name in names if getattr(socket, name) == option]
            return f"{level_name}, {found[0] if found else option}"
    return f"{level}, {option}"


def unsent_parts(data: bytes, more: bytes, sent: int) -> list[memoryview]:
    """What is left of *data* and then *more*, after the kernel has taken *sent* bytes."""
    parts: list[memoryview] = []
    for part in (data, more):
        if sent < len(part):
            parts.append(memoryview(part)[sent:])
        sent = max(0, sent - len(part))
    return parts


class SocketAttributes(TypedAttributes):
    """The typed attributes of *sock*. Addresses are looked up now: logs want them after the end.

    Made of the addresses when they are asked for: each connection has some, and few are ever looked at.
    """

    __slots__ = ("_local", "_remote", "_socket")

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._local = _address_by(sock.getsockname)
        self._remote = peer_address(sock)

    def _values(self) -> dict[Any, Any]:
        values: dict[Any, Any] = {
            SocketAttribute.family: self._socket.family,
            SocketAttribute.raw_socket: self._socket,
        }
        for value, address, port in (
            (self._local, SocketAttribute.local_address, SocketAttribute.local_port),
            (self._remote, SocketAttribute.remote_address, SocketAttribute.remote_port),
        ):
            if value is not None:
                values[address] = value
            if isinstance(value, tuple):
                values[port] = value[1]
        return values

    def __getitem__(self, name: Any) -> Callable[[], Any]:
        return always(self._values()[name])

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values())

    def __len__(self) -> int:
        return len(self._values())


def check_port(port: int) -> None:
    """Do nothing for a port.

    :raises ValueError: there is no such port
    """
    if not 0 <= port < 2**16:
        raise ValueError(f"a port is a number from 0 to 65535, not {port}")


def peer_address(sock: socket.socket) -> tuple[str, int] | str | None:
    """The address of the other end, if it is still there."""
    return _address_by(sock.getpeername)


def _address_by(getter: Callable[[], object]) -> tuple[str, int] | str | None:
    try:
        return socket_address(getter())
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
