"""The one translator: what AnyIO, the operating system and ssl raise becomes ours here.

A closed connection is raised as the public class *plus* the AnyIO stream error that fits the call, so
that code written for AnyIO's streams works without knowing us. The combined classes are made once,
and print and pickle as the public ones.
"""

from __future__ import annotations

import enum
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Final, cast

import anyio

from .exceptions import (
    ConnectError,
    ConnectionClosed,
    ConnectionClosedOK,
    ProtocolError,
    shortened,
)
from .transports.proxy import ProxyTLSError
from .transports.sockets import SetupError
from .transports.tls import TLSHandshakeError

__all__ = ["Call", "closed_error", "connect_error", "not_open_yet"]


SHOWN_HOSTS: Final = 5
"""Hosts of a certificate that a message quotes; there may be hundreds."""

# X509_V_ERR_... of OpenSSL
_OTHER_HOST: Final = (62, 64)
_UNKNOWN: Final = (
    "an authority that isn't known here; "
    "if you trust it, load it into the SSLContext of the option {option}"
)
_CERTIFICATE_HINTS: Final = {
    9: "or this machine's clock is wrong",
    10: "or this machine's clock is wrong",
    18: "nobody vouches for it; if you do, load it into the SSLContext of the option {option}",
    19: _UNKNOWN,
    20: _UNKNOWN,
    21: "an authority that isn't known here, or the server leaves out a certificate between",
}

_NO_TLS: Final = "the server speaks no TLS there: is it a ws:// URL?"
_TLS_HINTS: Final = {
    "WRONG_VERSION_NUMBER": _NO_TLS,
    "RECORD_LAYER_FAILURE": _NO_TLS,  # the same, from OpenSSL 3.2 on
    "PACKET_LENGTH_TOO_LONG": _NO_TLS,
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the server wants a certificate of ours: load_cert_chain",
}


def not_open_yet() -> ProtocolError:
    """For who is shown a connection in the opening handshake, and calls what needs an open one."""
    return ProtocolError("the connection isn't open yet: its opening handshake is going on")


class Call(enum.Enum):
    """What was called on a closed connection."""

    RECEIVE = enum.auto()
    SEND = enum.auto()


def closed_error(exc: ConnectionClosed, call: Call, *, closed_here: bool) -> ConnectionClosed:
    """Return *exc* as the AnyIO error for this *call* as well.

    :param closed_here: this side closed the connection itself, before the peer did
    """
    stream_error: type[Exception]
    if closed_here:
        stream_error = anyio.ClosedResourceError
    elif call is Call.RECEIVE and isinstance(exc, ConnectionClosedOK):
        stream_error = anyio.EndOfStream
    else:
        stream_error = anyio.BrokenResourceError
    combined = _combine(type(exc), stream_error)(exc.rcvd, exc.sent, exc.rcvd_then_sent)
    combined.__cause__ = exc.__cause__
    combined.connection_id = exc.connection_id
    return combined


_combined: dict[tuple[type[ConnectionClosed], type[Exception]], type[ConnectionClosed]] = {}


def _combine(
    public: type[ConnectionClosed], stream_error: type[Exception]
) -> type[ConnectionClosed]:
    made = _combined.get((public, stream_error))
    if made is not None:
        return made

    def reduce(
        self: ConnectionClosed,
    ) -> tuple[type[ConnectionClosed], tuple[object, ...], dict[str, object]]:
        return public, (self.rcvd, self.sent, self.rcvd_then_sent), vars(self)

    members = {
        "__module__": public.__module__,
        "__qualname__": public.__qualname__,
        "__doc__": public.__doc__,
        "__reduce__": reduce,
    }
    made = cast("type[ConnectionClosed]", type(public.__name__, (public, stream_error), members))
    _combined[public, stream_error] = made
    return made


def connect_error(exc: OSError, where: str) -> ConnectError:
    """Say what went wrong when *where* was dialled; *exc* is its cause."""
    hosts: Sequence[str] = ()
    option = "ssl"
    if isinstance(exc, ProxyTLSError):
        where, option = f"the proxy {exc.proxy}", "proxy_ssl"
    if isinstance(exc, TLSHandshakeError) and isinstance(exc.__cause__, OSError):
        hosts = exc.hosts
        exc = exc.__cause__
    if isinstance(exc, ssl.SSLCertVerificationError):
        what = f"certificate verify failed: {_certificate_trouble(exc, hosts, option)}"
    elif isinstance(exc, ssl.SSLError):
        hint = _TLS_HINTS.get(exc.reason or "")
        what = f"TLS failed: {exc.reason or exc}{f' ({hint})' if hint else ''}"
    elif isinstance(exc, TLSHandshakeError):
        what = f"{exc} (does the server speak TLS there?)"
    else:
        what = "; ".join(dict.fromkeys(_reasons(exc))) or str(exc)
    error = ConnectError(f"can't connect to {where}: {what}", _errno(exc))
    error.__cause__ = exc
    return error


def _certificate_trouble(
    exc: ssl.SSLCertVerificationError, hosts: Sequence[str], option: str
) -> str:
    """What OpenSSL says, and what else there is to know about it."""
    said = exc.verify_message.rstrip(".")
    if exc.verify_code in _OTHER_HOST:
        shown = [repr(shortened(host)) for host in hosts[:SHOWN_HOSTS]]
        if len(hosts) > SHOWN_HOSTS:
            shown.append(f"{len(hosts) - SHOWN_HOSTS} more")
        return f"{said}; it is for {', '.join(shown)}" if shown else said
    hint = _CERTIFICATE_HINTS.get(exc.verify_code)
    return f"{said} ({hint.format(option=option)})" if hint else said


def _errno(exc: BaseException) -> int | None:
    """The number of the innermost reason; of the first, where several addresses were tried."""
    if isinstance(exc, ssl.SSLError):
        return None  # ssl has numbers of its own
    if isinstance(exc, BaseExceptionGroup):
        return _errno(cast("BaseExceptionGroup[BaseException]", exc).exceptions[0])
    if isinstance(exc, OSError) and exc.errno is not None:
        return exc.errno
    return None if exc.__cause__ is None else _errno(exc.__cause__)


def _reasons(exc: BaseException) -> list[str]:
    """The innermost reasons: one an address, where several were tried."""
    if isinstance(exc, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", exc)
        return [reason for inner in group.exceptions for reason in _reasons(inner)]
    if isinstance(exc, SetupError):
        return [exc.strerror or str(exc)]
    cause = exc.__cause__
    if isinstance(cause, OSError) or isinstance(cause, BaseExceptionGroup):  # noqa: SIM101  # narrows
        return _reasons(cast("BaseException", cause))
    if not isinstance(exc, OSError):
        return [str(exc)]
    if exc.errno and not isinstance(exc, socket.gaierror | ssl.SSLError):
        return [os.strerror(exc.errno)]  # asyncio's own text for it names only the address
    return [exc.strerror or str(exc)]
