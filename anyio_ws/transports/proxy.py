"""Through a proxy: a tunnel of HTTP CONNECT as a filter, and SOCKS on a socket.

What is written before there is a tunnel waits for it. So the filter stacks on any transport, TLS to the proxy
for one, and carries any other, TLS to the server for one; and no byte has to be handed from one reader to
another.

SOCKS is python-socks' business, which awaits its way through a socket that was connected here. It reads
exactly what the proxy says, so what follows is still in the kernel.
"""

from __future__ import annotations

import socket
import ssl
from importlib.util import find_spec
from typing import Any, Final, Protocol

from anyio.streams.tls import TLSAttribute

from ..exceptions import ProxyError
from .backend import on_trio
from .base import Sink, Transport, TypedAttributes, text_of
from .filter import Filter
from .tls import TLSHandshakeError

__all__ = ["Opening", "ProxyTLSError", "TunnelTransport", "connect_socks", "require_socks"]


class ProxyTLSError(TLSHandshakeError):
    """TLS to a proxy, and not to the server, failed; ``proxy`` names it."""

    def __init__(self, proxy: str, message: str) -> None:
        super().__init__(message)
        self.proxy = proxy


class Opening(Protocol):
    """What has to be said to a proxy until there is a tunnel."""

    request: bytes
    """To be sent first."""

    def receive_data(self, data: bytes | memoryview) -> bytes | None:
        """Take bytes from the proxy, b"" for the end; once there is a tunnel, return what came out of it.

        :raises ProxyError: there won't be one
        """
        ...


class TunnelTransport(Filter):
    """See `anyio_ws.transports.base.Transport`.

    When the proxy refuses, the connection is lost, with a `ProxyError` that says why.

    :param proxy: its name in errors
    """

    def __init__(self, below: Transport, opening: Opening, proxy: str) -> None:
        super().__init__(below)
        self._opening: Opening | None = opening
        self._proxy = proxy
        self._pending = bytearray()  # that waits for the tunnel
        self._early = b""  # that came with the proxy's answer, while reading was paused
        self._paused = False
        self._eof_wanted = False

    @property
    def unsent(self) -> int:
        return self._below.unsent if self._open else len(self._pending)

    @property
    def extra_attributes(self) -> TypedAttributes:
        """Those of what is below, but for its TLS: that ends at the proxy."""
        attributes = self._below.extra_attributes
        if TLSAttribute.tls_version not in attributes:
            return attributes
        return {name: attributes[name] for name in attributes if name not in _OF_TLS}

    def start(self, sink: Sink) -> None:
        self._sink = sink
        self._below.start(self)
        if self._opening is not None:
            self._below.write(self._opening.request)

    def pause_reading(self) -> None:
        self._paused = True
        if self._open:
            self._below.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused:
            return
        self._paused = False
        self._hand_over_early()
        if self._open and not self._paused:
            self._below.resume_reading()

    def write(self, data: bytes, more: bytes = b"") -> None:
        if self._open:
            self._below.write(data, more)
        elif data and not (self._eof_wanted or self._ended):
            self._pending += data + more
            self._waiting = True

    def write_eof(self) -> None:
        self._eof_wanted = True
        if self._open:
            self._below.write_eof()

    def abort(self) -> None:
        self._aborted = True
        self._pending.clear()
        self._below.abort()

    # The calls of the transport below.

    def data_received(self, chunk: bytes | memoryview) -> None:
        if self._open and self._sink is not None:
            self._sink.data_received(chunk)
        else:
            self._hear(chunk)

    def eof_received(self) -> None:
        if self._open and self._sink is not None:
            self._sink.eof_received()
        else:
            self._hear(b"")

    def writable(self) -> None:
        if self._open and self._sink is not None:
            self._waiting = False
            self._sink.writable()
        else:
            self._tell_writable()

    def output_lost(self, cause: Exception) -> None:
        # Before there is a tunnel, the proxy may still say why; if not, connection_lost says it all.
        if self._open and self._sink is not None:
            self._sink.output_lost(cause)

    def connection_lost(self, cause: Exception | None) -> None:
        if self._aborted:
            cause = None
        elif self._failure is not None:
            cause = self._failure
        elif not self._open and cause is not None:
            cause = self._broken(cause)
        self._aborted = True
        self._pending.clear()
        if self._sink is not None:
            self._sink.connection_lost(cause)

    # Inside.

    @property
    def _open(self) -> bool:
        return self._opening is None

    def _hear(self, chunk: bytes | memoryview) -> None:
        """Take what the proxy says; b"" for the end."""
        if self._ended or self._opening is None:
            return
        try:
            early = self._opening.receive_data(chunk)
        except ProxyError as exc:
            self._failure = exc
            self._pending.clear()
            self._below.abort()
            return
        if early is not None:
            self._early = early
            self._begin()

    def _begin(self) -> None:
        """There is a tunnel."""
        self._opening = None
        if self._paused:
            self._below.pause_reading()
        if self._pending:
            pending = bytes(self._pending)
            self._pending.clear()
            self._below.write(pending)
        self._tell_writable()
        if self._eof_wanted and not self._ended:
            self._below.write_eof()
        self._hand_over_early()

    def _tell_writable(self) -> None:
        if self._waiting and not self.unsent and not self._ended and self._sink is not None:
            self._waiting = False
            self._sink.writable()

    def _hand_over_early(self) -> None:
        if self._early and not (self._paused or self._ended) and self._sink is not None:
            early, self._early = self._early, b""
            self._sink.data_received(early)

    def _broken(self, cause: Exception) -> Exception:
        error: Exception
        if isinstance(cause, TLSHandshakeError | ssl.SSLError):
            error = ProxyTLSError(self._proxy, str(cause))
            error.__cause__ = cause.__cause__ or cause
            error.hosts = getattr(cause, "hosts", ())
        else:
            error = ProxyError(f"the proxy {self._proxy} broke the connection: {text_of(cause)}")
            error.__cause__ = cause
        return error


_OF_TLS: Final[frozenset[Any]] = frozenset(
    value for name, value in vars(TLSAttribute).items() if not name.startswith("_")
)


# SOCKS

EVER: Final = 10 * 365 * 24 * 3600.0
"""Seconds that python-socks may take, which has a limit by default: that is for the caller to set."""


class _Connected:
    """Stands for a proxy in front of the proxy: python-socks chains them, and this one has connected."""

    def __init__(self, sock: Any) -> None:
        self._socket = sock

    async def connect(self, **_: object) -> Any:
        return self._socket


def require_socks() -> None:
    """Do nothing if python-socks is installed.

    :raises ImportError: it isn't
    """
    if find_spec("python_socks") is None:
        raise ImportError(
            "connecting through a SOCKS proxy takes python-socks: pip install 'anyio-ws[socks]'"
        )


async def connect_socks(
    sock: socket.socket,
    target: tuple[str, int],
    *,
    scheme: str,
    username: str | None,
    password: str | None,
    proxy: str,
) -> None:
    """Have the SOCKS proxy that *sock* is connected to connect to *target*, and *sock* with it.

    Where this raises, *sock* is closed. Cancelling closes it.

    :param scheme: with ``socks4`` and ``socks5`` names are looked up here, with ``socks4a`` and ``socks5h``
        by the proxy
    :param proxy: its name in errors
    :raises ProxyError: the proxy refuses, breaks the connection, or doesn't speak SOCKS
    :raises OSError: the target can't be looked up, or isn't one
    """
    import python_socks

    try:
        await _negotiate(sock, target, scheme, username, password)
    except BaseException as exc:
        sock.close()
        if isinstance(exc, python_socks.ProxyError):
            raise ProxyError(f"the proxy {proxy} didn't connect to {target[0]}: {exc}") from exc
        if isinstance(exc, ValueError):  # of IDNA, or longer than SOCKS can say
            raise OSError(f"{target[0]!r} can't be reached through SOCKS: {exc}") from exc
        if isinstance(exc, OSError) and not isinstance(exc, socket.gaierror):
            raise ProxyError(f"the proxy {proxy} broke the connection: {exc}") from exc
        raise


async def _negotiate(
    sock: socket.socket,
    target: tuple[str, int],
    scheme: str,
    username: str | None,
    password: str | None,
) -> None:
    from python_socks import ProxyError as Refusal
    from python_socks import ProxyType

    host, port = target
    kind = ProxyType.SOCKS4 if scheme.startswith("socks4") else ProxyType.SOCKS5
    if kind is ProxyType.SOCKS4 and ":" in host:  # python-socks would ask for it by name
        raise Refusal("SOCKS4 has no addresses of IPv6")
    rdns = scheme in ("socks4a", "socks5h")
    options = (kind, "-", 0, username, password, rdns)
    if on_trio():
        import trio
        from python_socks.async_.trio import Proxy as TrioProxy

        there: Any = _Connected(trio.socket.from_stdlib_socket(sock))
        await TrioProxy(*options, forward=there).connect(host, port, timeout=EVER)
    else:
        from python_socks.async_.asyncio import Proxy as AsyncioProxy

        there = _Connected(sock)
        await AsyncioProxy(*options, forward=there).connect(host, port, timeout=EVER)
