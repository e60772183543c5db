"""The one error hierarchy. Pure: no I/O library is imported here.

What the I/O layer raises may be a private subclass that is *also* the AnyIO stream error fitting the
call (``anyio.EndOfStream`` out of ``receive``, say); it prints and pickles as the class listed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import uuid

    from .sansio.frames import Close
    from .sansio.http import Response

__all__ = [
    "ConnectError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "InvalidHandshake",
    "InvalidHeader",
    "InvalidJSON",
    "InvalidMessage",
    "InvalidOrigin",
    "InvalidStatus",
    "InvalidURI",
    "NegotiationError",
    "ProtocolError",
    "ProtocolViolation",
    "ProxyError",
    "WebSocketError",
]


SHOWN: Final = 100
"""Characters that a message quotes of what a peer sent."""


_TEXTS: Final = ("text/plain", "application/json", "application/problem+json")


def shortened(text: str) -> str:
    """Cut what a peer sent to what fits into a line of a log."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def shown_status(response: Response) -> str:
    """Return the status of *response* as a message shows it."""
    phrase = response.reason_phrase
    if not phrase.isprintable():  # the peer's words must not steer a terminal
        phrase = repr(phrase)
    return f"HTTP {response.status_code} {phrase}".rstrip()


def _excerpt(response: Response) -> str:
    """The beginning of a body that is text for people, or for programs, but no page."""
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in _TEXTS:
        return ""
    text = " ".join(response.body[: 8 * SHOWN].decode(errors="replace").split())
    return f": {shortened(text)!r}" if text else ""


def without_secrets(uri: str) -> str:
    """Hide what may be credentials in a URI that may have no valid parts: a "/" in a password ends them."""
    before, at, rest = uri.rpartition("@")
    scheme, slashes, _ = before.partition("//")
    return f"{scheme + slashes if slashes else ''}***@{rest}" if at else uri


class WebSocketError(Exception):
    """Base class of every error defined by this library."""


class InvalidURI(WebSocketError, ValueError):
    """A URI can't be used for a WebSocket connection (RFC 6455, section 3).

    ``uri`` is shown without what may be credentials: whatever stands before its last ``@`` is ``***``.
    """

    def __init__(self, uri: str, reason: str) -> None:
        uri = without_secrets(uri)
        super().__init__(uri, reason)
        self.uri = uri
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.uri!r} isn't a valid WebSocket URI: {self.reason}"


class ConnectError(WebSocketError, OSError):
    """Dialling failed: the name can't be resolved, the connection was refused, TLS failed.

    ``__cause__`` is the error of the operating system or of the ``ssl`` module, ``errno`` its number
    when it has one.
    """

    def __init__(self, message: str, errno: int | None = None) -> None:
        # OSError would turn two positional arguments into errno and strerror.
        super().__init__(message)
        self.message = message
        self.errno = errno

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[type[ConnectError], tuple[str, int | None]]:
        return type(self), (self.message, self.errno)


class InvalidHandshake(WebSocketError):
    """The opening handshake failed (RFC 6455, section 4)."""


class InvalidMessage(InvalidHandshake):
    """What arrived isn't an HTTP message that a WebSocket handshake can be made of.

    ``status`` is the HTTP status that a server answers it with.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason, status)
        self.reason = reason
        self.status = status

    def __str__(self) -> str:
        return self.reason


class InvalidStatus(InvalidHandshake):
    """The server answered the handshake with another status than 101.

    ``response`` is the answer; its body is cut at 64 KiB, and where it hadn't come in time. ``reason`` is why
    a redirect wasn't followed, None where there was none to follow.
    """

    def __init__(self, response: Response, reason: str | None = None) -> None:
        super().__init__(response, reason)
        self.response = response
        self.reason = reason

    def __str__(self) -> str:
        why = f"; {self.reason}" if self.reason else ""
        shown = shown_status(self.response)
        return f"server answered {shown} instead of 101{_excerpt(self.response)}{why}"


class InvalidHeader(InvalidHandshake):
    """A header of the handshake is missing (``value`` is None) or has a value it can't have."""

    def __init__(self, name: str, value: str | None = None, reason: str | None = None) -> None:
        super().__init__(name, value, reason)
        self.name = name
        self.value = value
        self.reason = reason

    def __str__(self) -> str:
        what = (
            f"missing {self.name} header"
            if self.value is None
            else f"invalid {self.name} header: {shortened(self.value)!r}"
        )
        return f"{what} ({self.reason})" if self.reason else what


class InvalidOrigin(InvalidHandshake):
    """The request's Origin isn't among those the server accepts; None if it had no Origin."""

    def __init__(self, origin: str | None) -> None:
        super().__init__(origin)
        self.origin = origin

    def __str__(self) -> str:
        if self.origin is None:
            return "missing Origin header"
        return f"origin {shortened(self.origin)!r} isn't accepted"


class NegotiationError(InvalidHandshake):
    """The two sides can't agree on a subprotocol or on an extension."""


class ProxyError(InvalidHandshake):
    """The proxy refused to connect, failed to, or isn't one; the message names it, without its password.

    ``response`` is what an HTTP proxy answered, with at most 64 KiB of the body; None if that was no HTTP
    response, and for SOCKS.
    """

    def __init__(self, message: str, response: Response | None = None) -> None:
        super().__init__(message, response)
        self.message = message
        self.response = response

    def __str__(self) -> str:
        return self.message


class ProtocolError(WebSocketError):
    """You called something that the protocol forbids in this state; nothing was sent."""


class ProtocolViolation(WebSocketError):
    """The peer broke the protocol. Never raised: the ``__cause__`` of a `ConnectionClosedError`.

    ``code`` is the close code that the connection was failed with.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class InvalidJSON(WebSocketError, ValueError):
    """A message isn't JSON, or not of the type that was asked for; the connection stays open.

    ``message`` is the message, so that nothing is lost, and ``__cause__`` the error of who decoded it.
    """

    def __init__(self, message: str | bytes, reason: str) -> None:
        super().__init__(reason)  # and no message of a megabyte in every traceback
        self.message = message
        self.reason = reason

    def __str__(self) -> str:
        # The peer's words may be in it: they must not steer a terminal.
        reason = self.reason if self.reason.isprintable() else repr(self.reason)
        return f"not the JSON that was expected: {reason}"

    def __reduce__(self) -> tuple[type[InvalidJSON], tuple[str | bytes, str]]:
        return type(self), (self.message, self.reason)


class ConnectionClosed(WebSocketError):
    """The connection is closed.

    ``rcvd`` and ``sent`` are the Close frames that were received and sent, None where there was none;
    ``rcvd_then_sent`` tells which came first when there were both. ``connection_id`` is the `WebSocket.id` of
    the connection, or None for an exception that no connection raised.
    """

    def __init__(
        self, rcvd: Close | None, sent: Close | None, rcvd_then_sent: bool | None = None
    ) -> None:
        super().__init__(rcvd, sent, rcvd_then_sent)
        self.rcvd = rcvd
        self.sent = sent
        self.rcvd_then_sent = rcvd_then_sent
        self.connection_id: uuid.UUID | None = None

    def __str__(self) -> str:
        match self.rcvd, self.sent:
            case None, None:
                return "no close frame received or sent"
            case None, sent:
                return f"sent {sent}; no close frame received"
            case rcvd, None:
                return f"received {rcvd}; no close frame sent"
            case rcvd, sent if self.rcvd_then_sent:
                return f"received {rcvd}; then sent {sent}"
            case rcvd, sent:
                return f"sent {sent}; then received {rcvd}"


class ConnectionClosedOK(ConnectionClosed):
    """Both sides closed with 1000 (normal), 1001 (going away) or without a code."""


class ConnectionClosedError(ConnectionClosed):
    """The connection broke, or was closed with another code; ``__cause__`` says what went wrong."""
