"""Where a command connects to, and how; and how a failure to do so is told: in a line, and an exit code.

No line shows a password.
"""

from __future__ import annotations

import argparse
import enum
import getpass
import logging
import os
import ssl
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Final

from anyio_ws import (
    ConnectionClosed,
    DecideRetry,
    InvalidHandshake,
    InvalidStatus,
    ProxyError,
    ReconnectAttempt,
    Request,
    Response,
    WebSocket,
    open_websocket,
    reconnecting_websocket,
)
from anyio_ws.cli.shown import visible
from anyio_ws.sansio.headers import build_basic
from anyio_ws.sansio.trace import head_lines
from anyio_ws.sansio.uri import without_credentials

__all__ = ["Exit", "Failure", "Target", "ended", "handshake", "prepare_streams"]

_LOAD_IT: Final = "load it into the SSLContext of the option ssl)"

Remark = Callable[..., None]
"""Takes lines, each an argument."""


class Exit(enum.IntEnum):
    """The exit codes of the commands that connect."""

    OK = 0
    BROKEN = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4


class Failure(Exception):
    """Why a command can't go on, in one line, and its exit code."""

    def __init__(self, why: str, code: Exit) -> None:
        super().__init__(why)
        self.code = code


@dataclass(frozen=True, slots=True)
class Target:
    """What to connect to."""

    url: str
    unix_path: str | None
    options: dict[str, Any]
    """As `open_websocket` takes them."""

    @classmethod
    def of(cls, arguments: argparse.Namespace, **defaults: Any) -> Target:
        """Make it of a command's arguments, which may take asking for a password.

        :param defaults: options that count where the arguments say nothing
        :raises Failure: it can't be made of them
        """
        options = dict(defaults)
        if arguments.subprotocol:
            options["subprotocols"] = arguments.subprotocol
        if arguments.origin is not None:
            options["origin"] = arguments.origin
        if headers := _headers(arguments):
            options["additional_headers"] = headers
        if arguments.proxy is not None:
            options["proxy"] = None if arguments.proxy == "none" else arguments.proxy
        if arguments.no_compression:
            options["compression"] = None
        # 0 stands for "no limit", which is None for the library.
        for name in ("max_size", "open_timeout", "close_timeout", "ping_interval", "ping_timeout"):
            if getattr(arguments, name) is not None:
                options[name] = getattr(arguments, name) or None
        if arguments.server_name is not None:
            options["server_hostname"] = arguments.server_name
        context = _tls_context(arguments)
        if context is not None:
            options["ssl"] = context
        return cls(arguments.url, arguments.unix, options)

    def __str__(self) -> str:
        return visible(without_credentials(self.url))

    async def open(self, stack: AsyncExitStack, remark: Remark) -> WebSocket:
        """Connect; the connection is closed with *stack*.

        :param remark: what to do with the lines of the handshake
        :raises Failure: it can't be done
        """
        try:
            opening = open_websocket(self.url, unix_path=self.unix_path, **self.options)
            return await stack.enter_async_context(opening)
        except Exception as exc:
            self.fail(exc, remark)
            raise

    def attempts(self, policy: DecideRetry) -> AsyncIterator[ReconnectAttempt]:
        """Connect again and again; `fail` is for what that raises."""
        return reconnecting_websocket(
            self.url, policy=policy, unix_path=self.unix_path, **self.options
        )

    def fail(self, exc: Exception, remark: Remark) -> None:
        """Raise why there is no connection, by what *exc* says; nothing if that is a bug of ours.

        :raises Failure: it is none
        """
        why = self.failure(exc)
        if why is not None:
            if isinstance(exc, InvalidStatus):
                remark(*_refusal(exc.response))
            raise why from None

    def failure(self, exc: Exception) -> Failure | None:
        """Say why there is no connection, by what connecting raised; None if that is a bug of ours."""
        match exc:
            case ConnectionClosed():
                return Failure(ended(exc), Exit.BROKEN)
            case TimeoutError():
                limit = self.options.get("open_timeout", 10.0)
                why = f"can't connect to {self}: it took more than {limit:g} seconds"
                return Failure(why, Exit.UNREACHABLE)
            case InvalidStatus():
                return Failure(visible(str(exc)), Exit.REFUSED)
            case ProxyError() | OSError():
                # What a program does about a certificate has an option here.
                why = str(exc).replace(_LOAD_IT, "name its file with --ca)")
                return Failure(visible(why), Exit.UNREACHABLE)
            case InvalidHandshake():
                return Failure(f"the handshake failed: {visible(str(exc))}", Exit.REFUSED)
            case ValueError() | TypeError() | ImportError():
                return Failure(visible(str(exc)), Exit.USAGE)
            case _:
                return None


def _headers(arguments: argparse.Namespace) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = list(arguments.header)
    if arguments.cookie:
        headers.append(("Cookie", "; ".join(arguments.cookie)))
    if arguments.user is not None:
        name, colon, password = arguments.user.partition(":")
        headers.append(("Authorization", build_basic(name, password if colon else _ask(name))))
    return headers


def _ask(name: str) -> str:
    if not sys.stdin.isatty():
        raise Failure("argument -u/--user: there is nobody to ask for the password", Exit.USAGE)
    try:
        return getpass.getpass(f"password of {name}: ")
    except EOFError:
        raise Failure("there is no password", Exit.USAGE) from None


def _tls_context(arguments: argparse.Namespace) -> ssl.SSLContext | None:
    if not (arguments.insecure or arguments.ca or arguments.cert):
        return None
    try:
        context = ssl.create_default_context(cafile=arguments.ca)
    except OSError as exc:  # of which those of TLS are a kind
        raise Failure(
            f"can't use the authorities in {arguments.ca}: {_reason(exc)}", Exit.USAGE
        ) from None
    if arguments.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if arguments.cert is not None:
        files = arguments.cert if arguments.key is None else f"{arguments.cert} and {arguments.key}"
        try:
            context.load_cert_chain(arguments.cert, arguments.key)
        except OSError as exc:
            raise Failure(
                f"can't use the certificate in {files}: {_reason(exc)}", Exit.USAGE
            ) from None
    context.set_alpn_protocols(["http/1.1"])
    return context


def _reason(exc: OSError) -> str:
    return exc.strerror or str(exc)


def ended(exc: ConnectionClosed) -> str:
    """Say how a connection ended that didn't end well."""
    if exc.rcvd is not None and exc.rcvd_then_sent is not False:
        return f"the server closed the connection: {exc.rcvd}"
    cause = f" ({exc.__cause__})" if exc.__cause__ is not None else ""
    return visible(f"the connection broke: {exc}{cause}")


def handshake(request: Request, response: Response) -> Iterator[str]:
    """The lines of an opening handshake, as they may be shown."""
    start = f"{request.method} {request.path} HTTP/{request.http_version}"
    for line in head_lines(start, request.headers):
        yield f"> {line}"
    yield from _refusal(response)


def _refusal(response: Response) -> Iterator[str]:
    """The lines of a response, as they may be shown."""
    start = f"HTTP/1.1 {response.status_code} {response.reason_phrase}".rstrip()
    for line in head_lines(start, response.headers):
        yield f"< {line}"
    if response.body:
        yield "<"
    for line in response.body.decode(errors="backslashreplace").splitlines():
        yield f"< {visible(line)}"


def prepare_streams(verbose: int) -> None:
    """See to it that the three standard streams are there, and to what the library logs."""
    for number, stream in enumerate((sys.stdin, sys.stdout, sys.stderr)):
        if stream is None:  # closed by who started us: a socket of ours would take its number
            os.open(os.devnull, os.O_RDWR)
            if number == 2:
                sys.stderr = open(2, "w")  # noqa: SIM115  # for as long as the process lives
    logger = logging.getLogger("anyio_ws")
    logger.addHandler(logging.NullHandler())  # or else warnings are shown
    if verbose >= 2:
        logging.basicConfig(format="%(asctime)s %(name)s: %(message)s")
        logger.setLevel(logging.DEBUG)
