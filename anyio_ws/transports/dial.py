"""From an address, a socket or a stream to a connected transport. What fails raises `OSError`."""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeAlias, cast

import anyio
from anyio.abc import SocketAttribute, SocketStream, UNIXSocketStream
from anyio.lowlevel import checkpoint

from .asyncio_socket import over_asyncio
from .backend import on_trio
from .base import Transport
from .sockets import SetupError, SocketOption, check_port, prepare, set_options
from .stream import AnyByteStream, StreamTransport

__all__ = [
    "Connectable",
    "SocketAddress",
    "dial",
    "dial_socket",
    "dial_unix",
    "over",
    "over_dialled",
]

Connectable: TypeAlias = AnyByteStream | socket.socket
"""A byte stream, see `AnyByteStream`, or a connected socket."""

SocketAddress: TypeAlias = tuple[str, int]

ATTEMPT_DELAY = 0.25
"""Seconds that an address has for itself before the next is tried as well (RFC 8305, section 5)."""

RETRY_DELAY = 0.02
"""Seconds between attempts to connect to a Unix socket at which too many others wait."""


async def dial(
    host: str,
    port: int,
    *,
    local_address: SocketAddress | None = None,
    socket_options: Sequence[SocketOption] = (),
) -> Transport:
    """Connect to *host*, by the first of its addresses that answers (Happy Eyeballs, RFC 8305).

    Cancelling closes what was opened.

    :param local_address: ``(host, port)`` to connect from
    :param socket_options: are set on each socket before it connects
    :raises OSError: the name can't be resolved, no address accepts the connection, or the operating system
        refuses an option or the local address, which the error names
    """
    sock = await dial_socket(host, port, local_address=local_address, socket_options=socket_options)
    return await over_dialled(sock, socket_options)


async def dial_socket(
    host: str,
    port: int,
    *,
    local_address: SocketAddress | None = None,
    socket_options: Sequence[SocketOption] = (),
) -> socket.socket:
    """Connect to *host* as `dial` does, and return the socket."""
    addresses = _interleaved(await _resolve(host, port))
    local = None if local_address is None else await _resolve_local(*local_address)
    return await _Race(addresses, local, socket_options).run()


async def over_dialled(sock: socket.socket, socket_options: Sequence[SocketOption]) -> Transport:
    """Make a transport of a socket that `dial_socket` returned, with the same options."""
    transport = await over(sock)
    for option in socket_options:
        if option[:2] == (socket.IPPROTO_TCP, socket.TCP_NODELAY):
            with suppress(OSError):  # it was set once; only the connection can have ended
                set_options(sock, [option])  # which we have switched on, and so has asyncio
    return transport


async def dial_unix(
    path: str | os.PathLike[str], *, socket_options: Sequence[SocketOption] = ()
) -> Transport:
    """Connect to the Unix socket at *path*. Cancelling closes what was opened.

    :param socket_options: are set on the socket before it connects
    :raises OSError: nobody listens there, or the operating system refuses an option
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        set_options(sock, socket_options)
        await checkpoint()
        while True:
            try:
                sock.connect(os.fspath(path))
                break
            except BlockingIOError:  # as many wait as the server lets; there is nothing to wait for
                await anyio.sleep(RETRY_DELAY)
    except BaseException:
        sock.close()
        raise
    return await over(sock)


async def over(connection: Connectable) -> Transport:
    """Make the fastest transport there is for *connection*, which it takes over.

    A socket gets a transport over the socket; so does the socket of a stream that gives it up, which are
    trio's, and AnyIO's on trio. Anything else gets a `StreamTransport`.

    :raises TypeError: it is neither a socket nor one of the kinds of `AnyByteStream`
    :raises ValueError: it is a socket that was never connected, or not of type ``SOCK_STREAM``; it stays
        as it is
    :raises OSError: the socket can't be used any more; it is closed
    """
    if isinstance(connection, socket.socket):
        _check_connected(connection)
    sock = connection if isinstance(connection, socket.socket) else _released(connection)
    if sock is None:
        return StreamTransport(cast("AnyByteStream", connection))
    if sock is not connection:
        try:
            await anyio.aclose_forcefully(cast("Any", connection))  # has nothing left but its state
        except BaseException:
            sock.close()
            raise
    try:
        return await over_socket(prepare(sock))
    except BaseException:
        sock.close()
        raise


async def over_socket(sock: socket.socket) -> Transport:
    """Make a transport of a socket, connected and prepared."""
    if on_trio():
        from .trio_socket import TrioSocketTransport  # which imports trio

        return TrioSocketTransport(sock)
    return await over_asyncio(sock)


def _check_connected(sock: socket.socket) -> None:
    """Refuse what can't be a connection; one that has ended already is a connection."""
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"a socket of type SOCK_STREAM expected, not {sock!r}")
    if sock.fileno() < 0:
        raise ValueError("the socket is closed")
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        raise ValueError("a connected socket expected, not one that listens")
    try:
        sock.getpeername()
    except OSError as exc:
        # A peer that has gone may have no name any more. But then there was one, and so a local port.
        local = sock.getsockname()
        if exc.errno == errno.ENOTCONN and (not isinstance(local, tuple) or not local[1]):
            raise ValueError(f"a connected socket expected, not {sock!r}") from None


def _released(stream: Any) -> socket.socket | None:
    """The socket of *stream*, taken from it, if it is one that gives it up."""
    if not on_trio():
        return None
    import trio

    if type(stream) is trio.SocketStream:
        return socket.socket(fileno=stream.socket.detach())
    # Only AnyIO's own: another's may hold bytes back, or count them.
    if isinstance(stream, SocketStream | UNIXSocketStream) and (
        type(stream).__module__.startswith("anyio.")
    ):
        return socket.socket(fileno=stream.extra(SocketAttribute.raw_socket).detach())
    return None


# Addresses

_Address: TypeAlias = tuple[int, int, int, Any]
"""Family, type, protocol and what `socket.connect` takes."""


async def _resolve(host: str, port: int) -> list[_Address]:
    """Look *host* up.

    :raises OSError: it can't be resolved
    :raises ValueError: there is no such port
    """
    check_port(port)  # getaddrinfo takes its last 16 bits
    # A number needs no resolver, and no thread to ask it in.
    with suppress(OSError, UnicodeError):
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
        await checkpoint()
        return [(family, kind, proto, address) for family, kind, proto, _, address in found]
    try:
        looked_up = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as exc:  # of IDNA; where ASCII suffices, the resolver says it
        raise OSError(f"{host!r} isn't a valid host name: {exc}") from exc
    if not looked_up:
        raise OSError(f"{host!r} has no address")
    return [(family, kind, proto, address) for family, kind, proto, _, address in looked_up]


async def _resolve_local(host: str, port: int) -> list[_Address]:
    try:
        return await _resolve(host, port)
    except OSError as exc:
        raise SetupError(exc.errno, f"the local address {host!r}: {exc.strerror or exc}") from exc


def _interleaved(addresses: list[_Address]) -> list[_Address]:
    """Sort so that the families take turns, beginning with the first's (RFC 8305, section 4)."""
    first = [address for address in addresses if address[0] == addresses[0][0]]
    other = [address for address in addresses if address[0] != addresses[0][0]]
    mixed: list[_Address] = []
    while first or other:
        mixed += [waiting.pop(0) for waiting in (first, other) if waiting]
    return mixed


class _Race:
    """Attempts to connect, one begun after the other; the first to succeed ends the rest."""

    def __init__(
        self,
        addresses: list[_Address],
        local: list[_Address] | None,
        options: Sequence[SocketOption],
    ) -> None:
        self._addresses = addresses
        self._local = local
        self._options = options
        self._winner: socket.socket | None = None
        self._errors: list[OSError] = []

    async def run(self) -> socket.socket:
        """Return a connected socket.

        :raises OSError: no attempt succeeded; with several, their errors are the cause
        """
        if self._local is not None:
            ours = {family for family, *_ in self._local}
            self._addresses = [one for one in self._addresses if one[0] in ours]
            if not self._addresses:
                raise OSError("the local address is of another family than the remote one")
        try:
            async with anyio.create_task_group() as attempts:
                for number, address in enumerate(self._addresses, 1):
                    failed = anyio.Event()
                    attempts.start_soon(self._attempt, address, failed, attempts.cancel_scope)
                    last = number == len(self._addresses)
                    with anyio.move_on_after(math.inf if last else ATTEMPT_DELAY):
                        await failed.wait()
        except BaseException:
            if self._winner is not None:
                self._winner.close()
            raise
        if self._winner is not None:
            return self._winner
        if len(self._errors) == 1:
            raise self._errors[0]
        raise OSError("no address accepts the connection") from ExceptionGroup(
            "attempts to connect", self._errors
        )

    async def _attempt(
        self, address: _Address, failed: anyio.Event, everything: anyio.CancelScope
    ) -> None:
        family, kind, proto, remote = address
        sock: socket.socket | None = None
        try:
            sock = socket.socket(family, kind, proto)
            set_options(sock, self._options)
            if self._local is not None:
                _bind(sock, next(one[3] for one in self._local if one[0] == family))
            await _connect(sock, remote)
        except OSError as exc:
            if sock is not None:
                sock.close()
            self._errors.append(exc)
            failed.set()
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        else:
            if self._winner is None:
                self._winner = sock
                everything.cancel()
            else:
                sock.close()


def _bind(sock: socket.socket, address: Any) -> None:
    try:
        sock.bind(address)
    except OSError as exc:
        where = " port ".join(map(str, address[:2]))
        raise SetupError(exc.errno, f"the local address {where}: {exc.strerror}") from exc


async def _connect(sock: socket.socket, address: Any) -> None:
    """Connect *sock*, without waiting for other than the kernel."""
    sock.setblocking(False)
    await checkpoint()
    try:
        sock.connect(address)
    except (BlockingIOError, InterruptedError):
        await anyio.wait_writable(sock)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"{os.strerror(error)}: {address!r}") from None
