"""The two HTTP messages of the opening handshake (RFC 6455, section 4).

Reading is h11's: it is strict, bounded and hardened. Writing is a status or request line and
`Headers.serialize`: h11 insists on having seen the request before it writes an answer to it, while
here a response may be made and sent without one; `Headers` has already refused what would be unsafe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

import h11

from ..exceptions import InvalidMessage, shortened
from .headers import Headers

__all__ = [
    "MAX_BODY",
    "MAX_HEADER_COUNT",
    "MAX_HEADER_SIZE",
    "MAX_REQUEST_LINE",
    "Request",
    "RequestReader",
    "Response",
    "ResponseReader",
]

MAX_HEADER_SIZE: Final = 2**14
"""Bytes that the first line and the header fields of a message may have: h11's default, which is what
most servers allow."""

MAX_HEADER_COUNT: Final = 128
"""Header fields that a message may have; browsers send some fifteen, proxies add a few."""

MAX_REQUEST_LINE: Final = 2**13
"""Bytes that the first line of a request may have, its line break included; RFC 9112, section 3, wants at
least 8000."""

MAX_BODY: Final = 2**16
"""Bytes of a rejecting response's body that are kept; it is there to explain, not to transfer data."""


@dataclass(slots=True)
class Request:
    """A handshake request; *path* is the request target, with its query."""

    path: str
    headers: Headers
    method: str = "GET"
    http_version: str = "1.1"

    def serialize(self) -> bytes:
        """Write the request.

        :raises ValueError: the method or path can't stand in a request line
        """
        line = f"{self.method} {self.path} HTTP/{self.http_version}"
        parts = line.split(" ")
        if len(parts) != 3 or not all(parts) or not line.isascii() or not line.isprintable():
            raise ValueError(f"{line!r} isn't a valid request line")
        return line.encode() + b"\r\n" + self.headers.serialize()


@dataclass(slots=True)
class Response:
    """A handshake response; *body* is empty when the handshake succeeds."""

    status_code: int
    reason_phrase: str
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""

    def serialize(self) -> bytes:
        """Write the response.

        :raises ValueError: the status code or reason phrase can't stand in a status line
        """
        if not 100 <= self.status_code <= 999:
            raise ValueError(f"{self.status_code} isn't an HTTP status code")
        for char in self.reason_phrase:
            if char in "\r\n\0" or char > "\xff":
                raise ValueError(f"reason phrase {self.reason_phrase!r} can't have {char!r}")
        line = f"HTTP/1.1 {self.status_code} {self.reason_phrase}\r\n"
        return line.encode("iso-8859-1") + self.headers.serialize() + self.body


def reason_phrase(status: int) -> str:
    """Return the registered phrase for *status*, or "" if there is none."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _headers(event: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
    headers = Headers()
    for name, value in event.headers.raw_items():
        headers.add(name.decode("ascii"), value.decode("iso-8859-1"))
    return headers


class _Reader:
    """What reading a request and reading a response have in common.

    h11 is never given more of a head than it may have: whether one is refused, and why, doesn't depend on
    how it was cut, and h11 never works on more.
    """

    def __init__(
        self,
        role: type[h11.CLIENT] | type[h11.SERVER],
        *,
        max_header_size: int,
        max_header_count: int,
    ) -> None:
        self._connection = h11.Connection(role, max_incomplete_event_size=max_header_size)
        self._max_header_size = max_header_size
        self._max_header_count = max_header_count
        self._given = 0  # bytes of the head that h11 has
        self._waiting = b""  # what it hasn't got yet
        self._line_ended = False  # whether it has the first line of the head

    def feed(self, data: bytes) -> None:
        """Take bytes from the network; b"" for the end of the stream."""
        if data:
            self._waiting += data
        else:
            self._connection.receive_data(b"")

    def trailing_data(self) -> bytes:
        """Return what came after the message."""
        return self._connection.trailing_data[0] + self._waiting

    def _next_event(self, limit: int | None) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """Let h11 go on, with up to *limit* bytes of the head; None for no limit."""
        room = len(self._waiting) if limit is None else max(0, limit - self._given)
        piece, self._waiting = self._waiting[:room], self._waiting[room:]
        try:
            if piece:  # nothing would be the end of the stream
                self._given += len(piece)
                self._line_ended = self._line_ended or b"\n" in piece
                self._connection.receive_data(piece)
            return self._connection.next_event()
        except h11.RemoteProtocolError as exc:
            raise InvalidMessage(shortened(str(exc)), exc.error_status_hint) from exc

    def _too_large(self) -> InvalidMessage:
        limit = self._max_header_size
        return InvalidMessage(
            f"HTTP header of {limit + 1} bytes or more exceeds the limit of {limit} (max_header_size)",
            431,
        )

    def _end_head(self, event: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
        count = len(event.headers)
        if count > self._max_header_count:
            raise InvalidMessage(
                f"{count} HTTP header fields exceed the limit of {self._max_header_count} "
                "(max_header_count)",
                431,
            )
        self._given = len(self._connection.trailing_data[0])
        return _headers(event)


class RequestReader(_Reader):
    """Reads one handshake request."""

    def __init__(
        self,
        *,
        max_header_size: int = MAX_HEADER_SIZE,
        max_header_count: int = MAX_HEADER_COUNT,
        max_request_line: int = MAX_REQUEST_LINE,
    ) -> None:
        super().__init__(
            h11.SERVER, max_header_size=max_header_size, max_header_count=max_header_count
        )
        self._max_request_line = max_request_line

    def next_request(self) -> Request | None:
        """Return the request once its head is complete, None before.

        :raises InvalidMessage: it isn't HTTP, is too long, or ended early
        """
        event = self._next_head_event()
        if event is h11.NEED_DATA:
            return None
        if not isinstance(event, h11.Request):
            raise InvalidMessage("did not receive a complete HTTP request", 400)
        headers = self._end_head(event)
        return Request(
            path=event.target.decode("ascii"),
            headers=headers,
            method=event.method.decode("ascii"),
            http_version=event.http_version.decode("ascii"),
        )

    def _next_head_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        limit = self._max_request_line
        if limit < self._max_header_size:
            event = self._next_event(limit)
            if event is not h11.NEED_DATA or not self._waiting:
                return event
            if not self._line_ended:
                raise InvalidMessage(
                    f"request line of {limit + 1} bytes or more exceeds the limit of {limit} "
                    "(max_request_line)",
                    414,
                )
        event = self._next_event(self._max_header_size)
        if event is h11.NEED_DATA and self._waiting:
            raise self._too_large()
        return event


class ResponseReader(_Reader):
    """Reads one handshake response, with the body if it is a rejection."""

    def __init__(
        self,
        *,
        max_header_size: int = MAX_HEADER_SIZE,
        max_header_count: int = MAX_HEADER_COUNT,
    ) -> None:
        super().__init__(
            h11.CLIENT, max_header_size=max_header_size, max_header_count=max_header_count
        )
        # h11 follows both directions: it reads a 101 only after an upgrade was asked for.
        self._connection.send(
            h11.Request(
                method="GET",
                target="/",
                headers=[("host", "-"), ("upgrade", "websocket"), ("connection", "upgrade")],
            )
        )
        self._connection.send(h11.EndOfMessage())
        self._response: Response | None = None
        self._body = bytearray()

    def next_response(self, *, at_eof: bool = False) -> Response | None:
        """Return the response once it is complete (a 101 has no body), None before.

        A body is cut at `MAX_BODY` bytes, and where the stream ends.

        :raises InvalidMessage: it isn't HTTP, is too long, or ended within the head
        """
        while True:
            try:
                event = self._next_event(self._max_header_size if self._response is None else None)
            except InvalidMessage:
                if self._response is not None:
                    return self._complete()  # a broken body takes nothing from the status
                if at_eof:  # h11's words for that are no cause that would help
                    raise InvalidMessage(
                        "the connection ended before the response was complete"
                    ) from None
                raise
            if isinstance(event, h11.InformationalResponse):
                response = self._make(event)
                if response.status_code == 101:
                    if event.http_version < b"1.1":
                        raise InvalidMessage("a 101 in HTTP/1.0, which can't switch protocols")
                    return response
            elif isinstance(event, h11.Response):
                self._response = self._make(event)
            elif isinstance(event, h11.Data):
                self._body += event.data
                if len(self._body) >= MAX_BODY:
                    return self._complete()
            elif isinstance(event, h11.EndOfMessage):
                return self._complete()
            elif event is h11.NEED_DATA and self._waiting:
                raise self._too_large()
            elif event is h11.NEED_DATA and not at_eof:
                return None
            else:
                raise InvalidMessage("did not receive a complete HTTP response", 400)

    def _complete(self) -> Response:
        response = cast("Response", self._response)
        response.body = bytes(self._body[:MAX_BODY])
        return response

    def _make(self, event: h11.Response | h11.InformationalResponse) -> Response:
        headers = self._end_head(event)
        return Response(event.status_code, bytes(event.reason).decode("iso-8859-1"), headers)
