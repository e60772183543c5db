"""What connections and servers count, and how it is shown: totals, which only grow.

The transports count bytes, `Connection` and its inbox count messages, as they go. A server adds to that what
became of its connections, once for each.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["NOTHING", "ConnectionStatistics", "ServerStatistics", "Tally"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionStatistics:
    """What went over a connection until now."""

    messages_received: int
    """Whole messages that arrived, also those that nobody received."""
    messages_sent: int
    """Messages that were sent: `WebSocket.send` has returned. Whole ones."""
    bytes_received: int
    """As they came from the socket: with frames, the opening handshake, and TLS, before it is undone."""
    bytes_sent: int
    """As the socket took them: with frames, the opening handshake, and TLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerStatistics(ConnectionStatistics):
    """What a server has done until now; see `WebSocketServer.statistics`.

    Messages and bytes are those of all its connections, the ended ones too. All but `opening` and `open` are
    totals, which never become less: ``accepted == opening + sum(refused.values()) + opened`` and
    ``opened == open + sum(closed.values())``.
    """

    accepted: int
    """Connections, of TCP or whatever carries WebSocket's, that were accepted or taken over."""
    opening: int
    """Those that are in the opening handshake now."""
    refused: Mapping[int | str, int]
    """Those that never became WebSocket connections, by cause: the HTTP status if they were answered, a
    health check's 200 for example; otherwise ``"timeout"``, ``"tls"`` if its handshake failed,
    ``"disconnected"`` if the client left or the connection broke, ``"cancelled"`` with the server, or
    ``"error"``."""
    opened: int
    """WebSocket connections that were opened."""
    open: int
    """Those that haven't ended, with their handler."""
    closed: Mapping[int, int]
    """Those that have, by `WebSocket.close_code`: 1006 if the client sent no Close frame, or wasn't heard out
    because the server was cancelled."""
    handler_failures: int
    """Handlers that raised an `Exception`, other than the end of their own connection."""


NOTHING: Final = ConnectionStatistics(
    messages_received=0, messages_sent=0, bytes_received=0, bytes_sent=0
)


class Tally:
    """What a server counts, and keeps of connections that have ended."""

    def __init__(self) -> None:
        self.accepted = 0
        self.opened = 0
        self.refused: Counter[int | str] = Counter()
        self.closed: Counter[int] = Counter()
        self.handler_failures = 0
        self._ended = NOTHING

    def add_ended(self, one: ConnectionStatistics) -> None:
        """Keep what went over a connection that has ended, whether or not it was ever open."""
        self._ended = _sum(self._ended, one)

    def statistics(
        self, alive: Iterable[ConnectionStatistics], *, opening: int, open: int
    ) -> ServerStatistics:
        """The totals, with the connections that are *alive*."""
        total = functools.reduce(_sum, alive, self._ended)
        return ServerStatistics(
            **dataclasses.asdict(total),
            accepted=self.accepted,
            opening=opening,
            refused=dict(self.refused),
            opened=self.opened,
            open=open,
            closed=dict(self.closed),
            handler_failures=self.handler_failures,
        )


def _sum(one: ConnectionStatistics, other: ConnectionStatistics) -> ConnectionStatistics:
    return ConnectionStatistics(
        messages_received=one.messages_received + other.messages_received,
        messages_sent=one.messages_sent + other.messages_sent,
        bytes_received=one.bytes_received + other.bytes_received,
        bytes_sent=one.bytes_sent + other.bytes_sent,
    )
