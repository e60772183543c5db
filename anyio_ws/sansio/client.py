"""The client's opening handshake (RFC 6455, section 4.1)."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence
from typing import Final

from ..exceptions import (
    InvalidHandshake,
    InvalidHeader,
    InvalidStatus,
    NegotiationError,
    ProtocolError,
)
from .extensions.base import ClientExtensionFactory, Extension
from .handshake import VERSION, accept_key, check_upgrade, single_header
from .headers import Headers, build_basic, build_extension, is_token, parse_extensions, parse_tokens
from .http import MAX_HEADER_COUNT, MAX_HEADER_SIZE, Request, Response, ResponseReader
from .logs import LoggerLike
from .messages import MAX_FRAGMENTS
from .protocol import Protocol
from .state import Side, State, Trigger
from .uri import WebSocketURI, parse_uri

__all__ = ["ClientProtocol"]


class ClientProtocol(Protocol):
    """A client's end of a WebSocket connection, without I/O.

    Make the request with `connect` and send it with `send_request`; the response comes out of
    `Protocol.events_received`. If it doesn't open the connection, ``handshake_exc`` says why.

    :param uri: a ``ws://`` or ``wss://`` URI
    :param origin: value of the Origin header; None for none
    :param extensions: extensions to offer, in order of preference
    :param subprotocols: subprotocols to offer, in order of preference
    :param max_header_size: bytes that the response may have, without its body
    :param max_header_count: header fields that it may have

    The other parameters are those of `Protocol`.

    :raises InvalidURI: *uri* isn't a WebSocket URI
    :raises ValueError: a subprotocol isn't a token
    """

    __slots__ = (
        "_reader",
        "available_extensions",
        "available_subprotocols",
        "key",
        "origin",
        "uri",
    )

    subprotocol: str | None
    handshake_exc: Exception | None

    def __init__(
        self,
        uri: str | WebSocketURI,
        *,
        origin: str | None = None,
        extensions: Sequence[ClientExtensionFactory] | None = None,
        subprotocols: Sequence[str] | None = None,
        state: State = State.CONNECTING,
        max_size: int | None = 2**20,
        max_fragment_size: int | None = None,
        max_fragments: int = MAX_FRAGMENTS,
        auto_pong: bool = True,
        max_header_size: int = MAX_HEADER_SIZE,
        max_header_count: int = MAX_HEADER_COUNT,
        logger: LoggerLike | None = None,
    ) -> None:
        super().__init__(
            Side.CLIENT,
            state=state,
            max_size=max_size,
            max_fragment_size=max_fragment_size,
            max_fragments=max_fragments,
            auto_pong=auto_pong,
            logger=logger,
        )
        for subprotocol in subprotocols or ():
            if not is_token(subprotocol):
                raise ValueError(
                    f"subprotocol {subprotocol!r} isn't a token (RFC 6455, section 4.1)"
                )
        self.uri: Final = parse_uri(uri) if isinstance(uri, str) else uri
        self.origin: Final = origin
        self.available_extensions: Sequence[ClientExtensionFactory] = extensions or ()
        self.available_subprotocols: Sequence[str] = subprotocols or ()
        self.key: str = base64.b64encode(secrets.token_bytes(16)).decode()
        self._reader: ResponseReader | None = ResponseReader(
            max_header_size=max_header_size,
            max_header_count=max_header_count,
            secure=self.uri.secure,
        )

    def connect(self) -> Request:
        """Make the handshake request.

        It may be changed before it is sent with `send_request`, headers added for example.
        """
        uri = self.uri
        headers = Headers(
            {
                "Host": uri.host_header,
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Key": self.key,
                "Sec-WebSocket-Version": VERSION,
            }
        )
        if self.origin is not None:
            headers["Origin"] = self.origin
        if self.available_extensions:
            headers["Sec-WebSocket-Extensions"] = ", ".join(
                build_extension(factory.name, factory.get_request_params())
                for factory in self.available_extensions
            )
        if self.available_subprotocols:
            headers["Sec-WebSocket-Protocol"] = ", ".join(self.available_subprotocols)
        if uri.username is not None and uri.password is not None:
            headers["Authorization"] = build_basic(uri.username, uri.password)
        return Request(uri.resource_name, headers)

    def send_request(self, request: Request) -> None:
        """Send the handshake request.

        :raises ProtocolError: the handshake is over
        :raises ValueError: the request can't be written as HTTP
        """
        if self.state is not State.CONNECTING or self.input_over:
            raise ProtocolError("can't send a request: the handshake is over")
        data = request.serialize()
        if self._debug:
            start = f"{request.method} {request.path} HTTP/{request.http_version}"
            self._log_head(">", start, request.headers)
        self._writes.append(data)

    def _check_response(self, response: Response) -> None:
        """Judge the response (RFC 6455, section 4.1) and take over what was negotiated."""
        if response.status_code != 101:
            raise InvalidStatus(response)
        headers = response.headers
        check_upgrade(headers)
        accept = single_header(headers, "Sec-WebSocket-Accept")
        if accept is None:
            raise InvalidHeader("Sec-WebSocket-Accept")
        if accept != accept_key(self.key):
            raise InvalidHeader("Sec-WebSocket-Accept", accept, "it doesn't answer this request")
        extensions = self._accept_extensions(headers)
        self.subprotocol = self._accept_subprotocol(headers)
        self._set_extensions(extensions)

    def _accept_extensions(self, headers: Headers) -> list[Extension]:
        accepted: list[Extension] = []
        for name, params in parse_extensions(headers.get_all("Sec-WebSocket-Extensions")):
            for factory in self.available_extensions:
                if factory.name == name:
                    extension = factory.process_response_params(params, accepted)
                    break
            else:
                raise NegotiationError(f"server chose extension {name!r}, which wasn't offered")
            for one in accepted:
                if one.rsv & extension.rsv:
                    raise NegotiationError(
                        f"server chose extensions {one.name!r} and {name!r}, which use the same bit"
                    )
            accepted.append(extension)
        return accepted

    def _accept_subprotocol(self, headers: Headers) -> str | None:
        name = "Sec-WebSocket-Protocol"
        chosen = parse_tokens(name, headers.get_all(name))
        if not chosen:
            return None
        if len(chosen) > 1:
            raise InvalidHeader(name, ", ".join(chosen), "the server must choose one")
        if chosen[0] not in self.available_subprotocols:
            raise NegotiationError(f"server chose subprotocol {chosen[0]!r}, which wasn't offered")
        return chosen[0]

    def _receive(self, data: bytes | memoryview) -> None:
        if self.state is State.CONNECTING and not self.input_over:
            if data:
                self._receive_response(data)
        else:
            self._receive_frames(data)

    def _receive_response(self, data: bytes | memoryview) -> None:
        """Take bytes of the response; b"" for the end of the stream."""
        if self._reader is None:
            return
        try:
            self._reader.feed(data)
            response = self._reader.next_response(at_eof=not data)
            if response is None:
                return
            if self._debug:
                start = f"HTTP/1.1 {response.status_code} {response.reason_phrase}"
                self._log_head("<", start, response.headers, response.body)
            self._events.append(response)
            self._check_response(response)
        except InvalidHandshake as exc:
            self._reader = None
            self.handshake_exc = exc
            self._send_eof()
            self.input_over = True
            return
        trailing = self._reader.trailing_data()
        self._reader = None
        self._state.process(Trigger.OPENED)
        self._receive_frames(trailing)

    def _receive_end(self) -> None:
        if self.state is State.CONNECTING and self.handshake_exc is None:
            self._receive_response(b"")
        super()._receive_end()
