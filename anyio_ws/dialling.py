"""From a URI to a transport: where a client connects to, through which proxy, and with TLS.

For tests there is one way around the network, `instead_of_dialling`, and `make_transport` is the only place
that looks there.
"""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from .errors import connect_error
from .options import ClientConfig
from .proxies import proxy_for
from .sansio import ClientProtocol, WebSocketURI
from .sansio.connect import ConnectProtocol
from .sansio.uri import ProxyURI
from .transports.base import Transport
from .transports.dial import Connectable, dial, dial_socket, dial_unix, over, over_dialled
from .transports.proxy import TunnelTransport, connect_socks, require_socks
from .transports.tls import TLSEngine, secured

__all__ = ["Nearby", "Origin", "instead_of_dialling", "make_transport"]

Origin: TypeAlias = tuple[bool, str, int, str | None]
"""See `WebSocketURI.origin`."""


class Nearby(NamedTuple):
    """A server in this process."""

    connect: Callable[[], Connectable]
    """Returns the client's end of a new connection, or raises `OSError`."""
    has_tls: bool
    """Whether it speaks TLS. If not, neither does who connects to it by a ``wss`` URI."""


instead_of_dialling: Final[ContextVar[Mapping[Origin, Nearby]]] = ContextVar(
    "instead_of_dialling", default=MappingProxyType({})
)
"""Servers that are reached without a network, in this task and in those that it starts.

A mapping is never changed, only replaced for the length of a block. `anyio_ws.testing` does that.
"""


async def make_transport(
    uri: WebSocketURI,
    stream: Connectable | None,
    unix_path: str | os.PathLike[str] | None,
    config: ClientConfig,
    protocol: ClientProtocol,
) -> Transport:
    """Reach the server of *uri*, over *stream* or at *unix_path* if one is given. Cancelling closes it.

    Without them, one that is in `instead_of_dialling` is not dialled.

    :raises OSError: it can't be reached
    :raises ProxyError: a proxy refused, or failed, to connect to it
    :raises ImportError: it takes python-socks, which isn't installed
    """
    nearby = None
    if stream is None and unix_path is None:
        nearby = instead_of_dialling.get().get(uri.origin)
    engine = None
    if uri.secure and (nearby is None or nearby.has_tls):
        context = config.ssl or _default_context()
        engine = _engine(context, config.server_hostname or uri.host)
    if nearby is not None:
        stream = nearby.connect()
    if stream is not None:
        transport = await over(stream)
    elif unix_path is not None:
        transport = await dial_unix(unix_path, socket_options=config.socket_options)
    elif (proxy := await proxy_for(uri, config.proxy)) is not None:
        protocol.log(logging.DEBUG, "connecting through the proxy %s", proxy)
        transport = await _dial_through(proxy, uri, config)
    else:
        transport = await dial(
            uri.host,
            uri.port,
            local_address=config.local_address,
            socket_options=config.socket_options,
        )
    return secured(transport, engine)


async def _dial_through(proxy: ProxyURI, uri: WebSocketURI, config: ClientConfig) -> Transport:
    """Connect to *proxy*, and have it connect to the server; the filter does that, where there is one."""
    asking = ConnectProtocol(
        proxy,
        uri.host,
        uri.port,
        user_agent=config.user_agent_header,
        max_header_size=config.max_header_size,
        max_header_count=config.max_header_count,
    )
    engine = None
    if proxy.scheme not in ("http", "https"):
        require_socks()
    try:
        if proxy.scheme == "https":
            engine = _engine(config.proxy_ssl or _default_context(), proxy.host)
        sock = await dial_socket(
            proxy.host,
            proxy.port,
            local_address=config.local_address,
            socket_options=config.socket_options,
        )
    except OSError as exc:
        error = connect_error(exc, f"the proxy {proxy}")
        raise error from error.__cause__
    if proxy.scheme not in ("http", "https"):
        await connect_socks(
            sock,
            (uri.host, uri.port),
            scheme=proxy.scheme,
            username=proxy.username,
            password=proxy.password,
            proxy=str(proxy),
        )
        return await over_dialled(sock, config.socket_options)
    transport = await over_dialled(sock, config.socket_options)
    return TunnelTransport(secured(transport, engine), asking, str(proxy))


def _engine(context: ssl.SSLContext, hostname: str) -> TLSEngine:
    """
    :raises OSError: *hostname* isn't one, which only IDNA finds out: be it a redirect's
    """
    try:
        return TLSEngine(context, server_side=False, hostname=hostname)
    except UnicodeError as exc:
        raise OSError(f"{hostname!r} isn't a valid host name: {exc}") from exc


@cache
def _default_context() -> ssl.SSLContext:
    """What checks certificates against the system's authorities: loading those takes a while."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
