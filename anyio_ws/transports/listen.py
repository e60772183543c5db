"""Listening sockets, and accepting connections from them.

AnyIO opens them; from then on the raw sockets are ours, because only a raw socket that was accepted here
can become a socket transport.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeAlias, cast

import anyio
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from anyio.lowlevel import checkpoint
from anyio.streams.stapled import MultiListener

from .interrupts import keep_interrupts_out
from .sockets import check_port, socket_address

__all__ = [
    "AnyListener",
    "ListeningSocket",
    "TrioListenerLike",
    "listen_tcp",
    "listen_unix",
    "take_over",
]

PAUSE: Final = 0.1
"""Seconds without accepting after the system ran out of descriptors or memory: clients wait meanwhile."""

LOST: Final = frozenset(
    {errno.ECONNABORTED, errno.ECONNRESET, errno.EPERM, errno.EPROTO, errno.ETIMEDOUT}
)
"""What tells of one connection that was lost, or refused by a firewall, before it was accepted."""

DEAD: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})

ATTEMPTS: Final = 10
"""How often a port that is free on one address may be taken on another, before that is an error."""

BURST: Final = 32
"""Connections that are accepted before other tasks have their turn."""


class TrioListenerLike(Protocol):
    """A ``trio.SocketListener``, for type checkers that may not know trio, as in `stream`."""

    @property
    def socket(self) -> Any: ...
    async def accept(self) -> object: ...


AnyListener: TypeAlias = socket.socket | SocketListener | MultiListener[Any] | TrioListenerLike
"""A listening socket, or a listener of AnyIO's or trio's that has one, or several."""


class ListeningSocket:
    """A listening socket that we own."""

    def __init__(self, sock: socket.socket, *, owns_file: bool = False) -> None:
        sock.setblocking(False)
        self.socket: Final = sock
        self.address: Final = socket_address(sock.getsockname())
        """``(host, port)``, or the path of a Unix socket."""
        self._file = _file_id(self.address) if owns_file else None

    @keep_interrupts_out
    async def accept(
        self,
        serve: Callable[[socket.socket], object],
        exhausted: Callable[[OSError], object],
        room: Callable[[], Awaitable[object] | None] = lambda: None,
    ) -> None:
        """Accept connections, and call *serve* with each, until cancelled.

        Before each, *room* is called, and what it returns awaited, until that is None: as long as there is no
        room for another connection, clients wait in the kernel.

        When the system has no descriptor or memory left for another one (EMFILE, ENFILE, ENOBUFS, ENOMEM),
        *exhausted* is called with the error, and accepting goes on after a pause: as long as clients wait in
        the kernel, nothing is lost. So does any error that isn't known, for it may last.

        :raises OSError: the socket can't accept connections, and never will
        """
        accepted = 0
        while True:
            while (waiting := room()) is not None:
                await waiting
            try:
                sock, _ = self.socket.accept()
            except (BlockingIOError, InterruptedError):
                accepted = 0
                await anyio.wait_readable(self.socket)
            except OSError as exc:
                if exc.errno in DEAD:
                    raise
                if exc.errno in LOST:
                    await checkpoint()
                else:
                    exhausted(exc)
                    await anyio.sleep(PAUSE)
            else:
                serve(sock)
                accepted += 1
                if accepted % BURST == 0:
                    await checkpoint()

    def close(self) -> None:
        """Listen no more; the file of a Unix socket that was made here is removed, if it is still there."""
        file, self._file = self._file, None
        self.socket.close()
        if file is not None and file == _file_id(self.address):
            with suppress(OSError):  # the rights to may have been dropped
                os.unlink(cast("str", self.address))


def _file_id(address: object) -> tuple[int, int] | None:
    """What tells a Unix socket's file from any other that may take its place."""
    if not isinstance(address, str) or not address or address.startswith("\0"):
        return None
    try:
        found = os.stat(address)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISSOCK(found.st_mode) else None


async def listen_tcp(
    host: str | Sequence[str] | None, port: int, *, backlog: int, reuse_port: bool = False
) -> list[ListeningSocket]:
    """Listen on every address of *host*, or of several; None: of all interfaces. Port 0: a free one for all.

    :param reuse_port: let other processes listen on the same port, and share the connections
    :raises OSError: an address can't be listened on
    :raises ValueError: there is no such port, or no host
    """
    check_port(port)
    hosts = [host] if host is None or isinstance(host, str) else list(host)
    if not hosts:
        raise ValueError("there is no host to listen on")
    attempts = 1 if port else ATTEMPTS
    while True:
        attempts -= 1
        try:
            return await _listen_on_each(hosts, port, backlog, reuse_port)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not attempts:
                raise


async def _listen_on_each(
    hosts: Sequence[str | None], port: int, backlog: int, reuse_port: bool
) -> list[ListeningSocket]:
    """Listen on all of *hosts*, or on none if an error is raised, by the port that the first one gets."""
    listening: list[ListeningSocket] = []
    try:
        for host in hosts:
            listener = await anyio.create_tcp_listener(
                local_host=host or None, local_port=port, backlog=backlog, reuse_port=reuse_port
            )
            listening += take_over([listener])
            port = cast("tuple[str, int]", listening[0].address)[1]
    except BaseException:
        for one in listening:
            one.close()
        raise
    return listening


async def listen_unix(path: str | os.PathLike[str], *, backlog: int) -> list[ListeningSocket]:
    """Listen on a Unix socket at *path*; one that is there is replaced.

    :raises OSError: *path* can't be listened on
    """
    await checkpoint()
    path = os.fspath(path)
    if _file_id(path) is not None:  # a server that was killed leaves it behind
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        sock.listen(backlog)
        return [ListeningSocket(sock, owns_file=True)]
    except BaseException:
        sock.close()
        raise


def take_over(listeners: Iterable[AnyListener]) -> list[ListeningSocket]:
    """Make the sockets of *listeners* ours: all, or none if an error is raised.

    :raises TypeError: one of them is none of the kinds of `AnyListener`
    :raises ValueError: one of them doesn't listen, or there are none
    """
    given = list(listeners)
    # By number: one that is given twice is one.
    found = {sock.fileno(): sock for one in given for sock in _sockets(one)}
    if not found:
        raise ValueError("there is no listener")
    for number, sock in found.items():
        if number < 0 or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ValueError(f"a listening socket expected, not {sock!r}")
    # A listener loses its socket; nobody else is to accept from it, or to close it.
    return [
        ListeningSocket(sock if sock in given else socket.socket(fileno=sock.detach()))
        for sock in found.values()
    ]


def _sockets(listener: object) -> Sequence[Any]:
    if isinstance(listener, socket.socket):
        return [listener]
    if isinstance(listener, MultiListener):
        several = cast("MultiListener[SocketStream]", listener)
        return [sock for one in several.listeners for sock in _sockets(one)]
    if isinstance(listener, SocketListener):
        # On asyncio AnyIO's listener keeps nothing but this socket; on trio it's the one below trio's.
        return [listener.extra(SocketAttribute.raw_socket)]
    sock: Any = getattr(listener, "socket", None)
    if sock is not None and hasattr(sock, "detach") and hasattr(listener, "accept"):  # trio's
        return [sock]
    raise TypeError(
        f"a listening socket, or a listener of AnyIO or trio, expected; got {listener!r}"
    )
