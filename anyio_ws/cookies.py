"""What a client does about cookies (RFC 6265): it sends those of a mapping, or asks a jar and tells it.

Which cookie of a jar goes where, and which a server may set, is for the standard library to decide: a jar is
shown an HTTP request and an HTTP response in the place of ours. Its modules take 20 milliseconds to import:
that is left to whoever makes a jar.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast, runtime_checkable

from .sansio import Headers, Response, WebSocketURI
from .sansio.headers import is_token

if TYPE_CHECKING:
    from urllib.request import Request

__all__ = ["CookieJarLike", "Cookies", "checked_cookies", "cookie_header", "take_cookies"]


@runtime_checkable
class CookieJarLike(Protocol):
    """What of `http.cookiejar.CookieJar` is called."""

    def add_cookie_header(self, request: Any) -> None:
        """Give *request* the Cookie header that it is to have."""
        ...

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Keep the cookies that *response* to *request* sets."""
        ...


Cookies: TypeAlias = Mapping[str, str] | CookieJarLike | None
"""See `ClientConfig.cookies`."""

_OCTETS: Final = frozenset(string.ascii_letters + string.digits + "!#$%&'()*+-./:<=>?@[]^_`{|}~")


def checked_cookies(given: object) -> Cookies:
    """Refuse what can't be sent, before anything is dialled.

    :raises TypeError: it is neither a mapping of strings nor a jar
    :raises ValueError: a name or a value isn't one of a cookie (RFC 6265, section 4.1.1); no value is shown
    """
    if given is None or isinstance(given, CookieJarLike):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(f"cookies must be a mapping of strings or a CookieJar, not {type(given)!r}")
    checked: dict[str, str] = {}
    for name, value in cast("Mapping[object, object]", given).items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"cookies must have strings as names and values: {name!r}")
        if not is_token(name):
            raise ValueError(f"cookies: {name!r} isn't the name of a cookie")
        for char in value[1:-1] if value[:1] == value[-1:] == '"' != value else value:
            if char not in _OCTETS:
                raise ValueError(
                    f"cookies: the value of {name!r} has {char!r}, which must be encoded in some way"
                )
        checked[name] = value
    return checked


def cookie_header(
    cookies: Cookies, uri: WebSocketURI, first: WebSocketURI | None = None
) -> str | None:
    """What the Cookie header of a request to *uri* is, if there is to be one.

    :param first: what the user asked for, if that led to *uri*
    """
    if cookies is None:  # which is soon found out, unlike whether it is a jar
        return None
    if isinstance(cookies, CookieJarLike):
        request = _request(uri, first)
        cookies.add_cookie_header(request)
        return request.get_header("Cookie")
    return "; ".join(f"{name}={value}" for name, value in cookies.items()) or None


def take_cookies(
    cookies: Cookies, response: Response, uri: WebSocketURI, first: WebSocketURI | None = None
) -> None:
    """Show a jar what a response to *uri* sets."""
    if cookies is not None and isinstance(cookies, CookieJarLike):
        told: Any = _Told(response.headers)
        cookies.extract_cookies(told, _request(uri, first))


def _request(uri: WebSocketURI, first: WebSocketURI | None) -> Request:
    from urllib.request import Request

    scheme = "https" if uri.secure else "http"
    # As urllib's own redirects have it: nobody asked for a transaction that is a redirect's.
    return Request(
        f"{scheme}://{uri.host_header}{uri.resource_name}",
        origin_req_host=None if first is None else first.host,
        unverifiable=first is not None,
    )


class _Told:
    """As much of an HTTP response as a jar looks at."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers

    def info(self) -> _Told:
        return self

    def get_all(self, name: str, default: list[str]) -> list[str]:
        return self._headers.get_all(name) or default
