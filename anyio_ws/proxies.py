"""Which proxy a connection goes through: the option's value, or what the environment and the system say."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Literal, TypeAlias, cast

from anyio import to_thread

from .exceptions import ProxyError
from .sansio import WebSocketURI
from .sansio.headers import build_authority, parse_address
from .sansio.uri import PROXY_PORTS, ProxyURI, parse_proxy

__all__ = ["ProxyOption", "is_named", "known_proxy", "needs_tls", "proxy_for"]

ProxyOption: TypeAlias = str | Mapping[str, str] | Literal[True] | None
"""See `ClientConfig.proxy`."""

_ACCEPTED: Final = (
    "True, None, a URL with one of the schemes "
    f"{', '.join(PROXY_PORTS)}, or a mapping of such URLs by ws, wss, http, https or all"
)

_BY_SCHEME: Final = {False: ("ws", "http", "all"), True: ("wss", "https", "all")}
"""What is looked for in a mapping, by whether the server is reached by TLS."""

_AROUND: Final = {
    False: ("ws", "socks", "https", "http", "all"),
    True: ("wss", "socks", "https", "all"),
}
"""What is looked for in the environment: a proxy for WebSockets, then what RFC 6455, section 4.1, prefers,
which is one of SOCKS, then that for HTTPS: it lets pass what isn't HTTP."""

_VARIABLES: Final = {
    secure: [
        variable.encode()
        for name in names
        for variable in (f"{name}_proxy", f"{name.upper()}_PROXY")
    ]
    for secure, names in _AROUND.items()
}
"""In bytes, which takes half the time: with text, `os.environ` encodes each."""

SYSTEM_HAS_SETTINGS: Final = sys.platform in ("darwin", "win32")
"""Whether there is more to ask than the environment; the system may take its time."""


# The option.


def known_proxy(given: object) -> ProxyOption:
    """Check the option's value; a mapping is copied.

    :raises TypeError: it is of another type
    :raises ValueError: it isn't a proxy's URL, or a mapping by other names; passwords are not quoted
    """
    if given is None or given is True:
        return given
    if isinstance(given, str):
        _parse("proxy", given)
        return given
    if not isinstance(given, Mapping):
        raise TypeError(f"proxy must be {_ACCEPTED}; not of type {type(given).__name__}")
    copy = dict(cast("Mapping[object, object]", given))
    for name, url in copy.items():
        if name not in _BY_SCHEME[False] + _BY_SCHEME[True]:
            raise ValueError(f"proxy must be {_ACCEPTED}; it has the key {name!r}")
        if not isinstance(url, str):
            raise TypeError(f"proxy must be {_ACCEPTED}; {name!r} is a {type(url).__name__}")
        _parse(f"proxy[{name!r}]", url)
    return cast("dict[str, str]", copy)


def is_named(proxy: ProxyOption) -> bool:
    """Whether the option names a proxy."""
    return proxy is not True and bool(proxy)


def needs_tls(proxy: ProxyOption) -> bool:
    """Whether TLS to a proxy may be needed, as far as the option says."""
    if isinstance(proxy, Mapping):
        return not proxy or any(_parse("proxy", url).scheme == "https" for url in proxy.values())
    return not isinstance(proxy, str) or _parse("proxy", proxy).scheme == "https"


def _parse(what: str, url: str) -> ProxyURI:
    try:
        return parse_proxy(url)
    except ValueError as exc:
        raise ValueError(f"{what} must be {_ACCEPTED}; {exc}") from None


# The choice.


async def proxy_for(uri: WebSocketURI, proxy: ProxyOption) -> ProxyURI | None:
    """Choose the proxy for a connection to *uri*, None for none.

    :raises ProxyError: that of the environment, or of the system, can't be one
    """
    if proxy is True:
        return await _proxy_around(uri)
    if isinstance(proxy, str):
        return _parse("proxy", proxy)
    for name in _BY_SCHEME[uri.secure]:
        if proxy and name in proxy:
            return _parse("proxy", proxy[name])
    return None


async def _proxy_around(uri: WebSocketURI) -> ProxyURI | None:
    if _is_loopback(uri.host):
        return None
    if SYSTEM_HAS_SETTINGS:  # and may look names up, to see whether they are exceptions
        return await to_thread.run_sync(_look_around, uri, abandon_on_cancel=True)
    # Most have none, and are not to pay for urllib.request: 20 milliseconds once, and a hundredth each time.
    for variable in _VARIABLES[uri.secure]:
        if variable in os.environb:
            return _look_around(uri)
    return None


def _look_around(uri: WebSocketURI) -> ProxyURI | None:
    from urllib.request import getproxies, proxy_bypass

    proxies = getproxies()
    name = next((name for name in _AROUND[uri.secure] if proxies.get(name)), None)
    if name is None or _is_in_network(uri.host, proxies.get("no", "")):
        return None
    if any(map(proxy_bypass, (build_authority(uri.host, uri.port), uri.host))):
        return None
    try:
        return parse_proxy(_completed(name, proxies[name]))
    except ValueError as exc:
        raise ProxyError(
            f"{name}_proxy of the environment, or of the system's settings, isn't the URL of a proxy: {exc}"
        ) from None


def _completed(name: str, url: str) -> str:
    """Write what is said of a proxy as a URL: the scheme may be missing, or stand for any SOCKS."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "http", url
    # macOS has http:// there, GNOME and Windows socks://.
    if (name == "socks" and scheme == "http") or scheme == "socks":
        scheme = "socks5h"
    return f"{scheme}://{rest}"


def _is_loopback(host: str) -> bool:
    try:
        if ":" in host:
            return parse_address(host).is_loopback
        return socket.inet_aton(host)[0] == 127  # "127.1", too
    except (OSError, ValueError):
        name = host.lower().removesuffix(".")
        return name == "localhost" or name.endswith(".localhost")  # RFC 6761, section 6.3


def _is_in_network(host: str, networks: str) -> bool:
    """Whether *host* is an address in one of *networks*, as in ``no_proxy``: urllib compares only text."""
    try:
        address = parse_address(host)
    except ValueError:
        return False
    for text in networks.split(","):
        with suppress(ValueError):
            if address in ipaddress.ip_network(text.strip(), strict=False):
                return True
    return False
