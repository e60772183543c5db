"""What metrics and tracing hang on: a server tells an observer what becomes of its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .websocket import WebSocket

__all__ = ["ServerObserver"]


class ServerObserver:
    """Is told what happens to each connection of a server, by the option ``observer``.

    To be subclassed; a method that isn't overridden does nothing. All are plain functions, called in the
    connection's own task, which waits for them. What one raises, an `Exception`, is logged with its traceback
    and changes nothing else.

    A connection is first `accepted`; then either `refused`, or `opened` and in the end `closed`. Context
    variables that these set are seen by the handler, and by what is called later for the same connection.
    """

    def accepted(self, remote_address: object) -> None:
        """A connection was accepted or taken over; TLS and the opening handshake are still to come.

        :param remote_address: see `WebSocket.remote_address`
        """

    def refused(self, remote_address: object, cause: int | str, exc: BaseException) -> None:
        """It didn't become a WebSocket connection.

        :param cause: see `ServerStatistics.refused`
        :param exc: what says more; a `BaseException` that is no `Exception` if the server was cancelled
        """

    def opened(self, ws: WebSocket) -> None:
        """The opening handshake is over; the handler is called right after this."""

    def handler_failed(self, ws: WebSocket, exc: Exception) -> None:
        """The handler raised *exc*, and the connection was closed for that."""

    def closed(self, ws: WebSocket, code: int, duration: float) -> None:
        """The connection has ended, and its handler too, however that was.

        :param code: see `ServerStatistics.closed`
        :param duration: seconds since it was opened
        """
