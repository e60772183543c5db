"""What `WebSocket.events` gives: everything that arrives on a connection, in order, as typed objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Binary", "Closed", "Event", "Ping", "Pong", "Text"]


@dataclass(frozen=True, slots=True)
class Text:
    """A text message."""

    data: str


@dataclass(frozen=True, slots=True)
class Binary:
    """A binary message."""

    data: bytes


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
