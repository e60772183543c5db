"""Every option, once: its name and type, its default, and what makes a value invalid.

A function takes ``**options: Unpack[ClientOptions]`` (or Server) and ``config``, and hands both to
`client_config` or `server_config`. The frozen config holds the defaults; the typed dicts only repeat
the names for type checkers (``tests/test_options.py`` holds the two together).
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import inspect
import logging
import math
import re
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias, TypedDict, TypeVar, cast

from .cookies import Cookies, checked_cookies
from .json_codecs import JSONOption, check_codec
from .observer import ServerObserver
from .proxies import ProxyOption, known_proxy, needs_tls
from .sansio import (
    ClientExtensionFactory,
    Headers,
    Request,
    Response,
    ServerExtensionFactory,
    ServerProtocol,
)
from .sansio.headers import HeadersLike
from .sansio.http import MAX_HEADER_COUNT, MAX_HEADER_SIZE, MAX_REQUEST_LINE
from .sansio.messages import MAX_FRAGMENTS
from .transports.sockets import SocketOption
from .trust import TrustedProxy, acceptable_origins, known_hosts, known_proxies

__all__ = [
    "ClientConfig",
    "ClientOptions",
    "CommonConfig",
    "CommonOptions",
    "HandleHTTP",
    "HandlerErrorHook",
    "OnHandlerError",
    "ProcessRequest",
    "ProcessResponse",
    "ResponseHeaders",
    "ServerConfig",
    "ServerOptions",
    "check_additional",
    "check_async",
    "client_config",
    "server_config",
]


if TYPE_CHECKING:
    from .websocket import WebSocket

_NOT_AT_ONCE: Final = (
    *("ping_interval", "ping_timeout", "write_timeout"),
    *("max_lifetime", "idle_timeout"),
)

_CALLED_ELSEWHERE: Final = {
    "agent": "user_agent_header",
    "autoping": "auto_pong",
    "connect_timeout": "open_timeout",
    "cookie": "cookies",
    "disconnect_timeout": "close_timeout",
    "extra_headers": "additional_headers",
    "get_mask_key": "insecure_masking_key",
    "header": "additional_headers",
    "headers": "additional_headers",
    "heartbeat": "ping_interval",
    "http_proxy_host": "proxy",
    "local_addr": "local_address",
    "max_message_size": "max_size",
    "max_msg_size": "max_size",
    "message_queue_size": "max_queue",
    "ping_rate": "ping_interval",
    "protocols": "subprotocols",
    "proxies": "proxy",
    "redirect_limit": "max_redirects",
    "sockopt": "socket_options",
    "ssl_context": "ssl",
    "ssl_verify": "ssl",
    "sslopt": "ssl",
    "timeout": "open_timeout",
    "use_ssl": "ssl",
    "verify_ssl": "ssl",
    "writer_limit": "write_limit",
}
"""Names that other libraries have for options of ours, or that come to mind."""

_OF_THE_HANDSHAKE: Final = {
    "connection",
    "content-length",
    "sec-websocket-accept",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "transfer-encoding",
    "upgrade",
}


class HandlerErrorHook(Protocol):
    """An async function that is told what a handler raised."""

    def __call__(self, ws: WebSocket, exc: Exception, /) -> Awaitable[object]:
        """Called after *exc* was logged, when the connection *ws* is closed; what it raises is logged."""
        ...


class ProcessRequest(Protocol):
    """An async function that may answer a request in place of the server."""

    def __call__(self, ws: WebSocket, request: Request, /) -> Awaitable[Response | None]:
        """Return a response that isn't a WebSocket's, or None to go on."""
        ...


class ProcessResponse(Protocol):
    """An async function that may change the answer to a request, or answer otherwise."""

    def __call__(
        self, ws: WebSocket, request: Request, response: Response, /
    ) -> Awaitable[Response | None]:
        """Change *response* and return None; or return another response, which refuses the connection."""
        ...


class HandleHTTP(Protocol):
    """An async function that answers requests which don't ask for a WebSocket."""

    def __call__(self, request: Request, /) -> Awaitable[Response]:
        """Return the response."""
        ...


ResponseHeaders: TypeAlias = HeadersLike | Callable[[Request], HeadersLike] | None
"""See `ServerConfig.additional_headers`."""

OnHandlerError: TypeAlias = Literal["log", "raise"] | HandlerErrorHook
"""See `ServerConfig.on_handler_error`."""


class CommonOptions(TypedDict, total=False):
    """What both sides can be given; see `CommonConfig`."""

    subprotocols: Sequence[str] | None
    open_timeout: float | None
    close_timeout: float | None
    ping_interval: float | None
    ping_timeout: float | None
    write_timeout: float | None
    max_lifetime: float | None
    idle_timeout: float | None
    max_size: int | None
    max_fragment_size: int | None
    max_fragments: int
    auto_pong: bool
    max_header_size: int
    max_header_count: int
    max_queue: int
    read_limit: int
    write_limit: int
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] | None
    ssl: ssl_module.SSLContext | None
    compression: Literal["deflate"] | None
    json: JSONOption


class ClientOptions(CommonOptions, total=False):
    """What a client can be given; see `ClientConfig`."""

    origin: str | None
    extensions: Sequence[ClientExtensionFactory] | None
    additional_headers: HeadersLike | None
    user_agent_header: str | None
    server_hostname: str | None
    local_address: tuple[str, int] | None
    proxy: ProxyOption
    proxy_ssl: ssl_module.SSLContext | None
    socket_options: Sequence[SocketOption]
    cookies: Cookies
    max_redirects: int
    insecure_masking_key: Callable[[], bytes] | None


class ServerOptions(CommonOptions, total=False):
    """What a server can be given; see `ServerConfig`."""

    origins: Sequence[str | re.Pattern[str] | None] | None
    hosts: Sequence[str | re.Pattern[str]] | None
    trusted_proxies: Sequence[TrustedProxy]
    extensions: Sequence[ServerExtensionFactory] | None
    select_subprotocol: Callable[[ServerProtocol, Sequence[str]], str | None] | None
    process_request: ProcessRequest | None
    process_response: ProcessResponse | None
    handle_http: HandleHTTP | None
    additional_headers: ResponseHeaders
    server_header: str | None
    max_request_line: int
    backlog: int
    reuse_port: bool
    max_connections: int | None
    max_handshakes: int | None
    on_handler_error: OnHandlerError
    observer: ServerObserver | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonConfig:
    """The options of both sides. Times are seconds, sizes bytes; a timeout of None never expires."""

    subprotocols: Sequence[str] | None = None
    """In order of preference."""
    open_timeout: float | None = 10.0
    """For everything until the connection is open: dialling, TLS, the opening handshake."""
    close_timeout: float | None = 10.0
    """For the closing handshake and the end of the TCP connection; then the connection is aborted."""
    ping_interval: float | None = 20.0
    """Silence of the peer after which it is pinged; None for no pings."""
    ping_timeout: float | None = 20.0
    """For the peer to send anything after it was pinged; then the connection has failed. The clock starts
    when the ping has left, and stands still while reading is paused because messages wait to be received.
    None for no limit."""
    write_timeout: float | None = None
    """For output that waits to make progress, before the connection has failed. By default TCP's own limit
    decides: a peer that takes nothing may just be slow."""
    max_lifetime: float | None = None
    """From when it was opened until the connection is closed with 1001. Nothing can be sent then; what has
    arrived can be received. If the peer doesn't answer within ``close_timeout``, it is aborted."""
    idle_timeout: float | None = None
    """Without a message in either direction, until the connection is closed as after ``max_lifetime``. Pings
    are no messages; those that wait to be received count, and so do the bytes of one that is on its way. That
    is noticed late by a quarter of the time, at most."""
    max_size: int | None = 2**20
    """Of an incoming message, fragments together; a larger one fails the connection with 1009."""
    max_fragment_size: int | None = None
    """Of one frame of an incoming message; a larger one fails the connection with 1009. None: as large as
    `max_size` lets it be."""
    max_fragments: int = MAX_FRAGMENTS
    """Frames that an incoming message may come in, empty ones counted; more fail the connection with 1008."""
    auto_pong: bool = True
    """Whether pings are answered. If not, that is up to you: they are among `WebSocket.events`, and
    `WebSocket.send_pong` answers one. Outside of such a block none is."""
    max_header_size: int = MAX_HEADER_SIZE
    """Of the handshake request, or of the response without its body: first line and header fields. A larger
    request is answered with 431; a larger response is an `InvalidMessage`."""
    max_header_count: int = MAX_HEADER_COUNT
    """Header fields that it may have; treated as `max_header_size`."""
    max_queue: int = 512
    """Finished messages that wait to be received before reading pauses."""
    read_limit: int = 2**16
    """Bytes of finished messages that wait to be received before reading pauses."""
    write_limit: int = 2**16
    """Bytes that wait to leave before sending waits."""
    logger: logging.Logger | logging.LoggerAdapter[logging.Logger] | None = None
    """Instead of ``anyio_ws.client`` or ``anyio_ws.server``."""
    ssl: ssl_module.SSLContext | None = None
    """For TLS. A client uses a default context where none is given."""
    compression: Literal["deflate"] | None = "deflate"
    """Offer, or accept, permessage-deflate (RFC 7692) with settings that cost little memory; for others put
    a factory of your own into ``extensions``. None: no compression."""
    json: JSONOption = "stdlib"
    """Who encodes what `WebSocket.send_json` sends, and decodes what `WebSocket.receive_json` receives: the
    standard library, ``"msgspec"``, ``"orjson"``, or a `JSONCodec` of your own. It's a `ModuleNotFoundError`
    if that isn't installed."""

    def __post_init__(self) -> None:
        for name in ("open_timeout", "close_timeout"):
            seconds = getattr(self, name)
            if seconds is not None and not (_is_number(seconds) and seconds >= 0):
                raise ValueError(f"{name} must be None or seconds, at least 0; got {seconds!r}")
        for name in _NOT_AT_ONCE:
            seconds = getattr(self, name)
            if seconds is not None and not (_is_number(seconds) and seconds > 0):
                raise ValueError(f"{name} must be None or seconds, more than 0; got {seconds!r}")
        for name in ("max_size", "max_fragment_size"):
            size = getattr(self, name)
            if size is not None and not (isinstance(size, int) and size >= 1):
                raise ValueError(f"{name} must be None or bytes, at least 1; got {size!r}")
        _check_amounts(self, max_fragments=1, max_queue=1, read_limit=1, write_limit=0)
        _check_amounts(self, max_header_size=1, max_header_count=1)
        if isinstance(self.subprotocols, str):
            raise TypeError(
                f"subprotocols must be a sequence of strings, not {self.subprotocols!r}"
            )
        compression: object = self.compression
        if compression not in (None, "deflate"):
            raise ValueError(f'compression must be None or "deflate", not {compression!r}')
        _check_context(self, "ssl")
        check_codec(self.json)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientConfig(CommonConfig):
    """The options of a client."""

    origin: str | None = None
    """The Origin header; None for none."""
    extensions: Sequence[ClientExtensionFactory] | None = None
    """To offer, in order of preference."""
    additional_headers: HeadersLike | None = field(default=None, repr=False)  # they may be secrets
    """Headers to add to the handshake request; one that the handshake sets is replaced."""
    cookies: Cookies = field(default=None, repr=False)
    """To send: a mapping, of values as they stand in the Cookie header; or a jar of ``http.cookiejar``, which
    decides by the URL, taken as that of HTTP, and is told what every response sets, be it a refusal. A Cookie
    header in ``additional_headers`` goes before both."""
    user_agent_header: str | None = "anyio-ws"
    """The User-Agent header; None for none."""
    max_redirects: int = 5
    """Redirects to follow, one after the other; 0 for none. To another origin (scheme, host, port) one takes
    along neither the URL's credentials, a mapping of cookies nor ``server_hostname``, nor Authorization,
    Cookie, Host and Proxy-Authorization of ``additional_headers``; the other headers and a certificate of
    ``ssl`` go along. None is followed from wss to ws, over ``stream``, or away from a Unix socket."""
    server_hostname: str | None = None
    """The name to check the server's certificate against, instead of the URI's host."""
    local_address: tuple[str, int] | None = None
    """``(host, port)`` to connect from, of this machine; port 0 is any."""
    proxy: ProxyOption = field(default=True, repr=False)  # it may have a password
    """The proxy to connect through. True: what the environment says, or the system's settings, never for this
    machine itself. A URL ``scheme://user:password@host:port``: ``http`` or ``https`` for an HTTP proxy,
    ``socks4a`` or ``socks5h`` for a SOCKS proxy that looks names up, ``socks4`` or ``socks5`` to look them up
    here. A mapping of such URLs by the server's scheme, ``ws`` or ``wss``; ``http`` and ``https`` stand for
    these, ``all`` for both. None: none."""
    proxy_ssl: ssl_module.SSLContext | None = None
    """For TLS to an ``https`` proxy. By default its certificate is checked against its host's name."""
    socket_options: Sequence[SocketOption] = ()
    """``(level, option, value)``, as `socket.socket.setsockopt` takes them, to set in this order before the
    socket connects. One that the operating system refuses is a `ConnectError` that names it."""
    insecure_masking_key: Callable[[], bytes] | None = None
    """Insecure: a plain function that returns the masking key of each frame, 4 bytes, in place of what nobody
    can predict; ``lambda: bytes(4)`` leaves payloads readable in a capture. Whoever chooses what is sent can
    then make a proxy on the way take it for HTTP (RFC 6455, section 10.3). If it raises, or returns something
    else, which is a `ValueError`, so does `WebSocket.send`, and nothing was sent; Ping, Pong and Close are
    sent with a key of ours, and that is logged."""

    def __post_init__(self) -> None:
        CommonConfig.__post_init__(self)
        _check_amounts(self, max_redirects=0)
        # Raises what is wrong before anything is dialled; and an iterator can be read only once.
        _check_header("Origin", self.origin)
        _check_header("User-Agent", self.user_agent_header)
        key: object = self.insecure_masking_key
        if key is not None and (not callable(key) or inspect.iscoroutinefunction(key)):
            raise TypeError(f"insecure_masking_key must be a plain function, not {key!r}")
        object.__setattr__(self, "additional_headers", Headers(self.additional_headers or {}))
        object.__setattr__(self, "cookies", checked_cookies(self.cookies))
        _check_local_address(self.local_address)
        object.__setattr__(self, "socket_options", _checked_options(self.socket_options))
        object.__setattr__(self, "proxy", known_proxy(self.proxy))
        _check_context(self, "proxy_ssl")
        if self.proxy_ssl is not None and not needs_tls(self.proxy):
            raise ValueError("proxy_ssl was given, but proxy has no https:// URL")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig(CommonConfig):
    """The options of a server."""

    origins: Sequence[str | re.Pattern[str] | None] | None = None
    """Acceptable Origin headers: strings, and compiled patterns that must match all of it; None among them
    admits a request without one. By default an Origin that is present must match the Host header: other
    sites' scripts can't connect."""
    hosts: Sequence[str | re.Pattern[str]] | None = None
    """Host headers that are ours; a request with another, or with none, is answered with 421 before any hook
    is asked. Names and addresses, in any case; with a port, that port only; ``*.example.org`` for what is
    below it; compiled patterns, which must match the whole name in lower case, without the port. Against DNS
    rebinding, for servers in a private network or on a developer's machine. None: any."""
    trusted_proxies: Sequence[TrustedProxy] = ()
    """Whose X-Forwarded-For is believed, for `WebSocket.client_address`: addresses and networks, as strings
    or of ``ipaddress``, and ``"unix"`` for whoever connects to a Unix socket. By default nobody's."""
    extensions: Sequence[ServerExtensionFactory] | None = None
    """Supported, in the order in which they are tried."""
    select_subprotocol: Callable[[ServerProtocol, Sequence[str]], str | None] | None = None
    """Chooses among what the client offers, instead of `ServerProtocol.select_subprotocol`."""
    process_request: ProcessRequest | None = None
    """An async function that is shown each request before anything is decided, and may answer it: a health
    check, say, or who may connect. The connection isn't open yet, but its request and addresses are known."""
    process_response: ProcessResponse | None = None
    """An async function that is shown each response to a request that could be read, and may change it."""
    handle_http: HandleHTTP | None = None
    """An async function that answers the requests, without a body, which don't ask for a WebSocket. None:
    they are told what they lack, with 426."""
    additional_headers: ResponseHeaders = None
    """Headers to add to the response that accepts a connection, or a plain function that makes them of the
    request."""
    server_header: str | None = "anyio-ws"
    """The Server header; None for none."""
    max_request_line: int = MAX_REQUEST_LINE
    """Of the handshake request's first line, with its line break; a longer one is answered with 414."""
    backlog: int = 1024
    """Connections that the kernel queues until they are accepted."""
    reuse_port: bool = False
    """Let other processes listen on the same port; the kernel shares connections out among them."""
    max_connections: int | None = None
    """Connections that may be open; a further one is answered with 503. None for no limit."""
    max_handshakes: int | None = 1000
    """Connections that may be in the opening handshake; further ones wait to be accepted. None: no limit."""
    on_handler_error: OnHandlerError = "log"
    """What is done, beside closing the connection with 1011, when a handler raises an `Exception`: ``"log"``
    it with its traceback; ``"raise"`` it out of the server, which ends that; or an async function, called
    with the connection and the exception after it was logged."""
    observer: ServerObserver | None = None
    """Is told what happens to connections, for metrics and tracing."""

    def __post_init__(self) -> None:
        CommonConfig.__post_init__(self)
        _check_amounts(self, max_request_line=1)
        for name in ("max_connections", "max_handshakes"):
            most = getattr(self, name)
            if most is not None and not (isinstance(most, int) and most >= 1):
                raise ValueError(f"{name} must be None or an integer, at least 1; got {most!r}")
        if self.origins is not None:
            object.__setattr__(self, "origins", acceptable_origins(self.origins))
        if self.hosts is not None:
            object.__setattr__(self, "hosts", known_hosts(self.hosts))
        object.__setattr__(self, "trusted_proxies", known_proxies(self.trusted_proxies))
        _check_header("Server", self.server_header)
        for name in ("process_request", "process_response", "handle_http"):
            hook = getattr(self, name)
            if hook is not None:
                check_async(name, hook)
        self._check_additional()
        given: object = self.on_handler_error
        if isinstance(given, str) or not callable(given):
            if given not in ("log", "raise"):
                raise ValueError(
                    f'on_handler_error must be "log", "raise" or an async function; got {given!r}'
                )
        else:
            check_async("on_handler_error", given)
        _check_observer(self.observer)

    def _check_additional(self) -> None:
        if callable(self.additional_headers):
            if inspect.iscoroutinefunction(self.additional_headers):
                raise TypeError("additional_headers must be headers or a plain function")
        elif self.additional_headers is not None:
            headers = Headers(self.additional_headers)  # an iterator can be read only once
            check_additional(headers)
            object.__setattr__(self, "additional_headers", headers)


def check_additional(headers: Headers) -> None:
    """Refuse the headers that make the response accept the connection: they are the handshake's.

    :raises ValueError: there is one
    """
    for name in headers:
        if name in _OF_THE_HANDSHAKE:
            raise ValueError(f"additional_headers can't have {name!r}: the handshake sets it")


def _check_amounts(config: CommonConfig, **least: int) -> None:
    for name, smallest in least.items():
        amount = getattr(config, name)
        if not isinstance(amount, int) or amount < smallest:
            raise ValueError(f"{name} must be an integer, at least {smallest}; got {amount!r}")


def _check_context(config: CommonConfig, name: str) -> None:
    context = getattr(config, name)
    if context is not None and not isinstance(context, ssl_module.SSLContext):
        raise TypeError(f"{name} must be None or an ssl.SSLContext, not {context!r}")


def client_config(config: ClientConfig | None, options: Mapping[str, Any]) -> ClientConfig:
    """Merge *options* into *config*, or into the defaults.

    :raises TypeError: there is no such option; the nearest is named
    :raises ValueError: a value makes no sense
    """
    return _merge(ClientConfig() if config is None else config, options)


def server_config(config: ServerConfig | None, options: Mapping[str, Any]) -> ServerConfig:
    """Merge *options* into *config*, or into the defaults; raises as `client_config`."""
    return _merge(ServerConfig() if config is None else config, options)


def check_async(what: str, function: object) -> None:
    """Refuse what is no async function, before the first connection has to find out.

    :raises TypeError: *function* is a plain function, or can't be called
    """
    inner = function
    while isinstance(inner, functools.partial):
        inner = cast("functools.partial[object]", inner).func
    if isinstance(inner, type):
        fits = hasattr(inner, "__await__")  # what it makes can be awaited
    elif inspect.isfunction(inner) or inspect.ismethod(inner):
        fits = inspect.iscoroutinefunction(inner)
    else:
        fits = callable(inner)
    if not fits:
        raise TypeError(f"{what} must be an async function, not {function!r}")


def _check_observer(observer: object) -> None:
    """Refuse what is no observer, or would have to be awaited.

    :raises TypeError: it is one of these
    """
    if observer is None:
        return
    if not isinstance(observer, ServerObserver):
        raise TypeError(f"observer must be None or a ServerObserver, not {observer!r}")
    for name in (name for name in vars(ServerObserver) if not name.startswith("_")):
        if inspect.iscoroutinefunction(getattr(observer, name)):
            raise TypeError(f"the observer's {name} must be a plain function")


_Config = TypeVar("_Config", bound=CommonConfig)


def _merge(config: _Config, options: Mapping[str, Any]) -> _Config:
    names = [field.name for field in dataclasses.fields(config)]
    for name in options:
        if name not in names:
            near = [_CALLED_ELSEWHERE.get(name, ""), *difflib.get_close_matches(name, names, n=1)]
            meant = next((one for one in near if one in names), None)
            hint = f"; did you mean {meant!r}?" if meant else ""
            raise TypeError(f"{name!r} isn't an option of {type(config).__name__}{hint}")
    return dataclasses.replace(config, **options) if options else config


def _check_header(name: str, value: str | None) -> None:
    """Refuse what can't be written, before the first connection has to find out."""
    if value is not None:
        Headers({name: value})


def _check_local_address(address: object) -> None:
    """Refuse what is no address to connect from.

    :raises TypeError: it isn't ``(host, port)``
    :raises ValueError: there is no such port
    """
    match address:
        case None:
            pass
        case (str(), int(port)):
            if not 0 <= port < 2**16:
                raise ValueError(f"local_address has no port from 0 to 65535: {address!r}")
        case _:
            raise TypeError(f"local_address must be None or (host, port), not {address!r}")


def _checked_options(given: Sequence[SocketOption]) -> tuple[SocketOption, ...]:
    """Refuse what `socket.socket.setsockopt` wouldn't even show to the operating system.

    :raises TypeError: they aren't ``(level, option, value)``
    :raises ValueError: an integer is too large
    """
    options = tuple(given)
    for option in cast("tuple[object, ...]", options):
        match option:
            case (int(level), int(name), int() | bytes() as value):
                numbers = [level, name, value if isinstance(value, int) else 0]
                if not all(-(2**31) <= number < 2**31 for number in numbers):
                    raise ValueError(f"socket_options has a number that is too large: {option!r}")
            case _:
                raise TypeError(
                    f"socket_options must be (level, option, integer or bytes), not {option!r}"
                )
    return options


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not math.isnan(value)
