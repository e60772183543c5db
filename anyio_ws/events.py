"""What happens to a connection, in order, as typed objects.

`WebSocket.events` gives everything that arrives on one; `websocket_events` also how it came about and ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .exceptions import ConnectionClosed, InvalidHandshake
from .sansio import Extension, Response

__all__ = [
    "BackOff",
    "Binary",
    "Closed",
    "Closing",
    "ConnectFail",
    "Connected",
    "Connecting",
    "Disconnected",
    "Event",
    "Fragment",
    "FragmentEvent",
    "LifecycleEvent",
    "Ping",
    "Poll",
    "Pong",
    "Ready",
    "Rejected",
    "Text",
]


@dataclass(frozen=True, slots=True)
class Text:
    """A text message."""

    data: str


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary message."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a message, in place of `Text` or `Binary`, whose type *data* has; *final*: the last one."""

    data: str | bytes
    final: bool


@dataclass(frozen=True, slots=True)
class Ping:
    """The peer's ping; it has been answered, unless ``auto_pong=False`` says otherwise."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pong:
    """A pong, in answer to a ping of ours or unsolicited."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Closed:
    """The connection is closed; nothing follows. *code* is 1006 if there was no Close frame."""

    code: int
    reason: str


Event: TypeAlias = Text | Binary | Ping | Pong | Closed
"""What ``events()`` gives."""

FragmentEvent: TypeAlias = Fragment | Ping | Pong | Closed
"""What ``events(fragments=True)`` gives."""


@dataclass(frozen=True, slots=True)
class Connecting:
    """An attempt to connect begins. *url* is without credentials."""

    url: str


@dataclass(frozen=True, slots=True)
class ConnectFail:
    """The server can't be reached, or doesn't answer in time: *error* is what `open_websocket` raises."""

    error: Exception


@dataclass(frozen=True, slots=True)
class Connected:
    """The server has been reached, and has answered: `Ready` or `Rejected` follows at once."""

    url: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The opening handshake failed. *response* is the server's answer where the *error* has it."""

    error: InvalidHandshake
    response: Response | None


@dataclass(frozen=True, slots=True)
class Ready:
    """The connection is open: what was negotiated."""

    response: Response
    subprotocol: str | None
    extensions: tuple[Extension, ...]


@dataclass(frozen=True, slots=True)
class Poll:
    """Time has passed, and the connection is open: once every ``poll`` seconds."""


@dataclass(frozen=True, slots=True)
class Closing:
    """The server has begun to close the connection: nothing can be sent any more."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """There is no connection any more, or there was none: it follows `Rejected`, too.

    *graceful* says whether the closing handshake was performed, with whatever code; *error* has the details,
    a `ConnectionClosed` or why it was rejected.
    """

    graceful: bool
    error: ConnectionClosed | InvalidHandshake


@dataclass(frozen=True, slots=True)
class BackOff:
    """In *delay* seconds it's tried again."""

    delay: float


LifecycleEvent: TypeAlias = (
    Connecting
    | ConnectFail
    | Connected
    | Rejected
    | Ready
    | Poll
    | Event
    | Fragment
    | Closing
    | Disconnected
    | BackOff
)
