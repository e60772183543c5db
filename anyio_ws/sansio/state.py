"""The states of a connection and how one leads to another.

Two rules of this file: every change of a state is a look-up in `TRANSITIONS`, and what isn't in the
table is a bug of the caller. Nothing else in the package may assign a state.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["TRANSITIONS", "ConnectionState", "Side", "State", "Trigger"]


class Side(enum.IntEnum):
    """A WebSocket connection is either a server's or a client's."""

    SERVER = 0
    CLIENT = 1


class State(enum.IntEnum):
    """The four states of a connection (RFC 6455, sections 4.1, 4.2, 7.1.3 and 7.1.4)."""

    CONNECTING = 0
    OPEN = 1
    CLOSING = 2
    CLOSED = 3


class Trigger(enum.Enum):
    """What changes a state."""

    OPENED = enum.auto()
    """The opening handshake succeeded."""
    CLOSE_SENT = enum.auto()
    """A Close frame was sent, on our initiative, in answer to the peer's, or to fail the connection."""
    FAILED = enum.auto()
    """The connection failed in a way that no Close frame can tell the peer."""
    EOF = enum.auto()
    """The peer's byte stream ended."""


TRANSITIONS: Final[dict[State, dict[Trigger, State]]] = {
    State.CONNECTING: {
        Trigger.OPENED: State.OPEN,
        # A rejected or broken handshake never was a connection: it goes straight to the end.
        Trigger.EOF: State.CLOSED,
    },
    State.OPEN: {
        Trigger.CLOSE_SENT: State.CLOSING,
        Trigger.FAILED: State.CLOSING,
        Trigger.EOF: State.CLOSED,
    },
    State.CLOSING: {
        # RFC 6455, 7.1.4: closed means that the TCP connection is closed, not that frames crossed.
        Trigger.EOF: State.CLOSED,
    },
    State.CLOSED: {},
}


class ConnectionState:
    """The current state; `process` is the only way to change it."""

    __slots__ = ("current",)

    def __init__(self, initial: State) -> None:
        self.current: State = initial

    def process(self, trigger: Trigger) -> None:
        """Move on to the state that *trigger* leads to.

        :raises KeyError: the table has no such transition (a bug in this package)
        """
        self.current = TRANSITIONS[self.current][trigger]
