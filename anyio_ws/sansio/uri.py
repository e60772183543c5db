"""WebSocket URIs (RFC 6455, section 3), proxies' URIs and request targets.

Nothing else in the package splits a URL.
"""

from __future__ import annotations

import string
import urllib.parse
from dataclasses import dataclass, field, replace
from typing import Final, cast

from ..exceptions import InvalidHeader, InvalidURI
from .headers import build_authority, build_host, parse_host

__all__ = [
    "ProxyURI",
    "WebSocketURI",
    "encode_host",
    "follow",
    "parse_proxy",
    "parse_uri",
    "same_origin",
    "split_target",
    "unquote",
    "without_credentials",
    "without_userinfo",
]

# What may stand in a path or query as it is: RFC 3986's reserved and unreserved characters, and "%"
# for what is escaped already.
_SAFE = "/?:@!$&'()*+,;=-._~%[]"

_NOT_IN_A_HOST = frozenset('"<>\\^`{|}%')

_HEX = frozenset(string.hexdigits)

PROXY_PORTS: Final = {
    "http": 80,
    "https": 443,
    "socks4": 1080,
    "socks4a": 1080,
    "socks5": 1080,
    "socks5h": 1080,
}
"""The kinds of proxies by the schemes of their URIs, and the ports where none is given."""

_MAX_SOCKS_CREDENTIAL = 255  # RFC 1929, section 2: a byte has the length

_PLAIN = ("ws", "wss")
_UNIX = ("ws+unix", "wss+unix")


@dataclass(frozen=True, slots=True)
class WebSocketURI:
    """The parts of a WebSocket URI; as a string, the URI without its credentials.

    One of a Unix socket has that socket's path, and the host "localhost".
    """

    secure: bool
    host: str
    port: int
    path: str
    query: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    unix_path: str | None = None

    @property
    def resource_name(self) -> str:
        """What is asked for in the request line: path and query."""
        return f"{self.path or '/'}?{self.query}" if self.query else self.path or "/"

    @property
    def host_header(self) -> str:
        """The value of the Host header."""
        return build_host(self.host, self.port, secure=self.secure)

    @property
    def origin(self) -> tuple[bool, str, int, str | None]:
        """What is the same for all that may know of one another (RFC 6454): scheme, host and port."""
        return self.secure, self.host, self.port, self.unix_path

    def __str__(self) -> str:
        scheme = "wss" if self.secure else "ws"
        if self.unix_path is None:
            return f"{scheme}://{self.host_header}{self.resource_name}"
        return f"{scheme}+unix://{urllib.parse.quote(self.unix_path)}:{self.resource_name}"


def parse_uri(uri: str) -> WebSocketURI:
    """Split a WebSocket URI; an IRI is converted (RFC 3987): the host to IDNA, the rest to UTF-8.

    That of a Unix socket is ``ws+unix:///path/of/the/socket:/path?query``, or ``wss+unix``. What follows the
    colon may be left out; within the socket's path ":" is written as ``%3A``, and "?" as ``%3F``.

    :raises InvalidURI: the scheme isn't ws or wss, there's no host, the port is no port, there's a
        fragment, the host can't be encoded, or the credentials can't be those of HTTP Basic authentication
        (RFC 7617, section 2)
    :raises TypeError: it isn't a string
    """
    if not isinstance(
        cast("object", uri), str
    ):  # a variable of the environment that isn't set, say
        raise TypeError(f"a WebSocket URI must be a string, not {type(uri).__name__}")
    for char in uri:
        if char <= " " or char == "\x7f":
            raise InvalidURI(uri, f"it contains {char!r}")
    split = _split(uri)
    if isinstance(split, str):
        raise InvalidURI(uri, split)
    parts, port = split
    if parts.scheme not in (*_PLAIN, *_UNIX):
        raise InvalidURI(uri, "the scheme must be ws or wss, ws+unix or wss+unix")
    if "#" in uri:
        raise InvalidURI(uri, "a fragment isn't allowed (RFC 6455, section 3)")
    username, password = _credentials(uri, parts)
    unix_path: str | None = None
    path = parts.path
    if parts.scheme in _UNIX:
        host = "localhost"
        unix_path, path = _unix_path(uri, parts)
    else:
        host = _host(uri, parts)
    secure = parts.scheme.startswith("wss")
    return WebSocketURI(
        secure=secure,
        host=host,
        port=(443 if secure else 80) if port is None else port,
        path=urllib.parse.quote(path, safe=_SAFE),
        query=urllib.parse.quote(parts.query, safe=_SAFE),
        username=username,
        password=password,
        unix_path=unix_path,
    )


def _split(uri: str) -> tuple[urllib.parse.SplitResult, int | None] | str:
    """Split *uri*, or say why that can't be done.

    What the library raises quotes the parts, and so would have a password in it, or in its attributes.
    """
    try:
        uri.encode()
    except UnicodeEncodeError:
        return "it has surrogates, which UTF-8 hasn't"
    try:
        parts = urllib.parse.urlsplit(uri)
    except ValueError:
        return (
            "there are brackets, but no IPv6 address in them"
            if "[" in uri
            else "no host is like that"
        )
    try:
        return parts, parts.port
    except ValueError:
        return "the port isn't a number from 0 to 65535"


def _host(uri: str, parts: urllib.parse.SplitResult) -> str:
    if not parts.hostname:
        raise InvalidURI(uri, "there is no host")
    host, why = "", None
    try:
        host = encode_host(parts.hostname)
    except UnicodeError as exc:
        why = f"the host can't be encoded: {exc}"
    for char in host:
        if char in _NOT_IN_A_HOST:
            why = f"no host has {char!r}"
    if why is not None:
        raise InvalidURI(uri, why)
    return host


def _credentials(uri: str, parts: urllib.parse.SplitResult) -> tuple[str, str] | tuple[None, None]:
    """User name and password, decoded (RFC 7617, section 2)."""
    if parts.username is None:
        return None, None
    if parts.password is None:
        raise InvalidURI(uri, "there is a user name without a password")
    pair = _decoded(parts.username), _decoded(parts.password)
    username, password = pair
    if username is None or password is None:
        raise InvalidURI(uri, "the user name or the password isn't UTF-8")
    if ":" in username:
        raise InvalidURI(uri, "a user name can't have a colon (RFC 7617, section 2)")
    if any(char < " " or char == "\x7f" for char in username + password):
        raise InvalidURI(uri, "the user name or the password has a control character")
    return username, password


def _decoded(text: str) -> str | None:
    """Decode what is percent-encoded; None if that isn't UTF-8. The error would quote it."""
    try:
        return urllib.parse.unquote(text, errors="strict")
    except UnicodeDecodeError:
        return None


def _unix_path(uri: str, parts: urllib.parse.SplitResult) -> tuple[str, str]:
    """The path of the socket, decoded, and that of the request."""
    socket, _, path = parts.path.partition(":")
    if parts.hostname or parts.port is not None or not socket.startswith("/"):
        raise InvalidURI(
            uri, f"a Unix socket is written as {parts.scheme}:///path/of/the/socket:/path?query"
        )
    if path and not path.startswith("/"):
        raise InvalidURI(
            uri, "what follows the path of the socket and a colon must begin with a slash"
        )
    decoded = _decoded(socket)
    if decoded is None or "\0" in decoded or decoded.endswith("/"):
        raise InvalidURI(uri, "the path of the socket isn't that of a file, in UTF-8")
    return decoded, path


def follow(uri: WebSocketURI, location: str) -> WebSocketURI:
    """Where the Location header of a response to *uri* leads (RFC 9110, section 10.2.2).

    It may be relative, and of http or https, which are ws and wss. Its fragment is dropped. Credentials and
    the Unix socket of *uri* hold for its own origin; others may come with the location.

    :raises InvalidURI: that isn't a place to connect to
    """
    try:
        text = location.encode("iso-8859-1").decode()  # as most mean it who don't escape
    except UnicodeError:
        text = location
    scheme = "https" if uri.secure else "http"
    try:
        text = urllib.parse.urljoin(f"{scheme}://{uri.host_header}{uri.resource_name}", text)
    except ValueError:
        pass  # parse_uri says why
    scheme, colon, rest = text.partition("#")[0].partition(":")
    scheme = {"http": "ws", "https": "wss"}.get(scheme.lower(), scheme)
    found = parse_uri(scheme + colon + rest)
    if found.unix_path is not None:
        raise InvalidURI(location, "no server can lead to a Unix socket")
    if (found.secure, found.host, found.port) != (uri.secure, uri.host, uri.port):
        return found
    if found.username is None:
        found = replace(found, username=uri.username, password=uri.password)
    return replace(found, unix_path=uri.unix_path)


def without_credentials(uri: str) -> str:
    """Return a WebSocket URI as it may be shown: without user name and password. Other text stays."""
    scheme = uri.partition("://")[0]
    return without_userinfo(uri) if scheme.lower() in (*_PLAIN, *_UNIX) else uri


def without_userinfo(text: str, ends: str = "/?#") -> str:
    """Leave user name and password out of a URL, whose host ends at one of *ends*. Other text stays."""
    scheme, separator, rest = text.partition("://")
    end = next((number for number, char in enumerate(rest) if char in ends), len(rest))
    return f"{scheme}{separator}{rest[:end].rpartition('@')[2]}{rest[end:]}"


@dataclass(frozen=True, slots=True)
class ProxyURI:
    """The parts of a proxy's URI. As a string it may be shown: without user name and password."""

    scheme: str
    host: str
    port: int
    username: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{build_authority(self.host, self.port)}"


def parse_proxy(uri: str) -> ProxyURI:
    """Split a proxy's URI: ``http://user:password@proxy.example:3128``.

    An error quotes nothing of it but the scheme: where it is malformed, anything may be the password.

    :raises ValueError: it has no scheme of `PROXY_PORTS`, no host, or what a proxy has no use for
    """
    scheme, separator, _ = uri.partition("://")
    if not separator or not scheme.isalnum():
        raise ValueError("it has no scheme")
    if scheme.lower() not in PROXY_PORTS:
        raise ValueError(f"its scheme is {scheme!r}")
    if any(char <= " " or char == "\x7f" for char in uri):
        raise ValueError("it contains a space or a control character")
    try:
        uri.encode()  # a lone surrogate can't be
        parts = urllib.parse.urlsplit(uri)
        port = parts.port
        host = encode_host(parts.hostname or "")
    except ValueError:  # of IDNA, too; it may quote the password
        raise ValueError("its host or port isn't one") from None
    if not host or not _NOT_IN_A_HOST.isdisjoint(host):
        raise ValueError("its host isn't one" if host else "it has no host")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("it has more than a scheme, a user, a host and a port")
    username, password = (
        None if text is None else urllib.parse.unquote(text)
        for text in (parts.username, parts.password)
    )
    if not (username or password):
        username = password = None
    _check_proxy_user(parts.scheme, username, password)
    default = PROXY_PORTS[parts.scheme]
    return ProxyURI(parts.scheme, host, default if port is None else port, username, password)


def _check_proxy_user(scheme: str, username: str | None, password: str | None) -> None:
    """Refuse what the kind of proxy can't be told."""
    if not scheme.startswith("socks"):
        if username is not None and ":" in username:
            raise ValueError("its user name has a colon, which ends a user name in HTTP")
        return
    for text in (username or "", password or ""):
        if not (text.isascii() and text.isprintable() and len(text) <= _MAX_SOCKS_CREDENTIAL):
            raise ValueError(
                f"its user name or password isn't printable ASCII of up to {_MAX_SOCKS_CREDENTIAL} characters"
            )
    if scheme.startswith("socks4"):
        if password:
            raise ValueError("it has a password, and SOCKS4 has none")
    elif bool(username) != bool(password):
        raise ValueError("it has only one of user name and password, and SOCKS5 takes both")


def encode_host(host: str) -> str:
    """Return *host* as it stands in a request: in IDNA, if it isn't ASCII (RFC 3987, section 3.1).

    :raises UnicodeError: it can't be encoded
    """
    return host if host.isascii() else host.encode("idna").decode()


def same_origin(origin: str, host: str) -> bool:
    """Whether the values of an Origin (RFC 6454, section 7) and a Host header name the same host and port.

    A port that isn't given is the default of the origin's scheme: behind a proxy that ends TLS, the
    scheme of our own connection says nothing.
    """
    scheme, _, rest = origin.partition("://")
    default = {"http": 80, "https": 443}.get(scheme.lower())
    if default is None:
        return False
    try:
        theirs, their_port = parse_host(rest)
        ours, our_port = parse_host(host)
    except InvalidHeader:
        return False
    ports = [default if port is None else port for port in (their_port, our_port)]
    return theirs == ours and ports[0] == ports[1]


def split_target(target: str) -> tuple[str, str]:
    """Split a request target (RFC 9112, section 3.2) into its path and its query, with the question mark.

    Of an absolute URI, scheme and host are left out. Where there is no path, as in ``*``, it is "".
    """
    path, mark, query = target.partition("?")
    if not path.startswith("/"):
        _, absolute, rest = path.partition("://")
        path = f"/{rest.partition('/')[2]}" if absolute else ""
    return path, mark + query


def unquote(text: str) -> str:
    """Decode what is percent-encoded UTF-8 (RFC 3986, section 2.1).

    :raises ValueError: a "%" without its two digits, or not UTF-8
    """
    for escape in text.split("%")[1:]:
        if len(escape) < 2 or not _HEX.issuperset(escape[:2]):
            raise ValueError(f"{'%' + escape[:2]!r} is no percent-encoded byte")
    return urllib.parse.unquote_to_bytes(text).decode()
