"""Who may connect: what a server's options say about that, checked once, and asked of each request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar, cast

from .exceptions import InvalidHeader
from .sansio.headers import parse_host
from .sansio.uri import encode_host

__all__ = ["acceptable_origins", "is_known_host", "known_hosts"]

_T = TypeVar("_T")
_Text: TypeAlias = str | re.Pattern[str]


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


def _several(name: str, given: Iterable[_T]) -> tuple[_T, ...]:
    if isinstance(given, str | bytes | re.Pattern):
        raise TypeError(f"{name} must be a sequence, not {given!r}")
    return tuple(given)


def _check_text(name: str, one: object) -> None:
    text: object = one
    if isinstance(one, re.Pattern):
        text = cast("re.Pattern[str]", one).pattern  # or of bytes
    if not isinstance(text, str):
        raise TypeError(f"{name} must be strings and patterns of strings, not {one!r}")
