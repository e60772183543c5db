"""The two HTTP messages of the opening handshake (RFC 6455, section 4).

Reading is h11's, which is strict; `HeadBuffer` keeps from it what it would take too long to read. Writing is
a status or request line and `Headers.serialize`: h11 insists on having seen the request before it writes an
answer to it, while here a response may be made and sent without one; `Headers` has already refused what
would be unsafe.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, cast

import h11

from ..exceptions import InvalidMessage, shortened
from .head import HeadBuffer
from .headers import Headers, HeadersLike, parse_retry_after

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

PIECE: Final = 128
"""Bytes of a body that h11 is given at a time, and that it may leave for later."""


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

    @classmethod
    def text(
        cls, status: HTTPStatus | int, text: str, headers: HeadersLike | None = None
    ) -> Response:
        """Make a response of plain text, in UTF-8.

        :param headers: further ones; a Content-Type among them replaces that of plain text
        """
        made = cls(int(status), reason_phrase(int(status)), Headers(headers or {}), text.encode())
        made.headers.setdefault("Content-Type", "text/plain; charset=utf-8")
        return made

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait before asking again, of the Retry-After header (RFC 9110, section 10.2.3).

        A date in it is counted from the response's own Date header. Never negative; None if there is no such
        header, several, or one that makes no sense.
        """
        values = self.headers.get_all("Retry-After")
        if len(values) != 1:
            return None
        return parse_retry_after(values[0], self.headers.get("Date", ""))

    def serialize(self, *, body: bool = True) -> bytes:
        """Write the response.

        :param body: whether to write that, too: not in answer to HEAD (RFC 9110, section 9.3.2)
        :raises ValueError: the status code or reason phrase can't stand in a status line
        """
        if not 100 <= self.status_code <= 999:
            raise ValueError(f"{self.status_code} isn't an HTTP status code")
        for char in self.reason_phrase:
            if char in "\r\n\0" or char > "\xff":
                raise ValueError(f"reason phrase {self.reason_phrase!r} can't have {char!r}")
        line = f"HTTP/1.1 {self.status_code} {self.reason_phrase}\r\n"
        if not body or self.status_code in (204, 304):  # RFC 9112, 6.3: these have none
            return line.encode("iso-8859-1") + self.headers.serialize()
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


_UPGRADE: Final = h11.Request(
    method="GET",
    target="/",
    headers=[("host", "-"), ("upgrade", "websocket"), ("connection", "upgrade")],
)
_CONNECT: Final = h11.Request(method="CONNECT", target="-:0", headers=[("host", "-:0")])


class _Reader:
    """What reading a request and reading a response have in common."""

    def __init__(
        self,
        role: type[h11.CLIENT] | type[h11.SERVER],
        *,
        max_header_size: int,
        max_header_count: int,
        max_request_line: int | None = None,
    ) -> None:
        self._connection = h11.Connection(role, max_incomplete_event_size=max_header_size)
        self._buffer = HeadBuffer(max_header_size, max_request_line)
        self._max_header_count = max_header_count
        self._ended = False

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes from the network; b"" for the end of the stream."""
        self._buffer.feed(data)
        self._ended = not data

    def trailing_data(self) -> bytes:
        """Return what came after the message."""
        return self._buffer.take_rest()

    def _next_head(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED] | None:
        """What h11 makes of the next head, None until that is complete."""
        head = self._buffer.take()
        if head is None:
            return None
        self._connection.receive_data(head)
        return self._next_event()

    def _next_event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        try:
            return self._connection.next_event()
        except h11.RemoteProtocolError as exc:
            raise InvalidMessage(shortened(str(exc)), exc.error_status_hint) from exc

    def _headers(self, event: h11.Request | h11.Response | h11.InformationalResponse) -> Headers:
        count = len(event.headers)
        if count > self._max_header_count:
            raise InvalidMessage(
                f"{count} HTTP header fields exceed the limit of {self._max_header_count} "
                "(max_header_count)",
                431,
            )
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
            h11.SERVER,
            max_header_size=max_header_size,
            max_header_count=max_header_count,
            max_request_line=max_request_line,
        )

    def next_request(self) -> Request | None:
        """Return the request once its head is complete, None before.

        :raises InvalidMessage: it isn't HTTP, is too long, or ended early
        """
        event = self._next_head()
        if event is None and not self._ended:
            return None
        if not isinstance(event, h11.Request):
            raise InvalidMessage("did not receive a complete HTTP request", 400)
        return Request(
            path=event.target.decode("ascii"),
            headers=self._headers(event),
            method=event.method.decode("ascii"),
            http_version=event.http_version.decode("ascii"),
        )


class ResponseReader(_Reader):
    """Reads one response, to a handshake or to CONNECT, with the body if it is a rejection.

    :param connects: it answers CONNECT (RFC 9110, section 9.3.6): after a head with a status of 2xx
        the tunnel begins
    :param secure: whether it comes over TLS; without, an error suggests that
    """

    def __init__(
        self,
        *,
        connects: bool = False,
        max_header_size: int = MAX_HEADER_SIZE,
        max_header_count: int = MAX_HEADER_COUNT,
        secure: bool = True,
    ) -> None:
        super().__init__(
            h11.CLIENT, max_header_size=max_header_size, max_header_count=max_header_count
        )
        # h11 follows both directions: what a response means depends on what was asked.
        self._connection.send(_CONNECT if connects else _UPGRADE)
        self._connection.send(h11.EndOfMessage())
        self._connects = connects
        self._secure = secure
        self._begun = False
        self._response: Response | None = None
        self._body = bytearray()
        self._body_read = 0

    def feed(self, data: bytes | memoryview) -> None:
        self._begun = self._begun or bool(data)
        super().feed(data)

    def next_response(self, *, at_eof: bool = False) -> Response | None:
        """Return the response once it is complete, None before.

        A 101 has no body, nor has what grants a CONNECT.

        A body is cut at `MAX_BODY` bytes, and where the stream ends.

        :raises InvalidMessage: it isn't HTTP, is too long, or ended within the head
        """
        while self._response is None:
            event = self._next_head()
            if isinstance(event, h11.InformationalResponse):
                response = self._make(event)
                if response.status_code == 101:
                    if event.http_version < b"1.1":
                        raise InvalidMessage("a 101 in HTTP/1.0, which can't switch protocols")
                    return response
            elif isinstance(event, h11.Response):
                self._response = self._make(event)
                if self._connects and 200 <= event.status_code < 300:
                    return self._response
            elif event is not None:
                raise InvalidMessage("did not receive a complete HTTP response", 400)
            elif at_eof:
                if not self._begun and not self._secure:
                    raise InvalidMessage(
                        "the connection ended before the response was complete, and before it began: "
                        "does the server want TLS (wss://)?"
                    )
                raise InvalidMessage("the connection ended before the response was complete")
            else:
                return None
        return self._complete() if self._read_body() or at_eof else None

    def _read_body(self) -> bool:
        """Read what has come of the body; whether that is all, or all that can be had.

        In small pieces, and not when h11 takes no more: the time that it takes to refuse a line of a chunked
        body (RFC 9112, section 7.1) grows with the square of its length.
        """
        data = self._buffer.take_rest()
        for start in range(0, len(data) or 1, PIECE):
            if start < len(data):
                self._connection.receive_data(data[start : start + PIECE])
            try:
                while isinstance(event := self._next_event(), h11.Data):
                    self._body += event.data
            except InvalidMessage:
                return True  # a broken body takes nothing from the status
            if event is not h11.NEED_DATA or len(self._connection.trailing_data[0]) > PIECE:
                return True
            self._body_read += len(data[start : start + PIECE])
            if len(self._body) >= MAX_BODY or self._body_read >= 2 * MAX_BODY:
                return True
        return False

    def _complete(self) -> Response:
        response = cast("Response", self._response)
        response.body = bytes(self._body[:MAX_BODY])
        return response

    def _make(self, event: h11.Response | h11.InformationalResponse) -> Response:
        headers = self._headers(event)
        return Response(event.status_code, bytes(event.reason).decode("iso-8859-1"), headers)
