"""Asking an HTTP proxy for a tunnel: CONNECT (RFC 9110, section 9.3.6), without I/O."""

from __future__ import annotations

from ..exceptions import InvalidMessage, ProxyError, shown_status
from .headers import Headers, build_authority, build_basic
from .http import MAX_HEADER_COUNT, MAX_HEADER_SIZE, Request, ResponseReader
from .uri import ProxyURI

__all__ = ["ConnectProtocol"]


class ConnectProtocol:
    """A client's end of a CONNECT.

    :param proxy: whom it is asked; a user name there is for HTTP Basic authentication (RFC 7617)
    :param host: where the tunnel is to lead, with *port*
    :param user_agent: value of the User-Agent header; None for none
    :param max_header_size: bytes that the response may have, without its body
    :param max_header_count: header fields that it may have
    """

    def __init__(
        self,
        proxy: ProxyURI,
        host: str,
        port: int,
        *,
        user_agent: str | None = None,
        max_header_size: int = MAX_HEADER_SIZE,
        max_header_count: int = MAX_HEADER_COUNT,
    ) -> None:
        self._proxy = proxy
        self._target = build_authority(host, port)
        headers = Headers({"Host": self._target})
        if user_agent is not None:
            headers["User-Agent"] = user_agent
        if proxy.username is not None:
            headers["Proxy-Authorization"] = build_basic(proxy.username, proxy.password or "")
        self.request: bytes = Request(self._target, headers, method="CONNECT").serialize()
        """What to send to the proxy first."""
        self._reader = ResponseReader(
            connects=True, max_header_size=max_header_size, max_header_count=max_header_count
        )

    def receive_data(self, data: bytes | memoryview) -> bytes | None:
        """Take bytes from the proxy; b"" for the end of the stream. None as long as it hasn't answered.

        Once it has granted the tunnel, return what came out of that already; this is over then.

        :raises ProxyError: it refuses, or doesn't speak HTTP
        """
        try:
            self._reader.feed(data)
            response = self._reader.next_response(at_eof=not data)
        except InvalidMessage as exc:
            raise ProxyError(
                f"the proxy {self._proxy} gave no answer that makes sense: {exc}"
            ) from exc
        if response is None:
            return None
        if not 200 <= response.status_code < 300:
            raise ProxyError(
                f"the proxy {self._proxy} refused to connect to {self._target}: {shown_status(response)}",
                response,
            )
        return self._reader.trailing_data()
