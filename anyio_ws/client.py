"""`open_websocket`: the client."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from types import TracebackType
from typing import NoReturn, Unpack

import anyio

from .connection import Connection
from .cookies import cookie_header, take_cookies
from .dialling import make_transport
from .errors import connect_error
from .exceptions import ConnectError, InvalidStatus
from .opening import ConnectionContext, check_handshake, deadline_in, handshake_message
from .options import ClientConfig, ClientOptions, client_config
from .proxies import is_named
from .redirects import Hop, next_hop
from .sansio import (
    ClientExtensionFactory,
    ClientPerMessageDeflateFactory,
    ClientProtocol,
    Headers,
    PerMessageDeflate,
    Response,
    parse_uri,
)
from .sansio.headers import build_authority
from .sansio.masking import checked_keys
from .sansio.uri import without_credentials
from .transports.base import Transport
from .transports.dial import Connectable
from .websocket import WebSocket

__all__ = ["open_websocket"]


def open_websocket(
    url: str,
    *,
    stream: Connectable | None = None,
    unix_path: str | os.PathLike[str] | None = None,
    config: ClientConfig | None = None,
    **options: Unpack[ClientOptions],
) -> AbstractAsyncContextManager[WebSocket]:
    """Connect to *url*: ``async with open_websocket("wss://example.org/feed") as ws``.

    Entering dials, through a proxy if there is one, starts TLS for ``wss``, and performs the opening
    handshake, all within ``open_timeout``; cancelling it closes whatever was opened. Leaving the block closes
    the connection: with 1000 normally, with 1011 by an `Exception`, within ``close_timeout``; by cancellation
    with 1001, as far as that takes no waiting, and at once. What the block raises comes out as that very
    object.

    Redirects are followed, up to ``max_redirects``, each by a connection of its own, within the same
    ``open_timeout``; the connection's ``url``, ``request`` and ``response`` are the last ones.

    :param url: a ``ws://`` or ``wss://`` URI; or ``ws+unix:///path/of/the/socket:/path?query`` or
        ``wss+unix``, see `parse_uri <anyio_ws.sansio.parse_uri>`
    :param stream: speak over this instead of dialling: a connected socket, a byte stream of AnyIO or trio, or
        a pair ``(receive, send)`` of one-way streams. It is closed with the connection. For ``wss`` TLS is
        started on it, unless it has TLS already
    :param unix_path: connect to this Unix socket; the URI only fills the request in
    :param config: all options at once; the others override it
    :param options: see `ClientConfig`
    :raises InvalidURI: *url* isn't a WebSocket URI
    :raises TypeError: *url* isn't a string; there is no such option; two of *stream*, *unix_path*, the URI of
        a Unix socket and a proxy that is named; one of the first three and ``local_address``, or *stream* and
        ``socket_options``
    :raises ValueError: an option's value makes no sense; ``ssl`` for a ``ws://`` URI; on entering:
        *stream* is a socket that isn't connected
    :raises ConnectError: on entering: the name can't be resolved, the connection was refused, TLS failed
    :raises ProxyError: on entering: the proxy refused, or failed, to connect to the server
    :raises ImportError: on entering: it is a SOCKS proxy, and the extra ``socks`` isn't installed
    :raises InvalidStatus: on entering: the server answered with another status than 101, or a redirect isn't
        followed, whose reason it tells. If the server stops within the body, that is after ``open_timeout``
    :raises InvalidHandshake: on entering: the server's answer isn't acceptable
    :raises TimeoutError: on entering: ``open_timeout`` expired
    """
    uri = parse_uri(url)
    merged = client_config(config, options)
    if merged.ssl is not None and not uri.secure:
        shown = without_credentials(url)
        raise ValueError(f"ssl was given, but {shown!r} is a connection without TLS; use wss://")
    if stream is not None and unix_path is not None:
        raise TypeError("stream and unix_path exclude each other")
    if uri.unix_path is not None:
        if stream is not None or unix_path is not None:
            raise TypeError("the URI of a Unix socket excludes stream and unix_path")
        unix_path = uri.unix_path
    if (stream is not None or unix_path is not None) and is_named(merged.proxy):
        raise TypeError("proxy is for dialling, which stream and Unix sockets exclude")
    if stream is not None and merged.socket_options:
        raise TypeError("socket_options are for a socket that is made here: stream excludes them")
    if merged.local_address is not None and not (stream is None and unix_path is None):
        raise TypeError("stream and Unix sockets exclude local_address")
    return _OpenWebSocket(Hop(url, uri, merged), stream, unix_path)


def _extensions(config: ClientConfig) -> list[ClientExtensionFactory]:
    extensions = list(config.extensions or ())
    if config.compression and not any(one.name == PerMessageDeflate.name for one in extensions):
        extensions.append(ClientPerMessageDeflateFactory())
    return extensions


class _OpenWebSocket:
    """Opens a connection by as many attempts as there are redirects; the last one's block is the user's."""

    def __init__(
        self, hop: Hop, stream: Connectable | None, unix_path: str | os.PathLike[str] | None
    ) -> None:
        self._stream = stream
        self._unix_path = unix_path
        self._entered = False
        self._hop = hop
        self._attempt = self._attempt_at(hop)  # which finds what is wrong with its options

    async def __aenter__(self) -> WebSocket:
        if self._entered:
            raise RuntimeError("a connection's context manager can be entered only once")
        self._entered = True
        deadline = deadline_in(self._hop.config.open_timeout)
        while True:
            self._attempt.deadline = deadline
            try:
                return await self._attempt.__aenter__()
            except InvalidStatus as exc:
                found = next_hop(self._hop, exc.response, stays=self._stays)
                if found is None:
                    raise
                if isinstance(found, str):
                    raise InvalidStatus(exc.response, found) from None
            with anyio.CancelScope(deadline=deadline):
                await self._attempt.wait_lost()
            self._hop = found
            self._attempt = self._attempt_at(found)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        return await self._attempt.__aexit__(exc_type, exc, traceback)

    @property
    def _stays(self) -> str | None:
        """What keeps it from leading elsewhere."""
        if self._stream is not None:
            return "stream"
        return None if self._unix_path is None else "Unix socket"

    def _attempt_at(self, hop: Hop) -> _Attempt:
        unix_path = self._unix_path
        host, port = hop.uri.host, hop.uri.port
        where = build_authority(host, port) if unix_path is None else os.fspath(unix_path)
        connect = partial(make_transport, hop.uri, self._stream, unix_path, hop.config)
        return _Attempt(hop, where, connect)


class _Attempt(ConnectionContext):
    """Opens a connection to one server, and closes it."""

    def __init__(
        self, hop: Hop, where: str, dial: Callable[[ClientProtocol], Awaitable[Transport]]
    ) -> None:
        config = hop.config
        super().__init__(config)
        self._hop = hop
        self._where = where
        self._dial = dial
        self._config = config
        self._protocol = ClientProtocol(
            hop.uri,
            origin=config.origin,
            extensions=_extensions(config),
            subprotocols=config.subprotocols,
            max_size=config.max_size,
            max_fragment_size=config.max_fragment_size,
            max_fragments=config.max_fragments,
            auto_pong=config.auto_pong,
            max_header_size=config.max_header_size,
            max_header_count=config.max_header_count,
            logger=config.logger,
        )
        if config.insecure_masking_key is not None:
            self._protocol.masking_key = checked_keys(config.insecure_masking_key)

    async def _connect(self) -> Connection:
        try:
            return Connection(self._protocol, await self._dial(self._protocol), self._config)
        except ConnectError:  # of the proxy
            raise
        except OSError as exc:
            self._raise_unreachable(exc)

    async def _shake_hands(self, connection: Connection) -> WebSocket:
        try:
            return await self._negotiate(connection)
        except OSError as exc:  # of TLS; InvalidHandshake is none
            self._raise_unreachable(exc)

    def _overdue(self) -> Exception:
        if self._connection is not None:
            # A refusal says more than that its body didn't come in time.
            self._protocol.receive_eof()
            exc = self._protocol.handshake_exc
            if isinstance(exc, InvalidStatus):
                self._take_cookies(exc.response)
                return exc
        return super()._overdue()

    def _raise_unreachable(self, exc: OSError) -> NoReturn:
        error = connect_error(exc, self._where)
        raise error from error.__cause__

    async def _negotiate(self, connection: Connection) -> WebSocket:
        protocol = self._protocol
        request = protocol.connect()
        if self._config.user_agent_header is not None:
            request.headers["User-Agent"] = self._config.user_agent_header
        cookies = cookie_header(self._config.cookies, self._hop.uri, self._hop.first)
        if cookies is not None:
            request.headers["Cookie"] = cookies
        additional = Headers(self._config.additional_headers or {})
        for name in additional:
            request.headers.pop(name, None)
        for name, value in additional.raw_items():
            request.headers.add(name, value)
        protocol.send_request(request)
        connection.flush_protocol()
        response = await handshake_message(connection)
        assert isinstance(response, Response)
        self._take_cookies(response)
        check_handshake(connection)
        connection.after_handshake()
        return WebSocket(connection, url=self._hop.url, request=request, response=response)

    def _take_cookies(self, response: Response) -> None:
        take_cookies(self._config.cookies, response, self._hop.uri, self._hop.first)
