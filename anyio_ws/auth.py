"""`basic_auth`: HTTP Basic authentication (RFC 7617) of a server's clients, as a hook of the handshake."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Iterable
from functools import partial
from typing import Protocol, TypeGuard, cast

from .exceptions import InvalidHeader
from .options import ProcessRequest, check_async
from .sansio import Request, Response
from .sansio.handshake import single_header
from .sansio.headers import build_basic, build_basic_challenge, parse_basic
from .websocket import WebSocket

__all__ = ["CheckCredentials", "basic_auth"]


class CheckCredentials(Protocol):
    """An async function that knows who may connect."""

    def __call__(self, username: str, password: str, /) -> Awaitable[bool]:
        """Return whether *password* is that of the user *username*."""
        ...


def basic_auth(
    realm: str,
    credentials: tuple[str, str] | Iterable[tuple[str, str]] | None = None,
    check_credentials: CheckCredentials | None = None,
) -> ProcessRequest:
    """Make a ``process_request`` that admits those who know a user name and its password (RFC 7617).

    ``open_server(..., process_request=basic_auth("staff", ("ada", "secret")))``. The name of who was admitted
    is `WebSocket.username`; everybody else is answered with 401. A hook of yours may ask it:
    ``if (refusal := await auth(ws, request)) is not None: return refusal``. Use it with TLS only: it is the
    password itself that the client sends.

    :param realm: what the credentials are for; browsers show it to whom they ask. Printable ASCII
    :param credentials: one ``(username, password)``, or several; compared in a time that tells nothing about
        them
    :param check_credentials: asked instead: an async function, which has what is left of ``open_timeout``
    :raises TypeError: both, or neither, of *credentials* and *check_credentials*; *credentials* aren't pairs
        of strings; *check_credentials* isn't an async function
    :raises ValueError: *realm* can't be written; a user name has a colon, which nobody could send
    """
    if (credentials is None) == (check_credentials is None):
        raise TypeError("basic_auth needs either credentials or check_credentials")
    if check_credentials is None:
        assert credentials is not None
        check_credentials = partial(_is_one_of, [_digest(*one) for one in _pairs(credentials)])
    else:
        check_async("check_credentials", check_credentials)
    return _BasicAuth(build_basic_challenge(realm), check_credentials)


class _BasicAuth:
    def __init__(self, challenge: str, check: CheckCredentials) -> None:
        self._challenge = challenge
        self._check = check

    async def __call__(self, ws: WebSocket, request: Request) -> Response | None:
        given = _given(request)
        if given is not None and await self._check(*given):
            ws.username = given[0]
            return None
        headers = {"WWW-Authenticate": self._challenge}
        return Response.text(401, "A user name and its password are needed.\n", headers)


def _given(request: Request) -> tuple[str, str] | None:
    try:
        value = single_header(request.headers, "Authorization")
    except InvalidHeader:
        return None
    return None if value is None else parse_basic(value)


def _pairs(credentials: tuple[str, str] | Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    given: Iterable[object] = [credentials] if _is_pair(credentials) else credentials
    pairs: list[tuple[str, str]] = []
    for one in given:
        if not _is_pair(one):  # which isn't shown: it may be a password
            raise TypeError("credentials must be a (username, password) of strings, or several")
        if parse_basic(build_basic(*one)) != one:
            raise ValueError(
                f"nobody can send the credentials of {one[0]!r}: they have a control character, or the name "
                "has a colon (RFC 7617, section 2)"
            )
        pairs.append(one)
    return pairs


def _is_pair(one: object) -> TypeGuard[tuple[str, str]]:
    if not isinstance(one, tuple):
        return False
    parts = cast("tuple[object, ...]", one)
    return len(parts) == 2 and all(isinstance(part, str) for part in parts)


def _digest(username: str, password: str) -> bytes:
    """What is compared: all of one length, or else the time to compare would tell that of a password."""
    return hashlib.sha256(f"{username}:{password}".encode()).digest()


async def _is_one_of(known: list[bytes], username: str, password: str) -> bool:
    given = _digest(username, password)
    # The sum compares with each of them, whichever it is.
    return sum(hmac.compare_digest(one, given) for one in known) > 0
