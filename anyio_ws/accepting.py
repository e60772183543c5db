"""The server's side of opening a connection: what is answered to a request, and who is asked about it.

A request that could be read is shown to these, in their order; the first who answers decides:

1. ``hosts``, whether it is for us at all;
2. ``process_request``, the option;
3. ``handle_http``, if the request doesn't ask for a WebSocket;
4. the handler's own ``process_request``, if it has one, as a router has: its paths are those of WebSockets;
5. the protocol, which accepts or rejects (RFC 6455, section 4.2);
6. whoever runs the server, which may be full (`Admission`).

``process_response`` sees every answer last. What a hook raises is answered with 500 and comes out as it is.
While a hook works the connection isn't read. Shutting down, and the end of ``open_timeout``, cancel it.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from email.utils import formatdate
from typing import Final, TypeVar, Unpack

import anyio
from anyio import TypedAttributeProvider
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSAttribute

from .connection import Connection
from .exceptions import InvalidHandshake, InvalidHeader
from .opening import ConnectionContext, check_handshake, handshake_message
from .options import (
    ProcessRequest,
    ResponseHeaders,
    ServerConfig,
    ServerOptions,
    check_additional,
    server_config,
)
from .sansio import (
    Headers,
    PerMessageDeflate,
    Request,
    Response,
    ServerExtensionFactory,
    ServerPerMessageDeflateFactory,
    ServerProtocol,
    State,
)
from .sansio.uri import same_origin
from .transports.dial import Connectable, over
from .transports.interrupts import let_interrupts_in
from .transports.sockets import peer_address
from .transports.tls import TLSEngine, TLSHandshakeError, secured
from .trust import is_known_host
from .websocket import WebSocket

__all__ = ["AcceptWebSocket", "Admission", "accept_websocket"]

SHUTTING_DOWN: Final = "The server is shutting down."

_T = TypeVar("_T")

Admission = Callable[["AcceptWebSocket"], Response | None]
"""Asked right before a connection is accepted: a response that refuses it, or None."""


def accept_websocket(
    stream: Connectable,
    *,
    config: ServerConfig | None = None,
    **options: Unpack[ServerOptions],
) -> AbstractAsyncContextManager[WebSocket]:
    """Be the server on any byte stream: ``async with accept_websocket(stream) as ws``.

    Entering starts TLS if ``ssl`` was given and performs the opening handshake, within ``open_timeout``. A
    request that can't be accepted is answered with the fitting HTTP status. Leaving, cancelling and what
    the block raises are as for `open_websocket`.

    :param stream: a connected socket, a byte stream of AnyIO or trio, or a pair ``(receive, send)`` of
        one-way streams; it is closed with the connection
    :param config: all options at once; the others override it
    :param options: see `ServerConfig`
    :raises TypeError: there is no such option
    :raises ValueError: an option's value makes no sense
    :raises InvalidHandshake: on entering: the request wasn't acceptable, a hook answered it, or it never came
    :raises OSError: on entering: TLS failed
    :raises TimeoutError: on entering: ``open_timeout`` expired
    """
    return AcceptWebSocket(stream, server_config(config, options))


class AcceptWebSocket(ConnectionContext):
    """See `accept_websocket`."""

    def __init__(
        self,
        stream: Connectable,
        config: ServerConfig,
        *,
        process_request: ProcessRequest | None = None,
        admission: Admission | None = None,
    ) -> None:
        """
        :param process_request: the handler's own
        :param admission: whether there is a place
        """
        super().__init__(config)
        self.stream: Final = stream
        """What it is to speak over; it takes it over when it is entered."""
        self._config = config
        self._process_request = process_request
        self._admission = admission
        self._given_up = False
        self._requested = False
        self._asking: anyio.CancelScope | None = None  # a hook
        self.hook_exc: Exception | None = None
        """What a hook raised, if one did."""
        self._protocol = ServerProtocol(
            origins=config.origins,
            extensions=_extensions(config),
            subprotocols=config.subprotocols,
            select_subprotocol=config.select_subprotocol,
            max_size=config.max_size,
            max_fragment_size=config.max_fragment_size,
            max_fragments=config.max_fragments,
            auto_pong=config.auto_pong,
            max_header_size=config.max_header_size,
            max_header_count=config.max_header_count,
            max_request_line=config.max_request_line,
            logger=config.logger,
        )
        self._protocol.remote_address = _peer_of(stream)

    @property
    def remote_address(self) -> object:
        """The client's, as far as it is known."""
        if self._connection is not None:
            self._connection.name_peer()
        return self._protocol.remote_address

    def log(
        self, level: int, message: str, *args: object, exc_info: BaseException | None = None
    ) -> None:
        """Log something about the connection, as `ServerProtocol.log`.

        :param message: the client's address goes in first, before *args*
        """
        self._protocol.log(level, message, self.remote_address, *args, exc_info=exc_info)

    def cause_of(self, exc: BaseException) -> int | str:
        """Why entering raised *exc*: `ServerStatistics.refused` has the causes."""
        answered = self._protocol.answered
        if answered not in (None, 101) and self._is_secured:
            return answered
        if isinstance(exc, TimeoutError):
            return "timeout"
        if isinstance(exc, TLSHandshakeError | ssl.SSLError):
            return "tls"
        if not isinstance(exc, Exception):
            return "cancelled"
        return "disconnected" if self.is_of_client(exc) else "error"

    @property
    def _is_secured(self) -> bool:
        """Whether an answer can have left: not before the end of TLS's handshake."""
        if self._connection is None:
            return False
        version = self._connection.transport.extra_attributes.get(TLSAttribute.tls_version)
        return version is None or version() is not None

    def is_of_client(self, exc: Exception) -> bool:
        """Whether *exc*, which entering raised, tells of the client, and of nothing that is wrong here."""
        return exc is not self.hook_exc and isinstance(exc, InvalidHandshake | OSError)

    def give_up(self) -> None:
        """Answer with 503 because the server shuts down, whatever was or will be asked.

        Not for a connection that is open.
        """
        self._given_up = True
        self._refuse(503, SHUTTING_DOWN)
        if self._asking is not None:
            self._asking.cancel()

    async def _connect(self) -> Connection:
        config = self._config
        engine = None if config.ssl is None else TLSEngine(config.ssl, server_side=True)
        return Connection(self._protocol, secured(await over(self.stream), engine), config)

    async def _shake_hands(self, connection: Connection) -> WebSocket:
        if self._given_up:
            self._refuse(503, SHUTTING_DOWN)
        try:
            request = await handshake_message(connection)
            assert isinstance(request, Request)
            self._requested = True
            ws = WebSocket(connection, url=request.path, request=request)
            try:
                ws.set_response(await self._respond(ws, request))
            finally:
                connection.after_handshake()
            check_handshake(connection)
        except Exception as exc:
            await self._reject(connection, exc)
            raise
        return ws

    def _last_words(self, exc: BaseException) -> None:
        if not isinstance(exc, Exception):
            self._refuse(503, SHUTTING_DOWN)
        elif isinstance(exc, TimeoutError) and self._requested:
            self._refuse(503, "This takes too long.")
        elif isinstance(exc, TimeoutError):
            self._refuse(408, "The request didn't come in time.")

    def _refuse(self, status: int, why: str) -> None:
        """Answer whatever was or will be asked, if there is a connection and nothing was answered yet."""
        connection = self._connection
        if connection is not None and self._can_respond:
            self._protocol.handshake_exc = InvalidHandshake(f"rejected with HTTP {status}: {why}")
            self._send(self._protocol.reject(status, f"{why}\n"))
            connection.after_handshake()

    async def _respond(self, ws: WebSocket, request: Request) -> Response:
        self._check_can_respond()
        try:
            response = await self._answer(ws, request)
            if self._config.process_response is not None:
                hook = self._config.process_response(ws, request, response)
                response = _checked(await self._ask(hook), response)
            self._send(response)
        except Exception as exc:
            if self._can_respond:
                self.hook_exc = exc
                self._send(self._protocol.reject(500, "Internal Server Error\n"))
            raise
        return response

    async def _answer(self, ws: WebSocket, request: Request) -> Response:
        host, hosts = request.headers.get("Host"), self._config.hosts
        if hosts is not None and not is_known_host(host, hosts):
            self._protocol.handshake_exc = InvalidHeader("Host", host, "it isn't among hosts")
            return self._protocol.reject(421, "This server doesn't answer for that host.\n")
        if self._config.process_request is not None:
            answer = await self._ask(self._config.process_request(ws, request))
            if answer is not None:
                return _checked(answer)
        handle_http = self._config.handle_http
        if handle_http is not None and not _asks_for_websocket(request):
            if _has_body(request):
                return self._protocol.reject(413, "Requests that have a body aren't accepted.\n")
            return _checked(await self._ask(handle_http(request)))
        if self._process_request is not None:
            answer = await self._ask(self._process_request(ws, request))
            if answer is not None:
                return _checked(answer)
        return self._accept(request)

    def _accept(self, request: Request) -> Response:
        if self._config.origins is None and not _from_here(request):
            self._protocol.origins = ()
        response = self._protocol.accept(request)
        if response.status_code != 101:
            return response
        refusal = None if self._admission is None else self._admission(self)
        if refusal is not None:
            return refusal
        given = self._config.additional_headers
        for name, value in _given_headers(given, request).raw_items():
            if name.lower() in ("date", "server"):
                response.headers[name] = value
            else:
                response.headers.add(name, value)
        return response

    @let_interrupts_in
    async def _ask(self, hook: Awaitable[_T]) -> _T:
        """Await what a hook has to say, unless the handshake is over before.

        :raises InvalidHandshake: it was
        """
        with anyio.CancelScope() as self._asking:
            try:
                answer = await hook
            except Exception as exc:
                self.hook_exc = exc
                raise
            finally:
                self._asking = None
            self._check_can_respond()
            return answer
        self._check_can_respond()
        raise AssertionError("only who has answered cancels a hook")

    @property
    def _can_respond(self) -> bool:
        protocol = self._protocol
        return protocol.state is State.CONNECTING and not protocol.input_over

    def _check_can_respond(self) -> None:
        if not self._can_respond:  # the client didn't wait for an answer; or we couldn't
            raise self._protocol.handshake_exc or InvalidHandshake("the connection has ended")

    def _send(self, response: Response) -> None:
        """Send *response*, with the headers that it needs and lacks."""
        headers, server = response.headers, self._config.server_header
        if response.status_code != 101:
            headers["Connection"] = "close"
            if response.status_code != 204:  # RFC 9110, 8.6
                headers["Content-Length"] = str(len(response.body))
        headers.setdefault("Date", formatdate(usegmt=True))
        if server is not None:
            headers.setdefault("Server", server)
        self._protocol.send_response(response)


def _peer_of(stream: Connectable) -> object:
    """Who is at the other end, for a log: not known of every stream."""
    if isinstance(stream, socket.socket):
        return peer_address(stream)
    if isinstance(stream, TypedAttributeProvider):
        return stream.extra(SocketAttribute.remote_address, None)
    return None


def _extensions(config: ServerConfig) -> list[ServerExtensionFactory]:
    extensions = list(config.extensions or ())
    if config.compression and not any(one.name == PerMessageDeflate.name for one in extensions):
        extensions.append(ServerPerMessageDeflateFactory())
    return extensions


def _from_here(request: Request) -> bool:
    """Whether the request comes from a page of this very host, or from no page at all."""
    origins = request.headers.get_all("Origin")
    return not origins or same_origin(origins[0], request.headers.get("Host", ""))


def _asks_for_websocket(request: Request) -> bool:
    """Whether the request is for a WebSocket connection, which it may still be denied."""
    names = (token.strip().lower() for token in request.headers.get("Upgrade", "").split(","))
    return "websocket" in names


def _has_body(request: Request) -> bool:
    headers = request.headers
    return "Transfer-Encoding" in headers or headers.get("Content-Length", "0") != "0"


def _given_headers(given: ResponseHeaders, request: Request) -> Headers:
    headers = Headers(given(request) if callable(given) else given or {})
    check_additional(headers)
    return headers


def _checked(answer: object, before: Response | None = None) -> Response:
    """What a hook returned: a response of its own, or None for the one that it was shown.

    :raises TypeError: it is neither
    :raises ValueError: it is none that could be sent
    """
    if answer is None and before is not None:
        return before
    if not isinstance(answer, Response):
        raise TypeError(f"a hook must return a Response, not {answer!r}")
    if answer is not before and not 200 <= answer.status_code <= 999:
        raise ValueError(
            f"a hook can't answer with the status {answer.status_code}; to accept, it returns None"
        )
    return answer
