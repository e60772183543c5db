"""`open_websocket`: the client."""

from __future__ import annotations

import ssl
from contextlib import AbstractAsyncContextManager
from typing import Unpack

from .connection import Connection
from .errors import connect_error
from .opening import ConnectionContext, check_handshake, handshake_message
from .options import ClientConfig, ClientOptions, client_config
from .sansio import ClientProtocol, Headers, Response, WebSocketURI, parse_uri
from .transports.base import Transport
from .transports.dial import dial, wrap
from .transports.stream import AnyByteStream
from .websocket import WebSocket

__all__ = ["open_websocket"]


def open_websocket(
    url: str,
    *,
    stream: AnyByteStream | None = None,
    config: ClientConfig | None = None,
    **options: Unpack[ClientOptions],
) -> AbstractAsyncContextManager[WebSocket]:
    """Connect to *url*: ``async with open_websocket("wss://example.org/feed") as ws``.

    Entering dials, starts TLS for ``wss``, and performs the opening handshake, all within
    ``open_timeout``; cancelling it closes whatever was opened. Leaving the block closes the connection:
    with 1000 normally, with 1011 by an `Exception`, within ``close_timeout``; by cancellation at once. What
    the block raises comes out as that very object.

    :param url: a ``ws://`` or ``wss://`` URI
    :param stream: speak over this instead of dialling: a byte stream of AnyIO or trio, or a pair ``(receive,
        send)`` of one-way streams. It is closed with the connection. For ``wss`` TLS is started on it, unless
        it has TLS already
    :param config: all options at once; the others override it
    :param options: see `ClientConfig`
    :raises InvalidURI: *url* isn't a WebSocket URI
    :raises TypeError: there is no such option
    :raises ValueError: an option's value makes no sense; ``ssl`` for a ``ws://`` URI
    :raises ConnectError: on entering: the name can't be resolved, the connection was refused, TLS failed
    :raises InvalidStatus: on entering: the server answered with another status than 101
    :raises InvalidHandshake: on entering: the server's answer isn't acceptable
    :raises TimeoutError: on entering: ``open_timeout`` expired
    """
    uri = parse_uri(url)
    merged = client_config(config, options)
    if merged.ssl is not None and not uri.secure:
        raise ValueError(f"ssl was given, but {url!r} is a connection without TLS; use wss://")
    return _OpenWebSocket(url, uri, stream, merged)


class _OpenWebSocket(ConnectionContext):
    def __init__(
        self, url: str, uri: WebSocketURI, stream: AnyByteStream | None, config: ClientConfig
    ) -> None:
        super().__init__(config)
        self._url = url
        self._uri = uri
        self._stream = stream
        self._config = config
        self._protocol = ClientProtocol(
            uri,
            origin=config.origin,
            extensions=config.extensions,
            subprotocols=config.subprotocols,
            max_size=config.max_size,
            logger=config.logger,
        )

    async def _open(self) -> WebSocket:
        config, protocol = self._config, self._protocol
        connection = Connection(protocol, await self._dial(), config)
        self._run(connection)
        request = protocol.connect()
        if config.user_agent_header is not None:
            request.headers["User-Agent"] = config.user_agent_header
        additional = Headers(config.additional_headers or {})
        for name in additional:
            request.headers.pop(name, None)
        for name, value in additional.raw_items():
            request.headers.add(name, value)
        protocol.send_request(request)
        connection.flush_protocol()
        response = await handshake_message(connection)
        check_handshake(connection)
        assert isinstance(response, Response)
        connection.after_handshake()
        return WebSocket(connection, url=self._url, request=request, response=response)

    async def _dial(self) -> Transport:
        uri, config = self._uri, self._config
        context = None
        if uri.secure:
            context = config.ssl or ssl.create_default_context()
        hostname = config.server_hostname or uri.host
        try:
            if self._stream is not None:
                return await wrap(self._stream, context, server_side=False, hostname=hostname)
            return await dial(uri.host, uri.port, context=context, server_hostname=hostname)
        except OSError as exc:
            raise connect_error(exc, uri.host, uri.port) from exc
