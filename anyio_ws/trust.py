"""Who may connect, and who is believed: what a server's options say, checked once, asked of each request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final, TypeAlias, TypeVar, cast

from .exceptions import InvalidHeader
from .sansio.headers import Headers, IPAddress, parse_address, parse_forwarded_for, parse_host
from .sansio.uri import encode_host

__all__ = [
    "TrustedProxy",
    "acceptable_origins",
    "client_address",
    "is_known_host",
    "known_hosts",
    "known_proxies",
]

_T = TypeVar("_T")
_Text: TypeAlias = str | re.Pattern[str]

TrustedProxy: TypeAlias = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network
"""See `ServerConfig.trusted_proxies`."""

_UNIX: Final = "unix"


def acceptable_origins(origins: Iterable[_Text | None]) -> tuple[_Text | None, ...]:
    """Check what is given as `ServerConfig.origins`; who compares an Origin with them is the protocol.

    :raises TypeError: they aren't strings, patterns of strings and None
    """
    made = _several("origins", origins)
    for one in made:
        if one is not None:
            _check_text("origins", one)
    return made


def known_hosts(hosts: Iterable[_Text]) -> tuple[_Text, ...]:
    """Check what is given as `ServerConfig.hosts`, and write the strings as `is_known_host` compares them.

    :raises TypeError: they aren't strings and patterns of strings
    :raises ValueError: a string is neither a host nor ``*.`` and a host, with or without a port
    """
    made = _several("hosts", hosts)
    for one in made:
        _check_text("hosts", one)
    return tuple(_known_host(one) if isinstance(one, str) else one for one in made)


def _known_host(given: str) -> str:
    name = given.removeprefix("*.")
    if name.count(":") > 1 and not name.startswith("["):
        name = f"[{name}]"  # an IPv6 address
    try:
        name, port = _host(encode_host(name))
    except (InvalidHeader, UnicodeError) as exc:
        raise ValueError(f"hosts can't have {given!r}: {exc}") from exc
    if "*" in name or name.startswith("."):
        raise ValueError(f"hosts can't have {given!r}: for subdomains write '*.example.org'")
    wildcard = "*." if given.startswith("*.") else ""
    return f"{wildcard}{name}" if port is None else f"{wildcard}{name}:{port}"


def is_known_host(host: str | None, hosts: Sequence[_Text]) -> bool:
    """Whether *host*, a Host header or None for none, is among *hosts*, which `known_hosts` made."""
    try:
        name, port = _host(host or "")
    except InvalidHeader:
        return False
    # Behind a proxy that ends TLS nobody tells us which of the two a missing port stands for.
    shown = [name, *(f"{name}:{one}" for one in ((80, 443) if port is None else (port,)))]
    for one in hosts:
        if not isinstance(one, str):
            if one.fullmatch(name):
                return True
        elif one in shown or (
            one.startswith("*.") and any(each.endswith(one[1:]) for each in shown)
        ):
            return True
    return False


def _host(value: str) -> tuple[str, int | None]:
    """Split a Host header; IPv6 addresses in brackets, names without the dot that may end them."""
    name, port = parse_host(value)
    return f"[{name}]" if ":" in name else name.removesuffix("."), port


def known_proxies(proxies: Iterable[TrustedProxy]) -> tuple[TrustedProxy, ...]:
    """Check what is given as `ServerConfig.trusted_proxies`; what comes out are networks, and ``"unix"``.

    :raises TypeError: they aren't strings, addresses and networks
    :raises ValueError: a string is none of these
    """
    return tuple(_known_proxy(one) for one in _several("trusted_proxies", proxies))


def _known_proxy(given: object) -> TrustedProxy:
    if given == _UNIX:
        return _UNIX
    if not isinstance(given, TrustedProxy):
        raise TypeError(f"trusted_proxies must be strings, addresses and networks, not {given!r}")
    try:
        return ip_network(given)
    except ValueError as exc:
        raise ValueError(f"trusted_proxies can't have {given!r}: {exc}") from exc


def client_address(remote: object, headers: Headers, trusted: Sequence[TrustedProxy]) -> str | None:
    """Return the client's IP address, as far as it is known.

    :param remote: the address of the socket at the other end: host and port, the path of a Unix socket, or
        None if there is none
    :param headers: of the request
    :param trusted: whose X-Forwarded-For is believed, as `known_proxies` made them
    """
    client = None
    if isinstance(remote, str):
        believed = _UNIX in trusted
    else:
        client = _address(remote)
        believed = _is_among(client, trusted)
    if believed:
        # Each has added whom it was asked by. What stands further left the client itself may have written.
        for client in parse_forwarded_for(headers.get_all("X-Forwarded-For")):
            if not _is_among(client, trusted):
                break
    return None if client is None else str(client)


def _address(remote: object) -> IPAddress | None:
    try:
        return parse_address(cast("tuple[str, int]", remote)[0])
    except (LookupError, TypeError, ValueError):  # there is no socket; or one of another kind
        return None


def _is_among(address: IPAddress | None, trusted: Sequence[TrustedProxy]) -> bool:
    return address is not None and any(
        address in one for one in trusted if isinstance(one, IPv4Network | IPv6Network)
    )


def _several(name: str, given: Iterable[_T]) -> tuple[_T, ...]:
    if not isinstance(given, str | bytes):
        try:
            return tuple(given)
        except TypeError:  # it isn't even iterable
            pass
    raise TypeError(f"{name} must be a sequence, not {given!r}")


def _check_text(name: str, one: object) -> None:
    text: object = one
    if isinstance(one, re.Pattern):
        text = cast("re.Pattern[str]", one).pattern  # or of bytes
    if not isinstance(text, str):
        raise TypeError(f"{name} must be strings and patterns of strings, not {one!r}")
