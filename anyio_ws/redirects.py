"""Whether a client follows a redirect, and with what (RFC 9110, section 15.4).

What a user gave for one server is for no other: beyond its origin a redirect takes neither credentials nor
cookies along, and they don't come back should a later one lead home.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final, NamedTuple

from .exceptions import InvalidURI, shortened, without_secrets
from .options import ClientConfig
from .sansio import Headers, Response, WebSocketURI
from .sansio.uri import follow

__all__ = ["Hop", "next_hop"]

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_FOR_ONE_ORIGIN: Final = frozenset({"authorization", "cookie", "host", "proxy-authorization"})


class Hop(NamedTuple):
    """A server that is asked: the user's, or one that a redirect led to."""

    url: str
    uri: WebSocketURI
    config: ClientConfig
    number: int = 0
    """Redirects that led there."""
    first: WebSocketURI | None = None
    """What the user asked for, if that is another."""


def next_hop(hop: Hop, response: Response, *, stays: str | None) -> Hop | str | None:
    """Where *response* leads from *hop*: nowhere is None, and a string says why that isn't gone.

    :param stays: what keeps the client where it is: a stream, or a Unix socket
    """
    config = hop.config
    locations = response.headers.get_all("Location")
    if response.status_code not in _REDIRECTS or not locations:
        return None
    if len(locations) > 1:
        return _not_followed(", ".join(map(without_secrets, locations)), "it has several locations")
    try:
        uri = follow(hop.uri, locations[0])
    except InvalidURI as exc:
        return _not_followed(without_secrets(locations[0]), exc.reason)
    same_origin = uri.origin == hop.uri.origin
    why: str | None = None
    if hop.uri.secure and not uri.secure:
        why = "it leads from wss to ws"
    elif stays == "stream":
        why = "a stream can't be dialled again"
    elif stays is not None and not same_origin:
        why = f"it leads away from the {stays}"
    elif not config.max_redirects:
        why = "max_redirects is 0"
    elif hop.number >= config.max_redirects:
        why = f"there were as many as max_redirects, {config.max_redirects}, before it"
    if why is not None:
        return _not_followed(str(uri), why)
    config = config if same_origin else _elsewhere(config)
    return Hop(str(uri), uri, config, hop.number + 1, hop.first or hop.uri)


def _not_followed(location: str, why: str) -> str:
    return f"its redirect to {shortened(location)!r} isn't followed: {why}"


def _elsewhere(config: ClientConfig) -> ClientConfig:
    """What of *config* is for another origin, too. A jar decides by itself."""
    kept = Headers(
        (name, value)
        for name, value in Headers(config.additional_headers or {}).raw_items()
        if name.lower() not in _FOR_ONE_ORIGIN
    )
    cookies = None if isinstance(config.cookies, Mapping) else config.cookies
    return dataclasses.replace(
        config, additional_headers=kept, cookies=cookies, server_hostname=None
    )
