"""The server's opening handshake (RFC 6455, section 4.2)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from ..exceptions import (
    InvalidHandshake,
    InvalidHeader,
    InvalidMessage,
    InvalidOrigin,
    NegotiationError,
    ProtocolError,
    shortened,
)
from .extensions.base import Extension, ServerExtensionFactory
from .handshake import VERSION, accept_key, check_upgrade, single_header
from .headers import Headers, build_extension, parse_extensions, parse_tokens
from .http import (
    MAX_HEADER_COUNT,
    MAX_HEADER_SIZE,
    MAX_REQUEST_LINE,
    Request,
    RequestReader,
    Response,
    reason_phrase,
)
from .logs import LoggerLike
from .messages import MAX_FRAGMENTS
from .protocol import Protocol
from .state import Side, State, Trigger

if TYPE_CHECKING:
    import re  # only to name what callers bring: no grammar here is one of these

__all__ = ["ServerProtocol"]

MAX_HELD: Final = 2**17
"""Bytes after the request that are kept until the response is sent: what a client that doesn't wait
for it may have sent in two reads."""


_UPGRADE: Final = {"Connection", "Upgrade", "Sec-WebSocket-Version"}
"""Headers that a request for something else than a WebSocket connection lacks."""

_TELLING: Final = {
    405: (("Allow", "GET"),),
    # RFC 9110, 15.5.22, and RFC 6455, 4.4: what to upgrade to, and which version of it.
    426: (("Upgrade", "websocket"), ("Sec-WebSocket-Version", VERSION)),
}
"""What a rejection says in headers about how to do better, by status."""


class ServerProtocol(Protocol):
    """A server's end of a WebSocket connection, without I/O.

    The request comes out of `Protocol.events_received`; make an answer with `accept` or `reject` and send it
    with `send_response`. Bytes that follow the request are held, and judged after a 101.

    :param origins: acceptable values of the Origin header, as strings and as compiled patterns, which must
        match all of it; None among them admits a request that has none; None instead of a sequence accepts
        any
    :param extensions: supported extensions, in the order in which they are tried
    :param subprotocols: supported subprotocols, in order of decreasing preference
    :param select_subprotocol: called instead of the method of that name, with the protocol and what
        the client offers
    :param max_header_size: bytes that the request may have
    :param max_header_count: header fields that it may have
    :param max_request_line: bytes that its first line may have, with the line break

    The other parameters are those of `Protocol`.
    """

    __slots__ = (
        "_held",
        "_reader",
        "_request",
        "_select_subprotocol",
        "answered",
        "available_extensions",
        "available_subprotocols",
        "origins",
    )

    handshake_exc: Exception | None

    def __init__(
        self,
        *,
        origins: Sequence[str | re.Pattern[str] | None] | None = None,
        extensions: Sequence[ServerExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        select_subprotocol: Callable[[ServerProtocol, Sequence[str]], str | None] | None = None,
        state: State = State.CONNECTING,
        max_size: int | None = 2**20,
        max_fragment_size: int | None = None,
        max_fragments: int = MAX_FRAGMENTS,
        auto_pong: bool = True,
        max_header_size: int = MAX_HEADER_SIZE,
        max_header_count: int = MAX_HEADER_COUNT,
        max_request_line: int = MAX_REQUEST_LINE,
        logger: LoggerLike | None = None,
    ) -> None:
        super().__init__(
            Side.SERVER,
            state=state,
            max_size=max_size,
            max_fragment_size=max_fragment_size,
            max_fragments=max_fragments,
            auto_pong=auto_pong,
            logger=logger,
        )
        self.origins: Sequence[str | re.Pattern[str] | None] | None = origins
        self.available_extensions: Sequence[ServerExtensionFactory] = extensions or ()
        self.available_subprotocols: Sequence[str] = subprotocols or ()
        self._select_subprotocol = select_subprotocol
        self._reader: RequestReader | None = RequestReader(
            max_header_size=max_header_size,
            max_header_count=max_header_count,
            max_request_line=max_request_line,
        )
        self._request: Request | None = None
        self._held = bytearray()
        self.answered: int | None = None
        """The status of the response that was sent; None before."""

    def accept(self, request: Request) -> Response:
        """Make the response that accepts the connection, or rejects it if it can't be accepted.

        It may be changed before it is sent with `send_response`, headers added for example. Why it
        is a rejection stands in ``handshake_exc``. What a ``select_subprotocol`` of yours raises,
        other than `InvalidHandshake`, passes through.
        """
        try:
            key = self._check_request(request)
            accepted, extensions = self._negotiate_extensions(request.headers)
            subprotocol = self.select_subprotocol(
                parse_tokens(
                    "Sec-WebSocket-Protocol", request.headers.get_all("Sec-WebSocket-Protocol")
                )
            )
        except InvalidHandshake as exc:
            self.handshake_exc = exc
            return self._reject_for(exc)
        headers = Headers(
            {
                "Date": formatdate(usegmt=True),
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Accept": accept_key(key),
            }
        )
        if accepted:
            headers["Sec-WebSocket-Extensions"] = ", ".join(accepted)
        if subprotocol is not None:
            headers["Sec-WebSocket-Protocol"] = subprotocol
        self._set_extensions(extensions)
        self.subprotocol = subprotocol
        return Response(101, "Switching Protocols", headers)

    def select_subprotocol(self, subprotocols: Sequence[str]) -> str | None:
        """Pick one of the *subprotocols* that the client offers.

        That is the first one in the server's list which the client offers. A server without
        subprotocols goes on without, whatever is offered.

        :raises NegotiationError: the server has subprotocols and the client offers none of them; the
            handshake is then rejected with HTTP 400
        """
        if self._select_subprotocol is not None:
            return self._select_subprotocol(self, subprotocols)
        if not self.available_subprotocols:
            return None
        for subprotocol in self.available_subprotocols:
            if subprotocol in subprotocols:
                return subprotocol
        offered = shortened(", ".join(subprotocols))
        raise NegotiationError(
            f"none of the subprotocols offered ({offered or 'none'}) is supported; "
            f"this server supports {', '.join(self.available_subprotocols)}"
        )

    def reject(self, status: HTTPStatus | int, text: str) -> Response:
        """Make a response that rejects the connection.

        It may be changed before it is sent with `send_response`.

        :param status: an HTTP status code
        :param text: the body, a short explanation in plain text
        """
        status = int(status)
        body = text.encode()
        headers = Headers(
            {
                "Date": formatdate(usegmt=True),
                "Connection": "close",
                "Content-Length": str(len(body)),
                "Content-Type": "text/plain; charset=utf-8",
            }
        )
        if self.handshake_exc is None:
            self.handshake_exc = InvalidHandshake(f"rejected with HTTP {status}")
        return Response(status, reason_phrase(status), headers, body)

    def send_response(self, response: Response) -> None:
        """Send the answer to the handshake request; after a 101 the connection is open.

        :raises ProtocolError: an answer was sent already, or the client has gone
        :raises ValueError: the response can't be written as HTTP
        """
        if self.state is not State.CONNECTING or self.input_over:
            raise ProtocolError("can't send a response: the handshake is over")
        data = response.serialize(body=self._request is None or self._request.method != "HEAD")
        if self._debug:
            start = f"HTTP/1.1 {response.status_code} {response.reason_phrase}"
            self._log_head(">", start, response.headers, response.body)
        self._writes.append(data)
        self.answered = response.status_code
        self._reader = None
        held, self._held = bytes(self._held), bytearray()
        if response.status_code == 101:
            self.handshake_exc = None
            self._state.process(Trigger.OPENED)
            self._receive_frames(held)
        else:
            self._end_handshake(
                self.handshake_exc or InvalidHandshake(f"rejected with HTTP {response.status_code}")
            )

    def _check_request(self, request: Request) -> str:
        """Judge the request (RFC 6455, section 4.2.1) and return its Sec-WebSocket-Key."""
        if request.http_version != "1.1":  # first: in another one, the rest may mean something else
            raise InvalidMessage(f"HTTP version {request.http_version} instead of 1.1", 505)
        if request.method != "GET":
            raise InvalidMessage(f"method {shortened(request.method)} instead of GET", 405)
        headers = request.headers
        if (
            headers.get("Transfer-Encoding") is not None
            or headers.get("Content-Length", "0") != "0"
        ):
            raise InvalidMessage("a handshake request can't have a body")
        check_upgrade(headers)
        version = single_header(headers, "Sec-WebSocket-Version")
        if version != VERSION:
            raise InvalidHeader("Sec-WebSocket-Version", version, f"expected {VERSION}")
        key = single_header(headers, "Sec-WebSocket-Key")
        if key is None:
            raise InvalidHeader("Sec-WebSocket-Key")
        try:
            size = len(base64.b64decode(key.encode("ascii"), validate=True))
        except (binascii.Error, UnicodeEncodeError) as exc:
            raise InvalidHeader("Sec-WebSocket-Key", key, "it isn't base64") from exc
        if size != 16:
            raise InvalidHeader("Sec-WebSocket-Key", key, f"{size} bytes instead of 16")
        origin = single_header(headers, "Origin")
        if self.origins is not None and not _is_among(origin, self.origins):
            raise InvalidOrigin(origin)
        return key

    def _negotiate_extensions(self, headers: Headers) -> tuple[list[str], list[Extension]]:
        offers = parse_extensions(headers.get_all("Sec-WebSocket-Extensions"))
        answers: list[str] = []
        accepted: list[Extension] = []
        for name, params in offers:
            for factory in self.available_extensions:
                if factory.name != name:
                    continue
                try:
                    answer, extension = factory.process_request_params(params, accepted)
                except NegotiationError:
                    continue  # declined: leaving it out of the answer says so
                if any(one.rsv & extension.rsv for one in accepted):
                    continue  # RFC 6455, 9.1: two can't both give a bit its meaning
                answers.append(build_extension(name, answer))
                accepted.append(extension)
                break
        return answers, accepted

    def _reject_for(self, exc: InvalidHandshake) -> Response:
        status = 400
        if isinstance(exc, InvalidMessage):
            status = exc.status
        elif isinstance(exc, InvalidOrigin):
            status = 403
        elif isinstance(exc, InvalidHeader) and exc.name in _UPGRADE:
            status = 426
        response = self.reject(status, f"Failed to open a WebSocket connection: {exc}.\n")
        for name, value in _TELLING.get(status, ()):
            response.headers.add(name, value)
        return response

    def _end_handshake(self, exc: Exception) -> None:
        self.handshake_exc = exc
        self._send_eof()
        self.input_over = True

    def _receive(self, data: bytes | memoryview) -> None:
        if self.state is not State.CONNECTING or self.input_over:
            self._receive_frames(data)
        elif self._request is None:
            self._receive_request(data)
        else:
            self._hold(data)

    def _receive_request(self, data: bytes | memoryview) -> None:
        if self._reader is None or not data:
            return
        try:
            self._reader.feed(data)
            request = self._reader.next_request()
        except InvalidMessage as exc:
            self._refuse(exc)
            return
        if request is None:
            return
        self._request = request
        if self._debug:
            start = f"{request.method} {request.path} HTTP/{request.http_version}"
            self._log_head("<", start, request.headers)
        held = self._reader.trailing_data()
        self._reader = None
        self._events.append(request)
        self._hold(held)

    def _hold(self, data: bytes | memoryview) -> None:
        if len(self._held) + len(data) > MAX_HELD:
            size = len(self._held) + len(data)
            self._refuse(InvalidMessage(f"{size} bytes before the response exceed {MAX_HELD}"))
        else:
            self._held += data

    def _refuse(self, exc: InvalidMessage) -> None:
        self.handshake_exc = exc
        self.send_response(self._reject_for(exc))

    def _receive_end(self) -> None:
        if self.state is State.CONNECTING and self.handshake_exc is None:
            self.handshake_exc = InvalidMessage(
                "the connection ended before the request was complete"
                if self._request is None
                else "the connection ended before the response was sent"
            )
        super()._receive_end()


def _is_among(origin: str | None, origins: Sequence[str | re.Pattern[str] | None]) -> bool:
    for one in origins:
        if one is None or isinstance(one, str):
            if one == origin:
                return True
        elif origin is not None and one.fullmatch(origin):
            return True
    return False
